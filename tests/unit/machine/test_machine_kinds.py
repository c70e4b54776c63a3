"""A program of each kind of the language, from Python through a machine to its effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import machine_kinds
import probee as bp
from machine_kinds import CASES, Event
from probee.isa.sections import SECTIONS, match
from probee.lang.decl import programs
from probee.lang.kinds import decorators, tracing_decorators
from probee.machine.machine import Machine

# Sections of C that a program in Python is not put in: other names of what it is put in, and kinds that the
# language does not have.
OTHER_NAMES = {
    *("classifier", "tc/ingress", "tc/egress", "tracepoint", "raw_tracepoint", "raw_tracepoint.w"),
    *("sk_skb", "cgroup/skb", "cgroup/sock", "xdp.frags/devmap", "xdp.frags/cpumap"),
}
NOT_IN_PYTHON = {"fsession", "fentry.multi", "fexit.multi", "fsession.multi"}


@pytest.fixture(scope="module")
def m() -> Iterator[Machine]:
    with bp.Machine(machine_kinds, btf="shipped") as made:
        yield made


@pytest.mark.parametrize(("program", "event", "expected"), CASES, ids=[c[0].name for c in CASES])
def test_kind(m: Machine, program: Any, event: Event, expected: Any) -> None:
    before = m.programs[program.name].runs
    assert event(m) == expected
    assert m.programs[program.name].runs > before


def test_each_kind_of_the_language_is_tried() -> None:
    tried = {program.kind for program, _, _ in CASES}
    made = {
        name
        for module in (decorators, tracing_decorators, programs)
        for name, value in vars(module).items()
        if getattr(value, "__module__", "") == module.__name__ and callable(value) and name[0] != "_"
    }
    helpers = {"make", "one_of", "ProgramDecl", "programs_in", "symbols"}
    assert {"iter" if name == "iter_map" else name for name in made - helpers} == tried


def test_each_section_is_tried(m: Machine) -> None:
    found = [match(m.programs[program.name].section) for program, _, _ in CASES]
    tried = {section for section, _ in found}
    known = {section for section in SECTIONS if not section.endswith(".s")}
    assert known - tried == OTHER_NAMES | NOT_IN_PYTHON


def test_each_program_type_of_the_sections_has_a_builder(m: Machine) -> None:
    assert {type for type, _, _ in SECTIONS.values()} <= set(m._builders())
