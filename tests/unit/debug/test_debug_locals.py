"""Local variables in the debugger: by name at every line, in Python and in C, in conditions and watches."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import probee as bp
from probee import Char, machine_target, u32, u64
from probee.debug import launch
from probee.debug.face import Face
from probee.debug.launch import Quit
from variables_c import LINES as C_LINES
from variables_c import TEXT, compile_variables


class Removed(bp.Struct):
    pid: u32
    name: Char[32]


removed = bp.RingBuf[Removed](4096)
times = bp.Hash[u32, u64](16)
calls = bp.Array[u64](2)


def weigh(n, task):  # type: ignore[no-untyped-def]
    twice = n * 2
    if task.tgid > 3:
        twice += 1  # LINE more
    return twice


@bp.raw_tracepoint("sched_switch")
def on_switch(preempt, prev, next):  # type: ignore[no-untyped-def]
    pid = bp.pid()  # LINE pid
    name = bp.comm()
    task = bp.current_task()
    before = times.get(pid)
    total = 0
    if before is not None:  # LINE if
        total = 100
    for i in range(pid & 7):
        total += weigh(i, task)  # LINE weigh
    times[pid] = total  # LINE times

    def count():  # type: ignore[no-untyped-def]
        nonlocal total
        total += 1000  # LINE count

    count()
    with removed.reserve() as e:
        e.pid = task.real_parent.tgid
        e.name = name
        calls[0] += total  # LINE end


LINES = {
    line.partition("# LINE ")[2].strip(): number
    for number, line in enumerate(Path(__file__).read_text().splitlines(), 1)
    if "# LINE " in line
}
FILE = os.path.basename(__file__)


@pytest.fixture
def slots() -> Iterator[None]:
    machine_target.build = "slots"
    yield
    machine_target.build = ""


def talk(what: Any, script: str, events: Callable[[Any], object]) -> str:
    out = io.StringIO()
    with bp.Machine(what) as m:
        launch.attach(m, Face([script], stdin=io.StringIO(), stdout=out))
        m.debug()
        try:
            events(m)
        except Quit:
            out.write("left\n")
    return out.getvalue()


def switches(m: Any) -> None:
    init = m.task(1, "init")
    for pid in (2, 7, 7):
        m.current = m.task(pid, f"task{pid}", real_parent=init)
        m.fire("sched_switch", False, m.task(1), m.task(1))


def answers(said: str) -> list[str]:
    """What was said to each `print`."""
    lines = said.splitlines()
    return [lines[n + 1] for n, line in enumerate(lines) if line.startswith("(probee) p ")]


def test_every_local_has_a_name_and_a_value(slots: None) -> None:
    said = talk(
        on_switch,
        f"b {LINES['pid']}; b {LINES['end']} if pid == 7; c; locals; p pid; d 1; c; locals; "
        "p total; p name; p task.comm; p task.real_parent.pid; p e; p e.name; p before; c; p before; q",
        switches,
    )
    first, _, rest = said.partition("(probee) p pid\n")
    assert "\npid =" not in first
    assert "preempt = 0" in first
    assert rest.startswith("error: pid has no value yet")
    for line in (
        "pid = 7",
        "name = 'task7'",
        "before = None",
        "i = 6",
        "total = 1049",
        "e = Removed(pid=1, name='task7')",
    ):
        assert f"\n{line}\n" in rest
    assert "task = <struct task_struct at 0x" in rest
    assert ": pid=7, comm='task7'>" in rest
    values = answers(rest)
    assert values == [
        "1049",
        "'task7'",
        "'task7'",
        "1",
        "Removed(pid=1, name='task7')",
        "'task7'",
        "None",
        "49",
    ]


def test_functions_have_their_own_and_their_callers(slots: None) -> None:
    said = talk(
        on_switch,
        f"b {LINES['more']} if n == 3; c; p n; p twice; p total; up; p total; p i; down; p n; "
        f"b {LINES['count']}; d 1; c; p total; n; p total; q",
        switches,
    )
    assert "error: total is not known here" in said
    values = [v for v in answers(said) if v.isdigit()]
    assert values == ["3", "6", "9", "3", "3", "49", "1049"]


def test_conditions_and_watches_on_locals(slots: None) -> None:
    said = talk(
        on_switch,
        f"b {LINES['weigh']} if total > 10 and i == 4; c; p (pid, i, total); d; watch total; c; c; rc; rc; "
        "p total; q",
        switches,
    )
    assert answers(said)[0] == "(7, 4, 16)"
    assert "total changed from 16 to 25" in said
    assert "total changed from 25 to 36" in said
    assert "back before total changed from 25 to 36" in said
    assert answers(said)[-1] == "16"


def test_going_back_takes_values_back(slots: None) -> None:
    said = talk(
        on_switch,
        f"b {LINES['times']}; c; c; p total; rn; rn; p total; p i; rn; rn; rn; p total; q",
        switches,
    )
    assert answers(said) == ["49", "36", "6", "25"]


def test_what_was_set_counts(slots: None) -> None:
    said = talk(
        on_switch,
        f"b {LINES['times']}; c; set total = 5; n; p times; set nothing = 1; set r3 = ; rn; set total = 1; q",
        switches,
    )
    assert "{2: 5}" in said
    assert "error: there is no local variable nothing here" in said
    assert "error: the past can't be changed" in said


def test_optimised_programs_have_what_is_left() -> None:
    script = f"b {LINES['end']}; c; locals; p pid; p name; p e.pid; p twice; q"
    said = talk(on_switch, script, switches)
    assert answers(said)[1:3] == ["'task2'", "1"]
    assert "optimised out" in said
    assert "name = 'task2'" in said
    assert "error: twice is not known here" in said


def test_too_many_variables_for_the_stack_are_still_debugged(slots: None, tmp_path: Path) -> None:
    lines = [f"    v{n} = bp.ktime_get_ns()\n    out[0] = v{n} * 0 + {n}" for n in range(80)]
    head = ["import probee as bp", "from probee import u64", "out = bp.Array[u64](1)", ""]
    head += ['@bp.raw_tracepoint("sched_switch")', "def many(a, b, c):"]
    text = "\n".join([*head, *lines, ""])
    (tmp_path / "many.py").write_text(text)
    said = talk(str(tmp_path / "many.py"), "b 16; c; n; p out[0]; q", switches)
    assert answers(said) == ["4"]


# ---- C


@pytest.fixture(scope="module", params=[4, 5])
def c_object(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    (folder / "variables.bpf.c").write_text(TEXT)
    (folder / "variables.bpf.o").write_bytes(compile_variables(request.param))
    return folder / "variables.bpf.o"


def fire(m: Any) -> None:
    m.current = m.task(7, "seven")
    m.fire("sched_switch", False, m.task(1), m.task(1))


def test_c_by_its_lines_and_location_lists(c_object: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(c_object.parent)
    said = talk(
        str(c_object),
        f"locals; b {C_LINES['if (weight']}; b {C_LINES['if (!event)']} if pid == 7; c; p event; "
        "p event->pid; p event->at; c; p event->comm; p event->kind; p event->at.x; p event->at.hi; "
        "p event->args; p *event; p event->text; p weight; p pid; p id; p total; list; q",
        fire,
    )
    assert "optimised out here, or not yet known: id, pid, event, weight" in said
    values = answers(said)
    assert values[0].startswith("(struct event *) 0x")
    assert values[1] == "0"
    assert values[2] == "point(x=0, y=0, lo=0, hi=0, a=0, b='')"
    assert values[3:8] == ["'seven'", "LARGE (7)", "-5", "9", "[0, 7, 0]"]
    assert values[8].startswith("struct event at 0x")
    assert "\n  kind = LARGE (7)\n" in said
    assert values[9:12] == ["(char *) NULL", "21", "7"]
    assert values[12].startswith("error: id is optimised out here")
    assert values[13] == "0"
    assert f"->{C_LINES['if (weight']:>4} |     if (weight > 20)" in said


def test_c_functions_that_were_inlined(c_object: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(c_object.parent)
    said = talk(
        str(c_object), "b classify; b weigh; c; bt; p pid; p limit; c; bt; p factor; out; p weight; q", fire
    )
    assert "breakpoint 1: classify (inlined)" in said
    assert "variables.bpf.c:20 classify (inlined): int twice = pid * 2;" in said.replace(
        f":{C_LINES['int twice']} ", ":20 "
    )
    assert f"called in line {C_LINES['event->kind']} of on_switch" in said
    assert answers(said)[:2] == ["7", "10"]
    assert f"#1 variables.bpf.c:{C_LINES['u64 weight']} on_switch" in said
    assert answers(said)[-1] in ("21", "error: weight is optimised out here")


# ---- tests under pytest

TOOL = """
import probee as bp
from probee import u32, u64
seen = bp.Hash[u32, u64](16)

