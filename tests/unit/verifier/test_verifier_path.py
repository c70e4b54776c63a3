"""The way to a refusal, as a log tells it: from one path to the next, through calls, round loops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from probee.verifier.explain import explain
from probee.verifier.explain_path import Trail

# Both sides of 1 end well when 2 goes on; the way on which 2 jumps is refused.
LOG = """\
0: R1=ctx() R10=fp0
; if (a)
0: (15) if r1 == 0x0 goto pc+4        ; R1=ctx()
1: (15) if r2 == 0x0 goto pc+1        ; R2=scalar()
2: (25) if r3 > 0x7 goto pc+3         ; R3=scalar()
3: (95) exit

from 2 to 6: safe

from 1 to 3: R1=ctx() R2=0 R10=fp0
3: (95) exit

from 0 to 5: R1=0 R10=fp0
; else if (c > 7)
5: (25) if r3 > 0x7 goto pc+3         ; R3=scalar()
6: (79) r1 = *(u64 *)(r7 +0)
R7 !read_ok
processed 7 insns
"""
LOOP = """\
0: (b7) r1 = 0                        ; R1=0
1: (07) r1 += 1                       ; R1=1
2: (a5) if r1 < 0x3 goto pc-2         ; R1=1
1: (07) r1 += 1                       ; R1=2
2: (a5) if r1 < 0x3 goto pc-2         ; R1=2
1: (07) r1 += 1                       ; R1=3
2: (a5) if r1 < 0x3 goto pc-2         ; R1=3
3: (79) r1 = *(u64 *)(r7 +0)
R7 !read_ok
"""


def test_paths_that_ended_are_left_out() -> None:
    assert [(step.insn, step.taken) for step in explain(LOG).path] == [(0, True), (5, False)]


def test_rounds_of_a_loop() -> None:
    assert [(step.insn, step.taken) for step in explain(LOOP).path] == [(2, True), (2, True), (2, False)]


def test_a_branch_is_taken_up_once_for_each_time_it_was_passed() -> None:
    trail = Trail()
    for insn in (0, 1, 0, 1, 0):
        trail.walk(insn, "if r1 == 0x0 goto pc+1" if insn == 0 else "exit", None)
    trail.read("from 0 to 2: R1=0")
    trail.walk(2, "exit", None)
    assert [(step.insn, step.taken) for step in trail.steps()] == [(0, False), (0, False), (0, True)]
    trail.read("from 0 to 2: safe")
    trail.read("from 0 to 2: R1=0")
    trail.walk(2, "exit", None)
    assert [(step.insn, step.taken) for step in trail.steps()] == [(0, True)]


@given(st.lists(st.sampled_from(LOG.splitlines() + LOOP.splitlines()), max_size=60))
def test_lines_in_any_order(lines: list[str]) -> None:
    assert all(step.insn >= 0 for step in explain("\n".join(lines)).path)
