"""Helpers on maps."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..maps.queues import BloomFilter
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu


@helper("map_lookup_elem")
def map_lookup_elem(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    return m.lookup(cpu.memory.read(r2, m.key_size), cpu.number)


@helper("map_update_elem")
def map_update_elem(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    read = cpu.memory.read
    return m.update(read(r2, m.key_size), read(r3, m.value_size), r4, cpu.number)


@helper("map_delete_elem")
def map_delete_elem(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    return m.delete(cpu.memory.read(r2, m.key_size), cpu.number)


@helper("map_lookup_percpu_elem")
def map_lookup_percpu_elem(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    return m.lookup_on(cpu.memory.read(r2, m.key_size), r3 & 0xFFFFFFFF)


@helper("map_push_elem")
def map_push_elem(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    return m.push(cpu.memory.read(r2, m.value_size), r3)


def _out(cpu: MachineCpu, size: int, found: bytes | int, to: int) -> int:
    if isinstance(found, int):
        cpu.memory.write(to, bytes(size))
        return found
    cpu.memory.write(to, found)
    return 0


@helper("map_pop_elem")
def map_pop_elem(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    return _out(cpu, m.value_size, m.pop(), r2)


@helper("map_peek_elem")
def map_peek_elem(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    if isinstance(m, BloomFilter):
        return m.holds(cpu.memory.read(r2, m.value_size))
    return _out(cpu, m.value_size, m.peek(), r2)


@helper("for_each_map_elem")
def for_each_map_elem(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    entries = m.each(cpu.number)
    if r4 or entries is None:
        return -errno.EINVAL
    count = 0
    for key, value in entries:
        count += 1
        if cpu.call(r2, r1, key, value, r3):
            break
    return count
