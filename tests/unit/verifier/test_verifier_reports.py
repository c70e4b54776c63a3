"""The report that Linux 7.3 puts behind the log, in the shapes it has had, and what is made of it."""

from __future__ import annotations

import pytest

from probee.verifier.explain import explain

STATISTICS = (
    "processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"
)

# Without line info: the place is an instruction.
BARE = f"""\
0: R1=ctx() R10=fp0
0: (bf) r6 = r1                       ; R1=ctx() R6=ctx()
1: (95) exit
R0 !read_ok

Verification failed: Register Type Safety: Unreadable register

Reason:
  R0 was not set on the way to this instruction.

At:
  insn 1
        | ^-- error: R0 can't be read
  Instruction context:
        0 | (bf) r6 = r1
  >>>   1 | (95) exit

Causal path:
  no retained diagnostic events on this path

Suggestion:
  Give R0 a value on each path that leads here.

{STATISTICS}"""

# Source and instructions under each other; a reason over two lines; two steps on the way.
STACKED = f"""\
5: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=runs,ks=4,vs=8)
; v += 1 @ tool.py:12
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'

Verification failed: Register Type Safety: Invalid dereference

Reason:
  R0 may be NULL here. The look-up that made it finds nothing
  where there is no such key.

At:
  count @ tool.py:12:4
  Source context:
      11 | v = runs[1]
  >>> 12 | v += 1
         | ^-- error: R0 is read through, though it may
         |     be NULL
      13 | ...
  Instruction context:
      6 | (15) if r0 == 0x0 goto pc+2
  >>> 7 | (79) r1 = *(u64 *)(r0 +0)

Causal path:
  count @ tool.py:11:0
  Source context:
  >>> 11 | v = runs[1]
         | ^-- update: R0 became a value of the map or NULL
  Instruction context:
  >>> 5 | (85) call bpf_map_lookup_elem#1

  tool.py:12:4
  Source context:
  >>> 12 | v += 1
         | ^-- branch: took the false branch

Suggestion:
  Compare it with NULL first.

{STATISTICS}"""

# Source and instructions side by side, as the first kernels with reports had it.
BESIDE = f"""\
4: (79) r0 = *(u64 *)(r0 +8)
R0 invalid mem access 'scalar'

Verification failed: Register Type Safety: Invalid dereference

Reason:
  R0 is a number.

At:
  entry @ case.c:128:2
      127 | ...                                          3 | (79) r0 = *(u64 *)(r10 -8)
  >>> 128 |     x = *p;                              >>> 4 | (79) r0 = *(u64 *)(r0 +8)
          |     ^-- error: R0 is no pointer
      129 | ...                                          5 | (95) exit

Causal path:
  no retained diagnostic events on this path

Suggestion:
  Keep the pointer.

{STATISTICS}"""

NEW_CAUSE = f"""\
3: (95) exit
somebody thought of another rule

Verification failed: Fancy Rules: Rule 7

Reason:
  Rule 7 says no.

At:
  insn 3
        | ^-- error: here

Suggestion:
  Do it another way.

{STATISTICS}"""


def test_a_report_without_source() -> None:
    found = explain(BARE)
    assert (found.id, found.insn) == ("unset-register", 1)
    assert found.last_words == "R0 !read_ok"
    report = found.report
    assert report is not None
    assert (report.category, report.title) == ("Register Type Safety", "Unreadable register")
    assert report.reason == "R0 was not set on the way to this instruction."
    assert report.suggestion == "Give R0 a value on each path that leads here."
    assert report.at is not None
    assert (report.at.insn, report.at.label, report.at.text) == (1, "error", "R0 can't be read")
    assert report.path == []
    assert found.registers["r6"].words == "the context"


def test_a_report_with_source() -> None:
    found = explain(STACKED)
    assert (found.id, found.insn) == ("maybe-null", 7)
    assert found.place is not None
    assert (found.place.file, found.place.line, found.place.column) == ("tool.py", 12, 4)
    assert found.place.source == "v += 1"
    assert found.known == "r0 is a value of map runs (8 bytes), or None"
    assert found.message("count").startswith(
        "tool.py:12: the verifier refuses count at `v += 1`: R0 invalid mem access 'map_value_or_null' (a "
    )
    report = found.report
    assert report is not None
    assert report.reason.endswith("finds nothing where there is no such key.")
    assert report.at is not None
    assert report.at.text == "R0 is read through, though it may be NULL"
    first, second = report.path
    assert first.place is not None
    assert (first.place.line, first.place.source, first.insn, first.label) == (11, "v = runs[1]", 5, "update")
    assert first.text == "R0 became a value of the map or NULL"
    assert (second.label, second.text) == ("branch", "took the false branch")


def test_a_report_side_by_side() -> None:
    found = explain(BESIDE)
    assert (found.id, found.insn) == ("not-a-pointer", 4)
    assert found.place is not None
    assert (found.place.line, found.place.source) == (128, "x = *p;")
    assert found.report is not None
    assert found.report.at is not None
    assert (found.report.at.insn, found.report.at.text) == (4, "R0 is no pointer")


def test_what_we_do_not_know_the_kernel_tells() -> None:
    found = explain(NEW_CAUSE)
    assert found.id == ""
    assert (found.cause, found.fix) == ("Rule 7 says no", "Do it another way")
    assert "(Rule 7 says no; Do it another way)" in found.message("p")


def test_a_report_alone() -> None:
    found = explain(NEW_CAUSE[NEW_CAUSE.index("Verification failed") :])
    assert found.last_words == "Rule 7"
    assert found.insn == 3


@pytest.mark.parametrize("cut", range(0, len(STACKED), 37))
def test_a_report_that_was_cut(cut: int) -> None:
    """A log buffer that was too small ends, or begins, anywhere."""
    assert "refuses p" in explain(STACKED[:cut]).message("p")
    assert "refuses p" in explain(STACKED[cut:]).message("p")
