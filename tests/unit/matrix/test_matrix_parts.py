"""What the matrix is made of, without a machine: archive, results, table, compiling for guests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

import c_compiler
from matrix import table, vm
from matrix.initramfs import cpio
from matrix.kernels import Kernel, MatrixError
from matrix.results import Recorder, Results
from matrix.table import Row

ENTRIES = [("dev", 0o040755, b""), ("init", 0o100755, b"#!/bin/sh\n"), ("bin", 0o120777, b"usr/bin")]


def test_the_archive_keeps_its_alignment() -> None:
    data = cpio(ENTRIES)
    assert len(data) % 4 == 0
    starts = [at for at in range(0, len(data), 4) if data.startswith(b"070701", at)]
    assert len(starts) == len(ENTRIES) + 1
    assert b"#!/bin/sh\n" in data[starts[1] : starts[2]]
    assert data[starts[-1] :].rstrip(b"\0").endswith(b"TRAILER!!!")


def test_the_worst_phase_of_a_test_counts(tmp_path: Path) -> None:
    path = tmp_path / "results"
    recorder = Recorder(path)
    recorder.collected(["good", "lacks", "leaks", "took the machine down", "came later"])
    for test, phases in {
        "good": [("passed", ""), ("passed", "")],
        "lacks": [("passed", ""), ("skipped", "no kprobes"), ("passed", "")],
        "leaks": [("passed", ""), ("skipped", "no kprobes"), ("failed", "left a descriptor open")],
    }.items():
        recorder.start(test)
        for outcome, reason in phases:
            recorder.phase(test, outcome, reason)
        recorder.finish(test)
    recorder.start("took the machine down")
    with path.open("a") as file:
        file.write('{"test": "cut of')
    got = Results.read(path)
    assert got.passed == ["good"]
    assert got.skipped == {"lacks": "no kprobes"}
    assert got.failed == {"leaks": "left a descriptor open"}
    assert got.unfinished == ["took the machine down"]
    assert got.not_run == {"came later"}


def test_rows_of_other_kernels_stay_in_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "DOCS", tmp_path)
    page = tmp_path / "kernels.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    old = Results(
        passed=["a"], skipped={"b": "this kernel (5.10.0-1) has no x", "c": "this kernel (5.10.0-1) has no x"}
    )
    new = Results(passed=["a", "b"], failed={"c": "assert 1 == 2"}, not_run={"d", "e", "f"})
    table.update_docs([Row("5.10", "5.10.0-1", old, 60.0)])
    table.update_docs([Row("6.12", "6.12.1", new, 60.0)])
    text = page.read_text()
    assert text.startswith(f"before\n{table.BEGIN}\n| kernel |")
    assert text.endswith(f"{table.END}\nafter\n")
    assert "| 5.10 | 5.10.0-1 | 1 | 2 | 0 | 0 |" in text
    assert "| 6.12 | 6.12.1 | 2 | 0 | 1 | 3 |" in text
    assert "| this kernel has no x | 2 |  |" in text
    assert json.loads((tmp_path / "kernels.json").read_text())["6.12"]["failed"] == {"c": "assert 1 == 2"}


@pytest.fixture
def cc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A "compiler" that copies, and counts how often it runs."""
    bin, log = tmp_path / "bin", tmp_path / "log"
    bin.mkdir()
    (bin / "fake-cc").write_text(f'#!/bin/sh\necho >> {log}\ngrep -q good "$1" || exit 1\ncp "$1" "$2"\n')
    (bin / "fake-cc").chmod(0o755)
    monkeypatch.setenv("PATH", str(bin), prepend=":")
    monkeypatch.setattr(c_compiler, "CACHE", tmp_path / "cache")
    monkeypatch.delenv("PROBEE_MATRIX", raising=False)
    return log


def test_what_was_compiled_once_is_kept(cc: Path) -> None:
    for _ in range(2):
        assert c_compiler.compiled(["fake-cc", "a.c", "a.o"], {"a.c": "good"}, "a.o") == b"good"
    assert cc.read_text().count("\n") == 1
    assert c_compiler.compiled(["fake-cc", "a.c", "a.o"], {"a.c": "good too"}, "a.o") == b"good too"
    assert cc.read_text().count("\n") == 2


def test_a_compiler_that_refuses(cc: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        c_compiler.compiled(["fake-cc", "a.c", "a.o"], {"a.c": "bad"}, "a.o")
    with pytest.raises(FileNotFoundError):
        c_compiler.compiled(["no-such-cc"], {}, "a.o")


def test_the_host_compiles_for_a_guest(cc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = tmp_path / "requests"
    requests.mkdir()
    request = json.dumps([[], ["fake-cc", "a.c", "a.o"], {"a.c": "good"}, "a.o"])
    (requests / "k.request").write_text(request)
    (requests / "j.request").write_text(request.replace('"good"', '"bad"'))
    c_compiler.answer(requests)
    assert {path.name for path in requests.iterdir()} == {"k.made", "j.refused"}
    assert (requests / "k.made").read_bytes() == b"good"


@pytest.fixture
def boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that dies as often as there are lines in the file `deaths` before it starts."""
    share = tmp_path / "share"
    share.mkdir()
    deaths = tmp_path / "deaths"
    deaths.touch()
    qemu = tmp_path / "qemu"
    qemu.write_text(
        f"#!/bin/sh\nif [ -s {deaths} ]; then sed -i 1d {deaths}; exit 1; fi\n"
        f"touch {share}/booted; [ -e {tmp_path}/dies-later ] || echo 3 > {share}/status\n"
    )
    qemu.chmod(0o755)
    monkeypatch.setattr(vm, "QEMU", str(qemu))
    monkeypatch.setattr(vm, "initramfs", lambda machine: b"")
    monkeypatch.setattr(vm, "_copy_repository", lambda target: None)
    return tmp_path


def _run(place: Path) -> int:
    machine = Kernel("6.12", place / "6.12")
    machine.directory.mkdir(exist_ok=True)
    (machine.directory / "release").write_text("6.12.0")
    return vm.run(machine, ["true"], share=place / "share", timeout=60)


def test_a_machine_that_does_not_start_is_booted_again(
    boots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (boots / "deaths").write_text("once\ntwice\n")
    assert _run(boots) == 3
    assert capsys.readouterr().err.count("booting it once more") == 2


def test_a_machine_that_never_starts_is_given_up(boots: Path) -> None:
    (boots / "deaths").write_text("again\n" * 20)
    with pytest.raises(MatrixError, match="did not start in 4 attempts"):
        _run(boots)


def test_a_machine_that_dies_later_is_not_booted_again(boots: Path) -> None:
    (boots / "dies-later").touch()
    with pytest.raises(MatrixError, match="died"):
        _run(boots)
