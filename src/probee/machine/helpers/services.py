"""What programs can reach in the machine: memory, maps, helpers, kfuncs, the clock, tasks, CPUs, sockets.

`Services` is the environment (`env.Env`) that programs run in. A machine puts its contexts in with `enter`,
and tests change what helpers tell: `clock`, `tasks`, `random`, `symbols`, `routes`, `sockets`, `mock`.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from ...errors import ProbeeError, Unsupported
from ...isa.tables import HELPERS
from ..clock import Clock
from ..cpus import MachineCpu
from ..maps.base import Home, Map
from ..maps.calls import MapCalls
from ..maps.describe import Description
from ..maps.holders import ProgArray
from ..memory import Fault, Memory
from ..tasks import Task, Tasks
from ..timers import Timers
from .table import all_helpers

if TYPE_CHECKING:
    from ...btf import Btf
    from ..code import Code
    from ..env import Helper
    from ..kernel_memory import Kernel
    from ..maps.base import Attributes, Layout
    from ..maps.fields import Fields
    from .sockets import Sockets

_NAMES = {number: name for name, (number, _) in HELPERS.items()}
_LL_OFFSET, _NET_OFFSET = -0x200000, -0x100000  # SKF_LL_OFF, SKF_NET_OFF: linux/filter.h
_U64 = (1 << 64) - 1


class Call:
    """A call that was made: the helper's or kfunc's name, its arguments as numbers, r0, and the CPU."""

    __slots__ = ("args", "cpu", "name", "result")

    def __init__(self, name: str, args: tuple[int, ...], result: int, cpu: int) -> None:
        self.name = name
        self.args = args
        self.result = result
        self.cpu = cpu

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(map(hex, self.args))}) = {self.result}"


class Services:
    """The environment of a machine with `cpus` CPUs. `seed` makes random numbers the same in each run.

    `printed` is what programs wrote to the trace pipe, `signals` what they sent as (signal, task, thread
    only), `calls` all calls once `record()` was called, `symbols` addresses by kernel symbol. `kernel`
    makes kernel objects, for tasks and cgroups too.
    """

    def __init__(
        self,
        memory: Memory | None = None,
        *,
        cpus: int = 1,
        seed: int = 0,
        kernel: Kernel | None = None,
        btf: Btf | None = None,
        engine: str = "auto",
    ) -> None:
        self.memory = memory or Memory()
        self.home = Home(self.memory, cpus)
        self.maps_by_address: dict[int, Map] = {}
        self.syscalls = MapCalls(self.home)
        self.clock = Clock()
        self.random = Random(seed)
        self.home.random = lambda: self.random.getrandbits(32)
        self.home.dropped = self._dropped
        if btf is not None:
            self.home.describe = Description(btf).of
        self.kernel = kernel
        self.btf = btf
        self.tasks = Tasks(self.memory, kernel)
        self.symbols: dict[str, int] = {}
        self.paths: dict[int, str] = {}
        self.per_cpu: dict[int, list[int]] = {}
        self.locks: dict[int, int] = {}  # address -> CPU
        self.printed: list[str] = []
        self.signals: list[tuple[int, Task, bool]] = []
        self.sequences: dict[int, bytearray] = {}  # seq_file's address -> what was written
        self.contexts: dict[int, Any] = {}
        self.codes: list[Code] = []
        self.types_of: dict[int, Btf] = {}  # the types of a program's object, by the address of its code
        self.trees: dict[int, list[int]] = {}  # nodes in order, by the tree's root
        self.calls: list[Call] = []
        self.objects: dict[int, Any] = {}  # what kfuncs made, by address
        self.routes: list[dict[str, Any]] = []
        self.mtus: dict[int, int] = {}
        self.hashes: dict[int, tuple[int, bytes]] = {}  # of files as IMA has them: algorithm and digest
        self.cookie_net = 1
        self._recording = False
        self._mocks: dict[str, Callable[..., Any]] = {}
        self._helpers: dict[int, Helper] = {}
        self._kfuncs: dict[tuple[int, int], Helper] = {}
        self.kfunc_names: dict[tuple[int, int], str] = {}
        self._sockets: Sockets | None = None
        self.kernel_sockets: Callable[[], object] = lambda: (
            None
        )  # makes those of the kernel known to `sockets`
        self.cpus = [MachineCpu(self, number, engine=engine) for number in range(cpus)]
        self.timers = Timers(self.memory, self.clock, self.cpu)
        self.syscalls.resolvers["task"] = self.tasks.by_pid.get
        self.syscalls.resolvers["cgroup"] = self.tasks.cgroup_by_id
        self.syscalls.resolvers["task_at"] = self.tasks.task_at
        self.syscalls.resolvers["cgroup_at"] = self.tasks.cgroup_at
        self.syscalls.resolvers["socket_at"] = lambda address: self.sockets.at(address)
        self.syscalls.paths["cgroup"] = self.tasks.cgroup

    # ---- for machines

    def cpu(self, number: int) -> MachineCpu:
        """A CPU. Raises IndexError if there is none with that number."""
        return self.cpus[number]

    @property
    def sockets(self) -> Sockets:
        """The simulated sockets."""
        if self._sockets is None:
            from .sockets import Sockets

            self._sockets = Sockets(self)
            self._sockets.before_search = self.kernel_sockets
            self.syscalls.resolvers["socket"] = self._sockets.by_fd
        return self._sockets

    def create_map(self, attributes: Attributes) -> Map:
        """A new map, known to programs by its address and to `syscalls` by its id.

        Raises OSError as BPF_MAP_CREATE does.
        """
        from ..maps import create

        made = create(attributes, self.home)
        self.add_map(made)
        return made

    def add_map(self, m: Map) -> int:
        """A descriptor of a map."""
        self.maps_by_address[m.address] = m
        return self.syscalls.register("map", m)

    def enter(self, cpu: MachineCpu, context: Any) -> None:
        """A program is about to run on a CPU with a context."""
        cpu.context = context
        cpu.retval = 0
        if context is not None:
            self.contexts[context.address] = context
            cpu.retval = context.facts.get("retval", 0)

    def leave(self, cpu: MachineCpu) -> None:
        """The program is over. Raises ProbeeError if it holds locks or leaves RCU sections open."""
        context, cpu.context = cpu.context, None
        if context is not None:
            self.contexts.pop(context.address, None)
            if cpu.retval:
                context.facts["retval"] = cpu.retval
        held, cpu.locks = cpu.locks, []
        for lock in held:
            self.locks.pop(lock, None)
        nested = [name for name in ("rcu", "preempt", "irq") if getattr(cpu, name)]
        cpu.rcu = cpu.preempt = 0
        cpu.irq.clear()
        if held or nested:
            what = ["a lock"] * bool(held) + nested
            raise ProbeeError(f"the program ended and still holds {', '.join(what)}")

    def abandon(self, cpu: MachineCpu) -> None:
        """A program ended in an error: what it held is free again."""
        for lock in cpu.locks:
            self.locks.pop(lock, None)
        cpu.locks.clear()
        cpu.irq.clear()
        cpu.rcu = cpu.preempt = 0

    def context_at(self, cpu: MachineCpu, address: int) -> Any:
        """The context that a helper was given. Raises Fault if it is none."""
        found = self.contexts.get(address)
        if found is None:
            found = cpu.context
            if found is None:
                raise Fault(f"{address:#x} is no context", address=address)
        return found

    def map_at(self, address: int) -> Map:
        """The map with a handle. Raises Fault."""
        found = self.maps_by_address.get(address)
        if found is None:
            raise Fault(f"{address:#x} is no map", address=address)
        return found

    def _dropped(self, m: Map, value: int, fields: Fields) -> None:
        self.timers.drop(m, value, fields)
        from ..kfuncs import drop_fields

        drop_fields(self, value, fields)

    # ---- mocks and records

    def mock(self, name: str, function: Callable[..., Any] | None) -> None:
        """Let a function stand for a helper or kfunc; None takes it away again.

        It is called with the helper's arguments as unsigned numbers, as many as the helper has, and returns
        r0 (None is 0).
        """
        word = name.removeprefix("bpf_")
        key = word if word in HELPERS else name
        if function is None:
            self._mocks.pop(key, None)
        else:
            self._mocks[key] = function
        self._helpers.clear()
        self._kfuncs.clear()

    def record(self, on: bool = True) -> list[Call]:
        """Keep all calls of helpers and kfuncs in `calls` from now on, or no longer. Returns `calls`."""
        self._recording = on
        self._helpers.clear()
        self._kfuncs.clear()
        return self.calls

    def _recorded(self, name: str, function: Helper, count: int) -> Helper:
        calls = self.calls

        def call(cpu: Any, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
            result = function(cpu, r1, r2, r3, r4, r5)
            calls.append(Call(name, (r1, r2, r3, r4, r5)[:count], result, cpu.number))
            return result

        return call

    # ---- the protocol of the engines

    def helper(self, number: int) -> Helper:
        found = self._helpers.get(number)
        if found is None:
            name = _NAMES.get(number)
            if name is None:
                raise Unsupported(f"there is no helper {number}", feature=f"helper {number}")
            found = self._mocked(name, _argument_count(name)) or all_helpers().get(name)
            if found is None:
                found = _unset(name)
            if self._recording:
                found = self._recorded(name, found, _argument_count(name))
            self._helpers[number] = found
        return found

    def kfunc(self, number: int, module: int) -> Helper:
        found = self._kfuncs.get((number, module))
        if found is None:
            name = self.kfunc_name(number, module)
            found = self.kfunc_by_name(name)
            if self._recording:
                found = self._recorded(name, found, 5)
            self._kfuncs[number, module] = found
        return found

    def kfunc_name(self, number: int, module: int) -> str:
        """The name of a kernel function by its BTF id. Raises Unsupported."""
        name = self.kfunc_names.get((number, module))
        if name is None and self.btf is not None and not module and 0 < number < len(self.btf):
            name = self.btf.type(number).name
        if not name:
            raise Unsupported(f"there is no kernel function {number}", feature=f"kfunc {number}")
        return name

    def kfunc_by_name(self, name: str) -> Helper:
        """What a call of a kernel function does."""
        from ..kfuncs import TABLE as KFUNCS

        return self._mocked(name, 5) or KFUNCS.get(name) or _unset(name)

    def _mocked(self, name: str, count: int) -> Helper | None:
        mock = self._mocks.get(name)
        if mock is None:
            return None

        def call(cpu: Any, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
            return int(mock(*(r1, r2, r3, r4, r5)[:count]) or 0)

        return call

    def tail_call(self, cpu: Any, map_address: int, index: int) -> Code | None:
        m = self.map_at(map_address)
        if not isinstance(m, ProgArray) or index >= m.max_entries:
            return None
        found = m.item(index)
        code: Code | None = getattr(found, "code", found)
        return code

    def packet_load(self, cpu: Any, ctx: int, offset: int, size: int) -> int | None:
        packet = self.context_at(cpu, ctx).packet
        if packet is None:
            raise Unsupported("the context has no packet", feature="LD_ABS")
        if offset < 0:
            if offset < _LL_OFFSET:
                return None
            network = offset >= _NET_OFFSET
            offset += packet.network - _NET_OFFSET if network else packet.link - _LL_OFFSET
        found = packet.read_header(offset, size)
        return None if found is None else int.from_bytes(found, "big")

    def code_at(self, address: int) -> Code | None:
        for code in self.codes:
            if code.index_of(address) >= 0:
                return code
        return None

    @property
    def direct(self) -> bool:
        return not self._recording and "map_lookup_elem" not in self._mocks

    def layout(self, map_address: int) -> Layout | None:
        if not self.direct:
            return None
        m = self.maps_by_address.get(map_address)
        return None if m is None else m.layout()


def _argument_count(name: str) -> int:
    from ...isa.helpers import PROTOTYPES

    prototype = PROTOTYPES[name]
    return 5 if prototype.variadic else len(prototype.parameters)


def _unset(name: str) -> Helper:
    def call(cpu: Any, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
        raise Unsupported(
            f"{name} has no meaning in the machine: say what it does, as machine.helper({name!r}, "
            "lambda *arguments: 0)",
            feature=name,
        )

    return call
