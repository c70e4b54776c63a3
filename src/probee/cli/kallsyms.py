"""Names of addresses in the kernel, from /proc/kallsyms."""

from __future__ import annotations

from bisect import bisect_right

PATH = "/proc/kallsyms"


class KernelSymbols:
    """Symbols by address. Has none where the kernel hides addresses (kernel.kptr_restrict, no CAP_SYSLOG).

    The list is long, so it is searched as it is; only `near` needs it in order.
    """

    def __init__(self, path: str = PATH) -> None:
        try:
            with open(path, "rb") as file:
                self._lines = b"\n" + file.read()
        except OSError:
            self._lines = b"\n"
        self._known: dict[int, str] = {}
        self._sorted: list[int] = []
        self._names: dict[int, str] = {}
        self._base = -1

    @property
    def call_base(self) -> int:
        """What the numbers of helper calls in translated code count from; 0 if it is hidden."""
        if self._base < 0:
            at = self._lines.find(b" __bpf_call_base\n")
            start = self._lines.rfind(b"\n", 0, max(0, at)) + 1
            self._base = int(self._lines[start:at].split()[0], 16) if at >= 0 else 0
        return self._base

    def name(self, address: int) -> str:
        """The symbol that begins at an address, "" if none does."""
        if not address:
            return ""
        if address not in self._known:
            at = self._lines.find(b"\n%016x " % address)
            line = self._lines[at + 1 : self._lines.find(b"\n", at + 1)] if at >= 0 else b""
            words = line.split(None, 3)
            self._known[address] = words[2].decode(errors="replace") if len(words) > 2 else ""
        return self._known[address]

    def near(self, address: int) -> str:
        """The symbol an address is in, as `name+0x12`; "" if there is none before it."""
        exact = self.name(address)
        if exact:
            return exact
        if not self._sorted:
            self._sort()
        at = bisect_right(self._sorted, address) - 1
        if at < 0:
            return ""
        start = self._sorted[at]
        return f"{self._names[start]}+{address - start:#x}"

    def _sort(self) -> None:
        for line in self._lines.split(b"\n"):
            words = line.split(None, 3)
            if len(words) < 3 or not words[0].strip(b"0"):
                continue
            try:
                self._names.setdefault(int(words[0], 16), words[2].decode(errors="replace"))
            except ValueError:
                continue
        self._sorted = sorted(self._names)
