"""A small writer of ELF files: sections, symbols and segments as a test wants them."""

from __future__ import annotations

import os
import struct

MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "s390x": 22, "ppc64le": 21}
FUNC, OBJECT, IFUNC, NOTYPE = 2, 1, 10, 0
BASE = 0x400000  # what is at offset N of the file is at BASE + N


class Writer:
    """An ELF file of 64 or 32 bits, all of it one loaded executable segment at `BASE`."""

    def __init__(self, *, wide: bool = True, order: str = "<", kind: int = 3, machine: int = 0) -> None:
        self.wide = wide
        self.order = order
        self.kind = kind
        self.machine = machine or MACHINES.get(os.uname().machine, 62)
        self.sections: list[tuple[str, int, int, bytes, int]] = []  # name, type, flags, content, link

    def section(self, name: str, content: bytes, type: int = 1, flags: int = 2, link: int = 0) -> int:
        """Add a section. Returns its number."""
        self.sections.append((name, type, flags, content, link))
        return len(self.sections)

    def symbols(self, entries: list[tuple[str, int, int, int]], *, dynamic: bool = False) -> None:
        """A symbol table of (name, address, type, binding); names that end others are stored inside them."""
        strings = bytearray(b"\0")
        places: dict[str, int] = {}
        for name in sorted({entry[0] for entry in entries}, key=len, reverse=True):
            at = strings.find(name.encode() + b"\0")
            if at < 0 or not name:
                at = len(strings)
                strings += name.encode() + b"\0"
            places[name] = at
        table = bytearray(24 if self.wide else 16)
        for name, address, kind, bind in entries:
            info = bind << 4 | kind
            defined = 1 if address else 0
            if self.wide:
                table += struct.pack(self.order + "IBBHQQ", places[name], info, 0, defined, address, 16)
            else:
                table += struct.pack(self.order + "IIIBBH", places[name], address, 16, info, 0, defined)
        prefix = "dyn" if dynamic else ""
        link = self.section(f".{prefix}str", bytes(strings), 3)
        self.section(f".{prefix}sym", bytes(table), 11 if dynamic else 2, link=link)

    def layout(self) -> dict[str, int]:
        """Where in the file each section's content goes."""
        at = (64 + 56) if self.wide else (52 + 32)
        places = {}
        for name, _, _, content, _ in self.sections:
            at = (at + 7) & ~7
            places[name] = at
            at += len(content)
        return places

    def bytes(self) -> bytes:
        order, wide = self.order, self.wide
        names = bytearray(b"\0")
        places = self.layout()
        headers = [bytes(64 if wide else 40)]
        for name, type, flags, content, link in (*self.sections, (".shstrtab", 3, 0, b"", 0)):
            at = len(names)
            names += name.encode() + b"\0"
            fields = [
                at,
                type,
                flags,
                BASE + places.get(name, 0),
                places.get(name, 0),
                len(content),
                link,
                0,
                8,
                0,
            ]
            headers.append(struct.pack(order + ("IIQQQQIIQQ" if wide else "10I"), *fields))
        end = (64 + 56) if wide else (52 + 32)
        body = bytearray()
        for name, _, _, content, _ in self.sections:
            body += bytes(places[name] - end - len(body)) + content
        names_at = end + len(body)
        table_at = (names_at + len(names) + 7) & ~7
        fields = list(struct.unpack(order + ("IIQQQQIIQQ" if wide else "10I"), headers[-1]))
        fields[4], fields[5] = names_at, len(names)
        headers[-1] = struct.pack(order + ("IIQQQQIIQQ" if wide else "10I"), *fields)
        size = table_at + sum(map(len, headers))
        ident = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
        head = ident + struct.pack(
            order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
            self.kind,
            self.machine,
            1,
            0,
            64 if wide else 52,
            table_at,
            0,
            64 if wide else 52,
            56 if wide else 32,
            1,
            64 if wide else 40,
            len(headers),
            len(headers) - 1,
        )
        if wide:
            segment = struct.pack(order + "IIQQQQQQ", 1, 7, 0, BASE, BASE, size, size, 0x1000)
        else:
            segment = struct.pack(order + "8I", 1, 0, BASE, BASE, size, size, 7, 0x1000)
        whole = head + segment + bytes(body) + bytes(names)
        return whole + bytes(table_at - len(whole)) + b"".join(headers)


def note(owner: bytes, type: int, value: bytes, order: str = "<") -> bytes:
    """An ELF note."""
    owner += b"\0"
    head = struct.pack(order + "III", len(owner), len(value), type)
    return head + owner + bytes(-len(owner) % 4) + value + bytes(-len(value) % 4)
