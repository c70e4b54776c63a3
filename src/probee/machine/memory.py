"""The machine's memory: one linear address space of regions, and what each of its bytes permits.

Addresses are the same in every run and on every system: they begin at `BASE`, wherever the memory lies in
this process. A shadow byte for each 8 bytes says how many of them, from the first on, may be read (low half)
and written (high half), so that a check costs native code one load and one comparison.
"""

from __future__ import annotations

import mmap
from bisect import bisect_right, insort
from collections import deque
from ctypes import addressof, c_char

from ..errors import ProbeeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BASE = 0x1000_0000_0000
DEFAULT_SIZE = 256 << 20

KINDS = (
    "stack",
    "ctx",
    "packet",
    "map_value",
    "ringbuf",
    "arena",
    "kernel",
    "user",
    "rodata",
    "handle",
)

_FIRST = 4096  # nothing lies below: small offsets from a null pointer never hit anything
_GAP = 16  # bytes between regions, so that no access spans two
_READ, _WRITE = 0x0F, 0xF0
_FULL = {False: frozenset({0x08, 0x88}), True: frozenset({0x80, 0x88})}
_HEX = 1 << 16  # numbers from here on are addresses to a reader


class Fault(ProbeeError):
    """A program did what it must not: a bad access, an endless loop, a call that leads nowhere.

    `program` is its name, `index` the instruction (-1 if not known), `line` the source line as "file:line"
    ("" if unknown). For accesses, `address`, `size` and `write` say which. `registers` maps "r0" to "r10" to
    their values; native code leaves out those it no longer needed. `reason` is the message without the place.
    """

    def __init__(
        self,
        reason: str,
        *,
        program: str = "",
        index: int = -1,
        line: str = "",
        address: int = 0,
        size: int = 0,
        write: bool = False,
        registers: Mapping[str, int] | None = None,
    ) -> None:
        self.reason = reason
        self.program = program
        self.index = index
        self.line = line
        self.address = address
        self.size = size
        self.write = write
        self.registers: dict[str, int] = dict(registers or {})
        super().__init__(reason)

    def at(self, program: str, index: int, line: str, registers: Mapping[str, int]) -> Fault:
        """Add where it happened, unless a program further in has done so. Returns the fault itself."""
        if self.index < 0:
            self.program, self.index, self.line = program, index, line
            self.registers = dict(registers)
        return self

    def __str__(self) -> str:
        place = f"{self.program or 'program'}: instruction {self.index}" if self.index >= 0 else self.program
        if self.line:
            place += f" ({self.line})"
        return f"{place}: {self.reason}" if place else self.reason


class MemoryFull(ProbeeError):
    """The machine's memory has no room for another region."""


