"""Reading logs: registers and frames, old words and new, garbage; how many verdicts have a cause."""

from __future__ import annotations

import json
import lzma
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import REPO, shared_data
from probee.verifier.explain import Register, explain
from probee.verifier.explain_causes import CAUSES
from probee.verifier.explain_reading import REPORT, read_report

CALLS = """\
0: R1=ctx() R10=fp0
0: (bf) r6 = r1                       ; R1=ctx() R6_w=ctx()
1: (85) call pc+3
caller:
 R6_w=ctx() R10=fp0
callee:
 frame1: R1=ctx() R10=fp0
5: frame1: R1=ctx() R10=fp0
5: (b7) r7 = 3                        ; frame1: R7_w=3
6: (7b) *(u64 *)(r10 -8) = r7         ; frame1: R7_w=3 R10=fp0 fp-8_w=3
7: (61) r0 = *(u32 *)(r1 +9999)
invalid bpf_context access off=9999 size=4
processed 6 insns
"""

BRANCHES = """\
0: R1=ctx() R10=fp0
0: (b7) r7 = 1                        ; R7_w=1
1: (85) call bpf_get_prandom_u32#7    ; R0_w=scalar()
2: (15) if r0 == 0x5 goto pc+2        ; R0_w=scalar()
3: (b7) r8 = 2                        ; R8_w=2
4: (95) exit

from 2 to 5: R0_w=5 R7_w=1 R10=fp0
5: (79) r1 = *(u64 *)(r7 +0)
R7 invalid mem access 'scalar'
processed 7 insns
"""

OLDER = """\
; if (v)
4: (15) if r0 == 0x0 goto pc+3
 R0_w=map_value(id=0,off=0,ks=4,vs=8,imm=0) R6_w=invP7 R10=fp0 fp-8=mmmm????
5: (71) r1 = *(u8 *)(r0 +8)
invalid access to map value, value_size=8 off=8 size=1
R0 min value is outside of the allowed memory range
processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


def test_only_the_states_of_the_function_count() -> None:
    found = explain(CALLS)
    assert set(found.registers) == {"r1", "r7", "r10"}
    assert found.registers["r7"].value == 3
    assert found.stack == {"fp-8": "3"}
    assert found.id == "context"


def test_another_path_begins_anew() -> None:
    found = explain(BRANCHES)
    assert set(found.registers) == {"r0", "r7", "r10"}
    assert found.registers["r0"].value == 5
    assert found.insn == 5


def test_states_of_older_kernels() -> None:
    found = explain(OLDER)
    assert found.registers["r0"].kind == "map_value"
    assert found.registers["r0"].facts["vs"] == "8"
    assert found.registers["r6"].value == 7
    assert found.stack == {"fp-8": "mmmm????"}
    assert found.id == "value-bounds"
    assert "may reach byte 9 of a value of 8" in found.cause


def test_a_register_has_facts() -> None:
    register = Register("scalar(smin=0,smax=umax=0xff,var_off=(0x0; 0xff))")
    assert register.kind == "scalar"
    assert register.bounds == (0, 255)
    assert register.value is None
    assert not register.or_null
    assert Register("map_value_or_null(id=1,map=m,ks=4,vs=8)").or_null
    assert Register("-5").value == -5
    assert Register("0xffffffff").bounds == (0xFFFFFFFF, 0xFFFFFFFF)


def test_a_loop_that_was_seen_twice() -> None:
    log = """\
2: (05) goto pc-1
infinite loop detected at insn 2
cur state: R1=ctx() R10=fp0
old state: R1=ctx() R10=fp0
processed 3 insns
"""
    found = explain(log)
    assert (found.id, found.insn) == ("endless-loop", 2)
    assert found.last_words == "infinite loop detected at insn 2"


def test_statistics_may_stick_to_the_verdict() -> None:
    found = explain(
        "5: (95) exit\ninsn 3 cannot call exception cb directlyverification time 9 usec\nstack depth 0\n"
    )
    assert found.last_words == "insn 3 cannot call exception cb directly"


def test_ids_are_words() -> None:
    ids = {cause.id for cause in CAUSES}
    assert len(ids) >= 25
    assert all(id.replace("-", "").isalpha() and id == id.lower() for id in ids)
    assert {c.kind for c in CAUSES} == {"verifier", "core", "kfunc", "map", "license", "btf"}


def test_the_page_lists_every_cause() -> None:
    page = (REPO / "docs" / "refusals.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| .+ \|$", page, re.M)
    assert rows == list(dict.fromkeys((cause.id, cause.kind) for cause in CAUSES))


def test_most_of_the_kernels_own_rejections_are_known() -> None:
    """The messages that a live kernel gave for the verifier tests of the kernel."""
    cases = json.loads(lzma.decompress(shared_data("verifier-cases.json.xz").read_bytes()))["tests"]
    known = total = 0
    for case in cases:
        live = case.get("live", {})
        if live.get("verdict") != "reject" or not live.get("message") or live.get("env"):
            continue
        total += 1
        known += bool(explain(live["message"]).id)
    assert total > 700
    assert known / total >= 0.95


# ---- garbage

PIECES = [
    "0: R1=ctx() R10=fp0",
    "5: (95) exit",
    "5: (85) call bpf_map_lookup_elem#1 ; R0=map_value_or_null(id=1",
    "from 5 to 7: R0=scalar(((((",
    " frame1: R1=x",
    "invalid access to map value, value_size=99999999999999999999999 off=-9 size=1",
    "cannot pass map_type 99999999999999999999999 into func x",
    "R99 type= expected=",
    "Unreleased reference id=2 alloc_insn=99999999999",
    "access beyond struct x at off 99999999999999999999999 size 1",
    "; source @ file:99999999999999",
    "Verification failed: a: b",
    "Verification failed:",
    "Reason:",
    "At:",
    "  f @ x.c:1:2",
    "  insn 99999999999",
    "  >>> 1 | x >>> 2 | (95) exit",
    "  | ^-- error: x",
    "Causal path:",
    "Suggestion:",
    "\x00",
    "(" * 500,
    "R1=" + "(a" * 300,
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=60)), max_size=30))
@settings(max_examples=300)
def test_any_log_is_explained_somehow(lines: list[str]) -> None:
    log = "\n".join(lines)
    found = explain(log)
    assert isinstance(found.message("p"), str)
    for register in found.registers.values():
        assert isinstance(register.words, str)
        assert len(register.bounds) == 2


@given(st.text())
def test_any_state_is_a_register(text: str) -> None:
    register = Register(text)
    assert isinstance(register.words, str)
    assert register.value is None or isinstance(register.value, int)
    assert len(register.bounds) == 2


@given(st.text())
def test_any_report_is_read(text: str) -> None:
    assert read_report(text).title is not None
    assert explain(f"\n{REPORT}{text}") is not None


@pytest.mark.parametrize(
    "line",
    ["(" * 4_000_000, "R1=(" * 1_000_000, "5: (95) exit ; R1=" + "a(b" * 1_000_000, "R1=x,y=" * 600_000],
    ids=["brackets", "registers", "states", "facts"],
)
def test_huge_logs_take_no_time(line: str) -> None:
    began = time.perf_counter()
    explain(line)
    explain((line[:2000] + "\n") * 3000)
    assert time.perf_counter() - began < 3
