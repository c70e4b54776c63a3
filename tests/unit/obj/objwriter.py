"""Writes small ELF objects for tests: sections, symbols, relocations, BTF. Independent of the reader."""

from __future__ import annotations

import struct

PROGBITS, SYMTAB, STRTAB, NOBITS, REL = 1, 2, 3, 8, 9
ALLOC_EXEC, ALLOC_WRITE, ALLOC = 6, 3, 2
LOCAL, GLOBAL, WEAK = 0, 1, 2
NOTYPE, OBJECT, FUNC, SECTION = 0, 1, 2, 3


class Strings:
    def __init__(self) -> None:
        self.blob = b"\0"

    def add(self, text: str) -> int:
        if not text:
            return 0
        at = self.blob.find(b"\0" + text.encode() + b"\0")
        if at >= 0:
            return at + 1
        self.blob += text.encode() + b"\0"
        return len(self.blob) - len(text.encode()) - 1


class BtfWriter:
    """Types one after the other; each method gives the new type's id."""

    def __init__(self, endian: str = "little") -> None:
        self.order = "<" if endian == "little" else ">"
        self.strings = Strings()
        self.types = b""
        self.count = 0

    def _add(self, name: str, kind: int, vlen: int, size: int, *words: int) -> int:
        head = (self.strings.add(name), kind << 24 | vlen, size & 0xFFFFFFFF)
        self.types += struct.pack(f"{self.order}{3 + len(words)}I", *head, *words)
        self.count += 1
        return self.count

    def int(self, name: str, size: int, encoding: int = 0) -> int:
        return self._add(name, 1, 0, size, encoding << 24 | size * 8)

    def ptr(self, to: int) -> int:
        return self._add("", 2, 0, to)

    def array(self, of: int, count: int, index: int) -> int:
        return self._add("", 3, 0, 0, of, index, count)

    def struct(self, name: str, size: int, members: list[tuple[str, int, int]]) -> int:
        """Members are (name, type, byte offset)."""
        words = [w for n, t, o in members for w in (self.strings.add(n), t, o * 8)]
        return self._add(name, 4, len(members), size, *words)

    def proto(self, result: int = 0) -> int:
        return self._add("", 13, 0, result)

    def func(self, name: str, proto: int, linkage: int = 1) -> int:
        return self._add(name, 12, linkage, proto)

    def var(self, name: str, type: int, linkage: int = 1) -> int:
        return self._add(name, 14, 0, type, linkage)

    def decl_tag(self, name: str, type: int) -> int:
        return self._add(name, 17, 0, type, 0xFFFFFFFF)

    def datasec(self, name: str, entries: list[tuple[int, int, int]]) -> int:
        """Entries are (variable, offset, size). The section's own size is left open, as compilers do."""
        return self._add(name, 15, len(entries), 0, *[w for e in entries for w in e])

    def build(self) -> bytes:
        types, strings = self.types, self.strings.blob
        head = struct.pack(self.order + "HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
        return head + types + strings

    def ext(
        self,
        funcs: dict[str, list[tuple[int, int]]],
        lines: dict[str, list[tuple[int, int, int, int]]],
        core: dict[str, list[tuple[int, int, str, int]]],
    ) -> bytes:
        """The `.BTF.ext` section. Call before `build`: it adds strings."""
        tables = []
        core_words = {
            name: [(off, type, self.strings.add(path), kind) for off, type, path, kind in rows]
            for name, rows in core.items()
        }
        for words, records in ((2, funcs), (4, lines), (4, core_words)):
            blob = struct.pack(self.order + "I", words * 4)
            for name, rows in records.items():
                blob += struct.pack(self.order + "II", self.strings.add(name), len(rows))
                for row in rows:
                    blob += struct.pack(f"{self.order}{words}I", *row)
            tables.append(blob)
        head = struct.pack(self.order + "HBBI", 0xEB9F, 1, 0, 32)
        at = 0
        for blob in tables:
            head += struct.pack(self.order + "II", at, len(blob))
            at += len(blob)
        return head + b"".join(tables)


class ElfWriter:
    """Sections in the order they are added, from index 1 on; then symbols and names."""

    def __init__(self, endian: str = "little", machine: int = 247, type: int = 1) -> None:
        self.endian = endian
        self.order = "<" if endian == "little" else ">"
        self.machine = machine
        self.type = type
        self.sections: list[list[object]] = []
        self.symbols: list[tuple[object, ...]] = [("", NOTYPE, LOCAL, 0, 0, 0, 0)]

    def section(
        self, name: str, data: bytes, *, type: int = PROGBITS, flags: int = 0, info: int = 0, size: int = -1
    ) -> int:
        length = len(data) if size < 0 else size
        self.sections.append([name, type, flags, data, 0, info, length])
        return len(self.sections)

    def code(self, name: str, data: bytes) -> int:
        return self.section(name, data, flags=ALLOC_EXEC)

    def symbol(
        self,
        name: str,
        section: int,
        value: int = 0,
        size: int = 0,
        *,
        type: int = FUNC,
        bind: int = GLOBAL,
        other: int = 0,
    ) -> int:
        self.symbols.append((name, type, bind, other, section, value, size))
        return len(self.symbols) - 1

    def relocations(self, target: int, entries: list[tuple[int, int, int]]) -> int:
        """Entries are (offset, type, symbol)."""
        data = b"".join(struct.pack(self.order + "QQ", o, s << 32 | t) for o, t, s in entries)
        return self.section(f".rel{self.sections[target - 1][0]}", data, type=REL, info=target)

    def build(self) -> bytes:
        strings = Strings()
        table = b""
        for name, type, bind, other, shndx, value, size in self.symbols:
            info = int(bind) << 4 | int(type)  # type: ignore[call-overload]
            row = (strings.add(str(name)), info, other, shndx, value, size)
            table += struct.pack(self.order + "IBBHQQ", *row)
        count = len(self.sections)
        rows = [list(s) for s in self.sections]
        for row in rows:
            if row[1] == REL:
                row[4] = count + 1
        rows.append([".symtab", SYMTAB, 0, table, count + 2, 1, len(table)])
        rows.append([".strtab", STRTAB, 0, b"", 0, 0, 0])
        for row in rows:
            strings.add(str(row[0]))
        rows[-1][3], rows[-1][6] = strings.blob, len(strings.blob)
        body, heads = b"", bytes(64)
        for name, type, flags, data, link, info, size in rows:
            assert isinstance(data, bytes)
            offset = 64 + len(body)
            entry = {SYMTAB: 24, REL: 16}.get(int(type), 0)  # type: ignore[call-overload]
            fields = (strings.add(str(name)), type, flags, 0, offset, size, link, info, 8, entry)
            heads += struct.pack(self.order + "IIQQQQIIQQ", *fields)
            body += data + bytes(-len(data) % 8)
        ident = b"\x7fELF" + bytes([2, 1 if self.endian == "little" else 2, 1]) + bytes(9)
        rest = (self.type, self.machine, 1, 0, 0, 64 + len(body), 0, 64, 0, 0, 64, len(rows) + 1, len(rows))
        return ident + struct.pack(self.order + "HHIQQQIHHHHHH", *rest) + body + heads
