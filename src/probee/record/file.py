"""A recording as a file: versioned, compressed, and with all that is needed to run it again.

The file is a list of named sections, each compressed and with a checksum. `meta` is JSON: the kernel, the
programs, their sites. The others are bytes: objects, relocated code, contents of maps, records of ring
buffers, and the trace.
"""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from typing import Any

from ..errors import ProbeeError
from . import layout as at
from .contents import Entries
from .sites import TAIL, Site, as_plain, from_plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .buffer import Buffer

MAGIC = b"\x93probee-recording\n"
VERSION = 1
_SECTION = struct.Struct("<BQQI")
_HEAD = struct.Struct("<HHI")
_INVOCATION = struct.Struct("<HHHHQQQII")
_RECORD = struct.Struct("<HI")
_LARGEST = 1 << 32  # bytes of a section
_FINISHED, _OVERLAPS = 1, 2


class RecordingError(ProbeeError, ValueError):
    """A file is no recording, or a broken one."""


class Traced:
    """A program of a recording: its `code` with CO-RE done for the kernel it ran in, its `sites`.

    `context` is how many bytes of each context were kept, `data` the maps of variables kept at each
    invocation, `poisoned` instructions that the kernel had no types for. `notes` say what is missing.
    """

    def __init__(
        self, name: str, code: bytes, relocs: list[tuple[int, int, str, int]], sites: list[Site]
    ) -> None:
        self.name = name
        self.code = code
        self.relocs = relocs
        self.sites = sites
        self.poisoned: dict[int, str] = {}
        self.context = 0
        self.data: list[str] = []
        self.notes: list[str] = []
        self.kind = ""
        self.target = ""
        self.ends = False  # it does nothing once recording is over

    @property
    def partial(self) -> bool:
        """Whether something that the program reads was not recorded."""
        return bool(self.notes)

    def __repr__(self) -> str:
        return f"<recorded program {self.name}{' (partial)' if self.partial else ''}>"


class Objects:
    """An object of a recording: the bytes it was loaded from, its programs, what its maps held at the start
    (`initial`) and at the end (`final`; None: can't be told), and what its ring buffers got (`events`).
    """

    def __init__(self, name: str, data: bytes, traced: list[Traced]) -> None:
        self.name = name
        self.data = data
        self.traced = traced
        self.initial: dict[str, Entries | None] = {}
        self.final: dict[str, Entries | None] = {}
        self.events: dict[str, list[bytes]] = {}


class Invocation:
    """One run of a program: its number in the recording, `program` (the first one, where tail calls led on),
    `cpu`, `time_ns` (CLOCK_MONOTONIC), `pid` and `tid` (0 where the program can't know), `context`, `data`
    (variables when it began) and what came in: `inputs`, each (site, bytes). `result` is what it returned.
    """

    __slots__ = (
        "context", "cpu", "data", "inputs", "number", "overlaps", "program", "result", "thread", "time_ns",
        "traced",
    )  # fmt: skip

    def __init__(self, traced: Traced, cpu: int, time_ns: int, thread: int) -> None:
        self.number = -1
        self.traced = traced
        self.program = traced.name
        self.cpu = cpu
        self.time_ns = time_ns
        self.thread = thread
        self.context = b""
        self.data: list[bytes] = []
        self.inputs: list[tuple[Traced, int, bytes]] = []
        self.result: int | None = None
        self.overlaps = False  # others ran on other CPUs meanwhile

    @property
    def pid(self) -> int:
        return self.thread >> 32

    @property
    def tid(self) -> int:
        return self.thread & 0xFFFF_FFFF

    def __repr__(self) -> str:
        return f"<invocation {self.number} of {self.program} on CPU {self.cpu}, {len(self.inputs)} inputs>"


