"""Recordings as files: what is written is read, and garbage is an error with words."""

from __future__ import annotations

import pytest
from handmade import recording
from hypothesis import given
from hypothesis import strategies as st

import probee as bp
from probee.record.file import MAGIC, Recording, RecordingError


def test_a_file_is_read_as_it_was_written(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = recording()
    path = tmp_path / "run.probee"
    assert made.save(path) == path.stat().st_size
    read = Recording.open(path)
    assert read.to_bytes() == made.to_bytes()
    assert [(i.program, i.cpu, i.time_ns, i.pid, i.tid, i.result) for i in read.all] == [
        (i.program, i.cpu, i.time_ns, i.pid, i.tid, i.result) for i in made.all
    ]
    assert [[(s, d) for _, s, d in i.inputs] for i in read.all] == [
        [(s, d) for _, s, d in i.inputs] for i in made.all
    ]
    assert read.objects[0].events == made.objects[0].events
    assert read.objects[0].final == {"counts": made.objects[0].final["counts"]}
    assert [i.number for i in read.invocations("on_call")] == [0, 1]
    assert read.invocations("nothing") == []


@given(st.binary(max_size=200))
def test_bytes_at_random_are_no_recording(data: bytes) -> None:
    for whole in (data, MAGIC + data, MAGIC + b"\1\0\1\0\0\0" + data):
        with pytest.raises(RecordingError):
            Recording.from_bytes(whole)


@given(st.integers(0, 1 << 20), st.integers(0, 255))
def test_a_changed_byte_is_noticed_or_harmless(at: int, value: int) -> None:
    whole = bytearray(recording().to_bytes())
    at %= len(whole)
    before, whole[at] = whole[at], value
    try:
        read = Recording.from_bytes(bytes(whole))
    except RecordingError:
        assert before != value
    else:
        assert len(read) == 2


@given(st.integers(0, 1 << 20))
def test_a_file_that_is_cut_off(at: int) -> None:
    whole = recording().to_bytes()
    with pytest.raises(RecordingError):
        Recording.from_bytes(whole[: at % len(whole)])


def test_a_later_format_is_named() -> None:
    whole = bytearray(recording().to_bytes())
    whole[len(MAGIC)] = 9
    with pytest.raises(RecordingError, match="has format 9; this probee reads 1"):
        Recording.from_bytes(bytes(whole))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(bp.ProbeeError, match="can't read /no/such/file"):
        bp.replay("/no/such/file")
