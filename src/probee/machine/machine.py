"""`Machine`: BPF programs in user space, without a kernel and without privileges.

with bp.Machine(execsnoop) as m:
    m.fire("sched:sched_process_exec", pid=7, filename="/bin/ls")
    assert [e.filename for e in m.read(execs)] == ["/bin/ls"]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..btf import Btf
from ..btf.kinds import FUNC, VAR
from ..errors import ProbeeError, Unsupported
from ..obj import ObjectSpec, read_object
from .code import CODE_BASE
from .contexts.base import Context
from .fire_calls import Calls
from .helpers.services import Services
from .kernel_memory import Kernel, Object, User
from .load import Collection, Loader, Program
from .memory import DEFAULT_SIZE, Memory, Region
from .types import Types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .interleave import Interleaved

ENGINES = {
    "auto": "auto",
    "interpreter": "interpret",
    "jit": "jit-checked",
    "verified": "jit-verified",
    "step": "step",
}
_OWN_KFUNC = 1 << 30  # numbers of kernel functions that the BTF does not have


class Machine(Calls):
    """A machine with programs in it; a context manager.

    `programs`, `maps` are by name, `globals` are those of its object. `kernel` and `user` are the memory that
    programs look at; `current` is the task that runs. Events come from `fire` and its relatives; `read` takes
    what programs wrote to a ring buffer, `trace_pipe` is what they printed.
    """

    _memory_type: type[Memory] = Memory
    _services_type: type[Services] = Services

    def __init__(
        self,
        spec: ObjectSpec | Iterable[ObjectSpec] = (),
        *,
        btf: str | os.PathLike[str] | Btf | None = None,
        cpus: int = 1,
        seed: int = 0,
        engine: str = "auto",
        memory: int = DEFAULT_SIZE,
        values: Mapping[str, Any] | None = None,
        kconfig: str = "",
        types: Types | None = None,
    ) -> None:
        """A machine with the programs of some objects; `probee.Machine` takes what `bp.attach` takes.

        `btf` are the kernel types to go by: a file's; by default the running kernel's, or those that come
        with probee. `cpus` is the number of CPUs, `seed` what randomness starts from. `engine` is "auto",
        "interpreter", "jit" (checks every access), "verified" (trusts the verifier) or "step". `memory` is
        the size of the address space in bytes, 256 MiB by default and 2 GiB at most; pages are taken from the
        system as they are used. `values` sets globals before programs are loaded, `kconfig` are lines
        `CONFIG_X=y`. Raises LoadError, ObjectError, MapError.
        """
        if engine not in ENGINES:
            raise ProbeeError(f"there is no engine {engine!r}; there are {', '.join(ENGINES)}")
        if not 1 <= cpus <= 128:
            raise ProbeeError(f"a machine has 1 to 128 CPUs, not {cpus}")
        self.types = types or Types(btf)
        self.btf = self.types.btf
        self.arch = self.types.arch
        self.seed = seed
        self.engine = engine
        try:
            self.memory = self._memory_type(memory)
        except ValueError as error:
            raise ProbeeError(f"memory={memory}: {error}") from None
        self.kernel = Kernel(self.memory, self.btf)
        self.user = User(self.memory)
        self.services = self._services_type(
            self.memory, cpus=cpus, seed=seed, kernel=self.kernel, btf=self.btf, engine=ENGINES[engine]
        )
        self.services.kernel_sockets = self.register_sockets
        self.cpus = self.services.cpus
        self.cpu = self.cpus[0]
        self.clock = self.services.clock
        self.trace_pipe = self.services.printed
        self.sequences = self.services.sequences
        self.paths = self.services.paths
        self.collections: list[Collection] = []
        self.programs: dict[str, Program] = {}
        self.maps: dict[str, Any] = {}
        self.links: list[Any] = []
        self.sockets: dict[int, Object] = {}
        self.closed = False
        self.scenario: Iterator[object] | None = None
        self._shared: dict[str, Object] = {}
        self._next_code = CODE_BASE
        self._variables: dict[str, Region] = {}
        self._callbacks: dict[str, Callable[[Any], object]] = {}
        self._declared: list[tuple[Any, Any, Any]] = []
        self.declared: dict[Any, Program] = {}  # programs by their declarations
        self.lane: Any = None  # of the event that is being fired to run together with others
        self._current: Object | None = None
        self._drops: dict[str, int] = {}
        try:
            for one in [spec] if isinstance(spec, ObjectSpec) else spec:
                self.load(one, values=values or {}, kconfig=kconfig)
        except BaseException:
            self.close()
            raise

    # ---- loading

    def load(
        self,
        spec: ObjectSpec | str | os.PathLike[str],
        *,
        values: Mapping[str, Any] = {},
        classes: dict[str, type] | None = None,
        kconfig: str = "",
        like: Mapping[str, int] = {},
    ) -> Collection:
        """Add the programs of an object (or of the object file at a path).

        `like` are the types of programs that replacements (freplace) stand in for, by the replacement's name.
        """
        self._check_open()
        if not isinstance(spec, ObjectSpec):
            path = os.fspath(spec)
            try:
                with open(path, "rb") as file:
                    data = file.read()
            except OSError as error:
                raise ProbeeError(f"can't read {path}: {error.strerror}") from None
            spec = read_object(data, os.path.basename(path).partition(".")[0])
        collection = Loader(self, spec, values=values, classes=classes, kconfig=kconfig, like=like).load()
        self.collections.append(collection)
        self.programs.update(collection.programs)
        self.maps.update(collection.maps)
        return collection

    def bind_declarations(self, decls: Iterable[Any], collection: Collection) -> None:
        """Let declared maps and globals of a Python module stand for the machine's."""
        for decl in decls:
            live = collection.globals if hasattr(decl, "initial") else collection.maps.get(decl.name)
            if live is not None:
                self._declared.append((decl, decl._live, live))
                decl._live = live
                if hasattr(live, "output") and getattr(decl, "value", None) is not None:
                    live.of = decl.value.__name__  # records of a perf event array

    def next_code(self, size: int) -> int:
        """Code addresses for another program."""
        base, self._next_code = self._next_code, self._next_code + size
        return base

    def variable(self, name: str, typed: bool = True) -> int | None:
        """The address of a kernel variable, made when first asked for; None if the BTF does not have it."""
        found = self._variables.get(name)
        if found is None:
            id = self.btf.find(name, VAR)
            if id is None and typed:
                return None
            size = self.btf.size_of(self.btf.type(id).type) if id is not None else 8
            found = self._variables[name] = self.kernel.alloc(max(8, size), name)
            if id is not None:
                type = self.btf.strip(self.btf.type(id).type)
                self.kernel.objects[found.address] = Object(self.kernel, found.address, type)
        return found.address

    def ksym(self, name: str) -> Any:
        """A kernel variable as an object to set fields of: `m.ksym("init_task").pid = 0`."""
        address = self.variable(name)
        if address is None:
            raise ProbeeError(f"the machine's BTF has no variable {name}")
        return self.kernel.objects[address]

    def kfunc_number(self, name: str, weak: bool = False) -> int | None:
        """The number that programs call a kernel function by; None for a weak one that the BTF has not."""
        id = self.btf.find(name, FUNC)
        names = self.services.kfunc_names
        if id is None:
            if weak and name not in self.services._mocks:
                return None
            known = next((number for (number, _), own in names.items() if own == name), None)
            id = _OWN_KFUNC + len(names) if known is None else known
        names[id, 0] = name
        return id

    def helper(self, name: str, function: Callable[..., Any] | None) -> None:
        """Let `function` stand for a helper or kernel function: a mock; None takes it away.

        It gets the arguments as unsigned numbers, as many as it takes, and returns r0 (None is 0).
        """
        if function is None:
            self.services.mock(name, None)
            return
        mock, most = function, _takes(function)
        self.services.mock(name, lambda *args: mock(*args[:most]))

    # ---- running

    @property
    def current(self) -> Object:
        """The task that runs: the one programs see as current."""
        if self._current is None:
            self._current = self.task(pid=1000, comm="test", ppid=1, uid=0)
        return self._current

    @current.setter
    def current(self, task: Object) -> None:
        self._current = task

    def run(self, program: Program, context: Context, *, cpu: int | None = None) -> int:
        """Run a program on a context; returns r0, unsigned. Raises Fault, Unsupported."""
        self._check_open()
        if self.lane is not None:
            lane, self.lane = self.lane, None
            found: int = lane.wait(program, context, self._task())
            return found
        on = self.cpus[self.cpu.number if cpu is None else cpu]
        on.task = self._task()
        services = self.services
        services.enter(on, context)
        program.runs += 1
        try:
            r0 = on.run(program.code, context.address)
        except ProbeeError as error:
            on.locks.clear()
            services.contexts.pop(context.address, None)
            why = program.poisoned.get(getattr(error, "index", -1))
            if why is not None:
                raise Unsupported(f"{program.name}: {why}", feature=why) from error
            raise
        services.leave(on)
        return r0

    def interleave(
        self,
        *events: Callable[[], Any],
        seed: int | None = None,
        schedule: Iterable[int | tuple[int, int]] | None = None,
    ) -> Interleaved:
        """Let events happen at the same time, one on each CPU, instruction by instruction in turn.

            m.interleave(lambda: m.fire("sched_switch", …), lambda: m.xdp(packet), seed=7)

        Each event is a function that fires one; if several programs are attached to it, the first runs with
        those of the others. The order comes from `seed`, or is given: `schedule=[0, 0, 1, (0, 5)]` names the
        CPU of each instruction. Returns the events' results; its `order` repeats the run as `schedule`.

        Raises Deadlock when all wait for locks, and what a program or an event raises.
        """
        from .interleave import interleave

        return interleave(self, events, seed=seed, schedule=schedule)

    def _task(self) -> Any:
        """What helpers tell of the current task: what its object says now."""
        task = self.current
        record = self.services.tasks.task_at(int(task))
        if record is None:
            record = self.services.tasks.new(task.pid, object=task)
        record.pid, record.tgid, record.comm = task.pid, task.tgid, task.comm.encode()
        cred = task.cred
        if isinstance(cred, Object):
            record.uid, record.gid = cred.uid.val, cred.gid.val
        return record

    # ---- reading

    @property
    def globals(self) -> Any:
        """The globals of the machine's object, as attributes."""
        if len(self.collections) != 1:
            raise ProbeeError(f"this machine has {len(self.collections)} objects; use collections[i].globals")
        return self.collections[0].globals

    def map(self, of: Any) -> Any:
        """A live map by its declaration, its name, or itself."""
        self._check_open()
        name = of if isinstance(of, str) else of.name
        found = self.maps.get(name)
        if found is None:
            raise ProbeeError(f"the machine has no map {name!r}; it has {', '.join(self.maps) or 'none'}")
        return found

    def read(self, buffer: Any) -> list[Any]:
        """The records of a ring buffer (or perf event array) that are there now, and they are gone then."""
        live = self.map(buffer)
        if not hasattr(live, "consume"):
            raise ProbeeError(f"{live.name!r} is no buffer of records: read it as the mapping it is")
        out: list[Any] = live.consume()
        return out

    def on(self, buffer: Any, callback: Callable[[Any], object]) -> None:
        """Have `poll` call `callback` with each record of a ring buffer."""
        self._callbacks[self.map(buffer).name] = callback

    def poll(self, timeout: float | None = None) -> int:
        """Hand the records that are there to the callbacks; lets the scenario go on if there are none."""
        if not self._callbacks:
            raise ProbeeError("no callbacks: add one with on(buffer, callback)")
        while True:
            done = sum(self.map(name).dispatch(callback) for name, callback in self._callbacks.items())
            if done or not self.advance():
                return int(done)

    def events(
        self, *buffers: Any, duration: float | None = None, idle: Callable[[], object] | None = None
    ) -> Iterator[Any]:
        """The records of the ring buffers given (default: all), as long as the scenario makes some."""
        rings = [self.map(b) for b in buffers] or [m for m in self.maps.values() if hasattr(m, "consume")]
        if not rings:
            raise ProbeeError("these programs have no ring buffer; read their maps instead")
        while not self.closed:
            for ring in rings:
                yield from ring.consume()
            if idle is not None:
                idle()
            if not self.advance():
                return

    def __iter__(self) -> Iterator[Any]:
        return self.events()

    def advance(self) -> bool:
        """Let the scenario make its next step; False if it is over."""
        if self.scenario is None or self.closed:
            return False
        try:
            next(self.scenario)
        except StopIteration:
            self.scenario = None
            return True  # the last step may have left records
        return True

    @property
    def drops(self) -> dict[str, int]:
        """How many records of each ring buffer were lost because it was full. Readable after `close`, too."""
        if not self.closed:
            for collection in self.collections:
                for name in collection.spec.globals:
                    if name.startswith("__dropped_"):
                        self._drops[name.removeprefix("__dropped_")] = collection.globals[name]
        return self._drops

    @property
    def dropped(self) -> int:
        """How many records were lost in all."""
        return sum(self.drops.values())

    # ---- end

    def _check_open(self) -> None:
        if self.closed:
            raise ProbeeError("the machine is closed")

    def close(self) -> None:
        """Give everything back. Doing it again does nothing."""
        if self.closed:
            return
        _ = self.drops  # counted while the programs' memory is there
        self.closed = True
        for decl, before, live in reversed(self._declared):
            if decl._live is live:
                decl._live = before
        for collection in self.collections:
            collection.close()

    def __enter__(self) -> Machine:
        self._check_open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<machine: {', '.join(self.programs) or 'no programs'}{' (closed)' if self.closed else ''}>"


def _takes(function: Callable[..., Any]) -> int:
    """How many arguments by position a function takes, 5 at most."""
    from inspect import Parameter, signature

    try:
        parameters = signature(function).parameters.values()
    except (TypeError, ValueError):
        return 5
    if any(p.kind is Parameter.VAR_POSITIONAL for p in parameters):
        return 5
    return sum(p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for p in parameters)
