"""C++ names in words, by the system's C++ library: `__cxa_demangle` of the Itanium C++ ABI."""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LIBRARIES = ("libstdc++.so.6", "libc++abi.so.1", "libc++.so.1")
_LONGEST = 8192  # bytes of a mangled name; the library needs stack in proportion
_LONGEST_WORDS = 65536
_SAFE = 16  # references to what came before: each can double what is written
_SECONDS, _BYTES = 2, 512 << 20  # what a child may use
_LIVES = 4
_found: Any = None
_free: Any = None
_searched = False


def available() -> bool:
    """Whether there is a C++ runtime library to ask."""
    global _found, _free, _searched
    if not _searched:
        _searched = True
        for name in LIBRARIES:
            try:
                library = ctypes.CDLL(name)
                function = library.__cxa_demangle
            except (OSError, AttributeError):
                continue
            function.restype = ctypes.c_void_p
            function.argtypes = (
                ctypes.c_char_p,
                ctypes.c_void_p,
                ctypes.c_void_p,
                ctypes.POINTER(ctypes.c_int),
            )
            free = ctypes.CDLL(None).free
            free.restype = None
            free.argtypes = (ctypes.c_void_p,)
            _found, _free = function, free
            break
    return _found is not None


def demangle(name: str) -> str | None:
    """The declaration that `name` was made of; `None` if it is not mangled, or nobody here can tell."""
    return demangle_all([name])[0]


def demangle_all(names: Sequence[str]) -> list[str | None]:
    """The same for many names.

    A name whose words could fill the memory (they may double with every few bytes) is looked at in a child
    process with little of it.
    """
    if not available():
        return [None] * len(names)
    out: list[str | None] = [None] * len(names)
    risky = []
    for index, name in enumerate(names):
        raw = name.encode()
        if len(raw) > _LONGEST or b"\0" in raw:
            continue
        if raw.count(b"S") > _SAFE:
            risky.append(index)
        else:
            out[index] = _ask(raw)
    if risky:
        for index, words in zip(risky, _guarded([names[i].encode() for i in risky]), strict=True):
            out[index] = words
    return out


def _ask(raw: bytes) -> str | None:
    status = ctypes.c_int()
    text = _found(raw, None, None, ctypes.byref(status))
    if not text:
        return None
    try:
        return ctypes.string_at(text).decode(errors="replace") if status.value == 0 else None
    finally:
        _free(text)


def _guarded(names: list[bytes]) -> list[str | None]:
    """Ask in child processes; one that a name is too much for takes that name with it."""
    out: list[str | None] = []
    for _ in range(_LIVES):
        out += _in_child(names[len(out) :])
        if len(out) == len(names):
            break
        out.append(None)
        if len(out) == len(names):
            break
    return out + [None] * (len(names) - len(out))


def _in_child(names: list[bytes]) -> list[str | None]:
    """What a child says of the first of `names`, as far as it gets. Answers end in NUL; none is empty."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _answer(writing, names)
    os.close(writing)
    with open(reading, "rb") as file:
        answers = file.read().split(b"\0")[:-1]
    os.waitpid(child, 0)
    return [answer.decode(errors="replace") or None for answer in answers]


def _answer(fd: int, names: list[bytes]) -> None:
    """The child's work. It never returns."""
    try:
        import resource

        with open("/proc/self/statm", "rb") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (used + _BYTES, used + _BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open(fd, "wb") as file:
            for name in names:
                words = _ask(name) or ""
                file.write((words if len(words) <= _LONGEST_WORDS else "").encode() + b"\0")
                file.flush()
    finally:
        os._exit(0)
