"""The `kernel` dialect of the disassembler is what this kernel's verifier prints in its log."""

from __future__ import annotations

import re

import pytest

from probee.isa import assemble, disassemble
from probee.sys import kernel
from probee.sys.bpf import ProgAttr, VerifierLog

# A socket filter in which the verifier visits every line once: no branch can be decided.
EVERYTHING = """
    r6 = r1
    w7 = *(u32 *)(r6 + 0x8)
    w8 = *(u32 *)(r6 + 0x10)
    r7 += 5
    r7 -= -3
    w7 *= 11
    w7 /= 13
    r7 %= 17
    r7 s/= 3
    w7 s%= 5
    r8 |= r7
    r8 &= 255
    w8 ^= w7
    r8 <<= 3
    w8 >>= 2
    r8 s>>= 1
    w8 s>>= 1
    r7 = -r7
    w8 = -w8
    r7 = be16 r7
    r7 = le64 r7
    r8 = bswap32 r8
    r7 = (s8)r8
    r7 = (s32)r7
    w8 = (s16)w7
    r2 = 0x1122334455667788 ll
    *(u64 *)(r10 - 0x8) = r2
    *(u32 *)(r10 - 0x10) = w2
    *(u16 *)(r10 - 0xc) = 7
    *(u16 *)(r10 - 0xa) = -7
    *(u64 *)(r10 - 0x18) = -1
    r3 = *(u8 *)(r10 - 0x8)
    r3 = *(s8 *)(r10 - 0x8)
    r3 = *(s16 *)(r10 - 0x8)
    r3 = *(s32 *)(r10 - 0x8)
    r1 = 1
    lock *(u64 *)(r10 - 0x8) += r1
    lock *(u64 *)(r10 - 0x8) |= r1
    r1 = atomic_fetch_and((u64 *)(r10 - 0x8), r1)
    w1 = atomic_fetch_xor((u32 *)(r10 - 0x10), w1)
    r1 = xchg_64(r10 - 0x8, r1)
    r0 = 0
    r0 = cmpxchg_64(r10 - 0x8, r0, r1)
    r1 = load_acquire((u64 *)(r10 - 0x8))
    store_release((u64 *)(r10 - 0x18), r1)
    r0 = *(u8 *)skb[0xe]
    r0 = *(u16 *)skb[r7 + 0x2]
    call 7
    if r0 == 5 goto out
    if r0 > r7 goto out
    if w0 s< -7 goto out
    if w0 & 8 goto out
    gotol next
next:
    goto out
out:
    r0 = 0
    exit
"""


@pytest.mark.root
def test_the_verifier_prints_our_text() -> None:
    code = assemble(EVERYTHING)
    ours = disassemble(code, dialect="kernel")
    log = VerifierLog(1 << 20, level=2)
    try:
        kernel().close(kernel().prog_load(ProgAttr(1, code, "GPL", "everything"), log))
    except OSError as e:
        last = log.text.strip().splitlines()[-3:]
        if "unknown opcode" in log.text or "BPF_ALU uses reserved fields" in log.text:
            pytest.skip(f"this kernel lacks an instruction: {last}")
        raise AssertionError(f"{e}: {last}") from e
    theirs = dict(
        re.findall(r"(?:^|from \d+ to \d+: )(\d+): \([0-9a-f]{2}\) ([^;\n]*)", log.text, re.MULTILINE)
    )
    at = compared = 0
    for line in ours:
        printed = theirs.get(str(at))
        at += 2 if line.startswith("r2 = 0x1122334455667788") else 1
        if printed is None:
            continue  # never reached
        compared += 1
        expected = line.replace("call 7", "call bpf_get_prandom_u32#7")
        # Registers' states may follow behind.
        assert printed.rstrip() == expected or printed.startswith(expected + " "), (printed, expected)
    assert compared > 50
