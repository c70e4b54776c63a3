"""BTF for kernels older than its newest kinds: FLOAT (5.13), DECL_TAG (5.16), TYPE_TAG (5.17), ENUM64 (6.0).

The kinds are replaced by older ones of the same length, so that all type ids stay what they are, as libbpf
does it.
"""

from __future__ import annotations

import os
import struct

from probee import sys as kernel_calls
from probee.btf.kinds import (
    ARRAY,
    CONST,
    DATASEC,
    DECL_TAG,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC_PROTO,
    INT,
    STRUCT,
    TYPE_TAG,
    UNION,
    VAR,
)
from probee.sys.bpf import VerifierLog

# Bytes after the 12-byte head: kind -> (fixed, for each of vlen).
_TAILS = {
    INT: (4, 0),
    ARRAY: (12, 0),
    STRUCT: (0, 12),
    UNION: (0, 12),
    ENUM: (0, 8),
    FUNC_PROTO: (0, 8),
    VAR: (4, 0),
    DATASEC: (0, 12),
    DECL_TAG: (4, 0),
    ENUM64: (0, 12),
}
_KFLAG = 1 << 31


def load_sanitized(raw: bytes, error: OSError) -> tuple[int, str]:
    """Load BTF that was refused with `error`, without its newer kinds. Returns (descriptor or -1, why)."""
    kernel = kernel_calls.kernel()
    older = sanitize(raw)
    if older != raw:
        try:
            return kernel.btf_load(older), ""
        except OSError:
            pass
    log = VerifierLog(16384)
    try:
        return kernel.btf_load(raw, log), ""
    except OSError as again:
        text = log.text.strip().splitlines()
        words = os.strerror((again if text else error).errno or 0)
        return -1, f"{words}: {text[-1]}" if text else words


def sanitize(raw: bytes) -> bytes:
    """BTF with the same type ids in which only the kinds of Linux 5.2 are left."""
    order = "<" if raw[:2] == b"\x9f\xeb" else ">"
    head_size, type_at, type_size, text_at, text_size = struct.unpack_from(order + "5I", raw, 4)
    types = bytearray(raw[head_size + type_at : head_size + type_at + type_size])
    texts = raw[head_size + text_at : head_size + text_at + text_size]
    word = struct.Struct(order + "I")
    ids = 0
    enum64s: list[tuple[int, int]] = []  # place, members
    at = 0
    while at + 12 <= len(types):
        ids += 1
        name, info = struct.unpack_from(order + "2I", types, at)
        kind, vlen = info >> 24 & 31, info & 0xFFFF
        if kind == FLOAT:  # no C name fits a struct called "float"
            struct.pack_into(order + "2I", types, at, 0, STRUCT << 24)
        elif kind == DECL_TAG:  # one byte is never larger than what is tagged
            struct.pack_into(order + "4I", types, at, name, INT << 24, 1, 8)
        elif kind == TYPE_TAG:
            struct.pack_into(order + "2I", types, at, 0, CONST << 24)
        elif kind == ENUM and info & _KFLAG:
            word.pack_into(types, at + 4, ENUM << 24 | vlen)
        elif kind == ENUM64:
            word.pack_into(types, at + 4, UNION << 24 | vlen)
            enum64s.append((at + 12, vlen))
        fixed, each = _TAILS.get(kind, (0, 0))
        at += 12 + fixed + each * vlen
    if enum64s:
        for place, members in enum64s:
            for index in range(members):
                # name stays; the value's halves become the member's type (one byte) and bit offset
                struct.pack_into(order + "2I", types, place + 12 * index + 4, ids + 1, 0)
        types += struct.pack(order + "4I", len(texts), INT << 24, 1, 8)
        texts += b"enum64_value\0"
    head = raw[:4] + struct.pack(order + "5I", 24, 0, len(types), len(types), len(texts))
    return head + bytes(types) + texts
