"""Calls: casts, structs, Python's builtins, those of the language, kernel helpers, methods, subprograms."""

from __future__ import annotations

import ast
import sys
from types import FunctionType, ModuleType

from . import (
    builtins,
    callbacks,
    core,
    decl,
    expr,
    ir,
    mapkinds,
    mapops,
    printing,
    static,
    strings,
    subprograms,
    text,
)
from .convert import (
    arena,
    common,
    constant,
    describe,
    describe_object,
    number,
    refuse_kernel_part,
    refuse_maybe,
    resolve,
    store,
    truth,
)
from .decl.arenas import ArenaPtrType
from .decl.storages import Storage
from .hooks import current_task
from .items import Closure, Context, Entry, Item, Kept, Method, Num, Pointer, Py, Ref
from .kinds import registers
from .packets import addresses, checksum
from .packets.address import Address
from .packets.wire import HeaderStruct
from .scope import Fn, Site, is_none
from .types import BOOL, I64, U64, VOID, Array, Chars, Int, Ptr, Space, Special, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def call(f: Fn, node: ast.Call) -> Item:
    callee = f.expr(node.func)
    if isinstance(callee, Method):
        return _method(f, callee, node)
    if isinstance(callee, Closure):
        return subprograms.call_inner(f, callee, node)
    if not isinstance(callee, Py):
        f.fail(node, f"{describe(callee)} can't be called")
    return call_object(f, callee.obj, node)


def call_object(f: Fn, obj: Any, node: ast.Call) -> Item:
    if isinstance(obj, decl.ScalarType):
        return _cast(f, obj, node)
    if isinstance(obj, decl.StructType):
        return _construct(f, obj, node)
    if isinstance(obj, decl.CharType):
        return _text(f, obj, node)
    if isinstance(obj, decl.ArrayType):
        return core.array(f, obj, node)
    if isinstance(obj, builtins.Helper):
        return _helper(f, obj, node)
    if isinstance(obj, builtins.KfuncName):
        from .services import kfuncs

        return kfuncs.call(f, obj, node)
    if isinstance(obj, builtins.Builtin):
        if obj.name.startswith("atomic."):
            from .services import atomics

            return atomics.call(f, node, obj.name)
        handler = _BUILTINS.get(obj.name)
        if handler is None:
            f.fail(node, f"bp.{obj.name}() can't stand here", obj.__doc__ or "")
        return handler(f, node)
    if isinstance(obj, decl.ProgramDecl):
        f.fail(
            node,
            f"{obj.name} is a program of its own and can't be called",
            "move what both need into a plain function, or jump with bp.tail_call(programs, index)",
        )
    if isinstance(obj, Address):
        return addresses.call(f, obj, node)
    if isinstance(obj, decl.GlobalFunction):
        from . import generics

        return generics.call(f, obj, node)
    if isinstance(obj, FunctionType):
        _refuse_library(f, obj, node)
        return subprograms.call(f, obj, node)
    try:
        known = _PYTHON.get(obj)
    except TypeError:
        known = None
    if known is not None:
        return known(f, node)
    _refuse(f, obj, node)
    raise AssertionError


# -- what can't be called

