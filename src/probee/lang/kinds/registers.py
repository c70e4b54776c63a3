"""`arg(n)`, `retval()`, `reg("sp")`: what a function was called with, on every kind of probe."""

from __future__ import annotations

import ast

from .. import ir
from ..convert import constant, describe, wrap
from ..hooks import Hook
from ..items import Item, Num, Py
from ..types import I16, I64, U8, U32, U64, VOID, Array, Int, Member, Ptr, Space, Struct
from .tracing import FunctionHook, KprobeHook, trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..scope import Fn

_RETURNS = ("kretprobe", "uretprobe", "kretsyscall", "kretprobe_multi", "uretprobe_multi")
_STARTS = ("kprobe", "ksyscall", "kprobe_multi", "kprobe_session", "uprobe", "uprobe_multi", "uprobe_session")
_PROBES = (*_STARTS, "usdt", "perf_event")
_BY_NUMBER = ("raw_tracepoint", "tp_btf", "raw_tracepoint_writable")


def arg(f: Fn, node: ast.Call) -> Item:
    """`arg(n)`: the argument of that index, from 0."""
    from ..calls import arguments
    from ..subprograms import context

    (item,) = arguments(f, node, "arg(n)", 1, 1)
    n = constant(item)
    if n is None or n < 0:
        f.fail(node.args[0], f"arg() takes a constant index, not {describe(item)}", "write arg(0)")
    n = int(n)
    kind = _kind(f, node, "arg(n)")
    ctx = context(f, node, "arg()")
    b = f.b
    if kind == "usdt":
        return Num(_usdt(f, ctx, n, node))
    hook = _hook(f)
    if isinstance(hook, FunctionHook):
        params = hook.prototype.params
        if n >= len(params):
            f.fail(node, f"{_of(f)} has {len(params)} arguments", f"arg(0) to arg({len(params) - 1})")
        value = trusted(b, b.index(ctx, n), params[n][1], params[n][0])
        return value if isinstance(value, Item) else wrap(f, value)
    if kind in _BY_NUMBER:
        return Num(b.widen(b.load(b.index(b.recast(ctx, Ptr(Array(U64, n + 1), Space.CONTEXT)), n))))
    if kind in _RETURNS:
        f.fail(node, "the arguments are gone when the function returns", "keep them in a map from its start")
    if kind == "ksyscall":
        f.fail(node, "a system call's arguments are the program's parameters", "name them: def f(fd, buf):")
    if kind not in _PROBES:
        f.fail(node, f"{_of(f)} has no arguments by number")
    registers = KprobeHook.argument_registers.fget(hook)  # type: ignore[attr-defined]
    if n >= len(registers):
        f.fail(node, f"{len(registers)} arguments are in registers", 'read others from the stack: reg("sp")')
    return Num(_register(f, ctx, registers[n], node))


def retval(f: Fn, node: ast.Call) -> Item:
    """`retval()`: what the function returned."""
    from ..calls import arguments
    from ..subprograms import context

    arguments(f, node, "retval()", 0, 0)
    kind = _kind(f, node, "retval()")
    ctx = context(f, node, "retval()")
    hook = _hook(f)
    if isinstance(hook, FunctionHook):
        if not hook._has_ret:
            f.fail(node, f"{_of(f)} has no returned value", "use @bp.fexit")
        slot = f.b.index(ctx, len(hook.prototype.params))
        value = trusted(f.b, slot, hook.prototype.ret)
        return value if isinstance(value, Item) else wrap(f, value)
    if kind not in _RETURNS and not kind.endswith("_session"):
        f.fail(node, f"{_of(f)} runs before the function returns", "use a return probe")
    result = KprobeHook.result_register.fget(hook)  # type: ignore[attr-defined]
    return Num(f.b.cast(_register(f, ctx, result, node), I64))


def reg(f: Fn, node: ast.Call) -> Item:
    """`reg("sp")`: a register of the CPU."""
    from ..calls import arguments
    from ..subprograms import context

    (item,) = arguments(f, node, "reg(name)", 1, 1)
    if not isinstance(item, Py) or not isinstance(item.obj, str):
        f.fail(node.args[0], "reg() takes a register's name", 'write reg("sp")')
    kind = _kind(f, node, "reg()")
    if kind not in _PROBES and kind not in _RETURNS:
        f.fail(node, f"{_of(f)} gives no registers", "kprobes, uprobes and perf events do")
    return Num(_register(f, context(f, node, "reg()"), item.obj, node))


def _kind(f: Fn, node: ast.AST, what: str) -> str:
    if f.program is None:
        f.fail(node, f"{what} needs a program")
    return f.program.kind


def _of(f: Fn) -> str:
    assert f.program is not None
    return f.program.hook


def _hook(f: Fn) -> Hook:
    assert f.program is not None
    return Hook.for_program(f.program, f.unit.ktypes, False)


