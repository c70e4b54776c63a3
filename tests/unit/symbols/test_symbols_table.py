"""Searches of symbol tables against a plain loop over them; all widths and byte orders; versions."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest
from elfwriter import BASE, FUNC, IFUNC, OBJECT, Writer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee.symbols import table
from probee.symbols.elf import Elf
from probee.symbols.near import near_names

NAMES = st.text("ab_", min_size=1, max_size=5)
FORMS = [(wide, order) for wide in (True, False) for order in "<>"]


def made(entries: list[tuple[str, int, int, int]], wide: bool = True, order: str = "<") -> Elf:
    writer = Writer(wide=wide, order=order)
    writer.symbols(entries)
    return Elf("made", data=writer.bytes())


@pytest.mark.parametrize(("wide", "order"), FORMS)
@pytest.mark.parametrize("many", [0, 100_000])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, max_size=30), pattern=st.text("ab_*?", min_size=1, max_size=5))
def test_patterns(
    monkeypatch: pytest.MonkeyPatch, many: int, wide: bool, order: str, names: list[str], pattern: str
) -> None:
    monkeypatch.setattr(table, "_MANY", many)  # both ways of searching
    elf = made([(name, BASE + 16 * i, FUNC, 1) for i, name in enumerate(names, 1)], wide, order)
    plain = re.compile("".join(".*" if c == "*" else "." if c == "?" else re.escape(c) for c in pattern))
    expected = [(n, BASE + 16 * i) for i, n in enumerate(names, 1) if plain.fullmatch(n)]
    assert [(s.name, s.address) for s in elf.matching(pattern)] == expected


@pytest.mark.parametrize(("wide", "order"), FORMS)
@settings(max_examples=60)
@given(names=st.lists(NAMES, max_size=40), wanted=NAMES)
def test_exact_names(wide: bool, order: str, names: list[str], wanted: str) -> None:
    elf = made([(name, BASE + 16 * i, FUNC, 1) for i, name in enumerate(names, 1)], wide, order)
    expected = [BASE + 16 * i for i, name in enumerate(names, 1) if name == wanted]
    assert [symbol.address for symbol in elf.lookup(wanted)] == expected


@pytest.mark.parametrize(("wide", "order"), FORMS)
def test_addresses(wide: bool, order: str) -> None:
    entries = [
        ("weak", BASE + 16, FUNC, 2),
        ("strong", BASE + 16, FUNC, 1),
        ("data", BASE + 20, OBJECT, 1),
        ("pick", BASE + 64, IFUNC, 1),
        ("absent", 0, FUNC, 1),
    ]
    elf = made(entries, wide, order)
    for address, name in ((16, "strong"), (31, "strong"), (64, "pick"), (79, "pick")):
        found = elf.at(BASE + address)
        assert found is not None
        assert found.name == name
    assert elf.at(BASE + 32) is elf.at(BASE + 80) is elf.at(0) is None
    assert elf.imports("absent")
    assert not elf.imports("strong")


def test_names_of_many_places_are_one_pass() -> None:
    """A string table full of one name, as nobody's linker makes it."""
    count = 3000
    strings = b"\0" + b"a\0" * count
    entries = b"".join(struct.pack("<IBBHQQ", 1 + 2 * i, 18, 0, 1, BASE + i, 1) for i in range(count))
    writer = Writer()
    link = writer.section(".strtab", strings, 3)
    writer.section(".symtab", bytes(24) + entries, 2, link=link)
    elf = Elf("made", data=writer.bytes())
    assert len(elf.lookup("a")) == count
    assert len(elf.matching("?")) == count


def test_bytes_that_look_like_references() -> None:
    """Sizes and addresses that happen to be the number of a name."""
    strings = b"\0" * 0x01010101 + b"name\0"
    entries = b"\x01" * 24 * 1000
    writer = Writer()
    link = writer.section(".strtab", strings, 3)
    writer.section(".symtab", entries, 2, link=link)
    found = Elf("made", data=writer.bytes()).lookup("name")
    assert [symbol.name for symbol in found] == ["name"]


def test_versions() -> None:
    """`.gnu.version` and `.gnu.version_d` as GNU ld writes them."""
    writer = Writer()
    writer.symbols(
        [("f", BASE + 16, FUNC, 1), ("f", BASE + 32, FUNC, 1), ("g", BASE + 48, FUNC, 1)], dynamic=True
    )
    strings = next(s for s in writer.sections if s[0] == ".dynstr")
    names = strings[3] + b"OLD_1\0NEW_2\0"
    writer.sections[0] = (".dynstr", 3, 2, names, 0)
    writer.section(".gnu.version", struct.pack("<4H", 0, 2 | 0x8000, 3, 1), 0x6FFFFFFF)
    definitions = b""
    for number, name, last in ((2, b"OLD_1", False), (3, b"NEW_2", True)):
        definitions += struct.pack("<4H3I", 1, 0, number, 1, 0, 20, 0 if last else 28)
        definitions += struct.pack("<II", names.find(name), 0)
    writer.section(".gnu.version_d", definitions, 0x6FFFFFFD)
    with Elf("made", data=writer.bytes()) as elf:
        assert [s.version for s in elf.lookup("f")] == ["NEW_2", "OLD_1"]
        for name, address in (
            ("f", 32),
            ("f@NEW_2", 32),
            ("f@@NEW_2", 32),
            ("f@OLD_1", 16),
            ("g", 48),
        ):
            found = elf.find(name)
            assert found is not None, name
            assert found.address == BASE + address, name
        assert elf.find("f@@OLD_1") is None
        assert elf.find("f@NONE") is None
        assert repr(elf.find("f@OLD_1")).startswith("Symbol(f@OLD_1,")


def test_versions_inside_names() -> None:
    elf = made([("f@@V2", BASE + 16, FUNC, 1), ("f@V1", BASE + 32, FUNC, 1)])
    for name, address in (("f@V1", 32), ("f@V2", 16), ("f@@V2", 16)):
        found = elf.find(name)
        assert found is not None
        assert found.address == BASE + address
    assert elf.find("f@@V1") is None


def test_near_names() -> None:
    elf = made(
        [
            (name, BASE + 16 * i, FUNC, 1)
            for i, name in enumerate(("malloc", "free", "_ZN2ns4funcEi", "call"), 1)
        ]
    )
    assert near_names(elf, "mallok")[0] == "malloc"
    assert near_names(elf, "xyzzy") == []
    assert near_names(elf, "ns::fund") == ["ns::func(int)"]


def test_a_file_that_becomes_shorter(tmp_path: Path) -> None:
    """Where the file was mapped, reading on would end this process."""
    writer = Writer()
    writer.symbols([("f", BASE + 16, FUNC, 1)])
    path = tmp_path / "file"
    path.write_bytes(writer.bytes())
    with Elf(str(path)) as elf:
        path.write_bytes(b"")
        with pytest.raises(ValueError, match="became shorter"):
            elf.find("f")
