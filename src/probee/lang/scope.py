"""The function and the module being compiled: names, locals, blocks, errors.

`Unit` is one object file in the making; `Fn` one function in it, together with what is known at the place
that is being compiled. The modules that know the syntax (`expr`, `stmt`, `calls`…) are functions over `Fn`.
"""

from __future__ import annotations

import ast
import builtins as python
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType

from ..errors import CompileError
from . import bounds, decl, diag, ir, source
from .bounds import Interval
from .builder import Builder
from .flow import Flow, Fresh, merge, zeroing
from .items import Closure, Context, Item, Num, Opt, Pointer, Py, Ref, TextCall
from .types import BOOL, I64, U64, VOID, Chars, Int, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from .ktypes import KernelTypes

_NOWHERE = object()


class Var:
    """A local variable."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class IntVar(Var):
    __slots__ = ("slot",)

    def __init__(self, name: str, slot: ir.Value) -> None:
        super().__init__(name)
        self.slot = slot

    @property
    def type(self) -> Int:
        kind = pointee(self.slot)
        assert isinstance(kind, Int)
        return kind


class PtrVar(Var):
    """A reference (`pointer` False) or a pointer."""

    __slots__ = ("pointer", "shared", "slot")

    def __init__(self, name: str, slot: ir.Value, pointer: bool, shared: bool) -> None:
        super().__init__(name)
        self.slot = slot
        self.pointer = pointer
        self.shared = shared


class TextVar(Var):
    """Text of its own: a local text is a value, as a Python string is."""

    __slots__ = ("slot",)

    def __init__(self, name: str, slot: ir.Value) -> None:
        super().__init__(name)
        self.slot = slot


class OptVar(Var):
    """A value that may be None: `inner` holds it, `present` says whether there is one."""

    __slots__ = ("inner", "present")

    def __init__(self, name: str, present: ir.Value, inner: Var) -> None:
        super().__init__(name)
        self.present = present
        self.inner = inner


class PyVar(Var):
    """Another name for something the compiler knows: a constant, a map, a context."""

    __slots__ = ("item",)

    def __init__(self, name: str, item: Item) -> None:
        super().__init__(name)
        self.item = item


def pointee(slot: ir.Value) -> Type:
    assert isinstance(slot.type, Ptr)
    return slot.type.to


class Loop:
    """The innermost loops. `breaks` and `continues` collect what is known where they jump from.

    `before` are the locals that have a value when a round begins, None for a loop that is unrolled.
    `cleanups` of the function's cleanups hold while a round begins, `outer` of them behind the loop. `rounds`
    is how many rounds there are at most, 0 if that is not known. `leaves` are the places that a `return` goes
    to, once it has left the loop; None if it needs none.
    """

    __slots__ = ("before", "breaks", "cleanups", "continues", "end", "leaves", "next", "outer", "rounds")

    def __init__(
        self,
        next: ir.Block,
        end: ir.Block,
        cleanups: int,
        before: frozenset[str] | None = None,
        *,
        outer: int | None = None,
        rounds: int = 0,
    ) -> None:
        self.before = before
        self.next = next
        self.end = end
        self.cleanups = cleanups
        self.outer = cleanups if outer is None else outer
        self.rounds = rounds
        self.leaves: list[ir.Block] | None = None
        self.breaks: list[Flow | None] = []
        self.continues: list[Flow | None] = []


class Site:
    """A place that makes a struct on the stack: in each round of the loops around it, in the same memory."""

    __slots__ = ("loops", "name")

    def __init__(self, name: str, loops: list[Loop]) -> None:
        self.name = name
        self.loops = [loop for loop in loops if loop.before is not None]


def nothing() -> None:
    """How what a loop holds is given back, if it holds nothing."""


class Again(Exception):
    """Compile the function again: these locals may be None in a later round of a loop."""

    def __init__(self, names: set[str]) -> None:
        self.names = names


class Unit:
    """One object in the making: its maps, globals and functions by the Python objects they come from."""

    def __init__(self, module: ir.Module, ktypes: KernelTypes) -> None:
        self.module = module
        self.ktypes = ktypes
        self.maps: dict[int, ir.Map] = {}
        self.inners: dict[int, ir.Map] = {}
        self.jumps: list[tuple[ir.Map, int, decl.ProgramDecl]] = []  # what program arrays hold
        self.vars: dict[int, ir.GlobalVar] = {}
        self.dropped: dict[int, ir.GlobalVar] = {}
        self.config: dict[str, ir.Ksym] = {}  # values of the kernel's configuration
        self.subprograms: dict[Any, Any] = {}
        self.compiling: list[Any] = []
        self.names: set[str] = set()
        self.keep: list[Any] = []  # keeps ids valid
        self.cursors: dict[int, decl.Global] = {}  # how far the shared pages of arenas are given out
        self.ksyms: dict[str, ir.Ksym] = {}  # of which programs want the address
        self.thrown: list[tuple[ir.Function, ir.Block]] = []  # what ends there, but has to go on somewhere
        self.throwing: set[ir.Function] = set()
        self.into_arena: tuple[Any, ir.Loc] | None = None  # where a pointer into the arena is first used

    def unique(self, name: str, separator: str = "_") -> str:
        """A symbol that nothing else in the object has."""
        out, n = name, 1
        while out in self.names:
            n += 1
            out = f"{name}{separator}{n}"
        self.names.add(out)
        return out

    def map(self, m: decl.MapDecl, name: str = "") -> ir.Map:
        """The IR map of a declaration."""
        known = self.maps.get(id(m))
        if known is None:
            if m.handle is not None:
                return self.inner(m)
            name = self.unique(m.name or name)
            if not m.name:
                m.name = name
            known = self.maps[id(m)] = self._map(m, name)
            if m.inner is not None:
                known.inner = self.inner(m.inner)
            self.jumps.extend((known, i, p) for i, p in m.programs.items())
            self.module.maps.append(known)
        return known

    def inner(self, m: decl.MapDecl) -> ir.Map:
        """What the maps inside another are like: no map of the object."""
        known = self.inners.get(id(m))
        if known is None:
            known = self.inners[id(m)] = self._map(m, m.name or "inner")
        return known

    def _map(self, m: decl.MapDecl, name: str) -> ir.Map:
        key = decl.ir_type(m.key) if m.key is not None else None
        value = decl.ir_type(m.value) if m.value is not None else None
        known = ir.Map(name, m.kind, key, value, m.max_entries, m.flags, int(bool(m.pin)))
        known.numa_node, known.extra = m.numa_node, m.extra
        self.keep.append(m)
        return known

    def var(self, v: decl.Var, name: str = "") -> ir.GlobalVar:
        """The IR global of a `Const` or `Global`."""
        known = self.vars.get(id(v))
        if known is None:
            name = self.unique(v.name or name)
            if not v.name:
                v.name = name
            init = decl.pack(v.type, v.default)
            known = ir.GlobalVar(name, decl.ir_type(v.type), init, const=isinstance(v, decl.Const))
            if v.section:
                known.section = f".{'rodata' if known.const else 'data'}.{v.section}"
            if getattr(v, "arena", None) is not None:
                known.arena = True
                self.map(v.arena, "arena")  # type: ignore[attr-defined]
            self.vars[id(v)] = known
            self.keep.append(v)
            self.module.globals.append(known)
        return known

    def drops(self, m: decl.MapDecl) -> ir.GlobalVar:
        """The counter of records that found no room in a ring buffer."""
        known = self.dropped.get(id(m))
        if known is None:
            name = self.unique("__dropped_" + self.map(m).name)
            known = self.dropped[id(m)] = ir.GlobalVar(name, U64, bytes(8), const=False)
            self.module.globals.append(known)
        return known


_evaluate: Callable[[Fn, ast.expr], Item] | None = None


class Fn:
    """The function being compiled, and the place in it."""

    def __init__(
        self,
        unit: Unit,
        fn: FunctionType,
        src: source.Source,
        out: ir.Function,
        doubtful: set[str] | None = None,
    ) -> None:
        self.unit = unit
        self.python = fn
        self.source = src
        self.out = out
        self.b = Builder(out)
        self.flow: Flow | None = Flow()
        self.vars: dict[str, Var] = {}
        self.versions: dict[str, int] = {}
        code = fn.__code__
        self.loaded = {
            n.id for n in source.nodes(src.node) if type(n) is ast.Name and type(n.ctx) is ast.Load
        }
        self.local_names = {*code.co_varnames, *code.co_cellvars}
        self.outer_names: set[str] = set()  # locals of the function around this one
        self.cells = frozenset(code.co_cellvars)
        self.frame: ir.Local | None = None  # what functions inside this one use of its locals
        self.links: dict[ir.Value, ir.Offset] = {}
        self.loops: list[Loop] = []
        self.owned: dict[str, Any] = {}  # what a `with` has to give back, by its name
        self.locked = ""  # the lock that is held here, in words
        self.doubtful = doubtful or set()  # locals that a loop may set to None, though they are not before it
        self.given_back: list[tuple[frozenset[object], str, ast.AST]] = []  # references that are returned
        self.aliases: list[tuple[str, frozenset[object], ast.AST]] = []  # locals and what they refer to
        self.cleanups: list[Callable[[], None]] = []
        self.records: list[tuple[decl.MapDecl, ir.Local]] = []  # reserved ones, and whether to discard them
        self.returns: list[tuple[ir.Block, Item | None, ast.AST]] = []
        self.fresh: list[Fresh] = []
        self.annotated: set[str] = set()  # locals whose type is written down
        self.under_rcu = False  # inside a `with bp.rcu():`, of this function or of its caller
        self.shared_names: set[str] = set()  # locals that nested functions may change
        self.notes: dict[str, tuple[str, str]] = {}  # why a name has no value: a message and advice
        self.temps: dict[tuple[str, Type], ir.Local] = {}
        self.intervals: dict[ir.Value, Interval] = {}  # of loads of locals
        self.ctx: ir.Value | None = None  # the program's context
        self.program: decl.ProgramDecl | None = None
        self.uses_ctx = False

    # -- errors

    def fail(self, node: ast.AST | ir.Loc | None, message: str, advice: str = "") -> NoReturn:
        raise diag.error(self.source, node, message, advice)

    @contextmanager
    def placed(self, node: ast.AST | None) -> Iterator[None]:
        """Errors of those who do not know the place get it."""
        try:
            yield
        except CompileError as e:
            if e.file:
                raise
            raise diag.error(self.source, node, e.message, e.advice) from None

    # -- places

    @property
    def live(self) -> Flow:
        """What is known here; code that nothing reaches is not compiled."""
        assert self.flow is not None
        return self.flow

    def enter(self, block: ir.Block, flow: Flow | None) -> None:
        """Go on in `block`."""
        self.b.at(block)
        self.flow = flow

    def join(self, block: ir.Block, flows: Iterable[Flow | None]) -> None:
        """Jump to `block` from here if this place is reached, and go on there with what all ways know."""
        if self.flow is not None:
            self.b.jump(block)
        self.enter(block, merge([self.flow, *flows]))

    def meet(self, ends: list[tuple[ir.Block, Flow]], name: str) -> None:
        """Go on where some ways end."""
        if not ends:
            self.flow = None
            return
        if len(ends) == 1:
            self.enter(*ends[0])
            return
        end = self.b.new_block(name)
        for last, _ in ends:
            self.b.at(last)
            self.b.jump(end)
        self.enter(end, merge([flow for _, flow in ends]))

    def loc(self, node: ast.AST) -> ir.Loc:
        if isinstance(node, (ast.expr, ast.stmt)):
            return ir.Loc(node.lineno, node.col_offset)
        return ir.Loc(getattr(node, "lineno", self.source.node.lineno), getattr(node, "col_offset", 0))

    def expr(self, node: ast.expr) -> Item:
        global _evaluate
        if _evaluate is None:  # expr imports this module
            from .expr import evaluate

            _evaluate = evaluate
        return _evaluate(self, node)

    def block(self, body: list[ast.stmt]) -> None:
        from .stmt import block

        block(self, body)

    def kfunc(
        self, node: ast.AST, since: str, name: str, *args: ir.Value, type: Type | None = None
    ) -> ir.Value:
        """A call of a kernel function; an error at `node` if the target kernel lacks it."""
        extern = self.unit.ktypes.kfunc(name)
        if extern is None:
            self.fail(node, f"this kernel has no function {name}", f"it came with Linux {since}")
        return self.b.kfunc(extern, *args, type=type)

    # -- memory

    def temp(self, role: str, type: Type) -> ir.Local:
        """A slot for what a helper takes by address; the next use of the same role overwrites it."""
        slot = self.temps.get((role, type))
        if slot is None:
            slot = self.temps[role, type] = self.b.local(role, type)
        return slot

    def make(self, base: ir.Value, *, padding: bool) -> Fresh:
        """Memory that is zero where nothing else is assigned; `finish` fills in the zeroing at this place."""
        assert isinstance(base.type, Ptr)
        type = base.type.to
        mark = self.b.emit(ir.Zero(base, 0))
        align = 8 if base.type.space is Space.RECORD or type.size >= 8 else natural(type)
        fresh = Fresh(base, type, self.b.block, mark, padding=padding, align=align)
        self.fresh.append(fresh)
        self.live.made[fresh] = 0
        return fresh

    def finish(self) -> None:
        """Fill in what was left open until all uses are known."""
        self._check_aliases()
        for fresh in self.fresh:
            ops = fresh.block.ops
            at = next(i for i, op in enumerate(ops) if op is fresh.mark)
            ops[at : at + 1] = zeroing(fresh, fresh.mark.loc)

    def _check_aliases(self) -> None:
        """Refuse two names for a struct that each round of a loop makes anew, when one outlives the round.

        In Python they would be two objects then; here they are the same memory. A struct that this function
        made can't be returned either.
        """
        reach: dict[object, set[Site]] = {}
        names: dict[object, set[object]] = {}
        changed = True
        while changed:
            changed = False
            for name, origin, _ in self.aliases:
                sites, others = reach.setdefault(name, set()), names.setdefault(name, set())
                before = len(sites) + len(others)
                for root in origin:
                    if isinstance(root, Site):
                        sites.add(root)
                    elif isinstance(root, str):
                        sites |= reach.get(root, set())
                        others |= {root} | names.get(root, set())
                changed = changed or len(sites) + len(others) != before
        for origin, kind, node in self.given_back:
            if any(isinstance(root, Site) or reach.get(root) for root in origin):
                self.fail(
                    node,
                    f"{kind} can't be returned: it ends with the function",
                    "let the caller make it, and fill it in here",
                )
        for name, origin, node in self.aliases:
            for root in origin:
                if not isinstance(root, str) or root == name:
                    continue
                held = {name, root} | names.get(root, set())
                for site in reach.get(root, ()):
                    if any(held & (loop.before or frozenset()) for loop in site.loops):
                        self.fail(
                            node,
                            f"each round of the loop makes this {site.name} in the same place, "
                            f"so {name} would change when {root} does",
                            f"copy what must stay: `{name} = {site.name}(…)` with the fields of {root}",
                        )

    @property
    def holds(self) -> bool:
        """Is there something here that has to be given back?"""
        return any(cleanup is not nothing for cleanup in self.cleanups)

    def leave(self) -> None:
        """On the way out of the function: give back what is held."""
        levels = {loop.outer: loop.leaves for loop in self.loops if loop.leaves is not None}
        for i in reversed(range(len(self.cleanups))):
            self.cleanups[i]()
            if i in levels:
                out = self.b.new_block("leave")
                self.b.jump(out)
                levels[i].append(out)
                self.b.at(out)

    def returned(self, item: Item, node: ast.AST) -> Item:
        from .subprograms import returned

        return returned(self, item, node)

    def escape(self, item: Item) -> None:
        """Somebody else gets the address of what `item` refers to."""
        if isinstance(item, Ref):
            self.live.use(item.fresh, item.offset, item.type.size)

    # -- names

    def read_local(self, name: str, node: ast.AST) -> Item:
        var = self.vars.get(name)
        if var is None or name not in self.live.set:
            if name in self.notes:
                self.fail(node, *self.notes[name])
            if name not in self.versions:
                hidden = self.python.__globals__.get(name)
                if isinstance(hidden, (decl.Var, decl.MapDecl)):
                    word = "value" if isinstance(hidden, decl.Var) else "entries"
                    use = f"{name}.value" if isinstance(hidden, decl.Var) else f"{name}[key]"
                    self.fail(
                        node,
                        f"{name} is assigned in this function, so it is a local here, not the module's",
                        f"its {word} {'is' if word == 'value' else 'are'} {use}; give the local another name",
                    )
                if hidden is not None:
                    self.fail(
                        node,
                        f"{name} is assigned in this function, so it is a local here, not the module's",
                        "give the local another name; what programs change is a bp.Global",
                    )
                self.fail(
                    node, f"{name} is read before it is assigned", "assign it on every path that leads here"
                )
            self.fail(
                node,
                f"{name} may be read before it is assigned",
                f"assign it on every path that leads here, for example `{name} = 0` first",
            )
        return self.read_var(var)

    def read_var(self, var: Var) -> Item:
        name, known = var.name, var.name in self.live.known
        if isinstance(var, IntVar):
            value = self.b.load(var.slot)
            if name in self.live.ranges:
                self.intervals[value] = self.live.ranges[name]
            return Num(self.b.widen(value), (name, self.versions[name]))
        if isinstance(var, PtrVar):
            fresh = self.live.bound.get(name)
            if fresh is not None:
                return Ref(fresh.base, shared=var.shared, fresh=fresh, origin=frozenset((name,)))
            value = self.b.load(var.slot)
            if var.pointer:
                return Pointer(value)
            maybe = "" if known else name
            return Ref(value, maybe=maybe, shared=var.shared, origin=frozenset((name,)))
        if isinstance(var, TextVar):
            return Ref(var.slot)
        if isinstance(var, OptVar):
            if known:
                return self.read_var(var.inner)
            inner = self.vars_unknown(var.inner)
            return Opt(self.b.load(var.present), inner, name)
        assert isinstance(var, PyVar)
        return var.item

    def vars_unknown(self, inner: Var) -> Item:
        """The value of an optional as it is stored, whether there is one or not."""
        if isinstance(inner, IntVar):
            return Num(self.b.widen(self.b.load(inner.slot)))
        if isinstance(inner, TextVar):
            return Ref(inner.slot)
        assert isinstance(inner, PtrVar)
        return Ref(self.b.load(inner.slot), shared=inner.shared, origin=frozenset((inner.name,)))

    def lookup(self, name: str, node: ast.AST) -> Any:
        """The Python object behind a name that is no local."""
        fn = self.python
        if name in fn.__code__.co_freevars and fn.__closure__ is not None:
            cell = fn.__closure__[fn.__code__.co_freevars.index(name)]
            try:
                return self.named(cell.cell_contents, name)
            except ValueError:
                self.fail(node, f"{name} has no value yet in the function around this program")
        value = fn.__globals__.get(name, _NOWHERE)
        if value is not _NOWHERE:
            return self.named(value, name)
        value = getattr(python, name, _NOWHERE)
        if value is not _NOWHERE:
            return value
        from . import builtins

        near = {*self.local_names, *fn.__globals__, *vars(python), *fn.__code__.co_freevars}
        advice = diag.nearest(name, sorted(near))
        if hasattr(builtins, name):
            advice = f"write bp.{name}, or `from probee import {name}`"
        self.fail(node, f"there is no name {name!r} here", advice)

    def named(self, value: Any, name: str) -> Any:
        """A map or global takes the name of the variable it is first found by."""
        if isinstance(value, decl.MapDecl):
            self.unit.map(value, name)
        elif isinstance(value, decl.Var):
            self.unit.var(value, name)
        return value

    def assigned(self, name: str) -> None:
        """A local has a new value."""
        self.versions[name] = self.versions.get(name, 0) + 1
        self.notes.pop(name, None)
        self.live.set.add(name)
        self.live.unbind(name)
        self.live.drop_slots(name)
        self.live.known.discard(name)
        self.live.ranges.pop(name, None)

    def bind(self, name: str, item: Item, node: ast.AST, type: Int | None = None) -> None:
        """`name = item`. `type` is an annotation's."""
        var = self.vars.get(name)
        if (
            isinstance(item, Py)
            and isinstance(item.obj, (decl.Const, decl.Global))
            and isinstance(item.obj.type, decl.ScalarType)
        ):
            from .convert import number

            item = Num(number(self, item, node))
        if isinstance(item, Py) and isinstance(item.obj, int):
            from .convert import number

            item = Num(number(self, item, node))
        if var is None:
            var = self.new_var(name, item, node, type)
            self.vars[name] = var
        held = item.item if isinstance(item, Opt) else item
        if isinstance(held, Ref) and held.origin and not isinstance(var, TextVar):
            self.aliases.append((name, held.origin, node))
        fresh = item.fresh if isinstance(item, Ref) else None
        whole = fresh is not None and isinstance(item, Ref) and item.ptr is fresh.base
        if fresh is not None and not (whole and fresh not in self.live.bound.values()):
            self.escape(item)  # a second name, or a part with a name of its own
            whole = False
        between = self.interval(item) if isinstance(var, IntVar) and isinstance(item, Num) else None
        self.store_var(var, item, node)
        self.assigned(name)
        if between is not None and isinstance(var, IntVar):
            low, high = bounds.whole(var.type)
            if low <= between[0] and between[1] <= high and between != (low, high):
                self.live.ranges[name] = between
        if not (isinstance(item, Opt) or (isinstance(item, Ref) and item.maybe) or is_none(item)):
            self.live.known.add(name)
        if whole and fresh is not None and fresh in self.live.made:
            self.live.bound[name] = fresh

    def interval(self, item: Num) -> Interval:
        """The values that a number can have."""
        return bounds.interval(item.v, self.intervals)

    def slot(self, name: str, type: Type, shown: str = "") -> ir.Value:
        """Memory for a local: a register in the end, unless functions inside this one use it too.

        Debuggers know it as `shown`, by default as `name`.
        """
        place = self._place(name, type)
        self.out.variables.append(ir.Variable(shown or name, place, self.b.loc.line))
        return place

    def _place(self, name: str, type: Type) -> ir.Value:
        return self._in_frame(type) if name in self.cells else self.b.local(name, type)

    def _in_frame(self, type: Type) -> ir.Offset:
        """A place in what inner functions use."""
        if self.frame is None:
            self.frame = self.b.local("what inner functions use", Struct("captured", 0, ()))
        struct = self.frame.of
        assert isinstance(struct, Struct)
        at = (struct.size + 7) // 8 * 8
        struct.size = at + (type.size + 7) // 8 * 8
        place = ir.Offset(self.frame, ir.Const(I64, at), Ptr(type, Space.STACK))
        place.loc = self.b.loc
        self.out.blocks[0].ops.insert(0, place)
        return place

    def link(self, around: ir.Value) -> ir.Offset:
        """Where functions inside this one find the address of what it has itself from those around it."""
        place = self.links.get(around)
        if place is None:
            place = self.links[around] = self._in_frame(Ptr(VOID, Space.STACK))
            keep = ir.Store(place, around)
            keep.loc = self.b.loc
            ops = self.out.blocks[0].ops
            last = max(ops.index(v) for v in (place, around) if isinstance(v, ir.Op))
            ops.insert(last + 1, keep)
        return place

    def share(self, names: set[str]) -> None:
        """Functions inside this one use these locals."""
        self.shared_names |= names

    def new_var(self, name: str, item: Item, node: ast.AST, type: Int | None = None) -> Var:
        if type is not None:
            return IntVar(name, self.slot(name, type))
        if isinstance(item, Num):
            kind = item.v.type
            return IntVar(name, self.slot(name, I64 if kind == BOOL else kind))
        if isinstance(item, Opt):
            return OptVar(name, self.slot(name, BOOL, f"{name}?"), self.new_var(name, item.item, node))
        if isinstance(item, Pointer):
            return PtrVar(name, self.slot(name, item.v.type), True, False)
        if isinstance(item, Ref):
            if isinstance(item.type, Chars) and not item.maybe and item.type.n:
                return TextVar(name, self.slot(name, item.type))
            return PtrVar(name, self.slot(name, item.ptr.type), False, item.shared)
        if isinstance(item, TextCall):
            if not item.size:
                self.fail(
                    node,
                    f"the size of {name} is not known: strings in memory have no limit",
                    f"give it one: `{name} = Char[64](bp.{item.name}(…))`",
                )
            return TextVar(name, self.slot(name, Chars(item.size)))
        if isinstance(item, (Py, Context, Closure)):
            if is_none(item):
                self.fail(node, f"{name} starts as None, so its kind is not known", "assign its value first")
            return PyVar(name, item)
        from .convert import describe

        self.fail(node, f"{describe(item)} can't be kept in a local")

    def store_var(self, var: Var, item: Item, node: ast.AST) -> None:
        b, name = self.b, var.name
        if isinstance(var, IntVar) and isinstance(item, Num):
            b.write(var.slot, item.v)
            return
        from .convert import describe

        if isinstance(var, PtrVar):
            if is_none(item) or (
                isinstance(item, Num) and isinstance(item.v, ir.Const) and item.v.value == 0
            ):
                b.store(var.slot, ir.Const(pointee(var.slot), 0))
                return
            ptr = item.v if isinstance(item, Pointer) else item.ptr if isinstance(item, Ref) else None
            if ptr is not None and isinstance(item, Pointer) == var.pointer:
                had, got = pointee(var.slot), ptr.type
                assert isinstance(had, Ptr)
                assert isinstance(got, Ptr)
                if had.to == got.to and had.space is got.space:
                    if isinstance(item, Ref) and item.shared:
                        var.shared = True
                    b.store(var.slot, b.recast(ptr, had))
                    return
                if had.to == got.to:
                    self.fail(
                        node,
                        f"{name} was a {had!r}, here it would be one in {got.space.value}",
                        "use another local",
                    )
        if isinstance(var, TextVar) and not isinstance(item, Opt):
            from . import text

            if text.is_text(item):
                text.store(self, var.slot, item, node)
                return
        if isinstance(var, OptVar):
            if is_none(item):
                b.store(var.present, b.const(0, BOOL))
                return
            if isinstance(item, Opt):
                self.store_var(var.inner, item.item, node)
                b.store(var.present, item.present)
                return
            self.store_var(var.inner, item, node)
            b.store(var.present, b.const(1, BOOL))
            return
        if isinstance(var, PyVar):
            if same(var.item, item):
                return
            self.fail(
                node,
                f"{name} stands for {describe(var.item)}, known at compile time, and can't become another",
                "use another name"
                + (", or a Char[n] local" if isinstance(item, Py) and isinstance(item.obj, str) else ""),
            )
        if isinstance(item, Opt) and isinstance(var, IntVar):
            self.fail(
                node,
                f"{name} is a number, but this may be None",
                "give a default, as in `m.get(k, 0)`, or use another local and test it with `is None`",
            )
        self.fail(node, f"{name} was {what(var)}, and can't become {describe(item)}", "use another local")