_PYTHON_REFUSED: dict[Any, str] = {
    float: "the kernel has no floating point: scale to an integer",
    list: "use a struct with an array field, or an Array map",
    dict: "use a Hash map declared in the module",
    set: "use a Hash map declared in the module",
    tuple: "use a struct",
    bytes: "use Char[n] or a u8[n] field",
    open: "send the data to Python with a ring buffer, and write the file there",
    input: "programs can't wait; set a bp.Const before attaching",
    sum: "add in a loop",
    any: "write a loop, or `or`",
    all: "write a loop, or `and`",
    round: "integers need no rounding; `//` rounds down",
    pow: "write `**` with a constant exponent",
    divmod: "write `//` and `%`",
    isinstance: "types are known when the program is compiled",
    type: "types are known when the program is compiled",
    getattr: "write the attribute with a dot",
    setattr: "write the attribute with a dot",
    repr: 'send the value in a record, or print(f"{x}")',
    format: 'print(f"{x}") formats numbers and text',
    sorted: "sort in Python",
    reversed: "loop over range(n - 1, -1, -1)",
    enumerate: "loop over range(n) and index",
    zip: "loop over range(n) and index",
    map: "write a loop",
    filter: "write a loop",
    iter: "loop with `for … in range(…)`",
    next: "loop with `for … in range(…)`",
    super: "programs have no classes",
    exec: "programs are compiled before they run",
    eval: "programs are compiled before they run",
    __import__: "import at the top of the module",
    chr: "a byte of text is a number: `e.name[i] = n`",
    hash: "use the value itself as a map's key",
    id: "an address is `u64(p)`",
    complex: "there are no complex numbers in the kernel: use integers",
    bytearray: "use a Struct with a field of u8[n]",
    memoryview: "index the field, or take a slice of it",
    object: "use a bp.Struct",
    callable: "types are known when the program is compiled",
    locals: "name the locals one by one",
    globals: "names of the module are read as they are",
    vars: "name the fields one by one",
    dir: "name the fields one by one",
    delattr: "assign 0 to the field",
    frozenset: "use a Hash map declared in the module",
    slice: "write the slice in brackets",
    bin: 'print(f"{n:x}") shows hexadecimal digits',
    oct: 'print(f"{n:x}") shows hexadecimal digits',
}


_LIBRARY = {
    "time.sleep": "a program can't wait; a bp.Timer calls a function later",
    "time.time": "bp.nsecs() is the time since boot in nanoseconds",
    "time.monotonic": "bp.nsecs() is the time since boot in nanoseconds",
    "time.perf_counter": "bp.nsecs() is the time since boot in nanoseconds",
    "time.time_ns": "bp.nsecs() is the time since boot in nanoseconds",
    "time.monotonic_ns": "bp.nsecs() is the time since boot in nanoseconds",
    "posix.getpid": "write bp.pid()",
    "posix.getuid": "write bp.uid()",
    "posix.getgid": "write bp.gid()",
    "struct.pack": "declare a bp.Struct and fill in its fields",
    "struct.unpack": "bp.cast(Struct, pointer) reads memory as a struct",
    "re.match": "text has `in`, find(), startswith() and endswith()",
    "re.search": "text has `in`, find(), startswith() and endswith()",
    "re.fullmatch": "text can be compared, and has `in`, find(), startswith() and endswith()",
    "sys.exit": "`return` ends the program",
    **dict.fromkeys(
        [f"random.Random.{word}" for word in ("random", "randint", "randrange", "choice")],
        "bp.rand() is a random u32",
    ),
}


def _refuse(f: Fn, obj: Any, node: ast.Call) -> None:
    try:
        advice = _PYTHON_REFUSED.get(obj, "")
    except TypeError:
        advice = ""
    if isinstance(obj, (decl.MapDecl, decl.Var)):
        f.fail(
            node,
            f"{describe_object(obj)} can't be called",
            f"write {obj.name}[key]" if isinstance(obj, decl.MapDecl) else f"write {obj.name}.value",
        )
    own = (getattr(obj, "__module__", "") or "").partition(".")[0] not in sys.stdlib_module_names
    if isinstance(obj, type) and not advice and obj.__module__ != "builtins" and own:
        f.fail(
            node,
            f"{obj.__name__} is a Python class, and objects can't be made in the kernel",
            "derive it from bp.Struct to make it a struct",
        )
    if isinstance(obj, ModuleType) or not callable(obj):
        f.fail(node, f"{describe_object(obj)} can't be called")
    name = getattr(obj, "__qualname__", "") or getattr(obj, "__name__", "") or type(obj).__name__
    module = getattr(obj, "__module__", "") or ""
    full = ast.unparse(node.func) if isinstance(node.func, (ast.Name, ast.Attribute)) else name
    advice = advice or _LIBRARY.get(f"{module.lstrip('_')}.{name}", "")
    if hasattr(obj, "__wrapped__"):
        f.fail(
            node, f"{full} is wrapped by a decorator of Python's, which can't run in the kernel", "drop it"
        )
    f.fail(
        node,
        f"{full}() is Python's and can't run in the kernel",
        advice or "call it outside, and put the result into a module-level constant, a bp.Const or a map",
    )