class Recording:
    """What `probee record` kept. `release` and `arch` are the kernel's, `cpus` how many it may have,
    `started` when recording began (seconds since 1970). `dropped` invocations found no room, and
    `unfinished` ones had not ended when recording did.
    """

    def __init__(self) -> None:
        self.release = ""
        self.arch = ""
        self.cpus = 1
        self.started = 0.0
        self.dropped = 0
        self.unfinished = 0
        self.full = False  # as much was recorded as was allowed
        self.cut = False  # programs went on after the last invocation that was recorded
        self.objects: list[Objects] = []
        self.all: list[Invocation] = []  # the invocations in the order in which they began

    @property
    def programs(self) -> list[Traced]:
        """The programs of all objects, in order: an invocation's program is one of these."""
        return [traced for one in self.objects for traced in one.traced]

    def invocations(self, program: str = "") -> list[Invocation]:
        """The invocations in the order in which they began; those of one program only, if it is named."""
        return [i for i in self.all if not program or i.program == program]

    def __len__(self) -> int:
        return len(self.all)

    def __repr__(self) -> str:
        names = ", ".join(t.name for t in self.programs)
        return f"<recording of {names}: {len(self)} invocations, Linux {self.release}>"

    # ---- the file

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the file. Returns its size in bytes. Raises ProbeeError."""
        whole = self.to_bytes()
        try:
            with open(path, "wb") as file:
                file.write(whole)
        except OSError as error:
            raise ProbeeError(f"can't write {os.fspath(path)}: {error.strerror}") from None
        return len(whole)

    def to_bytes(self) -> bytes:
        sections: dict[str, bytes] = {"meta": json.dumps(self._meta()).encode()}
        for number, one in enumerate(self.objects):
            sections[f"object/{number}"] = one.data
            for traced in one.traced:
                sections[f"code/{number}/{traced.name}"] = traced.code
            for what, maps in (("initial", one.initial), ("final", one.final)):
                for name, entries in maps.items():
                    if entries:
                        sections[f"{what}/{number}/{name}"] = _join(b for pair in entries for b in pair)
            for name, records in one.events.items():
                sections[f"events/{number}/{name}"] = _join(records)
        sections["trace"] = self._trace()
        out = bytearray(MAGIC + struct.pack("<HI", VERSION, len(sections)))
        for name, raw in sections.items():
            packed = zlib.compress(raw, 6)
            word = name.encode()
            out += _SECTION.pack(len(word), len(raw), len(packed), zlib.crc32(raw)) + word + packed
        return bytes(out)

    def _meta(self) -> dict[str, Any]:
        return {
            "release": self.release,
            "arch": self.arch,
            "cpus": self.cpus,
            "started": self.started,
            "dropped": self.dropped,
            "unfinished": self.unfinished,
            "full": self.full,
            "cut": self.cut,
            "objects": [
                {
                    "name": one.name,
                    "initial": [name for name, entries in one.initial.items() if entries is not None],
                    "final": [name for name, entries in one.final.items() if entries is not None],
                    "events": list(one.events),
                    "programs": [
                        {
                            "name": t.name,
                            "kind": t.kind,
                            "target": t.target,
                            "context": t.context,
                            "data": t.data,
                            "notes": t.notes,
                            "poisoned": list(t.poisoned.items()),
                            "sites": as_plain(t.sites),
                        }
                        for t in one.traced
                    ],
                }
                for one in self.objects
            ],
        }

    def _trace(self) -> bytes:
        numbers = {id(traced): number for number, traced in enumerate(self.programs)}
        out = bytearray()
        for one in self.all:
            flags = _FINISHED * (one.result is not None) | _OVERLAPS * one.overlaps
            out += _INVOCATION.pack(
                numbers[id(one.traced)], one.cpu, flags, len(one.data), one.time_ns, one.thread,
                one.result or 0, len(one.context), len(one.inputs),
            )  # fmt: skip
            out += one.context + _join(one.data)
            for traced, site, data in one.inputs:
                out += _RECORD.pack(site, len(data)) + struct.pack("<H", numbers[id(traced)]) + data
        return bytes(out)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a file. Raises RecordingError, ProbeeError if it can't be read."""
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            raise ProbeeError(f"can't read {os.fspath(path)}: {error.strerror}") from None
        try:
            return cls.from_bytes(data)
        except RecordingError as error:
            raise RecordingError(f"{os.fspath(path)}: {error}") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Recording:
        """The recording that a file's bytes hold. Raises RecordingError."""
        sections = _sections(data)
        try:
            meta = json.loads(sections["meta"])
            return cls._from(meta, sections)
        except RecordingError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, struct.error) as error:
            raise RecordingError(f"a broken recording: {type(error).__name__}: {error}") from None

    @classmethod
    def _from(cls, meta: dict[str, Any], sections: dict[str, bytes]) -> Recording:
        made = cls()
        made.release, made.arch = str(meta["release"]), str(meta["arch"])
        made.cpus, made.started = int(meta["cpus"]), float(meta["started"])
        made.dropped, made.unfinished = int(meta["dropped"]), int(meta["unfinished"])
        made.full, made.cut = bool(meta["full"]), bool(meta["cut"])
        for number, plain in enumerate(meta["objects"]):
            one = Objects(str(plain["name"]), sections[f"object/{number}"], [])
            for p in plain["programs"]:
                code = sections[f"code/{number}/{p['name']}"]
                if not code or len(code) % 8:
                    raise RecordingError(f"program {p['name']} is no BPF code")
                traced = Traced(str(p["name"]), code, [], from_plain(p["sites"]))
                traced.poisoned = {int(slot): str(why) for slot, why in p["poisoned"]}
                traced.context, traced.data = int(p["context"]), [str(name) for name in p["data"]]
                traced.notes = [str(note) for note in p["notes"]]
                traced.kind, traced.target = str(p["kind"]), str(p["target"])
                one.traced.append(traced)
            for what in ("initial", "final"):
                for name in plain[what]:
                    parts = _split(sections.get(f"{what}/{number}/{name}", b""))
                    if len(parts) % 2:
                        raise RecordingError(f"the contents of map {name} are cut off")
                    getattr(one, what)[name] = list(zip(parts[::2], parts[1::2], strict=True))
            one.events = {name: _split(sections[f"events/{number}/{name}"]) for name in plain["events"]}
            made.objects.append(one)
        made._read_trace(sections["trace"])
        return made

    def _read_trace(self, data: bytes) -> None:
        programs = self.programs
        position = 0
        while position < len(data):
            number, cpu, flags, maps, moment, thread, result, size, count = _INVOCATION.unpack_from(
                data, position
            )
            position += _INVOCATION.size
            if number >= len(programs) or cpu >= self.cpus:
                raise RecordingError(f"an invocation of program {number} on CPU {cpu}, which does not exist")
            one = Invocation(programs[number], cpu, moment, thread)
            one.number = len(self.all)
            one.context, position = _take(data, position, size)
            for _ in range(maps):
                (length,) = struct.unpack_from("<I", data, position)
                value, position = _take(data, position + 4, length)
                one.data.append(value)
            if len(one.data) != len(one.traced.data):
                raise RecordingError("an invocation has other variables than its program")
            for _ in range(count):
                site, length = _RECORD.unpack_from(data, position)
                (of,) = struct.unpack_from("<H", data, position + _RECORD.size)
                value, position = _take(data, position + _RECORD.size + 2, length)
                if of >= len(programs) or site >= len(programs[of].sites):
                    raise RecordingError(f"an input at site {site} of program {of}, which does not exist")
                one.inputs.append((programs[of], site, value))
            one.overlaps = bool(flags & _OVERLAPS)
            one.result = result if flags & _FINISHED else None
            self.all.append(one)