@bp.raw_tracepoint("sched_switch")
def on_switch(preempt, prev, next):
    weight = bp.pid() * 2
    seen[99] = weight
"""
TEST = """
from tool import on_switch, seen

def test_wrong(machine, bpf_sizes):
    machine.current = machine.task(21, "x")
    machine.fire("sched_switch", False, machine.task(1), machine.task(2))
    assert seen[99] == 7
"""


def test_failing_and_traced_tests_know_locals(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(TOOL)
    (tmp_path / "test_tool.py").write_text(TEST.replace(", bpf_sizes", ""))

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "PROBEE_BTF": "shipped"},
        )
        return done.stdout + done.stderr

    said = run("probee", "debug", "test_tool.py::test_wrong", "-c", "rn; p weight; q")
    assert "assert 42 == 7" in said
    assert "(probee) p weight\n42" in said
    from importlib.metadata import entry_points

    known = any(e.value == "probee.pytest_plugin" for e in entry_points(group="pytest11"))
    plugin = [] if known else ["-p", "probee.pytest_plugin"]
    traced = run(
        "pytest", "-q", *plugin, "--bpf-trace", "--bpf-command", "b 9; c; p weight; c", "test_tool.py"
    )
    assert "(probee) p weight\n42" in traced
    assert "1 failed" in traced


def test_events_of_a_file_and_the_optimised_build(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(TOOL)
    event = {"event": "sched_switch", "args": [0, 0, 0], "task": {"pid": 4, "comm": "four"}}
    (tmp_path / "events.json").write_text(json.dumps(event))
    words = [sys.executable, "-m", "probee", "debug", "tool.py", "--events", "events.json"]
    for more in ([], ["--optimised"]):
        done = subprocess.run(
            [*words, *more, "-c", "b 9; c; p weight; q"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "PROBEE_BTF": "shipped"},
        )
        assert "(probee) p weight\n8" in done.stdout, done.stdout + done.stderr


def test_objects_with_names_of_variables(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(TOOL)
    (tmp_path / "events.json").write_text(
        json.dumps({"event": "sched_switch", "args": [0, 0, 0], "task": {"pid": 4, "comm": "four"}})
    )

    def probee(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "probee", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            env={**os.environ, "PROBEE_BTF": "shipped"},
        )
        return done.stdout + done.stderr

    assert "tool.bpf.o" in probee("build", "-g", "tool.py")
    said = probee("debug", "tool.bpf.o", "--events", "events.json", "-c", "b 9; c; p weight + 1; q")
    assert "(probee) p weight + 1\n9" in said
