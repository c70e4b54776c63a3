"""Loads and stores through pointers to the kernel's structs, and whether such a pointer fits an argument."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from probee.btf.kinds import ARRAY, FLOAT, FWD, INT, PTR, STRUCT, TYPE_TAG, UNION
from probee.verifier import fields
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.regions import FIELD_NAMES
from probee.verifier.state import (
    ALLOC,
    BASE,
    BTF_ID,
    MAYBE_NULL,
    NON_OWN_REF,
    PERCPU,
    RCU,
    TRUSTED,
    UNKNOWN_REG,
    UNTRUSTED,
    USER,
    Reg,
    pointer,
)
from probee.verifier.text import bits_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.verifier.walk import Walk

_UNSAFE = MAYBE_NULL | UNTRUSTED | USER | PERCPU | RCU


class Found:
    """What lies at an offset: `pointer` to a struct (`btf_id`), or a number. `flags` are the pointer's."""

    __slots__ = ("btf_id", "field", "flags", "is_pointer", "struct")

    def __init__(self) -> None:
        self.is_pointer = False
        self.btf_id = 0
        self.flags = 0
        self.field = ""
        self.struct = ""


def _sized(btf: Btf, id: int) -> int:
    return btf.size_of(id)


def walk_struct(
    btf: Btf, id: int, off: int, size: int, *, flexible: bool, nested: bool = False
) -> Found | int:
    """The member that [off, off + size) is in.

    With `nested`: the id of the struct that begins at `off`, or 0.

    Raises:
        Reject: nothing that may be read so lies there.
    """
    known = _walked.get(btf)
    if known is None:
        known = _walked[btf] = {}
    key = (id, off, size, flexible, nested)
    found = known.get(key)
    if found is None:
        found = known[key] = _walk_struct(btf, id, off, size, flexible, nested)
    return found


_walked: WeakKeyDictionary[Btf, dict[tuple[int, int, int, bool, bool], Found | int]] = WeakKeyDictionary()


def _walk_struct(btf: Btf, id: int, off: int, size: int, flexible: bool, nested: bool) -> Found | int:
    found = Found()
    id = fields.skip(btf, id)
    while True:
        type = btf.type(id)
        if type.kind not in (STRUCT, UNION):
            raise Reject(f"Type '{type.name}' is not a struct")
        if type.kind == UNION and len(type.members) != 1:
            found.flags |= UNTRUSTED
        if off + size > type.size:
            inner = _flexible(btf, id, off) if flexible else None
            if inner is None:
                raise Reject(f"access beyond struct {type.name} at off {off} size {size}")
            inner_id, off = inner
            if not inner_id:
                return 0 if nested else found
            id = inner_id
            continue
        step = _member_at(btf, id, off, size, found, nested)
        if isinstance(step, Found):
            return 0 if nested else step
        id, off, begins = step
        if begins and nested:
            return id


def _flexible(btf: Btf, id: int, off: int) -> tuple[int, int] | None:
    """In the array without a length at a struct's end: (struct, offset in it), or (0, 0) for numbers."""
    type = btf.type(id)
    if not type.members:
        return None
    member = type.members[-1]
    last = btf.type(fields.skip(btf, member.type))
    if last.kind != ARRAY or last.array[2]:
        return None
    at = member.bit_offset // 8
    if off < at:
        return None
    element_id = fields.skip(btf, last.array[0])
    element = btf.type(element_id)
    if element.kind == INT:
        return 0, 0
    if element.kind not in (STRUCT, UNION) or not element.size:
        return None
    return element_id, (off - at) % element.size


