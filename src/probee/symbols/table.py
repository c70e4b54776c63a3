"""One symbol table of an ELF file, searched as a whole: by name, by pattern, by address.

Nothing here runs Python code for each symbol: names are found as bytes in the string table, then the entries
that refer to them, as bytes too or through columns of the table.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from itertools import compress, count
from sys import byteorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from probee.symbols.versions import Versions

STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_GNU_IFUNC = 0, 1, 2, 10
STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = 0, 1, 2, 10
_IS_CODE = bytes((info & 15) in (STT_FUNC, STT_GNU_IFUNC) for info in range(256))
_FEW = 8  # names looked up one by one; above, one pass over the table finds all
_MANY = 4000  # texts that hold a pattern's literal: above, try every name
_STRAY = 4096  # bytes that look like a reference to a name and aren't: above, search by columns


class Symbol:
    """A defined symbol. `address` is virtual, as linked; `size` is bytes, 0 if unknown; `type` is STT_….

    `bind` is STB_…. `version` is the symbol version ("GLIBC_2.14", "" if it has none), and `default` whether
    it is the one that programs linked now get.
    """

    __slots__ = ("address", "bind", "default", "name", "size", "type", "version")

    def __init__(
        self,
        name: str,
        address: int,
        size: int,
        type: int,
        bind: int = STB_GLOBAL,
        version: str = "",
        default: bool = True,
    ) -> None:
        self.name = name
        self.address = address
        self.size = size
        self.type = type
        self.bind = bind
        self.version = version
        self.default = default

    def __repr__(self) -> str:
        mark = ("@@" if self.default else "@") + self.version if self.version else ""
        return f"Symbol({self.name}{mark}, address={self.address:#x}, size={self.size})"


class SymbolTable:
    """`.symtab` or `.dynsym`: `count` entries and the string table with their names, read when first used.

    `read` gives a part of the file: (offset, size) of the entries and of the strings.
    """

    __slots__ = (
        "_columns",
        "_entries",
        "_form",
        "_functions",
        "_order",
        "_read",
        "_starts",
        "_strings",
        "_text",
        "_wide",
        "count",
        "entry",
        "offset",
        "versions",
    )

    def __init__(
        self,
        read: Callable[[int, int], bytes],
        order: str,
        wide: bool,
        entries: tuple[int, int],
        strings: tuple[int, int],
        versions: Versions | None,
    ) -> None:
        self._read = read
        self._order = order
        self._wide = wide
        self.entry = 24 if wide else 16
        self.offset, size = entries
        self.count = size // self.entry
        self.versions = versions
        self._strings = strings
        self._entries: bytes | None = None
        self._text: bytes | None = None
        self._columns: dict[str, list[int]] = {}
        self._form = struct.Struct(order + ("IBBHQQ" if wide else "IIIBBH"))
        self._starts: list[int] | None = None
        self._functions: dict[int, Symbol | None] = {}

    @property
    def entries(self) -> bytes:
        """The table itself."""
        if self._entries is None:
            self._entries = self._read(self.offset, self.count * self.entry)
        return self._entries

    @property
    def text(self) -> bytes:
        """The string table, with a NUL after its last byte."""
        if self._text is None:
            self._text = self._read(*self._strings) + b"\0"
        return self._text

    # ---- single entries

    def raw(self, index: int) -> tuple[int, int, int, int, int]:
        """(name offset, info, section index, value, size)."""
        if self._wide:
            name, info, _, section, value, size = self._form.unpack_from(self.entries, index * self.entry)
        else:
            name, value, size, info, _, section = self._form.unpack_from(self.entries, index * self.entry)
        return name, info, section, value, size

    def symbol(self, index: int) -> Symbol | None:
        """The entry as a `Symbol`; `None` if it is undefined, or nameless."""
        name, info, section, value, size = self.raw(index)
        if not section or not value:
            return None
        names = self.text
        end = names.find(b"\0", name)
        if end <= name:
            return None
        text = names[name:end].decode(errors="replace")
        version, default = ("", True) if self.versions is None else self.versions.of(index)
        return Symbol(text, value, size, info & 15, info >> 4, version, default)

    def undefined(self, name: str) -> bool:
        """Whether `name` is here as a symbol that another file is to define."""
        return any(not self.raw(index)[2] for index in self.named(name.encode()))

    # ---- searches

    def named(self, name: bytes) -> list[int]:
        """The entries whose name is `name`, in order."""
        text = self.text
        places = []
        at = text.find(name + b"\0") if name else -1
        while at >= 0:  # "main" is also the end of "domain", and linkers do store it there only
            places.append(at)
            at = text.find(name + b"\0", at + 1)
        if len(places) > _FEW:
            return self._referring(set(places))
        found: list[int] = []
        for place in places:
            found += self._references(place)
        return sorted(found)

    def _references(self, name: int) -> list[int]:
        """The entries whose name is at `name` in the string table."""
        return self._holding(struct.pack(self._order + "I", name), 0, lambda: self._referring({name}))

    def _holding(self, field: bytes, place: int, otherwise: Callable[[], list[int]]) -> list[int]:
        """The entries with the bytes `field` at `place`; `otherwise()` if finding them so takes too long."""
        entries, entry = self.entries, self.entry
        found = []
        stray = 0
        at = entries.find(field, place)
        while at >= 0:
            index, rest = divmod(at - place, entry)
            if rest:
                stray += 1
                if stray > _STRAY:
                    return otherwise()
                at = entries.find(field, at + 1)
            else:
                found.append(index)
                at = entries.find(field, at + entry)
        return found

    def _referring(self, names: set[int]) -> list[int]:
        return list(compress(count(), map(names.__contains__, self.names())))

    def matching(self, pattern: str) -> list[int]:
        """The entries whose name matches `pattern` (`*`, `?`), in order."""
        from probee.symbols.glob import longest_literal, name_regex

        if not pattern.strip("*"):
            return list(range(self.count)) if pattern else []
        match = name_regex(pattern).match
        text = self.text
        literal = longest_literal(pattern)
        places = self._holders(literal, pattern.encode().startswith(literal)) if literal else None
        # If most names hold it, all are tried.
        found = {place for place in (set(self.names()) if places is None else places) if match(text, place)}
        if len(found) <= _FEW:
            return sorted(index for place in found for index in self._references(place))
        return self._referring(found)

    def _holders(self, literal: bytes, first: bool) -> list[int] | None:
        """Where names may start that hold `literal`, or (`first`) start with it; `None` if they are many."""
        text = self.text
        names = [] if first else sorted(self.names())
        found: list[int] = []
        at = text.find(literal)
        while at >= 0 and len(found) <= _MANY:
            if first:
                found.append(at)
                at = text.find(literal, at + 1)
            else:
                # Names that are ends of others start inside of them.
                start, end = text.rfind(b"\0", 0, at) + 1, text.find(b"\0", at)
                found += names[bisect_left(names, start) : bisect_right(names, end)]
                at = text.find(literal, end)
        return found if len(found) <= _MANY else None

    def at(self, address: int) -> Symbol | None:
        """The function that `address` is in, or that starts last before it; `None` if none does."""
        if self._starts is None:
            self._starts = sorted(compress(self.values(), self.infos().translate(_IS_CODE)))
        below = bisect_right(self._starts, address) - 1
        if below < 0 or not self._starts[below]:
            return None
        start = self._starts[below]
        if start not in self._functions:
            self._functions[start] = self._starting(start)
        found = self._functions[start]
        if found is None or (found.size and address >= start + found.size):
            return None
        return found

    def _starting(self, address: int) -> Symbol | None:
        """The function that starts at `address`; of several names a global one, then a weak one."""
        field = struct.pack(self._order + ("Q" if self._wide else "I"), address)
        indices = self._holding(
            field,
            8 if self._wide else 4,
            lambda: list(compress(count(), map(address.__eq__, self.values()))),
        )
        symbols = [symbol for symbol in map(self.symbol, indices) if symbol is not None]
        functions = [symbol for symbol in symbols if symbol.type in (STT_FUNC, STT_GNU_IFUNC)]
        return min(functions, key=rank, default=None)

    # ---- columns

    def _column(self, code: Literal["I", "Q"], first: int, step: int) -> list[int]:
        key = f"{code}{first}"
        found = self._columns.get(key)
        if found is None:
            if (self._order == "<") == (byteorder == "little"):
                found = memoryview(self.entries).cast(code)[first::step].tolist()
            else:
                numbers = len(self.entries) // struct.calcsize(code)
                found = list(struct.unpack(f"{self._order}{numbers}{code}", self.entries)[first::step])
            self._columns[key] = found
        return found

    def names(self) -> list[int]:
        """Each entry's offset in the string table."""
        return self._column("I", 0, self.entry // 4)

    def infos(self) -> bytes:
        """Each entry's type and binding."""
        return self.entries[4 if self._wide else 12 :: self.entry]

    def values(self) -> list[int]:
        """Each entry's address."""
        return self._column("Q", 1, 3) if self._wide else self._column("I", 1, 4)

    def texts(self) -> list[bytes]:
        """Every name, once."""
        text = self.text
        return [text[place : text.find(b"\0", place)] for place in set(self.names()) if place < len(text)]


def rank(symbol: Symbol) -> tuple[bool, int]:
    """For sorting: default versions first, then global before weak before local symbols."""
    order = {STB_GLOBAL: 0, STB_WEAK: 1, STB_LOCAL: 2}
    return not symbol.default, order.get(symbol.bind, 0)
