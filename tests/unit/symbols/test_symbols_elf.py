"""Symbols of ELF files made by a small writer, of garbage, and of the libc this test runs with."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee.errors import AttachError, ObjectError
from probee.symbols.elf import Elf
from probee.symbols.locate import locate

FUNC, IFUNC = 2, 10
MACHINES = {"x86_64": 62, "aarch64": 183, "riscv64": 243, "s390x": 22, "ppc64le": 21}
TEXT_AT, TEXT_ADDRESS, TEXT_SIZE = 0x1000, 0x401000, 0x500


def elf(
    symbols: list[tuple[str, int, int]], *, versions: list[int] | None = None, dynamic: bool = True
) -> bytes:
    """An ELF64 file with one loaded segment and a symbol table of (name, address, type)."""
    strings = b"\0"
    table = bytes(24)
    for name, address, kind in symbols:
        table += struct.pack("<IBBHQQ", len(strings), 1 << 4 | kind, 0, 1 if address else 0, address, 16)
        strings += name.encode() + b"\0"
    note = struct.pack("<III", 4, 4, 3) + b"GNU\0" + bytes.fromhex("deadbeef")
    chunks = {"strings": strings, "table": table, "versions": b"", "note": note}
    if versions is not None:
        chunks["versions"] = struct.pack(f"<{len(versions) + 1}H", 0, *versions)
    at = 64 + 2 * 56
    places = {}
    body = b""
    for name, chunk in chunks.items():
        places[name] = at + len(body)
        body += chunk + bytes(-len(chunk) % 8)
    sections = [
        (0, 0, 0, 0, 0),
        (1, 0, TEXT_AT, TEXT_SIZE, 0),
        (3, 0, places["strings"], len(strings), 0),
        (11 if dynamic else 2, 0, places["table"], len(table), 2),
    ]
    if versions is not None:
        sections.append((0x6FFFFFFF, 0, places["versions"], len(chunks["versions"]), 3))
    shoff = at + len(body)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    machine = MACHINES[os.uname().machine]
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, shoff, 0, 64, 56, 2, 64, len(sections), 2)
    segments = struct.pack(
        "<IIQQQQQQ", 1, 5, TEXT_AT, TEXT_ADDRESS, TEXT_ADDRESS, TEXT_SIZE, TEXT_SIZE, 0x1000
    )
    segments += struct.pack("<IIQQQQQQ", 4, 4, places["note"], 0, 0, len(note), len(note), 4)
    shdrs = b"".join(
        struct.pack("<IIQQQQIIQQ", 0, kind, flags, 0, offset, size, link, 0, 8, 24)
        for kind, flags, offset, size, link in sections
    )
    whole = header + segments + body + shdrs
    return whole + bytes(max(0, TEXT_AT + TEXT_SIZE - len(whole)))


@pytest.fixture
def binary(tmp_path: Path) -> Path:
    path = tmp_path / "binary"
    path.write_bytes(
        elf(
            [
                ("main", 0x401010, FUNC),
                ("domain", 0x401020, FUNC),
                ("pick", 0x401030, IFUNC),
                ("undefined", 0, FUNC),
            ]
        )
    )
    return path


def test_a_symbol_is_found_by_its_whole_name(binary: Path) -> None:
    with Elf(str(binary)) as file:
        main = file.find("main")  # also the end of "domain"
        assert main is not None
        assert (main.address, main.size, main.type) == (0x401010, 16, FUNC)
        assert file.find("undefined") is None
        assert file.find("mai") is None
        assert file.find("") is None
        assert [symbol.name for symbol in file.symbols()] == ["main", "domain", "pick"]
        assert file.build_id() == "deadbeef"


def test_addresses_become_file_offsets(binary: Path) -> None:
    with Elf(str(binary)) as file:
        assert file.file_offset(0x401010) == TEXT_AT + 0x10
        assert file.file_offset(TEXT_ADDRESS + TEXT_SIZE) is None
        assert file.file_offset(0) is None


def test_the_default_version_wins(tmp_path: Path) -> None:
    path = tmp_path / "versions"
    path.write_bytes(elf([("f", 0x401100, FUNC), ("f", 0x401200, FUNC)], versions=[0x8002, 3]))
    with Elf(str(path)) as file:
        found = file.find("f")
    assert found is not None
    assert found.address == 0x401200


def test_locations(binary: Path) -> None:
    assert locate(str(binary), "main").offset == TEXT_AT + 0x10
    assert locate(str(binary), "main+0x4").offset == TEXT_AT + 0x14
    assert locate(str(binary), "0x1234").offset == 0x1234


@pytest.mark.parametrize(
    ("symbol", "message"),
    [
        ("mian", "no symbol mian in .*did you mean main"),
        ("pick", "indirect function"),
        ("main+lots", "not a symbol and a number"),
    ],
)
def test_what_has_no_location(binary: Path, symbol: str, message: str) -> None:
    with pytest.raises(AttachError, match=message):
        locate(str(binary), symbol)


def test_files_that_are_no_elf(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("#!/bin/sh\n" * 20)
    with pytest.raises(ObjectError, match="not an ELF file"):
        Elf(str(path))
    with pytest.raises(AttachError, match="not an ELF file"):
        locate(str(path), "main")
    path.write_bytes(b"")
    with pytest.raises(ObjectError, match="shorter"):
        Elf(str(path))
    stripped = tmp_path / "stripped"
    stripped.write_bytes(elf([]))
    with pytest.raises(AttachError, match="no symbols"):
        locate(str(stripped), "main")


SAMPLE = elf([("main", 0x401010, FUNC)], versions=[2])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=8),
    cut=st.one_of(st.none(), st.integers(0, len(SAMPLE))),
)
def test_broken_files_are_object_errors(
    tmp_path: Path, changes: list[tuple[int, int]], cut: int | None
) -> None:
    data = bytearray(SAMPLE)
    for at, value in changes:
        data[at if at > 400 else at % 400] = value
    path = tmp_path / "broken"
    path.write_bytes(bytes(data[:cut]))
    try:
        with Elf(str(path)) as file:
            file.find("main")
            list(file.symbols())
            file.build_id()
    except ObjectError:
        pass


def test_libc_has_malloc() -> None:
    place = locate("c", "malloc")
    assert ".so" in os.path.basename(place.path)
    assert place.offset > 0
    assert locate("libc", "malloc").path == place.path
