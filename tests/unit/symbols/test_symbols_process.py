"""What `/proc` says of processes, archives and debug files: sound ones, and garbage."""

from __future__ import annotations

import contextlib
import lzma
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from elfwriter import BASE, FUNC, Writer, note
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee.errors import AttachError, ObjectError
from probee.symbols import archive, debugfiles, files, process
from probee.symbols.elf import Elf
from probee.symbols.locate import locate, locate_all

MAPS = b"""\
55d0e5a00000-55d0e5a28000 r--p 00000000 fe:00 1835042                    /usr/bin/my tool
55d0e5a28000-55d0e5b00000 r-xp 00028000 fe:00 1835042                    /usr/bin/my tool
7f0000000000-7f0000021000 rw-p 00000000 00:00 0
7f0000100000-7f0000101000 r-xp 00000000 fe:00 7                          /tmp/gone.so (deleted)
7f0000200000-7f0000201000 r--p 00000000 fe:00 8                          /tmp/new\\012line
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
"""


def test_maps() -> None:
    found = process.parse_maps(MAPS)
    assert [(m.path, m.deleted, m.executable) for m in found] == [
        ("/usr/bin/my tool", False, False),
        ("/usr/bin/my tool", False, True),
        ("/tmp/gone.so", True, True),
        ("/tmp/new\nline", False, False),
    ]
    assert (found[1].start, found[1].end, found[1].offset, found[1].inode) == (
        0x55D0E5A28000,
        0x55D0E5B00000,
        0x28000,
        1835042,
    )


@given(st.binary(max_size=200) | st.text("0f-rwxp /a\n()deleted:", max_size=80).map(str.encode))
def test_broken_maps(text: bytes) -> None:
    with contextlib.suppress(ObjectError):
        process.parse_maps(text)


def test_own_process() -> None:
    own = os.getpid()
    assert any(m.executable for m in process.mappings(own))
    assert process.view(own, "/bin/sh") == "/bin/sh"
    assert (
        os.path.realpath(sys.executable) in process.binaries(own)
        or process.mapped(own, "/usr/bin/none") is None
    )
    with pytest.raises(AttachError, match="no process 4194305"):
        process.mappings(4194305)


