"""The commonest families of refusals: our verdict and the kernel's log are explained by the same cause."""

from __future__ import annotations

import pytest

from probee.cli.verify_live import LiveKernel
from probee.isa.asm import assemble
from probee.isa.insn import decode
from probee.isa.tables import MAP_TYPES, PROG_TYPES
from probee.obj.spec import LinkedProgram
from probee.verifier.explain import explain
from probee.verifier.explain_verdict import explain_verdict
from probee.verifier.objects import Prepared
from probee.verifier.program import MapInfo, Program
from probee.verifier.verify import verify

LOOKUP = """
    *(u32 *)(r10 - 4) = 0
    r2 = r10
    r2 += -4
    r1 = map[0]
    call 1
"""
ARRAY = MapInfo(MAP_TYPES["array"][0], 4, 16, 4, name="table")
HASH = MapInfo(MAP_TYPES["hash"][0], 4, 16, 4, name="table")
READONLY = MapInfo(MAP_TYPES["array"][0], 4, 16, 4, flags=1 << 7, name="table")
PROGRAMS = MapInfo(MAP_TYPES["prog_array"][0], 4, 4, 4, name="programs")
RING = MapInfo(MAP_TYPES["ringbuf"][0], 0, 0, 4096, name="ring")
DONE = "r0 = 0\nexit\n"

# family -> program type, code, map, cause, licence
FAMILIES: dict[str, tuple[str, str, MapInfo | None, str, bool]] = {
    "packet without a check": (
        "xdp",
        "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nexit",
        None,
        "packet-bounds",
        True,
    ),
    "a number as a pointer": (
        "socket_filter",
        "r1 = 7\nr0 = *(u64 *)(r1 + 0)\nexit",
        None,
        "not-a-pointer",
        True,
    ),
    "beyond a map's value": (
        "socket_filter",
        LOOKUP + f"if r0 == 0 goto out\nr1 = *(u64 *)(r0 + 12)\nout:\n{DONE}",
        ARRAY,
        "value-bounds",
        True,
    ),
    "an index that is too large": (
        "socket_filter",
        "r6 = *(u32 *)(r1 + 0)\n"
        + LOOKUP
        + f"if r0 == 0 goto out\nr6 &= 31\nr0 += r6\nr1 = *(u8 *)(r0 + 0)\nout:\n{DONE}",
        ARRAY,
        "value-bounds",
        True,
    ),
    "a number where a pointer belongs": (
        "socket_filter",
        f"r1 = 5\nr2 = r10\ncall 1\n{DONE}",
        None,
        "argument",
        True,
    ),
    "a register that was never set": ("socket_filter", "r0 = r5\nexit", None, "unset-register", True),
    "a length without a bound": (
        "raw_tracepoint",
        f"r2 = *(u64 *)(r1 + 0)\nr1 = r10\nr1 += -8\nr3 = 0\ncall 113\n{DONE}",
        None,
        "unbounded",
        True,
    ),
    "a length that may be 0": (
        "socket_filter",
        f"r4 = *(u32 *)(r1 + 0)\nr4 &= 7\nr2 = 0\nr3 = r10\nr3 += -8\ncall 26\n{DONE}",
        None,
        "zero-size",
        True,
    ),
    "a look-up that was not checked": (
        "socket_filter",
        LOOKUP + f"r1 = *(u64 *)(r0 + 0)\n{DONE}",
        HASH,
        "maybe-null",
        True,
    ),
    "an offset without a bound": (
        "socket_filter",
        "r6 = *(u32 *)(r1 + 0)\nr6 <<= 32\n" + LOOKUP + f"if r0 == 0 goto out\nr0 += r6\nout:\n{DONE}",
        ARRAY,
        "unbounded",
        True,
    ),
    "a helper of another hook": ("socket_filter", f"call 65\n{DONE}", None, "helper", True),
    "a helper for the GPL": (
        "raw_tracepoint",
        f"r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall 113\n{DONE}",
        None,
        "license",
        False,
    ),
    "a misaligned access": ("socket_filter", f"*(u64 *)(r10 - 12) = 0\n{DONE}", None, "misaligned", True),
    "beyond the stack": ("socket_filter", f"*(u64 *)(r10 - 520) = 0\n{DONE}", None, "stack-bounds", True),
    "a field the context has not": ("socket_filter", "r0 = *(u32 *)(r1 + 76)\nexit", None, "context", True),
    "arithmetic on pointers": ("socket_filter", f"r10 *= 2\n{DONE}", None, "", True),
    "pointers that are multiplied": (
        "socket_filter",
        f"r2 = r10\nr2 *= 2\n{DONE}",
        None,
        "pointer-arithmetic",
        True,
    ),
    "code that is not reached": ("socket_filter", f"{DONE}{DONE}", None, "control-flow", True),
    "memory that may only be read": (
        "socket_filter",
        LOOKUP + f"if r0 == 0 goto out\n*(u64 *)(r0 + 0) = 1\nout:\n{DONE}",
        READONLY,
        "map-flags",
        True,
    ),
    "a loop without an end": (
        "socket_filter",
        "again:\nr0 = 0\nif r0 == 0 goto again\nexit",
        None,
        "",
        True,
    ),
    "a value that may not be returned": ("cgroup_skb", "r0 = 7\nexit", None, "return-value", True),
    "too much stack": (
        "socket_filter",
        "*(u64 *)(r10 - 400) = 0\ncall below\nexit\nbelow:\n*(u64 *)(r10 - 304) = 0\nr0 = 0\nexit",
        None,
        "stack-depth",
        True,
    ),
    "a map of the wrong kind": ("socket_filter", LOOKUP + DONE, PROGRAMS, "map-kind", True),
    "a reference that is kept": (
        "socket_filter",
        "r1 = map[0]\nr2 = 8\nr3 = 0\ncall 131\n" + DONE,
        RING,
        "leak",
        True,
    ),
    "a record that was submitted": (
        "socket_filter",
        "r1 = map[0]\nr2 = 8\nr3 = 0\ncall 131\nif r0 == 0 goto out\nr6 = r0\nr1 = r0\nr2 = 0\ncall 132\n"
        + f"*(u64 *)(r6 + 0) = 1\nout:\n{DONE}",
        RING,
        "not-a-pointer",
        True,
    ),
    "a lock in the wrong place": ("socket_filter", f"r1 = r10\nr1 += -8\ncall 93\n{DONE}", None, "", True),
}


