"""Decorators: a function becomes a program that runs on a hook."""

from __future__ import annotations

from .maps import MapDecl
from .refuse import refuse, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import CodeType
    from typing import Any


class ProgramDecl:
    """A function to run on a hook. `kind` is the decorator's name, `args` what it was given.

    | kind | args |
    |---|---|
    | tracepoint | (group, event) |
    | raw_tracepoint, tp_btf | (event,) |
    | perf_event | (event, "freq" or "period", number) |
    | uprobe, uretprobe | (binary, symbol, offset) |

    `pid` limits a uprobe to one process (None: all). `attachment` is what attaches it where the section does
    not say: a method of the live program, and its arguments. `under` is the declaration that this decorator
    was stacked on. `replaces` is the live program that has the function which a freplace program stands in
    for. Calling it calls the Python function.
    """

    __slots__ = ("__weakref__", "args", "attachment", "fn", "kind", "name", "pid", "replaces", "under")

    def __init__(
        self, fn: Callable[..., Any] | ProgramDecl, kind: str, args: tuple[Any, ...], pid: int | None = None
    ) -> None:
        self.under = fn if isinstance(fn, ProgramDecl) else None
        self.fn: Callable[..., Any] = fn.fn if isinstance(fn, ProgramDecl) else fn
        if not hasattr(self.fn, "__code__"):
            raise refuse(f"@{kind} stands on a function, not on {shown(fn)}", "put it directly over a `def`")
        self.kind = kind
        self.args = args
        self.pid = pid
        self.attachment: tuple[str, tuple[Any, ...], dict[str, Any]] | None = None
        self.replaces: Any = None
        depth = len(self.under.expand()) + 1 if self.under else 1
        self.name: str = self.fn.__name__ if depth == 1 else f"{self.fn.__name__}_{depth}"

    @property
    def code(self) -> CodeType:
        code: CodeType = self.fn.__code__
        return code

    @property
    def hook(self) -> str:
        """The hook in words: `tracepoint sched:sched_switch`."""
        words = ":".join(str(a) for a in self.args if a != 0)
        return words if words.partition("/")[0] == self.kind else f"{self.kind} {words}"

    def targets(self) -> list[tuple[str, MapDecl]]:
        """The maps that it is attached to, with the names of their variables."""
        _, args, how = self.attachment or ("", (), {})
        maps = [m for m in (*args, *how.values()) if isinstance(m, MapDecl)]
        variables = self.fn.__globals__.items()
        return [(next((n for n, v in variables if v is m), "map"), m) for m in maps]

    def expand(self) -> list[ProgramDecl]:
        """This program and those it is stacked on, innermost first."""
        return [*(self.under.expand() if self.under else ()), self]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<program {self.name} on {self.hook}>"


def _text(kind: str, what: str, value: object, example: str) -> str:
    if not isinstance(value, str) or not value or any(c.isspace() or c == "\0" for c in value):
        if callable(value):
            raise refuse(f"@{kind} needs the {what}", f"write @{example}")
        raise refuse(f"@{kind}: the {what} is a name, not {value!r}", f"write @{example}")
    return value


def tracepoint(name: str) -> Callable[[Any], ProgramDecl]:
    """Run on a tracepoint, `@tracepoint("sched:sched_switch")`. The parameter's attributes are its fields."""
    example = 'tracepoint("sched:sched_process_exec")'
    group, colon, event = _text("tracepoint", "tracepoint's group and event", name, example).partition(":")
    if not (colon and group.isidentifier() and event.isidentifier()):
        raise refuse(f"@tracepoint: {name!r} is not group:event", f"write for example @{example}")
    return lambda fn: ProgramDecl(fn, "tracepoint", (group, event))


def raw_tracepoint(event: str) -> Callable[[Any], ProgramDecl]:
    """Run on a tracepoint with the kernel's own arguments, `@raw_tracepoint("sched_switch")` (Linux 4.17)."""
    return _raw("raw_tracepoint", event)


