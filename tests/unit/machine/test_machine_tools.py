"""The six tools, by the same tests in the machine and in the kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from typing import Any

import pytest

import probee as bp
from probee.isa.syscalls import SYSCALLS
from probee.tools import biolatency, execsnoop, opensnoop, runqlat, syscount, tcpstates


class InMachine:
    """Makes the events that the tools watch out of thin air."""

    def attach(self, *what: Any) -> Any:
        self.m = bp.Machine(*what)
        return self.m

    def exec(self, path: str, *args: str) -> int:
        self.m.current = self.m.task(4711, "true", ppid=os.getpid(), uid=os.getuid(), args=[path, *args])
        self.m.fire("sched:sched_process_exec", pid=4711, filename=path)
        return 4711

    def open(self, path: str, flags: int, result: int) -> None:
        self.m.current = self.m.task(os.getpid(), "pytest", uid=os.getuid())
        self.m.syscall("openat", -100, path, flags, 0, ret=result)

    def wait(self) -> None:
        waker, sleeper = self.m.task(10, "waker"), self.m.task(11, "sleeper")
        self.m.fire("sched_wakeup", sleeper)
        self.m.clock.advance(us=100)
        self.m.fire("sched_switch", False, waker, sleeper)

    def write_to_disk(self) -> None:
        request = self.m.request(1)
        self.m.fire("block_rq_issue", request)
        self.m.clock.advance(ms=3)
        self.m.fire("block_rq_complete", request, 0, 4096)

    def getppid(self, times: int) -> None:
        self.m.current = self.m.task(os.getpid(), "pytest")
        for _ in range(times):
            self.m.fire("syscalls:sys_enter_getppid")
            self.m.clock.advance(us=7)
            self.m.fire("syscalls:sys_exit_getppid", ret=1)

    def connect(self) -> int:
        sock = self.m.sock("tcp", local=("127.0.0.1", 40000), remote=("127.0.0.1", 8080))
        common = {"skaddr": sock, "family": 2, "protocol": 6, "dport": 8080}
        ends = {name: bytes(10) + b"\xff\xff\x7f\0\0\1" for name in ("saddr_v6", "daddr_v6")}
        for old, new, sport in ((7, 2, 0), (2, 1, 40000), (1, 4, 40000), (4, 7, 40000)):
            self.m.fire("sock:inet_sock_set_state", oldstate=old, newstate=new, sport=sport, **common, **ends)
            self.m.clock.advance(ms=1)
        return 8080


class InKernel:
    """Does what makes the events happen."""

    def attach(self, *what: Any) -> Any:
        return bp.attach(*what)

    def exec(self, path: str, *args: str) -> int:
        with subprocess.Popen([path, *args]) as process:
            return process.pid

    def open(self, path: str, flags: int, result: int) -> None:
        try:
            os.close(os.open(path, flags))
        except FileNotFoundError:
            assert result == -2

    def wait(self) -> None:
        time.sleep(0.05)

    def write_to_disk(self) -> None:
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(__file__)) as file:
            file.write(b"x" * 65536)
            file.flush()
            os.fsync(file.fileno())

    def getppid(self, times: int) -> None:
        for _ in range(times):
            os.getppid()

    def connect(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = int(server.getsockname()[1])
            with socket.create_connection(("127.0.0.1", port)) as client:
                accepted, _ = server.accept()
                client.shutdown(socket.SHUT_RDWR)
                accepted.close()
            time.sleep(0.1)
        return port


@pytest.fixture(params=[InMachine, pytest.param(InKernel, marks=pytest.mark.root)], ids=["machine", "kernel"])
def there(request: pytest.FixtureRequest) -> Any:
    return request.param()


def test_execsnoop_reports_a_program_with_its_arguments(there: Any) -> None:
    with there.attach(execsnoop) as live:
        pid = there.exec("/bin/true", "one", "two words")
        time.sleep(0 if hasattr(live, "fire") else 0.1)
        (e,) = [e for e in execsnoop.execs.consume() if e.pid == pid]
    assert e.filename == "/bin/true"
    assert execsnoop.words(e) == ["/bin/true", "one", "two words"]
    assert (e.ppid, e.uid, e.comm) == (os.getpid(), os.getuid(), "true")


def test_opensnoop_reports_success_and_failure(there: Any) -> None:
    with tempfile.NamedTemporaryFile() as file, there.attach(opensnoop):
        there.open(file.name, os.O_RDONLY, 5)
        there.open(file.name + ".not", os.O_WRONLY, -2)
        seen = [o for o in opensnoop.opens.consume() if o.path.startswith(file.name)]
    assert [(o.path, o.ret >= 0) for o in seen] == [(file.name, True), (file.name + ".not", False)]
    assert seen[1].ret == -2
    assert seen[1].flags & os.O_ACCMODE == os.O_WRONLY
    assert {o.pid for o in seen} == {os.getpid()}


def test_runqlat_times_a_wait(there: Any) -> None:
    with there.attach(runqlat):
        there.wait()
        counts = [sum(cpus) for cpus in runqlat.waits.values()]
    assert sum(counts) >= 1
    if isinstance(there, InMachine):
        assert counts[6] == 1  # 100 µs are 64 to 127


def test_biolatency_times_a_write(there: Any) -> None:
    if isinstance(there, InKernel) and not any(
        not name.startswith(("loop", "ram", "zram")) for name in os.listdir("/sys/block")
    ):
        pytest.skip("this kernel has no block device to write to")
    with there.attach(biolatency):
        there.write_to_disk()
        counts = {
            m.name: sum(sum(cpus) for cpus in m.values())
            for m in (biolatency.writes, biolatency.reads, biolatency.others)
        }
    if isinstance(there, InKernel) and not counts["writes"]:
        pytest.skip("the file system under the tests writes to no block device of this kernel")
    assert counts["writes"] >= 1
    if isinstance(there, InMachine):
        assert counts == {"writes": 1, "reads": 0, "others": 0}


def test_syscount_counts_and_times_calls(there: Any) -> None:
    number = SYSCALLS[os.uname().machine]["getppid"]
    with there.attach(syscount):
        there.getppid(5)
        count = sum(syscount.counts[number])
        latency = syscount.latencies[number]
        calls = sum(n for process, n in syscount.processes.items() if process.pid == os.getpid())
    assert count >= 5
    assert sum(cpu.count for cpu in latency) >= 5
    assert max(cpu.max_ns for cpu in latency) > 0
    assert calls >= 5
    if isinstance(there, InMachine):
        assert sum(cpu.total_ns for cpu in latency) == 5 * 7000


def test_tcpstates_follows_a_connection(there: Any) -> None:
    with there.attach(tcpstates):
        port = there.connect()
        changes = [c for c in tcpstates.changes.consume() if c.remote_port == port]
    names = [(tcpstates.STATES[c.old], tcpstates.STATES[c.new]) for c in changes]
    assert names[:3] == [("CLOSE", "SYN_SENT"), ("SYN_SENT", "ESTABLISHED"), ("ESTABLISHED", "FIN_WAIT1")]
    assert tcpstates.address(changes[1].family, changes[1].remote, port) == f"127.0.0.1:{port}"
    assert changes[1].since_ns == changes[0].time_ns  # the old state began with the change before
