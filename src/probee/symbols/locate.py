"""From a binary and a symbol to the place in a file where a uprobe goes."""

from __future__ import annotations

import errno
import os

from probee.errors import AttachError, ObjectError
from probee.symbols.elf import STT_GNU_IFUNC, Elf, Symbol
from probee.symbols.files import resolve

_DEBUG_DIRECTORY = "/usr/lib/debug/.build-id"


class Location:
    """A place for a uprobe: a file and an offset in it, bytes."""

    __slots__ = ("offset", "path")

    def __init__(self, path: str, offset: int) -> None:
        self.path = path
        self.offset = offset

    def __repr__(self) -> str:
        return f"Location({self.path}, {self.offset:#x})"


def locate(binary: str, symbol: str, pid: int | None = None) -> Location:
    """Where `symbol` of `binary` is. `symbol` may be `name`, `name+offset`, or a plain number: a file offset.

    Raises `AttachError` for a file or symbol that is not there (with the nearest names).
    """
    hook = f"uprobe {binary}:{symbol}"
    path = resolve(binary, pid)
    if path is None:
        where = "no such file" if "/" in binary else "no library and no executable on PATH has that name"
        raise AttachError(
            f"can't find {binary!r}: {where}; give its full path", hook=hook, errno=errno.ENOENT
        )
    number = _number(symbol)
    if number is not None:
        return Location(path, number)
    name, plus, rest = symbol.partition("+")
    extra = _number(rest) if plus else 0
    if extra is None:
        raise AttachError(f"{symbol!r} is not a symbol and a number of bytes, as in main+0x10", hook=hook)
    try:
        with Elf(path) as elf:
            found = elf.find(name) or _in_debug_file(elf, name)
            if found is None:
                raise AttachError(_no_symbol(elf, name), hook=hook, errno=errno.ENOENT)
            if found.type == STT_GNU_IFUNC and not extra:
                raise AttachError(
                    f"{name} in {path} is an indirect function: only the resolver that picks its "
                    "implementation is there, and it runs once; probe the function it picks",
                    hook=hook,
                )
            offset = elf.file_offset(found.address)
    except OSError as error:
        raise AttachError(f"can't read {path}: {error.strerror}", hook=hook, errno=error.errno or 0) from None
    except ObjectError as error:
        raise AttachError(f"can't look for {name}: {error}", hook=hook) from None
    if offset is None:
        raise AttachError(f"{name} in {path} is not code or data that the file holds", hook=hook)
    return Location(path, offset + extra)


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _in_debug_file(elf: Elf, name: str) -> Symbol | None:
    """Look in the separate debug file that distributions install for a stripped binary."""
    build_id = elf.build_id()
    path = f"{_DEBUG_DIRECTORY}/{build_id[:2]}/{build_id[2:]}.debug"
    if not build_id or not os.path.exists(path):
        return None
    with Elf(path) as debug:
        return debug.find(name)


def _no_symbol(elf: Elf, name: str) -> str:
    import difflib

    names = {symbol.name for symbol in elf.symbols()}
    if not names:
        return f"{elf.path} has no symbols (it is stripped); give a file offset as a number"
    near = difflib.get_close_matches(name, names, 3, 0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"no symbol {name} in {elf.path}{hint}"
