"""The debugger: forward, back, breakpoints, watches, what it shows; on a file, a test, a piece of C."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import probee as bp
from probee import Char, u32, u64
from probee.debug import launch
from probee.debug.debugger import Debugger, Quit
from probee.debug.face import Face
from probee.debug.values import headers, hexdump


class Removed(bp.Struct):
    pid: u32
    name: Char[32]


removed = bp.RingBuf[Removed](4096)
times = bp.Hash[u32, u64](16)
many = bp.Array[u64](4)
total = bp.Global[u64](0)


@bp.raw_tracepoint("sched_switch")
def on_switch(preempt, prev, next):  # type: ignore[no-untyped-def]
    pid = bp.pid()  # LINE pid
    if pid == 5:  # LINE if
        return
    times[pid] += 1  # LINE count
    many[1] = pid  # LINE many
    print("pid", pid)  # LINE print
    with removed.reserve() as e:  # LINE reserve
        e.pid = pid
        e.name = bp.comm()


@bp.xdp
def drop(packet):  # type: ignore[no-untyped-def]
    _eth, _ip, udp = packet.read(bp.Ethernet, bp.IPv4, bp.UDP, short=bp.XDP.PASS)
    if udp.dst_port == 53:
        return bp.XDP.DROP
    return bp.XDP.PASS


LINES = {
    line.partition("# LINE ")[2].strip(): number
    for number, line in enumerate(Path(__file__).read_text().splitlines(), 1)
    if "# LINE " in line
}
FILE = os.path.basename(__file__)


@pytest.fixture(scope="module")
def compiled() -> None:
    with bp.Machine(on_switch):  # so that the tests take it from the cache
        pass


def debugged(script: str, pids: tuple[int, ...] = (5, 7, 7)) -> str:
    """What the face says to commands while the program runs for some processes."""
    out = io.StringIO()
    with bp.Machine(on_switch) as m:
        task = m.task(1)
        face = Face([script], stdin=io.StringIO(), stdout=out)
        launch.attach(m, face)
        m.debug()
        try:
            for pid in pids:
                m.current = m.task(pid, f"task{pid}")
                m.fire("sched_switch", False, task, task)
        except Quit:
            out.write("left\n")
    return out.getvalue()


def test_lines_forward_and_back(compiled: None) -> None:
    said = debugged(
        f"b {LINES['count']}; c; p times; n; n; p times; p many[1]; rn; rn; p times; p many[1]; q"
    )
    assert f"breakpoint 1: {FILE}" not in said.splitlines()[0]
    values = [line for line in said.splitlines() if line.startswith("{") or line.isdigit()]
    assert values == ["{}", "{7: 1}", "7", "{}", "0"]
    assert f"{FILE}:{LINES['many']} on_switch: many[1] = pid" in said
    assert said.endswith("left\n")


def test_after_going_back_programs_run_on_as_if_nothing_was(compiled: None) -> None:
    with bp.Machine(on_switch) as m:
        m.current = m.task(7, "seven")
        stops: list[str] = []

        def talk(debugger: Debugger, why: str) -> None:
            stops.append(why)
            while debugger.back("instruction") == "back":
                pass
            assert debugger.timeline.at == 0
            assert dict(debugger.names(debugger.moment).evaluate("times").items()) == {}
            while debugger.resume() is not None:
                pass

        debugger = Debugger(m, talk)
        debugger.stop_at(f"{FILE}:{LINES['reserve']}")
        m.fire("sched_switch", False, m.task(1), m.task(1))
        m.fire("sched_switch", False, m.task(1), m.task(1))
        assert len(stops) >= 2
        assert times[7] == 2
        assert [(e.pid, e.name) for e in m.read(removed)] == [(7, "seven")] * 2
        debugger.close()
        assert m.cpus[0].hooks is None


def test_breakpoints_and_conditions(compiled: None) -> None:
    where = f"{FILE}:{LINES['count']}"
    said = debugged(f"b {where} if r0 and task.pid > 7; info; c; p task.pid; info; cond 1; c; q", (7, 9, 7))
    assert f"breakpoint 1: {_short(where)} if r0 and task.pid > 7" in said
    assert "\n9\n" in said
    assert "(hit 1 time)" in said
    assert said.count("-- event 3") == 1
    said = debugged("tb on_switch; c; info; q")
    assert "no breakpoints" in said
    said = debugged("b *3; b 1; b nowhere; b *9999; disable 1; d; info; cond 4 x; b 99999; q")
    for text in ("on_switch*3", "there is no function nowhere", "no instruction 9999", "no breakpoint 4"):
        assert text in said
    assert "no instructions come from line 99999" in said
    said = debugged(f"b {where} if unheard_of; c; q")
    assert "error: breakpoint 1: unheard_of is not known here" in said


def _short(where: str) -> str:
    from probee.debug.places import Line

    file, _, number = where.rpartition(":")
    return str(Line(__file__ if file == FILE else file, int(number)))


def test_watch_stops_at_changes_both_ways(compiled: None) -> None:
    said = debugged("watch many[1]; c; rc; c; watch times; c; c; q")
    assert "1: watch many[1] (now 0)" in said
    assert said.count("many[1] changed from 0 to 7") == 3
    assert "back before many[1] changed from 0 to 7" in said
    assert "times changed from {7: 1} to {7: 2}" in said


def test_instructions_registers_and_memory(compiled: None) -> None:
    said = debugged(
        f"si; si 2; rsi; ni; regs; b {LINES['print']}; c; stack; x r10-32 16; disasm; l; set r6 = 8; "
        "p r6; p 6 * 7; p 1/0; vars; bt; maps; maps times; maps none; set rx = 1; up; down; frobnicate; q",
        (7,),
    )
    assert re.search(r"^   \*\d+: ", said, re.M)
    assert "r10 0x" in said
    assert " stack fp\n" in said
    assert "stack fp-" in said or "fp-" in said
    assert f"->{LINES['print']:>4} |" in said
    assert "\n8\n" in said
    assert "\n42\n" in said
    assert "error: 1/0: ZeroDivisionError" in said
    assert "times: Hash" in said
    assert "error: the machine has no map 'none'" in said
    assert "error: this is the outermost function" in said
    assert "error: frobnicate is not known here" in said


def test_what_was_set_is_what_runs(compiled: None) -> None:
    with bp.Machine(on_switch) as m:

        def talk(debugger: Debugger, why: str) -> None:
            moment = debugger.moment
            holder = next(n for n in range(6, 10) if moment.registers[n] == 7)
            moment.frame.registers[holder] = 9
            debugger.timeline.changed()
            debugger.resume()

        debugger = Debugger(m, talk)
        debugger.stop_at(f"{FILE}:{LINES['many']}")
        m.current = m.task(7, "seven")
        m.fire("sched_switch", False, m.task(1), m.task(1))
        assert many[1] == 9


def test_packets_and_contexts() -> None:
    out = io.StringIO()
    with bp.Machine(drop) as m:
        launch.attach(m, Face(["packet; ctx; p len(packet); p ctx.ingress_ifindex; out"], stdout=out))
        m.debug()
        packet = bytes(12) + b"\x08\0" + bytes.fromhex("4500002400000000401100000a0000010a000002")
        packet += bytes.fromhex("0035003500100000") + b"question"
        assert m.xdp(packet, ingress_ifindex=3).verdict == "DROP"
    said = out.getvalue()
    for text in ("10.0.0.1 > 10.0.0.2  UDP  ttl 64", "53 > 53", "questi", "\n50\n", "\n3\n"):
        assert text in said
    assert "Ethernet" in said


def test_headers_of_anything() -> None:
    v6 = bytes(12) + b"\x86\xdd" + bytes([0x60, 0, 0, 0, 0, 20, 6, 64]) + bytes(31) + b"\1" + bytes(20)
    assert [line.split()[0] for line in headers(v6)] == ["Ethernet", "IPv6", "TCP"]
    for cut in range(len(v6)):
        assert len(list(headers(v6[:cut]))) <= 3
        list(headers(v6[:cut], link_layer=False))
    assert next(hexdump(b"ab\0", 16)) == f"0010  {'61 62 00':<47}  ab."


TOOL = """
import probee as bp
from probee import u32, u64
seen = bp.Hash[u32, u64](16)

