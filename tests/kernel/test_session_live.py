"""A session in the running kernel: what can be attached, ways to read, nothing left behind."""

from __future__ import annotations

import asyncio
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import probee as bp
from probee import u32, u64

pytestmark = pytest.mark.root


class Call(bp.Struct):
    pid: u32
    number: u32

    def double(self) -> int:
        return 2 * self.number


calls = bp.RingBuf[Call](4096)  # room for 170 records
others = bp.RingBuf[Call](4096)
seen = bp.Hash[u32, u64](16)
only = bp.Const[u32](0)
count = bp.Global[u64](0)


@bp.tracepoint("syscalls:sys_enter_getppid")
def on_getppid(args):
    if bp.pid() != only:
        return
    seen[bp.pid()] += 1
    count.value += 1
    with calls.reserve() as e:
        e.pid = bp.pid()
        e.number = count.value


@bp.tracepoint("syscalls:sys_enter_getpgid")
def on_getpgid(args):
    if bp.pid() == only:
        others.output(Call(pid=bp.pid(), number=1000 + args.pid))


class Held:
    """Programs may stand in a class body."""

    @bp.tracepoint("syscalls:sys_enter_getsid")
    def on_getsid(args):
        if bp.pid() == only:
            seen[1] += 1


@pytest.fixture(autouse=True)
def mine() -> Iterator[None]:
    only.value = os.getpid()
    yield
    assert calls._live is None, "a session was left open"


def live_programs() -> set[str]:
    """Programs in the kernel, by the ids that bpffs' iterator or bpftool would show: our own descriptors."""
    names = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            names.add(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return {name for name in names if "bpf" in name}


def make(n: int) -> None:
    for _ in range(n):
        os.getppid()


def test_attach_takes_the_programs_of_the_calling_module() -> None:
    with bp.attach() as session:
        make(3)
        os.getsid(0)
        assert [e.number for e in calls.consume()] == [1, 2, 3]
        assert seen[os.getpid()] == 3
        assert seen[1] == 1
        assert dict(seen.items()) == {os.getpid(): 3, 1: 1}
        assert session.maps["seen"] is seen._live
        assert len(session.links) == 1, "all three became one program on sys_enter"


def test_records_are_of_the_users_class() -> None:
    with bp.attach(on_getppid):
        make(1)
        (e,) = calls.consume()
    assert isinstance(e, Call)
    assert e.double() == 2
    assert repr(e) == f"Call(pid={os.getpid()}, number=1)"


def test_programs_modules_and_classes() -> None:
    module = sys.modules[__name__]
    for what, hooks in ((module, 3), (Held, 1), (Held.on_getsid, 1)):
        with bp.attach(what, merge_syscalls=False) as session:
            assert len(session.links) == hooks
            os.getsid(0)
            assert seen[1] == 1


def test_a_path_of_a_file_does_not_run_its_main_part(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import probee as bp\n"
        "from probee import u64\n"
        "hits = bp.Array[u64](1)\n"
        '@bp.tp_btf("sys_enter")\n'
        "def f():\n"
        "    hits[0] += 1\n"
        'if __name__ == "__main__":\n'
        "    raise SystemExit('ran')\n"
    )
    before = list(sys.path), set(sys.modules)
    with bp.attach(path) as session:
        make(5)
        assert session.maps["hits"][0] >= 5
    assert (sys.path, set(sys.modules) - before[1] - {"mine"}) == (before[0], set(sys.modules) - before[1])


def test_an_object_file(tmp_path: Path) -> None:
    from probee.lang import compile

    path = tmp_path / "held.bpf.o"
    path.write_bytes(compile([Held.on_getsid], merge_syscalls=False))
    with bp.attach(str(path)) as session:
        assert session.programs["on_getsid"].spec.section == "tp/syscalls/sys_enter_getsid"


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (time, "module time has no programs"),
        (lambda: 0, "put a decorator"),
        (7, "can't attach 7"),
        ("/nowhere.o", "can't read /nowhere.o"),
        ("/nowhere.py", "can't read /nowhere.py"),
    ],
)
def test_what_can_not_be_attached(what: Any, says: str) -> None:
    with pytest.raises(bp.ProbeeError, match=says):
        bp.attach(what)


def test_events_of_several_buffers_for_a_time() -> None:
    with bp.attach() as session:
        make(2)
        os.getpgid(0)
        began = time.monotonic()
        idle = []
        got = list(session.events(duration=0.2, idle=lambda: idle.append(1)))
        assert 0.2 <= time.monotonic() - began < 2
        assert sorted(e.number for e in got) == [1, 2, 1000]
        assert idle
        make(1)
        assert [e.number for e in session.events("calls", duration=0)] == [3]
        with pytest.raises(bp.ProbeeError, match="it has calls, others"):
            next(session.events("seen"))


