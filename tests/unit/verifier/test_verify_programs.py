"""Verdicts on small programs, in Linux 6.18's words."""

from __future__ import annotations

import pytest

from probee.isa.insn import Insn
from probee.verifier.program import MapInfo, Program
from probee.verifier.verify import verify

SOCKET_FILTER, SCHED_CLS, KPROBE, XDP = 1, 3, 2, 6
EXIT = Insn(0x95)
LOOKUP, UPDATE, RINGBUF_RESERVE, RINGBUF_SUBMIT, KTIME = 1, 2, 131, 132, 5


def mov(dst: int, imm: int) -> Insn:
    return Insn(0xB7, dst, 0, 0, imm)


def copy(dst: int, src: int) -> Insn:
    return Insn(0xBF, dst, src)


def add(dst: int, imm: int) -> Insn:
    return Insn(0x07, dst, 0, 0, imm)


def load(dst: int, src: int, off: int, code: int = 0x79) -> Insn:
    return Insn(code, dst, src, off)


def store(dst: int, off: int, src: int, code: int = 0x7B) -> Insn:
    return Insn(code, dst, src, off)


def call(helper: int) -> Insn:
    return Insn(0x85, 0, 0, 0, helper)


def map_ref(dst: int) -> list[Insn]:
    return [Insn(0x18, dst, 1), Insn(0)]


HASH = MapInfo(1, 8, 48, 1)
RING = MapInfo(27, 0, 0, 4096)
KEY = [Insn(0x7A, 10, 0, -8, 0), copy(2, 10), add(2, -8), *map_ref(1), call(LOOKUP)]


def check(insns: list[Insn], kind: int = SOCKET_FILTER, info: MapInfo | None = None) -> str:
    refs = {at: info for at, insn in enumerate(insns) if insn.opcode == 0x18 and info is not None}
    verdict = verify(Program(insns, kind, map_refs=refs), kernel="6.18")
    return "" if verdict.accepted else f"{verdict.verdict}: {verdict.message}"


GOOD = {
    "a number": [mov(0, 0), EXIT],
    "a value that was checked": [*KEY, Insn(0x15, 0, 0, 1, 0), mov(1, 0), mov(0, 0), EXIT],
    "a loop that ends": [mov(0, 0), add(0, 1), Insn(0xA5, 0, 0, -2, 10), mov(0, 0), EXIT],
    "a call of a subprogram": [mov(1, 5), Insn(0x85, 0, 1, 0, 1), EXIT, copy(0, 1), EXIT],
    "a spill and its fill": [store(10, -8, 1), load(1, 10, -8), load(0, 1, 0, 0x61), EXIT],
}
BAD = {
    "R0 !read_ok": [EXIT],
    "last insn is not an exit or jmp": [mov(0, 0)],
    "unreachable insn 2": [mov(0, 0), EXIT, mov(0, 0), EXIT],
    "jump out of range from insn 0 to 8": [Insn(0x05, 0, 0, 7), EXIT],
    "frame pointer is read only": [mov(10, 0), EXIT],
    "R1 invalid mem access 'scalar'": [mov(1, 8), load(0, 1, 0), EXIT],
    "invalid write to stack R10 off=8 size=8": [Insn(0x7A, 10, 0, 8, 0), mov(0, 0), EXIT],
    "div by zero": [mov(0, 1), Insn(0x37, 0, 0, 0, 0), EXIT],
    "infinite loop detected at insn 1": [mov(0, 0), Insn(0x15, 0, 0, -1, 0), EXIT],
    "R1 pointer += pointer prohibited": [Insn(0x0F, 1, 10), mov(0, 0), EXIT],
    "misaligned stack access off 0+0+-7 size 4": [Insn(0x62, 10, 0, -7, 0), mov(0, 0), EXIT],
    "the call stack of 9 frames is too deep": [Insn(0x85, 0, 1, 0, 1), EXIT, Insn(0x85, 0, 1, 0, -1), EXIT],
}
BAD_WITH_MAP = {
    "R0 invalid mem access 'map_value_or_null'": [*KEY, load(0, 0, 0), EXIT],
    "R0 min value is outside of the allowed memory range": [
        *KEY,
        Insn(0x55, 0, 0, 1, 0),
        EXIT,
        load(0, 0, 48),
        EXIT,
    ],
    "R1 unbounded memory access, make sure to bounds check any such access": [
        *KEY,
        Insn(0x55, 0, 0, 1, 0),
        EXIT,
        load(1, 0, 0, 0x61),
        Insn(0x0F, 0, 1),
        copy(1, 0),
        load(0, 1, 0, 0x71),
        EXIT,
    ],
}


