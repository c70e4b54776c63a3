"""Maps that exist already: by pin, id, name and descriptor, typed by the BTF that the kernel has of them."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_maps_types import create

import probee as bp
from c_objects import object_from_c
from needs import needs
from probee.errors import MapError, PermissionDenied
from probee.isa.asm import assemble
from probee.kernel import found
from probee.kernel.load import load
from probee.sys import kernel
from probee.sys.bpf import ProgAttr

pytestmark = pytest.mark.root

TYPED = r"""
struct key { u32 pid; char comm[8]; };
struct stat { u64 calls; u32 errors; u8 mac[6]; };
HASH(by_key_found, struct key, struct stat, 128);
u64 total; char text[16] = "hi";
SEC("socket") int nothing(void *ctx) { total += text[0]; return 0; }
"""


@pytest.fixture
def pin() -> Iterator[Path]:
    folder = Path("/sys/fs/bpf")
    if not os.access(folder, os.W_OK) or not os.path.ismount(folder):
        pytest.skip("no BPF file system at /sys/fs/bpf")
    path = folder / f"probee_test_{uuid.uuid4().hex[:8]}"
    yield path
    path.unlink(missing_ok=True)


def test_a_map_of_an_object_is_found_with_its_types(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, TYPED)) as c:
        m = c.maps["by_key_found"]
        m[(1, "init")] = (5, 6, b"\1\2\3")
        for how in ({"id": m.id}, {"name": "by_key_found"}, {"fd": m.fd}):
            with bp.maps.open(**how) as again:
                assert again.id == m.id
                assert again.fd != m.fd
                key, value = next(iter(again.items()))
                assert (key.pid, key.comm, value.calls, value.mac) == (1, "init", 5, b"\1\2\3\0\0\0")
                assert type(key).__name__ == "key"
        with bp.maps.open(id=m.id, typed=False) as raw:
            assert list(raw.items()) == [(m.key.pack((1, "init")), m.value.pack((5, 6, b"\1\2\3")))]


def test_the_users_classes_for_records() -> None:
    class Stat(bp.Struct):
        calls: bp.u32
        errors: bp.u32

        def rate(self) -> float:
            return self.errors / self.calls

    with create("hash", key=bp.u32, value=Stat) as m, bp.maps.open(id=m.id, classes={"Stat": Stat}) as again:
        m[1] = Stat(calls=4, errors=1)
        assert m[1].rate() == again[1].rate() == 0.25
        with bp.maps.open(id=m.id) as third:
            assert third[1].errors == 1


def test_pins(pin: Path) -> None:
    with create("hash", pin=str(pin)) as m:
        m[1] = 2
        with pytest.raises(MapError, match="already") as info:
            m.pin(pin)
        assert info.value.errno == errno.EEXIST
    with bp.maps.open(pin) as again:
        assert again[1] == 2
        again.unpin()
        assert not pin.exists()
        again.unpin()
    with pytest.raises(MapError, match="there is nothing"):
        bp.maps.open(pin)
    with create("hash") as m, pytest.raises(MapError, match="BPF file system"):
        m.pin("/tmp/probee_no_bpffs")


def test_what_is_not_there() -> None:
    with pytest.raises(MapError, match="there is no map 4294967294"):
        bp.maps.open(id=(1 << 32) - 2)
    with pytest.raises(MapError, match="no map named 'probee_nobody'"):
        bp.maps.open(name="probee_nobody")
    with pytest.raises(MapError, match="not open"):
        bp.maps.open(fd=987654)
    with open("/dev/null") as file, pytest.raises(MapError, match="no map"):
        bp.maps.open(fd=file.fileno())
    for wrong in ({}, {"id": 1, "fd": 1}):
        with pytest.raises(TypeError, match="one of"):
            bp.maps.open(**wrong)  # type: ignore[arg-type]
    program = kernel().prog_load(ProgAttr(1, assemble("r0 = 0\nexit"), "GPL", "p"))
    try:
        with pytest.raises(MapError, match="no map"):
            bp.maps.open(fd=program)
    finally:
        kernel().close(program)


def test_a_name_that_is_not_the_only_one() -> None:
    name = f"t{uuid.uuid4().hex[:10]}"
    with create("hash", name=name) as one, create("hash", name=name) as two:
        both = f"2 maps.*{one.id}, {two.id}"
        with pytest.raises(MapError, match=both):
            bp.maps.open(name=name)


def test_all_maps_are_listed() -> None:
    with create("hash", name="listed") as m:
        facts = {f.id: f for f in bp.maps.list_maps()}
        assert facts[m.id].name == "listed"
        assert (facts[m.id].memlock or 0) > 0
    assert m.closed


def test_maps_that_vanish_while_they_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = type(kernel()).fd_by_id

    def gone(self: Any, command: int, id: int) -> int:
        raise OSError(errno.ENOENT, "gone")

    monkeypatch.setattr(type(kernel()), "fd_by_id", gone)
    with create("hash"):
        assert bp.maps.list_maps() == []
    monkeypatch.setattr(type(kernel()), "fd_by_id", real)

    def denied(self: Any, command: int, id: int) -> int:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(type(kernel()), "fd_by_id", denied)
    with create("hash") as m:
        with pytest.raises(PermissionDenied):
            bp.maps.open(id=m.id)
        with pytest.raises(PermissionDenied):
            bp.maps.list_maps()


def test_facts_and_freezing() -> None:
    with create("array") as m:
        assert m.info().frozen in (False, None)
        assert (m.info().max_entries, m.info().value_size) == (4, 8)
        m.freeze()
        assert m.info().frozen in (True, None)
        with pytest.raises(MapError, match="frozen"):
            m[0] = 1
        assert m[0] == 0


def test_variables_of_a_program_are_found_as_bytes(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, TYPED)) as c:
        data = next(m for name, m in c.maps.items() if name.startswith(".data"))
        with bp.maps.open(id=data.id) as again:
            assert again[0] == b"hi".ljust(16, b"\0")


def test_a_struct_ops_map_shows_its_state() -> None:
    from probee.btf import kernel_btf
    from probee.btf.build import BtfBuilder

    btf = kernel_btf()
    kind = btf.find("bpf_struct_ops_tcp_congestion_ops")
    if kind is None:
        pytest.skip("this kernel has no struct_ops for TCP")
    b = BtfBuilder()
    b.int_("int", 4, 1)
    btf_fd = kernel().btf_load(b.build())
    try:
        fd = kernel().map_create(
            26, 4, btf.type(kind).size, 1, btf_fd=btf_fd, vmlinux_value_type_id=kind, name="ops"
        )
    finally:
        kernel().close(btf_fd)
    with found.from_descriptor(fd) as m:
        assert type(m).__name__ == "StructOps"
        assert (m.state, m.references) == ("init", 0)
        assert m.read().data.flags == 0
        assert not m.unregister()  # it never was registered


def without_capabilities(action: Any) -> bytes:
    """What `action` answers in a child process that has no capabilities."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3
            assert ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)) == 0
            os.write(writing, action())
        except BaseException as e:
            os.write(writing, f"{type(e).__name__}: {e}".encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    return answer


def test_without_the_privilege() -> None:
    def make() -> bytes:
        bp.maps.create("hash", key=4, value=4, entries=1)
        return b"made"

    answer = without_capabilities(make).decode()
    assert answer.startswith("PermissionDenied"), answer
    assert "CAP_BPF" in answer

    def find() -> bytes:
        bp.maps.open(id=1)
        return b"found"

    assert without_capabilities(find).decode().startswith("PermissionDenied")


OPS = r"""
struct sock;
struct tcp_congestion_ops {
    u32 (*ssthresh)(struct sock *sk); void (*cong_avoid)(struct sock *sk, u32 ack, u32 acked);
    u32 (*undo_cwnd)(struct sock *sk); char name[16];
};
SEC("struct_ops/a") u32 ssthresh(u64 *ctx) { return 10; }
SEC("struct_ops/b") int cong_avoid(u64 *ctx) { return 0; }
SEC("struct_ops/d") u32 undo_cwnd(u64 *ctx) { return 10; }
SEC(".struct_ops") struct tcp_congestion_ops found = {
    .ssthresh = (void *)ssthresh, .cong_avoid = (void *)cong_avoid, .undo_cwnd = (void *)undo_cwnd,
    .name = "probee_found",
};
"""


def test_a_registered_struct_ops_map_is_read_by_the_kernels_types(tmp_path: Path) -> None:
    needs("struct_ops")
    with load(object_from_c(tmp_path, OPS)) as c:
        m = c.maps["found"]
        with c.struct_ops["found"].attach(), bp.maps.open(id=m.id) as again:
            assert (again.state, m.state) == ("in use", "in use")
            assert again.references >= 1
            value = again.read()
            assert value.data.name == "probee_found"
            assert value.data.ssthresh == c.programs["ssthresh"].id
        assert m.state in ("init", "to be freed")
