"""User ring buffers: Python writes, programs drain."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_maps_types import create

from c_objects import object_from_c
from probee.errors import MapError
from probee.kernel.load import Collection, load
from probee.sys import kernel

pytestmark = pytest.mark.root

PROGRAM = r"""
static long (*dynptr_read)(void *, u32, void *, u32, u64) = (void *)201;
static long (*drain)(void *, void *, void *, u64) = (void *)209;
struct command { u64 n; u32 weight; u32 flags; };
struct command *keep __attribute__((unused));
struct { __uint(type, 31); __uint(max_entries, 4096); } commands SEC(".maps");
u64 total, seen; u32 short_ones;
static long each(void *dynptr, void *context) {
    struct command c;
    if (dynptr_read(&c, sizeof c, dynptr, 0, 0)) { short_ones += 1; return 0; }
    total += c.n * c.weight;
    seen += 1;
    return 0;
}
SEC("raw_tp/sys_enter") int take(void *ctx) { return drain(&commands, each, 0, 0); }
"""


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Collection]:
    create("user_ringbuf").close()
    with load(object_from_c(tmp_path, PROGRAM)) as collection:
        yield collection


def take(c: Collection) -> None:
    kernel().prog_test_run(c.programs["take"].fd, repeat=0)


def test_records_reach_the_program(c: Collection) -> None:
    commands = c.maps["commands"].of("command")
    commands.send((3, 10, 0))
    commands.send({"n": 4, "weight": 100})
    with commands.reserve() as record:
        record.write((5, 1000, 0))
    take(c)
    assert (c.globals.total, c.globals.seen) == (5430, 3)
    assert commands.free == commands.size


def test_discarded_records_and_short_ones(c: Collection) -> None:
    commands = c.maps["commands"]
    with pytest.raises(TypeError, match="give a size"):
        commands.reserve()
    with pytest.raises(RuntimeError), commands.reserve(16):
        raise RuntimeError
    commands.send(b"abc")
    record = commands.reserve(16)
    record.discard()
    with pytest.raises(MapError, match="already"):
        record.submit()
    commands.send(bytes(16))
    take(c)
    assert (c.globals.seen, c.globals.short_ones) == (1, 1)


def test_a_busy_record_holds_up_those_behind_it(c: Collection) -> None:
    commands = c.maps["commands"].of("command")
    record = commands.reserve()
    commands.send((1, 1, 0))
    take(c)
    assert c.globals.seen == 0
    record.memory[:] = bytes(16)
    record.submit()
    take(c)
    assert c.globals.seen == 2


def test_a_full_buffer(c: Collection) -> None:
    commands = c.maps["commands"].of("command")
    sent = commands.size // 24
    commands.send_many((1, 1, 0) for _ in range(sent))
    with pytest.raises(BlockingIOError, match="is full"):
        commands.send((1, 1, 0))
    begin = time.monotonic()
    with pytest.raises(BlockingIOError):
        commands.send((1, 1, 0), timeout=0.05)
    assert time.monotonic() - begin >= 0.05
    drainer = threading.Timer(0.1, lambda: take(c))
    drainer.start()
    commands.send((1, 1, 0), timeout=5)
    drainer.join()
    take(c)
    assert c.globals.seen == sent + 1
    with pytest.raises(ValueError, match="does not fit"):
        commands.reserve(commands.size)


def test_many_turns(c: Collection) -> None:
    commands = c.maps["commands"].of("command")
    for i in range(20):
        commands.send_many((n, i, 0) for n in range(100))
        take(c)
    assert c.globals.seen == 2000
    assert c.globals.total == sum(range(100)) * sum(range(20))


def test_a_closed_one(c: Collection) -> None:
    commands = c.maps["commands"]
    commands.send(bytes(16))
    commands.close()
    with pytest.raises(MapError, match="is closed"):
        commands.send(b"")