def same(a: Item, b: Item) -> bool:
    if a is b:
        return True
    if isinstance(a, Py) and isinstance(b, Py):
        return a.obj is b.obj or (type(a.obj) is type(b.obj) and isinstance(a.obj, str) and a.obj == b.obj)
    return isinstance(a, Context) and isinstance(b, Context) and a.obj is b.obj


def what(var: Var) -> str:
    """A variable's kind, in words."""
    if isinstance(var, IntVar):
        return "a number"
    if isinstance(var, TextVar):
        return f"text ({pointee(var.slot)!r})"
    if isinstance(var, PtrVar):
        kind = pointee(var.slot)
        assert isinstance(kind, Ptr)
        return f"{'a pointer' if var.pointer else 'a reference'} to {kind.to!r}"
    if isinstance(var, OptVar):
        return f"{what(var.inner)} or None"
    return "something else"


def is_none(item: Item) -> bool:
    return isinstance(item, Py) and item.obj is None


def natural(t: Type) -> int:
    """The alignment of a type of the language."""
    from .types import Array

    if isinstance(t, (Int, Ptr)):
        return t.size
    if isinstance(t, Array):
        return natural(t.elem)
    if isinstance(t, Struct) and not t.core:
        return min(t.align or max((natural(m.type) for m in t.members), default=1), 8)
    return 1
