"""The machine as a target: `bp.Machine`, `bp.attach(target="machine")`, the command line, the docs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import probee as bp
from probee import Char, u32, u64
from probee.errors import ProbeeError
from probee.session import import_file

REPO = Path(__file__).resolve().parents[3]


class Removed(bp.Struct):
    pid: u32
    name: Char[32]


removed = bp.RingBuf[Removed](4096)
times = bp.Hash[u32, u64](16)
only = bp.Const[u32](0)
total = bp.Global[u64](0)


@bp.tracepoint("syscalls:sys_enter_unlinkat")
def on_unlink(args):  # type: ignore[no-untyped-def]
    if only and bp.pid() != only:
        return
    times[bp.pid()] += 1
    total.value += 1
    print("unlink by", bp.pid())
    with removed.reserve() as e:
        e.pid = bp.pid()
        e.name = bp.user_str(args.pathname)


FILE = """
import probee as bp
from probee import Char, u32

class Removed(bp.Struct):
    pid: u32
    name: Char[32]

removed = bp.RingBuf[Removed](4096)

@bp.tracepoint("syscalls:sys_enter_unlinkat")
def on_unlink(args):
    with removed.reserve() as e:
        e.pid = bp.pid()
        e.name = bp.user_str(args.pathname)
"""
SCENARIO = """
def scenario(m):
    for name in ("a", "b"):
        m.current = m.task(7, "rm")
        m.syscall("unlinkat", -100, name, 0)
        yield
"""
MAIN = """
if __name__ == "__main__":
    with bp.attach() as session:
        for e in removed:
            print("got", e.pid, e.name)
