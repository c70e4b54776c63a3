"""The fuzzer's targets: on their seeds, on what once went wrong, and for a moment each with new inputs."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from probee.errors import ProbeeError

FUZZ = Path(__file__).parents[1] / "fuzz"
sys.path.insert(0, str(FUZZ))

from targets import TARGETS, seeds, stored  # noqa: E402


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_stored_inputs(name: str) -> None:
    count = 0
    for data in (*seeds(name), *stored(name)):
        count += 1
        with contextlib.suppress(ProbeeError):
            TARGETS[name](data)
        with contextlib.suppress(ProbeeError):
            TARGETS[name](data[: len(data) // 2])
    assert count


@pytest.mark.parametrize("name", ["elf", "btf", "linker", "values"])
def test_the_seeds_are_understood(name: str) -> None:
    for data in seeds(name):
        if name != "linker":  # which links an object with itself, too: everything twice
            TARGETS[name](data)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="needs atheris (pip install atheris)")
def test_a_moment_of_fuzzing() -> None:
    run = subprocess.run(
        [sys.executable, FUZZ / "run.py", "1"], capture_output=True, text=True, check=False, timeout=110
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert run.stdout.count("  ok\n") == len(TARGETS)