def test_events_keep_what_was_not_taken() -> None:
    with bp.attach() as session:
        make(5)
        for e in session.events(calls):
            if e.number == 2:
                break
        assert [e.number for e in session.events(calls, duration=0)] == [3, 4, 5]


def test_iterating_a_session_waits_for_events() -> None:
    with bp.attach(on_getppid) as session:
        timer = threading.Timer(0.2, make, [1])
        timer.start()
        assert next(iter(session)).number == 1
        timer.join()


def test_callbacks() -> None:
    got: list[Call] = []
    with bp.attach() as session:
        session.on(calls, got.append)
        session.on("others", got.append)
        assert session.poll(0.01) == 0
        make(3)
        os.getpgid(0)
        assert session.poll() == 4
        assert sorted(e.number for e in got) == [1, 2, 3, 1000]


def test_an_exception_of_a_callback_comes_out_and_the_rest_comes_later() -> None:
    got: list[int] = []

    def callback(e: Call) -> None:
        got.append(e.number)
        if e.number == 2:
            raise ValueError("two")

    with bp.attach() as session:
        session.on(calls, callback)
        make(4)
        with pytest.raises(ValueError, match="two"):
            session.poll()
        assert session.poll(0) == 2
        assert got == [1, 2, 3, 4]


def test_poll_without_callbacks_says_what_to_do() -> None:
    with bp.attach() as session, pytest.raises(bp.ProbeeError, match=r"session\.on"):
        session.poll(0)


def test_the_descriptor_is_readable_while_there_are_records() -> None:
    with bp.attach() as session, select.epoll() as poller:
        poller.register(session.fileno(), select.EPOLLIN)
        assert poller.poll(0) == []
        os.getpgid(0)
        assert poller.poll(1) == [(session.fileno(), select.EPOLLIN)]
        others.consume()
        assert poller.poll(0) == []


def test_asyncio_over_a_buffer_and_over_a_session() -> None:
    async def read(source: Any, count: int) -> list[int]:
        got: list[int] = []
        async for e in source:
            got.append(e.number)
            if len(got) == count:
                return got
        raise AssertionError

    async def main(session: bp.Session) -> None:
        loop = asyncio.get_running_loop()
        for source, expected in ((calls, [1, 2]), (session, [3, 4])):
            loop.call_later(0.05, make, 1)
            loop.call_later(0.1, make, 1)
            assert await asyncio.wait_for(read(source, 2), 10) == expected

    with bp.attach() as session:
        asyncio.run(main(session))


def test_lost_records_are_counted() -> None:
    with bp.attach() as session:
        make(300)
        got = len(calls.consume())
        assert got < 300
        assert session.drops == {"calls": 300 - got, "others": 0}
        assert session.dropped == 300 - got
    assert session.dropped == 300 - got, "also after the end"


def test_globals_live_and_unbound() -> None:
    count.value = 40
    with bp.attach(on_getppid) as session:
        make(2)
        assert count.value == 42
        assert session.globals["count"] == 42
        count.value = 7
        make(1)
        assert count.value == 8
    count.value = 0


def test_a_constant_does_not_compile_anew() -> None:
    with bp.attach(on_getppid) as first:
        pass
    only.value = 1
    with bp.attach(on_getppid) as second:
        make(3)
        assert calls.consume() == []
        with pytest.raises(bp.ProbeeError, match="a Const is fixed"):
            only.value = 2
    assert second.stats["from_cache"] == 1
    assert first.stats.keys() == second.stats.keys() >= {"compile_ns", "load_ns", "attach_ns"}


def test_a_corrupt_cache_is_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBEE_CACHE", str(tmp_path / "c"))

    def attach() -> int:
        with bp.attach(Held) as session:
            os.getsid(0)
            assert seen[1] == 1
            return session.stats["from_cache"]

    assert [attach(), attach()] == [0, 1]
    (entry,) = (tmp_path / "c" / "objects").iterdir()
    data = bytearray(entry.read_bytes())
    data[-100] ^= 1
    entry.write_bytes(data)
    assert [attach(), attach()] == [0, 1]
    with bp.attach(Held, cache=False) as session:
        assert session.stats["from_cache"] == 0


def test_llvm_is_not_loaded_from_the_cache(tmp_path: Path) -> None:
    import subprocess

    script = """
import sys, probee as bp
from probee import u64
hits = bp.Array[u64](1)
@bp.tp_btf("sys_enter")
def f():
    hits[0] += 1
if __name__ == "__main__":
    with bp.attach() as session:
        maps = open("/proc/self/maps").read()
        slow = {"ast", "inspect", "typing", "argparse", "dataclasses", "json", "numpy", "llvmlite"}
        print(session.stats["from_cache"], "llvm" in maps, sorted(slow & set(sys.modules)))
"""
    path = tmp_path / "x.py"
    path.write_text(script)
    words = [sys.executable, "-S", str(path)]
    folders = [p for p in sys.path if p]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    for expected in (None, "1 False []\n"):
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        assert expected in (None, done.stdout)


