"""Functions inside programs: called, or handed to the kernel, which calls them back.

What such a function uses of the locals around it is kept in one struct on the stack of the function that owns
them; the inner function gets the address of that struct. Reading and writing (`nonlocal`) go to the same
memory, so that each sees what the other did.
"""

from __future__ import annotations

import ast
from types import CellType, CodeType, FunctionType

from . import decl, ir, source
from .convert import constant, describe, number
from .items import Closure, Context, Item, Num, Py, Ref
from .scope import Fn, IntVar, OptVar, PtrVar, PyVar, TextVar, Var
from .types import I64, U64, VOID, Chars, Int, Ptr, Space, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def define(f: Fn, node: ast.FunctionDef) -> None:
    """`def` inside a program: the name stands for the function."""
    if node.decorator_list:
        f.fail(node.decorator_list[0], "a function inside a program has no decorators", "drop it")
    known = f.vars.get(node.name)
    if known is not None and not isinstance(known, PyVar):
        f.fail(node, f"{node.name} is a local already", "give the function another name")
    f.vars[node.name] = PyVar(node.name, Closure(_code(f, node), node))
    f.assigned(node.name)


def of_lambda(f: Fn, node: ast.Lambda) -> Item:
    """`lambda x: …`: a function of one `return`."""
    body = ast.copy_location(ast.Return(node.body), node.body)
    made = ast.FunctionDef(name="<lambda>", args=node.args, body=[body], decorator_list=[], returns=None)
    ast.copy_location(made, node)
    return Closure(_code(f, made, node), made)


def _code(f: Fn, node: ast.FunctionDef, of_lambda: ast.Lambda | None = None) -> CodeType:
    name = node.name
    found = [
        c
        for c in f.python.__code__.co_consts
        if isinstance(c, CodeType) and c.co_name == name and c.co_firstlineno == node.lineno
    ]
    if not found:
        f.fail(node, f"the code of {name} is not there: the branch around it is never taken", "drop it")
    at = 0
    if of_lambda is not None:
        same = [n for n in ast.walk(f.source.node) if isinstance(n, ast.Lambda) and n.lineno == node.lineno]
        same.sort(key=lambda n: n.col_offset)
        at = min(same.index(of_lambda) if of_lambda in same else 0, len(found) - 1)
    return found[at]


def inner(f: Fn, closure: Closure, out: ir.Function) -> Fn:
    """The inner function in the making: it sees the locals of `f` that it uses."""
    code = closure.code
    around = dict(zip(f.python.__code__.co_freevars, f.python.__closure__ or (), strict=True))
    cells = tuple(around.get(n) or CellType() for n in code.co_freevars)
    made = FunctionType(code, f.python.__globals__, code.co_name, None, cells)
    src = source.Source(closure.node, f.source.file, f.source.lines)
    g = Fn(f.unit, made, src, out)
    g.program = f.program
    g.under_rcu = f.under_rcu
    g.locked = f.locked
    g.b.loc = ir.Loc(closure.node.lineno)
    g.outer_names = {n for n in code.co_freevars if n in f.local_names or n in f.outer_names}
    return g


def capture(f: Fn, g: Fn, param: ir.Value, node: ast.AST) -> None:
    """Give `g` the locals of `f`; `param` is the address of `f`'s struct.

    What `f` itself has from the functions around it lies in their structs; that of `f` has their addresses.
    """
    f.share(g.outer_names)
    bases: dict[ir.Value | None, ir.Value] = {f.frame: param}
    for name in sorted(g.outer_names):
        var = f.vars.get(name)
        if var is None or name not in f.live.set:
            continue  # reading it is an error, with its place
        if isinstance(var, PyVar) and isinstance(var.item, Context):
            g.notes[name] = (
                f"{name}, the program's argument, can't be used in a function inside the program",
                "keep the field in a local, and use that",
            )
            continue
        f.live.unbind(name)  # somebody else may read all of it
        around = _base(var)
        if around is not None and around not in bases:
            place = f.link(around)
            assert isinstance(place.type, Ptr)
            there = ir.Offset(param, place.bytes, place.type)
            bases[around] = base = ir.Load(there)
            there.loc = base.loc = g.b.loc
            g.out.blocks[0].ops[:0] = [there, base]
        g.vars[name] = _moved(g, var, bases.get(around, param))
        g.versions[name] = 1
        g.live.set.add(name)
        if name in f.live.known and name not in _changed(g):
            g.live.known.add(name)


