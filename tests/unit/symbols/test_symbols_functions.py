"""Lists of functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from elfwriter import BASE, FUNC, OBJECT, Writer

from probee.errors import AttachError
from probee.symbols.functions import list_functions
from probee.symbols.locate import locate, locate_all


def test_functions(tmp_path: Path) -> None:
    writer = Writer()
    entries = [("b_two", BASE + 32, FUNC, 1), ("a_one", BASE + 16, FUNC, 1), ("alias", BASE + 16, FUNC, 2)]
    entries += [("data", BASE + 48, OBJECT, 1), ("_RNvC1a1f", BASE + 64, FUNC, 1), ("out", 16, FUNC, 1)]
    writer.symbols(entries)
    path = tmp_path / "p"
    path.write_bytes(writer.bytes())
    found = list_functions(str(path))
    assert [(f.name, f.offset, f.size) for f in found] == [
        ("a_one", 16, 16),
        ("b_two", 32, 16),
        ("_RNvC1a1f", 64, 16),
    ]
    assert [f.words for f in list_functions(str(path), "a::*")] == ["a::f"]
    assert [f.name for f in list_functions(str(path), "?_*")] == ["a_one", "b_two"]
    assert list_functions(str(path), "none*") == []
    with pytest.raises(AttachError, match="can't find"):
        list_functions(str(tmp_path / "none"))


def test_rust_names_in_words(tmp_path: Path) -> None:
    writer = Writer()
    names = [
        "_RNvNtCs1234_4core3fmt5write",
        "_RINvC1a1fmE",
        "_RINvC1a1fhE",
        "_RNvXC1aNtB2_1SNtB2_1T2go",
        "_ZN4core3fmt5Alpha4show17h0123456789abcdefE",
        "_ZN4core3fmt5Alpha4show17hfedcba9876543210E",
        "_ZN5other4show17h0123456789abcdefE",
    ]
    writer.symbols([(name, BASE + 16 * at, FUNC, 1) for at, name in enumerate(names, 1)])
    path = tmp_path / "p"
    path.write_bytes(writer.bytes())
    for words, at in (
        ("core::fmt::write", 1),
        ("a::f::<u32>", 2),
        ("<a::S as a::T>::go", 4),
        ("core::fmt::Alpha::show::h0123456789abcdef", 5),
        ("core::fmt::Alpha::show::hfedcba9876543210+0x4", 6.25),
        ("other::show", 7),
    ):
        assert locate(str(path), words).offset == 16 * at, words
    with pytest.raises(AttachError, match=r"show means 2 functions .* at 0x400050"):
        locate(str(path), "core::fmt::Alpha::show")
    assert [place.offset for place in locate_all(str(path), "a::f::*")] == [32, 48]
    assert [place.offset for place in locate_all(str(path), "core::fmt::Alpha::show")] == [80, 96]