def _refuse_library(f: Fn, fn: FunctionType, node: ast.Call) -> None:
    """Functions that were not written for programs."""
    top = (fn.__module__ or "").partition(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        _refuse(f, fn, node)
    own = fn.__module__.startswith(("probee.session", "probee.lang"))
    if own and fn.__module__ not in ("probee.lang.std", "probee.lang.packets.library"):
        _refuse(f, fn, node)


def arguments(f: Fn, node: ast.Call, form: str, low: int, high: int) -> list[Item]:
    """The positional arguments of a call that takes `low` to `high` of them."""
    if node.keywords:
        f.fail(node.keywords[0].value, f"{form} takes no argument by name")
    for arg in node.args:
        if isinstance(arg, ast.Starred):
            f.fail(arg, "`*` can't unpack here", "write the arguments one by one")
    if not low <= len(node.args) <= high:
        count = str(low) if low == high else f"{low} to {high}"
        f.fail(node, f"{form} takes {count} argument{'' if high == 1 else 's'}, not {len(node.args)}")
    return [f.expr(arg) for arg in node.args]


# -- values


def _cast(f: Fn, t: decl.ScalarType, node: ast.Call) -> Item:
    (item,) = arguments(f, node, f"{t.__name__}(x)", 1, 1) if node.args or node.keywords else (Py(0),)
    b, to = f.b, Int(t.bits, t.signed)
    item = resolve(f, item, node)
    if (isinstance(item, (Pointer, Ref)) and not text.is_text(item)) or isinstance(item, Pointer):
        refuse_maybe(f, item, node)
        ptr = item.v if isinstance(item, Pointer) else item.ptr
        f.escape(item)
        value: ir.Value = b.recast(ptr, U64)
    else:
        exact = constant(item)
        if exact is not None:
            value = b.const(int(exact), I64 if to.signed else U64)  # wraps
            value = b.const(value.value, to) if isinstance(value, ir.Const) else value
            return Num(b.widen(value))
        value = number(f, item, node)
    if to == BOOL:
        return Num(b.truth(value))
    return Num(b.widen(b.cast(b.widen(value), to)))


def _construct(f: Fn, cls: decl.StructType, node: ast.Call) -> Item:
    """`Exec(pid=…)`: a zeroed struct on the stack."""
    name = cls.__name__
    if cls._core_:
        f.fail(node, f"{name} is a kernel struct: programs can't make one", f"write bp.cast({name}, pointer)")
    if len(node.args) == 1 and not node.keywords:
        return _copied(f, cls, node)
    if node.args:
        f.fail(node.args[0], f"{name} takes its fields by name", f"write {name}({cls._fields_[0].name}=…)")
    kind = decl.ir_type(cls)
    assert isinstance(kind, Struct)
    values: list[tuple[str, Item, ast.expr]] = []
    for kw in node.keywords:
        if kw.arg is None:
            f.fail(kw.value, "`**` can't unpack here", "write the fields one by one")
        expr.field_type(f, kind, kw.arg, kw.value)
        item = resolve(f, f.expr(kw.value), kw.value)
        if isinstance(item, Ref) and item.origin and f.loops and not item.maybe:
            held = f.b.local("held", item.type)  # what this place made in the round before is overwritten now
            f.escape(item)
            f.b.copy_into(held, item.ptr)
            item = Ref(held)
        values.append((kw.arg, item, kw.value))
    slot = f.b.local(name, kind)
    ref = Ref(slot, fresh=f.make(slot, padding=True), origin=frozenset((Site(name, f.loops),)))
    for field, item, where in values:
        place = expr.field_place(f, ref, field, where)
        mapops.touch(f, place)
        store(f, place.ptr, item, where)
        f.live.wrote(place.fresh, place.offset, place.type.size)
    return ref


def _copied(f: Fn, cls: decl.StructType, node: ast.Call) -> Item:
    """`Point(p)`: another struct with the same values."""
    kind = decl.ir_type(cls)
    item = resolve(f, f.expr(node.args[0]), node.args[0])
    refuse_maybe(f, item, node.args[0])
    if isinstance(item, Pointer) and arena(item.v):
        item = Ref(item.v)
    if not isinstance(item, Ref) or item.type != kind:
        first = cls._fields_[0].name
        f.fail(
            node.args[0],
            f"{cls.__name__} takes its fields by name, or another {cls.__name__} to copy",
            f"write {cls.__name__}({first}=…)",
        )
    refuse_kernel_part(f, kind, node)
    slot = f.b.local(cls.__name__, kind)
    f.escape(item)
    f.b.copy_into(slot, item.ptr)
    return Ref(slot, origin=frozenset((Site(cls.__name__, f.loops),)))


def _text(f: Fn, t: decl.CharType, node: ast.Call) -> Item:
    items = arguments(f, node, f"{t!r}(text)", 0, 1)
    slot = f.b.local("text", Chars(t.size))
    text.store(f, slot, items[0] if items else Py(""), node)
    return Ref(slot)


# -- Python's builtins


def _abs(f: Fn, node: ast.Call) -> Item:
    (item,) = arguments(f, node, "abs(x)", 1, 1)
    exact = constant(item)
    if exact is not None:
        return Py(abs(exact))
    value = f.b.widen(number(f, item, node))
    if value.type == U64:
        return Num(value)
    return Num(f.b.select(f.b.compare("<", value, f.b.const(0)), f.b.neg(value), value))


def _extreme(op: str, name: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        if len(node.args) == 1 and not node.keywords:
            item = f.expr(node.args[0])
            numbers = item.obj if isinstance(item, Py) and isinstance(item.obj, (tuple, list, range)) else ()
            if isinstance(item, Py) and numbers and all(isinstance(n, int) for n in numbers):
                return Py(max(item.obj) if name == "max" else min(item.obj))
            f.fail(node, f"{name}() needs two values or more", f"write {name}(a, b)")
        items = arguments(f, node, f"{name}(a, b, …)", 2, 16)
        best = items[0]
        for item in items[1:]:
            a, b = constant(best), constant(item)
            if a is not None and b is not None:
                best = Py(max(a, b) if name == "max" else min(a, b))
                continue
            x, y = f.b.widen(number(f, best, node)), f.b.widen(number(f, item, node))
            kind = common(f, [(best, x, node), (item, y, node)])
            best = Num(f.b.select(f.b.compare(op, y, x), f.b.cast(y, kind), f.b.cast(x, kind)))
        return best

    return handler


def _len(f: Fn, node: ast.Call) -> Item:
    (item,) = arguments(f, node, "len(x)", 1, 1)
    item = resolve(f, item, node)
    if isinstance(item, Context):
        return item.obj.length(f, node)
    if isinstance(item, Py) and isinstance(item.obj, (str, bytes, tuple, list, dict, set, frozenset, range)):
        return Py(len(item.obj))
    refuse_maybe(f, item, node)
    if text.is_text(item):
        return Num(text.length(f, item, node))
    if isinstance(item, Ref) and isinstance(item.type, Array):
        return Py(item.type.n)
    advice = (
        "count in a Global, or in Python"
        if isinstance(item, Py) and isinstance(item.obj, decl.MapDecl)
        else ""
    )
    f.fail(node, f"{describe(item)} has no length in a program", advice)


def _int(f: Fn, node: ast.Call) -> Item:
    if len(node.args) == 2:
        both = arguments(f, node, "int(x)", 1, 2)
        if all(isinstance(i, Py) for i in both):
            try:
                return Py(int(*(i.obj for i in both if isinstance(i, Py))))
            except (TypeError, ValueError) as e:
                f.fail(node, str(e))
    (item,) = arguments(f, node, "int(x)", 1, 1)
    item = resolve(f, item, node)
    if isinstance(item, Py) and isinstance(item.obj, (int, str)):
        try:
            return Py(int(item.obj))
        except ValueError as e:
            f.fail(node, str(e))
    if isinstance(item, Pointer):
        f.fail(node, "the address of a pointer is `u64(p)`")
    return Num(f.b.widen(number(f, item, node)))


def _bool(f: Fn, node: ast.Call) -> Item:
    (item,) = arguments(f, node, "bool(x)", 1, 1)
    if isinstance(item, Py) and isinstance(item.obj, (int, str, bytes, tuple)):
        return Py(bool(item.obj))
    return Num(truth(f, item, node))


def _range(f: Fn, node: ast.Call) -> Item:
    items = arguments(f, node, "range(start, stop, step)", 1, 3)
    numbers = [constant(i) for i in items]
    if any(n is None for n in numbers):
        f.fail(
            node,
            "a range of run-time numbers stands in `for … in range(…)` only",
            "compare: `a <= x < b`",
        )
    try:
        return Py(range(*(int(n) for n in numbers)))
    except ValueError as e:
        f.fail(node, str(e))


def _ord(f: Fn, node: ast.Call) -> Item:
    (item,) = arguments(f, node, "ord(c)", 1, 1)
    if isinstance(item, Py) and isinstance(item.obj, (str, bytes)) and len(item.obj) == 1:
        return Py(ord(item.obj))
    f.fail(node, "ord() takes a literal of one character", "`text[i]` is a byte already")


def _print(f: Fn, node: ast.Call) -> Item:
    return printing.call(f, node, "print")


def _shown(spec: str, form: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        (item,) = arguments(f, node, form, 1, 1)
        item = resolve(f, item, node)
        if spec and text.is_text(item):
            f.fail(node, f"{form} takes a number, and this is text", "an element of text is a number")
        return item if text.is_text(item) else strings.shown(f, item, spec, node.args[0])

    return handler


def _hasattr(f: Fn, node: ast.Call) -> Item:
    items = arguments(f, node, 'hasattr(x, "field")', 2, 2)
    base, name = items
    if not isinstance(name, Py) or not isinstance(name.obj, str):
        f.fail(node.args[1], "the field's name is a literal", 'write hasattr(x, "field")')
    word: str = name.obj
    if isinstance(base, Py) and isinstance(base.obj, str):
        with f.placed(node):
            kind: Any = f.unit.ktypes.struct(base.obj)
    elif isinstance(base, Py) and isinstance(base.obj, (ModuleType, type)):
        return Py(hasattr(base.obj, word))
    elif isinstance(base, Context):
        return Py(word in base.obj.names)
    elif isinstance(base, Ref):
        kind = base.type
    elif isinstance(base, Pointer):
        kind = base.to
    elif isinstance(base, Entry):
        kind = base.type
    else:
        f.fail(
            node, f"{describe(base)} has no fields to ask for", "ask a kernel pointer, or a struct by name"
        )
    if not isinstance(kind, Struct):
        f.fail(node, f"{kind!r} has no fields")
    if not kind.core:
        return Py(kind.find(word) is not None)
    found = f.b.has_field(kind, word)
    if found is None:
        return Py(False)
    return Num(found)


# -- the language's own


def _shifted(name: str, half: int) -> Callable[[Fn, ast.Call], Item]:
    """A helper whose 64 bits hold two numbers."""

    def handler(f: Fn, node: ast.Call) -> Item:
        arguments(f, node, f"{node_name(node)}()", 0, 0)
        value = f.b.helper(name, type=U64)
        if half:
            return Num(f.b.arith(">>", value, f.b.const(32, U64)))
        return Num(f.b.widen(f.b.cast(value, Int(32, False))))

    return handler


def node_name(node: ast.Call) -> str:
    func = node.func
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else "this"


def _simple(name: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        arguments(f, node, f"{node_name(node)}()", 0, 0)
        return Num(f.b.helper(name, type=U64))

    return handler


def _comm(f: Fn, node: ast.Call) -> Item:
    arguments(f, node, "comm()", 0, 0)
    return text.comm(f)


def _current_task(f: Fn, node: ast.Call) -> Item:
    arguments(f, node, "current_task()", 0, 0)
    return _task(f, node)


def _task(f: Fn, node: ast.AST) -> Item:
    with f.placed(node):
        return Pointer(current_task(f.b, f.unit.ktypes))


def _stack(flags: int, name: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        items = arguments(f, node, f"{name}(stacks[, flags])", 1, 2)
        stacks = items[0]
        if not isinstance(stacks, Py) or not isinstance(stacks.obj, decl.StackTrace):
            f.fail(
                node,
                f"{name} takes a StackTrace map, not {describe(stacks)}",
                "declare `stacks = bp.StackTrace(1024)`",
            )
        more = number(f, items[1], node) if len(items) > 1 else f.b.const(0)
        amount = f.b.arith("|", more, f.b.const(flags))
        ctx = subprograms.context(f, node, name)
        return Num(f.b.helper("get_stackid", ctx, ir.MapRef(f.unit.map(stacks.obj)), amount))

    return handler


def _tail_call(f: Fn, node: ast.Call) -> Item:
    programs, index = arguments(f, node, "tail_call(programs, index)", 2, 2)
    if not isinstance(programs, Py) or not isinstance(programs.obj, decl.ProgArray):
        f.fail(
            node,
            f"tail_call takes a ProgArray, not {describe(programs)}",
            "declare `programs = bp.ProgArray(8)`",
        )
    if f.holds:
        f.fail(
            node,
            "a tail call does not come back to give back what the `with` or the loop around it holds",
            "jump behind it"
            + (
                "; a range that the verifier can follow holds nothing: `range(min(n, 32))`" if f.loops else ""
            ),
        )
    at = number(f, index, node)
    ctx = subprograms.context(f, node, "tail_call")
    return Num(f.b.helper("tail_call", ctx, ir.MapRef(f.unit.map(programs.obj)), at))


def _string(space: Space, name: str) -> Callable[[Fn, ast.Call], Item]:
    def handler(f: Fn, node: ast.Call) -> Item:
        (item,) = arguments(f, node, f"{name}(address)", 1, 1)
        return text.from_address(f, resolve(f, item, node), node, space, name)

    return handler


def _bp_cast(f: Fn, node: ast.Call) -> Item:
    name, address = arguments(f, node, "cast(type, address)", 2, 2)
    space = Space.KERNEL
    address = resolve(f, address, node)
    refuse_maybe(f, address, node)
    if isinstance(address, Pointer):
        value = address.v
    elif isinstance(address, Ref):
        value = address.ptr
    else:
        value = number(f, address, node)
    if isinstance(value.type, Ptr) and value.type.space in (Space.USER, Space.ARENA):
        space = value.type.space
    to: Any
    if isinstance(name, Py) and isinstance(name.obj, str):
        word = name.obj.rstrip("* ")
        integer = f.unit.ktypes.integer(word)
        if integer is not None:
            to = integer
        else:
            with f.placed(node.args[0]):
                to = f.unit.ktypes.struct(word)
    elif isinstance(name, Py) and isinstance(name.obj, ArenaPtrType):
        from .services import arenas

        return arenas.cast(f, name.obj, address, value, node)
    elif isinstance(name, Py) and isinstance(
        name.obj, (decl.ScalarType, decl.StructType, decl.CharType, decl.ArrayType)
    ):
        to = decl.ir_type(name.obj)
    elif isinstance(name, Py) and (kernel := kernel_name(name.obj)):
        with f.placed(node.args[0]):
            to = f.unit.ktypes.struct(kernel)
    else:
        f.fail(node.args[0], f"cast takes a type, not {describe(name)}", 'write cast("struct sock", p)')
    return Pointer(f.b.recast(value, Ptr(to, space)))


def kernel_name(obj: Any) -> str:
    """The kernel type that an annotation such as `bp.kernel["task_struct"]` names, or ""."""
    name = getattr(obj, "kernel_name", "") if not isinstance(obj, type) else ""
    return name if isinstance(name, str) else ""


def _sizeof(f: Fn, node: ast.Call) -> Item:
    (item,) = arguments(f, node, "sizeof(type or value)", 1, 1)
    if isinstance(item, Py):
        if isinstance(item.obj, (decl.ScalarType, decl.CharType, decl.ArrayType, decl.StructType)):
            return Py(decl.size_of(item.obj))
        if isinstance(item.obj, decl.Var):
            return Py(decl.size_of(item.obj.type))
        name = item.obj if isinstance(item.obj, str) else kernel_name(item.obj)
        if name:
            with f.placed(node):
                return Num(f.b.type_info("size", f.unit.ktypes.struct(name)))
    kind = item.type if isinstance(item, (Ref, Entry)) else item.to if isinstance(item, Pointer) else None
    if kind is None or kind is VOID:
        f.fail(node, f"sizeof takes a type or a value with a size, not {describe(item)}")
    if isinstance(kind, Struct) and kind.core:
        return Num(f.b.type_info("size", kind))
    return Py(kind.size)


def _kernel_type_exists(f: Fn, node: ast.Call) -> Item:
    (item,) = arguments(f, node, "kernel_type_exists(name)", 1, 1)
    if not isinstance(item, Py) or not isinstance(item.obj, str):
        f.fail(node, "the type's name is a literal", 'write kernel_type_exists("struct mptcp_sock")')
    found = f.unit.ktypes.find(item.obj)
    if found is None:
        word = item.obj.removeprefix("struct ").removeprefix("union ")
        found = Struct(word, 0, (), union=item.obj.startswith("union "), core=True)
    return Num(f.b.truth(f.b.type_info("exists", found)))


def _printf(f: Fn, node: ast.Call) -> Item:
    return printing.call(f, node, "printf")


def _helper(f: Fn, helper: builtins.Helper, node: ast.Call) -> Item:
    """A kernel helper, with what the kernel's takes."""
    name = helper.name
    if name in ("loop", "for_each_map_elem"):
        return _call_back(f, name, arguments(f, node, f"{name}(…)", 0, 5), node)
    if name == "get_current_task_btf":
        arguments(f, node, "get_current_task_btf()", 0, 0)
        return _task(f, node)
    from .services import helpers

    return helpers.call(f, helper, node)


def _call_back(f: Fn, name: str, items: list[Item], node: ast.Call) -> Item:
    form = "loop(n, function)" if name == "loop" else "for_each_map_elem(map, function)"
    if len(items) != 2:
        f.fail(node, f"bp.{name} takes two arguments here", f"write bp.{form}")
    if name == "loop":
        return callbacks.loop(f, items[0], items[1], node)
    if not isinstance(items[0], Py) or not isinstance(items[0].obj, decl.MapDecl):
        f.fail(node.args[0], f"a map is needed here, and this is {describe(items[0])}", f"write bp.{form}")
    return callbacks.for_each(f, items[0].obj, items[1], node)


# -- methods


def _method(f: Fn, callee: Method, node: ast.Call) -> Item:
    of, name = callee.of, callee.name
    if isinstance(of, Ref) and (isinstance(of.type, Special) or isinstance(of, Kept)):
        from .services import methods

        return methods.call(f, of, name, node)
    if isinstance(of, Context):
        return of.obj.call(f, name, node)
    if isinstance(of, Ref) and isinstance(of.type, HeaderStruct):
        return checksum.call(f, of, name, node)
    if isinstance(of, Py) and isinstance(of.obj, decl.MapDecl):
        return _map_method(f, of.obj, name, node)
    if name in strings.METHODS:
        form, handler = strings.METHODS[name]
        (item,) = arguments(f, node, form, 1, 1)
        return handler(f, of, resolve(f, item, node), node)
    f.fail(
        node,
        f"text has no method {name} in a program",
        "it can be compared, joined, sliced, measured with len(), and has startswith, endswith and find",
    )


def _map_method(f: Fn, m: decl.MapDecl, name: str, node: ast.Call) -> Item:
    own = mapkinds.methods(m)
    if own is not None:
        if name not in own:
            f.fail(node, f"{describe_object(m)} has no {name} in a program", f"it has {', '.join(own)}")
        return mapkinds.call(f, m, name, node)
    mapops.needs_entries(f, m, node)
    if name not in mapops.METHODS:
        f.fail(
            node, f"{describe_object(m)} has no {name} in a program", f"it has {', '.join(mapops.METHODS)}"
        )
    if name == "get" and node.keywords and node.keywords[0].arg in ("create", "cpu"):
        return _get_from(f, m, node)
    if name in ("get", "pop"):
        items = arguments(f, node, f"{m.name}.{name}(key[, default])", 1, 2)
        default = items[1] if len(items) > 1 else None
        if default is not None and is_none(default):
            default = None
        return (mapops.get if name == "get" else mapops.pop)(f, m, items[0], default, node)
    if name == "delete":
        items = arguments(f, node, f"{m.name}.delete(key)", 1, 1)
        return mapops.delete(f, m, items[0], node)
    items = arguments(f, node, f"{m.name}.update(key, value[, flags])", 2, 3)
    return mapops.update(f, m, items[0], items[1], items[2] if len(items) > 2 else None, node)


def _get_from(f: Fn, m: decl.MapDecl, node: ast.Call) -> Item:
    """`storage.get(object, create=True)`, `per_cpu.get(key, cpu=n)`."""
    word, value = node.keywords[0].arg, node.keywords[0].value
    if len(node.keywords) != 1 or len(node.args) != 1 or word not in ("create", "cpu"):
        f.fail(node, f"{m.name}.get takes a key, and create= or cpu= by name", f"write {m.name}.get(key)")
    key = f.expr(node.args[0])
    if word == "create":
        made = constant(f.expr(value))
        if not isinstance(m, Storage):
            f.fail(
                node, f"{describe_object(m)} has no get(…, create=…)", f"write {m.name}[key] = value first"
            )
        if made is None:
            f.fail(value, "create is True or False, known at compile time")
        return mapops.get_made(f, m, key, bool(made), node)
    if not m.per_cpu:
        f.fail(node, f"{describe_object(m)} has one value for all CPUs", f"write {m.name}.get(key)")
    return mapops.get_of_cpu(f, m, key, number(f, f.expr(value), value), node)


def _service(module: str, name: str) -> Callable[[Fn, ast.Call], Item]:
    """A function of `services`, which is imported when a program uses it."""

    def handler(f: Fn, node: ast.Call) -> Item:
        from importlib import import_module

        made: Item = getattr(import_module(f"{__package__}.services.{module}"), name)(f, node)
        return made

    return handler


_PYTHON: dict[Any, Callable[[Fn, ast.Call], Item]] = {
    abs: _abs,
    min: _extreme("<", "min"),
    max: _extreme(">", "max"),
    len: _len,
    int: _int,
    bool: _bool,
    ord: _ord,
    range: _range,
    print: _print,
    hasattr: _hasattr,
    str: _shown("", "str(x)"),
    hex: _shown("#x", "hex(x)"),
}

_BUILTINS: dict[str, Callable[[Fn, ast.Call], Item]] = {
    "pid": _shifted("get_current_pid_tgid", 1),
    "tid": _shifted("get_current_pid_tgid", 0),
    "uid": _shifted("get_current_uid_gid", 0),
    "gid": _shifted("get_current_uid_gid", 1),
    "comm": _comm,
    "nsecs": _simple("ktime_get_ns"),
    "cpu": _simple("get_smp_processor_id"),
    "rand": _simple("get_prandom_u32"),
    "cgroup": _simple("get_current_cgroup_id"),
    "current_task": _current_task,
    "curtask": _current_task,
    "kstack": _stack(0, "kstack"),
    "ustack": _stack(1 << 8, "ustack"),  # BPF_F_USER_STACK
    "kernel_str": _string(Space.KERNEL, "kernel_str"),
    "user_str": _string(Space.USER, "user_str"),
    "tail_call": _tail_call,
    "arg": registers.arg,
    "retval": registers.retval,
    "reg": registers.reg,
    "jump": _tail_call,
    "static": static.evaluate,
    "cast": _bp_cast,
    "sizeof": _sizeof,
    "kernel_type_exists": _kernel_type_exists,
    "printf": _printf,
    "kfunc_exists": _service("kfuncs", "exists"),
    "dynptr": _service("dynptrs", "make"),
    "ksym": _service("ksyms", "variable"),
    "kconfig": _service("kconfig", "value"),
    "ksym_address": _service("ksyms", "address"),
    "throw": _service("throws", "throw"),
    "type_id": _service("types", "type_id"),
    "rdonly_cast": _service("types", "rdonly_cast"),
    **core.HANDLERS,
}