def _sections(data: bytes) -> dict[str, bytes]:
    if not data.startswith(MAGIC):
        raise RecordingError("this is no recording of probee's")
    position = len(MAGIC)
    try:
        version, count = struct.unpack_from("<HI", data, position)
        if version != VERSION:
            raise RecordingError(f"the recording has format {version}; this probee reads {VERSION}")
        position += 6
        found = {}
        for _ in range(count):
            words, size, packed, checksum = _SECTION.unpack_from(data, position)
            position += _SECTION.size
            name, position = _take(data, position, words)
            content, position = _take(data, position, packed)
            if size > _LARGEST:
                raise RecordingError("a section is too large")
            unpacker = zlib.decompressobj()
            raw = unpacker.decompress(content, size + 1)
            if len(raw) != size or zlib.crc32(raw) != checksum:
                raise RecordingError(f"section {name.decode(errors='replace')} is damaged")
            found[name.decode()] = raw
        return found
    except (struct.error, zlib.error, UnicodeDecodeError, OverflowError, MemoryError) as error:
        raise RecordingError(f"the recording is cut off or damaged: {error}") from None


def _take(data: bytes, position: int, size: int) -> tuple[bytes, int]:
    if position + size > len(data):
        raise RecordingError("the recording is cut off")
    return data[position : position + size], position + size