def _member_at(
    btf: Btf, id: int, off: int, size: int, found: Found, nested: bool
) -> Found | tuple[int, int, bool]:
    """The member, or (struct, offset in it, whether it begins there) to look further in."""
    type = btf.type(id)
    for member in type.members:
        at = member.bit_offset // 8
        if off + size <= at:
            break
        if member.bit_size:
            end = (member.bit_offset + member.bit_size + 7) // 8
            if off <= at and end <= off + size:
                return found
            continue
        if off < at:
            break
        inner_id = fields.skip(btf, member.type)
        inner = btf.type(inner_id)
        length = _sized(btf, inner_id)
        end = at + length
        if off >= end:
            continue
        if inner.kind == ARRAY:
            count = 1
            while inner.kind == ARRAY:
                count *= inner.array[2]
                inner_id = fields.skip(btf, inner.array[0])
                inner = btf.type(inner_id)
            if not length:
                continue
            length //= count
            at += (off - at) // length * length
        if inner.kind in (STRUCT, UNION):
            return inner_id, off - at, off == at
        if inner.kind == PTR:
            if length != size or off != at:
                raise Reject(
                    f"cannot access ptr member {member.name} with moff {at} in struct {type.name} "
                    f"with off {off} size {size}"
                )
            tag = btf.type(inner.type) if inner.type else None
            flag = 0
            if tag is not None and tag.kind == TYPE_TAG:
                flag = {"user": USER, "percpu": PERCPU, "rcu": RCU}.get(tag.name, 0)
            target_id = fields.skip(btf, inner.type) if inner.type else 0
            if target_id and btf.type(target_id).kind in (STRUCT, UNION):
                found.is_pointer = True
                found.btf_id = target_id
                found.flags |= flag
                found.field = member.name
                found.struct = type.name
                return found
        if off + size > end and not found.flags & UNTRUSTED:
            raise Reject(
                f"access beyond the end of member {member.name} (mend:{end}) in struct {type.name} "
                f"with off {off} size {size}"
            )
        return found
    raise Reject(f"struct {type.name} doesn't have field at offset {off}")


def is_trusted(reg: Reg) -> bool:
    """The pointer is known to point to a live object."""
    if reg.ref:
        return True
    base = reg.type & BASE
    if base != BTF_ID:
        return not reg.type & _UNSAFE
    return bool(reg.type & (TRUSTED | ALLOC | NON_OWN_REF)) and not reg.type & _UNSAFE


def access(
    w: Walk, reg: Reg, number: int, off: int, size: int, *, write: bool, dst: int, value: int
) -> Reg | None:
    """A load (what it gives) or store through the pointer.

    Raises:
        Reject: Linux doesn't allow it.
    """
    btf, type = reg.btf, reg.type
    if btf is None:
        raise Unsupported("a BTF pointer without BTF")
    kernel = btf is w.context.kernel_btf
    name = btf.type(reg.btf_id).name
    if kernel and not w.context.program.gpl:
        raise Reject(f"Cannot access kernel 'struct {name}' from non-GPL compatible program")
    if off < 0:
        raise Reject(f"R{number} is ptr_{name} invalid negative access: off={off}")
    if reg.num.mask or reg.num.value:
        raise Reject(
            f"R{number} is ptr_{name} invalid variable offset: off={off}, var_off={bits_text(reg.num)}"
        )
    if type & USER:
        raise Reject(f"R{number} is ptr_{name} access user memory: off={off}")
    if type & PERCPU:
        raise Reject(f"R{number} is ptr_{name} access percpu memory: off={off}")
    if write:
        if type & UNTRUSTED:
            raise Reject("only read is supported")
        if not type & ALLOC:
            _kernel_write(w, name, off, size)
            return None
    if type & ALLOC:
        record = w.context.record_of(reg)
        for field in record.fields:
            if off < field.offset + field.size and field.offset < off + size:
                raise Reject(f"direct access to {FIELD_NAMES[field.kind]} is disallowed")
    found = walk_struct(btf, reg.btf_id, off, size, flexible=not type & ALLOC)
    assert isinstance(found, Found)
    if write:
        return None
    if not type & ALLOC:
        w.context.probe_loads.add(w.index)
    if not found.is_pointer or type & ALLOC:
        return UNKNOWN_REG
    flags = _flags(w, reg, found)
    return _loaded(w, btf, found.btf_id, flags)


def _loaded(w: Walk, btf: Btf, id: int, flags: int) -> Reg:
    return pointer(BTF_ID | flags, btf=btf, btf_id=id, id=w.new_id() if flags & MAYBE_NULL else 0)


def _flags(w: Walk, reg: Reg, found: Found) -> int:
    """How far the pointer found can be trusted."""
    if reg.type & UNTRUSTED:
        return UNTRUSTED
    if is_trusted(reg) or reg.type & RCU:
        assert reg.btf is not None
        safe = w.context.safe_field(reg.btf, found.struct, found.field)
        if safe == "trusted":
            return found.flags | TRUSTED
        if safe == "trusted_or_null":
            return found.flags | TRUSTED | MAYBE_NULL
        if w.in_rcu and not reg.type & MAYBE_NULL:
            if safe == "rcu":
                return found.flags | RCU
            if found.flags & RCU or safe == "rcu_or_null":
                flags = found.flags | RCU | MAYBE_NULL
                return flags & ~UNTRUSTED if safe else flags
            if found.flags & (PERCPU | USER):
                return found.flags
            return found.flags & ~(TRUSTED | ALLOC | NON_OWN_REF | RCU)
        return UNTRUSTED
    return found.flags & ~(TRUSTED | ALLOC | NON_OWN_REF | RCU)


