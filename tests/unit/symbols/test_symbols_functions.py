"""Lists of functions."""

from __future__ import annotations

from pathlib import Path

import pytest
from elfwriter import BASE, FUNC, OBJECT, Writer

from probee.errors import AttachError
from probee.symbols.functions import list_functions


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
