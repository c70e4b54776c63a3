"""The one way in: `attach` compiles or takes from the cache, loads, attaches; `Session` is what lives then.

    with bp.attach() as session:
        for e in execs:
            print(e.pid, e.filename)

Everything is detached and closed when the `with` block ends, however it ends.
"""

from __future__ import annotations

import os
import sys
import time

from .errors import ObjectError, ProbeeError
from .lang.decl import MapDecl, ProgramDecl, RingBuf, Struct, Var, programs_in, symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from select import epoll
    from types import ModuleType
    from typing import Any

    from .kernel.globals import Globals
    from .kernel.links.base import Link
    from .kernel.load import Collection
    from .kernel.maps import Map
    from .kernel.program import Program
    from .obj.spec import ObjectSpec

RINGBUF = 27  # enum bpf_map_type (linux/bpf.h)
_INTERRUPTS = (2, 15)  # SIGINT, SIGTERM
_DROPPED = "__dropped_"  # the compiler's counter of records that found a ring buffer full

# Called with each session once it is attached, and once it has closed. The command line listens.
on_attach: list[Callable[[Session], object]] = []
on_close: list[Callable[[Session], object]] = []
default_target = "kernel"  # of `attach`; `probee run --machine` changes it


def attach(
    *what: ProgramDecl | ModuleType | type | str | os.PathLike[str],
    merge_syscalls: bool = True,
    cache: bool = True,
    catch_interrupt: bool | None = None,
    target: str = "",
) -> Session:
    """Load and attach programs: all of the calling module, or those given.

    `what` is any of: programs (decorated functions), modules and classes (all programs in them), paths of
    Python files (imported; what stands under `if __name__ == "__main__"` does not run) and of BPF objects
    (`.o`). `merge_syscalls` makes one program of all `syscalls:` tracepoints, which costs less and detaches
    at once. `cache=False` compiles anew. `catch_interrupt`: Ctrl-C ends the `with` block without an
    exception; by default so if the calling module is `__main__`. `target` is "kernel", or "machine" for a
    user-space machine (a `bp.Machine`, which needs no privileges and sees only the events it is given).

    Raises `CompileError`, `VerifierError`, `LoadError`, `PermissionDenied`, `AttachError` or `Unsupported`;
    then nothing stays attached.
    """
    caller = sys._getframe(1).f_globals
    if catch_interrupt is None:
        catch_interrupt = caller.get("__name__") == "__main__"
    target = target or default_target
    if target == "machine":
        from .machine_target import attach as attach_machine

        return attach_machine(what, caller, merge_syscalls, cache)  # type: ignore[return-value]
    if target != "kernel":
        raise ProbeeError(f"there is no target {target!r}; there are kernel and machine")
    programs, objects = _gather(what, caller)
    _check_privilege()
    session = Session(catch_interrupt)
    try:
        if programs:
            session._add_programs(programs, merge_syscalls, cache)
        for path in objects:
            session._add_object(path)
        session._attach_all()
    except BaseException:
        session.close()
        raise
    _open.append(session)
    for listen in on_attach:
        listen(session)
    return session


_open: list[Session] = []  # the newest last


def _held_by_others() -> Iterator[tuple[MapDecl | Var, Any]]:
    """What open sessions have bound to declarations, the newest first."""
    for session in reversed(_open):
        yield from session._decls


