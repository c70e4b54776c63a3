"""The C calls of the package: `syscall(2)` and `mount(2)`, and addresses of Python buffers.

Built on `_ctypes`, the C half of ctypes: importing the Python half costs 4 ms at each start, and nothing of
it is needed here.
"""

from __future__ import annotations

import os
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    Array,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
)
from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Buffer


_CAPABILITY_VERSION_3 = 0x20080522


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Char(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _LongFunction(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO
    _restype_ = _Long


_handle = dlopen(None, os.RTLD_NOW)  # type: ignore[arg-type]


def _function(name: str, arguments: int) -> Any:
    function = _LongFunction(dlsym(_handle, name))
    function.argtypes = (_Long,) * arguments
    return function


# syscall(2) is variadic; each arity gets its own prototype.
syscall4 = _function("syscall", 4)
syscall6 = _function("syscall", 6)
mount_ = _function("mount", 5)
mmap_ = _function("mmap", 6)
munmap_ = _function("munmap", 2)

_PROT_READ_WRITE = 3
_MAP_SHARED = 1
_MAP_FIXED_NOREPLACE = 0x100000


def raise_errno(what: str) -> OSError:
    """The `OSError` of the C call that just failed in this thread; its text starts with `what`."""
    number = get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


class Scratch:
    """Memory at a fixed address that both Python (`view`) and the kernel (`address`) can reach."""

    __slots__ = ("_array", "address", "size", "view")

    def __init__(self, size: int) -> None:
        self._array = type("Bytes", (Array,), {"_type_": _Char, "_length_": size})()
        self.view = memoryview(self._array).cast("B")
        self.address: int = addressof(self._array)
        self.size = size


class Pinned:
    """A Python buffer held in place. Writable buffers are used as they are; read-only ones are copied."""

    __slots__ = ("_keep", "address", "size")

    def __init__(self, buffer: Buffer) -> None:
        view = memoryview(buffer)
        self.size = view.nbytes
        self._keep: Any = None
        self.address = 0
        if not self.size:
            return
        if view.readonly:
            self._keep = _Char.from_buffer(bytearray(view))
        else:
            self._keep = _Char.from_buffer(view)
        self.address = addressof(self._keep)


def mount(source: str, target: str, fstype: str) -> None:
    """mount(2) without flags or data."""
    texts = [Pinned(text.encode() + b"\0") for text in (source, target, fstype)]
    if mount_(texts[0].address, texts[1].address, texts[2].address, 0, 0) != 0:
        raise raise_errno(f"mount {fstype} on {target}")


def mapped(fd: int, length: int, address: int) -> Any:
    """mmap(2), shared and writable, at `address` (0: anywhere): an array of bytes with its `address`.

    The memory is unmapped with the last reference, views count as such.
    """
    where = mmap_(
        address, length, _PROT_READ_WRITE, _MAP_SHARED | (_MAP_FIXED_NOREPLACE if address else 0), fd, 0
    )
    if where == -1:
        raise raise_errno("mmap")

    def unmap(array: Any) -> None:
        munmap_(where, length)

    space = {"_type_": _Char, "_length_": length, "address": where, "__del__": unmap}
    array: Any = type("Mapped", (Array,), space)
    return array.from_address(where)


def setns(fd: int, kind: int) -> None:
    """setns(2): put the calling thread into a namespace (`kind`: a CLONE_NEW… flag). Needs CAP_SYS_ADMIN."""
    if _function("setns", 2)(fd, kind) != 0:
        raise raise_errno("setns")


def capset(effective: int) -> None:
    """capset(2): the thread keeps the capabilities of the mask `effective` and gives up the others."""
    low, high = effective & 0xFFFFFFFF, effective >> 32
    head = Pinned(pack("=Ii", _CAPABILITY_VERSION_3, 0))
    data = Pinned(pack("=6I", low, low, 0, high, high, 0))
    if _function("capset", 2)(head.address, data.address) != 0:
        raise raise_errno("capset")
