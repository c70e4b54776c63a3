"""What changed between kernels, one rule at a time; and locks and interrupts, which are new."""

from __future__ import annotations

import pytest

from probee.btf import BtfBuilder, kernel_btf
from probee.errors import ProbeeError
from probee.isa.asm import assemble
from probee.isa.insn import CALL_IMM, PSEUDO_KFUNC_CALL, Insn, decode
from probee.isa.tables import MAP_TYPES, PROG_TYPES
from probee.verifier.program import MapInfo, Program
from probee.verifier.verdict import Verdict
from probee.verifier.verify import verify

KERNELS = ("5.10", "6.1", "6.12", "6.18")


def judge(code: str, kernel: str, *, kind: str = "socket_filter") -> Verdict:
    return verify(Program(decode(assemble(code)), PROG_TYPES[kind][0]), kernel=kernel)


# What is accepted -> the kernels that accept it.
CHANGED = {
    "a store and a narrower load": (
        "call 7\nr0 &= 7\n*(u64 *)(r10 - 8) = r0\nr1 = *(u8 *)(r10 - 8)\n"
        "r2 = r10\nr2 += -16\nr2 += r1\n*(u8 *)(r2 + 0) = 1\nr0 = 0\nexit",
        ("6.12", "6.18"),
    ),
    "a sum that stays tied": (
        "call 7\nr6 = r0\nr0 += 1\nif r6 > 6 goto out\nr2 = r10\nr2 += -16\nr2 += r0\n*(u8 *)(r2 + 0) = 1\n"
        "out:\nr0 = 0\nexit",
        ("6.12", "6.18"),
    ),
    "an end of a range that is ruled out": (
        "call 7\nr0 &= 16\nr0 >>= 1\nif r0 == 8 goto out\nr2 = r10\nr2 += -8\nr2 += r0\n*(u8 *)(r2 + 0) = 1\n"
        "out:\nr0 = 0\nexit",
        ("6.12", "6.18"),
    ),
    "a number that is negated": (
        "call 7\nr0 &= 7\nr0 = -r0\nr2 = r10\nr2 += -8\nr2 += r0\n*(u8 *)(r2 + 0) = 1\nr0 = 0\nexit",
        ("6.18",),
    ),
    "stack that was never written": ("r0 = *(u64 *)(r10 - 8)\nexit", ("6.12", "6.18")),
    "a fetching atomic": (
        "*(u64 *)(r10 - 8) = 0\nr1 = 1\nr1 = atomic_fetch_add((u64 *)(r10 - 8), r1)\nr0 = 0\nexit",
        ("6.1", "6.12", "6.18"),
    ),
    "a jump back from within": (
        "r0 = 0\ngoto in\nagain:\nr0 += 1\nin:\nif r0 < 4 goto again\nexit",
        ("6.12", "6.18"),
    ),
}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("what", CHANGED)
def test_what_changed(what: str, kernel: str) -> None:
    code, accepted = CHANGED[what]
    try:
        verdict = judge(code, kernel)
    except ProbeeError as error:  # the assembler has another word for it
        pytest.fail(f"{what}: {error}")
    assert verdict.verdict == ("accept" if kernel in accepted else "reject"), verdict


# ---- locks and interrupts


def locked() -> MapInfo:
    builder = BtfBuilder()
    word = builder.int_("unsigned int", 4, 0)
    lock = builder.struct("bpf_res_spin_lock", 4, [("val", word, 0)])
    value = builder.struct("value", 8, [("lock", lock, 0), ("n", word, 32)])
    return MapInfo(
        MAP_TYPES["array"][0], 4, 8, 1, name="locks", btf=builder.btf(), key_type=word, value_type=value
    )


