"""Addresses of stacks as names: of the kernel's functions, and of a process's.

KernelSymbols.read().names(stack)        # probee.symbols.kallsyms
with ProcessSymbols(pid) as symbols: symbols.names(stack)
"""

from __future__ import annotations

import os
from bisect import bisect_right

from probee.errors import AttachError, ObjectError
from probee.symbols import process
from probee.symbols.demangle import demangle
from probee.symbols.elf import Elf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from probee.symbols.process import Mapping


class Frame:
    """What is known of an address.

    `name` is the function's, "" if none is known; `behind` is bytes from its start. `file` is the process's
    name for the program or library, "" if the address is in none; `offset` is bytes into that.
    """

    __slots__ = ("address", "behind", "file", "name", "offset")

    def __init__(
        self, address: int, file: str = "", offset: int = 0, name: str = "", behind: int = 0
    ) -> None:
        self.address = address
        self.file = file
        self.offset = offset
        self.name = name
        self.behind = behind

    def __repr__(self) -> str:
        return f"Frame({self})"

    def __str__(self) -> str:
        """`function+0x1f (libc.so.6)`, as much of it as is known."""
        file = os.path.basename(self.file)
        if self.name:
            place = f"{self.name}+{self.behind:#x}" if self.behind else self.name
            return f"{place} ({file})"
        return f"{file}+{self.offset:#x}" if file else f"{self.address:#x}"


class ProcessSymbols:
    """The functions of process `pid`, as it is mapped when this is made; `refresh` looks again.

    Raises `AttachError` if there is no such process, `PermissionDenied` if we may not look. Files that were
    looked into stay open until `close()`.
    """

    __slots__ = ("_debug", "_files", "_mappings", "_names", "_starts", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._files: dict[str, Elf | None] = {}
        self._debug: dict[str, list[Elf]] = {}
        self._names: dict[int, Frame] = {}
        self._mappings: list[Mapping] = []
        self._starts: list[int] = []
        self.refresh()

    def __enter__(self) -> ProcessSymbols:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        for file in self._files.values():
            if file is not None:
                file.close()
        self._files.clear()

    def refresh(self) -> None:
        """Read anew what the process has mapped: it may have loaded libraries."""
        self._mappings = sorted(process.mappings(self.pid), key=lambda mapping: mapping.start)
        self._starts = [mapping.start for mapping in self._mappings]
        self._names.clear()

    def names(self, addresses: Iterable[int]) -> list[str]:
        """Each address in words: `function+0x1f (libc.so.6)`, or a number where nothing is known."""
        return [str(frame) for frame in self.frames(addresses)]

    def frames(self, addresses: Iterable[int]) -> list[Frame]:
        """What is known of each address."""
        return [self.at(address) for address in addresses]

    def at(self, address: int) -> Frame:
        """What is known of one address."""
        found = self._names.get(address)
        if found is None:
            found = self._names[address] = self._look(address)
        return found

    def _look(self, address: int) -> Frame:
        index = bisect_right(self._starts, address) - 1
        mapping = self._mappings[index] if index >= 0 else None
        if mapping is None or address >= mapping.end:
            return Frame(address)
        offset = address - mapping.start + mapping.offset
        elf = self._file(mapping)
        linked = elf.address_of(offset) if elf is not None else None
        if elf is None or linked is None:
            return Frame(address, mapping.path, offset)
        symbol = None
        try:
            for file in (elf, *self._related(mapping.path, elf)):
                found = file.at(linked)
                if found is not None and (symbol is None or found.address > symbol.address):
                    symbol = found
        except ObjectError:
            pass
        if symbol is None:
            return Frame(address, mapping.path, offset)
        return Frame(address, mapping.path, offset, demangle(symbol.name), linked - symbol.address)

    def _file(self, mapping: Mapping) -> Elf | None:
        if mapping.path not in self._files:
            try:
                self._files[mapping.path] = Elf(process.file_of(self.pid, mapping))
            except (OSError, ObjectError, AttachError):
                self._files[mapping.path] = None
        return self._files[mapping.path]

    def _related(self, path: str, elf: Elf) -> list[Elf]:
        """Packed symbols of a stripped file. Debug files are as a rule too large to be opened for a name."""
        if path not in self._debug:
            from probee.symbols.debugfiles import unpacked

            packed = unpacked(elf)
            self._debug[path] = [packed] if packed is not None else []
        return self._debug[path]