def _changed(g: Fn) -> set[str]:
    """The outer locals that the function, or one inside it, assigns."""
    found = [n for n in ast.walk(g.source.node) if isinstance(n, ast.Nonlocal)]
    return {name for n in found for name in n.names}


def after(f: Fn, g: Fn) -> None:
    """Behind a call: what is known of locals that the function may have changed."""
    for name in _changed(g) & set(f.vars):
        f.versions[name] = f.versions.get(name, 0) + 1
        f.live.known.discard(name)
        f.live.ranges.pop(name, None)
        f.live.drop_slots(name)
        if not isinstance(f.vars[name], (OptVar, PtrVar)):
            f.live.known.add(name)


def _base(var: Var) -> ir.Value | None:
    """The address of the struct that a shared variable lies in."""
    slot = var.present if isinstance(var, OptVar) else getattr(var, "slot", None)
    return slot.base if isinstance(slot, ir.Offset) else None


def _moved(g: Fn, var: Var, base: ir.Value) -> Var:
    """The same variable, seen from the inner function."""

    def at(slot: ir.Value, shown: str = "") -> ir.Value:
        assert isinstance(slot, ir.Offset), f"{var.name} is not shared"
        offset = ir.Offset(base, slot.bytes, slot.type)  # type: ignore[arg-type]
        offset.loc = g.b.loc
        ops = g.out.blocks[0].ops
        ops.insert(ops.index(base) + 1 if isinstance(base, ir.Op) else 0, offset)
        g.out.variables.append(ir.Variable(shown or var.name, offset, g.b.loc.line))
        return offset

    if isinstance(var, IntVar):
        return IntVar(var.name, at(var.slot))
    if isinstance(var, PtrVar):
        return PtrVar(var.name, at(var.slot), var.pointer, var.shared)
    if isinstance(var, TextVar):
        return TextVar(var.name, at(var.slot))
    if isinstance(var, OptVar):
        return OptVar(var.name, at(var.present, f"{var.name}?"), _moved(g, var.inner, base))
    return var


# -- calls back

Bind = "Callable[[Fn, list[str], list[ir.Param]], None]"


class Kind:
    """What the kernel passes to a callback, before the address of the captured locals.

    `params` are the C function's; `bind` gives the Python parameters `names` their values. `most` is how many
    Python parameters there can be. `captures` is False where the kernel passes no address on.
    """

    __slots__ = ("bind", "captures", "form", "most", "params")

    def __init__(
        self,
        params: list[tuple[str, Type]],
        most: int,
        form: str,
        bind: Callable[[Fn, list[str], list[ir.Param], ast.AST], None],
        *,
        captures: bool = True,
    ) -> None:
        self.params = params
        self.most = most
        self.form = form
        self.bind = bind
        self.captures = captures


def make(f: Fn, item: Item, kind: Kind, node: ast.expr) -> tuple[ir.FunctionRef, ir.Value]:
    """Compile a function for the kernel to call. Gives its address, and what to pass for it to get back.

    Its result is 0 or 1: `return True` ends the loop that calls it, where there is one.
    """
    from . import subprograms

    closure = item if isinstance(item, Closure) else None
    if closure is None and not (isinstance(item, Py) and isinstance(item.obj, FunctionType)):
        f.fail(
            node, f"a function is needed here, and this is {describe(item)}", f"write `def {kind.form}: …`"
        )
    held: list[Fn] = []

    def attempt(doubtful: set[str]) -> ir.Function:
        name = f.unit.unique("callback" if closure and closure.name == "<lambda>" else _plain(item), "__")
        out = ir.Function(name, [], I64, file=f.source.file, line=node.lineno, inline=False)
        if closure is not None:
            g = inner(f, closure, out)
        else:
            assert isinstance(item, Py)
            with f.placed(node):
                src = source.of_function(item.obj)
            g = Fn(f.unit, item.obj, src, out)
            g.program = f.program
        out.file, out.line = g.source.file, g.source.node.lineno
        g.doubtful = doubtful
        args = g.source.node.args
        names = [a.arg for a in (*args.posonlyargs, *args.args)]
        if args.vararg or args.kwarg or args.kwonlyargs or args.defaults or len(names) > kind.most:
            g.fail(
                g.source.node,
                "this function is called back with other arguments",
                f"write `def {kind.form}:`",
            )
        out.params = [ir.Param(i, n, t) for i, (n, t) in enumerate(kind.params)]
        if kind.captures:
            out.params.append(ir.Param(len(out.params), "captured", Ptr(VOID, Space.STACK)))
        if closure is not None and g.outer_names:
            if kind.captures:
                capture(f, g, out.params[-1], node)
            else:
                for n in g.outer_names & set(f.vars):
                    if isinstance(f.vars[n], PyVar):
                        g.vars[n] = f.vars[n]
                        g.versions[n] = 1
                        g.live.set.add(n)
                    g.notes[n] = (
                        f"{n} is gone when this function is called: the program has ended by then",
                        "keep the value in a map",
                    )
        kind.bind(g, names, out.params, node)
        subprograms.body(g)
        for block, result, where in g.returns:
            g.b.at(block)
            g.b.loc = g.loc(where)
            if isinstance(result, Num):
                g.b.ret(g.b.widen(g.b.truth(result.v)))
            else:
                g.b.ret()
        held[:] = [g]
        return out

    out = subprograms.again(attempt)
    f.unit.module.functions.append(out)
    after(f, held[0])
    captured: ir.Value = ir.Const(Ptr(VOID, Space.STACK), 0)
    if f.frame is not None:
        captured = f.frame
    return ir.FunctionRef(out), captured


