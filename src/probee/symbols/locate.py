"""From a binary and a symbol to the place in a file where a uprobe goes."""

from __future__ import annotations

import errno
import os

from probee.errors import AttachError, ObjectError
from probee.symbols import archive, files
from probee.symbols.elf import STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Elf, Symbol
from probee.symbols.table import rank

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CODE = (STT_FUNC, STT_NOTYPE, STT_GNU_IFUNC)
_NEAR = 3


class Location:
    """A place for a uprobe: a file and an offset in it, bytes.

    If it was found by name, `symbol` is the name in the file's table, and `inside` how many bytes behind its
    start the place is. `go` says that Go's linker made the file.
    """

    __slots__ = ("go", "inside", "offset", "path", "symbol")

    def __init__(self, path: str, offset: int, symbol: str = "", inside: int = 0, go: bool = False) -> None:
        self.path = path
        self.offset = offset
        self.symbol = symbol
        self.inside = inside
        self.go = go

    def __repr__(self) -> str:
        return f"Location({self.path}, {self.offset:#x}{', ' + self.symbol if self.symbol else ''})"


def image(binary: str, pid: int | None = None, hook: str = "") -> Elf:
    """The ELF file that `binary` means (as `files.resolve`; also `archive!/member`), open.

    Raises `AttachError` for what is not there, can't be read or is no ELF file.
    """
    hook = hook or binary
    inside = archive.split(binary)
    name = inside[0] if inside else binary
    path = files.resolve(name, pid)
    if path is None:
        raise AttachError(
            f"can't find {name!r}: {files.searched(name, pid)}; give its full path",
            hook=hook,
            errno=errno.ENOENT,
        )
    try:
        if inside:
            start, data = archive.member(path, inside[1])
            return Elf(path, data, start)
        return Elf(path)
    except OSError as error:
        raise AttachError(f"can't read {path}: {error.strerror}", hook=hook, errno=error.errno or 0) from None
    except ObjectError as error:
        raise AttachError(f"can't look into {binary}: {error}", hook=hook) from None


def locate(
    binary: str,
    symbol: str = "",
    pid: int | None = None,
    *,
    offset: int | None = None,
    address: int | None = None,
) -> Location:
    """Where `symbol` of `binary` is, or the byte at `offset` of the file, or at virtual `address` as linked.

    `symbol` may be `name`, `name+offset`, `name@VERSION`, a C++ or Rust name in words, or a plain number: an
    offset in the file. `offset` beside a symbol is bytes from its start.
    Raises `AttachError` for a file or symbol that is not there (with the nearest names).
    """
    hook = f"uprobe {binary}:{symbol or _place_name(offset, address)}"
    with image(binary, pid, hook) as elf:
        if symbol and (number := _number(symbol)) is not None:
            symbol, offset = "", number + (offset or 0)
        if symbol:
            try:
                return _by_name(elf, symbol, offset or 0, hook)
            except ObjectError as error:
                raise AttachError(f"can't look for {symbol}: {error}", hook=hook) from None
        if address is not None:
            found = elf.file_offset(address)
            if found is None:
                raise AttachError(
                    f"{elf.path} holds nothing for the address {address:#x}; it is to be one as linked, "
                    "not as loaded into a process",
                    hook=hook,
                )
            return Location(elf.path, found, go=elf.is_go)
        if offset is None:
            raise AttachError(f"{hook}: name a symbol, an offset or an address", hook=hook)
        return Location(elf.path, offset + elf.start, go=elf.is_go)


def _place_name(offset: int | None, address: int | None) -> str:
    number = offset if address is None else address
    return "" if number is None else f"{number:#x}"


def is_one(binary: str, symbol: str, pid: int | None = None) -> bool:
    """Whether `symbol` is to be a single function: it has no `*` or `?`, or is a C++ name that has them."""
    from probee.symbols.glob import is_pattern

    if not is_pattern(symbol):
        return True
    from probee.symbols import demangle, words

    if not demangle.in_words(symbol):
        return False
    with image(binary, pid, f"uprobe {binary}:{symbol}") as elf:
        return bool(words.named(elf, symbol))


def locate_all(binary: str, names: str | Iterable[str], pid: int | None = None) -> list[Location]:
    """Where all functions are whose names match a pattern (`*`, `?`), or the patterns, of `names`.

    Patterns with `::` or parentheses are of C++ and Rust names in words. Each place comes once, by offset.
    Indirect functions (STT_GNU_IFUNC) don't count. Raises `AttachError` if a pattern matches nothing.
    """
    wanted = [names] if isinstance(names, str) else list(names)
    found: dict[int, Location] = {}
    hook = f"uprobe {binary}:{','.join(wanted)}"
    with image(binary, pid, hook) as elf:
        go = elf.is_go
        for pattern in wanted:
            try:
                symbols = find_functions(elf, pattern)
                if not symbols:
                    raise AttachError(
                        f"no function in {elf.path} matches {pattern}{_hint(elf, pattern)}",
                        hook=hook,
                        errno=errno.ENOENT,
                    )
            except ObjectError as error:
                raise AttachError(f"can't look for {pattern}: {error}", hook=hook) from None
            for symbol in symbols:
                offset = elf.file_offset(symbol.address)
                if offset is not None:
                    found.setdefault(offset, Location(elf.path, offset, symbol.name, go=go))
        return [found[offset] for offset in sorted(found)]


