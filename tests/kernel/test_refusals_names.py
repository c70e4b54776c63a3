"""Refusals tell what was known of variables by their names: of C objects and of programs in Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import probee as bp
from c_objects import object_from_c
from probee import u64
from probee.errors import VerifierError
from probee.kernel.load import load
from probee.obj import read_object
from probee.verifier.explain_verdict import explain_verdict
from probee.verifier.objects import Objects
from probee.verifier.verify import verify

pytestmark = pytest.mark.root

C = """\
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } values SEC(".maps");
SEC("raw_tp/sched_switch") int p(u64 *ctx) {
    u32 slot = 1;
    u64 *found = LOOKUP(&values, &slot);
    u64 before = NOW();
    return *found + before; }
"""
BEFORE = """
static void *(*LOOKUP)(void *, const void *) = (void *)1;
static u64 (*NOW)(void) = (void *)5;
"""
seen = bp.Array[u64](4)


@bp.raw_tracepoint("sched_switch")
def endless(a, b, c):  # type: ignore[no-untyped-def]
    total = 0
    drawn = bp.get_prandom_u32()
    while drawn != 5:
        drawn = bp.get_prandom_u32()
        total += drawn
    seen[0] = total


def test_of_c_objects(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, C, before=BEFORE)
    with pytest.raises(VerifierError) as caught:
        load(spec)
    told = caught.value.explanation
    assert told is not None
    assert "or None" in told.variables["found"]
    assert "found (r" in told.known
    ours = Objects(spec, None).prepare(spec.programs["p"])
    refusal = explain_verdict(ours, verify(ours.program, log_level=2))
    assert refusal.explanation.variables["found"] == told.variables["found"]
    assert [(known.name, known.line) for known in refusal.known] == [("found", 4)]


def test_the_way_is_the_same_to_the_kernel_and_to_us(tmp_path: Path) -> None:
    text = C.replace(
        "return *found", "if (before > 5) {\n if (NOW() == 9) return 0;\n return *found; }\n return before"
    )
    spec = object_from_c(tmp_path, text, before=BEFORE)
    with pytest.raises(VerifierError) as caught:
        load(spec)
    assert caught.value.explanation is not None
    theirs = [(step.insn, step.taken) for step in caught.value.explanation.path]
    assert len(theirs) == 2
    prepared = Objects(spec, None).prepare(spec.programs["p"])
    for level in (1, 2):
        told = explain_verdict(prepared, verify(prepared.program, log_level=level)).explanation
        assert [(step.insn, step.taken) for step in told.path] == theirs


def test_of_programs_in_python() -> None:
    with pytest.raises(VerifierError) as caught, bp.attach(endless):
        pass
    told = caught.value.explanation
    assert told is not None
    assert told.last_words.startswith("BPF program is too large")
    assert "total" not in told.variables or "number" in told.variables["total"]


def test_without_dwarf_there_are_registers(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, C, before=BEFORE)
    spec.debug = None
    with pytest.raises(VerifierError) as caught:
        load(spec)
    told = caught.value.explanation
    assert told is not None
    assert told.variables == {}
    assert told.known.startswith("r")
    spec = object_from_c(tmp_path, C, before=BEFORE)
    spec.debug = lambda: b"nothing of use"
    with pytest.raises(VerifierError) as caught:
        load(spec)
    assert read_object((tmp_path / "program.bpf.o").read_bytes()).debug is not None


def test_variables_of_python_by_register() -> None:
    """The verifier's own verdict on a file, without loading anything."""
    from probee.lang import compile

    data = compile([endless])
    spec = read_object(data)
    spec.debug = lambda: compile([endless], debug="names")
    prepared = Objects(spec, None).prepare(spec.programs["endless"])
    named = {where for insn in range(len(prepared.program.insns)) for where in prepared.names(insn).values()}
    assert {"total", "drawn"} <= named
