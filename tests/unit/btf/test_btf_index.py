"""The index on disk: found again, rebuilt when it is broken, never needed."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee.btf import Btf, BtfBuilder, index, kernel_btf, live, module_btfs, open_btf, store
from probee.errors import ObjectError, Unsupported

KEY = b"key"


def sample() -> BtfBuilder:
    b = BtfBuilder()
    i32 = b.int_("int", 4, 1)
    for n in range(50):
        b.struct(f"s{n}", 4, [("x", i32, 0)])
        b.ptr(b.next_id - 1)
    b.struct("s7___flavour", 4, [("x", i32, 0)])
    b.struct("s7", 8, [("x", i32, 32)])
    b.typedef("_____", i32)
    b.typedef("odd___", i32)
    return b


BLOB = sample().build()
PLAIN = Btf.parse(BLOB)


def same(btf: Btf) -> None:
    """Does an indexed BTF answer as the parsed one?"""
    assert len(btf) == len(PLAIN)
    assert [repr(t) for t in btf.own_types()] == [repr(t) for t in PLAIN.own_types()]
    for t in PLAIN.own_types():
        if t.name:
            assert btf.find_all(t.name) == PLAIN.find_all(t.name)
            assert btf.ids_by_essential_name(t.name) == PLAIN.ids_by_essential_name(t.name)
    assert len(btf.ids_by_essential_name("s7")) == 3
    assert btf.find("nothing") is None
    assert btf.raw == BLOB


def test_an_indexed_btf_answers_as_a_parsed_one() -> None:
    made = index.build(BLOB, KEY)
    btf = index.attach(made, KEY, BLOB, len(BLOB))
    assert btf is not None
    same(btf)


def test_a_big_endian_btf_is_indexed_too() -> None:
    b = BtfBuilder(endian="big")
    b.struct("task", 8, [("pid", b.int_("int", 4, 1), 0)])
    blob = b.build()
    btf = index.attach(index.build(blob, KEY), KEY, blob, len(blob))
    assert btf is not None
    assert btf.type(btf.find("task") or 0).members[0].name == "pid"


def test_an_index_with_a_copy_needs_no_other_bytes() -> None:
    made = index.build(BLOB, KEY, with_copy=True)
    btf = index.attach(made, KEY, None, len(BLOB))
    assert btf is not None
    same(btf)
    assert index.attach(index.build(BLOB, KEY), KEY, None, len(BLOB)) is None


def test_an_index_of_another_btf_is_not_taken() -> None:
    made = index.build(BLOB, KEY)
    other = sample()
    other.int_("more", 4)
    changed = bytearray(BLOB)
    changed[-2] ^= 1
    assert index.attach(made, b"other", BLOB, len(BLOB)) is None
    assert index.attach(made, KEY, other.build(), len(other.build())) is None
    assert index.attach(made, KEY, bytes(changed), len(BLOB)) is None


@pytest.mark.parametrize("with_copy", [False, True])
def test_a_truncated_index_is_not_taken(with_copy: bool) -> None:
    made = index.build(BLOB, KEY, with_copy=with_copy)
    data = None if with_copy else BLOB
    for size in (*range(200), *range(200, len(made), 97), len(made) - 1):
        assert index.attach(made[:size], KEY, data, len(BLOB)) is None
    assert index.attach(made + b"\0", KEY, data, len(BLOB)) is None


MADE = index.build(BLOB, KEY, with_copy=True)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(MADE) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(at: int, flip: int) -> None:
    bad = bytearray(MADE)
    bad[at] ^= flip
    assert index.attach(bytes(bad), KEY, None, len(BLOB)) is None


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_no_index(data: bytes) -> None:
    assert index.attach(data, KEY, None, len(BLOB)) is None
    assert index.attach(MADE[:16] + data, KEY, None, len(BLOB)) is None


# --- on disk ---------------------------------------------------------------------------------------


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel made of files, with an empty cache."""
    (tmp_path / "btf").mkdir()
    (tmp_path / "btf" / "vmlinux").write_bytes(BLOB)
    (tmp_path / "notes").write_bytes(struct.pack("=III4s20s", 4, 20, 3, b"GNU\0", b"x" * 20))
    monkeypatch.setattr(live, "FOLDER", str(tmp_path / "btf"))
    monkeypatch.setattr(live, "NOTES", str(tmp_path / "notes"))
    monkeypatch.setattr(live, "_kernel", None)
    monkeypatch.setenv("PROBEE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return tmp_path


class Builds:
    """Counts the indexes that are built."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        build = index.build

        def counted(*args: object, **options: object) -> bytes:
            self.count += 1
            return build(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(index, "build", counted)


def again(monkeypatch: pytest.MonkeyPatch) -> Btf:
    """The kernel's BTF as the next process sees it."""
    monkeypatch.setattr(live, "_kernel", None)
    return kernel_btf()


def test_the_index_is_built_once(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = Builds(monkeypatch)
    same(kernel_btf())
    assert kernel_btf() is kernel_btf()
    same(again(monkeypatch))
    assert builds.count == 1
    (file,) = (system / "cache" / "btf").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.name == "kernel-" + "78" * 20


def test_a_broken_index_is_built_anew(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = Builds(monkeypatch)
    kernel_btf()
    (file,) = (system / "cache" / "btf").iterdir()
    good = file.read_bytes()
    for n, bad in enumerate((b"", good[:100], good[:-1], good[:300] + b"!" + good[301:]), 2):
        file.write_bytes(bad)
        same(again(monkeypatch))
        assert builds.count == n
        assert file.read_bytes() == good


def test_another_kernel_gets_another_index(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = Builds(monkeypatch)
    kernel_btf()
    (system / "notes").write_bytes(struct.pack("=III4s20s", 4, 20, 3, b"GNU\0", b"y" * 20))
    again(monkeypatch)
    assert builds.count == 2
    assert len(list((system / "cache" / "btf").iterdir())) == 2


def test_a_kernel_with_other_types_under_the_same_build_id(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel_btf()
    b = BtfBuilder()
    b.int_("other", 4)
    (system / "btf" / "vmlinux").write_bytes(b.build())
    assert again(monkeypatch).find("other") == 1


def test_without_a_build_id_the_content_counts(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (system / "notes").unlink()
    builds = Builds(monkeypatch)
    same(kernel_btf())
    same(again(monkeypatch))
    assert builds.count == 1
    (file,) = (system / "cache" / "btf").iterdir()
    assert file.name.startswith("content-")


def test_a_kernel_that_cannot_be_mapped(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoMap:
        MAP_PRIVATE, PROT_READ = mmap.MAP_PRIVATE, mmap.PROT_READ

        @staticmethod
        def mmap(*args: object, **options: object) -> None:
            raise OSError(19, "No such device")

    monkeypatch.setattr(live, "mmap", NoMap)
    builds = Builds(monkeypatch)
    same(kernel_btf())
    monkeypatch.setattr(live, "_read_all", None)  # the copy in the index must do
    same(again(monkeypatch))
    assert builds.count == 1


def test_an_unwritable_cache_falls_back_to_a_private_folder(
    system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROBEE_CACHE", "/dev/null/cache")
    builds = Builds(monkeypatch)
    same(kernel_btf())
    same(again(monkeypatch))
    assert builds.count == 1
    folder = system / f"probee-{os.geteuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list((folder / "btf").iterdir())) == 1


def test_nowhere_to_write_is_no_error(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBEE_CACHE", "/dev/null/cache")
    monkeypatch.setenv("TMPDIR", "/dev/null")
    same(kernel_btf())
    same(again(monkeypatch))


def test_a_file_that_others_can_write_is_not_trusted(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = Builds(monkeypatch)
    kernel_btf()
    (file,) = (system / "cache" / "btf").iterdir()
    file.chmod(0o666)
    again(monkeypatch)
    assert builds.count == 2
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_others_can_write_is_not_used(system: Path) -> None:
    (system / "cache").mkdir(mode=0o700)
    (system / "cache").chmod(0o777)
    kernel_btf()
    assert not list((system / "cache").iterdir())
    assert len(list((system / f"probee-{os.geteuid()}" / "btf").iterdir())) == 1


def test_a_link_in_place_of_the_index_is_not_followed(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel_btf()
    (file,) = (system / "cache" / "btf").iterdir()
    target = file.rename(system / "elsewhere")
    file.symlink_to(target)
    same(again(monkeypatch))
    assert not file.is_symlink()


def test_old_indexes_are_deleted(system: Path) -> None:
    for n in range(20):
        assert store.save(f"kernel-{n}", b"x")
        os.utime(system / "cache" / "btf" / f"kernel-{n}", ns=(n, n))
    left = {file.name for file in (system / "cache" / "btf").iterdir()}
    assert len(left) == store.KEEP
    assert "kernel-19" in left


def test_a_kernel_without_btf(system: Path) -> None:
    (system / "btf" / "vmlinux").unlink()
    with pytest.raises(Unsupported, match="CONFIG_DEBUG_INFO_BTF") as caught:
        kernel_btf()
    assert caught.value.since == "5.4"


def test_a_broken_kernel_btf(system: Path) -> None:
    (system / "btf" / "vmlinux").write_bytes(BLOB[:100])
    with pytest.raises(ObjectError):
        kernel_btf()


def test_modules(system: Path) -> None:
    b = BtfBuilder(PLAIN)
    b.struct("from_module", 4, [("x", 1, 0)])
    (system / "btf" / "some_module").write_bytes(b.build())
    (btf,) = module_btfs()
    assert btf.base is kernel_btf()
    assert btf.size_of(btf.find("from_module") or 0) == 4


def test_files(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builds = Builds(monkeypatch)
    path = system / "vmlinux.btf"
    path.write_bytes(BLOB)
    same(open_btf(path))
    assert builds.count == 0
    monkeypatch.setattr(live, "_WORTH_AN_INDEX", 1)
    same(open_btf(path))
    same(open_btf(path))
    assert builds.count == 1
    path.write_bytes(b"\x7fELF" + bytes(100))
    with pytest.raises(ObjectError, match="ELF"):
        open_btf(path)
    with pytest.raises(FileNotFoundError):
        open_btf(system / "absent")


def test_build_ids() -> None:
    note = struct.pack("=III", 4, 3, 3) + b"GNU\0" + b"abc\0"
    other = struct.pack("=III", 6, 4, 3) + b"Linux\0\0\0" + b"1234"
    assert live.build_id_in(note) == b"abc"
    assert live.build_id_in(other + note) == b"abc"
    assert live.build_id_in(other) == b""
    assert live.build_id_in(b"") == b""


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=64))
def test_build_ids_in_garbage(data: bytes) -> None:
    assert isinstance(live.build_id_in(data), bytes)


def test_the_running_kernel() -> None:
    if not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF (/sys/kernel/btf/vmlinux)")
    btf = kernel_btf()
    plain = Btf.parse(btf.raw)
    assert len(btf) == len(plain) > 1000
    for name in ("task_struct", "file", "int", "pid_t", "bpf_map_type", "schedule", "no_such_name"):
        assert btf.find_all(name) == plain.find_all(name)
        assert btf.ids_by_essential_name(name) == plain.ids_by_essential_name(name)
    task = btf.type(btf.find("task_struct") or 0)
    assert {"pid", "tgid", "comm", "real_parent"} <= {m.name for m in task.members}
