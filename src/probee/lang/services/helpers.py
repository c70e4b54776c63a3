"""Calls of kernel helpers, typed by their prototypes.

The context and the sizes of typed buffers are filled in; what a helper may not find has to be tested; what it
acquires stands in a `with`, so that it is released.
"""

from __future__ import annotations

import ast

from ...isa.helpers import PROTOTYPES, Prototype
from .. import builtins, decl, ir, mapkinds, mapops, subprograms, text
from ..convert import constant, describe, memory, number, refuse_maybe, resolve
from ..items import Context, Item, Num, Pointer, Py, Ref
from ..kinds.contexts import layout
from ..scope import Fn, is_none
from ..types import I64, U64, VOID, Ptr, Space, Struct
from . import memory as buffers
from .rules import check_helper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..types import Type

INSTEAD = {
    "ringbuf_reserve": "write `with events.reserve() as e:`",
    "ringbuf_submit": "write `with events.reserve() as e:`",
    "ringbuf_discard": "write `with events.reserve() as e:`, and events.discard() in it",
    "trace_printk": 'write print(f"…")',
    "trace_vprintk": 'write print(f"…")',
    "get_stackid": "write bp.kstack(stacks) or bp.ustack(stacks)",
    "tail_call": "write bp.tail_call(programs, index)",
    "spin_lock": "write `with value.lock:`",
    "spin_unlock": "write `with value.lock:`",
    "sk_release": "write `with bp.sk_lookup_tcp(…) as sk:`, which releases it",
}
_SIZES = ("size", "size_or_zero")
_UNSIGNED = ("u64", "u32", "unsigned")


def call(f: Fn, helper: builtins.Helper, node: ast.Call) -> Item:
    """A call of a kernel helper as an expression."""
    name = helper.name
    if name in INSTEAD:
        f.fail(node, f"bp.{name} is not called directly", INSTEAD[name])
    proto = check_helper(f, PROTOTYPES[name], node)
    if proto.acquires:
        f.fail(
            node,
            f"what bpf_{name} gives has to be released",
            f"write `with bp.{name}(…) as found:`; the body is skipped where there is none",
        )
    return _result(f, proto, *lower(f, proto, node), node)


class Given:
    """An argument of a call: what was written for a parameter, and where."""

    __slots__ = ("item", "node")

    def __init__(self, item: Item, node: ast.expr) -> None:
        self.item = item
        self.node = node


def lower(f: Fn, proto: Prototype, node: ast.Call) -> tuple[list[ir.Value], decl.MapDecl | None]:
    """The values of a call, and the map among them."""
    given = _bind(f, proto, node)
    values: list[ir.Value] = []
    found: decl.MapDecl | None = None
    captured: ir.Value = ir.Const(Ptr(VOID, Space.STACK), 0)  # what a callback sees of the locals here
    filled = 0  # the size of the buffer before
    for i, (kind, (ctype, word)) in enumerate(zip(kinds_of(proto), proto.parameters, strict=True)):
        arg = given.get(i)
        what = f"{word} of bpf_{proto.name}"
        plain = kind.rstrip("?")
        if plain == "ctx":
            if arg is not None and is_none(arg.item) and kind == "ctx?":
                values.append(ir.Const(Ptr(VOID, Space.CONTEXT), 0))
            else:
                values.append(subprograms.context(f, node, f"bpf_{proto.name}"))
        elif plain == "stack":
            values.append(captured)
        elif plain == "func" and arg is not None:
            from . import functions

            before = given[i - 1].item if i - 1 in given else None
            function, captured = functions.callback(f, proto.name, before, arg.item, arg.node)
            values.append(function)
        elif arg is None and plain in _SIZES:
            if not filled and not (values and isinstance(values[-1], ir.Const)):
                f.fail(node, f"the size of the memory before {what} is not known", "give it")
            values.append(f.b.const(filled))
        elif arg is None:
            values.append(f.b.const(0))
        elif plain == "const_map_ptr":
            found = _map(f, arg, what)
            values.append(mapops.handle(f, found))
        elif plain in ("map_key", "map_value", "uninit_map_value"):
            assert found is not None
            values.append(_entry(f, found, plain, arg, what, "?" in kind))
        elif "mem" in plain and not plain.startswith("release"):
            buffer = _buffer(f, kind, word, arg, what)
            filled = buffer.size
            values.append(buffer.place)
        elif plain in _SIZES:
            values.append(_size(f, arg, filled, what))
        else:
            values.append(_value(f, kind, ctype, arg, what))
    return values, found


def kinds_of(proto: Prototype) -> tuple[str, ...]:
    """The kinds of all parameters: the kernel says nothing of those it does not look at."""
    return proto.args + ("anything",) * (len(proto.parameters) - len(proto.args))


