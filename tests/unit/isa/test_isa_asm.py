"""The assembler: labels, comments, both dialects' spellings, and errors that name the line."""

from __future__ import annotations

import pytest

from probee.isa import assemble, decode
from probee.isa import insn as i_
from probee.isa.asm import AssemblyError
from probee.isa.insn import Insn, encode


def test_labels_forward_and_backward() -> None:
    code = assemble(
        """
        start:  r0 = 0            ; a comment
        again:  r0 += 1           // another
                if r0 < 10 goto again
                if w0 == 10 goto out
                # this whole line is one
                gotol start
        out:    exit
        """
    )
    assert [(n.off, n.imm) for n in decode(code)] == [(0, 0), (0, 1), (-2, 10), (1, 10), (0, -5), (0, 0)]


def test_a_wide_immediate_counts_twice() -> None:
    code = decode(assemble("r1 = 0x1122334455667788 ll\ngoto end\nr0 = 1\nend: exit"))
    assert code[0].imm == 0x55667788
    assert code[1].imm == 0x11223344
    assert code[2].off == 1


def test_calls() -> None:
    text = "call bpf_map_lookup_elem#1\ncall bpf_ktime_get_ns\ncall 7\ncall sub\ncall kfunc(9, 1)\nsub: exit"
    code = decode(assemble(text))
    assert [(n.src, n.imm) for n in code[:5]] == [(0, 1), (0, 5), (0, 7), (1, 1), (2, 9)]
    assert code[4].off == 1


def test_function_address_by_label() -> None:
    code = decode(assemble("r2 = func(cb) ll\nexit\ncb: exit"))
    assert (code[0].src, code[0].imm) == (i_.PSEUDO_FUNC, 2)


@pytest.mark.parametrize(
    ("text", "insn"),
    [
        ("r0 = *(u32 *)(r1 +8)", Insn(0x61, 0, 1, 8)),
        ("w0 = *(u32 *)(r1 + 0x8)", Insn(0x61, 0, 1, 8)),
        ("*(u8 *)(r10 -1) = 5", Insn(0x72, 10, 0, -1, 5)),
        ("if r1 == 0xfffffff9 goto pc-3", Insn(0x15, 1, 0, -3, -7)),
        ("r3 = atomic64_fetch_add((u64 *)(r1 +0), r3)", Insn(0xDB, 1, 3, 0, 1)),
        ("r0 = atomic_cmpxchg((u32 *)(r1 +4), r0, r2)", Insn(0xC3, 1, 2, 4, 0xF1)),
        ("w0 = cmpxchg32_32(r1 + 0x4, w0, w2)", Insn(0xC3, 1, 2, 4, 0xF1)),
        ("r1 s/= r2", Insn(0x3F, 1, 2, 1)),
        ("w1 = (s8)w2", Insn(0xBC, 1, 2, 8)),
        ("r1 = bswap32 r1", Insn(0xD7, 1, 0, 0, 32)),
        ("callx r3", Insn(0x8D, 3)),
    ],
)
def test_spellings_of_both_dialects(text: str, insn: Insn) -> None:
    assert assemble(text) == encode([insn])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r0 = 0\nbogus", "line 2: not a BPF instruction: bogus"),
        ("r11 = 0", "no register 11"),
        ("goto nowhere", "no label nowhere"),
        ("a: exit\na: exit", "line 2: this label is defined twice"),
        ("r1 = w2", "mixed"),
        ("r1 = 0x10000000000000000 ll", "does not fit in 64 bits"),
        ("w1 = 0x100000000", "does not fit in 32 bits"),
        ("r1 = *(u32 *)(r2 + 0x8000)", "does not fit in 16 bits"),
        ("w1 = *(u64 *)(r2 + 0)", "has 32 bits"),
        ("r1 = *(s64 *)(r2 + 0)", "no s64 load"),
        ("lock *(u16 *)(r1 + 0) += w2", "32 or 64 bits"),
        ("r1 = -r2", "in place"),
        ("w1 = (s32)w2", "64 bits"),
        ("r1 = map_fd(label) ll", "only func"),
    ],
)
def test_errors_say_what_and_where(text: str, message: str) -> None:
    with pytest.raises(AssemblyError, match=message):
        assemble(text)
