"""Perf buffers of the running kernel: records, losses, waiting, order, and rings that are overwritten."""

from __future__ import annotations

import asyncio
import errno
import select
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c_objects import object_from_c
from probee.errors import MapError
from probee.kernel.load import Collection, load
from probee.kernel.perf_buffer import PerfBuffer
from probee.sys import kernel

pytestmark = pytest.mark.root

PROGRAM = r"""
static long (*perf_event_output)(void *, void *, u64, void *, u64) = (void *)25;
static u32 (*cpu_id)(void) = (void *)8;
struct event { u64 n; u32 cpu; u32 pid; char comm[16]; };
struct event *keep __attribute__((unused));
struct { __uint(type, 4); __uint(key_size, 4); __uint(value_size, 4); } events SEC(".maps");
u64 sent, refused; u32 times = 100;
SEC("raw_tp/sys_enter") int emit(void *ctx) {
    for (u32 i = 0; i < 1000 && i < times; i++) {
        struct event e = {.n = sent, .cpu = cpu_id(), .pid = 7, .comm = "abc"};
        sent += 1;
        if (perf_event_output(ctx, &events, 0xffffffff, &e, sizeof e)) refused += 1;
    }
    return 0;
}
SEC("raw_tp/sys_enter") int mixed(void *ctx) {
    u64 words[4] = {1, 2, 3, 4};
    perf_event_output(ctx, &events, 0xffffffff, words, 8);
    perf_event_output(ctx, &events, 0xffffffff, words, 32);
    perf_event_output(ctx, &events, 0xffffffff, words, 13);
    return 0;
}
"""
ON_CPU = 1  # BPF_F_TEST_RUN_ON_CPU


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Collection]:
    with load(object_from_c(tmp_path, PROGRAM)) as collection:
        yield collection


def emit(c: Collection, cpu: int = 0, *, program: str = "emit") -> None:
    kernel().prog_test_run(c.programs[program].fd, repeat=0, flags=ON_CPU, cpu=cpu)


def last_cpu() -> int:
    return kernel().online_cpus()[-1]


