"""Objects that programs allocate: bpf_obj_new and what belongs to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import Unsupported
from ..maps.fields import (
    KPTR,
    LIST_HEAD,
    PERCPU_KPTR,
    RB_ROOT,
    REFCOUNT,
    Field,
    Fields,
    fields_of,
)
from ..memory import BASE, Fault
from .table import kfunc

if TYPE_CHECKING:
    from ...btf import Btf
    from ..cpus import MachineCpu
    from ..helpers.services import Services
    from ..memory import Region

_U32 = 0xFFFFFFFF


class Allocated:
    """An object of a program's own type. `copies` are those of a per-CPU object."""

    __slots__ = ("btf", "copies", "fields", "region", "type_id")

    def __init__(self, region: Region, btf: Btf, type_id: int, fields: Fields) -> None:
        self.region = region
        self.btf = btf
        self.type_id = type_id
        self.fields = fields
        self.copies: list[Region] = []


def types_of(cpu: MachineCpu) -> Btf:
    """The types of the running program's object. Raises Unsupported if it has none."""
    code = cpu.code
    found = cpu.machine.types_of.get(code.base) if code is not None else None
    if found is None:
        raise Unsupported(
            "the program has no BTF, which says what its objects are like", feature="bpf_obj_new"
        )
    return found


def _new(cpu: MachineCpu, type_id: int, btf: Btf) -> Allocated:
    size = btf.size_of(type_id)
    name = btf.type(btf.strip(type_id)).name
    region = cpu.memory.alloc(size, "kernel", name=name)
    made = Allocated(region, btf, type_id, fields_of(btf, type_id, size))
    for field in made.fields.all:
        if field.kind == REFCOUNT:
            region.data[field.offset : field.offset + 4] = (1).to_bytes(4, "little")
    cpu.machine.objects[region.address] = made
    return made


@kfunc("bpf_obj_new_impl", "bpf_obj_new")
def bpf_obj_new(cpu: MachineCpu, r1: int, *_: int) -> int:
    """r1 is the type's id in the BTF of the program's object."""
    return _new(cpu, r1 & _U32, types_of(cpu)).region.address


@kfunc("bpf_percpu_obj_new_impl", "bpf_percpu_obj_new")
def bpf_percpu_obj_new(cpu: MachineCpu, r1: int, *_: int) -> int:
    made = _new(cpu, r1 & _U32, types_of(cpu))
    size = made.region.size
    others = [
        cpu.memory.alloc(size, "kernel", name=made.region.name) for _ in range(cpu.machine.home.cpus - 1)
    ]
    made.copies = [made.region, *others]
    cpu.machine.per_cpu[made.region.address] = [copy.address for copy in made.copies]
    return made.region.address


def object_at(machine: Services, address: int) -> Allocated:
    """The object that begins at an address. Raises Fault."""
    found = machine.objects.get(address)
    if not isinstance(found, Allocated):
        raise Fault(f"{address:#x} is no object of the program's", address=address)
    return found


def free(machine: Services, address: int) -> None:
    """Give up one reference to an object; the last one frees it, with all that it holds."""
    found = object_at(machine, address)
    count = found.fields.find(REFCOUNT)
    if count is not None:
        left = int.from_bytes(found.region.data[count.offset : count.offset + 4], "little") - 1
        found.region.data[count.offset : count.offset + 4] = max(0, left).to_bytes(4, "little")
        if left > 0:
            return
    del machine.objects[address]
    drop_fields(machine, address, found.fields)
    machine.per_cpu.pop(address, None)
    for region in found.copies or [found.region]:
        machine.memory.free(region)


@kfunc("bpf_obj_drop_impl", "bpf_obj_drop", "bpf_percpu_obj_drop_impl", "bpf_percpu_obj_drop")
def bpf_obj_drop(cpu: MachineCpu, r1: int, *_: int) -> int:
    free(cpu.machine, r1)
    return 0


@kfunc("bpf_refcount_acquire_impl", "bpf_refcount_acquire")
def bpf_refcount_acquire(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = object_at(cpu.machine, r1)
    count = found.fields.find(REFCOUNT)
    if count is None:
        raise Fault(f"{found.region.name} has no bpf_refcount", address=r1)
    view = found.region.data[count.offset : count.offset + 4]
    now = int.from_bytes(view, "little")
    view[:] = (now + 1).to_bytes(4, "little")
    return r1 if now else 0


def _word(machine: Services, address: int) -> int:
    start = address - BASE
    return int.from_bytes(machine.memory.buffer[start : start + 8], "little")


def _clear(machine: Services, address: int, size: int) -> None:
    start = address - BASE
    machine.memory.buffer[start : start + size] = bytes(size)


def drop_fields(machine: Services, address: int, fields: Fields) -> None:
    """What a value or object at an address holds goes: kptrs, and the members of its lists and trees."""
    for field in fields.all:
        at = address + field.offset
        if field.kind in (KPTR, PERCPU_KPTR):
            held = _word(machine, at)
            _clear(machine, at, 8)
            if held and isinstance(machine.objects.get(held), Allocated):
                free(machine, held)
        elif field.kind == LIST_HEAD:
            _drop_list(machine, at, field)
        elif field.kind == RB_ROOT:
            for node in machine.trees.pop(at, []):
                free(machine, node - field.node)
            _clear(machine, at, field.size)


def _drop_list(machine: Services, head: int, field: Field) -> None:
    node = _word(machine, head)
    _clear(machine, head, field.size)
    while node and node != head:
        following = _word(machine, node)
        free(machine, node - field.node)
        node = following
