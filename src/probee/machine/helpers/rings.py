"""Helpers on ring buffers and perf buffers."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..memory import Fault
from ..rings import FORCE_WAKEUP, MOST_SAMPLES, NO_WAKEUP, PerfOutput, RingBuf, UserRingBuf
from . import dynptrs
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_INDEX = 0xFFFFFFFF
_CONTEXT_LENGTH = 0xFFFFF << 32
_MOST_RECORD = 1 << 16


def ring_at(cpu: MachineCpu, address: int) -> RingBuf:
    m = cpu.machine.map_at(address)
    if not isinstance(m, RingBuf):
        raise Fault(f"map {m.name!r} is no ring buffer", address=address)
    return m


def owner_of(cpu: MachineCpu, record: int) -> RingBuf:
    """The ring buffer that a reserved record belongs to. Raises Fault."""
    for m in cpu.machine.maps_by_address.values():
        if isinstance(m, RingBuf) and m.owns(record):
            return m
    raise Fault(f"{record:#x} is no record that was reserved and not yet submitted", address=record)


@helper("ringbuf_reserve")
def ringbuf_reserve(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return 0 if r3 else ring_at(cpu, r1).reserve(r2)


@helper("ringbuf_submit")
def ringbuf_submit(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    owner_of(cpu, r1).commit(r1, r2, discard=False)
    return 0


@helper("ringbuf_discard")
def ringbuf_discard(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    owner_of(cpu, r1).commit(r1, r2, discard=True)
    return 0


@helper("ringbuf_output")
def ringbuf_output(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return ring_at(cpu, r1).output(cpu.memory.read(r2, r3), r4)


@helper("ringbuf_query")
def ringbuf_query(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return ring_at(cpu, r1).query(r2)


@helper("ringbuf_reserve_dynptr")
def ringbuf_reserve_dynptr(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    size = r2 & 0xFFFFFFFF
    wrong = -errno.EINVAL if r3 else -errno.E2BIG if size > dynptrs.LARGEST else 0
    record = 0 if wrong else ring_at(cpu, r1).reserve(size)
    if not record:
        dynptrs.clear(cpu, r4)
        return wrong or -errno.ENOMEM
    dynptrs.make(cpu, r4, record, size, dynptrs.RINGBUF)
    return 0


def _finish(cpu: MachineCpu, dynptr: int, flags: int, *, discard: bool) -> int:
    found = dynptrs.read(cpu, dynptr)
    if found is not None:
        owner_of(cpu, found.data).commit(found.data, flags, discard=discard)
        dynptrs.clear(cpu, dynptr)
    return 0


@helper("ringbuf_submit_dynptr")
def ringbuf_submit_dynptr(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return _finish(cpu, r1, r2, discard=False)


@helper("ringbuf_discard_dynptr")
def ringbuf_discard_dynptr(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return _finish(cpu, r1, r2, discard=True)


@helper("user_ringbuf_drain")
def user_ringbuf_drain(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    if not isinstance(m, UserRingBuf):
        raise Fault(f"map {m.name!r} is no user ring buffer", address=r1)
    if r4 & ~(NO_WAKEUP | FORCE_WAKEUP):
        return -errno.EINVAL
    if m.busy:
        return -errno.EBUSY
    m.busy = True
    slot = cpu.memory.alloc(dynptrs.SIZE, "stack", name="sample")
    try:
        return _drain(cpu, m, slot.address, r2, r3)
    finally:
        m.busy = False
        cpu.memory.free(slot)


def _drain(cpu: MachineCpu, m: UserRingBuf, slot: int, callback: int, argument: int) -> int:
    samples = discarded = 0
    while samples < MOST_SAMPLES:
        found = m.next()
        if found == -errno.ENODATA:
            break
        samples += 1
        if found == -errno.EAGAIN:
            discarded += 1
            continue
        if isinstance(found, int):
            return found
        address, size = found
        at = address - m.data
        m.permit(at, size, True)
        dynptrs.make(cpu, slot, address, size, dynptrs.LOCAL)
        try:
            stop = cpu.call(callback, slot, argument)
        finally:
            m.permit(at, size, False)
            m.release(size)
        if stop:
            break
    return samples - discarded


def _perf(cpu: MachineCpu, map_address: int, flags: int, data: bytes) -> int:
    m = cpu.machine.map_at(map_address)
    if not isinstance(m, PerfOutput):
        raise Fault(f"map {m.name!r} takes no perf events", address=map_address)
    return m.output(data, flags & _INDEX, cpu.number)


@helper("perf_event_output")
def perf_event_output(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    """The packet programs' form has the number of the packet's bytes to add in the flags."""
    packet = getattr(cpu.context, "packet", None)
    if packet is not None and cpu.context.address == r1:
        result: int = packet_output(cpu, r1, r2, r3, r4, r5)
        return result
    if r3 & ~_INDEX:
        return -errno.EINVAL
    if r5 > _MOST_RECORD:
        return -errno.E2BIG
    return _perf(cpu, r2, r3, cpu.memory.read(r4, r5))


@helper("skb_output", "xdp_output")
def packet_output(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if r3 & ~(_INDEX | _CONTEXT_LENGTH):
        return -errno.EINVAL
    wanted = (r3 & _CONTEXT_LENGTH) >> 32
    data = cpu.memory.read(r4, r5)
    if wanted:
        packet = cpu.machine.context_at(cpu, r1).packet
        added = packet.read(0, wanted) if packet is not None else None
        if added is None:
            return -errno.EFAULT
        data += added
    return _perf(cpu, r2, r3, data)


@helper("perf_event_read")
def perf_event_read(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    found = _counter(cpu, r1, r2)
    return found if isinstance(found, int) else found[0]


@helper("perf_event_read_value")
def perf_event_read_value(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    found = -errno.EINVAL if r4 & 0xFFFFFFFF != 24 else _counter(cpu, r1, r2)
    if isinstance(found, int):
        cpu.memory.write(r3, bytes(r4 & 0xFFFFFFFF))
        return found
    cpu.memory.write(r3, b"".join(word.to_bytes(8, "little") for word in found))
    return 0


def _counter(cpu: MachineCpu, map_address: int, flags: int) -> tuple[int, int, int] | int:
    """What the test put into the map's `counters`, by index."""
    m = cpu.machine.map_at(map_address)
    if flags & ~_INDEX:
        return -errno.EINVAL
    index = cpu.number if flags == _INDEX else flags
    if index >= m.max_entries:
        return -errno.E2BIG
    found = m.counters.get(index) if isinstance(m, PerfOutput) else None
    return -errno.ENOENT if found is None else found
