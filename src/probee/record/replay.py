"""A recording run again in the machine: the same programs on the same inputs, without a kernel."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from ..btf.choose import SHIPPED
from ..errors import ProbeeError, Unsupported
from ..machine.code import Code
from ..machine.contexts.base import Context, arguments
from ..machine.contexts.rewrite import btf_loads, rewrite
from ..machine.load import _CODE_STRIDE, Collection, Loader, Program
from ..machine.machine import Machine
from ..machine.relocate import lines
from ..obj import read_object
from .contents import PLAIN, RINGBUF, contents, records_of
from .file import Invocation, Objects, Recording, Traced
from .inputs import Divergence, ReplayMemory, ReplayServices, merge
from .sites import LOAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..machine.relocate import Relocation
    from ..obj.spec import ProgramSpec

_ENGINES = {"auto": "interpreter", "interpreter": "interpreter", "step": "step"}
_ATOMIC = 0xC0
_BIT32 = 0xFFFF_FFFF
_ELSEWHERE = 0xFFFF_F000_0000_0000  # of contexts that are recorded load by load: no memory is there


class Difference:
    """Something that came out otherwise than in the kernel. `where` is an invocation's number, or -1."""

    __slots__ = ("text", "where")

    def __init__(self, text: str, where: int = -1) -> None:
        self.text = text
        self.where = where

    def __str__(self) -> str:
        return f"invocation {self.where}: {self.text}" if self.where >= 0 else self.text

    def __repr__(self) -> str:
        return f"<difference: {self}>"


class _Loader(Loader):
    """Puts the recorded code of an object into the machine."""

    def __init__(self, machine: ReplayMachine, one: Objects) -> None:
        super().__init__(machine, read_object(one.data, one.name))
        self.one = one
        self.symbols.variable = lambda name, typed: machine.variable(name, False)

    def _load(self, spec: ProgramSpec, relocation: Relocation) -> None:
        traced = next((t for t in self.one.traced if t.name == spec.name), None)
        if traced is None:
            return
        linked = spec.link()
        if len(linked.insns) != len(traced.code):
            raise ProbeeError(f"the recorded code of {spec.name} is not that of its object")
        linked.insns = bytearray(traced.code)
        linked.core = []
        self._base = self.machine.next_code(_CODE_STRIDE)
        poisoned = {**relocation.run(linked), **traced.poisoned}
        made = Code(
            rewrite(linked.insns, spec.prog_type) if traced.context else bytes(linked.insns),
            name=spec.name,
            lines=lines(linked, self.spec.btf),
            base=self._base,
            probe_loads={site.slot for site in traced.sites if site.kind == LOAD}
            | btf_loads(traced.code, spec.prog_type),
            jump_targets={slot for table in linked.jump_tables for slot in table},
        )
        program = Program(self.machine, spec, linked, made)
        program.poisoned = poisoned
        program.maps = self.collection.maps
        self.machine.services.codes.append(made)
        if self.spec.btf is not None:
            self.machine.services.types_of[made.base] = self.spec.btf
        self.collection.programs[spec.name] = program


class ReplayMachine(Machine):
    """A machine that runs the programs of a recording. What they read comes from there."""

    _memory_type = ReplayMemory
    _services_type = ReplayServices

    def __init__(self, recording: Recording, *, engine: str = "auto") -> None:
        if engine not in _ENGINES:
            raise Unsupported(
                f"recordings are replayed by the engines {', '.join(_ENGINES)}, not by {engine!r}",
                feature=f"replay with {engine}",
            )
        self.recording = recording
        self.objects: list[tuple[Collection, Objects]] = []
        self.by_traced: dict[int, tuple[Program, Collection]] = {}
        super().__init__(btf=SHIPPED, cpus=recording.cpus, engine=_ENGINES[engine])
        for one in recording.objects:
            collection = _Loader(self, one).load()
            self.collections.append(collection)
            self.objects.append((collection, one))
            self.programs.update(collection.programs)
            self.maps.update(collection.maps)
            for traced in one.traced:
                self.replaying.learn(traced)
                if traced.name in collection.programs:
                    self.by_traced[id(traced)] = collection.programs[traced.name], collection
            _fill(collection, one)

    @property
    def replaying(self) -> ReplayServices:
        """The services, by their own type."""
        assert isinstance(self.services, ReplayServices)
        return self.services

    def _task(self) -> Any:
        return self.services.tasks.idle


