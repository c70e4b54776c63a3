"""Names become files: the linker's cache, its directories, PATH."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.errors import AttachError
from probee.symbols import files


def cache(entries: list[tuple[str, str]], *, old_part: bytes = b"") -> bytes:
    """An ld.so.cache in glibc's new format."""
    strings = b""
    table = b""
    base = 48 + 24 * len(entries)
    for name, path in entries:
        table += struct.pack("=iIIIQ", 0x303, base + len(strings), base + len(strings) + len(name) + 1, 0, 0)
        strings += name.encode() + b"\0" + path.encode() + b"\0"
    return (
        old_part
        + b"glibc-ld.so.cache1.1"
        + struct.pack("=II20x", len(entries), len(strings))
        + table
        + strings
    )


ENTRIES = [("libc.so.6", "/lib/libc.so.6"), ("libcrypto.so.3", "/usr/lib/libcrypto.so.3")]


@pytest.mark.parametrize("old_part", [b"", b"ld.so-1.7.0\0" + bytes(20)])
def test_the_cache_is_read(old_part: bytes) -> None:
    assert list(files.parse_cache(cache(ENTRIES, old_part=old_part))) == ENTRIES


@given(st.data())
def test_a_broken_cache_gives_less_not_an_error(data: st.DataObject) -> None:
    raw = bytearray(cache(ENTRIES))
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    assert len(list(files.parse_cache(bytes(raw[:cut])))) <= len(ENTRIES)


@pytest.mark.parametrize(
    ("name", "soname", "same"),
    [
        ("c", "libc.so.6", True),
        ("libc", "libc.so.6", True),
        ("libc.so", "libc.so.6", True),
        ("libc.so.6", "libc.so.6", True),
        ("c", "libcrypto.so.3", False),
        ("libc.so.5", "libc.so.6", False),
        ("ssl", "libssl.so", True),
        ("stdc++", "libstdc++.so.6", True),
    ],
)
def test_names_of_libraries(name: str, soname: str, same: bool) -> None:
    assert files.matches(name, soname) is same


def test_the_newest_version_that_this_machine_can_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    native = Path("/proc/self/exe").read_bytes()[:64]
    (tmp_path / "libzz.so").write_text("GROUP ( libzz.so.2 )")  # a linker script
    for version, content in (("2", native), ("10", native), ("11", native[:4] + b"\x01" + native[5:])):
        (tmp_path / f"libzz.so.{version}").write_bytes(content)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert files.resolve("zz") == str(tmp_path / "libzz.so.10")
    assert files.resolve("libzz.so.2") == str(tmp_path / "libzz.so.2")
    assert files.resolve("libzzz") is None


def test_executables_come_from_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shim, real = tmp_path / "shims", tmp_path / "bin"
    for directory, content in ((shim, b"#!/bin/sh\n"), (real, Path("/proc/self/exe").read_bytes()[:64])):
        directory.mkdir()
        (directory / "tool").write_bytes(content)
        (directory / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim}{os.pathsep}{real}")
    assert files.resolve("tool") == str(real / "tool")
    assert files.resolve(str(shim / "tool")) == str(shim / "tool")
    assert files.resolve(str(shim / "none")) is None


def test_libraries_of_a_process() -> None:
    found = files.resolve("c", os.getpid())
    assert found is not None
    assert os.path.samefile(found, files.resolve("c") or "")
    assert files.resolve(found, os.getpid()) == found
    assert files.resolve("", os.getpid()) == f"/proc/{os.getpid()}/exe"
    with pytest.raises(AttachError, match="no process 4194305"):
        files.resolve("c", 2**22 + 1)


def test_this_python_is_found() -> None:
    assert files.resolve(sys.executable) == os.path.realpath(sys.executable)