def _join(parts: Any) -> bytes:
    out = bytearray()
    for part in parts:
        out += struct.pack("<I", len(part)) + part
    return bytes(out)


def _split(data: bytes) -> list[bytes]:
    out, position = [], 0
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        part, position = _take(data, position + 4, length)
        out.append(part)
    return out


# ---- from what programs wrote


def gather(objects: list[Objects], buffer: Buffer, started: float, late: int) -> Recording:
    """The recording of what came out of the ring."""
    made = Recording()
    uname = os.uname()
    made.release, made.arch = uname.release, uname.machine
    made.cpus = buffer._kernel.possible_cpus()
    made.started = started or time.time()
    made.dropped, made.full = buffer.dropped, buffer.full
    made.objects = objects
    made.cut = bool(late) and not all(traced.ends for traced in made.programs)
    reader = _Trace(made)
    for chunk in buffer.chunks:
        reader.take(chunk)
    made.all = [one for one in reader.order if one.result is not None]
    made.unfinished = len(reader.order) - len(made.all)
    for number, one in enumerate(made.all):
        one.number = number
    return made


class _Trace:
    """Puts the ring's records together to invocations."""

    def __init__(self, recording: Recording) -> None:
        self.programs = recording.programs
        self.order: list[Invocation] = []
        self.running: dict[int, Invocation] = {}
        self.program: dict[int, Traced] = {}  # the one that an invocation's number belongs to
        self.tail: dict[int, int] = {}  # CPU -> the invocation whose last record is a tail call

    def take(self, record: bytes) -> None:
        site, _, id = _HEAD.unpack_from(record)
        if site == at.BEGIN:
            self._begin(record, id)
            return
        one = self.running.get(id)
        if one is None:
            return
        if self.tail.get(one.cpu) == id:
            del self.tail[one.cpu]
        if site == at.END:
            (one.result,) = struct.unpack_from("<Q", record, 8)
            del self.running[id]
            return
        traced = self.program[id]
        if traced.sites[site].kind == TAIL:
            self.tail[one.cpu] = id
            return
        kept = record[8:16]
        if traced.sites[site].out is not None:
            (length,) = struct.unpack_from("<Q", record, 16)
            kept += record[24 : 24 + length]
        one.inputs.append((traced, site, kept))

    def _begin(self, record: bytes, id: int) -> None:
        _, number, cpu, moment, thread = struct.unpack_from("<QIIQQ", record)
        traced = self.programs[number]
        before = self.tail.pop(cpu, None)
        self.program[id] = traced
        if before is not None and before in self.running:
            self.running[id] = self.running.pop(before)  # the same invocation in another program
            return
        one = Invocation(traced, cpu, moment, thread)
        offset = at.BEGIN_HEAD
        one.context = record[offset : offset + traced.context]
        offset += traced.context + 7 & ~7
        for _ in traced.data:
            (size,) = struct.unpack_from("<Q", record, offset)
            one.data.append(record[offset + 8 : offset + 8 + size])
            offset += 8 + (size + 7 & ~7)
        for other in self.running.values():
            if other.cpu != cpu:
                other.overlaps = one.overlaps = True
        self.running[id] = one
        self.order.append(one)