def later(action: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(0.1, action)
    timer.start()
    return timer


def test_records_have_their_type(c: Collection) -> None:
    with c.maps["events"].buffer("event") as b:
        assert b.consume() == []
        emit(c)
        emit(c, last_cpu())
        records = b.consume()
        assert sorted(e.n for e in records) == list(range(200))
        assert records[0] == (0, 0, 7, "abc")
        assert {e.cpu for e in records} == {0, last_cpu()}
        assert (b.dropped, b.available, c.globals.refused) == (0, 0, 0)
        emit(c)
        by_cpu = b.consume_by_cpu()
        assert {cpu: len(found) for cpu, found in by_cpu.items()} == {0: 100}
        assert b.cpus == kernel().online_cpus()
    assert b.closed
    b.close()
    with pytest.raises(MapError, match="is closed"):
        b.consume()
    emit(c)
    assert c.globals.refused == 100  # the events are out of the map again


def test_records_without_a_type_are_bytes(c: Collection) -> None:
    with c.maps["events"].buffer() as b:
        emit(c, program="mixed")
        first, second, third = b.consume()
        assert first[:8] == (1).to_bytes(8, "little")
        assert len(second) == 36  # the kernel pads to the next multiple of 8, less 4
        assert third[:13] == second[:13]
        with pytest.raises(TypeError, match="have no type"):
            b.read_numpy()
        b.of({"a": "u64", "b": "u64"})
        emit(c, program="mixed")
        assert [tuple(r) for r in b.consume()] == [(1, 0), (1, 2), (1, 2)]


def test_columns(c: Collection) -> None:
    with c.maps["events"].buffer("event") as b:
        assert len(b.read_numpy()) == 0
        for _ in range(3):
            emit(c)
        array = b.read_numpy(250)
        assert array["n"].tolist() == list(range(250))
        assert set(array["comm"]) == {b"abc"}
        assert len(b.read_numpy()) == 50
        emit(c)
        assert b.read_arrow().column("n").to_pylist() == list(range(300, 400))
        emit(c)
        assert b.read_pandas()["comm"].tolist() == ["abc"] * 100
        emit(c)
        assert b.read_numpy(dtype=np.dtype("<u8")).tolist() == list(range(500, 600))


def test_losses_are_counted(c: Collection) -> None:
    with c.maps["events"].buffer("event", pages=1) as b:
        c.globals.times = 1000
        emit(c)
        kept = b.consume()
        lost = 1000 - len(kept)
        assert lost > 800
        assert c.globals.refused == lost
        if b.dropped == 0:  # before Linux 6.0 the kernel tells with the next record
            c.globals.times = 1
            emit(c)
            assert len(b.consume()) == 1
        assert (b.dropped, b.lost[0]) == (lost, lost)
    assert b.dropped == lost  # also when it is closed


def test_the_buffer_goes_round_many_times(c: Collection) -> None:
    with c.maps["events"].buffer("event", pages=2) as b:
        c.globals.times = 97
        found: list[int] = []
        for i in range(60):
            emit(c)
            found += [e.n for e in b.consume()] if i % 2 else b.read_numpy()["n"].tolist()
        assert found == list(range(97 * 60))


def test_waiting(c: Collection) -> None:
    with c.maps["events"].buffer("event") as b:
        begin = time.monotonic()
        assert b.poll(0.05) == []
        assert time.monotonic() - begin >= 0.05
        timer = later(lambda: emit(c))
        assert b.poll(5)  # the first may be seen before the others are written
        timer.join()
        b.consume()
        timer = later(lambda: emit(c))
        assert select.select([b], [], [], 5)[0] == [b]
        timer.join()
        seen: list[int] = []
        assert b.dispatch(lambda e: seen.append(e.n)) == len(seen) == 100


def test_watermarks(c: Collection) -> None:
    with c.maps["events"].buffer("event", watermark=8000) as b:
        emit(c)  # 4800 bytes
        assert not select.select([b], [], [], 0.05)[0]
        emit(c)
        assert select.select([b], [], [], 5)[0]
        assert len(b.poll(0)) == 200
        emit(c)
        assert len(b.poll(0.01)) == 100


def test_iteration_ends_when_it_is_closed(c: Collection) -> None:
    with c.maps["events"].buffer("event") as b:

        def finish() -> None:
            emit(c)
            emit(c, last_cpu())
            time.sleep(0.1)
            b.close()

        timer = later(finish)
        assert sum(1 for _ in b) == 200
        timer.join()


def test_asyncio(c: Collection) -> None:
    async def main() -> int:
        n = 0
        with c.maps["events"].buffer("event") as b:
            timer = later(lambda: emit(c))
            async for _ in b:
                n += 1
                if n == 100:
                    break
            timer.join()
        return n

    assert asyncio.run(asyncio.wait_for(main(), 10)) == 100


def test_what_a_callback_left_over_comes_next(c: Collection) -> None:
    with c.maps["events"].buffer("event") as b:
        emit(c)

        def fail(e: Any) -> None:
            if e.n == 10:
                raise ValueError("enough")

        with pytest.raises(ValueError, match="enough"):
            b.dispatch(fail)
        with pytest.raises(MapError, match="89 records"):
            b.read_numpy()
        assert [e.n for e in b.consume(5)] == [11, 12, 13, 14, 15]
        assert len(b.consume()) == 84


def test_order_of_time_across_cpus(c: Collection) -> None:
    if last_cpu() == 0:
        pytest.skip("one CPU only")
    with c.maps["events"].buffer("event", ordered=True) as b:
        for cpu in (last_cpu(), 0, last_cpu(), 0):
            emit(c, cpu)
        assert [e.n for e in b.consume()] == list(range(400))
        for cpu in (last_cpu(), 0, last_cpu()):
            emit(c, cpu)
        assert b.read_numpy()["n"].tolist() == list(range(400, 700))


def test_overwritten_rings_keep_the_latest(c: Collection) -> None:
    with c.maps["events"].snapshots("event", pages=1) as s:
        assert s.read()[0] == []
        emit(c)
        found = [e.n for e in s.read()[0]]
        assert found == list(range(100 - len(found), 100))
        assert 80 < len(found) < 100
        c.globals.times = 1000
        emit(c)
        emit(c, last_cpu())
        latest = s.read()
        numbers = [e.n for e in latest[last_cpu()]]
        assert numbers == list(range(2100 - len(numbers), 2100))
        assert c.globals.refused == 0
    with pytest.raises(MapError, match="is closed"):
        s.read()


def test_what_makes_no_sense_is_refused(c: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    events = c.maps["events"]
    with pytest.raises(ValueError, match="no type 'nothing'"):
        events.buffer("nothing")
    with pytest.raises(ValueError, match="pages"):
        events.buffer(pages=0)
    with pytest.raises(MapError, match="does not tell"):
        list(events)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EMFILE, "no more")

    monkeypatch.setattr(type(kernel()), "perf_event_open", refuse)
    with pytest.raises(MapError, match="make a perf event for map 'events'"):
        events.buffer()


def test_kernels_that_do_not_count_losses(c: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(kernel()).perf_event_open

    def without(self: Any, *args: Any, read_format: int = 0, **kwargs: Any) -> int:
        if read_format:
            raise OSError(errno.EINVAL, "unknown format")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(kernel()), "perf_event_open", without)
    with PerfBuffer(c.maps["events"], "event", pages=1) as b:
        c.globals.times = 1000
        emit(c)
        kept = len(b.consume())
        assert b.dropped == 0
        c.globals.times = 1
        emit(c)
        assert len(b.consume()) == 1
        assert b.lost[0] == 1000 - kept