def _register(f: Fn, ctx: ir.Value, name: str, node: ast.AST) -> ir.Value:
    at = f.b.field(ctx, name)
    if at is None:
        assert isinstance(ctx.type, Ptr)
        assert isinstance(ctx.type.to, Struct)
        f.fail(node, f"there is no register {name}", f"it has {', '.join(ctx.type.to.names())}")
    return f.b.read(at)


# ---- USDT ----

_MOST = 12
_SPECS, _PLACES = "__bpf_usdt_specs", "__bpf_usdt_ip_to_spec_id"
_CONSTANT, _REGISTER, _MEMORY = 0, 1, 2


def _argument_type() -> Struct:
    members = (
        Member("val_off", U64, 0),
        Member("arg_type", U32, 64),
        Member("reg_off", I16, 96),
        Member("arg_signed", U8, 112),
        Member("arg_bitshift", U8, 120),
    )
    return Struct("__bpf_usdt_arg_spec", 16, members)


def _maps(f: Fn) -> tuple[ir.Map, ir.Map, Struct]:
    """The maps in which whoever attaches says where arguments are: a contract of libbpf's usdt.bpf.h."""
    module = f.unit.module
    known = {m.name: m for m in module.maps}
    if _SPECS in known:
        spec = known[_SPECS].value
        assert isinstance(spec, Struct)
        return known[_SPECS], known[_PLACES], spec
    size = _MOST * 16
    members = (
        Member("args", Array(_argument_type(), _MOST), 0),
        Member("usdt_cookie", U64, size * 8),
        Member("arg_cnt", I16, size * 8 + 64),
    )
    spec = Struct("__bpf_usdt_spec", size + 16, members)
    specs = ir.Map(f.unit.unique(_SPECS), 2, Int(32, True), spec, 256)
    places = ir.Map(f.unit.unique(_PLACES), 1, Int(64, True), U32, 1024)
    module.maps += [specs, places]
    return specs, places, spec


def _usdt(f: Fn, ctx: ir.Value, n: int, node: ast.Call) -> ir.Value:
    """The argument's value; 0 where there is no such argument, or it can't be read."""
    if n >= _MOST:
        f.fail(node, f"a probe has at most {_MOST} arguments", "arg(0) to arg(11)")
    specs, places, spec = _maps(f)
    b = f.b
    value, end = b.local("argument", U64), b.new_block("argument")
    b.store(value, b.const(0, U64))
    number = f.temp("place", U32)
    if f.unit.ktypes.has_helper("get_attach_cookie"):
        b.write(number, b.helper("get_attach_cookie", ctx, type=U64))
    else:
        address = f.temp("address", Int(64, True))
        b.write(address, _register(f, ctx, "ip", node))
        found = b.helper("map_lookup_elem", ir.MapRef(places), address, type=Ptr(U32, Space.MAP, True))
        known = b.new_block("known")
        b.branch(b.truth(found), known, end)
        b.at(known)
        b.write(number, b.read(found))
    entry = b.helper("map_lookup_elem", ir.MapRef(specs), number, type=Ptr(spec, Space.MAP, True))
    there, enough = b.new_block("spec"), b.new_block("argument there")
    b.branch(b.truth(entry), there, end)
    b.at(there)

    def field(of: ir.Value, name: str) -> ir.Value:
        at = b.field(of, name)
        assert at is not None
        return at

    b.branch(b.compare("<", b.const(n), b.read(field(entry, "arg_cnt"))), enough, end)
    b.at(enough)
    where = b.index(field(entry, "args"), n)
    offset, how = b.read(field(where, "val_off")), b.read(field(where, "arg_type"))
    fixed, register, memory, cut = (b.new_block(x) for x in ("constant", "register", "memory", "cut"))
    b.switch(how, [(_CONSTANT, fixed), (_REGISTER, register), (_MEMORY, register)], end)
    b.at(fixed)
    b.store(value, offset)
    b.jump(cut)
    b.at(register)
    place = b.offset(
        b.recast(ctx, Ptr(VOID, Space.KERNEL)), b.read(field(where, "reg_off")), Ptr(U64, Space.KERNEL)
    )
    b.probe_read(value, 8, place)
    b.branch(b.compare("==", how, b.const(_MEMORY)), memory, cut)
    b.at(memory)
    behind = b.recast(b.arith("+", b.load(value), offset), Ptr(U64, Space.USER))
    b.probe_read(value, 8, behind)
    b.jump(cut)
    b.at(cut)
    shift = b.arith("&", b.read(field(where, "arg_bitshift")), b.const(63, U64))
    up = b.binary("shl", b.load(value), shift)
    signed = b.truth(b.read(field(where, "arg_signed")))
    down = b.select(signed, b.binary("ashr", up, shift), b.binary("lshr", up, shift))
    b.store(value, down)
    b.jump(end)
    b.at(end)
    return b.load(value)
