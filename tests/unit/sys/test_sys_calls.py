"""What is handed to the kernel, byte for byte, and what is made of its answers."""

from __future__ import annotations

import errno
import struct

import pytest

from probee.sys import bpf, kernel, native, use
from probee.sys.bpf import Kernel, MapInfo, ProgAttr, ProgInfo, VerifierLog, cpu_list, object_name
from probee.sys.fake import FakeKernel


class Recorder(Kernel):
    """Keeps the attributes of bpf(2) instead of calling it."""

    __slots__ = ("answer", "seen")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, bytes]] = []
        self.answer = 7

    def bpf(self, command: int, address: int, size: int) -> int:
        self.seen.append((command, read(address, size)))
        return self.answer


def read(address: int, size: int) -> bytes:
    import ctypes

    return ctypes.string_at(address, size)


def u32(raw: bytes, offset: int) -> int:
    return int(struct.unpack_from("=I", raw, offset)[0])


def u64(raw: bytes, offset: int) -> int:
    return int(struct.unpack_from("=Q", raw, offset)[0])


def test_map_create_fields() -> None:
    recorder = Recorder()
    fd = recorder.map_create(
        1,
        4,
        8,
        10,
        flags=2,
        name="my map",
        btf_fd=3,
        key_type_id=5,
        value_type_id=6,
        inner_fd=9,
        extra=11,
        numa_node=1,
    )
    command, raw = recorder.seen[0]
    assert (fd, command, len(raw)) == (7, bpf.MAP_CREATE, 72)
    # offsets in union bpf_attr
    wanted = {0: 1, 4: 4, 8: 8, 12: 10, 16: 2, 20: 9, 24: 1, 44: 0, 48: 3, 52: 5, 56: 6, 60: 0}
    assert {offset: u32(raw, offset) for offset in wanted} == wanted
    assert raw[28:44] == b"my_map".ljust(16, b"\0")
    assert u64(raw, 64) == 11


def test_prog_load_fields() -> None:
    recorder = Recorder()
    code = bytes(range(16))
    attr = ProgAttr(5, bytearray(code), "GPL", "a_program_with_a_long_name")
    attr.attach_type, attr.attach_btf_id, attr.btf_fd, attr.flags = 23, 99, 4, 16
    attr.kernel_version = 0x60100
    attr.func_info = bytes(8 * 3)
    attr.line_info = bytes(16 * 5)
    log = VerifierLog(4096, level=2)
    recorder.prog_load(attr, log)
    _, raw = recorder.seen[0]
    wanted = {
        0: 5,
        4: 2,
        24: 2,
        28: 4096,
        40: 0x60100,
        44: 16,
        68: 23,
        72: 4,
        76: 8,
        88: 3,
        92: 16,
        104: 5,
        108: 99,
    }
    assert {offset: u32(raw, offset) for offset in wanted} == wanted
    assert u64(raw, 32) == log.scratch.address
    assert raw[48:64] == b"a_program_with_\0"
    assert len(raw) == 144


def test_prog_load_retries_when_a_signal_comes() -> None:
    class Busy(Recorder):
        def bpf(self, command: int, address: int, size: int) -> int:
            super().bpf(command, address, size)
            if len(self.seen) < 3:
                raise OSError(errno.EAGAIN, "again")
            return 8

    busy = Busy()
    assert busy.prog_load(ProgAttr(5, b"", "GPL")) == 8
    assert len(busy.seen) == 3


def test_link_fields() -> None:
    recorder = Recorder()
    recorder.link_create(3, 4, 41, cookie=0x1122334455)
    recorder.raw_tracepoint_open(6)
    (_, link), (_, raw_tp) = recorder.seen
    assert [u32(link, offset) for offset in (0, 4, 8, 12)] == [3, 4, 41, 0]
    assert u64(link, 16) == 0x1122334455
    assert (u64(raw_tp, 0), u32(raw_tp, 8)) == (0, 6)


def test_infos_are_read_from_their_places() -> None:
    raw = bytearray(256)
    struct.pack_into("=IIIIII", raw, 0, 1, 22, 4, 8, 100, 2)
    raw[24:29] = b"count"
    struct.pack_into("=I", raw, 64, 5)
    info = MapInfo(bytes(raw))
    assert (info.type, info.id, info.key_size, info.value_size, info.max_entries) == (1, 22, 4, 8, 100)
    assert (info.flags, info.name, info.btf_id) == (2, "count", 5)
    raw = bytearray(256)
    struct.pack_into("=II8sII", raw, 0, 17, 33, bytes.fromhex("0123456789abcdef"), 100, 200)
    raw[64:70] = b"on_exe"
    struct.pack_into("=QQQI", raw, 192, 1000, 3, 1, 44)
    program = ProgInfo(bytes(raw))
    assert (program.type, program.id, program.tag, program.name) == (17, 33, "0123456789abcdef", "on_exe")
    assert (program.run_time_ns, program.run_count, program.verified_insns) == (1000, 3, 44)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("plain", b"plain"),
        ("with space", b"with_space"),
        (".rodata", b".rodata"),
        ("é", b"_"),
        ("x" * 40, b"x" * 15),
    ],
)
def test_object_names(name: str, kept: bytes) -> None:
    assert object_name(name) == kept


@pytest.mark.parametrize(
    ("text", "cpus"), [("0\n", [0]), ("0-3", [0, 1, 2, 3]), ("0-1,4,6-7\n", [0, 1, 4, 6, 7])]
)
def test_cpu_lists(text: str, cpus: list[int]) -> None:
    assert cpu_list(text) == cpus


def test_buffers_keep_their_place() -> None:
    writable = bytearray(b"abc")
    pinned = native.Pinned(writable)
    assert read(pinned.address, pinned.size) == b"abc"
    writable[0] = ord("x")
    assert read(pinned.address, 3) == b"xbc"  # the buffer itself, no copy
    assert read(native.Pinned(b"constant").address, 8) == b"constant"
    assert native.Pinned(b"").address == 0


def test_a_failed_call_says_which() -> None:
    with pytest.raises(OSError, match="BPF_MAP_LOOKUP_ELEM") as caught:
        Kernel().map_lookup(-1, b"\0\0\0\0", 8)
    assert caught.value.errno in (errno.EBADF, errno.EPERM, errno.ENOSYS)


def test_the_kernel_can_be_replaced() -> None:
    real = kernel()
    fake = FakeKernel()
    with use(fake):
        assert kernel() is fake
    assert kernel() is real
