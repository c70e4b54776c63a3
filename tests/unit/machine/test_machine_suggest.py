"""What `probee run --machine` says of events: what fires each kind of program; files that sleep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import machine_kinds
import probee as bp
from probee.machine.machine import Machine
from probee.machine.suggest import event_for

REPO = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def m() -> Iterator[Machine]:
    with bp.Machine(machine_kinds, btf="shipped") as made:
        yield made


def test_each_program_has_its_event(m: Machine) -> None:
    lines = {name: event_for(m, program) for name, program in m.programs.items()}
    for name, line in lines.items():
        method = line.partition(".")[2].partition("(")[0]
        assert callable(getattr(m, method)), name
        compile(line.replace("…", "None"), name, "eval")
    assert lines["tracepoint"] == 'm.fire("sched:sched_process_exec", filename=…, pid=…, old_pid=…)'
    assert lines["fentry"] == 'm.fire("fentry:bpf_fentry_test2", a=…, b=…)'
    assert lines["tp_btf"] == 'm.fire("sched_switch", …, …, …)'
    assert lines["lsm"] == 'm.fire("lsm:file_open", file=…)'
    assert lines["kretprobe"] == 'm.fire("kretprobe:do_nanosleep", result=0)'
    assert lines["uprobe"] == 'm.fire("uprobe", …)'
    assert lines["iter_task"] == 'm.iterate("task")'
    assert lines["connect6"] == 'm.connect("::1", 80)'
    assert lines["bind4"] == 'm.bind("127.0.0.1", 80)'
    assert lines["sendmsg_unix"] == 'm.sendmsg("/run/a.sock", 0)'
    assert lines["xdp_plain"] == "m.xdp(packet)"


@pytest.mark.parametrize(
    "name",
    ["xdp_plain", "connect6", "sendmsg_unix", "post_bind4", "device", "sock_create", "lirc", "looked_up"],
)
def test_what_is_suggested_runs(m: Machine, name: str) -> None:
    program = m.programs[name]
    with bp.Machine(getattr(machine_kinds, name), btf="shipped") as alone:
        line = event_for(m, program)
        eval(line, {"m": alone, "packet": machine_kinds.FRAME})
        assert alone.programs[name].runs == 1


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "probee", "run", "--machine", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPO / "src")},
        timeout=60,
    )


def test_examples_run_on_events_of_a_file(tmp_path: Path) -> None:
    events = tmp_path / "events.json"
    call = {
        "syscall": "read",
        "fd": 3,
        "count": 100,
        "ret": 100,
        "took_ms": 50,
        "task": {"pid": 9, "comm": "cat"},
    }
    events.write_text(json.dumps(call))
    slow, count = str(REPO / "examples/slow_reads.py"), str(REPO / "examples/count.py")
    assert (
        run("--events", str(events), slow).stdout
        == "cat                    9 waited    50.000 ms for 100 bytes\n"
    )
    assert run("--events", str(events), count).stdout.endswith("\n1 calls by 1 programs\n")
    assert (
        f"write probee run --machine --events {events} {count}" in run(count, "--events", str(events)).stderr
    )
    nothing = run(count).stderr
    assert 'def scenario(m):\n    m.syscall("openat", -100, "/etc/hosts", ret=3)' in nothing
