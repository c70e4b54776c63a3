"""Which kernel functions can be probed: ftrace's list and the blacklist of kprobes.

`available_filter_functions` and `available_filter_functions_addrs` (Linux 6.5) are described in the kernel's
Documentation/trace/ftrace.rst, the blacklist in Documentation/trace/kprobes.rst.
"""

from __future__ import annotations

import os

from probee.sys import tracefs

BLACKLISTS = ("/sys/kernel/debug/kprobes/blacklist",)
_CHUNK = 1 << 20


class Traceable:
    """The functions that ftrace can hook. `text` is the list as the kernel gives it."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = b"\n" + text + (b"" if text.endswith(b"\n") else b"\n")

    @classmethod
    def read(cls) -> Traceable:
        """Raises `OSError` if the kernel has no such list (CONFIG_DYNAMIC_FTRACE) or won't show it."""
        return cls(_read(tracefs.root() + "/available_filter_functions"))

    def __contains__(self, name: str) -> bool:
        wanted = b"\n" + name.encode()
        return bool(name) and (wanted + b"\n" in self.text or wanted + b" [" in self.text)

    def __len__(self) -> int:
        return max(0, self.text.count(b"\n") - 1)

    def matching(self, pattern: str) -> list[str]:
        """The names that match `pattern` (`*`, `?`), each once, in the kernel's order."""
        from probee.symbols.glob import line_regex

        found = (
            match.group()[1:].decode(errors="replace") for match in line_regex(pattern).finditer(self.text)
        )
        return [name for name in dict.fromkeys(found) if name and not name.startswith("__ftrace_invalid")]


def addresses(names: set[str]) -> dict[str, list[int]]:
    """Where ftrace hooks the functions called `names` (Linux 6.5). Raises `OSError` on kernels before."""
    found: dict[str, list[int]] = {}
    wanted = {name.encode() for name in names}
    for line in _read(tracefs.root() + "/available_filter_functions_addrs").splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[1] in wanted:
            try:
                found.setdefault(parts[1].decode(), []).append(int(parts[0], 16))
            except ValueError:
                continue
    return found


def blacklisted(name: str) -> bool:
    """Whether kprobes refuses the function `name`. False where the kernel won't show its list."""
    for path in BLACKLISTS:
        try:
            return b"\t" + name.encode() + b"\n" in _read(path)
        except OSError:
            continue
    return False


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(fd, _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)
