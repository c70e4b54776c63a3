"""Tables and numbers for people."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probee.cli.output import Output, duration_text, layout, size_text
from probee.cli.prog_run import hexdump

HEADS = (">ID", "NAME", "?TAG", "?>SIZE", "WHO")
ROWS = [["1", "first", "a" * 16, "10B", ""], ["200", "a name that is long", "b" * 16, "2KB", ""]]


def test_numbers_stand_right_and_empty_columns_are_left_out() -> None:
    assert layout(HEADS, ROWS, 0) == [
        " ID  NAME                 TAG               SIZE",
        "  1  first                aaaaaaaaaaaaaaaa   10B",
        "200  a name that is long  bbbbbbbbbbbbbbbb   2KB",
    ]


def test_what_can_be_spared_goes_where_there_is_no_room() -> None:
    assert layout(HEADS, ROWS, 30) == [
        " ID  NAME                 SIZE",
        "  1  first                 10B",
        "200  a name that is long   2KB",
    ]


def test_what_does_not_fit_is_cut() -> None:
    assert layout(HEADS, ROWS, 16) == [" ID  NAME", "  1  first", "200  a name tha…"]


CELLS = st.lists(st.text("ab ", max_size=30), min_size=5, max_size=5)


@settings(max_examples=50)
@given(st.lists(CELLS, min_size=1), st.integers(60, 200))
def test_tables_fit_the_terminal(rows: list[list[str]], room: int) -> None:
    assert max(len(line) for line in layout(HEADS, rows, room)) <= room


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("NAME",), [["a\x1b[31m\nb"]])
    assert "\x1b" not in capsys.readouterr().out


def test_json_is_on_one_line_or_indented(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.emit([{"a": 1}])
    output.pretty = True
    output.emit([{"a": 1}])
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first == '[{"a":1}]'
    assert json.loads(rest) == [{"a": 1}]
    assert "    " in rest


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (1023, "1023"), (1024, "1.0K"), (10240, "10K"), (5516713, "5.3M"), (1 << 41, "2.0T")],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("ns", "text"), [(0, "0 ns"), (999, "999 ns"), (1500, "1.5 µs"), (2e6, "2 ms"), (3e9, "3 s")]
)
def test_durations(ns: float, text: str) -> None:
    assert duration_text(ns) == text


def test_hexdump_is_that_of_bpftool() -> None:
    raw = bytes(range(0x2C, 0x2C + 18))
    assert hexdump(raw).splitlines() == [
        "0000000\t2c2d 2e2f 3031 3233 3435 3637 3839 3a3b | ,-./0123 456789:;",
        "0000010\t3c3d                                    | <=",
    ]
    assert hexdump(b"") == ""


def test_the_walk_through_a_map_ends_where_keys_come_again() -> None:
    """The kernel begins again when a key vanishes in the middle of a walk."""
    from probee.cli.map_data import Data

    class Restless(Data):
        def __init__(self) -> None:
            self._next = {None: b"a", b"a": b"b", b"b": b"a"}

        def next_key(self, key: bytes | None) -> bytes | None:
            return self._next[key]

    assert list(Restless()) == [b"a", b"b"]
