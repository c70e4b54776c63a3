"""Each tool, as people run it, sees a workload made by its test."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root


class Tool:
    """A tool that runs while the `with` block does. `lines` are those it has printed so far."""

    def __init__(self, *argv: str) -> None:
        words = [sys.executable, "-m", "probee", *argv]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(text.rstrip("\n"))

    def wait_for_lines(
        self, count: int, work: Callable[[], object] = lambda: None, seconds: float = 20
    ) -> None:
        """Do `work` again and again until the tool has printed so many lines, and a little longer."""
        deadline = time.monotonic() + 20
        while len(self.lines) < count and time.monotonic() < deadline and self._reader.is_alive():
            work()
            time.sleep(0.05)
        time.sleep(0.2)

    def end(self, interrupt: bool = True) -> list[str]:
        """Let it come to its end, or make it with Ctrl-C. All its lines; it must not have complained."""
        if interrupt:
            self.process.send_signal(signal.SIGINT)
        self._reader.join(20)
        assert self.process.stderr is not None
        assert not self.process.stderr.read()
        assert self.process.wait(20) == 0
        return self.lines

    def __enter__(self) -> Tool:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(20)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def seen(work: Callable[[], object], *argv: str, lines: int = 1) -> list[dict[str, Any]]:
    """The JSON rows of a tool that prints one for each event, while `work` is done again and again."""
    with Tool(*argv, "--json", "--duration", "30") as tool:
        tool.wait_for_lines(lines, work)
        return [json.loads(text) for text in tool.end()]


def during(work: Callable[[], object], *argv: str) -> str:
    """What a tool that says when it has begun prints about `work` at Ctrl-C."""
    with Tool(*argv) as tool:
        tool.wait_for_lines(1)
        assert "Ctrl-C to end" in tool.lines[0]
        work()
        return "\n".join(tool.end()[1:])


def rows_of(*argv: str, work: Callable[[], object] = lambda: None) -> list[dict[str, Any]]:
    """The JSON rows of a tool that ends by itself."""
    with Tool(*argv, "--json") as tool:
        work()
        return [json.loads(text) for text in tool.end(interrupt=False)]


# ---- execsnoop ----


def test_execsnoop_sees_a_program_with_its_parent_and_arguments(tmp_path: Path) -> None:
    program = tmp_path / "probee-exec-x7"
    shutil.copy("/bin/true", program)
    command = [str(program), "two words", "ü"]
    rows = seen(lambda: subprocess.run(command, check=True), "execsnoop", "--ppid", str(os.getpid()))
    rows = [row for row in rows if row["filename"] == str(program)]
    assert rows
    for row in rows:
        assert row["args"] == command
        assert (row["comm"], row["ppid"], row["uid"]) == ("probee-exec-x7", os.getpid(), os.getuid())
        assert abs(row["time_ns"] - time.time_ns()) < 60e9


def test_execsnoop_marks_arguments_that_did_not_fit() -> None:
    rows = seen(lambda: subprocess.run(["true", "a" * 1000], check=True), "execsnoop", "--comm", "true")
    rows = [row for row in rows if row["ppid"] == os.getpid()]
    assert rows
    assert all(row["args"][0] == "true" and row["args"][-1] == "..." for row in rows)
    assert all(set(row["args"][1]) == {"a"} for row in rows)


def test_execsnoop_as_a_table() -> None:
    with Tool("execsnoop") as tool:
        tool.wait_for_lines(1)
        assert tool.lines[0].split() == ["TIME", "PID", "PPID", "UID", "COMM", "ARGS"]
        subprocess.run(["true", "table-of-execsnoop"], check=True)
        tool.wait_for_lines(2)
        row = rf"\d\d:\d\d:\d\d\.\d+ +\d+ +{os.getpid()} +0 true +true table-of-execsnoop"
        assert any(re.fullmatch(row, text) for text in tool.end())


# ---- opensnoop ----


def test_opensnoop_sees_a_file_with_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "opened-by-its-test"
    path.touch()
    got = []

    def work() -> None:
        fd = os.open(path, os.O_RDWR | os.O_APPEND)
        got.append(fd)
        os.close(fd)

    rows = [row for row in seen(work, "opensnoop", "--pid", str(os.getpid())) if row["path"] == str(path)]
    assert rows
    for row in rows:
        assert (row["pid"], row["uid"]) == (os.getpid(), os.getuid())
        assert row["fd"] in got
        assert row["flags"] & (os.O_RDWR | os.O_APPEND | os.O_ACCMODE) == os.O_RDWR | os.O_APPEND
        assert "error" not in row


def test_opensnoop_names_the_error_of_an_open_that_failed(tmp_path: Path) -> None:
    path = tmp_path / "not-there"

    def work() -> None:
        path.exists()
        with pytest.raises(FileNotFoundError):
            path.open()

    rows = seen(work, "opensnoop", "--failed", "--path", str(path))
    assert rows
    assert {(row["path"], row["error"], row.get("fd")) for row in rows} == {(str(path), "ENOENT", None)}


@pytest.mark.skipif(
    os.uname().machine != "x86_64", reason="the numbers of open(2) and openat2(2) are x86-64's"
)
def test_opensnoop_sees_all_three_calls(tmp_path: Path) -> None:
    script = f"""
