"""The integer rules in the kernel: every operator on every mix of types, against CPython, in one program."""

from __future__ import annotations

import random
import struct

import pytest

from probee import obj, sys
from probee.lang import ir, llvm
from probee.lang.builder import Builder, wrap
from probee.lang.types import I8, I32, I64, U8, U32, U64, Int, Member, Ptr, Space, Struct
from probee.sys.bpf import ProgAttr

pytestmark = pytest.mark.root

ARITH = ["+", "-", "*", "//", "%", "<<", ">>", "&", "|", "^"]
COMPARE = ["==", "!=", "<", "<=", ">", ">="]
MIXES = [(I64, I64), (U64, U64), (I64, U64), (U64, I64), (I64, U32), (I32, I64), (U8, I8)]
CONSTANTS = [1, 2, 3, 7, 10, 1000, -1, -3, 2**40]
EDGES = [0, 1, -1, 2, -2, 7, -7, 63, 64, 2**31, -(2**31), 2**63 - 1, -(2**63), 2**64 - 1]
BPF_PROG_TYPE_SYSCALL = 31


def case_list() -> list[tuple[str, Int, Int, int | None]]:
    out: list[tuple[str, Int, Int, int | None]] = [
        (op, a, b, None) for op in ARITH + COMPARE for a, b in MIXES
    ]
    out += [(op, t, I64, n) for op in ("//", "%", "<", ">=") for t in (I64, U64, I32) for n in CONSTANTS]
    return out


def python(op: str, a: int, ta: Int, b: int, tb: Int) -> int:
    compare = {"==": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}
    if op in compare:
        return int(compare[op])
    if op in ("<<", ">>"):
        if not 0 <= b < 64:
            return -1 if op == ">>" and a < 0 else 0
        return wrap(a << b if op == "<<" else a >> b, I64 if ta.signed else U64)
    kind = I64 if ta.signed and tb.signed else U64
    a, b = wrap(a, kind), wrap(b, kind)
    if b == 0 and op in ("//", "%"):
        return 0 if op == "//" else a
    return wrap(eval(f"a {op} b"), kind)


def program(cases: list[tuple[str, Int, Int, int | None]]) -> bytes:
    members = [Member("a", U64, 0), Member("b", U64, 64)]
    members += [Member(f"r{i}", I64, 128 + 64 * i) for i in range(len(cases))]
    context = Struct("context", 8 * len(members), tuple(members))
    param = ir.Param(0, "ctx", Ptr(context, Space.CONTEXT))
    fn = ir.Function("integers", [param], I32, section="syscall", file=__file__, line=1)
    module = ir.Module()
    module.functions.append(fn)
    b = Builder(fn)

    def at(name: str) -> ir.Value:
        place = b.field(param, name)
        assert place is not None
        return place

    for i, (op, ta, tb, constant) in enumerate(cases):
        left = b.widen(b.cast(b.read(at("a")), ta))
        right = b.const(constant) if constant is not None else b.widen(b.cast(b.read(at("b")), tb))
        value = b.compare(op, left, right) if op in COMPARE else b.arith(op, left, right)
        b.write(at(f"r{i}"), value)
    b.ret()
    return llvm.emit(module)


def pairs() -> list[tuple[int, int]]:
    chosen = random.Random(1)
    out = [(x, y) for x in EDGES for y in EDGES]
    return out + [(chosen.getrandbits(64), chosen.getrandbits(chosen.randint(1, 64))) for _ in range(100)]


@pytest.mark.parametrize("op", ARITH + COMPARE)
def test_integers_are_pythons(op: str) -> None:
    cases = [case for case in case_list() if case[0] == op]
    linked = obj.read_object(program(cases), "integers").programs["integers"].link()
    kernel = sys.kernel()
    attr = ProgAttr(BPF_PROG_TYPE_SYSCALL, linked.insns, "GPL", "integers")
    attr.flags = 1 << 4  # BPF_F_SLEEPABLE, which this type asks for
    fd = kernel.prog_load(attr)
    try:
        for x, y in pairs():
            x, y = wrap(x, U64), wrap(y, U64)
            context = bytearray(struct.pack("<QQ", x, y) + bytes(8 * len(cases)))
            kernel.prog_test_run(
                fd, ctx=context, repeat=0, ctx_out=False
            )  # this type writes it back in place
            results = struct.unpack_from(f"<{len(cases)}Q", context, 16)
            for (_, ta, tb, constant), got in zip(cases, results, strict=True):
                a, b = wrap(x, ta), wrap(y, tb) if constant is None else constant
                want = wrap(python(op, a, ta, b, tb), U64)
                assert got == want, f"{a} {op} {b} ({ta!r}, {tb!r})"
    finally:
        kernel.close(fd)
