"""What people are told who lack a capability."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from probee.errors import LoadError, PermissionDenied
from probee.sys import caps

ALL = (1 << 41) - 1


def with_mask(monkeypatch: pytest.MonkeyPatch, mask: int) -> None:
    monkeypatch.setattr(caps, "effective", lambda: mask)


def test_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mask(monkeypatch, 0)
    assert caps.missing(caps.CAP_BPF, caps.CAP_PERFMON) == ["CAP_BPF", "CAP_PERFMON"]
    with_mask(monkeypatch, 1 << caps.CAP_BPF)
    assert caps.missing(caps.CAP_BPF, caps.CAP_PERFMON) == ["CAP_PERFMON"]
    with_mask(monkeypatch, 1 << caps.CAP_SYS_ADMIN)
    assert caps.missing(caps.CAP_BPF, caps.CAP_PERFMON) == []
    assert caps.missing(caps.CAP_NET_ADMIN) == ["CAP_NET_ADMIN"]


def test_a_missing_capability_is_named_with_the_sudo_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mask(monkeypatch, 1 << caps.CAP_BPF)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "probee", "run", "my file.py"])
    error = caps.denied("loading program p", caps.CAP_BPF, caps.CAP_PERFMON)
    assert isinstance(error, PermissionDenied)
    assert isinstance(error, (PermissionError, LoadError))
    assert error.capability == "CAP_PERFMON"
    assert str(error) == (
        "loading program p needs CAP_PERFMON, which is missing here; run it as root: "
        "sudo /usr/bin/python3 -m probee run 'my file.py'"
    )


def test_a_script_is_run_by_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "probee"
    script.write_text("#!/usr/bin/python3\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", str(script), "run", "x.py"])
    assert caps.sudo_line() == f"sudo {script} run x.py"


def test_other_obstacles_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with_mask(monkeypatch, ALL)
    monkeypatch.setattr(caps, "_status", lambda field: "2")
    error = caps.denied("loading program p", caps.CAP_BPF)
    assert error.capability == ""
    assert "loading program p is not permitted: " in str(error)
    assert "sudo" not in str(error)


def test_the_real_mask_is_read() -> None:
    assert 0 <= caps.effective() < 1 << 64
