"""Recording: programs instrumented as they are loaded into the kernel, and what they write down."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .. import sys as kernel_calls
from ..btf.kinds import FUNC, FUNC_PROTO, TYPEDEF
from ..errors import VerifierError
from ..isa.insn import decode
from ..kernel.load import Collection, Loader
from ..obj import read_object
from ..session import Session, _check_privilege, _gather
from .buffer import Buffer
from .contents import contents, records_of
from .file import Objects, Recording, Traced, gather
from .instrument import Plan, TooLong, rewrite
from .sites import Site, find

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..btf.parser import Btf
    from ..kernel.program import Program
    from ..obj.spec import LinkedProgram, ObjectSpec, ProgramSpec

__all__ = ["record"]

FULL, NO_LOADS, CONTEXT, NOTHING = "full", "no loads", "context", "nothing"
_LEVELS = (FULL, NO_LOADS, CONTEXT, NOTHING)
_MOST_DATA = 512  # bytes of a map of variables that are kept at each invocation
_POLL = 0.02  # seconds

# Program types (enum bpf_prog_type) by what their context is.
_KPROBE, _TRACEPOINT, _PERF_EVENT, _RAW, _RAW_WRITABLE = 2, 5, 7, 17, 24
_TRACING, _STRUCT_OPS, _EXT, _LSM = 26, 27, 28, 29
_THREADED = (_KPROBE, _TRACEPOINT, _PERF_EVENT, _RAW, _RAW_WRITABLE, _TRACING, _LSM)
# Programs whose results change nothing.
_WATCHING = (_TRACEPOINT, _PERF_EVENT, _RAW)
_WATCHERS = ("tp_btf", "fentry", "fexit", "kprobe", "kretprobe", "uprobe", "uretprobe", "usdt")
_REGISTERS = {"x86_64": 168, "aarch64": 336}  # bytes of struct pt_regs
_RAW_ARGUMENTS = 12  # words: as many as a tracepoint has at most
_WORDS = 6  # of a traced function that the BTF does not tell of


class RecordingLoader(Loader):
    """Loads an object with its programs instrumented."""

    __slots__ = ("buffer", "cpus", "first", "level", "notes", "traced")

    def __init__(self, spec: ObjectSpec, classes: dict[str, type], buffer: Buffer, first: int) -> None:
        super().__init__(spec, None, classes)
        self.buffer = buffer
        self.first = first  # the number of the next program
        self.level = FULL
        self.traced: list[Traced] = []
        self.cpus = kernel_calls.kernel().possible_cpus()

    def load_program(self, spec: ProgramSpec) -> Program:
        """Load one program with as much recorded of it as the verifier takes."""
        trouble = ""
        for level in _LEVELS:
            self.level = level
            made = len(self.traced)
            try:
                program = super().load_program(spec)
            except (VerifierError, TooLong) as error:
                del self.traced[made:]
                if level == NOTHING:
                    raise
                trouble = trouble or str(error).partition("\n")[0]
                continue
            if level != FULL:
                self.traced[-1].notes.append(f"{_LOST[level]}: {trouble}")
            return program
        raise AssertionError

    def _prepare(self, spec: ProgramSpec) -> tuple[LinkedProgram, dict[int, str]]:
        linked, poisoned = super()._prepare(spec)
        insns = decode(linked.insns)
        sites: list[Site] = []
        notes: list[str] = []
        size = self._context_size(spec)
        if self.level in (FULL, NO_LOADS):
            results = _results(self.target(), [s for _, kind, s, _ in linked.relocs if kind in (5, 6, 7)])
            sites, notes = find(
                linked,
                insns,
                spec.prog_type,
                self.spec.maps,
                loads=self.level == FULL,
                opaque=not size,
                kfunc_results=results,
            )
        if not size and self.level != FULL:
            notes.append("the context is not recorded")
        data = self._data(linked, notes)
        traced = Traced(spec.name, bytes(linked.insns), list(linked.relocs), sites)
        traced.poisoned = dict(poisoned)
        traced.context = size
        traced.data = [name for name, _, _ in data]
        traced.notes = notes
        traced.kind, traced.target = spec.section_kind, spec.attach_to
        traced.ends = spec.prog_type in _WATCHING or spec.section_kind.partition(".")[0] in _WATCHERS
        self.traced.append(traced)
        if self.level == NOTHING:
            return linked, poisoned
        plan = Plan(
            self.buffer.fd,
            self.buffer.size,
            program=self.first + len(self.traced) - 1,
            context=size,
            threads=spec.prog_type in _THREADED,
            data=[(fd, length) for _, fd, length in data],
            cpus=self.cpus,
            ends=traced.ends,
        )
        moved = rewrite(linked, sites, plan)
        return linked, {moved[slot]: why for slot, why in poisoned.items()}

    def _data(self, linked: LinkedProgram, notes: list[str]) -> list[tuple[str, int, int]]:
        """The program's maps of variables that may change: name, descriptor, size."""
        found = []
        for name in sorted({symbol for _, kind, symbol, _ in linked.relocs if kind == 2}):
            spec = self.spec.maps.get(name)
            live = self.collection.maps.get(name)
            if spec is None or live is None or spec.readonly or spec.map_type != 2:
                continue
            if spec.value_size > _MOST_DATA:
                notes.append(f"variables in {name} are recorded at the start only: there are too many")
                continue
            found.append((name, live.fd, spec.value_size))
        return found

    def _context_size(self, spec: ProgramSpec) -> int:
        """How many bytes of the context to keep; 0 where programs see something else than is there."""
        kind, btf = spec.prog_type, self.target()
        if kind == _TRACEPOINT:
            from ..sys.formats import known_fields

            group, _, event = spec.attach_to.partition("/")
            fields = known_fields(group, event) if event else []
            return max((f.offset + f.size for f in fields), default=64)
        if kind in (_RAW, _RAW_WRITABLE):
            return 8 * _RAW_ARGUMENTS
        if kind in (_TRACING, _LSM, _EXT, _STRUCT_OPS):
            return 8 * _words(btf, spec)
        if kind == _KPROBE:
            return _REGISTERS.get(os.uname().machine, 0)
        return 0


