"""What the README and the pages say is true: code blocks compile and load, commands run as written."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).resolve().parents[3]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
CLEANING = "sudo rm -r /sys/fs/bpf/"
RUN = ("probee ", "sudo probee ", CLEANING)
SILENT = re.compile(r"probee (map (update|delete|create|pin|freeze|push)|link (pin|detach)|prog pin) ")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in BLOCK.finditer(text):
            if match[1] == language:
                line = text[: match.start()].count("\n") + 1
                found.append((f"{page.name}:{line}", match[2]))
    return found


def python_blocks() -> list[tuple[str, str]]:
    # Pages about objects of clang and about maps have tests of their own.
    python = [(where, code) for where, code in blocks("python") if not re.search(r"bp\.(load|maps)\b", code)]
    return [(where, code) for where, code in python if "import probee" in code]


def commands() -> list[tuple[str, list[str]]]:
    """The probee commands of each shell block, in order: one may use what the one before wrote."""
    found = []
    for where, block in blocks("sh"):
        if where.startswith("objects.md"):  # it has a test of its own
            continue
        lines = [line for line in block.splitlines() if line.startswith(RUN)]
        if lines:
            found.append((where, lines))
    return found


def load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.root
@pytest.mark.parametrize(("where", "code"), [pytest.param(w, c, id=w) for w, c in python_blocks()])
def test_code_block_attaches(where: str, code: str, tmp_path: Path) -> None:
    import probee as bp

    path = tmp_path / (re.sub(r"\W", "_", where) + ".py")
    path.write_text(code)
    with bp.attach(load_module(path)) as session:
        assert session.programs


@pytest.mark.root
@pytest.mark.parametrize(("where", "lines"), [pytest.param(w, c, id=w) for w, c in commands()])
def test_commands_run_as_written(where: str, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(REPO / "examples")
    try:
        for line in lines:
            run_as_written(line, tmp_path)
    finally:
        for line in lines:
            if line.startswith(CLEANING):
                subprocess.run(shlex.split(line.removeprefix("sudo ")), stderr=subprocess.DEVNULL)


def run_as_written(line: str, folder: Path) -> None:
    """Runs a command; one that would go on for ever gets Ctrl-C, and must end cleanly."""
    if line.startswith(CLEANING):
        subprocess.run(shlex.split(line.removeprefix("sudo ")), check=True)
        return
    process = subprocess.Popen(
        [sys.executable, "-m", *shlex.split(line.removeprefix("sudo "))],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    ends = re.search("--duration|--seconds|probee (verify|replay) ", line)  # by itself
    deadline = time.monotonic() + (30 if ends else 4)
    while process.poll() is None and time.monotonic() < deadline:
        subprocess.run(["true"], check=True)  # something to see for those who watch programs start
        time.sleep(0.05)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (0, 130), err
    assert "Traceback" not in err
    if "--json" not in line and "--comm" not in line and not SILENT.search(line):
        assert out or err