def test_nothing_is_left_after_close() -> None:
    before = live_programs()
    session = bp.attach()
    session.fileno()
    assert live_programs() > before
    session.close()
    session.close()
    assert live_programs() == before
    with pytest.raises(bp.NotAttached):
        len(seen)
    with pytest.raises(bp.ProbeeError, match="closed"):
        session.fileno()


def test_nothing_is_left_after_an_error() -> None:
    @bp.tp_btf("sys_enter")
    def fine():
        seen[2] += 1

    @bp.uprobe("libc", "no_such_function_at_all")
    def broken():
        seen[3] += 1

    before = live_programs()
    with pytest.raises(bp.AttachError, match="no_such_function_at_all"):
        bp.attach(fine, broken)
    assert live_programs() == before


def test_nothing_is_left_after_an_exception_in_the_block() -> None:
    before = live_programs()
    with pytest.raises(ZeroDivisionError), bp.attach():
        raise ZeroDivisionError
    assert live_programs() == before


@pytest.mark.parametrize("catch", [True, False, None])
def test_the_interrupt_key(catch: bool | None) -> None:
    caught = True
    try:
        with bp.attach(Held, catch_interrupt=catch):
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        caught = False
    assert caught == bool(catch), "by default only a main module's"


def test_a_newer_session_takes_over_and_the_older_lives_on() -> None:
    with bp.attach(on_getppid) as old:
        with bp.attach(on_getppid) as new:
            make(1)
            assert seen._live is new.maps["seen"]
            assert old.maps["seen"][os.getpid()] == new.maps["seen"][os.getpid()] == 1
        assert len(old.maps["seen"]) == 1
    assert seen._live is None


def test_a_uprobe_of_one_process(tmp_path: Path) -> None:
    hits = bp.Hash[u32, u64](64)

    @bp.uprobe("libc", "getppid", pid=os.getpid())
    def on_call():
        hits[bp.pid()] += 1

    with bp.attach(on_call):
        import subprocess

        make(2)
        subprocess.run([sys.executable, "-c", "import os; os.getppid()"], check=True)
        assert dict(hits.items()) == {os.getpid(): 2}


def test_programs_of_one_name_are_attached_each_in_its_way() -> None:
    import subprocess

    hits = bp.Hash[u32, u64](64)

    def probe(symbol: str, number: int, pid: int | None) -> Any:
        @bp.uprobe("libc", symbol, pid=pid)
        def on_call():
            hits[number] += 1

        return on_call

    first, second = probe("getppid", 1, os.getpid()), probe("getpgid", 2, os.getpid())
    third = probe("getpgrp", 3, None)
    with bp.attach(first, second, third) as session:
        assert list(session.programs) == ["on_call", "on_call_2", "on_call_3"]
        calls = "os.getppid(); os.getpgid(0); os.getpgrp()"
        exec(calls, {"os": os})
        subprocess.run([sys.executable, "-c", f"import os; {calls}"], check=True)
        assert dict(hits.items()) == {1: 1, 2: 1, 3: 2}
    with bp.Machine(first, second, third) as m:
        m.fire(second)
        assert dict(m.map(hits).items()) == {2: 1}


def test_what_programs_print() -> None:
    @bp.tracepoint("syscalls:sys_enter_getppid")
    def hello(args):
        if bp.pid() == only:
            print(f"hello {bp.pid()}")

    with bp.attach(hello) as session:
        assert f"hello {os.getpid()}" not in list(session.printed(0))
        enough = threading.Event()

        def repeat() -> None:  # a slow kernel takes its time to open the stream
            while not enough.wait(0.05):
                make(1)

        thread = threading.Thread(target=repeat)
        thread.start()
        try:
            for got in (session.printed(60), session.printed()):
                mine = (line for line in got if line == f"hello {os.getpid()}")  # others may print, too
                assert next(mine) == next(mine)
                got.close()
        finally:
            enough.set()
            thread.join()
    instances = Path("/sys/kernel/tracing/instances")
    assert not list(instances.glob(f"probee-{os.getpid()}-*"))


def test_what_a_killed_process_left_is_removed() -> None:
    from probee.tracepipe import TracePipe

    left = Path("/sys/kernel/tracing/instances/probee-999999999-1")
    left.mkdir()
    with TracePipe():
        assert not left.exists()


def test_unknown_names_offer_the_nearest() -> None:
    @bp.tracepoint("sched:sched_process_exce")
    def wrong_event(args):
        seen[1] = 1

    @bp.tracepoint("sched:sched_process_exec")
    def wrong_field(args):
        seen[1] = args.filenam

    with pytest.raises(bp.ProbeeError, match="sched_process_exec"):
        bp.attach(wrong_event)
    with pytest.raises(bp.CompileError, match="filename"):
        bp.attach(wrong_field)
