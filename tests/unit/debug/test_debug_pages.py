"""What the README, docs/testing.md and docs/debugger.md show is run as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (REPO / page).read_text(), re.M | re.S)


def run(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PROBEE_BTF": "shipped"},
    )
    return done.stdout + done.stderr


def pytest_words() -> list[str]:
    known = any(e.value == "probee.pytest_plugin" for e in entry_points(group="pytest11"))
    return ["pytest", "-q", "-p", "no:cacheprovider", *([] if known else ["-p", "probee.pytest_plugin"])]


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    (block,) = [b for b in blocks("README.md", "python") if "def test_" in b]
    (tmp_path / "test_udp.py").write_text(block)
    assert "1 passed" in run(tmp_path, *pytest_words(), "test_udp.py")


def test_the_page_on_testing_under_pytest(tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text("\n".join(blocks("docs/testing.md", "python")))
    said = run(tmp_path, *pytest_words(), "--bpf-update", "-k", "not kernel", "test_page.py")
    assert "4 passed, 1 deselected" in said, said
    assert (tmp_path / "bpf_sizes.json").exists()


def test_the_page_on_the_debugger(tmp_path: Path) -> None:
    (tool,) = blocks("docs/debugger.md", "python")
    (line,) = [x for b in blocks("docs/debugger.md", "console") for x in b.splitlines()]
    (tmp_path / "tool.py").write_text(tool)
    said = run(tmp_path, *shlex.split(line.removeprefix("$ ")))
    assert re.findall(r"^\{.*\}$", said, re.M) == ["{7: 1}", "{}"], said
