"""From declared programs to one IR module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import CompileError
from . import diag, hooks, ir, source, subprograms
from .builder import Builder
from .decl import ProgArray, symbols
from .scope import Unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .decl import ProgramDecl
    from .ktypes import KernelTypes


def compile_module(
    programs: list[ProgramDecl],
    *,
    ktypes: KernelTypes,
    merge_syscalls: bool = True,
    license: str = "Dual MIT/GPL",
) -> ir.Module:
    """The module of the given programs, with the maps, globals and functions they use.

    With `merge_syscalls`, programs on `syscalls:` tracepoints share one program for enter and one for exit.
    Raises CompileError at the place of what the language does not have.
    """
    module = ir.Module(license)
    unit = Unit(module, ktypes)
    named = symbols(programs)
    unit.names.update(named)
    todo = list(named.values())
    names = {id(p): name for name, p in named.items()}
    targets = _jumped_to(todo)
    done = []
    for p in todo:  # grows by programs that only a program array mentions
        done.append(_program(unit, p, names[id(p)], merge_syscalls and id(p) not in targets))
        for table, index, target in unit.jumps:
            if id(target) not in names:
                names[id(target)] = unit.unique(target.name)
                todo.append(target)
            table.programs[index] = names[id(target)]
    for fn, block in unit.thrown:  # the kernel wants a way on behind a call, though it is never gone
        end = Builder(fn)
        end.loc = block.ops[-1].loc
        end.at(block)
        end.ret()
    if unit.into_arena is not None:
        from .services import arenas

        arenas.name_in_programs(unit, todo)
    if any(fn.regions for fn in module.functions):
        from .outline import outline

        outline(module, unit.unique)
    hooks.merge(module, done)
    if any(p.kind == "struct_ops" for p in todo):
        from .kinds.struct_ops import add_variables

        with _placed(todo):
            add_variables(module, ktypes, todo, names)
    return module


@contextmanager
def _placed(programs: list[ProgramDecl]) -> Iterator[None]:
    """Errors about a struct_ops class are at its first method."""
    try:
        yield
    except CompileError as e:
        first = next(p for p in programs if p.kind == "struct_ops")
        raise diag.error(source.of_function(first.fn), None, e.message, e.advice) from None


def _jumped_to(programs: list[ProgramDecl]) -> set[int]:
    """The programs that program arrays hold: each has to stay a program of its own."""
    found: set[int] = set()
    for space in {id(p.fn.__globals__): p.fn.__globals__ for p in programs}.values():
        for value in list(space.values()):
            if isinstance(value, ProgArray):
                found |= {id(p) for p in value.programs.values()}
    return found


def _program(unit: Unit, p: ProgramDecl, name: str, merge_syscalls: bool) -> tuple[hooks.Hook, ir.Function]:
    hook = _hook(p, unit, merge_syscalls)
    for variable, m in p.targets():
        unit.map(m, variable)
    before = len(unit.module.functions)
    try:
        out = subprograms.program(unit, p, hook, name)
    except subprograms.NeedsContext:
        # the dispatcher of merged system calls has no context to give: a program of its own then
        del unit.module.functions[before:]
        unit.subprograms.clear()
        hook = _hook(p, unit, False)
        out = subprograms.program(unit, p, hook, name)
    unit.module.functions.append(out)
    text = source.of_function(p.fn)
    unit.module.sources[text.file] = text.lines
    return hook, out


def _hook(p: ProgramDecl, unit: Unit, merge_syscalls: bool) -> hooks.Hook:
    try:
        return hooks.Hook.for_program(p, unit.ktypes, merge_syscalls)
    except CompileError as e:
        if e.file:
            raise
        raise _at_decorator(p, e) from None


def _at_decorator(p: ProgramDecl, e: CompileError) -> CompileError:
    """The error at the decorator, which says what the hook is."""
    src = source.of_function(p.fn)
    decorators = src.node.decorator_list
    return diag.error(src, decorators[0] if decorators else None, e.message, e.advice)
