"""Ring buffers in which new records overwrite the oldest (Linux 6.19)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from c_objects import object_from_c
from probee.kernel.features.inventory import map_flag
from probee.kernel.load import Collection, load
from probee.sys import kernel

pytestmark = pytest.mark.root

PROGRAM = r"""
struct event { u64 n, twice; };
struct event *keep __attribute__((unused));
struct { __uint(type, 27); __uint(max_entries, 4096); __uint(map_flags, 1 << 19); } latest SEC(".maps");
static long (*ringbuf_output)(void *, void *, u64, u64) = (void *)130;
u64 sent, refused; u32 times = 100;
SEC("raw_tp/sys_enter") int emit(void *ctx) {
    for (u32 i = 0; i < 1000 && i < times; i++) {
        struct event e = {.n = sent, .twice = 2 * sent};
        sent += 1;
        if (ringbuf_output(&latest, &e, sizeof e, 0)) refused += 1;
    }
    return 0;
}
"""
ROOM = 4096 // 24


@pytest.fixture
def c(tmp_path: Path) -> Iterator[Collection]:
    if not map_flag("rb_overwrite"):
        pytest.skip("this kernel has no ring buffers that are overwritten (Linux 6.19)")
    with load(object_from_c(tmp_path, PROGRAM)) as collection:
        yield collection


def emit(c: Collection) -> None:
    kernel().prog_test_run(c.programs["emit"].fd, repeat=0)


def test_the_latest_records_are_there(c: Collection) -> None:
    latest = c.maps["latest"].of("event")
    assert latest.overwrites
    assert latest.consume() == []
    emit(c)
    assert [e.n for e in latest.consume()] == list(range(100))
    c.globals.times = 1000
    emit(c)
    emit(c)
    numbers = [e.n for e in latest.consume()]
    assert numbers == list(range(2100 - len(numbers), 2100))
    assert ROOM - 1 <= len(numbers) <= ROOM
    assert latest.overwritten == 24 * (2000 - len(numbers))
    assert (c.globals.refused, latest.consume()) == (0, [])
    emit(c)
    assert latest.read_numpy()["n"][-1] == 3099


def test_reading_while_it_is_overwritten(c: Collection) -> None:
    """No record is torn, none comes twice, none out of order."""
    latest = c.maps["latest"].of("event")
    c.globals.times = 1000
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            emit(c)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        last = -1
        for _ in range(200):
            array = latest.read_numpy()
            if len(array):
                assert (array["twice"] == 2 * array["n"]).all()
                assert int(array["n"][0]) > last
                assert (np.diff(array["n"].astype(np.int64)) == 1).all()
                last = int(array["n"][-1])
    finally:
        stop.set()
        writer.join()
    assert last > 0