class Session:
    """Attached programs and what they write. Made by `attach`; a context manager.

    `programs`, `maps` and `links` are live objects, the first two by name; `stats` says what start-up took,
    in ns, and whether the object came from the cache. Several objects in one session share these
    dictionaries; `collections` has them apart.
    """

    __slots__ = (
        "_callbacks",
        "_catch_interrupt",
        "_declared",
        "_decls",
        "_dropped",
        "_epoll",
        "_held",
        "_sleepers",
        "_wake",
        "closed",
        "collections",
        "links",
        "maps",
        "programs",
        "stats",
    )

    def __init__(self, catch_interrupt: bool = False) -> None:
        self.collections: list[Collection] = []
        self.programs: dict[str, Program] = {}
        self.maps: dict[str, Map] = {}
        self.links: list[Link] = []
        self.stats: dict[str, int] = {}
        self.closed = False
        self._catch_interrupt = catch_interrupt
        self._decls: list[tuple[MapDecl | Var, Any]] = []
        self._callbacks: dict[str, Callable[[Any], object]] = {}
        self._held: dict[str, list[Any]] = {}  # taken by `events` and not yet given out, the last first
        self._dropped: dict[str, int] = {}
        self._epoll: epoll | None = None
        self._wake = -1  # an eventfd: what waits in other threads ends when the session closes
        self._sleepers: list[Callable[[], object]] = []  # the same for what waits in asyncio
        self._declared: dict[Program, ProgramDecl] = {}  # what was said of those that are not from objects

    # ---- start ----

    def _add_programs(self, programs: list[ProgramDecl], merge_syscalls: bool, cached: bool) -> None:
        from . import cache
        from .lang.cachekey import fingerprint

        began = time.monotonic_ns()
        key, decls = fingerprint(programs, merge_syscalls=merge_syscalls)
        data = cache.load(key) if cached else None
        self.stats["from_cache"] = int(data is not None)
        if data is None:
            from .lang import compile

            data = compile(programs, merge_syscalls=merge_syscalls)
            if cached:
                cache.store(key, data)
        self.stats["compile_ns"] = time.monotonic_ns() - began
        values = {}
        classes: dict[str, type] = {}
        for decl in decls:
            if isinstance(decl, Var):
                value = decl.initial()
                if value is not None:
                    values[decl.name] = value
            else:
                for of in (decl.key, decl.value):
                    if isinstance(of, type) and issubclass(of, Struct):
                        classes[of.__name__] = of
        replaced = {n: p.replaces for n, p in symbols(programs).items() if p.replaces is not None}

        def named() -> bytes:
            from .lang import compile

            return compile(programs, merge_syscalls=merge_syscalls, debug="names")

        collection = self._load(data, programs[0].fn.__module__, values, classes, replaced, named)
        for name, p in symbols(programs).items():
            if name in collection.programs:  # and not in one with others that are merged
                self._declared[collection.programs[name]] = p
        for decl in decls:
            live = collection.globals if isinstance(decl, Var) else collection.maps.get(decl.name)
            if live is not None:
                decl._live = live
                self._decls.append((decl, live))

    def _add_object(self, path: str) -> None:
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise ProbeeError(f"can't read {path}: {error.strerror}") from None
        try:
            self._load(data, os.path.basename(path).partition(".")[0], {}, {}, {})
        except ObjectError as error:
            raise ObjectError(f"{path}: {error}") from None

    def _load(
        self,
        data: bytes,
        name: str,
        values: dict[str, bytes],
        classes: dict[str, type],
        replaced: dict[str, Program],
        named: Callable[[], bytes] | None = None,
    ) -> Collection:
        """Load an object. `named` makes the same with the names of variables, for explanations."""
        from .obj import read_object

        began = time.monotonic_ns()
        spec = read_object(data, name.rpartition(".")[2])
        spec.debug = spec.debug or named
        for program, target in replaced.items():
            spec.programs[program].target = target
        collection = self._into_kernel(spec, data, values, classes, named)
        self.collections.append(collection)
        self.programs.update(collection.programs)
        self.maps.update(collection.maps)
        self.stats["load_ns"] = self.stats.get("load_ns", 0) + time.monotonic_ns() - began
        return collection

    def _into_kernel(
        self,
        spec: ObjectSpec,
        data: bytes,
        values: dict[str, bytes],
        classes: dict[str, type],
        named: Callable[[], bytes] | None,
    ) -> Collection:
        """Load what an object, whose bytes are `data`, was read as."""
        from .kernel.load import load

        return load(spec, values=values, classes=classes)

    def _attach_all(self) -> None:
        began = time.monotonic_ns()
        for collection in self.collections:
            for program in collection.programs.values():
                _uninterrupted(lambda: self.links.extend(self._attach(program)))  # noqa: B023
            for ops in collection.struct_ops.values():
                _uninterrupted(lambda: self.links.append(ops.attach()))  # noqa: B023
        self.stats["attach_ns"] = time.monotonic_ns() - began

    def _attach(self, program: Program) -> list[Link]:
        """Attach a program to what its decorator says; not at all if that leaves it to the user."""
        declared = self._declared.get(program)
        method, args, how = (declared and declared.attachment) or ("attach", (), {})
        if not method or program.section.startswith("struct_ops"):  # whose class is attached as a whole
            return []
        if declared is not None and declared.pid:
            how = {**how, "pid": declared.pid}
        live = [self.maps[a.name] if isinstance(a, MapDecl) else a for a in args]
        how = {k: self.maps[v.name] if isinstance(v, MapDecl) else v for k, v in how.items()}
        link: Link = getattr(program, method)(*live, **how)
        return [link]

    # ---- reading ----

    @property
    def globals(self) -> Globals:
        """The globals of the session's object, as attributes."""
        if len(self.collections) != 1:
            raise ProbeeError(
                f"this session has {len(self.collections)} objects; use session.collections[i].globals"
            )
        return self.collections[0].globals

    def on(self, buffer: RingBuf | Map | str, callback: Callable[[Any], object]) -> None:
        """Have `poll` call `callback` with each record of a ring buffer."""
        self._check_open()
        self._callbacks[self._ring(buffer).name] = callback

    def poll(self, timeout: float | None = None) -> int:
        """Wait for records of the ring buffers that have a callback, and hand them on.

        `timeout` is in seconds; None waits until there are some. Returns the number of records handed on. An
        exception of a callback comes out here; the next call goes on with the record after.
        """
        self._check_open()
        if not self._callbacks:
            raise ProbeeError(
                "no callbacks: add one with session.on(buffer, callback), or iterate the buffer"
            )
        done = self._dispatch()
        if not done:
            self._wait(timeout)
            done = 0 if self.closed else self._dispatch()
        return done

    def _dispatch(self) -> int:
        return sum([self._ring(name).dispatch(callback) for name, callback in self._callbacks.items()])

    def events(
        self,
        *buffers: RingBuf | Map | str,
        duration: float | None = None,
        idle: Callable[[], object] | None = None,
    ) -> Iterator[Any]:
        """The records of the ring buffers given (default: all), until `duration` seconds are over.

        `idle` is called each time before waiting for more: the place to flush what was printed.
        """
        rings = [self._ring(b) for b in buffers] or self._rings()
        if not rings:
            raise ProbeeError("these programs have no ring buffer; read their maps instead")
        end = time.monotonic() + duration if duration is not None else None
        while not self.closed:
            for ring in rings:
                held = self._held.setdefault(ring.name, [])
                try:
                    held += reversed(ring.consume())
                except ProbeeError:
                    if self.closed:  # by another thread, or while the record before was looked at
                        return
                    raise
                while held:
                    yield held.pop()
            if idle is not None:
                idle()
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            self._wait(left)

    async def _events_async(self) -> AsyncIterator[Any]:
        import asyncio

        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        fd = self.fileno()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(ready.set)

        loop.add_reader(fd, ready.set)
        self._sleepers.append(wake)
        try:
            while not self.closed:
                for ring in self._rings():
                    for record in [] if self.closed else ring.consume():
                        yield record
                ready.clear()
                if not self.closed:
                    await ready.wait()
        finally:
            self._sleepers.remove(wake)
            loop.remove_reader(fd)

    def __iter__(self) -> Iterator[Any]:
        return self.events()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._events_async()

    def printed(self, duration: float | None = None) -> Iterator[str]:
        """The lines that programs print from now on, until `duration` seconds are over.

        The kernel has one stream for all programs, so lines of other sessions come too.
        """
        from select import select

        from .tracepipe import TracePipe

        self.fileno()
        end = time.monotonic() + duration if duration is not None else None
        with TracePipe() as pipe:
            while not self.closed:
                yield from pipe.read()
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return
                if not self.closed:
                    select([pipe.fileno(), self._wake], [], [], left)

    def fileno(self) -> int:
        """A descriptor that is readable while any ring buffer has records: for select, epoll, asyncio."""
        self._check_open()
        if self._epoll is None:
            from select import EPOLLIN, epoll

            self._epoll = epoll()
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            for ring in self._rings():
                self._epoll.register(ring.fd, EPOLLIN)
        return self._epoll.fileno()

    def _wait(self, timeout: float | None) -> None:
        from select import POLLIN, poll

        try:
            waiter = poll()  # and not the epoll itself, which would not notice that it is closed
            waiter.register(self.fileno(), POLLIN)
            waiter.register(self._wake, POLLIN)
            waiter.poll(None if timeout is None else timeout * 1000)
        except (ProbeeError, OSError, ValueError):
            if not self.closed:  # by another thread
                raise

    def _check_open(self) -> None:
        if self.closed:
            raise ProbeeError("the session is closed; bp.attach() makes a new one")

    def _rings(self) -> list[Any]:
        return [m for m in self.maps.values() if m.type == RINGBUF]

    def _ring(self, buffer: RingBuf | Map | str) -> Any:
        name = buffer if isinstance(buffer, str) else buffer.name
        found = self.maps.get(name)
        if found is None or found.type != RINGBUF:
            names = ", ".join(m.name for m in self._rings()) or "none"
            raise ProbeeError(f"{name!r} is no ring buffer of this session; it has {names}")
        return found

    @property
    def drops(self) -> dict[str, int]:
        """How many records of each ring buffer were lost because it was full. Readable after `close`, too."""
        if not self.closed:
            self._count_drops()
        return self._dropped

    def _count_drops(self) -> None:
        for collection in self.collections:
            for name in collection.spec.globals:
                if name.startswith(_DROPPED):
                    self._dropped[name.removeprefix(_DROPPED)] = collection.globals[name]

    @property
    def dropped(self) -> int:
        """How many records were lost in all."""
        return sum(self.drops.values())

    # ---- end ----

    def close(self) -> None:
        """Detach and close everything. Doing it again does nothing. Ctrl-C takes effect after it."""
        if not self.closed:
            _uninterrupted(self._close)

    def _close(self) -> None:
        self.closed = True
        try:
            for link in reversed(self.links):
                link.close()
            self._count_drops()
        finally:
            if self._epoll is not None:
                os.eventfd_write(self._wake, 1)
                for wake in self._sleepers:
                    wake()
                self._epoll.close()
                os.close(self._wake)
            if self in _open:
                _open.remove(self)
            for decl, live in self._decls:
                if decl._live is live:  # else a newer session holds it
                    decl._live = next((theirs for other, theirs in _held_by_others() if other is decl), None)
            for collection in self.collections:
                collection.close()
        for report in on_close:
            report(self)

    def __enter__(self) -> Session:
        self._check_open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        try:
            self.close()
        except KeyboardInterrupt:  # another Ctrl-C
            self.close()
            if not self._catch_interrupt or kind not in (None, KeyboardInterrupt):
                raise
            return True
        return self._catch_interrupt and kind is KeyboardInterrupt

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self.links)} attached"
        return f"<probee session: {', '.join(self.programs)} ({state})>"