def program(code: str) -> Program:
    """Lines of assembly; `kfunc NAME` calls a kernel function, `r1 = map` loads the map of locks."""
    kernel = kernel_btf()
    insns: list[Insn] = []
    made = Program([], PROG_TYPES["xdp"][0])
    info = locked()
    for line in code.strip().splitlines():
        line = line.strip()
        if line.startswith("kfunc "):
            name = line.removeprefix("kfunc ")
            made.kfuncs[len(insns)] = name
            insns.append(Insn(CALL_IMM, 0, PSEUDO_KFUNC_CALL, 0, kernel.find(name, 12) or 0))
        elif line == "r1 = map":
            made.map_refs[len(insns)] = info
            insns += [Insn(0x18, 1, 1), Insn(0)]
        else:
            insns += decode(assemble(line))
    made.insns = insns
    return made


LOOKUP = "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map\ncall 1\nif r0 == 0 goto +{}\nr6 = r0\n"
LOCK = "r1 = r6\nkfunc bpf_res_spin_lock\n"
UNLOCK = "r1 = r6\nkfunc bpf_res_spin_unlock\n"
FLAG = "r1 = r10\nr1 += -{}\n"
SAVE, RESTORE = FLAG + "kfunc bpf_local_irq_save\n", FLAG + "kfunc bpf_local_irq_restore\n"
DONE = "r0 = 2\nexit"

HELD = {
    "taken and given back": (LOOKUP.format(6) + LOCK + "if r0 != 0 goto +2\n" + UNLOCK + DONE, ""),
    "not known whether it was taken": (
        LOOKUP.format(5) + LOCK + UNLOCK + DONE,
        "bpf_res_spin_unlock without taking a lock",
    ),
    "kept": (LOOKUP.format(2) + LOCK + DONE, "cannot be used inside bpf_spin_lock-ed region"),
    "taken twice": (
        LOOKUP.format(9) + LOCK + "if r0 != 0 goto +5\n" + LOCK + "if r0 != 0 goto +2\n" + UNLOCK + DONE,
        "Acquiring the same lock again, AA deadlock detected",
    ),
    "interrupts off and on": (SAVE.format(8) + RESTORE.format(8) + DONE, ""),
    "interrupts left off": (SAVE.format(8) + DONE, "cannot be used inside bpf_local_irq_save-ed region"),
    "flags that were not saved": (RESTORE.format(8) + DONE, "expected an initialized irq flag as arg#0"),
    "flags saved over others": (
        SAVE.format(8) + SAVE.format(8) + DONE,
        "expected uninitialized irq flag as arg#0",
    ),
    "flags in the wrong order": (
        SAVE.format(8) + SAVE.format(16) + RESTORE.format(8) + DONE,
        "cannot restore irq state out of order",
    ),
    "flags that were written over": (
        SAVE.format(8) + "*(u64 *)(r10 - 8) = 0\n" + RESTORE.format(8) + DONE,
        "expected an initialized irq flag as arg#0",
    ),
    "flags of another family": (
        SAVE.format(24)
        + LOOKUP.format(10)
        + "r1 = r6\nr2 = r10\nr2 += -16\nkfunc bpf_res_spin_lock_irqsave\nif r0 != 0 goto +4\n"
        + "r1 = r6\nr2 = r10\nr2 += -24\nkfunc bpf_res_spin_unlock_irqrestore\n"
        + DONE,
        "irq flag acquired by native kfuncs cannot be restored with lock kfuncs",
    ),
}


@pytest.mark.parametrize("what", HELD)
def test_what_is_held(what: str) -> None:
    try:
        kernel = kernel_btf()
    except (OSError, ProbeeError) as error:
        pytest.skip(f"no BTF of the kernel: {error}")
    if kernel.find("bpf_res_spin_lock", 12) is None:
        pytest.skip("the kernel has no bpf_res_spin_lock (Linux 6.15)")
    code, words = HELD[what]
    verdict = verify(program(code), kernel="6.18", kernel_btf=kernel)
    assert verdict.verdict == ("reject" if words else "accept"), verdict
    assert words in verdict.message