_WRITABLE = {
    "tcp_congestion_ops": {"tcp_sock", "sock", "inet_connection_sock"},
    "sched_ext_ops": {"task_struct"},
}


def _kernel_write(w: Walk, name: str, off: int, size: int) -> None:
    """A few fields of a few structs may be written by some programs."""
    kind = w.context.kind
    if kind in ("sched_cls", "xdp") and name.startswith("nf_conn"):
        raise Unsupported("stores to a connection's fields")
    if kind == "struct_ops":
        ops = w.context.program.target.partition(".")[0]
        if name in _WRITABLE.get(ops, ()):
            raise Unsupported("stores to the kernel's structs from struct_ops")
        if ops == "bpf_dummy_ops" and name == "bpf_dummy_ops_state":
            return
    raise Reject("only read is supported")


_MAP_STRUCTS = {
    1: "bpf_htab",
    2: "bpf_array",
    3: "bpf_array",
    4: "bpf_array",
    5: "bpf_htab",
    6: "bpf_array",
    9: "bpf_htab",
    10: "bpf_htab",
    8: "bpf_array",
    11: "lpm_trie",
    12: "bpf_array",
    13: "bpf_htab",
    14: "bpf_dtab",
    16: "bpf_cpu_map",
    17: "xsk_map",
    22: "bpf_queue_stack",
    23: "bpf_queue_stack",
    27: "bpf_ringbuf_map",
    30: "bpf_bloom_filter",
    31: "bpf_ringbuf_map",
}


def map_access(w: Walk, reg: Reg, number: int, off: int, size: int, *, write: bool, dst: int) -> Reg | None:
    """A load of the kernel's own struct of a map.

    Raises:
        Reject: Linux doesn't allow it.
    """
    info = reg.map
    assert info is not None
    name = _MAP_STRUCTS.get(info.type)
    if name is None:
        raise Unsupported(f"loads through pointers to maps of type {info.type}")
    if off < 0:
        raise Reject(f"R{number} is {name} invalid negative access: off={off}")
    if write:
        raise Reject(f"only read from {name} is supported")
    btf, id = w.context.kernel_type(name)
    found = walk_struct(btf, id, off, size, flexible=True)
    assert isinstance(found, Found)
    w.context.probe_loads.add(w.index)
    return _loaded(w, btf, found.btf_id, found.flags) if found.is_pointer else UNKNOWN_REG


def matches(reg: Reg, btf: Btf, id: int, *, strict: bool) -> bool:
    """Whether the pointer is to such a struct, or to one that has it at the pointer's offset."""
    if reg.btf is None:
        return False
    return ids_match(reg.btf, reg.btf_id, reg.off, btf, id, strict=strict, flexible=not reg.type & ALLOC)


def ids_match(btf: Btf, id: int, off: int, want: Btf, want_id: int, *, strict: bool, flexible: bool) -> bool:
    id = fields.skip(btf, id)
    if off == 0 and same_type(btf, id, want, want_id):
        return True
    if strict:
        return False
    while True:
        try:
            inner = walk_struct(btf, id, off, 1, flexible=flexible, nested=True)
        except Reject:
            return False
        if not isinstance(inner, int) or not inner:
            return False
        if same_type(btf, inner, want, want_id):
            return True
        id, off = inner, 0


def same_type(btf: Btf, id: int, want: Btf, want_id: int) -> bool:
    return btf is want and id == want_id


def is_scalar_struct(btf: Btf, id: int, depth: int = 0) -> bool:
    """A struct of nothing but numbers (and such structs and arrays)."""
    type = btf.type(id)
    if type.kind != STRUCT:
        return False
    for member in type.members:
        inner_id = fields.skip(btf, member.type)
        inner = btf.type(inner_id)
        if inner.kind == ARRAY:
            inner_id = fields.skip(btf, inner.array[0])
            inner = btf.type(inner_id)
            if not btf.type(fields.skip(btf, member.type)).array[2]:
                return False
        if inner.kind == STRUCT:
            if depth >= 3 or not is_scalar_struct(btf, inner_id, depth + 1):
                return False
        elif inner.kind not in (INT, 6, 19, FLOAT) and inner.kind != FWD:
            return False
    return True