def _uninterrupted(work: Callable[[], object]) -> None:
    """Do `work`, which must not end half done. Ctrl-C that comes meanwhile is delivered after it."""
    import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which takes 5 ms

    came: list[tuple[int, Any]] = []
    handlers = {number: _signal.getsignal(number) for number in _INTERRUPTS}
    try:
        for number, handler in handlers.items():
            if callable(handler):
                _signal.signal(number, lambda *signal: came.append(signal))
    except ValueError:  # not the main thread, which is where signals are delivered
        work()
        return
    try:
        work()
    finally:
        for number, handler in handlers.items():
            if callable(handler):
                _signal.signal(number, handler)
        if came:
            handlers[came[0][0]](*came[0])


def _check_privilege() -> None:
    """Say what is missing before compiling anything."""
    from .sys import caps

    if caps.missing(caps.CAP_BPF, caps.CAP_PERFMON):
        raise caps.denied("attaching programs", caps.CAP_BPF, caps.CAP_PERFMON)


def _gather(what: Iterable[Any], caller: dict[str, Any]) -> tuple[list[ProgramDecl], list[str]]:
    """Programs and paths of objects."""
    programs: list[ProgramDecl] = []
    objects: list[str] = []
    for item in what:
        if isinstance(item, ProgramDecl):
            programs.append(item)
        elif isinstance(item, type(sys)):
            programs += _some(programs_in(vars(item)), f"module {item.__name__}")
        elif isinstance(item, type):
            programs += _some(
                programs_in({item.__name__: item, "__name__": item.__module__}), f"class {item.__name__}"
            )
        elif isinstance(item, (str, os.PathLike)):
            path = os.fspath(item)
            if path.endswith(".py"):
                programs += _some(programs_in(vars(import_file(path))), path)
            else:
                objects.append(path)
        elif callable(item):
            raise ProbeeError(
                f"{item.__name__} is a plain function; put a decorator such as @bp.tracepoint(…) over it"
            )
        else:
            raise ProbeeError(f"can't attach {item!r}: give programs, modules, classes, or paths (.py, .o)")
    if not what:
        programs = _some(programs_in(caller), f"module {caller.get('__name__')}")
    return list({id(p): p for p in programs}.values()), objects


