"""Maps in programs: reading, writing and counting entries, ring buffer records."""

from __future__ import annotations

import ast

from . import decl, expr, ir, mapkinds
from .convert import integer, literal, memory, number, refuse_kernel_part, refuse_maybe, store
from .decl.storages import Storage
from .flow import merge
from .items import Entry, Item, Num, Opt, Py, Ref
from .scope import Fn, Site, is_none
from .types import BOOL, I64, U64, Array, Chars, Int, NetInt, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

METHODS = {
    "get": "get(key[, default])",
    "pop": "pop(key[, default])",
    "delete": "delete(key)",
    "update": "update(key, value[, flags])",
}

ANY, NOEXIST = 0, 1  # flags of map_update_elem: BPF_ANY, BPF_NOEXIST
ARRAYS = (decl.Array, decl.PerCpuArray)


def handle(f: Fn, m: decl.MapDecl) -> ir.Value:
    """The map itself, as helpers take it."""
    if m.handle is not None:
        found: ir.Value = m.handle
        return found
    return ir.MapRef(f.unit.map(m))


def needs_entries(f: Fn, m: decl.MapDecl, node: ast.AST) -> None:
    """Refuse maps whose entries programs can't reach by key."""
    if mapkinds.methods(m) is not None:
        f.fail(node, *mapkinds.no_entries(m))


def key_place(f: Fn, m: decl.MapDecl, key: Item, node: ast.AST) -> ir.Value:
    """The address of the key. A slot that already holds the same local or constant is used again."""
    if isinstance(m, Storage):
        return mapkinds.owner(f, m, key, node)
    kind = f.unit.map(m).key
    assert kind is not None
    if isinstance(kind, Int):
        origin: object = None
        if isinstance(key, Num) and key.origin is not None and key.origin[1] == f.versions.get(key.origin[0]):
            origin = key.origin
        elif isinstance(key, Py) and isinstance(key.obj, int):
            origin = int(key.obj)
            lowest, highest = (-(1 << (kind.bits - 1)) if kind.signed else 0), (1 << kind.bits) - 1
            if not lowest <= key.obj <= highest:
                f.fail(node, f"the key {key.obj} does not fit into {kind!r}, the key type of {m.name}")
            if isinstance(m, ARRAYS) and key.obj >= m.max_entries:
                f.fail(node, f"{m.name} has {m.max_entries} entries: index {key.obj} is outside")
        if origin is not None:
            slot = f.live.slots.get((origin, kind))
            if slot is None:
                slot = f.temp(f"key {origin[0] if isinstance(origin, tuple) else origin}", kind)
                f.b.write(slot, number(f, key, node))
                f.live.slots[origin, kind] = slot
            return slot
    return memory(f, key, kind, node, "key")


def lookup(f: Fn, m: decl.MapDecl, key: Item, node: ast.AST) -> ir.Value:
    """The address of the value, or NULL."""
    needs_entries(f, m, node)
    place = key_place(f, m, key, node)
    return _lookup(f, m, place)


def _lookup(f: Fn, m: decl.MapDecl, place: ir.Value) -> ir.Value:
    if isinstance(m, Storage):
        return mapkinds.storage_get(f, m, place, create=False)
    value = f.unit.map(m).value
    assert value is not None
    return f.b.helper("map_lookup_elem", handle(f, m), place, type=Ptr(value, Space.MAP, True))


def _update(f: Fn, m: decl.MapDecl, key: ir.Value, value: ir.Value, flags: ir.Value | int) -> ir.Value:
    amount = f.b.const(flags) if isinstance(flags, int) else flags
    return f.b.helper("map_update_elem", handle(f, m), key, value, amount)


def shared(m: decl.MapDecl) -> bool:
    return not m.per_cpu


def value_type(f: Fn, m: decl.MapDecl) -> Type:
    value = f.unit.map(m).value
    assert value is not None
    return value


# -- reading


