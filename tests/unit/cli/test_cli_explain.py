"""`probee explain`: the kernel's log in what loaders print, with its object and without; other files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from c_objects import compile_c
from probee.cli.explain import split
from probee.cli.main import main

C = """\
struct { __uint(type, 1); __uint(max_entries, 9); __type(key, u32); __type(value, u64); } counts SEC(".maps");
SEC("raw_tp/sys_enter") int tally(void *ctx) {
  u32 key = NUMBER();
  u64 *v = LOOKUP(&counts, &key);
  if (key > 7) {
    if (key == 100)
      return 1;
    *v += 1;
  }
  return 0;
}
"""
BEFORE = """
static void *(*LOOKUP)(void *, const void *) = (void *)1;
static u32 (*NUMBER)(void) = (void *)7;
"""
KERNEL = """\
0: R1=ctx() R10=fp0
; u32 key = NUMBER(); @ count.bpf.c:3
0: (85) call bpf_get_prandom_u32#7    ; R0=scalar()
1: (63) *(u32 *)(r10 -4) = r0         ; R0=scalar() R10=fp0 fp-8=mmmm????
2: (bf) r2 = r10                      ; R2=fp0 R10=fp0
3: (07) r2 += -4                      ; R2=fp-4
; u64 *v = LOOKUP(&counts, &key); @ count.bpf.c:4
4: (18) r1 = 0xffff8882fa423000       ; R1=map_ptr(map=counts,ks=4,vs=8)
6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=counts,ks=4,vs=8)
; if (key > 7) { @ count.bpf.c:5
7: (61) r2 = *(u32 *)(r10 -4)         ; R2=scalar() R10=fp0 fp-8=mmmm????
8: (b4) w1 = 0                        ; R1=0
9: (a6) if w2 < 0x8 goto pc+6         ; R2=scalar(smin=umin=umin32=8,smax=umax=0xffffffff)
10: (b4) w1 = 1                       ; R1=1
; if (key == 100) @ count.bpf.c:6
11: (16) if w2 == 0x64 goto pc+4      ; R2=scalar(smin=umin=umin32=8,smax=umax=0xffffffff)
; *v += 1; @ count.bpf.c:8
12: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 0
"""
LOADER = (
    "libbpf: prog 'tally': BPF program load failed: Permission denied\n"
    "libbpf: prog 'tally': -- BEGIN PROG LOAD LOG --\n" + KERNEL + "-- END PROG LOAD LOG --\n"
    "libbpf: prog 'tally': failed to load: -13\n"
)


@pytest.mark.parametrize("text", [LOADER, KERNEL, KERNEL.replace("\n", "\n\t")])
def test_a_log_alone(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text(text)
    assert main(["explain", str(tmp_path / "log")]) == 0
    said = capsys.readouterr().out
    assert "count.bpf.c:8\n    *v += 1;\n  R0 invalid mem access" in said
    assert "known: r0 is a value of map counts (8 bytes), or None" in said
    assert "line 5: if (key > 7) {  (if w2 < 0x8 goto pc+6: goes on)\n" in said
    assert "fix: test the value for None" in said


def test_with_the_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compile_c(tmp_path, C, "count", before=BEFORE)
    (tmp_path / "log").write_text(LOADER)
    assert main(["explain", str(tmp_path / "log"), "--object", str(tmp_path / "count.bpf.o"), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["logs"]
    assert (told["program"], told["cause_id"], told["line"]) == ("tally", "maybe-null", 8)
    assert told["variables"]["v"].endswith("or None")
    assert [(step["line"], step["taken"]) for step in told["path"]] == [(5, False), (6, False)]
    named = ["--object", str(tmp_path / "count.bpf.o"), "--program", "other"]
    assert main(["explain", str(tmp_path / "log"), *named]) == 1
    assert "has no program 'other'" in capsys.readouterr().err


def test_an_object_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compile_c(tmp_path, C, "count", before=BEFORE)
    assert main(["explain", str(tmp_path / "count.bpf.o")]) == 1
    said = capsys.readouterr().out
    assert "line 6: if (key == 100)" in said
    assert "known: v (r0) is a value of map counts" in said


def test_several_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taken = "-- BEGIN PROG LOAD LOG --\n0: (95) exit\nprocessed 1 insns\n-- END PROG LOAD LOG --\n"
    (tmp_path / "log").write_text(LOADER + taken)
    assert main(["explain", str(tmp_path / "log")]) == 0
    said = capsys.readouterr().out
    assert "tally: refused" in said
    assert "not refused in this log" in said


@pytest.mark.parametrize("text", ["", "no log at all\n", "libbpf: failed to load object\n"])
def test_what_is_no_log(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text(text)
    assert main(["explain", str(tmp_path / "log")]) == 1
    assert "no verifier's log" in capsys.readouterr().err


@given(st.text() | st.lists(st.sampled_from(LOADER.splitlines()), max_size=30).map("\n".join))
def test_any_text_is_split(text: str) -> None:
    for log in split(text):
        assert isinstance(log.text, str)