import ctypes, struct
libc = ctypes.CDLL(None)
how = ctypes.create_string_buffer(struct.pack("QQQ", 0, 0, 0))
libc.syscall(2, b"{tmp_path}/by-open", 0)
libc.syscall(257, -100, b"{tmp_path}/by-openat", 0)
libc.syscall(437, -100, b"{tmp_path}/by-openat2", how, 24)
"""
    rows = seen(
        lambda: subprocess.run([sys.executable, "-c", script], check=True), "opensnoop", "--path", "/by-open"
    )
    assert {Path(row["path"]).name for row in rows} == {"by-open", "by-openat", "by-openat2"}


def test_opensnoop_filters_by_user_and_name(tmp_path: Path) -> None:
    path = tmp_path / "anyone"
    path.touch()
    name = "probee-opener"
    program = tmp_path / name
    shutil.copy("/bin/cat", program)

    def work() -> None:
        path.read_bytes()
        subprocess.run([program, path], check=True)

    rows = seen(work, "opensnoop", "--comm", name, "--uid", "root", "--path", str(path))
    assert {row["comm"] for row in rows} == {name}


# ---- runqlat, biolatency ----


def burn(seconds: float) -> None:
    count = 2 * (os.cpu_count() or 1)
    script = f"import time; end = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"
    busy = [subprocess.Popen([sys.executable, "-S", "-c", script]) for _ in range(count)]
    for process in busy:
        process.wait()


def test_runqlat_sees_threads_wait() -> None:
    out = during(lambda: burn(0.7), "runqlat")
    assert "run-queue latency" in out
    rows = re.findall(r"^ *(\d+) -> (\d+) +: (\d+) ", out, re.M)
    waited = sum(int(count) for low, _, count in rows if int(low) >= 512)
    assert waited > 0, f"more busy threads than CPUs, and nobody waited half a millisecond:\n{out}"


def test_runqlat_as_json_with_intervals() -> None:
    rows = rows_of("runqlat", "-i", "0.4", "-d", "1.2", work=lambda: burn(1))
    assert len(rows) == 3
    assert sum(row["total"] for row in rows) > 0
    for row in rows:
        assert row["unit"] == "usecs"
        assert sum(bucket["count"] for bucket in row["buckets"]) == row["total"]
        assert all(bucket["from"] <= bucket["to"] for bucket in row["buckets"])


def test_runqlat_of_one_process_leaves_out_the_others() -> None:
    def work() -> None:
        for _ in range(30):
            time.sleep(0.05)

    (row,) = rows_of("runqlat", "-p", str(os.getpid()), "-d", "1", work=work)
    assert 5 <= row["total"] <= 200


def writes_reach_a_device(path: Path) -> bool:
    """Does a synced write of this file make a block device count one?"""

    def written() -> int:
        return sum(int(line.split()[7]) for line in Path("/proc/diskstats").read_text().splitlines())

    before = written()
    path.write_bytes(os.urandom(1 << 16))
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return written() > before


def test_biolatency_sees_disk_writes(tmp_path: Path) -> None:
    if not writes_reach_a_device(tmp_path / "probe"):
        pytest.skip("no block device counts a write to the temporary directory")

    def work() -> None:
        for n in range(20):
            with (tmp_path / f"file{n}").open("wb") as file:
                file.write(os.urandom(1 << 16))
                file.flush()
                os.fsync(file.fileno())

    out = during(work, "biolatency", "--by-op")
    assert "reads" in out
    total = re.search(r"^writes, (\d+) in all", out, re.M)
    assert total, out
    assert int(total[1]) >= 20


def test_biolatency_of_a_disk_that_does_nothing(tmp_path: Path) -> None:
    idle = [p.name for p in Path("/sys/class/block").iterdir() if p.name.startswith(("loop", "zram", "ram"))]
    if not idle:
        pytest.skip("no loop, zram or ram device")
    out = during(lambda: writes_reach_a_device(tmp_path / "probe"), "biolatency", "--disk", idle[0])
    assert "nothing seen" in out


# ---- syscount ----


def test_syscount_agrees_with_strace() -> None:
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    script = """
import os, sys
sys.stdin.readline()
for _ in range(3000):
    os.getppid()
