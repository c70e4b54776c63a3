"""Names of addresses in the kernel, from /proc/kallsyms."""

from __future__ import annotations

from bisect import bisect_right

PATH = "/proc/kallsyms"


class KernelSymbols:
    """Symbols by address. Empty where the kernel hides addresses (kernel.kptr_restrict, no CAP_SYSLOG)."""

    def __init__(self, path: str = PATH) -> None:
        self.names: dict[int, str] = {}
        self.modules: dict[int, str] = {}
        self.call_base = 0
        try:
            with open(path, "rb") as file:
                lines = file.read().decode(errors="replace").split("\n")
        except OSError:
            lines = []
        for line in lines:
            words = line.split(None, 3)
            if len(words) < 3:
                continue
            try:
                address = int(words[0], 16)
            except ValueError:
                continue
            if address and address not in self.names:
                self.names[address] = words[2]
                if len(words) > 3:
                    self.modules[address] = words[3].strip("[]")
            if words[2] == "__bpf_call_base":
                self.call_base = address
        self._sorted: list[int] | None = None

    def name(self, address: int) -> str:
        """The symbol that begins at an address, "" if none does."""
        return self.names.get(address, "")

    def near(self, address: int) -> str:
        """The symbol an address is in, as `name+0x12`; "" if there is none before it."""
        if self._sorted is None:
            self._sorted = sorted(self.names)
        at = bisect_right(self._sorted, address) - 1
        if at < 0:
            return ""
        start = self._sorted[at]
        name = self.names[start]
        return name if start == address else f"{name}+{address - start:#x}"