_LOST = {
    NO_LOADS: "loads through kernel pointers are not recorded",
    CONTEXT: "only the context is recorded",
    NOTHING: "nothing of this program is recorded",
}


def _words(btf: Btf, spec: ProgramSpec) -> int:
    """The words in the context of a program that goes by BTF."""
    kind = spec.section_kind.partition(".")[0]
    if kind == "tp_btf":
        alias = btf.find(f"btf_trace_{spec.attach_to}", TYPEDEF)
        if alias is None:
            return _WORDS
        proto = btf.type(btf.strip(btf.type(btf.strip(alias)).type))
        return max(1, len(proto.params) - 1)
    if kind == "iter":
        return 4
    name = f"bpf_lsm_{spec.attach_to}" if kind == "lsm" else spec.attach_to.rpartition(":")[2]
    id = btf.find(name, FUNC)
    if id is None:
        return _WORDS
    return len(btf.type(btf.type(id).type).params) + 1


def _with_names(data: bytes, spec: ObjectSpec, named: Callable[[], bytes] | None) -> bytes:
    """The object with the names of variables, for debuggers, if it has none and its code stays what it is."""
    if named is None:
        return data
    made = named()
    return made if read_object(made, spec.name).code == spec.code else data


def _results(btf: Btf, names: list[str]) -> dict[str, bool]:
    """Of kernel functions: whether they return something."""
    found = {}
    for name in names:
        id = btf.find(name.partition("___")[0], FUNC)
        if id is not None:
            proto = btf.type(btf.type(id).type)
            found[name] = proto.kind == FUNC_PROTO and bool(proto.type)
    return found