def _bind(f: Fn, proto: Prototype, node: ast.Call) -> dict[int, Given]:
    """What was written, by parameter."""
    name = proto.name
    for arg in node.args:
        if isinstance(arg, ast.Starred):
            f.fail(arg, "`*` can't unpack here", "write the arguments one by one")
    given = [Given(f.expr(arg), arg) for arg in node.args]
    words = [word for _, word in proto.parameters]
    named: dict[str, Given] = {}
    for kw in node.keywords:
        if kw.arg is None:
            f.fail(kw.value, "`**` can't unpack here", "write the arguments one by one")
        if kw.arg not in words:
            f.fail(kw.value, f"bpf_{name} has no parameter {kw.arg!r}", form(proto))
        named[kw.arg] = Given(f.expr(kw.value), kw.value)
    kinds = kinds_of(proto)
    own = [i for i, k in enumerate(kinds) if k.rstrip("?") not in ("ctx", "stack")]
    contexts = [i for i, k in enumerate(kinds) if k.rstrip("?") == "ctx"]
    none = bool(given) and is_none(given[0].item) and proto.args[:1] == ("ctx?",)
    if contexts and given and (isinstance(given[0].item, Context) or none):
        own = contexts + own
    full = [i for i in own if words[i] not in named]
    short = [i for i in full if kinds[i] not in _SIZES]
    n = len(given)
    if n == len(short):
        order = short
    elif n == len(full):
        order = full
    elif n == len(short) - 1 and words[short[-1]] == "flags":
        order = short[:-1]
    else:
        counts = sorted({len(short), len(full)})
        shown = " or ".join(map(str, counts)) if len(counts) > 1 else str(counts[0])
        plural = "" if shown == "1" else "s"
        f.fail(node, f"bp.{name} takes {shown} argument{plural}, not {n + len(named)}", form(proto))
    out = dict(zip(order, given, strict=True))
    for word, by_name in named.items():
        if words.index(word) in out:
            f.fail(by_name.node, f"bp.{name} gets {word} twice")
        out[words.index(word)] = by_name
    return out


def form(proto: Prototype) -> str:
    """How a helper is called: what may be left out stands in brackets."""
    parts = []
    for kind, (_, word) in zip(kinds_of(proto), proto.parameters, strict=True):
        if kind.rstrip("?") not in ("ctx", "stack"):
            parts.append(f"[{word}]" if kind in _SIZES else word)
    return f"write bp.{proto.name}({', '.join(parts)})"


def _map(f: Fn, arg: Given, what: str) -> decl.MapDecl:
    item = mapkinds.as_map(f, arg.item, arg.node)
    if not isinstance(item, Py) or not isinstance(item.obj, decl.MapDecl):
        f.fail(
            arg.node, f"{what} is a map, and this is {describe(item)}", "name one that the module declares"
        )
    return item.obj


def _entry(f: Fn, m: decl.MapDecl, kind: str, arg: Given, what: str, nullable: bool) -> ir.Value:
    if nullable and is_none(arg.item):
        return ir.Const(Ptr(VOID, Space.STACK), 0)
    if kind == "map_key":
        mapops.needs_entries(f, m, arg.node)
        return mapops.key_place(f, m, arg.item, arg.node)
    value = mapops.value_type(f, m)
    if kind == "uninit_map_value":
        buffer = buffers.writable(f, arg.item, arg.node, what)
        if buffer.size < value.size:
            f.fail(arg.node, f"{what} needs {value.size} bytes for a {value!r}, and this has {buffer.size}")
        return buffer.place
    return memory(f, arg.item, value, arg.node, "value")


def _buffer(f: Fn, kind: str, word: str, arg: Given, what: str) -> buffers.Buffer:
    plain = kind.rstrip("?")
    if kind.endswith("?") and is_none(arg.item):
        return buffers.Buffer(ir.Const(Ptr(VOID, Space.STACK), 0), 0)
    base, bracket, count = plain.partition("[")
    if base == "mem":
        buffer = buffers.readable(f, arg.item, arg.node, what, nul=word.startswith("fmt"))
    else:
        buffer = buffers.writable(f, arg.item, arg.node, what)
    if bracket and buffer.size < int(count.rstrip("]")):
        need = int(count.rstrip("]"))
        f.fail(
            arg.node,
            f"{what} needs {need} bytes, and this has {buffer.size}",
            f"a local of {need} bytes is `value = u{need * 8}(0)`" if need in (4, 8) else "",
        )
    return buffer


def _size(f: Fn, arg: Given, has: int, what: str) -> ir.Value:
    exact = constant(arg.item)
    if exact is not None and has and exact > has:
        f.fail(arg.node, f"{what} is {exact}, and the memory before has {has} bytes")
    return number(f, arg.item, arg.node)