def _plain(item: Item) -> str:
    name = item.name if isinstance(item, Closure) else item.obj.__name__ if isinstance(item, Py) else ""
    return "".join(c if c.isascii() else "_" for c in name)


def _bind_index(g: Fn, names: list[str], params: list[ir.Param], node: ast.AST) -> None:
    for name in names[:1]:
        g.bind(name, Num(g.b.cast(g.b.cast(params[0], Int(32, False)), I64)), node)
        g.live.ranges[name] = (0, (1 << 23) - 1)


_LOOP = Kind([("index", U64)], 1, "visit(i)", _bind_index)


def loop(f: Fn, n: Item, function: Item, node: ast.Call) -> Item:
    """`bp.loop(n, visit)`: the helper bpf_loop."""
    if not f.unit.ktypes.has_helper("loop"):
        f.fail(node, "this kernel has no helper bpf_loop", "it came with Linux 5.17: write a `for` loop")
    count = number(f, n, node.args[0])
    exact = constant(n)
    if exact is not None and not 0 <= exact <= 1 << 23:
        f.fail(node.args[0], f"bpf_loop goes round at most {1 << 23} times, not {exact}")
    ref, captured = make(f, function, _LOOP, node.args[1])
    return Num(f.b.helper("loop", f.b.cast(count, U64), ref, captured, f.b.const(0)))


def for_each(f: Fn, m: decl.MapDecl, function: Item, node: ast.Call) -> Item:
    """`bp.for_each_map_elem(m, visit)`: the helper bpf_for_each_map_elem."""
    declared = f.unit.map(m)
    if declared.key is None or declared.value is None:
        f.fail(node.args[0], f"{m.name} has no entries to go through")
    ref, captured = make(f, function, entry_kind(declared, m.per_cpu, "visit(key, value)"), node.args[1])
    return Num(f.b.helper("for_each_map_elem", ir.MapRef(declared), ref, captured, f.b.const(0)))


def entry_kind(declared: ir.Map, per_cpu: bool, form: str, *, captures: bool = True) -> Kind:
    """A callback that gets an entry of a map: its key and its value."""
    key, value = declared.key, declared.value
    assert key is not None
    assert value is not None

    def bind(g: Fn, names: list[str], params: list[ir.Param], where: ast.AST) -> None:
        for name, param in zip(names, params[1:3], strict=False):
            of = param.type
            assert isinstance(of, Ptr)
            if isinstance(of.to, Int):
                g.bind(name, Num(g.b.read(param)), where)
                continue
            shared = param is params[2] and not per_cpu
            item = Ref(param, maybe=name if isinstance(of.to, Chars) else "", shared=shared)
            if isinstance(of.to, Chars):
                g.vars[name] = PtrVar(name, g.slot(name, of), False, shared)
            else:
                g.vars[name] = g.new_var(name, item, where)
            g.store_var(g.vars[name], item, where)
            g.assigned(name)
            g.live.known.add(name)

    return Kind(
        [
            ("map", Ptr(VOID, Space.MAP)),
            ("key", Ptr(key, Space.MAP)),
            ("value", Ptr(value, Space.MAP)),
        ],
        2,
        form,
        bind,
        captures=captures,
    )