os.write(1, b"done\\n")
sys.stdin.readline()
"""
    words = [sys.executable, "-S", "-c", script]

    def counted_by_strace() -> int:
        traced = subprocess.run(
            ["strace", "-c", "-e", "trace=getppid", *words],
            input="\n\n",
            capture_output=True,
            text=True,
            check=True,
        )
        found = re.search(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+) .*getppid$", traced.stderr, re.M)
        assert found, traced.stderr
        return int(found[1])

    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None

        def work() -> None:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "done\n"

        out = during(work, "syscount", "-p", str(child.pid))
        child.stdin.write("\n")
        child.stdin.close()
    found = re.search(r"^getppid +(\d+)$", out, re.M)
    assert found, out
    assert int(found[1]) == counted_by_strace() == 3000


def test_syscount_measures_latency() -> None:
    def work() -> None:
        for _ in range(5):
            time.sleep(0.05)

    out = during(work, "syscount", "--latency", "-p", str(os.getpid()))
    assert out.split()[:2] == ["SYSCALL", "COUNT"]
    found = re.search(r"^(?:clock_nanosleep|select) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+)$", out, re.M)
    assert found, out
    assert 5 <= int(found[1]) <= 8, "the five, and those of waiting for the tool"
    assert 250 <= float(found[2]) < 5000
    assert 50_000 <= float(found[3]) <= float(found[4])


def test_syscount_by_process_as_json() -> None:
    def work() -> None:
        end = time.monotonic() + 1.3
        while time.monotonic() < end:
            os.getppid()
            time.sleep(0.001)

    rows = rows_of("syscount", "-P", "-d", "1", "-t", "500", work=work)
    assert sum(row["count"] for row in rows if row["pid"] == os.getpid()) > 100
    assert [row["count"] for row in rows] == sorted((row["count"] for row in rows), reverse=True)


# ---- tcpstates ----


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_tcpstates_follows_a_connection(family: socket.AddressFamily, host: str) -> None:
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip(f"no {host} here")
    with server:
        port = server.getsockname()[1]

        def work() -> None:
            with socket.create_connection((host, port)) as client:
                accepted, _ = server.accept()
                time.sleep(0.02)
                client.close()
                accepted.close()

        rows = seen(work, "tcpstates", "--remote-port", str(port), lines=12)
    shown = f"[{host}]" if ":" in host else host
    assert all(row["remote"] == f"{shown}:{port}" for row in rows)
    changes = [(row["old"], row["new"]) for row in rows]
    begin = changes.index(("CLOSE", "SYN_SENT"))  # the tool may have come into the middle of a connection
    rows, changes = rows[begin:], changes[begin:]
    expected = [
        ("CLOSE", "SYN_SENT"),
        ("SYN_SENT", "ESTABLISHED"),
        ("ESTABLISHED", "FIN_WAIT1"),
        ("FIN_WAIT1", "FIN_WAIT2"),
    ]
    at = [changes.index(change) for change in expected]
    assert at == sorted(at), changes
    opened = rows[at[0]]
    assert (opened["pid"], opened["comm"]) == (os.getpid(), Path("/proc/self/comm").read_text().strip())
    assert rows[at[2]]["ms"] >= 20, "it stayed ESTABLISHED for 20 ms"


def test_tcpstates_leaves_out_other_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, Tool("tcpstates", "-l", "1") as tool:
        tool.wait_for_lines(1)
        with socket.create_connection(server.getsockname()):
            pass
        (heading,) = tool.end()
    assert heading.split()[0] == "TIME"