def subscript(f: Fn, m: decl.MapDecl, key: Item, node: ast.AST) -> Item:
    """`m[k]`: the number, 0 when there is none; of other values an entry that is read when it is used."""
    needs_entries(f, m, node)
    value = value_type(f, m)
    if m.inner is not None:
        return mapkinds.found_inside(f, m, lookup(f, m, key, node), f"{m.name}[…]")
    if isinstance(value, Int):
        return Num(_read_or(f, lookup(f, m, key, node), f.b.const(0, _wide(value)), lambda p: f.b.read(p)))
    return Entry(m, key, value)


def _wide(t: Int) -> Int:
    return I64 if t.signed or t == BOOL else U64


def _read_or(f: Fn, found: ir.Value, missing: ir.Value, read: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """`read(found)`, or `missing` if it is NULL."""
    b = f.b
    slot = b.local("entry", missing.type)
    hit, end = b.new_block("hit"), b.new_block("entry")
    b.store(slot, missing)
    b.branch(b.truth(found), hit, end)
    b.at(hit)
    b.store(slot, b.cast(read(found), missing.type) if isinstance(missing.type, Int) else read(found))
    b.jump(end)
    b.at(end)
    return b.load(slot)


def walk(f: Fn, base: ir.Value, path: tuple[str | Item, ...], node: ast.AST) -> ir.Value:
    """The address that a path of fields and elements leads to."""
    for step in path:
        if isinstance(step, str):
            place = f.b.field(base, step)
            assert place is not None
            base = place
        else:
            base = f.b.index(base, number(f, step, node))
    return base


def inside(f: Fn, entry: Entry, node: ast.AST) -> ir.Value | None:
    """Whether all run-time indexes of the path are inside their arrays; None if there are none to check."""
    b = f.b
    type: Type = value_type(f, entry.map)
    out: ir.Value | None = None
    for step in entry.path:
        if isinstance(step, str):
            assert isinstance(type, Struct)
            type = expr.field_type(f, type, step, node)
            continue
        assert isinstance(type, (Array, Chars))
        index = number(f, step, node)
        if isinstance(index, ir.Const):
            if not 0 <= index.value < type.n:
                f.fail(node, f"index {index.value} is outside of {type!r}")
        else:
            ok = b.compare("<", b.cast(index, U64), b.const(type.n, U64))
            out = ok if out is None else b.arith("&", out, ok)
        type = type.elem if isinstance(type, Array) else Int(8, False)
    return out


def read_entry(f: Fn, entry: Entry, node: ast.AST) -> Item:
    """What is in the entry now, or zeroes when it is missing. Structs and texts come as a copy."""
    b = f.b
    ok = inside(f, entry, node)
    found = lookup(f, entry.map, entry.key, node)
    if ok is not None:
        found = b.select(ok, found, ir.Const(found.type, 0))
    if isinstance(entry.type, Int):
        return Num(
            _read_or(f, found, b.const(0, _wide(entry.type)), lambda p: b.read(walk(f, p, entry.path, node)))
        )
    refuse_kernel_part(f, entry.type, node)
    copy = b.local("copy", entry.type)
    hit, miss, end = b.new_block("hit"), b.new_block("miss"), b.new_block("entry")
    b.branch(b.truth(found), hit, miss)
    b.at(hit)
    b.copy_into(copy, walk(f, found, entry.path, node))
    b.jump(end)
    b.at(miss)
    b.zero(copy)
    b.jump(end)
    b.at(end)
    return Ref(copy, origin=frozenset((Site("entry", f.loops),)))


def get(f: Fn, m: decl.MapDecl, key: Item, default: Item | None, node: ast.AST) -> Item:
    """`m.get(k)`, `m.get(k, default)`."""
    return _get(f, m, key, default, node, delete=False)


def pop(f: Fn, m: decl.MapDecl, key: Item, default: Item | None, node: ast.AST) -> Item:
    """`m.pop(k)`: a snapshot of the value, and the entry is gone."""
    needs_entries(f, m, node)
    if isinstance(m, ARRAYS):
        f.fail(node, f"{m.name} is an array: its entries can't be deleted", f"write `{m.name}[i] = 0`")
    return _get(f, m, key, default, node, delete=True)


def get_made(f: Fn, m: Storage, key: Item, create: bool, node: ast.AST) -> Item:
    """`storage.get(object, create=True)`: None only if there is no memory, or the object is going."""
    needs_entries(f, m, node)
    found = mapkinds.storage_get(f, m, key_place(f, m, key, node), create=create)
    return _found(f, m, found, None, None, node)


def get_of_cpu(f: Fn, m: decl.MapDecl, key: Item, cpu: ir.Value, node: ast.AST) -> Item:
    """`per_cpu.get(key, cpu=n)`: the value of another CPU."""
    value = Ptr(value_type(f, m), Space.MAP, True)
    place = key_place(f, m, key, node)
    found = f.b.helper("map_lookup_percpu_elem", handle(f, m), place, cpu, type=value)
    return _found(f, m, found, None, None, node)


def _get(f: Fn, m: decl.MapDecl, key: Item, default: Item | None, node: ast.AST, *, delete: bool) -> Item:
    needs_entries(f, m, node)
    place = key_place(f, m, key, node)
    return _found(f, m, _lookup(f, m, place), default, place if delete else None, node)


def _found(
    f: Fn,
    m: decl.MapDecl,
    found: ir.Value,
    default: Item | None,
    place: ir.Value | None,
    node: ast.AST,
) -> Item:
    """What an entry that may be NULL gives; with a `place`, the key's, it is deleted."""
    b = f.b
    value = value_type(f, m)
    delete = place is not None
    word = "pop" if delete else "get"
    name = f"{m.name}.{word}(…)"
    if m.inner is not None:
        if delete or default is not None:
            f.fail(node, f"{m.name} holds maps: a program can only look them up", f"write {m.name}.get(key)")
        return mapkinds.found_inside(f, m, found, name)
    if default is not None and not isinstance(value, Int):
        f.fail(
            node,
            f"{m.name}.{word} takes a default for numbers only",
            "test the result with `is None` instead",
        )
    if not isinstance(value, Int) and not delete:
        return Ref(found, maybe=name, shared=shared(m))
    wide: Type = value
    if isinstance(value, Int):
        wide = _wide(value)
        if default is not None and not is_none(default):
            missing = number(f, default, node)
            if not wide.signed and isinstance(missing.type, Int) and missing.type.signed:
                if value.bits < 64:
                    wide = I64  # holds both
                elif isinstance(missing, ir.Const) and missing.value < 0:
                    f.fail(
                        node,
                        f"the default {missing.value} is not a {value!r}, the value type of {m.name}",
                        "leave out the default and test with `is None`, or use one that is not negative",
                    )
            default = Num(b.cast(b.widen(missing), wide))
        else:
            default = None
    slot = b.local(word, wide)
    present = b.local("there", BOOL)
    hit, end = b.new_block("hit"), b.new_block(word)
    if isinstance(default, Num):
        b.store(slot, default.v)
    elif isinstance(value, Int):
        b.store(slot, ir.Const(wide, 0))
    elif isinstance(value, Chars):
        b.zero(slot)  # a local text copies it, whether it is there or not
    if default is None:
        b.store(present, b.const(0, BOOL))
    b.branch(b.truth(found), hit, end)
    b.at(hit)
    if isinstance(wide, Int):
        b.store(slot, b.cast(b.read(found), wide))
    else:
        b.copy_into(slot, found)
    if default is None:
        b.store(present, b.const(1, BOOL))
    if place is not None:
        _delete(f, m, place)
    b.jump(end)
    b.at(end)
    item: Item
    if isinstance(wide, Int):
        item = Num(b.load(slot))
    else:
        made = Site(value.name if isinstance(value, Struct) else "entry", f.loops)
        item = Ref(slot, origin=frozenset((made,)))
    return item if default is not None else Opt(b.load(present), item, name)


# -- writing


def set_item(f: Fn, m: decl.MapDecl, key: Item, item: Item, node: ast.AST) -> None:
    """`m[k] = v`."""
    needs_entries(f, m, node)
    no_maps(f, m, node)
    b = f.b
    value = value_type(f, m)
    if isinstance(m, (*ARRAYS, Storage)):
        if isinstance(value, Int):  # a number first: it may look up another map
            item = Num(integer(f, item, value, node))
        found = find_or_make(f, m, key, node)
        hit, end = b.new_block("hit"), b.new_block("end")
        before = f.live.copy()
        b.branch(b.truth(found), hit, end)
        b.at(hit)
        store(f, found, item, node)
        b.jump(end)
        b.at(end)
        f.flow = merge([f.flow, before])
        return
    place = memory(f, item, value, node, "value")
    _update(f, m, key_place(f, m, key, node), place, ANY)


def update(f: Fn, m: decl.MapDecl, key: Item, item: Item, flags: Item | None, node: ast.AST) -> Item:
    """`m.update(k, v, flags)`: the helper's result, 0 or a negative error."""
    needs_entries(f, m, node)
    no_maps(f, m, node)
    if isinstance(m, Storage):
        f.fail(node, f"{m.name} has no update(): entries belong to objects", f"write {m.name}[object] = v")
    amount = number(f, flags, node) if flags is not None else f.b.const(ANY)
    place = memory(f, item, value_type(f, m), node, "value")
    return Num(_update(f, m, key_place(f, m, key, node), place, amount))


def delete(f: Fn, m: decl.MapDecl, key: Item, node: ast.AST) -> Item:
    """`del m[k]`, `m.delete(k)`: 0, or a negative error when there was none."""
    needs_entries(f, m, node)
    if isinstance(m, ARRAYS):
        f.fail(node, f"{m.name} is an array: its entries can't be deleted", f"write `{m.name}[i] = 0`")
    no_maps(f, m, node)
    return Num(_delete(f, m, key_place(f, m, key, node)))


def _delete(f: Fn, m: decl.MapDecl, place: ir.Value) -> ir.Value:
    if isinstance(m, Storage):
        return mapkinds.storage_delete(f, m, place)
    return f.b.helper("map_delete_elem", handle(f, m), place)


def no_maps(f: Fn, m: decl.MapDecl, node: ast.AST) -> None:
    if m.inner is not None:
        f.fail(
            node, f"{m.name} holds maps: a program can only look them up", "put maps in and out from Python"
        )


def find_or_make(f: Fn, m: decl.MapDecl, key: Item, node: ast.AST) -> ir.Value:
    """The address of the value; a zero entry is inserted first if there is none. NULL: the map is full."""
    b = f.b
    place = key_place(f, m, key, node)
    if isinstance(m, Storage):
        return mapkinds.storage_get(f, m, place, create=True)
    found = _lookup(f, m, place)
    if isinstance(m, ARRAYS):
        return found
    value = value_type(f, m)
    slot = b.local("found", found.type)
    miss, end = b.new_block("insert"), b.new_block("entry")
    b.store(slot, found)
    b.branch(b.truth(found), end, miss)
    b.at(miss)
    if isinstance(value, Int):
        zero: ir.Value = f.temp("zero", value)
        b.store(zero, b.const(0, value))
    else:
        zero = ir.GlobalRef(ir.GlobalVar("", value, bytes(value.size), const=True, private=True))
    _update(f, m, place, zero, NOEXIST)
    b.store(slot, _lookup(f, m, place))
    b.jump(end)
    b.at(end)
    return b.load(slot)


def shares_word(place: ir.Value) -> bool:
    """A bit field, or a number in network order: what is loaded and stored is not the number itself."""
    assert isinstance(place.type, Ptr)
    if isinstance(place, ir.FieldAddr) and place.struct.members[place.index].bit_size:
        return True
    return isinstance(place.type.to, NetInt)


def aligned(place: ir.Value, size: int) -> bool:
    """Atomic instructions take naturally aligned numbers only; fields of packed structs may lie elsewhere."""
    from .text import alignment

    return alignment(place) >= size


def touch(f: Fn, ref: Ref) -> None:
    """Reading or writing a part of a word reads all of it."""
    if shares_word(ref.ptr) and not (isinstance(ref.type, NetInt) and ref.type.whole):
        f.live.use(ref.fresh, max(0, ref.offset - 7), ref.type.size + 14)


ATOMIC = {"+": "add", "-": "add", "|": "or", "&": "and", "^": "xor"}


def change(f: Fn, place: ir.Value, op: str, item: Item, node: ast.AST, *, atomic: bool) -> None:
    """`*place op= item`; if `atomic`, and the width allows it, without losing what other CPUs do."""
    b = f.b
    assert isinstance(place.type, Ptr)
    to = place.type.to
    if not isinstance(to, Int):
        f.fail(node, f"`{op}=` needs a number, and this is {to!r}")
    if atomic and op in ATOMIC and to.bits >= 32 and not shares_word(place) and aligned(place, to.size):
        value = number(f, item, node)
        b.atomic(ATOMIC[op], place, b.neg(value) if op == "-" else value)
        return
    result = expr.binary(f, op, Num(b.read(place)), item, node)
    store(f, place, result, node)


def change_entry(
    f: Fn,
    m: decl.MapDecl,
    key: Item,
    path: tuple[str | Item, ...],
    op: str,
    item: Item,
    node: ast.AST,
    type: Type,
) -> None:
    """`m[k] op= v`, `m[k].field op= v`: a missing entry starts from zero."""
    needs_entries(f, m, node)
    if not isinstance(type, Int):
        f.fail(node, f"`{op}=` needs a number, and this is {type!r}")
    item = Num(number(f, item, node))
    at_entry(f, m, key, path, type, node, lambda p: change(f, p, op, item, node, atomic=shared(m)))


def set_entry(f: Fn, entry: Entry, item: Item, node: ast.AST) -> None:
    """`m[k].field = v`: in the entry, which is made if it is missing."""
    if isinstance(entry.type, Int):
        item = Num(integer(f, item, entry.type, node))
    at_entry(f, entry.map, entry.key, entry.path, entry.type, node, lambda p: store(f, p, item, node))


def at_entry(
    f: Fn,
    m: decl.MapDecl,
    key: Item,
    path: tuple[str | Item, ...],
    type: Type,
    node: ast.AST,
    act: Callable[[ir.Value], None],
) -> None:
    b = f.b
    ok = inside(f, Entry(m, key, type, path), node)
    end = b.new_block("end")
    if ok is not None:
        yes = b.new_block("inside")
        b.branch(ok, yes, end)
        b.at(yes)
    before = f.live.copy()
    found = find_or_make(f, m, key, node)
    hit = b.new_block("hit")
    if ok is None:
        before = f.live.copy()
    b.branch(b.truth(found), hit, end)
    b.at(hit)
    act(walk(f, found, path, node))
    b.jump(end)
    b.at(end)
    f.flow = merge([f.flow, before])


# -- ring buffers


def count_drop(f: Fn, m: decl.MapDecl) -> None:
    f.b.atomic("add", ir.GlobalRef(f.unit.drops(m)), f.b.const(1, U64))


def output(f: Fn, m: decl.MapDecl, item: Item, flags: Item | None, node: ast.AST) -> Item:
    """`rb.output(record)`: 0, or a negative error when there was no room."""
    b = f.b
    refuse_maybe(f, item, node)
    record = value_type(f, m)
    place = memory(f, item, record, node, "record")
    amount = number(f, flags, node) if flags is not None else literal(f, 0, node)
    result = b.helper("ringbuf_output", handle(f, m), place, b.const(record.size), amount)
    count_failure(f, m, result)
    return Num(result)


def count_failure(f: Fn, m: decl.MapDecl, result: ir.Value) -> None:
    """Count a record as dropped if the helper's result is an error."""
    b = f.b
    full, end = b.new_block("full"), b.new_block("end")
    b.branch(b.compare("<", result, b.const(0)), full, end)
    b.at(full)
    count_drop(f, m)
    b.jump(end)
    b.at(end)


def reserve(f: Fn, m: decl.MapDecl, full: ir.Block, body: ir.Block) -> ir.Value:
    """Ask for room: go on in `body` with the record, or in `full`."""
    b = f.b
    record = value_type(f, m)
    place = b.helper(
        "ringbuf_reserve",
        handle(f, m),
        b.const(record.size),
        b.const(0),
        type=Ptr(record, Space.RECORD, True),
    )
    b.branch(b.truth(place), body, full)
    return place


def submit(f: Fn, record: ir.Value, *, discard: bool = False) -> None:
    f.b.helper("ringbuf_discard" if discard else "ringbuf_submit", record, f.b.const(0))
