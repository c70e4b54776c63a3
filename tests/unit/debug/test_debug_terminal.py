"""The debugger on a terminal: prompt, completion, Ctrl-C, Ctrl-D; and headers of packets by name."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import probee as bp
from probee import machine_target, u64
from probee.debug import launch
from probee.debug.face import Face
from probee.debug.values import dissected

TOOL = """
import probee as bp
from probee import u64
rounds = bp.Array[u64](1)

@bp.raw_tracepoint("sched_switch")
def endless(preempt, prev, next):
    turns = 0
    for i in range(30_000_000):
        turns += i & 3
    rounds[0] = turns

def scenario(m):
    m.fire("sched_switch", False, m.task(1), m.task(2))
    yield
"""


class Terminal:
    """`probee debug` with a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.chdir(folder)
            os.environ.update(TERM="dumb", PROBEE_BTF="shipped", INPUTRC="/dev/null")
            os.execv(sys.executable, [sys.executable, "-m", "probee", "debug", "tool.py"])
        self.said = self.rest = ""

    def until(self, words: str, seconds: float = 60) -> str:
        """What it says up to these words."""
        seen, end = self.rest, time.monotonic() + seconds
        while words not in seen:
            left = end - time.monotonic()
            assert left > 0, f"{words!r} never came; {seen!r} did"
            if select.select([self.fd], [], [], left)[0]:
                try:
                    data = os.read(self.fd, 4096)
                except OSError:  # the other side is closed
                    data = b""
                if not data:
                    break
                seen += data.decode(errors="replace")
        before, found, self.rest = seen.partition(words)
        self.said += before + found
        return before + found

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def close(self) -> int:
        """The exit code."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        raise AssertionError("it did not end")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    (tmp_path / "tool.py").write_text(TOOL)
    made = Terminal(tmp_path)
    yield made
    os.close(made.fd)
    if made.pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(made.pid, signal.SIGKILL)
        os.waitpid(made.pid, 0)


def test_a_conversation(terminal: Terminal) -> None:
    t = terminal
    t.until("(probee) ")
    t.type("b 10\n")
    assert "breakpoint 1: tool.py:10" in t.until("(probee) ")
    t.type("c\n")
    assert "tool.py:10 endless: turns += i & 3" in t.until("(probee) ")
    t.type("p tur\t\n")
    assert "p turns" in t.until("\n")
    assert t.until("(probee) ").startswith("0")
    t.type("p prev.real_par\t\n")
    assert "prev.real_parent" in t.until("(probee) ")
    t.type("nonsense\x03")
    assert "(`quit` or Ctrl-D leaves)" in t.until("(probee) ")
    t.type("d 1\n")
    t.until("(probee) ")
    t.type("c\n")
    t.until("\n")
    time.sleep(0.5)  # it runs
    t.type("\x03")
    assert "-- interrupted" in t.until("(probee) ")
    t.type("p turns > 0\n")
    assert "True" in t.until("(probee) ")
    t.type("\x04")
    t.until("said by nobody")
    assert t.close() == 0
    assert "Traceback" not in t.said


@bp.xdp
def look(packet):  # type: ignore[no-untyped-def]
    eth, ip, udp = packet.read(bp.Ethernet, bp.IPv4, bp.UDP, short=bp.XDP.PASS)
    port = udp.dst_port
    lengths[0] = u64(ip.total_length)
    if eth.type == 0x800 and port == 53:
        return bp.XDP.DROP
    return bp.XDP.PASS


lengths = bp.Array[u64](1)
PACKET = (
    bytes(12)
    + b"\x08\0"
    + bytes.fromhex("4500002400004000401100000a0000010a000002" + "0035003500100000")
    + b"question"
)


def test_headers_are_numbers_as_people_write_them() -> None:
    machine_target.build = "slots"
    out = io.StringIO()
    line = look.fn.__code__.co_firstlineno + 5
    script = f"packet; b {line}; c; p eth.type; p (ip.version, ip.ihl, ip.ttl, ip.dont_fragment); p udp; "
    script += "p ip.fragment_offset; p ip.src; p port; c"
    try:
        with bp.Machine(look) as m:
            launch.attach(m, Face([script], stdin=io.StringIO(), stdout=out))
            m.debug()
            assert m.xdp(PACKET).verdict == "DROP"
    finally:
        machine_target.build = ""
    said = out.getvalue()
    answers = [after.splitlines()[1] for after in said.split("(probee) p ")[1:]]
    assert answers == [
        "2048",
        "(4, 5, 64, 1)",
        "UDP(src_port=53, dst_port=53, length=16, checksum=0)",
        "0",
        "167772161 (0xa000001)",
        "53",
    ]
    assert "payload   8 bytes\n002a  71 75 65 73 74 69 6f 6e" in said


def test_packets_by_their_headers() -> None:
    tagged = PACKET[:12] + b"\x81\0\x00\x07" + PACKET[12:]
    assert [line.split()[0] for line in dissected(tagged) if not line[0].isdigit()] == [
        "Ethernet",
        "VLAN",
        "IPv4",
        "UDP",
        "payload",
    ]
    arp = (
        bytes(12)
        + b"\x08\x06"
        + bytes.fromhex("0001080006040001" + "00" * 6 + "0a000001" + "00" * 6 + "0a000002")
    )
    assert "ARP       10.0.0.1 asks for 10.0.0.2" in list(dissected(arp))
    ping = PACKET[:23] + b"\x01" + PACKET[24:34] + bytes([8, 0, 0, 0, 0, 1, 0, 2])
    assert "ICMP      type 8, code 0" in list(dissected(ping))
    for packet in (tagged, arp, ping, PACKET):
        for cut in range(len(packet)):
            shown = [line for line in dissected(packet[:cut]) if line[:1].isdigit()]
            assert bytes.fromhex("".join(line[6:53] for line in shown)) == packet[:cut]