def _some(programs: list[ProgramDecl], where: str) -> list[ProgramDecl]:
    if not programs:
        raise ProbeeError(f"{where} has no programs; decorate a function, for example with @bp.tracepoint(…)")
    return programs


def import_file(path: str, name: str = "") -> ModuleType:
    """A Python file as a module; what stands under `if __name__ == "__main__"` runs only if `name` is that.

    While it runs, the module is in `sys.modules` and its folder first on `sys.path`, as for `python FILE`;
    with a `name` they stay there.
    """
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    module = type(sys)(name or os.path.basename(path).removesuffix(".py"))
    module.__file__ = path
    try:
        with open(path, "rb") as file:
            text = file.read()
    except OSError as error:
        raise ProbeeError(f"can't read {path}: {error.strerror}") from None
    try:
        code = compile(text, path, "exec")
    except (MemoryError, RecursionError):
        raise ProbeeError(f"Python can't compile {path}: it is nested too deeply") from None
    except (SyntaxError, ValueError) as error:
        if getattr(error, "filename", None):
            raise
        raise ProbeeError(f"{path} is no Python file: {error}") from None
    before = sys.modules.get(module.__name__)
    sys.modules[module.__name__] = module
    sys.path.insert(0, folder)
    try:
        exec(code, vars(module))
    finally:
        if not name:
            sys.path.remove(folder)
            if before is not None:
                sys.modules[module.__name__] = before
            else:
                del sys.modules[module.__name__]
    return module