class RecordingSession(Session):
    """A session whose programs are recorded."""

    __slots__ = ("buffer", "objects")

    def __init__(self, buffer: Buffer) -> None:
        super().__init__(False)
        self.buffer = buffer
        self.objects: list[Objects] = []

    def _into_kernel(
        self,
        spec: ObjectSpec,
        data: bytes,
        values: dict[str, Any],
        classes: dict[str, type],
        named: Callable[[], bytes] | None,
    ) -> Collection:
        first = sum(len(o.traced) for o in self.objects)
        loader = RecordingLoader(spec, classes, self.buffer, first)
        try:
            loader.prepare(values)
            loader.load_programs(None)
            loader.finish_maps()
        except BaseException:
            loader.undo()
            raise
        finally:
            loader.finish()
        collection = loader.collection
        self.objects.append(Objects(spec.name, _with_names(data, spec, named), loader.traced))
        return collection

    def drain_rings(self) -> None:
        """Take the records of the programs' own ring buffers."""
        for collection, object in zip(self.collections, self.objects, strict=True):
            for name, live in collection.maps.items():
                found = records_of(live)
                if found:
                    object.events.setdefault(name, []).extend(found)


def record(
    *what: Any,
    seconds: float | None = None,
    count: int = 0,
    workload: Callable[[], object] | None = None,
    keep: int = 256 << 20,
    merge_syscalls: bool = True,
    attach: Callable[[Session], Any] | None = None,
) -> Recording:
    """Run programs in the kernel and record each of their invocations.

    `what` is what `bp.attach` takes. It ends after `seconds`, after `count` invocations, when `workload` (a
    function) has returned, or at Ctrl-C. `keep` is how many bytes are kept at most; then it ends as well.
    `attach` attaches programs that do not say to what, as `bp.attach` leaves them; it returns the link.

    Raises what `bp.attach` raises.
    """
    caller = sys._getframe(1).f_globals
    programs, paths = _gather(what, caller)
    _check_privilege()
    buffer = Buffer(kernel_calls.kernel(), limit=count, keep=keep)
    session = RecordingSession(buffer)
    try:
        if programs:
            session._add_programs(programs, merge_syscalls, True)
        for path in paths:
            session._add_object(path)
        for collection, object in zip(session.collections, session.objects, strict=True):
            object.initial = {name: contents(m) for name, m in collection.maps.items()}
        began = time.time()
        if attach is None:
            session._attach_all()
        else:
            session.links.append(attach(session))
        with suppress(KeyboardInterrupt):
            _wait(session, seconds, count, workload)
        for link in reversed(session.links):
            link.close()
        late = buffer.late
        buffer.stop()
        _settle(session)
        for collection, object in zip(session.collections, session.objects, strict=True):
            object.final = {name: contents(m) for name, m in collection.maps.items()}
        return gather(session.objects, buffer, began, late)
    finally:
        session.close()
        buffer.close()


def _wait(
    session: RecordingSession, seconds: float | None, count: int, workload: Callable[[], object] | None
) -> None:
    from threading import Thread

    buffer = session.buffer
    thread = None
    failed: list[BaseException] = []
    if workload is not None:

        def work() -> None:
            try:
                workload()
            except BaseException as error:
                failed.append(error)

        thread = Thread(target=work)
        thread.start()
    end = None if seconds is None else time.monotonic() + seconds
    while not buffer.full:
        drained = buffer.drain()
        session.drain_rings()
        if thread is not None and not thread.is_alive():
            break
        if count and buffer.begun >= count:
            break
        if end is not None and time.monotonic() >= end:
            break
        if not drained:
            time.sleep(_POLL)
    if thread is not None:
        thread.join()
    if failed:
        raise failed[0]


def _settle(session: RecordingSession) -> None:
    """Take what is left: invocations that had begun may still be on their way."""
    for _ in range(5):
        session.buffer.drain()
        session.drain_rings()
        time.sleep(_POLL / 4)
