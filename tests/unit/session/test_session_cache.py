"""The cache of compiled objects: what it gives back, and what it refuses to trust."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee import cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROBEE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "objects"


def test_gives_back_what_was_stored(folder: Path) -> None:
    assert cache.load("k") is None
    assert cache.store("k", b"object")
    assert cache.load("k") == b"object"
    assert cache.store("k", b"newer")
    assert cache.load("k") == b"newer"
    assert sorted(p.name for p in folder.iterdir()) == ["k"]


def test_an_entry_under_another_key_is_not_believed(folder: Path) -> None:
    cache.store("a", b"object")
    os.rename(folder / "a", folder / "b")
    assert cache.load("b") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(data=st.data())
def test_a_broken_entry_is_absent_and_can_be_replaced(folder: Path, data: st.DataObject) -> None:
    cache.store("k", b"some object's bytes")
    good = (folder / "k").read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "grow"]))
    bad = bytearray(good)
    if kind == "flip":
        bad[at] ^= data.draw(st.integers(1, 255))
    elif kind == "cut":
        del bad[at:]
    else:
        bad += b"\0"
    (folder / "k").write_bytes(bad)
    assert cache.load("k") is None
    assert cache.store("k", b"again")
    assert cache.load("k") == b"again"


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
@pytest.mark.parametrize("which", ["root", "objects"])
def test_folders_that_others_can_write_are_not_used(folder: Path, mode: int, which: str) -> None:
    cache.store("k", b"object")
    (folder.parent if which == "root" else folder).chmod(mode)
    assert cache.load("k") is None
    assert not cache.store("k", b"other")


def test_an_entry_that_others_can_write_is_not_used(folder: Path) -> None:
    cache.store("k", b"object")
    (folder / "k").chmod(0o622)
    assert cache.load("k") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
@pytest.mark.parametrize("which", ["root", "objects", "entry"])
def test_what_belongs_to_someone_else_is_not_used(folder: Path, which: str) -> None:
    cache.store("k", b"object")
    os.chown({"root": folder.parent, "objects": folder, "entry": folder / "k"}[which], 65534, 65534)
    assert cache.load("k") is None


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    cache.store("k", b"object")
    os.rename(folder / "k", tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", folder / "k")
    assert cache.load("k") is None
    os.unlink(folder / "k")
    os.rename(folder, tmp_path / "real")
    os.symlink(tmp_path / "real", folder)
    cache.store("k", b"object")
    assert cache.load("k") is None


def test_a_fifo_does_not_hang(folder: Path) -> None:
    cache.store("other", b"")
    os.mkfifo(folder / "k", 0o600)
    assert cache.load("k") is None


def test_no_cache_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBEE_CACHE", "/proc/nowhere")
    assert cache.load("k") is None
    assert not cache.store("k", b"object")


def test_the_oldest_entries_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_ENTRIES", 3)
    for n in range(3):
        cache.store(f"k{n}", b"object")
        os.utime(folder / f"k{n}", (n, n))
    assert cache.load("k0") == b"object"  # used now: k1 is the oldest
    cache.store("k3", b"object")
    assert sorted(p.name for p in folder.iterdir()) == ["k0", "k2", "k3"]


def test_the_cache_stays_below_its_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_BYTES", 5000)
    for n in range(9):
        cache.store(f"k{n}", b"x" * 1000)
        os.utime(folder / f"k{n}", (n, n))
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 5000
    assert cache.load("k8") == b"x" * 1000


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROBEE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.directory() == str(tmp_path / "xdg" / "probee")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.directory() == str(tmp_path / ".cache" / "probee")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_leaves_the_home_of_others_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, 65534)
    monkeypatch.delenv("PROBEE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.directory() == "/var/cache/probee"
