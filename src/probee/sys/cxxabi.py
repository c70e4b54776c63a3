"""C++ names in words, by the system's C++ library: `__cxa_demangle` of the Itanium C++ ABI."""

from __future__ import annotations

import ctypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LIBRARIES = ("libstdc++.so.6", "libc++abi.so.1", "libc++.so.1")
_LONGEST = 8192  # bytes of a mangled name; the library needs stack in proportion
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
    raw = name.encode()
    if len(raw) > _LONGEST or b"\0" in raw or not available():
        return None
    status = ctypes.c_int()
    text = _found(raw, None, None, ctypes.byref(status))
    if not text:
        return None
    try:
        return ctypes.string_at(text).decode(errors="replace") if status.value == 0 else None
    finally:
        _free(text)