def tp_btf(event: str) -> Callable[[Any], ProgramDecl]:
    """Run on a tracepoint with typed, trusted arguments, `@tp_btf("sched_switch")` (Linux 5.5)."""
    return _raw("tp_btf", event)


def _raw(kind: str, event: str) -> Callable[[Any], ProgramDecl]:
    _text(kind, "event", event, f'{kind}("sched_switch")')
    if not event.isidentifier():
        raise refuse(
            f"@{kind}: {event!r} is not an event's name",
            f'give the event without its group: {kind}("sched_switch")',
        )
    return lambda fn: ProgramDecl(fn, kind, (event,))


def perf_event(*, freq: int = 0, period: int = 0, event: str = "cpu-clock") -> Callable[[Any], ProgramDecl]:
    """Sample every CPU: `freq` times a second, or once in `period` events (nanoseconds for clocks).

    `event` is a software or hardware event of perf: cpu-clock, task-clock, page-faults, context-switches,
    cpu-cycles, instructions… With neither `freq` nor `period` it samples at 99 Hz.
    """
    _text("perf_event", "event", event, "perf_event(freq=99)")
    if freq and period:
        raise refuse("@perf_event takes freq or period, not both", "write for example @perf_event(freq=99)")
    for word, number in (("freq", freq), ("period", period)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise refuse(f"@perf_event: {word} is a positive number, not {number!r}")
    args = (event, "period", period) if period else (event, "freq", freq or 99)
    return lambda fn: ProgramDecl(fn, "perf_event", args)


def uprobe(
    binary: str, symbol: str, *, offset: int = 0, pid: int | None = None
) -> Callable[[Any], ProgramDecl]:
    """Run where a function of a program or library starts: `@uprobe("libc", "malloc")`.

    `binary` is a path or a library's name, `offset` bytes into the function, `pid` one process (None: all).
    The parameters are the function's arguments.
    """
    return _uprobe("uprobe", binary, symbol, offset, pid)


def uretprobe(binary: str, symbol: str, *, pid: int | None = None) -> Callable[[Any], ProgramDecl]:
    """Run where a function of a program or library returns. The parameter is the return value."""
    return _uprobe("uretprobe", binary, symbol, 0, pid)


def _uprobe(
    kind: str, binary: str, symbol: str, offset: int, pid: int | None
) -> Callable[[Any], ProgramDecl]:
    example = f'{kind}("libc", "malloc")'
    _text(kind, "program or library", binary, example)
    _text(kind, "function", symbol, example)
    if not isinstance(offset, int) or offset < 0:
        raise refuse(f"@{kind}: the offset is a number of bytes, not {offset!r}")
    if pid is not None and (not isinstance(pid, int) or pid <= 0):
        raise refuse(f"@{kind}: pid is a process id, not {pid!r}")
    return lambda fn: ProgramDecl(fn, kind, (binary, symbol, offset), pid)


def symbols(programs: Iterable[ProgramDecl]) -> dict[str, ProgramDecl]:
    """The programs, and those they are stacked on, by their names in the object: no two have the same."""
    out: dict[str, ProgramDecl] = {}
    for program in programs:
        for p in program.expand():
            name, n = p.name, 1
            while name in out:
                n += 1
                name = f"{p.name}_{n}"
            out[name] = p
    return out


def programs_in(namespace: dict[str, Any]) -> list[ProgramDecl]:
    """The programs of a module's globals, in order, at module level and in the bodies of its classes.

    A function with several decorators is here once, as its outermost: `expand` gives all of them.
    """
    found: dict[int, ProgramDecl] = {}
    module = namespace.get("__name__")
    classes: set[int] = set()  # a class body may hold itself

    def look(space: Iterable[Any]) -> None:
        for value in list(space):
            if isinstance(value, ProgramDecl):
                found[id(value)] = value
            elif isinstance(value, type) and value.__module__ == module and id(value) not in classes:
                classes.add(id(value))
                look(v for k, v in vars(value).items() if k[:2] != "__")

    look(namespace.values())
    inner = {id(p) for outer in found.values() for p in outer.expand()[:-1]}
    return [p for p in found.values() if id(p) not in inner]
