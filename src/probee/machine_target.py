"""`bp.Machine`, and the target "machine" of `bp.attach`: programs in a user-space machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .btf import Btf
from .errors import CompileError, ObjectError, ProbeeError
from .isa.sections import SECTIONS, match
from .lang.decl import ProgramDecl, Struct, Var, programs_in, symbols
from .machine.machine import Machine as Bare
from .machine.memory import DEFAULT_SIZE
from .machine.types import Types
from .obj import read_object
from .session import _gather, on_attach, on_close


class Machine(Bare):
    """Programs in a user-space machine: no kernel, no privileges, nothing outside of this process.

    `what` is what `bp.attach` takes: programs (decorated functions), modules and classes, paths of Python
    files and of BPF objects (clang's, too); without any, the calling module. While it is open, the maps and
    globals that the programs declare stand for the machine's. The rest is in `machine.machine.Machine`.
    """

    def __init__(
        self,
        *what: Any,
        btf: str | os.PathLike[str] | Btf | None = None,
        cpus: int = 1,
        seed: int = 0,
        engine: str = "auto",
        memory: int = DEFAULT_SIZE,
        values: Mapping[str, Any] | None = None,
        kconfig: str = "",
        merge_syscalls: bool = True,
        cache: bool = True,
        _caller: dict[str, Any] | None = None,
    ) -> None:
        """`merge_syscalls` and `cache` are as in `bp.attach`. Raises CompileError and what loading raises."""
        caller = sys._getframe(1).f_globals if _caller is None else _caller
        programs: list[ProgramDecl] = []
        objects: list[str] = []
        if what or programs_in(caller):
            programs, objects = _gather(what, caller)
        super().__init__(btf=btf, cpus=cpus, seed=seed, engine=engine, memory=memory)
        self.stats: dict[str, int] = {}
        self.debugger: Any = None
        self._coverage: Any = None
        given = dict(values or {})
        try:
            if programs:
                self._add_programs(programs, merge_syscalls, cache, given, kconfig)
            for path in objects:
                try:
                    self.load(path, values=given, kconfig=kconfig)
                except ObjectError as error:
                    raise ObjectError(f"{path}: {error}") from None
        except BaseException:
            self.close()
            raise
        for listen in on_machine:
            listen(self)

    @property
    def coverage(self) -> Any:
        """What ran by source lines and branches, from the first use of this on: see `debug.coverage`."""
        if self._coverage is None:
            from .debug.coverage import Coverage

            self._coverage = Coverage()
            self._coverage.watch(self)
        return self._coverage

    def debug(self) -> None:
        """Stop in the debugger at the next instruction of any program, as `breakpoint()` does in Python."""
        from .debug.launch import debug

        debug(self)

    def _add_programs(
        self, programs: list[ProgramDecl], merge: bool, cached: bool, given: dict[str, Any], kconfig: str
    ) -> None:
        from . import cache
        from .lang.cachekey import fingerprint

        cached = cached and not self.types.key.startswith("object ")
        given_build = {"debug": build} if build else {}
        key, decls = fingerprint(programs, merge_syscalls=merge, types=self.types.key, **given_build)
        data = cache.load(key) if cached else None
        self.stats["from_cache"] = int(data is not None)
        if data is None:
            data = _compile(programs, merge, self.types, build)
            if cached:
                cache.store(key, data)
        values: dict[str, Any] = {}
        classes: dict[str, type] = {}
        for decl in decls:
            if isinstance(decl, Var):
                initial = decl.initial()
                if initial is not None:
                    values[decl.name] = initial
                continue
            for of in (decl.key, decl.value):
                if isinstance(of, type) and issubclass(of, Struct):
                    classes[of.__name__] = of
        spec = read_object(data, programs[0].fn.__module__.rpartition(".")[2])
        if spec.debug is None:
            spec.debug = lambda: _compile(programs, merge, self.types, "names")
        values.update({name: value for name, value in given.items() if name in spec.globals})
        like = {p.name: _type_of(p.args[1]) for p in programs if p.kind == "freplace" and p.args[1]}
        collection = self.load(spec, values=values, classes=classes, kconfig=kconfig, like=like)
        self.bind_declarations(decls, collection)
        named = symbols(programs).items()
        self.declared.update({p: collection.programs[n] for n, p in named if n in collection.programs})

    def close(self) -> None:
        """Give everything back. Doing it again does nothing."""
        if not self.closed:
            super().close()
            if self in playing:
                playing.remove(self)
            for report in on_close:
                report(self)  # type: ignore[arg-type]

    def __enter__(self) -> Machine:
        super().__enter__()
        return self


def _type_of(section: str) -> int:
    found = match(section)
    return SECTIONS[found[0]][0] if found is not None else 0


def _compile(programs: list[ProgramDecl], merge: bool, types: Types, debug: str = "") -> bytes:
    from .lang import compile
    from .lang.ktypes import KernelTypes

    def types_for_once() -> KernelTypes:
        return KernelTypes(types.btf, arch=types.arch, formats=types.fields, events=types.events)

    try:
        return compile(programs, ktypes=types_for_once(), merge_syscalls=merge, debug=debug)
    except CompileError:
        if debug != "slots":
            raise
    # with memory for each variable, the stack may be too small
    return compile(programs, ktypes=types_for_once(), merge_syscalls=merge, debug="names")


# How machines compile Python programs: "" as for the kernel, "slots" for debuggers (see lang.llvm.emit).
build = ""

on_machine: list[Callable[[Machine], object]] = []  # called with each machine once its programs are loaded

# What fires the events of a machine that `bp.attach` makes; `probee run --machine` sets it. It is given the
# machine and the globals of the module that attaches.
scenario: Callable[[Machine, dict[str, Any]], object] | None = None
playing: list[Machine] = []  # those that have such a scenario


def attach(what: tuple[Any, ...], caller: dict[str, Any], merge_syscalls: bool, cache: bool) -> Machine:
    """What `bp.attach` does for the target "machine"."""
    machine = Machine(*what, merge_syscalls=merge_syscalls, cache=cache, _caller=caller)
    if scenario is not None:
        machine.scenario = play(scenario(machine, caller))
        playing.append(machine)
    for listen in on_attach:
        listen(machine)  # type: ignore[arg-type]
    return machine


def play(steps: object) -> Iterator[object]:
    """The steps of a scenario: a generator, or what a function returned that fired all its events."""
    if hasattr(steps, "__next__"):
        yield from steps  # type: ignore[misc]


def events_scenario(path: str) -> Callable[[Machine], object]:
    """A scenario from a file of JSON lines (or one JSON list): each an object with `event` and its fields.

    `{"event": "sched:sched_process_exec", "pid": 7, "filename": "/bin/ls"}` fires that. `"task"` says who
    runs, as `{"pid": 7, "comm": "sh"}`; `"syscall": "openat"` instead of `event` makes a whole call, with
    `ret`; `"after_ms"` moves the clock before it. Raises ProbeeError for other files.
    """
    import json

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ProbeeError(f"can't read {path}: {error.strerror}") from None
    try:
        whole = text.lstrip().startswith("[")
        events = (
            json.loads(text) if whole else [json.loads(line) for line in text.splitlines() if line.strip()]
        )
    except ValueError as error:
        raise ProbeeError(f"{path} is no JSON: {error}") from None
    for number, event in enumerate(events, 1):
        if not isinstance(event, dict) or not ({"event", "syscall"} & event.keys()):
            raise ProbeeError(f"{path}: event {number} is no object with an `event` or a `syscall`")
    return lambda machine: _fire_all(machine, events)


def _fire_all(machine: Machine, events: list[dict[str, Any]]) -> Iterator[object]:
    for event in events:
        fields = dict(event)
        task, after = fields.pop("task", None), fields.pop("after_ms", 0)
        if task is not None:
            machine.current = machine.task(**task)
        if after:
            machine.clock.advance(ms=after)
        args = fields.pop("args", [])
        if "syscall" in fields:
            machine.syscall(fields.pop("syscall"), *args, **fields)
        else:
            machine.fire(fields.pop("event"), *args, **fields)
        yield event
