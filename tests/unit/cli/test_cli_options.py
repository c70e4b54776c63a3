"""Options, rows and histograms of the tools."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.tools import TOOLS, _common
from probee.tools._common import (
    COMM,
    DURATION,
    INTERVAL,
    JSON,
    PID,
    UID,
    Log2,
    Option,
    Rows,
    histogram,
    parse,
)
from probee.tools._manual import parser

OPTIONS = (PID, UID, COMM, Option("--path", convert=str, meta="TEXT", help="text"), INTERVAL, DURATION, JSON)
MANUAL = "Summary.\n\nMore.\n\nExamples:\n  probee x\n"
word = st.sampled_from(
    [f for o in OPTIONS for f in o.flags]
    + [
        "1",
        "0",
        "-1",
        "7.5",
        "root",
        "nobody-at-all",
        "x",
        "",
        "-",
        "--",
        "-p7",
        "-jp",
        "--dur",
        "--pid=3",
        "--json=1",
    ]
    + ["--path=-x", "--path=", "--comm=a=b", "-p=3"]
)


@given(st.lists(word, max_size=5))
def test_the_quick_reader_agrees_with_argparse(argv: list[str]) -> None:
    def run(read: object) -> object:
        try:
            return vars(read())  # type: ignore[operator]
        except SystemExit as stop:
            return f"exit {stop.code}"

    import contextlib
    import io

    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        quick = run(lambda: parse("x", MANUAL, OPTIONS, argv))
        slow = run(lambda: parser("x", MANUAL, OPTIONS).parse_args(argv))
    assert quick == slow


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--pid", "x"], "argument -p/--pid"),
        (["--pid", "0"], "0 is not above zero"),
        (["--duration", "-1"], "-1 is not a time in seconds above zero"),
        (["--uid", "nobody-of-this-name"], "there is no user 'nobody-of-this-name'"),
        (["--bogus"], "unrecognized arguments: --bogus"),
    ],
)
def test_mistakes_are_explained(argv: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse("x", MANUAL, OPTIONS, argv)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", TOOLS)
def test_help_of_each_tool(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    tool = __import__(f"probee.tools.{name}", fromlist=["main"])
    with pytest.raises(SystemExit) as stop:
        tool.main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for part in (f"usage: probee {name}", "--duration", "--json", "examples:", f"  probee {name}"):
        assert part in text
    assert len(tool.__doc__.partition("\nExamples:\n")[2].splitlines()) > 6, "an example of the output"


def test_rows_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows("{pid:>6} {ms:>8.2f} {what}", json=False)
    rows.add(pid=7, ms=1.236, what="a")
    rows.add(pid=8, ms=None, what=["ls", "a b"], unseen=1)
    assert capsys.readouterr().out == "   PID       MS WHAT\n     7     1.24 a\n     8          ls 'a b'\n"


def test_rows_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows("{pid:>6} {what}", json=True)
    rows.add(pid=7, what='say "ä"', words=["a", "b"], gone=None)
    assert json.loads(capsys.readouterr().out) == {"pid": 7, "what": 'say "ä"', "words": ["a", "b"]}


def test_rows_know_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    import time

    Rows("", json=True).add(time_ns=time.monotonic_ns())
    stamp = json.loads(capsys.readouterr().out)["time_ns"]
    assert abs(stamp - time.time_ns()) < 2_000_000_000
    Rows("{time}", json=False).add(time_ns=time.monotonic_ns())
    assert capsys.readouterr().out.splitlines()[1][2:9:3] == "::."


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=64))
def test_histogram_shows_every_count_and_nothing_outside(counts: list[int]) -> None:
    lines = histogram(counts, "title", "usecs")
    if not any(counts):
        assert lines == ["title: nothing seen"]
        return
    used = [slot for slot, n in enumerate(counts) if n]
    assert f"{sum(counts)} in all" in lines[0]
    assert len(lines) - 2 == used[-1] - used[0] + 1
    for slot, line in enumerate(lines[2:], used[0]):
        span, count, bar = line.replace("|", ":").split(":")[:3]
        low, high = map(int, span.split("->"))
        assert (low, high) == (_common.low(slot), _common.high(slot))
        assert int(count) == counts[slot]
        assert bool(bar.strip()) == bool(counts[slot])
        assert len(bar) == 40


@given(st.integers(0, (1 << 64) - 1))
def test_slots_are_those_of_log2(value: int) -> None:
    from probee import log2

    slot = log2(value)
    assert _common.low(slot) <= value <= _common.high(slot)


def test_log2_shows_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Log2("t", "usecs", json=True)
    shown.show([[1, 2], [0, 0], [5, 0]])
    shown.show([[1, 2], [0, 1], [5, 0]])
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["total"], first["unit"]) == (8, "usecs")
    assert first["buckets"] == [{"from": 0, "to": 1, "count": 3}, {"from": 4, "to": 7, "count": 5}]
    assert second["buckets"] == [{"from": 2, "to": 3, "count": 1}]