def _value(f: Fn, kind: str, ctype: str, arg: Given, what: str) -> ir.Value:
    plain = kind.rstrip("?")
    item, node = arg.item, arg.node
    if plain == "const_str":
        if not isinstance(item, Py) or not isinstance(item.obj, (str, bytes)):
            f.fail(node, f"{what} is text known when the program is compiled", "write it as a literal")
        return f.b.string(text.encode(f, item.obj, node))
    if kind.endswith("?") and is_none(item):
        return ir.Const(Ptr(VOID, Space.TRUSTED), 0)
    if plain.startswith("btf:"):
        return trusted(f, item, plain.removeprefix("btf:"), node, what)
    if plain in ("sock_common", "btf_sock_common", "socket"):
        return _socket(f, item, node, what)
    if plain in ("timer", "spin_lock", "dynptr", "percpu") or "dynptr" in plain:
        from . import fields

        return fields.argument(f, plain, item, node, what)
    if ctype.endswith("*"):
        return address(f, item, node, what)
    if isinstance(item, Py) and isinstance(item.obj, decl.Global):
        item = resolve(f, item, node)
    return number(f, item, node)


def address(f: Fn, item: Item, node: ast.AST, what: str) -> ir.Value:
    """An address that the helper checks itself: a pointer, a reference, a number."""
    item = resolve(f, item, node)
    if is_none(item):
        return f.b.const(0)
    if isinstance(item, Pointer):
        return item.v
    if isinstance(item, Ref):
        refuse_maybe(f, item, node)
        f.escape(item)
        return item.ptr
    return number(f, item, node)


def trusted(f: Fn, item: Item, name: str, node: ast.AST, what: str) -> ir.Value:
    """A pointer to a kernel struct that the verifier knows."""
    item = resolve(f, item, node)
    refuse_maybe(f, item, node)
    value = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
    kind = value.type if value is not None else None
    if value is None or not isinstance(kind, Ptr) or not isinstance(kind.to, Struct) or kind.to.name != name:
        advice = "bp.current_task() is one" if name == "task_struct" else "take a typed argument of the hook"
        f.fail(node, f"{what} is a pointer to struct {name}, and this is {describe(item)}", advice)
    if kind.space in (Space.KERNEL, Space.USER):
        f.fail(
            node,
            f"{what} needs a struct {name} that the kernel vouches for, and this one was found in memory",
            "use one that a hook or a helper gave, or what that leads to",
        )
    return value


def _socket(f: Fn, item: Item, node: ast.AST, what: str) -> ir.Value:
    item = resolve(f, item, node)
    refuse_maybe(f, item, node)
    if isinstance(item, Context):
        return subprograms.context(f, node, what)
    value = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
    if value is None or not isinstance(value.type, Ptr) or "sock" not in getattr(value.type.to, "name", ""):
        f.fail(
            node,
            f"{what} is a socket, and this is {describe(item)}",
            "take `ctx.sk`, what a lookup gave, or a typed argument of the hook",
        )
    return value


# -- results

_SOCKETS = {"sock": "bpf_sock", "sock_common": "bpf_sock", "tcp_sock": "bpf_tcp_sock"}


def _result(f: Fn, proto: Prototype, values: list[ir.Value], m: decl.MapDecl | None, node: ast.Call) -> Item:
    ret = proto.ret
    if ret == "void":
        f.b.helper(proto.name, *values, type=VOID)
        return Py(None)
    if ret == "int":
        unsigned = proto.result.startswith(_UNSIGNED)
        return Num(f.b.helper(proto.name, *values, type=U64 if unsigned else I64))
    if ret in ("dynptr_mem?", "percpu?", "percpu"):
        from . import fields

        return fields.result(f, proto, values, node)
    kind = result_type(f, proto, m, node)
    value = f.b.helper(proto.name, *values, type=kind)
    if isinstance(kind.to, Struct) and kind.to.core:
        return Pointer(value)
    maybe = f"bp.{proto.name}(…)" if ret.endswith("?") else ""
    return Ref(value, maybe=maybe, shared=m is not None and mapops.shared(m))


def result_type(f: Fn, proto: Prototype, m: decl.MapDecl | None, node: ast.AST) -> Ptr:
    """Where the pointer that a helper gives leads."""
    plain, nullable = proto.ret.rstrip("?"), proto.ret.endswith("?")
    if plain == "map_value":
        assert m is not None
        return Ptr(mapops.value_type(f, m), Space.MAP, nullable)
    if plain in _SOCKETS:
        name = _SOCKETS[plain]
        of: Type
        if name == "bpf_sock":
            of = layout(name)
        else:
            with f.placed(node):
                found = f.unit.ktypes.struct(f"struct {name}")
            of = Struct(name, found.size, found.members)  # a UAPI struct: its places never change
        return Ptr(of, Space.CONTEXT, nullable)
    _, _, name = plain.partition(":")
    if not name or name == "*":
        f.fail(node, f"bpf_{proto.name} is not called directly", INSTEAD.get(proto.name, ""))
    with f.placed(node):
        return Ptr(f.unit.ktypes.struct(f"struct {name}"), Space.TRUSTED, nullable)
