"""Sets of CPUs: `bpf_cpumask_…`. A machine's masks have as many bits as it has CPUs."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..memory import Fault
from .table import kfunc

if TYPE_CHECKING:
    from ..cpus import MachineCpu
    from ..memory import Region

_U32 = 0xFFFFFFFF
_BYTES = 32  # at least; as many as the kernel's struct has where its types are known


def _size(cpu: MachineCpu) -> int:
    from ...btf.kinds import STRUCT

    btf = cpu.machine.btf
    id = btf.find("cpumask", STRUCT) if btf is not None else None
    return _BYTES if id is None or btf is None else btf.type(id).size


def _read(cpu: MachineCpu, address: int) -> int:
    return int.from_bytes(cpu.memory.read(address, _size(cpu)), "little") & _all(cpu)


def _write(cpu: MachineCpu, address: int, bits: int) -> None:
    region = cpu.memory.find(address)  # programs may not write there, so memory.write would not
    if region is None:
        raise Fault(f"there is no set of CPUs at {address:#x}", address=address)
    size, start = _size(cpu), address - region.address
    region.data[start : start + size] = (bits & _all(cpu)).to_bytes(size, "little")


def _all(cpu: MachineCpu) -> int:
    return (1 << cpu.machine.home.cpus) - 1


def _lowest(cpu: MachineCpu, bits: int) -> int:
    """The first CPU of a set; the number of CPUs if it is empty."""
    return (bits & -bits).bit_length() - 1 if bits else cpu.machine.home.cpus


class Mask:
    """A mask that a program made; `references` is how many hold it."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.references = 1


@kfunc("bpf_cpumask_create")
def bpf_cpumask_create(cpu: MachineCpu, *_: int) -> int:
    region = cpu.memory.alloc(_size(cpu) + 8, "kernel", writable=False, name="bpf_cpumask")
    cpu.machine.objects[region.address] = Mask(region)
    return region.address


@kfunc("bpf_cpumask_acquire")
def bpf_cpumask_acquire(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.machine.objects.get(r1)
    if isinstance(found, Mask):
        found.references += 1
    return r1


@kfunc("bpf_cpumask_release")
def bpf_cpumask_release(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.machine.objects.get(r1)
    if isinstance(found, Mask):
        found.references -= 1
        if not found.references:
            del cpu.machine.objects[r1]
            cpu.memory.free(found.region)
    return 0


def _first(name: str, bits: Callable[[MachineCpu, int, int], int]) -> None:
    @kfunc(name)
    def first(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
        return _lowest(cpu, bits(cpu, r1, r2))


_first("bpf_cpumask_first", lambda cpu, a, b: _read(cpu, a))
_first("bpf_cpumask_any_distribute", lambda cpu, a, b: _read(cpu, a))
_first("bpf_cpumask_first_zero", lambda cpu, a, b: _all(cpu) & ~_read(cpu, a))
_first("bpf_cpumask_first_and", lambda cpu, a, b: _read(cpu, a) & _read(cpu, b))
_first("bpf_cpumask_any_and_distribute", lambda cpu, a, b: _read(cpu, a) & _read(cpu, b))


def _one(name: str, change: Callable[[int, int], int] | None, tells: bool) -> None:
    """A function on one CPU's bit: whether it was set, and what becomes of it."""

    @kfunc(name)
    def one(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
        number = r1 & _U32
        if number >= cpu.machine.home.cpus:
            return 0
        bits, bit = _read(cpu, r2), 1 << number
        if change is not None:
            _write(cpu, r2, change(bits, bit))
        return int(bool(bits & bit)) if tells else 0


_one("bpf_cpumask_set_cpu", lambda bits, bit: bits | bit, False)
_one("bpf_cpumask_clear_cpu", lambda bits, bit: bits & ~bit, False)
_one("bpf_cpumask_test_cpu", None, True)
_one("bpf_cpumask_test_and_set_cpu", lambda bits, bit: bits | bit, True)
_one("bpf_cpumask_test_and_clear_cpu", lambda bits, bit: bits & ~bit, True)


@kfunc("bpf_cpumask_setall")
def bpf_cpumask_setall(cpu: MachineCpu, r1: int, *_: int) -> int:
    _write(cpu, r1, _all(cpu))
    return 0


@kfunc("bpf_cpumask_clear")
def bpf_cpumask_clear(cpu: MachineCpu, r1: int, *_: int) -> int:
    _write(cpu, r1, 0)
    return 0


@kfunc("bpf_cpumask_copy")
def bpf_cpumask_copy(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    _write(cpu, r1, _read(cpu, r2))
    return 0


@kfunc("bpf_cpumask_populate")
def bpf_cpumask_populate(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    words = (cpu.machine.home.cpus + 63) // 64
    if r3 < 8 * words:
        return -errno.EACCES
    if r2 % 8:
        return -errno.EINVAL
    _write(cpu, r1, int.from_bytes(cpu.memory.read(r2, 8 * words), "little"))
    return 0


def _both(name: str, join: Callable[[int, int], int]) -> None:
    """A mask made of two others; whether anything is in it, which only `and` tells."""

    @kfunc(name)
    def both(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
        found = join(_read(cpu, r2), _read(cpu, r3))
        _write(cpu, r1, found)
        return int(bool(found)) if name == "bpf_cpumask_and" else 0


_both("bpf_cpumask_and", lambda a, b: a & b)
_both("bpf_cpumask_or", lambda a, b: a | b)
_both("bpf_cpumask_xor", lambda a, b: a ^ b)


def _asks(name: str, answer: Callable[[MachineCpu, int, int], bool]) -> None:
    @kfunc(name)
    def asks(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
        return int(answer(cpu, r1, r2))


_asks("bpf_cpumask_empty", lambda cpu, a, b: not _read(cpu, a))
_asks("bpf_cpumask_full", lambda cpu, a, b: _read(cpu, a) == _all(cpu))
_asks("bpf_cpumask_equal", lambda cpu, a, b: _read(cpu, a) == _read(cpu, b))
_asks("bpf_cpumask_intersects", lambda cpu, a, b: bool(_read(cpu, a) & _read(cpu, b)))
_asks("bpf_cpumask_subset", lambda cpu, a, b: not _read(cpu, a) & ~_read(cpu, b))


@kfunc("bpf_cpumask_weight")
def bpf_cpumask_weight(cpu: MachineCpu, r1: int, *_: int) -> int:
    return _read(cpu, r1).bit_count()
