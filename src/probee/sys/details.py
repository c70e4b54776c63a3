"""Everything the kernel says of a program, map or BTF: `struct bpf_prog_info` and its kin, arrays included.

Layouts are those of UAPI `linux/bpf.h`. Fields newer than the kernel are 0 or empty. Functions raise OSError
with the kernel's errno. Commands that only show things use these; loading and attaching does without.
"""

from __future__ import annotations

import errno
from struct import Struct

from .bpf import OBJ_GET_INFO_BY_FD, Kernel, MapInfo, ProgInfo
from .native import Scratch

_ATTR = Struct("=iIQ")
_U32 = Struct("=I")
_U64 = Struct("=Q")
_PROG_SIZE, _BTF_SIZE, _OLD_BTF_SIZE = 232, 32, 16

# Arrays of bpf_prog_info: name -> (offset of the count, offset of the pointer, bytes of an element)
_ARRAYS = {
    "map_ids": (52, 56, 4),
    "ksyms": (104, 112, 8),
    "func_lens": (108, 120, 4),
    "func_info": (144, 136, 8),
    "line_info": (148, 152, 16),
    "jited_lines": (168, 160, 8),
    "jited": (16, 24, 1),
    "xlated": (20, 32, 1),
}
_RECORD_SIZES = {"func_info": (132, 8), "line_info": (172, 16), "jited_lines": (176, 8)}
_FORMATS = {
    "map_ids": "=I",
    "ksyms": "=Q",
    "func_lens": "=I",
    "func_info": "=II",
    "line_info": "=IIII",
    "jited_lines": "=Q",
}


class ProgDetails(ProgInfo):
    """A program and what belongs to it.

    `line_info` are (instruction, file name, line text, line << 10 | column), names as offsets into the
    strings of the program's BTF; `func_info` (instruction, type id); `jited_lines` addresses, one for each of
    `line_info`; `ksyms` and `func_lens` address and length of each function's machine code. `xlated` and
    `jited` are code. All are empty where the caller may not see them (no CAP_BPF; addresses and
    machine code also need kernel.kptr_restrict=0 and CAP_SYSLOG).
    """

    __slots__ = (
        "attach_btf_id",
        "attach_btf_obj_id",
        "func_info",
        "func_lens",
        "gpl",
        "ifindex",
        "jited",
        "jited_lines",
        "ksyms",
        "line_info",
        "map_ids",
        "uid",
        "xlated",
    )

    def __init__(self, raw: bytes, arrays: dict[str, bytes]) -> None:
        super().__init__(raw)
        (self.uid,) = _U32.unpack_from(raw, 48)
        (self.ifindex,) = _U32.unpack_from(raw, 80)
        self.gpl: bool = bool(raw[84] & 1)
        self.attach_btf_obj_id, self.attach_btf_id = Struct("=II").unpack_from(raw, 220)
        self.xlated: bytes = arrays.get("xlated", b"")
        self.jited: bytes = arrays.get("jited", b"")
        found: dict[str, list[tuple[int, ...]]] = {
            name: list(Struct(fmt).iter_unpack(arrays.get(name, b""))) for name, fmt in _FORMATS.items()
        }
        self.map_ids: list[int] = [x for (x,) in found["map_ids"]]
        self.ksyms: list[int] = [x for (x,) in found["ksyms"]]
        self.func_lens: list[int] = [x for (x,) in found["func_lens"]]
        self.jited_lines: list[int] = [x for (x,) in found["jited_lines"]]
        self.func_info: list[tuple[int, ...]] = found["func_info"]
        self.line_info: list[tuple[int, ...]] = found["line_info"]


class MapDetails(MapInfo):
    """A map, with the types of its keys and values in its BTF, or of its value in the kernel's."""

    __slots__ = ("btf_vmlinux_id", "extra", "ifindex", "kernel_value_type_id", "key_type_id", "value_type_id")

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.ifindex, self.kernel_value_type_id = Struct("=II").unpack_from(raw, 40)
        self.key_type_id, self.value_type_id, self.btf_vmlinux_id = Struct("=III").unpack_from(raw, 68)
        (self.extra,) = _U64.unpack_from(raw, 80)


class BtfDetails:
    """A BTF object in the kernel. `kernel` says that it is vmlinux's or a module's (Linux 5.11), then it has
    a `name`."""

    __slots__ = ("data", "id", "kernel", "name", "size")

    def __init__(self, id: int, size: int, name: str, kernel: bool, data: bytes) -> None:
        self.id = id
        self.size = size
        self.name = name
        self.kernel = kernel
        self.data = data


def _ask(kernel: Kernel, fd: int, info: Scratch, size: int) -> None:
    attr = Scratch(_ATTR.size)
    _ATTR.pack_into(attr.view, 0, fd, size, info.address)
    kernel.bpf(OBJ_GET_INFO_BY_FD, attr.address, _ATTR.size)


def prog_details(kernel: Kernel, fd: int, *wanted: str) -> ProgDetails:
    """What the kernel knows of a program. `wanted` are the arrays to get, by the names of `ProgDetails`."""
    info = Scratch(_PROG_SIZE)
    _ask(kernel, fd, info, _PROG_SIZE)
    first = info.view.tobytes()
    arrays: dict[str, bytes] = {}
    memory: dict[str, Scratch] = {}
    if wanted:
        info = Scratch(_PROG_SIZE)
        for name in wanted:
            count_at, pointer_at, size = _ARRAYS[name]
            (count,) = _U32.unpack_from(first, count_at)
            if not count:
                continue
            if name in _RECORD_SIZES:  # the kernel wants to hear what record size we expect
                _U32.pack_into(info.view, _RECORD_SIZES[name][0], size)
            memory[name] = Scratch(count * size)
            _U32.pack_into(info.view, count_at, count)
            _U64.pack_into(info.view, pointer_at, memory[name].address)
        _ask(kernel, fd, info, _PROG_SIZE)
        for name, scratch in memory.items():
            count_at, pointer_at, size = _ARRAYS[name]
            (count,) = _U32.unpack_from(info.view, count_at)
            (pointer,) = _U64.unpack_from(info.view, pointer_at)
            if pointer:  # 0: the caller may not see it
                arrays[name] = scratch.view[: min(scratch.size, count * size)].tobytes()
    return ProgDetails(first, arrays)


def map_details(kernel: Kernel, fd: int) -> MapDetails:
    return MapDetails(kernel.obj_info(fd))


def btf_details(kernel: Kernel, fd: int, *, data: bool = False) -> BtfDetails:
    """What the kernel knows of a BTF object; with `data` also its bytes."""
    info, name = Scratch(_BTF_SIZE), Scratch(256)
    _U64.pack_into(info.view, 16, name.address)
    _U32.pack_into(info.view, 24, name.size)
    try:
        _ask(kernel, fd, info, _BTF_SIZE)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        info = Scratch(_BTF_SIZE)  # before Linux 5.11 it has no name
        _ask(kernel, fd, info, _OLD_BTF_SIZE)
    _, size, id, _, _, is_kernel = Struct("=QIIQII").unpack_from(info.view)
    text = name.view.tobytes().split(b"\0", 1)[0].decode(errors="replace")
    content = b""
    if data and size:
        out, info = Scratch(size), Scratch(_BTF_SIZE)
        _U64.pack_into(info.view, 0, out.address)
        _U32.pack_into(info.view, 8, size)
        _ask(kernel, fd, info, _OLD_BTF_SIZE)
        content = out.view.tobytes()
    return BtfDetails(id, size, text, bool(is_kernel), content)
