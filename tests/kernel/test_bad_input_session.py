"""Sessions in the wrong order, thread or process: an error in words, and nothing left."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import probee as bp
from probee import u32, u64

pytestmark = pytest.mark.root


PROG_GET_FD_BY_ID = 13  # enum bpf_cmd (linux/bpf.h)


class Seen(bp.Struct):
    number: u64


hits = bp.Hash[u32, u64](16)
records = bp.RingBuf[Seen](1 << 16)
only = bp.Const[u32](0)
count = bp.Global[u64](0)


@bp.tracepoint("syscalls:sys_enter_getppid")
def on_getppid(args):
    if bp.pid() == only:
        hits[0] += 1
        count.value += 1
        records.output(Seen(number=count.value))


def descriptors() -> dict[str, str]:
    """Every descriptor of this process: a leak of any kind counts here, not only of kernel objects."""
    gc.collect()
    found = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            found[fd] = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
    return {fd: what for fd, what in found.items() if not what.startswith("/proc/")}


@pytest.fixture(autouse=True)
def all_closed() -> Iterator[None]:
    only.value = os.getpid()
    with bp.attach():  # what is opened once in a process is open now
        pass
    before = descriptors()
    yield
    assert hits._live is None
    assert descriptors() == before


def make(n: int) -> None:
    for _ in range(n):
        os.getppid()


# ---- after the end, before the start ----


def test_what_a_closed_session_says() -> None:
    session = bp.attach()
    table, ring, program = session.maps["hits"], session.maps["records"], session.programs
    link = session.links[0]
    session.close()
    assert session.closed
    session.close()
    for use in (
        session.fileno,
        lambda: session.poll(0),
        lambda: session.on(records, print),
        lambda: table[0],
        lambda: list(table.items()),
        lambda: table.to_numpy(),
        lambda: ring.consume(),
        lambda: ring.read_numpy(),
        lambda: next(iter(program.values())).fd,
        lambda: next(iter(program.values())).info(),
        lambda: next(iter(program.values())).attach(),
        lambda: next(iter(program.values())).test_run(),
        lambda: link.fd,
    ):
        with pytest.raises(bp.ProbeeError, match="closed"):
            print("not refused:", use())
    assert list(session) == []
    assert list(ring) == []
    assert session.dropped == 0
    assert "closed" in repr(session)
    with pytest.raises(bp.ProbeeError, match="closed"), session:
        raise AssertionError("the block of a closed session does not run")


def test_declarations_outside_a_session_say_so() -> None:
    for use in (
        lambda: hits[0],
        lambda: hits.__setitem__(0, 1),
        lambda: hits.__delitem__(0),
        lambda: len(hits),
        lambda: 0 in hits,
        lambda: list(hits.items()),
        lambda: hits.to_numpy(),
        lambda: records.consume(),
        lambda: next(iter(records)),
        lambda: records.fileno(),
    ):
        with pytest.raises(bp.NotAttached, match="attach"):
            use()


def test_a_kernel_function_called_from_python_says_so() -> None:
    with pytest.raises((bp.ProbeeError, TypeError), match=r"kernel|attach"):
        on_getppid(None)


# ---- several ----


def test_attached_twice_each_has_its_own_maps() -> None:
    first, second = bp.attach(), bp.attach()
    make(3)
    assert first.maps["hits"][0] == second.maps["hits"][0] == 3
    second.close()
    make(1)
    assert first.maps["hits"][0] == 4
    first.close()


def test_nested_sessions_give_the_declaration_back() -> None:
    with bp.attach() as outer:
        make(1)
        with bp.attach():
            assert 0 not in hits, "a new session's maps are empty"
            make(1)
            assert hits[0] == 1
        make(1)
        assert outer.maps["hits"][0] == 3
        assert hits[0] == 3, "the declaration means the outer session's map again"


def test_closed_in_the_wrong_order() -> None:
    first, second = bp.attach(), bp.attach()
    first.close()
    make(2)
    assert hits[0] == 2
    second.close()


def test_closing_inside_the_block() -> None:
    with bp.attach() as session:
        session.close()
    with bp.attach() as session:
        make(3)
        for e in records:
            if e.number == 2:
                session.close()
    assert session.closed


# ---- exceptions ----


def test_an_exception_in_the_body_of_the_loop() -> None:
    def loop() -> None:
        with bp.attach():
            make(3)
            for e in records:
                if e.number == 2:
                    raise KeyError("two")

    with pytest.raises(KeyError, match="two"):
        loop()


def test_an_exception_in_a_callback() -> None:
    def callback(e: Seen) -> None:
        raise ZeroDivisionError(e.number)

    with bp.attach() as session:
        session.on(records, callback)
        make(2)
        for number in (1, 2):
            with pytest.raises(ZeroDivisionError) as caught:
                session.poll(0)
            assert caught.value.args == (number,)
        assert session.poll(0) == 0


def test_closing_in_a_callback() -> None:
    got = []
    with bp.attach() as session:

        def callback(e: Seen) -> None:
            got.append(e.number)
            session.close()

        session.on(records, callback)
        make(1)
        session.poll(0)
    assert got == [1]


# ---- threads and processes ----


@pytest.mark.parametrize("way", ["buffer", "session", "events", "poll", "printed"])
def test_closing_in_another_thread_ends_a_loop(way: str) -> None:
    session = bp.attach()
    session.on(records, print)
    begun = threading.Event()

    def read() -> None:
        begun.set()
        if way == "poll":
            session.poll()
        else:
            loops = {
                "buffer": lambda: records,
                "session": lambda: session,
                "events": lambda: session.events(records),
                "printed": session.printed,
            }
            for _ in loops[way]():
                pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    begun.wait()
    time.sleep(0.2)
    session.close()
    reader.join(5)
    assert not reader.is_alive()


def test_a_session_made_and_closed_in_a_thread() -> None:
    failed = []

    def work() -> None:
        try:
            with bp.attach(on_getppid) as session:
                make(1)
                assert session.maps["hits"][0] == 1
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert failed == []


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_ends_or_closes_leaves_the_parents_session_alone() -> None:
    with bp.attach() as session:
        make(1)
        for close in (False, True):
            child = os.fork()
            if not child:
                try:
                    if close:
                        session.close()
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
        make(1)
        assert hits[0] == 2
        assert [e.number for e in records.consume()] == [1, 2]


# ---- asyncio ----


def test_asyncio_cancel() -> None:
    async def read(source: object) -> None:
        async for _ in source:  # type: ignore[attr-defined]
            pass

    async def main() -> None:
        with bp.attach() as session:
            for source in (records, session, session.maps["records"]):
                task = asyncio.create_task(read(source))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(read(source), 0.05)
            make(1)
            async for e in records:
                assert e.number == 1
                break

    asyncio.run(main())


@pytest.mark.parametrize("way", ["buffer", "session"])
def test_closing_ends_an_async_loop(way: str) -> None:
    async def main() -> None:
        session = bp.attach()
        asyncio.get_running_loop().call_later(0.1, session.close)
        async with asyncio.timeout(5):
            async for _ in records if way == "buffer" else session:
                pass

    asyncio.run(main())


# ---- interrupts ----


def test_ctrl_c_while_closing_leaves_nothing() -> None:
    session = bp.attach(merge_syscalls=False)
    close = session.links[0].close

    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        close()

    class Link:
        def close(self) -> None:
            interrupted()

    session.links[0] = Link()  # type: ignore[call-overload]
    with pytest.raises(KeyboardInterrupt):
        session.close()
    assert session.closed


def test_ctrl_c_twice_ends_the_block_once() -> None:
    with bp.attach(catch_interrupt=True) as session:
        close = session.links[0].close

        class Link:
            def close(self) -> None:
                signal.raise_signal(signal.SIGINT)
                close()

        session.links[0] = Link()  # type: ignore[call-overload]
        raise KeyboardInterrupt
    assert session.closed


SCRIPT = """
import probee as bp
from probee import u32, u64
n = bp.Hash[u32, u64](64)
@bp.tracepoint("sched:sched_process_exec")
def bad_input_prog(args):
    n[args.pid] += 1
if __name__ == "__main__":
    import time
    with bp.attach() as session:
        print(*(p.id for p in session.programs.values()), flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_end_of_a_process_detaches(tmp_path: Path, end: int) -> None:
    from probee.sys import kernel

    path = tmp_path / "x.py"
    path.write_text(SCRIPT)
    with subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        program = int(process.stdout.readline())
        os.close(kernel().fd_by_id(PROG_GET_FD_BY_ID, program))
        process.send_signal(end)
        process.wait(10)
    deadline = time.monotonic() + 5  # the kernel frees it after a grace period
    while time.monotonic() < deadline:
        try:
            os.close(kernel().fd_by_id(PROG_GET_FD_BY_ID, program))
        except FileNotFoundError:
            return
        time.sleep(0.05)
    raise AssertionError("the program is still in the kernel")