@pytest.mark.parametrize("what", GOOD)
def test_accepted(what: str) -> None:
    assert check(GOOD[what], info=HASH) == ""


@pytest.mark.parametrize("message", BAD)
def test_refused(message: str) -> None:
    assert check(BAD[message]) == f"reject: {message}"


@pytest.mark.parametrize("message", BAD_WITH_MAP)
def test_refused_with_a_map(message: str) -> None:
    assert check(BAD_WITH_MAP[message], info=HASH) == f"reject: {message}"


PACKET = [load(2, 1, 0, 0x61), load(3, 1, 4, 0x61), copy(4, 2), add(4, 14), Insn(0x2D, 4, 3, 1)]


def test_packets_are_read_behind_a_check() -> None:
    assert check([*PACKET, load(0, 2, 12, 0x69), mov(0, 2), EXIT], XDP) == ""
    beyond = check([*PACKET, load(0, 2, 13, 0x69), mov(0, 2), EXIT], XDP)
    assert beyond == "reject: R2 offset is outside of the packet"


def test_a_reference_is_given_back() -> None:
    reserve = [*map_ref(1), mov(2, 8), mov(3, 0), call(RINGBUF_RESERVE), Insn(0x15, 0, 0, 3, 0)]
    submit = [copy(1, 0), mov(2, 0), call(RINGBUF_SUBMIT)]
    assert check([*reserve, *submit, mov(0, 0), EXIT], info=RING) == ""
    kept = check([*reserve, mov(1, 0), mov(1, 0), mov(1, 0), mov(0, 0), EXIT], info=RING)
    assert kept == "reject: BPF_EXIT instruction in main prog would lead to reference leak"


def test_helpers_go_by_program_and_licence() -> None:
    insns = [call(14), mov(0, 0), EXIT]
    assert check([call(113), mov(0, 0), EXIT], XDP).startswith("reject: ")
    program = Program([mov(1, 0), mov(2, 0), mov(3, 0), call(6), EXIT], KPROBE, gpl=False)
    words = "cannot call GPL-restricted function from non-GPL compatible program"
    assert verify(program, kernel="6.18").message == words
    assert check(insns, KPROBE) == ""


def test_what_is_not_modelled_is_never_accepted() -> None:
    verdict = verify(Program([Insn(0x85, 0, 2, 0, 5), mov(0, 0), EXIT], SCHED_CLS), kernel="6.18")
    assert verdict.verdict == "unsupported"
    assert "BTF" in verdict.message


def test_statistics_and_the_stack() -> None:
    program = Program([Insn(0x7A, 10, 0, -64, 1), mov(0, 0), EXIT], SOCKET_FILTER)
    verdict = verify(program, kernel="6.18")
    assert (verdict.insns_processed, verdict.stack_depth) == (3, [64])


def test_the_longest_path_is_counted() -> None:
    insns = [call(KTIME), Insn(0x15, 0, 0, 2, 7), mov(1, 1), mov(1, 2), mov(0, 0), EXIT]
    verdict = verify(Program(insns, SOCKET_FILTER), kernel="6.18")
    assert (verdict.insns_processed, verdict.worst_path) == (8, 6)
