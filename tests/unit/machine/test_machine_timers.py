"""The clock that stands still, timers and work that fire as it moves."""

from __future__ import annotations

import errno

import pytest

from machine_asm import Asm
from probee.btf.build import BtfBuilder
from probee.machine.clock import Clock

ARRAY, HASH = 2, 1


def test_the_clock_moves_when_told() -> None:
    clock = Clock(100)
    assert clock.read() == clock.read() == 100
    clock.advance(5, us=1)
    assert clock.now == 1105
    clock.advance(seconds=2)
    assert clock.now == 2_000_001_105
    clock.step = 3
    assert [clock.read(), clock.read()] == [2_000_001_105, 2_000_001_108]
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)


def test_events_happen_in_order_and_at_their_times() -> None:
    clock = Clock(0)
    seen: list[tuple[str, int]] = []

    def note(name: str) -> None:
        seen.append((name, clock.now))
        if name == "b":
            clock.at(25, lambda: note("from b"))

    clock.at(30, lambda: note("c"))
    clock.at(20, lambda: note("b"))
    clock.at(20, lambda: note("b2"))
    gone = clock.at(21, lambda: note("gone"))
    gone.cancelled = True
    assert clock.next == 20
    assert clock.advance(30) == 4
    assert seen == [("b", 20), ("b2", 20), ("from b", 25), ("c", 30)]
    assert clock.next is None


def timed(m: Asm, type: int = ARRAY, struct: str = "bpf_timer", entries: int = 2) -> int:
    """A map with values of a count and a timer (or work)."""
    b = BtfBuilder()
    u32, u64 = b.int_("unsigned int", 4, 0), b.int_("unsigned long", 8, 0)
    timer = b.struct(struct, 16, [("a", u64, 0), ("b", u64, 64)])
    value = b.struct("value", 24, [("count", u64, 0), ("timer", timer, 64)])
    return m.map(type, 4, 24, entries, btf=b.btf(), key_type_id=u32, value_type_id=value)


def value_of(fd: int, index: int = 1) -> str:
    """The address of a value in r6, of its timer in r7."""
    return (
        f"*(u32 *)(r10 - 4) = {index}\nr1 = map_fd({fd}, 0x0) ll\nr2 = r10\nr2 += -4\ncall map_lookup_elem\n"
        "if r0 == 0 goto out\nr6 = r0\nr7 = r0\nr7 += 8\n"
    )


def init(fd: int, flags: int = 1) -> str:
    return f"r1 = r7\nr2 = map_fd({fd}, 0x0) ll\nr3 = {flags}\ncall timer_init\n"


CALLBACK = "r1 = r7\nr2 = func(fire) ll\ncall timer_set_callback\n"
START = "r1 = r7\nr2 = {}\nr3 = {}\ncall timer_start\n"
END = (
    "out:\nexit\n"
    # callback(map, key, value): count += 1 + 10 * key; it starts itself again
    "fire:\nr8 = r3\nr1 = *(u32 *)(r2 + 0)\nr1 *= 10\nr1 += 1\nr4 = *(u64 *)(r8 + 0)\nr4 += r1\n"
    "*(u64 *)(r8 + 0) = r4\nr1 = r8\nr1 += 8\nr2 = 100\nr3 = 0\ncall timer_start\nr0 = 0\nexit\n"
)


def count(m: Asm, fd: int, index: int = 1) -> int:
    return int.from_bytes(m.found(fd).sys_lookup(index.to_bytes(4, "little"))[:8], "little")


@pytest.mark.parametrize("type", [ARRAY, HASH])
def test_a_timer_fires_as_the_clock_moves(type: int) -> None:
    m = Asm()
    fd = timed(m, type)
    m.found(fd).update((1).to_bytes(4, "little"), bytes(24), 0, 0)
    program = value_of(fd) + init(fd) + CALLBACK + START.format(1000, 0) + END
    assert m.run(program) == 0
    clock = m.services.clock
    clock.advance(999)
    assert count(m, fd) == 0
    clock.advance(1)
    assert count(m, fd) == 11
    clock.advance(250)
    assert count(m, fd) == 33
    assert m.services.timers.waiting == 1


def test_what_timers_refuse() -> None:
    m = Asm()
    fd = timed(m)
    assert (
        m.run(value_of(fd) + "r1 = r7\nr2 = func(fire) ll\ncall timer_set_callback\n" + END) == -errno.EINVAL
    )
    assert m.run(value_of(fd) + START.format(5, 0) + END) == -errno.EINVAL
    assert m.run(value_of(fd) + init(fd, 5) + END) == -errno.EINVAL
    assert m.run(value_of(fd) + init(fd) + END) == 0
    assert m.run(value_of(fd) + init(fd) + END) == -errno.EBUSY
    assert m.run(value_of(fd) + START.format(5, 0) + END) == -errno.EINVAL
    assert m.run(value_of(fd) + CALLBACK + START.format(5, 8) + END) == -errno.EINVAL


def test_cancelling_and_starting_again() -> None:
    m = Asm()
    fd = timed(m)
    cancel = value_of(fd) + "r1 = r7\ncall timer_cancel\n" + END
    assert m.run(cancel) == -errno.EINVAL
    m.run(value_of(fd) + init(fd) + CALLBACK + START.format(50, 0) + END)
    assert m.run(cancel) == 1
    assert m.run(cancel) == 0
    m.services.clock.advance(100)
    assert count(m, fd) == 0
    m.run(value_of(fd) + START.format(50, 0) + END)
    m.run(value_of(fd) + START.format(70, 0) + END)  # the later start counts
    m.services.clock.advance(60)
    assert count(m, fd) == 0
    m.services.clock.advance(10)
    assert count(m, fd) == 11


def test_deleting_an_entry_ends_its_timer() -> None:
    m = Asm()
    fd = timed(m, HASH)
    key = (1).to_bytes(4, "little")
    m.found(fd).update(key, bytes(24), 0, 0)
    m.run(value_of(fd) + init(fd) + CALLBACK + START.format(50, 0) + END)
    m.found(fd).sys_delete(key)
    assert m.services.timers.waiting == 0
    assert m.services.clock.advance(1000) == 0


def test_work_runs_when_the_clock_is_next_moved() -> None:
    m = Asm()
    fd = timed(m, struct="bpf_wq")
    for number, name in ((1, "bpf_wq_init"), (2, "bpf_wq_set_callback_impl"), (3, "bpf_wq_start")):
        m.services.kfunc_names[number, 0] = name
    program = (
        value_of(fd)
        + f"r1 = r7\nr2 = map_fd({fd}, 0x0) ll\nr3 = 0\ncall kfunc(1)\nif r0 != 0 goto out\n"
        + "r1 = r7\nr2 = func(fire) ll\nr3 = 0\nr4 = 0\ncall kfunc(2)\n"
        + "r1 = r7\nr2 = 0\ncall kfunc(3)\nr1 = r7\nr2 = 0\ncall kfunc(3)\n"
        + "out:\nexit\nfire:\nr4 = *(u64 *)(r3 + 0)\nr4 += 1\n*(u64 *)(r3 + 0) = r4\nr0 = 0\nexit\n"
    )
    assert m.run(program) == 0
    assert count(m, fd) == 0
    m.services.clock.advance(0)
    assert count(m, fd) == 1
