"""Probes of tracefs: names that say whose they are, and the sweeping of those whose process is gone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.sys import probe_events, tracefs


@pytest.fixture
def events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty list of probes, as a file: what is written to it is added to it."""
    monkeypatch.setattr(tracefs, "_found", str(tmp_path))
    file = tmp_path / probe_events.KPROBES
    file.write_text("")
    return file


def namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def test_a_probe_is_named_after_its_process(events: Path) -> None:
    probe = probe_events.add(probe_events.KPROBES, "r8", "do_exit+0x4", "do_exit.isra.0" + "x" * 80)
    assert probe.group.startswith(f"probee_{namespace()}_{os.getpid()}_")
    assert len(probe.event) <= 60
    assert probe.event.replace("_", "").isalnum()
    assert events.read_text() == f"r8:{probe.group}/{probe.event} do_exit+0x4\n"
    events.write_text("")
    probe.remove()
    assert events.read_text() == f"-:{probe.group}/{probe.event}\n"
    other = probe_events.add(probe_events.KPROBES, "p", "do_exit", "do_exit")
    assert other.event != probe.event
    assert other.group == probe.group


def test_only_probes_of_ended_processes_here_are_swept(events: Path) -> None:
    child = subprocess.Popen(["true"])
    child.wait()  # its number belongs to nobody now
    mine = probe_events.add(probe_events.KPROBES, "p", "a", "a")
    stale = f"probee_{namespace()}_{child.pid}_123"
    reused = f"probee_{namespace()}_{os.getpid()}_1"  # this number, another start
    lines = [
        f"p:{stale}/p1_x do_exit",
        f"r4:{reused}/p2_y do_exit",
        f"p:probee_1_{child.pid}_123/p1_other_namespace do_exit",
        f"p:{mine.group}/{mine.event} a",
        "p:kprobes/somebody_elses do_exit",
        "p:probee_x_y_z/p1 do_exit",
        "p:probee_1 do_exit",
        "garbage",
        "",
    ]
    events.write_text("\n".join(lines) + "\n")
    assert probe_events.sweep(probe_events.KPROBES) == 2
    added = events.read_text().splitlines()[len(lines) :]
    assert added == [f"-:{stale}/p1_x", f"-:{reused}/p2_y"]


def test_a_kernel_without_such_probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefs, "_found", str(tmp_path))
    assert probe_events.sweep(probe_events.KPROBES) == 0
    with pytest.raises(FileNotFoundError):
        probe_events.add(probe_events.KPROBES, "p", "a", "a")
    probe_events.ProbeEvent(probe_events.KPROBES, "g", "e").remove()


@given(st.text(max_size=200))
def test_any_text_in_the_list(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe_events.tracefs, "_found", "/nonexistent")
        patch.setattr("builtins.open", lambda *a, **k: __import__("io").StringIO(text))
        patch.setattr(probe_events, "_write", lambda file, line: None)
        patch.setattr(probe_events, "_namespace", lambda: "1")
        patch.setattr(probe_events, "_started", lambda pid: "")
        assert probe_events.sweep(probe_events.KPROBES) <= len(text.splitlines())
