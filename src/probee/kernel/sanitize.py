"""BTF for kernels older than its newest kinds, rewritten as libbpf does it, by what the kernel takes.

The kinds are replaced by older ones of the same length, so that all type ids stay what they are.
"""

from __future__ import annotations

import os
import struct

from probee import sys as kernel_calls
from probee.btf.kinds import (
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FIXED_EXTRA,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    INT,
    ITEM_EXTRA,
    KIND_MAX,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VAR,
)
from probee.sys.bpf import VerifierLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_KFLAG = 1 << 31
# What may have to be replaced, by the names of `kernel.features`, in the order it came to Linux.
ABILITIES = (
    "btf_func",
    "btf_datasec",
    "btf_func_global",
    "btf_float",
    "btf_decl_tag",
    "btf_type_tag",
    "btf_enum64",
    "btf_qmark_datasec",
    "btf_attributes",
)


def load_sanitized(raw: bytes, error: OSError, token_fd: int = 0) -> tuple[int, str]:
    """Load BTF that was refused with `error`, as this kernel can take it.

    Returns (descriptor or -1, why it failed).
    """
    kernel = kernel_calls.kernel()
    older = sanitize(raw, abilities())
    if older != raw:
        try:
            return kernel.btf_load(older, token_fd=token_fd), ""
        except OSError as again:
            error = again
    log = VerifierLog(16384)
    try:
        return kernel.btf_load(older, log, token_fd=token_fd), ""
    except OSError as again:
        text = log.text.strip().splitlines()
        words = os.strerror((again if text else error).errno or 0)
        return -1, f"{words}: {text[-1]}" if text else words


def abilities() -> set[str]:
    """Which of `ABILITIES` the running kernel has."""
    from probee.kernel.features import have

    return {name for name in ABILITIES if have(name)}


class _Blob:
    """The two sections of a BTF as they are changed."""

    __slots__ = ("order", "strings", "types", "word")

    def __init__(self, raw: bytes) -> None:
        self.order = "<" if raw[:2] == b"\x9f\xeb" else ">"
        head_size, type_at, type_size, text_at, text_size = struct.unpack_from(self.order + "5I", raw, 4)
        self.types = bytearray(raw[head_size + type_at : head_size + type_at + type_size])
        self.strings = bytearray(raw[head_size + text_at : head_size + text_at + text_size])
        self.word = struct.Struct(self.order + "I")

    def records(self) -> Iterator[tuple[int, int, int, int]]:
        """(place, name offset, kind, number of items) of each type as it was before changes."""
        at = 0
        while at + 12 <= len(self.types):
            name, info = struct.unpack_from(self.order + "2I", self.types, at)
            kind, items = info >> 24 & 31, info & 0xFFFF
            size = 12 + (FIXED_EXTRA[kind] + ITEM_EXTRA[kind] * items if kind <= KIND_MAX else 0)
            yield at, name, kind, items
            at += size

    def set(self, at: int, *values: int) -> None:
        struct.pack_into(f"{self.order}{len(values)}I", self.types, at, *values)

    def get(self, at: int) -> int:
        (value,) = self.word.unpack_from(self.types, at)
        return int(value)

    def rename(self, name: int, marks: bytes) -> None:
        """Replace characters that names of sections, but not of types, may have."""
        end = self.strings.find(0, name)
        for at in range(name, end):
            if self.strings[at] in marks:
                self.strings[at] = ord("_")

    def build(self) -> bytes:
        magic = struct.pack(self.order + "HBBI", 0xEB9F, 1, 0, 24)
        sizes = struct.pack(self.order + "4I", 0, len(self.types), len(self.types), len(self.strings))
        return magic + sizes + bytes(self.types + self.strings)


def sanitize(raw: bytes, can: set[str] | frozenset[str] = frozenset()) -> bytes:
    """BTF with the same type ids for a kernel with the abilities `can` (some of `ABILITIES`)."""
    blob = _Blob(raw)
    ids = 0
    places = [at for at, _, _, _ in blob.records()]
    enum64s: list[tuple[int, int]] = []
    for at, name, kind, items in blob.records():
        ids += 1
        flags = blob.get(at + 4) & _KFLAG
        if (kind == VAR and "btf_datasec" not in can) or (kind == DECL_TAG and "btf_decl_tag" not in can):
            blob.set(at, name, INT << 24, 1, 8)  # one byte is never larger than the variable
        elif kind == DATASEC:
            _sanitize_section(blob, at, name, items, places, can)
        elif kind == FUNC_PROTO and "btf_func" not in can:
            blob.set(at + 4, ENUM << 24 | items, 4)
        elif kind == FUNC and "btf_func" not in can:
            blob.set(at + 4, TYPEDEF << 24)
        elif kind == FUNC and "btf_func_global" not in can:
            blob.set(at + 4, FUNC << 24)
        elif kind == FLOAT and "btf_float" not in can:  # no C name fits a struct called "float"
            blob.set(at, 0, STRUCT << 24)
        elif kind == TYPE_TAG and ("btf_type_tag" not in can or (flags and "btf_attributes" not in can)):
            blob.set(at, 0, CONST << 24)
        elif kind == DECL_TAG and flags and "btf_attributes" not in can:
            blob.set(at, name, INT << 24, 1, 8)
        elif kind == ENUM and flags and "btf_enum64" not in can:
            blob.set(at + 4, ENUM << 24 | items)
        elif kind == ENUM64 and "btf_enum64" not in can:
            enum64s.append((at, items))
    if enum64s:
        for at, items in enum64s:
            blob.set(at + 4, UNION << 24 | items)
            for index in range(items):
                # name stays; the value's halves become the member's type (one byte) and bit offset
                blob.set(at + 12 * index + 16, ids + 1, 0)
        blob.types += struct.pack(blob.order + "4I", len(blob.strings), INT << 24, 1, 8)
        blob.strings += b"enum64_value\0"
    return blob.build()


def _sanitize_section(
    blob: _Blob, at: int, name: int, items: int, places: list[int], can: set[str] | frozenset[str]
) -> None:
    if "btf_datasec" in can:
        if "btf_qmark_datasec" not in can and blob.strings[name : name + 1] == b"?":
            blob.strings[name] = ord("_")
        return
    blob.rename(name, b".?")
    blob.set(at + 4, STRUCT << 24 | items)
    for index in range(items):
        entry = at + 12 + 12 * index
        variable, offset = blob.get(entry), blob.get(entry + 4)
        title = blob.get(places[variable - 1]) if 0 < variable <= len(places) else 0
        blob.set(entry, title, variable, 8 * offset)
