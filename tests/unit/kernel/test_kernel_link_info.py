"""What links say of themselves, decoded from the kernel's structure: every kind, and any bytes at all."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from struct import pack, pack_into, unpack_from
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.kernel import link_info
from probee.kernel.link_info import LinkDetails, decode

HEAD = 16


def kernel(kind: int, union: bytes, fill: Callable[[bytearray], None] | None = None) -> LinkDetails:
    """Decode what a kernel would say; `fill` does what it does with the buffers it is given."""
    raw = pack("=III4x", kind, 11, 22) + union
    raw += bytes(256 - len(raw))
    asked: list[bytes] = []

    def again(request: bytes) -> bytes:
        asked.append(request)
        answer = bytearray(request)
        if fill is not None:
            fill(answer)
        return bytes(answer)

    found = decode(raw, again)
    assert (found.type, found.id, found.prog_id) == (kind, 11, 22)
    assert (fill is None) == (not asked)
    return found


def text_at(place: int, text: bytes) -> Callable[[bytearray], None]:
    """Writes a text where the pointer at `place` of the structure's union says."""

    def fill(answer: bytearray) -> None:
        address, room = unpack_from("=QI", answer, HEAD + place)
        assert room > len(text)
        ctypes.memmove(address, text + b"\0", len(text) + 1)

    return fill


def arrays_at(*arrays: tuple[int, str, list[int]]) -> Callable[[bytearray], None]:
    def fill(answer: bytearray) -> None:
        for place, letter, values in arrays:
            (address,) = unpack_from("=Q", answer, HEAD + place)
            raw = pack(f"={len(values)}{letter}", *values)
            ctypes.memmove(address, raw, len(raw))

    return fill


@pytest.mark.parametrize(
    ("kind", "union", "expected"),
    [
        (3, pack("=QI", 5, 1), {"cgroup_id": 5, "attach_type": "cgroup_inet_egress"}),
        (5, pack("=II", 4026531840, 36), {"netns_ino": 4026531840, "attach_type": "sk_lookup"}),
        (6, pack("=I", 0), {"devname": "(detached)", "ifindex": 0}),
        (6, pack("=I", 1), {"devname": "lo", "ifindex": 1}),
        (9, pack("=I", 8), {"map_id": 8}),
        (10, pack("=IIiI", 2, 1, -128, 1), {"pf": 2, "hook": 1, "prio": -128, "flags": 1}),
        (11, pack("=II", 1, 46), {"devname": "lo", "ifindex": 1, "attach_type": "tcx_ingress"}),
        (13, pack("=II", 1, 55), {"devname": "lo", "ifindex": 1, "attach_type": "netkit_peer"}),
        (14, pack("=II", 9, 5), {"map_id": 9, "attach_type": "sk_skb_stream_verdict"}),
        (14, pack("=II", 9, 999), {"map_id": 9, "attach_type": 999}),
        (
            7,
            pack("=I4xQI4xQ", 6, 3, 1, 5),
            {"event_type": "software", "event_config": "context-switches", "cookie": 5},
        ),
        (
            7,
            pack("=I4xQI4xQ", 6, 2 | 1 << 16, 3, 0),
            {"event_type": "hw-cache", "event_config": "LLC-load-misses", "cookie": 0},
        ),
        (
            7,
            pack("=I4xQI4xQ", 6, 0x1A8, 4, 0),
            {"event_type": "raw", "event_config": 0x1A8, "cookie": 0},
        ),
        (7, pack("=I", 0), {}),
        (77, b"", {}),
    ],
)
def test_kinds_without_buffers(kind: int, union: bytes, expected: dict[str, Any]) -> None:
    found = kernel(kind, union).to_dict()
    name = link_info.TYPE_NAMES.get(kind, kind)
    assert found == {"id": 11, "type": name, "prog_id": 22, **expected}