def _fill(collection: Collection, one: Objects) -> None:
    """Maps as they were when recording began."""
    for name, entries in one.initial.items():
        live = collection.maps.get(name)
        if live is None or not entries or collection.spec.maps[name].readonly:
            continue
        for key, value in entries:
            live._kernel.map_update(live.fd, key, value)


class Replay:
    """A recording in the machine, as a context manager. `machine` is the machine; `position` is the number of
    the next invocation; `differences` what came out otherwise than in the kernel so far.

    `run()` runs all and compares. `seek(n)` runs all before the n-th, and `start(n)` then gives what a
    debugger needs to run that one itself.
    """

    def __init__(self, recording: Recording, *, engine: str = "auto") -> None:
        self.recording = recording
        self.machine = ReplayMachine(recording, engine=engine)
        self._engine = self.machine.cpus[0].engine
        self.position = 0
        self.differences: list[Difference] = []
        self.results: list[int] = []
        self.events: dict[str, list[Any]] = {}
        self._raw: dict[tuple[int, str], list[bytes]] = {}
        self._codecs: dict[int, Any] = {}
        self._adds: dict[int, bool] = {}

    # ---- one by one

    def start(self, number: int) -> tuple[Program, Context, int]:
        """Make ready to run an invocation: its program, its context in memory, its CPU. The machine gives the
        inputs then. Raises ProbeeError if there is no such invocation.
        """
        all = self.recording.all
        if not 0 <= number < len(all):
            raise ProbeeError(f"there is no invocation {number}; the recording has {len(all)}, from 0")
        one = all[number]
        found = self.machine.by_traced.get(id(one.traced))
        if found is None:
            raise ProbeeError(f"the recording's object has no program {one.program}")
        program, collection = found
        inputs = self.machine.replaying.inputs
        inputs.begin(one)
        memory = self.machine.memory
        for name, data in zip(one.traced.data, one.data, strict=True):
            inputs.patch(memory, int(collection.inner[name].lookup(bytes(4), one.cpu)), data)
        # Only the engine that goes step by step lets a program write to a packet that is not there.
        self.machine.cpus[one.cpu].engine = self._engine if one.traced.context else "step"
        return program, self._context(program, one), one.cpu

    def _context(self, program: Program, one: Invocation) -> Context:
        memory, kept = self.machine.memory, one.context
        if program.type in _WORDS:
            words = [int.from_bytes(kept[at : at + 8], "little") for at in range(0, len(kept), 8)]
            return arguments(memory, words)
        if not kept:
            context = Context(memory.alloc(8, "ctx", name="context"))
            context.address = _ELSEWHERE
            return context
        region = memory.alloc(len(kept), "ctx", name="context")
        region.data[: len(kept)] = kept
        return Context(region)

    def step(self) -> int:
        """Run the next invocation; returns r0. What differs is in `differences`."""
        number = self.position
        one = self.recording.all[number]
        program, context, cpu = self.start(number)
        machine, inputs = self.machine, self.machine.replaying.inputs
        self.position += 1
        result = 0
        try:
            result = machine.run(program, context, cpu=cpu)
            if one.result is not None and result & _BIT32 != one.result & _BIT32:
                self._differs(f"{one.program} returned {result}, in the kernel {one.result}", number)
            if inputs.left:
                self._differs(f"{one.program} did not ask for the last {inputs.left} of its inputs", number)
        except ProbeeError as error:
            self._differs(f"{one.program}: {error}", number)
        finally:
            context.free(machine.memory)
        if one.overlaps:
            merge(machine.memory, inputs, adds=self._changes_by_adding(program))
        self._collect()
        self.results.append(result)
        return result

    def _changes_by_adding(self, program: Program) -> bool:
        found = self._adds.get(id(program))
        if found is None:
            code = program.linked.insns
            found = any(op & 0xE7 == _ATOMIC | 3 for op in code[::8])
            self._adds[id(program)] = found
        return found

    def _differs(self, text: str, number: int = -1) -> None:
        self.differences.append(Difference(text, number))

    def _collect(self) -> None:
        """Take what programs wrote to ring buffers: a program that reads them is not here."""
        for number, (collection, _) in enumerate(self.machine.objects):
            for name, live in collection.maps.items():
                found = records_of(live) if live.type == RINGBUF and live.available else []
                if not found:
                    continue
                self._raw.setdefault((number, name), []).extend(found)
                typed = live._typed
                out = self.events.setdefault(name, [])
                out += [typed.unpack(data) for data in found] if typed is not None else found

    # ---- all

    def seek(self, number: int) -> None:
        """Run all invocations before the one of that number. Raises ProbeeError if it is already over."""
        if number < self.position:
            raise ProbeeError(f"invocation {number} is over: {self.position} is next; begin another replay")
        while self.position < min(number, len(self.recording)):
            self.step()

    def run(self, program: str = "") -> list[Difference]:
        """Run all invocations that are left and compare with the kernel. Returns `differences`.

        With `program` only those of that program are looked at; the others run, too, since maps are shared.
        """
        if program and program not in {t.name for t in self.recording.programs}:
            names = ", ".join(t.name for t in self.recording.programs)
            raise ProbeeError(f"the recording has no program {program!r}; it has {names}")
        self.seek(len(self.recording))
        self._compare()
        if program:
            chosen = {i.number for i in self.recording.invocations(program)}
            self.differences = [d for d in self.differences if d.where in chosen]
        return self.differences

    @property
    def changes(self) -> int:
        """How often programs saw in maps what others, as user space or other CPUs, had put there."""
        return self.machine.replaying.inputs.changes

    @property
    def whole(self) -> bool:
        """Whether the recording has every invocation, so that maps and events at the end can be compared."""
        return not (self.recording.dropped or self.recording.unfinished or self.recording.cut)

    def read(self, buffer: Any) -> list[Any]:
        """The records that programs have written to a ring buffer so far, by its declaration or name."""
        return self.events.get(buffer if isinstance(buffer, str) else buffer.name, [])

    def _compare(self) -> None:
        if not self.whole:
            return
        for number, (collection, one) in enumerate(self.machine.objects):
            for name in sorted({*one.events, *(m for n, m in self._raw if n == number)}):
                self._compare_events(name, self._raw.get((number, name), []), one.events.get(name, []))
            for name, entries in one.final.items():
                live = collection.maps.get(name)
                if live is None or entries is None or live.type not in PLAIN:
                    continue
                self._compare_map(name, contents(live) or [], entries)

    def _compare_events(self, name: str, here: list[bytes], there: list[bytes]) -> None:
        if sorted(here) == sorted(there):
            return
        missing = list((Counter(there) - Counter(here)).elements())
        more = list((Counter(here) - Counter(there)).elements())
        self._differs(
            f"{name}: {len(here)} records, in the kernel {len(there)}; {len(more)} of these differ"
            + (f", as {more[0].hex()} from {missing[0].hex()}" if more and missing else "")
        )

    def _compare_map(
        self, name: str, here: list[tuple[bytes, bytes]], there: list[tuple[bytes, bytes]]
    ) -> None:
        a, b = dict(here), dict(there)
        wrong = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
        if wrong:
            key = wrong[0]
            texts = [found.hex() if found is not None else "nothing" for found in (a.get(key), b.get(key))]
            self._differs(
                f"{name}: {len(wrong)} of {len({*a, *b})} entries differ, as [{key.hex()}] is {texts[0]}, "
                f"in the kernel {texts[1]}"
            )

    def close(self) -> None:
        """Give the machine back."""
        self.machine.close()

    def __enter__(self) -> Replay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<replay at {self.position} of {len(self.recording)}, {len(self.differences)} differences>"


# Program types whose context are 64-bit words.
_WORDS = (17, 24, 26, 27, 28, 29)


def replay(path: str | os.PathLike[str] | Recording, *, engine: str = "auto") -> Replay:
    """A recording made by `probee record`, ready to run in the machine: without privileges, on any system.

    with bp.replay("run.probee") as r:
        assert r.run() == []
        assert [e.filename for e in r.read("execs")] == ["/bin/ls"]

    `engine` is "auto", "interpreter" or "step". Raises RecordingError, ProbeeError.
    """
    recording = path if isinstance(path, Recording) else Recording.open(path)
    return Replay(recording, engine=engine)


__all__ = ["Difference", "Divergence", "Replay", "ReplayMachine", "Traced", "replay"]