def test_a_deleted_library_is_reached(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    writer = Writer()
    writer.symbols([("f", BASE + 16, FUNC, 1)])
    path.write_bytes(writer.bytes())
    script = f"""
import mmap, sys
with open({str(path)!r}, "rb") as file:
    view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC)
print("ready", flush=True)
sys.stdin.read()
"""
    run = [sys.executable, "-c", script]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        path.unlink()
        if os.geteuid():  # who may not look is told so
            with pytest.raises(AttachError, match="CAP_CHECKPOINT_RESTORE"):
                files.resolve(str(path), child.pid)
        else:
            found = files.resolve(str(path), child.pid)
            assert found is not None
            assert found.startswith(f"/proc/{child.pid}/map_files/")
            assert locate(str(path), "f", child.pid).offset == 16
        assert child.stdin is not None
        child.stdin.close()


def test_links_inside_a_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/real").write_text("x")
    (root / "lib").symlink_to("/usr/lib")
    (root / "usr/lib/name").symlink_to("../../../../usr/lib/./real")
    (root / "loop").symlink_to("loop")
    assert files.inside(str(root), "/lib/name") == f"{root}/usr/lib/real"
    assert files.inside(str(root), "/../../lib/real") == f"{root}/usr/lib/real"
    assert files.inside(str(root), "/none/x") == f"{root}/none/x"
    assert files.inside(str(root), "/loop/x").startswith(str(root))


# ---- archives


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "p.zip"
    writer = Writer()
    writer.symbols([("f", BASE + 16, FUNC, 1)])
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/first", b"1234")
        file.writestr("lib/x.so", writer.bytes())
        file.writestr("packed.so", writer.bytes(), zipfile.ZIP_DEFLATED)
        file.comment = b"a comment"
    return path


def test_archives(package: Path) -> None:
    assert archive.split("a.zip!/b/c") == ("a.zip", "b/c")
    assert archive.split("a.zip") is archive.split("!/x") is archive.split("a!/") is None
    start, data = archive.member(str(package), "lib/x.so")
    assert package.read_bytes()[start : start + len(data)] == data
    assert locate(f"{package}!/lib/x.so", "f").offset == start + 16
    assert locate(f"{package}!/lib/x.so", offset=16).offset == start + 16
    for name, message in (
        ("packed.so", "compressed"),
        ("lib/y.so", "did you mean lib/x.so"),
        ("zz", "no member"),
    ):
        with pytest.raises(ObjectError, match=message):
            archive.member(str(package), name)
    with pytest.raises(ObjectError, match="not a zip"):
        archive.member("/dev/null", "x")
    with pytest.raises(AttachError, match="not a zip"):
        locate("/bin/sh!/x", "f")


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 2000),
)
def test_broken_archives(package: Path, tmp_path: Path, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(package.read_bytes())
    for at, value in changes:
        data[-1 - at % min(len(data), 300)] = value
    path = tmp_path / "broken"
    path.write_bytes(bytes(data[: len(data) - cut % 40]))
    with contextlib.suppress(ObjectError):
        archive.member(str(path), "lib/x.so")


# ---- debug files


def program(**sections: bytes) -> bytes:
    writer = Writer()
    for name, content in sections.items():
        writer.section("." + name, content)
    return writer.bytes()


def symbols(build_id: bytes = b"") -> bytes:
    writer = Writer()
    if build_id:
        writer.section(".note.gnu.build-id", note(b"GNU", 3, build_id), 7)
    writer.symbols([("hidden", BASE + 16, FUNC, 1), ("hidden_too", BASE + 32, FUNC, 1)])
    return writer.bytes()


def test_symbols_packed_inside(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(program(gnu_debugdata=lzma.compress(symbols())))
    assert locate(str(path), "hidden").offset == 16
    assert [place.offset for place in locate_all(str(path), "hidden*")] == [16, 32]
    for broken in (b"", b"junk", lzma.compress(b"no elf"), lzma.compress(symbols())[:-30]):
        path.write_bytes(program(gnu_debugdata=broken))
        with pytest.raises(AttachError, match="stripped"):
            locate(str(path), "hidden")


def link(name: bytes, checksum: int) -> bytes:
    return name + bytes(4 - len(name) % 4) + struct.pack("<I", checksum)


@pytest.mark.parametrize("folder", ["", ".debug"])
def test_symbols_in_a_file_beside(tmp_path: Path, folder: str) -> None:
    data = symbols()
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "p.debug").write_bytes(data)
    path = tmp_path / "p"
    path.write_bytes(program(gnu_debuglink=link(b"p.debug", zlib.crc32(data))))
    assert locate(str(path), "hidden").offset == 16
    path.write_bytes(program(gnu_debuglink=link(b"p.debug", 7)))  # of another build
    with pytest.raises(AttachError, match="stripped"):
        locate(str(path), "hidden")
    for name in (b"../p.debug", b"", b"p"):
        path.write_bytes(program(gnu_debuglink=link(name, zlib.crc32(data))))
        with pytest.raises(AttachError, match="stripped"):
            locate(str(path), "hidden")


def test_symbols_by_build_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debugfiles, "DIRECTORY", str(tmp_path))
    folder = tmp_path / ".build-id/ab"
    folder.mkdir(parents=True)
    path = tmp_path / "p"
    path.write_bytes(build_id_program(b"\xab\xcd\xef"))
    (folder / "cdef.debug").write_bytes(symbols(b"\xab\xcd\xef"))
    with Elf(str(path)) as elf:
        assert elf.build_id() == "abcdef"
    assert locate(str(path), "hidden").offset == 16
    (folder / "cdef.debug").write_bytes(symbols(b"\xab\xcd\x00"))  # replaced by that of another build
    with pytest.raises(AttachError, match="stripped"):
        locate(str(path), "hidden")


def build_id_program(build_id: bytes) -> bytes:
    """A program whose build id is found through a segment of notes, which the writer's one is made into."""
    writer = Writer()
    content = note(b"GNU", 3, build_id)
    writer.section(".note.gnu.build-id", content, 7)
    data = bytearray(writer.bytes())
    extra = struct.pack(
        "<IIQQQQQQ", 4, 4, writer.layout()[".note.gnu.build-id"], 0, 0, len(content), len(content), 4
    )
    segment = bytes(data[64:120])
    struct.pack_into("<Q", data, 32, len(data))  # program headers move to the end, where there is room
    struct.pack_into("<H", data, 56, 2)
    return bytes(data) + segment + extra