def made(family: str) -> Prepared:
    kind, code, info, _, gpl = FAMILIES[family]
    insns = decode(assemble(code.replace("map[0]", "0 ll")))
    program = Program(insns, PROG_TYPES[kind][0], name="program", gpl=gpl)
    for at, insn in enumerate(insns):
        if info is not None and insn.opcode == 0x18:
            insn.src = 1
            program.map_refs[at] = info
            program.insns[at] = insn
    return Prepared(program, LinkedProgram("program", "little"), {}, lambda insn: {})


@pytest.mark.parametrize("family", FAMILIES)
def test_our_verdict_is_explained(family: str) -> None:
    prepared = made(family)
    verdict = verify(prepared.program, kernel="6.18", log_level=2)
    assert verdict.verdict == "reject"
    told = explain_verdict(prepared, verdict).explanation
    wanted = FAMILIES[family][3]
    assert told.cause, verdict.message
    assert told.fix
    if wanted:
        assert told.id == wanted, (verdict.message, told.id)


@pytest.mark.root
@pytest.mark.parametrize("family", FAMILIES)
def test_the_kernels_log_is_explained_by_the_same_cause(family: str) -> None:
    prepared = made(family)
    ours = explain_verdict(prepared, verify(prepared.program, log_level=2)).explanation
    with LiveKernel() as live:
        verdict, _ = live.verify(prepared.program, level=2)
    assert verdict.verdict == "reject"
    theirs = explain(verdict.log)
    assert (theirs.id, theirs.cause, theirs.fix) == (ours.id, ours.cause, ours.fix)