@pytest.mark.parametrize(
    ("kind", "union", "place", "text", "expected"),
    [
        (1, pack("=QI4xQ", 0, 0, 6), 0, b"sched_switch", {"tp_name": "sched_switch", "cookie": 6}),
        (4, b"", 0, b"tcp", {"target_name": "tcp"}),
        (
            4,
            pack("=QIIQQ", 0, 0, 33, 0, 0),
            0,
            b"bpf_map_elem",
            {"target_name": "bpf_map_elem", "map_id": 33},
        ),
        (4, pack("=QIIII", 0, 0, 0, 5, 6), 0, b"task", {"target_name": "task", "tid": 5}),
        (4, pack("=QIIII", 0, 0, 0, 0, 6), 0, b"task_vma", {"target_name": "task_vma", "pid": 6}),
        (
            4,
            pack("=QIIQI", 0, 0, 0, 7, 4),
            0,
            b"cgroup",
            {"target_name": "cgroup", "cgroup_id": 7, "order": "ancestors_up"},
        ),
        (7, pack("=I4xQI4xQ", 5, 0, 0, 9), 8, b"sched_switch", {"tracepoint": "sched_switch", "cookie": 9}),
        (
            7,
            pack("=I4xQIIQQQ", 4, 0, 0, 2, 0xFF, 3, 4),
            8,
            b"do_exit",
            {"retprobe": True, "addr": 0xFF, "func": "do_exit", "offset": 2, "missed": 3, "cookie": 4},
        ),
        (
            7,
            pack("=I4xQIIQQ", 1, 0, 0, 2, 3, 4),
            8,
            b"/bin/sh",
            {"retprobe": False, "file": "/bin/sh", "offset": 2, "cookie": 3, "ref_ctr_offset": 4},
        ),
    ],
)
def test_kinds_with_a_name(
    kind: int, union: bytes, place: int, text: bytes, expected: dict[str, Any]
) -> None:
    found = kernel(kind, union, text_at(place, text))
    assert {k: v for k, v in found.to_dict().items() if k not in ("id", "type", "prog_id")} == expected
    assert found.hook


def test_many_kprobes() -> None:
    union = pack("=QIIQQ", 0, 2, 1, 5, 0)
    found = kernel(8, union, arrays_at((0, "Q", [0x20, 0x10]), (24, "Q", [7, 8])))
    assert isinstance(found, link_info.KprobeMultiLink)
    assert (found.addrs, found.cookies, found.retprobe, found.missed) == ([0x20, 0x10], [7, 8], True, 5)
    rows = found.to_dict()["funcs"]
    assert [(row["addr"], row["cookie"]) for row in rows] == [(0x10, 8), (0x20, 7)]
    assert kernel(8, pack("=QIIQQ", 0, 0, 0, 0, 0)).to_dict()["funcs"] == []


def test_many_uprobes() -> None:
    union = pack("=QQQQIIII", 0, 0, 0, 0, 0, 2, 0, 44)

    def fill(answer: bytearray) -> None:
        arrays_at((8, "Q", [1, 2]), (16, "Q", [0, 3]), (24, "Q", [4, 5]))(answer)
        address, room = unpack_from("=Q", answer, HEAD)[0], unpack_from("=I", answer, HEAD + 32)[0]
        assert room >= 4096
        ctypes.memmove(address, b"/bin/sh\0", 8)

    found = kernel(12, union, fill).to_dict()
    assert (found["path"], found["func_cnt"], found["pid"], found["retprobe"]) == ("/bin/sh", 2, 44, False)
    assert found["funcs"] == [
        {"offset": 1, "ref_ctr_offset": 0, "cookie": 4},
        {"offset": 2, "ref_ctr_offset": 3, "cookie": 5},
    ]


def test_many_functions_by_btf() -> None:
    union = pack("=III4xQQQ", 59, 2, 3, 0, 0, 0)
    found = kernel(15, union, arrays_at((16, "I", [1, 2]), (24, "Q", [3, 4]), (32, "Q", [5, 6]))).to_dict()
    assert found["funcs"] == [{"btf_id": 1, "addr": 3, "cookie": 5}, {"btf_id": 2, "addr": 4, "cookie": 6}]
    assert (found["attach_type"], found["btf_obj_id"]) == ("trace_fentry_multi", 3)


@given(st.integers(0, 20), st.binary(max_size=100), st.binary(max_size=4096))
def test_any_bytes(kind: int, union: bytes, name: bytes) -> None:
    """Whatever the kernel writes, it is decoded, and into what can be printed."""
    raw = bytearray(256)
    pack_into("=III", raw, 0, kind, 1, 2)
    raw[16 : 16 + len(union)] = union

    def again(request: bytes) -> bytes:
        for place in (0, 8):
            address, room = unpack_from("=QI", request, HEAD + place)
            if kind in (1, 4, 7) and room == 4096 and address > 1 << 32:
                ctypes.memmove(address, name, len(name))
        return bytes(raw)

    if kind in (1, 4, 7):
        raw[16 : 16 + 20] = bytes(4) + raw[20 : 16 + 20]  # pointers are only ours
    found = decode(bytes(raw), again)
    assert found.to_dict()["id"] == 1
    assert found.type_name in repr(found) or found.hook
