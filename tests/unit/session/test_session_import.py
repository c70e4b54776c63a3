"""Files as modules, what may be attached, and what is missing, without a kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import probee as bp
from probee import session, tracepipe
from probee.sys import caps


def test_a_file_is_imported_without_its_main_part_and_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("VALUE = 3\n")
    path = tmp_path / "json.py"  # a name that the standard library has, too
    path.write_text("import neighbour\nname = __name__\nvalue = neighbour.VALUE\n")
    before, folders = sys.modules.get("json"), list(sys.path)
    module = session.import_file(str(path))
    assert (module.name, module.value, module.__file__) == ("json", 3, str(path))
    assert sys.modules.get("json") is before
    assert sys.path == folders
    del sys.modules["neighbour"]


def test_a_file_that_fails_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "broken_on_purpose.py"
    path.write_text("1 // 0\n")
    folders = list(sys.path)
    with pytest.raises(ZeroDivisionError):
        session.import_file(str(path))
    assert "broken_on_purpose" not in sys.modules
    assert sys.path == folders


def test_missing_capabilities_are_named_before_anything_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "effective", lambda: 0)

    @bp.tp_btf("sys_enter")
    def program():
        this_would_not_compile()  # noqa: F821

    with pytest.raises(bp.PermissionDenied, match=r"CAP_BPF and CAP_PERFMON.*sudo ") as caught:
        bp.attach(program)
    assert caught.value.capability == "CAP_BPF"
    assert isinstance(caught.value, PermissionError)


def test_a_module_without_programs_says_so() -> None:
    with pytest.raises(bp.ProbeeError, match=f"module {__name__} has no programs"):
        bp.attach()


def test_a_closed_session_is_quiet() -> None:
    empty = session.Session()
    assert empty.dropped == 0
    with pytest.raises(bp.ProbeeError, match="no ring buffer"):
        next(empty.events())
    with pytest.raises(bp.ProbeeError, match="0 objects"):
        _ = empty.globals
    empty.close()
    empty.close()
    assert "closed" in repr(empty)


@pytest.mark.parametrize(("helper", "expected"), [(6, True), (177, True), (5, False)])
def test_programs_that_print_are_recognised(helper: int, expected: bool) -> None:
    call = b"\x85\0\0\0" + helper.to_bytes(4, sys.byteorder)
    assert tracepipe.used_by([b"\xb7" + bytes(7), b"\xb7" + bytes(7) + call]) is expected


def test_colours_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from probee.cli.style import bold

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert bold("x") == "x"
    monkeypatch.setattr(sys, "stdout", type("Terminal", (), {"isatty": lambda self: True})())
    assert bold("x") == "\x1b[1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert bold("x") == "x"
