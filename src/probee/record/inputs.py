"""What came in from outside, given back to the programs in the order in which it came."""

from __future__ import annotations

from typing import Any

from ..errors import ProbeeError
from ..isa.helpers import PROTOTYPES
from ..isa.insn import MEMSX
from ..machine.helpers.services import Services
from ..machine.memory import BASE, Memory
from .file import Invocation, Traced
from .sites import CHECKED, LOAD, LOCAL, LOOKUPS, NAMES, STORAGES, Site, out_of, own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..machine.env import Helper
    from ..machine.maps.base import Map

_SENT = ("ringbuf_output", "perf_event_output")
_NEGATIVE = 1 << 31
_TOO_MUCH = 1 << 30  # bytes: no ring buffer has room for them
_U32 = 0xFFFF_FFFF
_HASHES = (1, 5, 9, 10)  # map types that entries can be added to and taken from
_PER_CPU = (5, 6, 10)


class Divergence(ProbeeError):
    """A program did something else than it did when it was recorded."""


class Patch:
    """A value that others had changed: `old` is what the machine had, `seen` what the program saw."""

    __slots__ = ("address", "old", "seen")

    def __init__(self, address: int, old: bytes, seen: bytes) -> None:
        self.address = address
        self.old = old
        self.seen = seen


class Inputs:
    """The inputs of the invocation that runs. `changes` counts what others (user space, other CPUs) had
    changed in maps, as far as programs saw it; `patches` are those of this invocation.
    """

    def __init__(self) -> None:
        self.invocation: Invocation | None = None
        self.position = 0
        self.opaque = False  # the context is not in memory: what is read of it was recorded load by load
        self.changes = 0
        self.patches: list[Patch] = []

    def begin(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.position = 0
        self.opaque = not invocation.traced.context
        self.patches = []

    def peek(self) -> Site | None:
        """The site of the next input."""
        one = self.invocation
        if one is None or self.position >= len(one.inputs):
            return None
        traced, site, _ = one.inputs[self.position]
        return traced.sites[site]

    def take(self, what: str) -> tuple[int, bytes, Site]:
        """The next input, which has to be of that name ("load" for a load). Raises Divergence."""
        site = self.peek()
        if site is None:
            raise Divergence(f"{what}: the recording has no more inputs of this invocation")
        name = site.name or site.kind
        if name != what:
            raise Divergence(f"{what}: the recording has an input from {name} here (instruction {site.slot})")
        assert self.invocation is not None
        data = self.invocation.inputs[self.position][2]
        self.position += 1
        return int.from_bytes(data[:8], "little"), data[8:], site

    def loaded(self, size: int) -> int:
        """The next input, of a load of `size` bytes. Pointers to packets are more than they seem to be; what
        has a sign gets it from the engine.
        """
        assert self.invocation is not None
        before = self.position
        value, _, site = self.take(LOAD)
        code = self.invocation.inputs[before][0].code
        signed = code[8 * site.slot] & 0xE0 == MEMSX
        return value & (1 << 8 * size) - 1 if signed else value

    @property
    def left(self) -> int:
        """How many inputs the invocation has not asked for."""
        return 0 if self.invocation is None else len(self.invocation.inputs) - self.position

    def patch(self, memory: Memory, address: int, seen: bytes) -> None:
        """Have memory hold what the program saw there."""
        old = memory.read(address, len(seen))
        if old != seen:
            self.changes += 1
            self.patches.append(Patch(address, old, seen))
            memory.write(address, seen)


class ReplayMemory(Memory):
    """Memory in which loads from elsewhere give what was recorded."""

    inputs: Inputs | None = None

    def permits(self, address: int, size: int, *, write: bool = False) -> bool:
        if super().permits(address, size, write=write):
            return True
        if write:  # into a packet: loads from there have it recorded
            return self.inputs is not None and self.inputs.opaque and not self._inside(address)
        return self._comes_in(address)

    def store(self, address: int, size: int, value: int) -> None:
        if self._inside(address) or super().permits(address, size, write=True):
            super().store(address, size, value)
        elif not self.permits(address, size, write=True):
            raise self.fault(address, size, write=True)

    def _inside(self, address: int) -> bool:
        return 0 <= address - BASE < self.size

    def load(self, address: int, size: int) -> int:
        if self._comes_in(address) and not super().permits(address, size):
            assert self.inputs is not None
            return self.inputs.loaded(size)
        return super().load(address, size)

    def _comes_in(self, address: int) -> bool:
        if self.inputs is None or self._inside(address):
            return False
        site = self.inputs.peek()
        return site is not None and site.kind == LOAD


class ReplayServices(Services):
    """Helpers and kernel functions that give what was recorded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.inputs = Inputs()
        self.recorded: set[str] = set()  # what is called at sites
        self.storages: dict[tuple[int, int], int] = {}
        assert isinstance(self.memory, ReplayMemory)
        self.memory.inputs = self.inputs

    def learn(self, traced: Traced) -> None:
        """Sites of a program that will run."""
        self.recorded.update(site.name for site in traced.sites if site.name)

    def layout(self, map_address: int) -> None:
        """None: look-ups go by the recording."""
        return None

    def helper(self, number: int) -> Helper:
        name = NAMES.get(number, "")
        if name in self._mocks or name not in self.recorded:
            if (
                name not in self._mocks
                and not own(name)
                and name not in LOOKUPS | CHECKED
                and name != "tail_call"
            ):
                return self._silent(name)
            return super().helper(number)
        found = self._helpers.get(number)
        if found is None:
            if name in STORAGES:
                found = self._storage(name)
            elif name in LOOKUPS:
                found = self._lookup(name, super().helper(number))
            elif name in CHECKED:
                found = self._checked(name, super().helper(number))
            else:
                found = self._given(name)
            self._helpers[number] = found
        return found

    def kfunc_by_name(self, name: str) -> Helper:
        if name in self.recorded and name not in self._mocks:
            return self._given(name)
        if not own(name, True) and name not in self._mocks:
            return lambda *_: 0
        return super().kfunc_by_name(name)

    def _silent(self, name: str) -> Helper:
        """A helper that was not recorded: it has no result, or the recording is partial."""
        if PROTOTYPES[name].ret != "void":
            return super().helper(PROTOTYPES[name].id)
        return lambda *_: 0

    def _given(self, name: str) -> Helper:
        inputs, memory = self.inputs, self.memory
        out = out_of(name)

        def call(cpu: Any, *registers: int) -> int:
            result, data, _ = inputs.take(name)
            if out is not None:
                size = registers[out.size_in - 1] & _U32 if out.size_in else out.size
                memory.write(registers[out.pointer - 1], data[:size])
            return result

        return call

    def _checked(self, name: str, real: Helper) -> Helper:
        inputs, memory = self.inputs, self.memory

        def call(cpu: Any, *registers: int) -> int:
            result, data, site = inputs.take(name)
            if name == "ringbuf_reserve":
                return real(cpu, *registers) if result else 0
            if name in _SENT and result & _NEGATIVE:  # a buffer that was full then isn't now
                return result
            if name == "ringbuf_reserve_dynptr" and result & _NEGATIVE:
                real(cpu, registers[0], _TOO_MUCH, *registers[2:])
                return result
            got = real(cpu, *registers)
            if got & _U32 != result & _U32:
                inputs.changes += 1
            if site.out is not None:
                memory.write(registers[site.out.pointer - 1], data)
            return result

        return call

    def _lookup(self, name: str, real: Helper) -> Helper:
        inputs, memory = self.inputs, self.memory

        def call(cpu: Any, *registers: int) -> int:
            result, data, _ = inputs.take(name)
            m = self.map_at(registers[0])
            found = real(cpu, *registers)
            if not result:
                if found and m.type in _HASHES:
                    inputs.changes += 1
                    m.delete(memory.read(registers[1], m.key_size), cpu.number)
                return 0
            if not found:
                inputs.changes += 1
                value = (data or bytes(m.value_size)).ljust(m.value_size, b"\0")
                m.update(memory.read(registers[1], m.key_size), value, 0, cpu.number)
                found = real(cpu, *registers)
                if not found:
                    raise Divergence(f"{name}: the recording has an entry of {m.name} that can't be there")
            if data and not _special(m):
                inputs.patch(memory, found, data)
            return found

        return call

    def _storage(self, name: str) -> Helper:
        inputs, memory = self.inputs, self.memory

        def call(cpu: Any, *registers: int) -> int:
            result, data, _ = inputs.take(name)
            if not result:
                return 0
            m = self.map_at(registers[0])
            key = (m.address, result if name == LOCAL else registers[1])
            address = self.storages.get(key)
            if address is None:
                address = memory.alloc(m.value_size, "map_value", name=m.name).address
                self.storages[key] = address
            if data:
                memory.write(address, data)
            return address

        return call


def _special(m: Map) -> bool:
    """Whether values hold locks, timers and the like, which are the machine's own."""
    return bool(m.fields)


def merge(memory: Memory, inputs: Inputs, *, adds: bool) -> None:
    """After an invocation that overlapped others: put back what others had changed, and what this one did.

    `adds` is whether it changes values by atomic additions, so that both count.
    """
    for patch in inputs.patches:
        if not memory.permits(patch.address, len(patch.old), write=True):
            continue
        now = memory.read(patch.address, len(patch.old))
        out = bytearray(now)
        for at in range(0, len(now), 8):
            piece = slice(at, at + 8)
            if now[piece] == patch.seen[piece]:
                out[piece] = patch.old[piece]
            elif adds and len(now[piece]) == 8:
                number = [int.from_bytes(b[piece], "little") for b in (now, patch.old, patch.seen)]
                total = number[0] + number[1] - number[2]
                out[piece] = (total & (1 << 64) - 1).to_bytes(8, "little")
        memory.write(patch.address, bytes(out))