"""


def test_declared_maps_and_globals_stand_for_the_machines() -> None:
    only.value = 5
    try:
        with bp.Machine(on_unlink) as m:
            for pid in (5, 6, 5):
                m.current = m.task(pid, "rm")
                m.fire("syscalls:sys_enter_unlinkat", pathname=f"file{pid}")
            assert [e.name for e in removed] == ["file5", "file5"]
            assert list(removed) == []
            assert times.snapshot() == {5: 2}
            assert (total.value, m.globals.total) == (2, 2)
            total.value = 10
            assert m.globals["total"] == 10
            assert m.trace_pipe == ["unlink by 5", "unlink by 5"]
            assert (m.dropped, m.drops) == (0, {"removed": 0})
        assert m.dropped == 0
    finally:
        only.value = 0
    with pytest.raises(bp.NotAttached):
        list(removed)


def test_machines_nest_and_the_newest_holds_the_declarations() -> None:
    with bp.Machine(on_unlink) as outer:
        outer.fire("syscalls:sys_enter_unlinkat", pathname="outer")
        with bp.Machine(on_unlink) as inner:
            inner.fire("syscalls:sys_enter_unlinkat", pathname="inner")
            assert [e.name for e in removed.consume()] == ["inner"]
        assert [e.name for e in outer.read(removed)] == ["outer"]


def test_a_full_ring_buffer_is_counted() -> None:
    with bp.Machine(on_unlink) as m:
        for _ in range(200):
            m.fire(on_unlink, pathname="x")
        taken = len(m.read("removed"))
        assert 0 < taken < 200
        assert m.dropped == 200 - taken


def test_callbacks_events_and_asyncio() -> None:
    with bp.Machine(on_unlink) as m:
        got: list[str] = []
        m.on(removed, lambda e: got.append(e.name))
        m.fire(on_unlink, pathname="one")
        assert m.poll() == 1
        assert m.poll() == 0
        m.fire(on_unlink, pathname="two")
        got += [e.name for e in m.events()]
        m.fire(on_unlink, pathname="three")

        async def read() -> None:
            got.extend([e.name async for e in removed])

        asyncio.run(read())
        assert got == ["one", "two", "three"]


def test_attach_takes_the_machine_for_a_target() -> None:
    with bp.attach(on_unlink, target="machine") as session:
        m: Any = session
        m.fire("syscalls:sys_enter_unlinkat", pathname="x")
        assert [e.name for e in session] == ["x"]
    with pytest.raises(ProbeeError, match="no target 'moon'; there are kernel and machine"):
        bp.attach(on_unlink, target="moon")


def test_programs_may_stay_apart_and_objects_be_files(tmp_path: Path) -> None:
    with bp.Machine(on_unlink, merge_syscalls=False) as m:
        assert list(m.programs) == ["on_unlink"]
        m.syscall("unlinkat", -100, "apart", 0)
        assert [e.name for e in removed] == ["apart"]
    (tmp_path / "mine.py").write_text(FILE)
    path = tmp_path / "mine.bpf.o"
    subprocess.run(
        [sys.executable, "-m", "probee", "build", str(tmp_path / "mine.py"), "-o", str(path)],
        check=True,
        timeout=100,
    )
    for what in (path, tmp_path / "mine.py"):
        with bp.Machine(str(what)) as m:
            m.syscall("unlinkat", -100, "from a file", 0)
            assert [e.name for e in m.read("removed")] == ["from a file"]
    with pytest.raises(ProbeeError, match="can't read"):
        bp.Machine(str(tmp_path / "none.o"))


@pytest.mark.parametrize("engine", ["interpreter", "jit", "verified", "step"])
def test_engines_agree(engine: str) -> None:
    with bp.Machine(on_unlink, engine=engine) as m:
        for pid in (5, 6):
            m.current = m.task(pid, "rm")
            m.fire(on_unlink, pathname="x" * pid)
        assert [(e.pid, e.name) for e in removed] == [(5, "xxxxx"), (6, "xxxxxx")]


def probee(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    whole = {**os.environ, "PROBEE_BTF": "shipped", **(env or {})}
    return subprocess.run(
        [sys.executable, "-m", "probee", *words], capture_output=True, text=True, timeout=100, env=whole
    )


def test_run_plays_the_scenario_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE + SCENARIO)
    done = probee("run", "--machine", str(path))
    assert done.returncode == 0, done.stderr
    assert re.findall(r"pid=7  name=(\w)", done.stdout) == ["a", "b"]
    assert "events are made up" in done.stdout
    path.write_text(FILE + SCENARIO + MAIN)
    assert probee("run", "--machine", str(path)).stdout == "got 7 a\ngot 7 b\n"
    path.write_text(FILE)
    assert "no function scenario(m)" in probee("run", "--machine", str(path)).stderr


def test_run_takes_events_from_a_file(tmp_path: Path) -> None:
    path, events = tmp_path / "mine.py", tmp_path / "events.json"
    path.write_text(FILE)
    event = {
        "syscall": "unlinkat",
        "dfd": -100,
        "pathname": "x",
        "task": {"pid": 9, "comm": "rm"},
        "after_ms": 1,
    }
    events.write_text(json.dumps(event) + "\n" + json.dumps({**event, "pathname": "y"}))
    done = probee("run", "--machine", "--json", "--events", str(events), str(path))
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["x", "y"], done.stderr
    events.write_text("[{}]")
    assert (
        "event 1 is no object with an `event`"
        in probee("run", "--machine", f"--events={events}", str(path)).stderr
    )
    events.write_text("{")
    assert "is no JSON" in probee("run", "--machine", "--events", str(events), str(path)).stderr
    assert "goes with --machine" in probee("run", "--events", str(events), str(path)).stderr


def test_the_demo_needs_no_kernel() -> None:
    done = probee("demo", "--machine")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("what follows is made up") == 2
    assert "sh -c echo $((6 * 7))" in done.stdout
    assert "No such file or directory" in done.stdout
    assert "run-queue latency, 160 in all" in done.stdout


def test_the_page_on_testing_runs(tmp_path: Path) -> None:
    text = (REPO / "docs/testing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) >= 3
    page = tmp_path / "page.py"
    page.write_text("\n".join(blocks))
    import_file(str(page))
    (lines,) = re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)
    first, second = lines.splitlines()
    events = tmp_path / "events.json"
    for line, tool, says in (
        (first, "execsnoop", r" 7 +0 +0 ls"),
        (second, "opensnoop", r" 3 +/etc/passwd"),
        (second, "syscount", r"openat +1\n"),
    ):
        events.write_text(line)
        done = probee("run", "--machine", "--events", str(events), str(REPO / f"src/probee/tools/{tool}.py"))
        assert re.search(says, done.stdout), (tool, done)