@bp.global_function
def weigh(n: u32) -> u64:
    seen[n] = 1
    return n * 2

@bp.raw_tracepoint("sched_switch")
def on_switch(preempt, prev, next):
    weight = weigh(bp.pid())
    seen[99] = weight

def scenario(m):
    m.current = m.task(4, "four")
    m.fire("sched_switch", False, m.task(1), m.task(2))
    yield
"""
TEST = """
from tool import on_switch, seen
from probee.testing import assert_map

def test_wrong(machine):
    machine.fire("sched_switch", False, machine.task(1), machine.task(2))
    assert_map(seen, {99: 3})

def test_stops(machine):
    machine.debug()
    machine.fire("sched_switch", False, machine.task(1), machine.task(2))
"""


def command(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "probee", "debug", *words],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=folder,
        input=stdin,
        env={**os.environ, "PROBEE_BTF": "shipped"},
    )


def test_the_command_on_a_file_and_a_test(tmp_path: Path) -> None:
    (tmp_path / "tool.py").write_text(TOOL)
    (tmp_path / "test_tool.py").write_text(TEST)
    done = command(
        tmp_path, "tool.py", "--command", "b weigh; c; bt; p n; vars; up; vars; down; s; ro; d; n; c"
    )
    assert done.returncode == 0, done.stderr
    assert "*#0 tool.py:7 weigh: def weigh(n: u32) -> u64:\n #1 tool.py:13 on_switch" in done.stdout
    assert "(probee) p n\n4\n(probee) vars\nn = 4\n" in done.stdout
    assert re.search(
        r"\(probee\) vars\npreempt = 0\nprev = <struct task_struct at 0x\w+: pid=1>", done.stdout
    )
    assert "tool.py:14 on_switch: seen[99] = weight" in done.stdout
    assert done.stdout.endswith("the programs have ended\n")
    piped = command(tmp_path, "tool.py", stdin="b 14\nc\np dict(seen.items())\nq\n")
    assert piped.returncode == 0, piped.stderr
    assert "{4: 1}" in piped.stdout
    test = command(tmp_path, "test_tool.py::test_wrong", "-c", "p dict(seen.items()); rc; q")
    assert "AssertionError: seen is not as expected" in test.stdout
    assert "this is the start" in test.stdout
    stops = command(tmp_path, "test_tool.py::test_stops", "-c", "b 14; c; c")
    assert "breakpoint 1: tool.py:14" in stops.stdout, stops.stdout
    assert "1 passed" in stops.stdout


def test_help_names_every_command() -> None:
    out = io.StringIO()
    face = Face(stdin=io.StringIO(), stdout=out)
    face.do_help("")
    said = out.getvalue()
    for name in dir(Face):
        if name.startswith("do_") and name != "do_help":
            method: Any = getattr(Face, name)
            assert method.__doc__.splitlines()[0] in said
    face.do_help("rn")
    assert "go back to the source line before" in out.getvalue()
