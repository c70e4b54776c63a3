"""Probes of what the kernel takes and gives in BTF."""

from __future__ import annotations

import errno
import os
from struct import pack

from probee import sys as kernel_calls
from probee.sys.bpf import OBJ_GET_INFO_BY_FD
from probee.sys.native import Scratch

# enum BTF_KIND_*, shifted to where `info` has them
_PTR, _FUNC, _PROTO, _VAR, _SECTION = (kind << 24 for kind in (2, 12, 13, 14, 15))
_FLOAT, _DECL_TAG, _TYPE_TAG, _ENUM64 = (kind << 24 for kind in (16, 17, 18, 19))
_KIND_FLAG = 1 << 31
_INT = pack("=4I", 1, 1 << 24, 4, 1 << 24 | 32)  # id 1: a signed 32-bit integer named `a`
_STRINGS = b"\0a\0.data\0?.data\0"
_DATA, _QMARK = 3, 9  # where the names of sections are in it


def raw(types: bytes, strings: bytes = _STRINGS) -> bytes:
    """BTF of some types."""
    return pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def functions(tagged: bool = False) -> int:
    """A descriptor of BTF with `int main(void *a)` (type 4) and `int sub(void *a)` (type 5), which is static.

    `tagged` makes sub global, its argument tagged as the context of the program.
    """
    strings = b"\0int\0a\0main\0sub\0arg:ctx\0"
    types = (
        pack("=4I", 1, 1 << 24, 4, 1 << 24 | 32)
        + pack("=3I", 0, _PTR, 0)
        + pack("=5I", 0, _PROTO | 1, 1, 5, 2)
        + pack("=3I", 7, _FUNC | 1, 3)
        + pack("=3I", 12, _FUNC | tagged, 3)
    )
    if tagged:
        types += pack("=3Ii", 16, _DECL_TAG, 5, 0)
    return kernel_calls.kernel().btf_load(raw(types, strings))


def _takes(types: bytes) -> bool:
    kernel = kernel_calls.kernel()
    try:
        kernel.close(kernel.btf_load(raw(_INT + types)))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    return True


_VARIABLE = pack("=4I", 1, _VAR, 1, 0)
_PROTOTYPE = pack("=5I", 0, _PROTO | 1, 0, 1, 1)


def _section(name: int) -> bytes:
    return _VARIABLE + pack("=6I", name, _SECTION | 1, 4, 2, 0, 4)


def _vmlinux() -> bool:
    return os.path.exists("/sys/kernel/btf/vmlinux")


def _module() -> bool:
    """BTF of modules came with the name in `struct bpf_btf_info`; an older kernel refuses to fill it."""
    kernel = kernel_calls.kernel()
    fd = kernel.btf_load(raw(_INT))
    out, name = Scratch(64), Scratch(16)
    scratch = Scratch(16)
    out.view[16:28] = pack("=QI", name.address, name.size)
    scratch.view[:] = pack("=iIQ", fd, 32, out.address)
    try:
        kernel.bpf(OBJ_GET_INFO_BY_FD, scratch.address, scratch.size)
    except OSError:
        return False
    finally:
        kernel.close(fd)
    return True


PROBES = {
    "btf": lambda: _takes(b""),
    "btf_func": lambda: _takes(_PROTOTYPE + pack("=3I", 1, _FUNC, 2)),
    "btf_func_global": lambda: _takes(_PROTOTYPE + pack("=3I", 1, _FUNC | 1, 2)),
    "btf_datasec": lambda: _takes(_section(_DATA)),
    "btf_qmark_datasec": lambda: _takes(_section(_QMARK)),
    "btf_float": lambda: _takes(pack("=3I", 1, _FLOAT, 4)),
    "btf_decl_tag": lambda: _takes(_VARIABLE + pack("=3Ii", 1, _DECL_TAG, 2, -1)),
    "btf_type_tag": lambda: _takes(pack("=3I", 1, _TYPE_TAG, 1) + pack("=3I", 0, _PTR, 2)),
    "btf_attributes": lambda: _takes(pack("=3I", 1, _TYPE_TAG | _KIND_FLAG, 1) + pack("=3I", 0, _PTR, 2)),
    "btf_enum64": lambda: _takes(pack("=6I", 0, _ENUM64 | 1, 8, 1, 0, 0)),
    "vmlinux_btf": _vmlinux,
    "module_btf": _module,
}
