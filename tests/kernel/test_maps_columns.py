"""Maps and records as Arrow tables and data frames."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from test_maps_types import create

pytestmark = pytest.mark.root

KEY = {"pid": "u32", "comm": "char[8]"}
VALUE = {
    "calls": "u64",
    "ratio": "f64",
    "ok": "bool",
    "mac": "u8[6]",
    "slots": "u16[3]",
    "inner": {"x": "i8"},
}


@pytest.fixture
def m() -> Any:
    with create("hash", key=KEY, value=VALUE, entries=1000) as made:
        for i in range(20):
            made[(i, f"p{i}é")] = {
                "calls": 1 << 40,
                "ratio": 0.5,
                "ok": i % 2 == 0,
                "mac": bytes([i] * 6),
                "slots": (i, i + 1, i + 2),
                "inner": {"x": -i},
            }
        yield made


def test_arrow(m: Any) -> None:
    pa = pytest.importorskip("pyarrow")
    table = m.to_arrow()
    assert table.num_rows == 20
    table.validate(full=True)
    assert table.schema.field("key").type == pa.struct([("pid", pa.uint32()), ("comm", pa.string())])
    rows = {row["key"]["pid"]: row for row in table.to_pylist()}
    assert rows[3] == {
        "key": {"pid": 3, "comm": "p3é"},
        "value": {
            "calls": 1 << 40,
            "ratio": 0.5,
            "ok": False,
            "mac": b"\3" * 6,
            "slots": [3, 4, 5],
            "inner": {"x": -3},
        },
    }
    flat = table.flatten()
    assert flat.column_names[:3] == ["key.pid", "key.comm", "value.calls"]


def test_pandas(m: Any) -> None:
    pytest.importorskip("pandas")
    frame = m.to_pandas().sort_values("key.pid").reset_index(drop=True)
    assert list(frame.columns) == [
        "key.pid",
        "key.comm",
        "value.calls",
        "value.ratio",
        "value.ok",
        "value.mac",
        "value.slots.0",
        "value.slots.1",
        "value.slots.2",
        "value.inner.x",
    ]
    assert frame["key.comm"][3] == "p3é"
    assert frame["value.mac"][3] == b"\3" * 6
    assert frame["value.calls"].dtype == np.uint64
    assert frame["value.inner.x"].tolist() == [-i for i in range(20)]
    assert frame["value.slots.2"][3] == 5


def test_text_that_is_no_utf8_and_ends_early() -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    with create("array", value="char[4]", entries=4) as m:
        m.update({0: b"\xff\xfe", 1: b"ab\0c", 2: b"abcd", 3: b""})
        expected = ["��", "ab", "abcd", ""]
        assert m.to_arrow()["value"].to_pylist() == expected
        assert m.to_pandas()["value"].tolist() == expected
        assert list(m.values()) == expected


def test_values_of_each_cpu() -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    with create("percpu_array", value="u64", entries=2) as m:
        m[1] = list(range(m.cpus))
        assert m.to_arrow()["value"].to_pylist() == [[0] * m.cpus, list(range(m.cpus))]
        assert m.to_pandas()[f"value.{m.cpus - 1}"].tolist() == [0, m.cpus - 1]
    with create("percpu_array", value={"a": "u32", "b": "char[4]"}, entries=1) as m:
        m[0] = [(cpu, "x") for cpu in range(m.cpus)]
        assert m.to_arrow()["value"].to_pylist() == [[{"a": cpu, "b": "x"} for cpu in range(m.cpus)]]


def test_empty_maps() -> None:
    pytest.importorskip("pyarrow")
    pytest.importorskip("pandas")
    with create("hash", key=KEY, value=VALUE) as m:
        assert m.to_arrow().num_rows == 0
        assert m.to_arrow().schema.names == ["key", "value"]
        assert len(m.to_pandas()) == 0


@pytest.mark.parametrize(("library", "method"), [("pyarrow", "to_arrow"), ("pandas", "to_pandas")])
def test_a_library_that_is_missing_is_named(
    library: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with create("hash") as m, pytest.raises(ImportError, match=f"{library}: pip install") as info:
        getattr(m, method)()
    assert info.value.name == library