def find_functions(elf: Elf, pattern: str) -> list[Symbol]:
    """The functions that a name or pattern means, plain or in words, in the file or its debug files."""
    from probee.symbols import demangle, words
    from probee.symbols.glob import is_pattern

    search: Callable[[Elf], list[Symbol]]
    if demangle.in_words(pattern):

        def search(file: Elf) -> list[Symbol]:
            return words.named(file, pattern) or (
                words.matching(file, pattern) if is_pattern(pattern) else []
            )

    elif is_pattern(pattern):

        def search(file: Elf) -> list[Symbol]:
            return file.matching(pattern)

    else:

        def search(file: Elf) -> list[Symbol]:
            return [symbol for symbol in file.lookup(pattern) if symbol.type in (STT_FUNC, STT_NOTYPE)]

    return _first(elf, search)


def _first(elf: Elf, search: Callable[[Elf], list[Symbol]]) -> list[Symbol]:
    """What `search` finds in the file, or else in the first debug file of it that has something."""
    found = search(elf)
    if found:
        return found
    from probee.symbols.debugfiles import related

    return next((symbols for file in related(elf) if (symbols := search(file))), [])


# ---- one symbol


def _by_name(elf: Elf, symbol: str, offset: int, hook: str) -> Location:
    name, plus, rest = symbol.rpartition("+")
    extra = _number(rest) if plus else None
    if extra is None:
        name = symbol
        if plus and "operator" not in symbol:
            raise AttachError(f"{symbol!r} is not a symbol and a number of bytes, as in main+0x10", hook=hook)
    offset += extra or 0
    found = _candidates(elf, name)
    if not found:
        raise AttachError(_no_symbol(elf, name), hook=hook, errno=errno.ENOENT)
    chosen = _only(elf, name, found, hook)
    if chosen.type not in _CODE:
        raise AttachError(f"{name} in {elf.path} is data, not a function", hook=hook)
    if chosen.type == STT_GNU_IFUNC:
        place = _implementation(elf, chosen, hook)
        return Location(elf.path, place + offset, chosen.name, offset)
    start = elf.file_offset(chosen.address)
    if start is None or (chosen.type == STT_NOTYPE and not elf.is_code(chosen.address)):
        raise AttachError(f"{name} in {elf.path} is not code that the file holds", hook=hook)
    return Location(elf.path, start + offset, chosen.name, offset, elf.is_go)


def _candidates(elf: Elf, name: str) -> list[Symbol]:
    found = _first(elf, lambda file: file.lookup(name))
    if found:
        return found
    from probee.symbols import demangle

    if demangle.in_words(name):
        from probee.symbols import words

        return _first(elf, lambda file: words.named(file, name))
    return []


def _only(elf: Elf, name: str, found: list[Symbol], hook: str) -> Symbol:
    """The one of the symbols of a name that is meant; `AttachError` if there are several of equal rank."""
    best = min(found, key=rank)
    equals = [symbol for symbol in found if rank(symbol) == rank(best)]
    if len(equals) == 1:
        return best
    from probee.symbols.demangle import demangle

    places = ", ".join(f"{demangle(s.name)} at {s.address:#x}" for s in equals[:5])
    raise AttachError(
        f"{name} means {len(equals)} functions of {elf.path}: {places}{', …' if len(equals) > 5 else ''}; "
        "name one of them in full, or by its address, or probe them all with attach_uprobe_multi",
        hook=hook,
    )


def _implementation(elf: Elf, symbol: Symbol, hook: str) -> int:
    """Where the implementation is that an indirect function's resolver picks on this machine."""
    from probee.symbols.process import mappings
    from probee.sys.loaded import address_of

    address = address_of(elf.path, symbol.name)
    if address:
        for mapping in mappings(os.getpid()):
            if mapping.start <= address < mapping.end and mapping.executable:
                return address - mapping.start + mapping.offset
    near = [s.name for s in elf.matching(f"*{symbol.name}_*")][:_NEAR]
    raise AttachError(
        f"{symbol.name} in {elf.path} is an indirect function: only the resolver that picks its "
        "implementation is there, and it runs once; probe the function it picks"
        + (f" (one of {', '.join(near)}, perhaps)" if near else ""),
        hook=hook,
    )


# ---- what to say


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _no_symbol(elf: Elf, name: str) -> str:
    if elf.imports(name):
        return (
            f"{name} is not in {elf.path}, which takes it from a library; probe it there, "
            f"for example as c:{name} in libc"
        )
    if not any(table.count > 1 for table in elf.tables):
        return f"{elf.path} has no symbols (it is stripped) and no debug file; give a file offset as a number"
    return f"no symbol {name} in {elf.path}{_hint(elf, name)}"


def _hint(elf: Elf, name: str) -> str:
    from probee.symbols.near import near_names

    near = near_names(elf, name)
    return f"; did you mean {' or '.join(near)}?" if near else ""