class Region:
    """A piece of memory: `size` bytes from `address`. Made by `Memory.alloc`."""

    __slots__ = (
        "_memory",
        "_span",
        "address",
        "align",
        "kind",
        "live",
        "name",
        "readable",
        "size",
        "writable",
    )

    def __init__(
        self,
        memory: Memory,
        address: int,
        size: int,
        kind: str,
        name: str,
        *,
        writable: bool,
        readable: bool,
        align: int,
        span: int,
    ) -> None:
        self._memory = memory
        self._span = span
        self.address = address
        self.size = size
        self.kind = kind
        self.name = name
        self.writable = writable
        self.readable = readable
        self.align = align
        self.live = True

    @property
    def data(self) -> memoryview:
        """The bytes themselves, for the machine's own use: writable, whatever the program may do."""
        start = self.address - BASE
        return self._memory.buffer[start : start + self.size]

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.address + self.size

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<Region {self.kind}{name} {self.address:#x}+{self.size}{'' if self.live else ' freed'}>"


class Memory:
    """`size` bytes of address space from `BASE` on; pages are taken from the system when they are used.

    `native` is the address of the first byte in this process, `native_shadow` that of the first shadow byte.
    Freed space is used again only after `quarantine` more bytes were freed, so that a use after free faults.
    """

    def __init__(self, size: int = DEFAULT_SIZE, *, quarantine: int = 16 << 20) -> None:
        if size % 4096 or not 65536 <= size <= 2 << 30:
            raise ValueError("a machine's memory is 64 KiB to 2 GiB, in whole pages of 4096 bytes")
        self.size = size
        self._map = mmap.mmap(-1, size)
        # one granule more than there is memory: native code reads the shadow of the next granule, too
        self._shadow_map = mmap.mmap(-1, size // 8 + 4096)
        self.buffer = memoryview(self._map)
        self.shadow = memoryview(self._shadow_map)[: size // 8]
        self.native = addressof(c_char.from_buffer(self._map))
        self.native_shadow = addressof(c_char.from_buffer(self._shadow_map))
        self._next = _FIRST
        self._starts: list[int] = []
        self._regions: dict[int, Region] = {}
        self._free: dict[tuple[int, int], list[int]] = {}
        self._quarantine: deque[Region] = deque()
        self._quarantined = 0
        self._quarantine_limit = min(quarantine, size // 4)

    # Regions

    def alloc(
        self,
        size: int,
        kind: str,
        *,
        align: int = 8,
        writable: bool = True,
        readable: bool = True,
        name: str = "",
    ) -> Region:
        """A new region of `size` bytes, all zero. `align` is a power of two, 8 at least.

        Regions of kind "handle" stand for objects that programs hold but can't look into.

        Raises:
            MemoryFull: there is no room.
        """
        if size < 0:
            raise ValueError("a region can't have less than no bytes")
        if align & (align - 1) or align <= 0:
            raise ValueError("an alignment is a power of two")
        align = max(align, 8)
        if kind == "handle":
            readable = writable = False
        span = _span(size)
        start = self._take(span, align)
        region = Region(
            self,
            BASE + start,
            size,
            kind,
            name,
            writable=writable,
            readable=readable,
            align=align,
            span=span,
        )
        self._regions[start] = region
        insort(self._starts, start)
        self._mark(start, size, readable, writable)
        return region

    def free(self, region: Region) -> None:
        """Give a region back. Any access to it faults from now on.

        Raises:
            ValueError: it was freed before, or is another memory's.
        """
        start = region.address - BASE
        if self._regions.get(start) is not region:
            raise ValueError(f"{region!r} is no live region of this memory")
        region.live = False
        del self._regions[start]
        del self._starts[bisect_right(self._starts, start) - 1]
        self._mark(start, region.size, False, False)
        self._quarantine.append(region)
        self._quarantined += region._span
        while self._quarantined > self._quarantine_limit:
            self._release(self._quarantine.popleft())

    def protect(
        self, region: Region, offset: int, size: int, *, readable: bool = True, writable: bool = True
    ) -> None:
        """Change what is permitted for a part of a region: pages of an arena, values of a frozen map.

        The part begins at a multiple of 8 and ends at one, or where the region ends.
        """
        if not region.live or offset % 8 or not 0 <= offset <= offset + size <= region.size:
            raise ValueError(f"{size} bytes at {offset} are no part of {region!r}")
        if (offset + size) % 8 and offset + size != region.size:
            raise ValueError("permissions change at multiples of 8 bytes")
        self._mark(region.address - BASE + offset, size, readable, writable)

    @property
    def extent(self) -> int:
        """How many bytes from `BASE` on were ever used for regions; all after them are zero."""
        return self._next

    def find(self, address: int) -> Region | None:
        """The live region that the byte at `address` belongs to."""
        start = address - BASE
        at = bisect_right(self._starts, start) - 1
        if at < 0:
            return None
        region = self._regions[self._starts[at]]
        return region if address < region.end else None

    def regions(self) -> Iterator[Region]:
        """All live regions, by address."""
        return (self._regions[start] for start in list(self._starts))

    # Access

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from `address`. Raises Fault."""
        self.check(address, size, write=False)
        start = address - BASE
        return self._map[start : start + size]

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Put bytes at `address`. Raises Fault."""
        size = len(data)
        self.check(address, size, write=True)
        start = address - BASE
        self._map[start : start + size] = data

    def load(self, address: int, size: int) -> int:
        """The unsigned number of `size` bytes at `address`, little-endian. Raises Fault."""
        self.check(address, size, write=False)
        start = address - BASE
        return int.from_bytes(self._map[start : start + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        """Put the lowest `size` bytes of a number at `address`, little-endian. Raises Fault."""
        self.check(address, size, write=True)
        start = address - BASE
        self._map[start : start + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def read_string(self, address: int, most: int) -> bytes:
        """The bytes from `address` up to the first zero byte (not included), or `most`. Raises Fault."""
        out = bytearray()
        while len(out) < most:
            chunk = self._readable_from(address + len(out), min(256, most - len(out)))
            end = chunk.find(0)
            if end >= 0:
                return bytes(out + chunk[:end])
            out += chunk
        return bytes(out)

    def permits(self, address: int, size: int, *, write: bool = False) -> bool:
        """Whether an access to these bytes is allowed: all in one live region that permits it."""
        start = address - BASE
        end = start + size
        if start < 0 or end > self.size or size <= 0:
            return size == 0
        first, last = start >> 3, (end - 1) >> 3
        tail = self.shadow[last]
        if (tail >> 4 if write else tail & _READ) < ((end - 1) & 7) + 1:
            return False
        if last - first == 1:
            return self.shadow[first] in _FULL[write]
        return first == last or _FULL[write].issuperset(self._shadow_map[first:last])

    def check(self, address: int, size: int, *, write: bool = False) -> None:
        """Raise Fault, with what is wrong in words, unless the access is allowed."""
        if not self.permits(address, size, write=write):
            raise self.fault(address, size, write=write)

    def fault(self, address: int, size: int, *, write: bool = False) -> Fault:
        """The Fault that says why this access is not allowed."""
        verb = "write" if write else "read"
        what = f"{verb} of {size} byte{'s' * (size != 1)} at {_address(address)}"
        return Fault(f"{what}: {self._why(address, size, write)}", address=address, size=size, write=write)

    # Inside

    def _why(self, address: int, size: int, write: bool) -> str:
        if address < 4096:
            return "a null pointer"
        region = self.find(address)
        if region is not None:
            what = f"{region.kind} {region.name!r}" if region.name else f"the {region.kind}"
            if region.kind == "handle":
                return f"{what} is no memory that programs can look into"
            if address + size > region.end:
                return f"{address + size - region.end} beyond the end of {what} ({region.size} bytes)"
            return f"{what} is not {'writable' if write else 'readable'} here"
        for old in reversed(self._quarantine):
            if old.address <= address < old.end:
                name = f" {old.name!r}" if old.name else ""
                return f"{old.kind}{name} was freed"
        at = bisect_right(self._starts, address - BASE) - 1
        if at >= 0 and (near := self._regions[self._starts[at]]) and address - near.end < 4096:
            return f"{address - near.end} bytes after the end of the {near.kind} ({near.size} bytes)"
        if 0 <= at + 1 < len(self._starts):
            near = self._regions[self._starts[at + 1]]
            if near.address - address <= 4096:
                return f"{near.address - address} bytes before the {near.kind} ({near.size} bytes)"
        return "no memory is there"

    def _readable_from(self, address: int, most: int) -> bytes:
        if self.permits(address, most):
            return self.read(address, most)
        for size in range(most - 1, 0, -1):
            if self.permits(address, size):
                return self.read(address, size)
        raise self.fault(address, 1)

    def _take(self, span: int, align: int) -> int:
        ready = self._free.get((span, align))
        if ready:
            start = ready.pop()
            self._map[start : start + span] = bytes(span)
            return start
        start = (self._next + align - 1) & -align
        if start + span > self.size:
            while self._quarantine:
                self._release(self._quarantine.popleft())
            fitting = [key for key, free in self._free.items() if free and key[0] >= span and key[1] >= align]
            if not fitting:
                raise MemoryFull(
                    f"no room for {span} bytes in the machine's memory of {self.size} bytes: give it more, "
                    "as bp.Machine(…, memory=1 << 30)"
                )
            start = self._free[min(fitting)].pop()
            self._map[start : start + span] = bytes(span)
            return start
        self._next = start + span
        return start

    def _release(self, region: Region) -> None:
        self._quarantined -= region._span
        self._free.setdefault((region._span, region.align), []).append(region.address - BASE)

    def _mark(self, start: int, size: int, readable: bool, writable: bool) -> None:
        first, whole, rest = start >> 3, size >> 3, size & 7
        unit = (1 if readable else 0) | (16 if writable else 0)
        self.shadow[first : first + whole] = bytes([8 * unit]) * whole
        if rest:
            self.shadow[first + whole] = rest * unit


def _span(size: int) -> int:
    """Bytes to set aside for a region: its size, a gap, rounded so that freed space fits others."""
    need = size + _GAP
    step = 16
    while need > 64 * step:
        step *= 2
    return (need + step - 1) & -step


def _address(number: int) -> str:
    return hex(number) if number >= _HEX else str(number)
