"""Ring buffers in the running kernel: order, waiting, closing, asyncio, exceptions, columns, drops."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probee.lang.decl as bp
from c_objects import object_from_c
from probee.errors import MapError
from probee.kernel.load import Collection, load
from probee.kernel.maps import RINGBUF, Map
from probee.obj import MapSpec

pytestmark = pytest.mark.root

PROGRAMS = r"""
static long (*ringbuf_output)(void *, void *, u64, u64) = (void *)130;
static void (*ringbuf_discard)(void *, u64) = (void *)133;
struct Event { u64 n; u32 pid; s32 code; char comm[16]; };
struct { struct Event (*type)[27]; __uint(max_entries, 65536); } events SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } raw SEC(".maps");
u64 sent, __dropped_events; u32 many = 1, discard_every, size = 32;

SEC("syscall") int emit(void *ctx) {
    for (u32 i = 0; i < many && i < 200; i++) {
        struct Event *e = ringbuf_reserve(&events, sizeof(*e), 0);
        if (!e) { __sync_fetch_and_add(&__dropped_events, 1); continue; }
        e->n = sent++; e->pid = pid_tgid() >> 32; e->code = -1;
        __builtin_memset(e->comm, 0, 16);
        __builtin_memcpy(e->comm, "emitter", 8);
        if (discard_every && e->n % discard_every == 0) ringbuf_discard(e, 0); else ringbuf_submit(e, 0);
    }
    return 0;
}
char bytes[64];
#define OUTPUT(rb) u32 n = size; return n > 64 ? -1 : ringbuf_output(&rb, bytes, n, 0)
SEC("syscall") int output(void *ctx) { OUTPUT(raw); }
SEC("syscall") int shorter(void *ctx) { OUTPUT(events); }
"""


class Event(bp.Struct):
    n: bp.u64
    pid: bp.u32
    code: bp.i32
    comm: bp.Char[16]  # type: ignore[valid-type]

    @property
    def failed(self) -> bool:
        return self.code < 0


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return object_from_c(tmp_path_factory.mktemp("ringbuf"), PROGRAMS)


@pytest.fixture
def c(spec: Any) -> Iterator[Collection]:
    collection = load(spec, classes={"Event": Event})
    yield collection
    collection.close()


def emit(c: Collection, n: int) -> None:
    while n > 0:
        c.globals.many = min(n, 200)
        c.programs["emit"].test_run()
        n -= 200


def test_records_are_typed_objects(c: Collection) -> None:
    rb = c.maps["events"]
    assert rb.consume() == []
    emit(c, 3)
    assert rb.available == 3 * 40
    records = rb.consume()
    assert [r.n for r in records] == [0, 1, 2]
    assert records[0] == (0, os.getpid(), -1, "emitter")
    assert isinstance(records[0], Event)
    assert records[0].failed
    assert rb.available == 0
    assert rb.consume() == []


def test_many_turns_lose_nothing(c: Collection) -> None:
    rb = c.maps["events"]
    got: list[int] = []
    for i in range(30):
        emit(c, 100 + 37 * i)
        got += [r.n for r in rb.consume()] if i % 3 else rb.read_numpy()["n"].tolist()
    assert got == list(range(c.globals.sent))
    assert rb.dropped == 0


def test_limits(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 10)
    assert [r.n for r in rb.consume(4)] == [0, 1, 2, 3]
    assert len(rb.read_numpy(3)) == 3
    assert rb.consume(0) == []
    assert [r.n for r in rb.consume(100)] == [7, 8, 9]


def test_discarded_records_do_not_show(c: Collection) -> None:
    c.globals.discard_every = 3
    emit(c, 10)
    assert [r.n for r in c.maps["events"].consume()] == [1, 2, 4, 5, 7, 8]
    emit(c, 10)
    assert c.maps["events"].read_numpy()["n"].tolist() == [10, 11, 13, 14, 16, 17, 19]


def test_drops_are_counted_by_the_program(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 5000)
    room = 65536 // 40
    assert rb.dropped == 5000 - room
    assert len(rb.consume()) == room
    assert c.maps["raw"].dropped is None


def test_columns(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 1000)
    array = rb.read_numpy()
    assert array["n"].tolist() == list(range(1000))
    assert set(array["comm"]) == {b"emitter"}
    assert set(array["code"]) == {-1}
    assert len(rb.read_numpy()) == 0
    assert len(rb.read_numpy(timeout=0.01)) == 0
    emit(c, 2)
    assert len(rb.read_numpy(timeout=None)) == 2


def test_records_without_a_type_are_bytes(c: Collection) -> None:
    rb = c.maps["raw"]
    for size in (1, 8, 40):
        c.globals.size = size
        c.globals.bytes = "x" * size
        assert c.programs["output"].test_run()[0] == 0
    assert rb.consume() == [b"x", b"x" * 8, b"x" * 40]
    with pytest.raises(TypeError, match="give a dtype"):
        rb.read_numpy()
    c.programs["output"].test_run()
    assert rb.read_numpy(dtype=np.dtype("u1"))[0] == ord("x")


def test_records_shorter_than_their_type_end_in_zeros(c: Collection) -> None:
    c.globals.size = 8
    c.globals.bytes = "\1"
    c.programs["shorter"].test_run()
    emit(c, 1)
    assert c.maps["events"].consume() == [(1, 0, 0, ""), (0, os.getpid(), -1, "emitter")]


def test_poll_waits_for_the_first_record(c: Collection) -> None:
    rb = c.maps["events"]
    start = time.monotonic()
    assert rb.poll(0.05) == []
    assert 0.04 < time.monotonic() - start < 2
    assert rb.poll(0) == []
    timer = threading.Timer(0.05, emit, (c, 2))
    timer.start()
    assert len(rb.poll(5)) in (1, 2)  # the first may come before the second is there
    timer.join()


def test_iteration_ends_when_it_is_closed_by_a_thread(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 5)
    timer = threading.Timer(0.1, rb.close)
    timer.start()
    assert [e.n for e in rb] == [0, 1, 2, 3, 4]
    timer.join()
    with pytest.raises(MapError, match="closed"):
        rb.consume()
    assert list(rb) == []


def test_iteration_ends_when_a_signal_handler_closes_it(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 1)
    before = signal.signal(signal.SIGALRM, lambda *_: rb.close())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert len(list(rb)) == 1
    finally:
        signal.signal(signal.SIGALRM, before)


def test_ctrl_c_comes_out_of_the_iteration(c: Collection) -> None:
    rb = c.maps["events"]
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        list(rb)
    timer.join()
    emit(c, 1)
    assert len(rb.consume()) == 1


def test_an_exception_in_the_loop_loses_only_its_record(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 10)

    def read(until: int) -> list[int]:
        seen = []
        for e in rb:
            seen.append(e.n)
            if e.n == until:
                raise ValueError("of the user")
        return seen

    with pytest.raises(ValueError, match="of the user"):
        read(3)
    for e in rb:
        assert e.n == 4
        break
    assert [e.n for e in rb.consume(2)] == [5, 6]
    with pytest.raises(MapError, match="3 records of 'events' were taken as objects"):
        rb.read_numpy()
    emit(c, 2)
    assert [e.n for e in rb.poll(0)] == [7, 8, 9, 10, 11]


def test_an_exception_in_a_callback_loses_only_its_record(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 6)
    seen: list[int] = []

    def callback(e: Any) -> None:
        seen.append(e.n)
        if e.n == 2:
            raise ValueError("of the user")

    with pytest.raises(ValueError, match="of the user"):
        rb.dispatch(callback)
    assert seen == [0, 1, 2]
    assert rb.dispatch(callback) == 3
    assert seen == [0, 1, 2, 3, 4, 5]
    assert rb.dispatch(callback) == 0
    assert rb.dispatch(callback, 0.01) == 0


def test_asyncio(c: Collection) -> None:
    rb = c.maps["events"]
    emit(c, 2)

    async def run() -> list[int]:
        seen = []
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, emit, c, 3)
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.005)

        ticker = asyncio.create_task(tick())
        async for e in rb:
            seen.append(e.n)
            if e.n == 4:
                loop.call_later(0.05, rb.close)
        ticker.cancel()
        assert ticks > 5  # other tasks ran meanwhile
        return seen

    assert asyncio.run(asyncio.wait_for(run(), 10)) == [0, 1, 2, 3, 4]


def test_asyncio_cancellation_leaves_nothing_behind(c: Collection) -> None:
    rb = c.maps["events"]

    async def run() -> None:
        async for _ in rb:
            pass

    async def main() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(run(), 0.05)
        assert not asyncio.get_running_loop().remove_reader(rb.fileno())

    asyncio.run(main())
    emit(c, 1)
    assert len(rb.consume()) == 1


def test_its_descriptor_can_be_polled(c: Collection) -> None:
    import select

    rb = c.maps["events"]
    with select.epoll() as poller:
        poller.register(rb.fileno(), select.EPOLLIN)
        assert poller.poll(0) == []
        emit(c, 1)
        assert poller.poll(1)
        rb.consume()
        assert poller.poll(0) == []


def test_threads_that_emit_while_one_reads(c: Collection) -> None:
    rb = c.maps["events"]
    c.globals.many = 20
    total = 4 * 100 * 20

    def work() -> None:
        for _ in range(100):
            c.programs["emit"].test_run()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for w in workers:
        w.start()
    got = 0
    turn = 0
    while got + (rb.dropped or 0) < total:
        turn += 1
        got += len(rb.poll(0.5) if turn % 2 else rb.read_numpy(timeout=0.01))
    for w in workers:
        w.join()
    assert got + rb.dropped == total


def test_sizes_are_rounded_to_what_the_kernel_takes() -> None:
    with Map.create(MapSpec("r", map_type=RINGBUF, max_entries=5000)) as rb:
        assert rb.size == 8192
        assert rb.consume() == []


def test_memory_and_descriptors_go_when_it_is_closed(c: Collection) -> None:
    def mapped() -> int:
        return Path("/proc/self/maps").read_text().count("bpf-map")

    rb = c.maps["events"]
    emit(c, 1)  # which maps the globals
    before = mapped()
    rb.poll(1)
    assert mapped() > before
    rb.close()
    rb.close()
    assert mapped() == before
    assert rb.closed
