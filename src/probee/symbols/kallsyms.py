"""The running kernel's symbols (`/proc/kallsyms`, proc(5)): by name, by pattern, by address, with modules.

The file is read once and searched as bytes: no Python work for each of its more than 100,000 lines.
"""

from __future__ import annotations

import os
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

KALLSYMS = "/proc/kallsyms"
_CHUNK = 1 << 20
_FURTHEST = 1 << 20  # bytes: what lies further behind a symbol than this isn't in it
_ADDRESS_SPACE = 1 << 64


class KernelSymbol:
    """A symbol of the kernel. `kind` is nm(1)'s letter; `module` is "" for the kernel proper.

    `address` is 0 for readers whom kernel.kptr_restrict hides addresses from.
    """

    __slots__ = ("address", "kind", "module", "name")

    def __init__(self, name: str, address: int, kind: str, module: str) -> None:
        self.name = name
        self.address = address
        self.kind = kind
        self.module = module

    def __repr__(self) -> str:
        where = f" [{self.module}]" if self.module else ""
        return f"KernelSymbol({self.name}{where}, {self.address:#x}, {self.kind})"

    @property
    def is_function(self) -> bool:
        return self.kind in "tTwW"


class KernelSymbols:
    """All symbols of one reading. `text` is what the file says; lines that make no sense are skipped."""

    __slots__ = ("_addresses", "_lines", "text")

    def __init__(self, text: bytes) -> None:
        self.text = b"\n" + text + (b"" if text.endswith(b"\n") else b"\n")
        self._addresses: list[int] | None = None
        self._lines: list[int] = []

    @classmethod
    def read(cls, path: str = KALLSYMS) -> KernelSymbols:
        """What the running kernel says. Raises `OSError` where there is no such file (CONFIG_KALLSYMS)."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = []
            while chunk := os.read(fd, _CHUNK):
                chunks.append(chunk)
        finally:
            os.close(fd)
        return cls(b"".join(chunks))

    def __len__(self) -> int:
        return max(0, self.text.count(b"\n") - 1)

    @property
    def hidden(self) -> bool:
        """Whether all addresses read as 0 (kernel.kptr_restrict, or no CAP_SYSLOG)."""
        return not self._table()

    def _at(self, start: int) -> KernelSymbol | None:
        """The symbol of the line that starts at `start`."""
        parts = self.text[start : self.text.find(b"\n", start)].split()
        if len(parts) < 3 or len(parts[1]) != 1:
            return None
        try:
            address = int(parts[0], 16)
        except ValueError:
            return None
        if not 0 <= address < _ADDRESS_SPACE:
            return None
        module = parts[3].decode(errors="replace").strip("[]") if len(parts) > 3 else ""
        return KernelSymbol(parts[2].decode(errors="replace"), address, chr(parts[1][0]), module)

    def find(self, name: str, module: str | None = None) -> list[KernelSymbol]:
        """Every symbol called `name`, in the file's order; more than one for static functions of one name.

        `module` asks for that module's only, "" for the kernel's proper.
        """
        found = []
        wanted = name.encode()
        if not wanted or any(mark in wanted for mark in b" \t\n"):
            return []
        at = self.text.find(b" " + wanted)
        while at >= 0:
            end = at + 1 + len(wanted)
            if self.text[end : end + 1] in b"\n\t":
                symbol = self._at(self.text.rfind(b"\n", 0, at) + 1)
                if symbol is not None and (module is None or symbol.module == module):
                    found.append(symbol)
            at = self.text.find(b" " + wanted, end)
        return found

    def address(self, name: str, module: str | None = None) -> int:
        """The address of the first symbol called `name`; 0 if there is none, or if addresses are hidden."""
        found = self.find(name, module)
        return found[0].address if found else 0

    def matching(self, pattern: str, module: str | None = None) -> list[KernelSymbol]:
        """The functions whose name matches `pattern` (`*`, `?`), in the file's order."""
        from probee.symbols.glob import line_regex

        regex = line_regex(pattern, rb" [tTwW] ")
        starts = [self.text.rfind(b"\n", 0, match.start()) + 1 for match in regex.finditer(self.text)]
        symbols = [symbol for symbol in map(self._at, starts) if symbol is not None]
        return [s for s in symbols if module is None or s.module == module]

    def modules(self) -> list[str]:
        """The modules that have symbols, sorted; programs loaded by BPF show as `bpf`."""
        import re

        return sorted({m.decode(errors="replace") for m in re.findall(rb"\t\[([^\]\n]+)\]\n", self.text)})

    def at(self, address: int) -> tuple[KernelSymbol, int] | None:
        """(symbol, bytes behind its start) for an address of code or data; `None` if nothing is near."""
        table = self._table()
        index = bisect_right(table, address) - 1
        if index < 0 or address - table[index] > _FURTHEST:
            return None
        first = index  # aliases share an address; nm's order has the usual name first
        while first and table[first - 1] == table[index]:
            first -= 1
        symbol = self._at(self._lines[first])
        return (symbol, address - symbol.address) if symbol is not None else None

    def names(self, addresses: Iterable[int]) -> list[str]:
        """Each address as `name+0x1f`, with ` [module]`; in hexadecimal where nothing is known of it."""
        out = []
        for address in addresses:
            found = self.at(address)
            if found is None:
                out.append(f"{address:#x}")
                continue
            symbol, behind = found
            text = f"{symbol.name}+{behind:#x}" if behind else symbol.name
            out.append(f"{text} [{symbol.module}]" if symbol.module else text)
        return out

    def _table(self) -> list[int]:
        """Addresses in order; `_lines` holds where each one's line starts. Symbols at 0 are left out."""
        if self._addresses is None:
            import re
            from array import array
            from sys import byteorder

            # Lines of the file's usual form only: 16 digits, so that all of them convert in one go.
            lines = [m.start() + 1 for m in re.finditer(rb"\n[0-9a-f]{16} [^\W\d_] \S", self.text)]
            values = array("Q", bytes.fromhex(b"".join([self.text[s : s + 16] for s in lines]).decode()))
            if byteorder == "little":
                values.byteswap()
            pairs = sorted(zip(values, lines, strict=True))
            pairs = pairs[values.count(0) :]
            self._addresses = [address for address, _ in pairs]
            self._lines = [line for _, line in pairs]
        return self._addresses
