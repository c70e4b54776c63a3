"""libbpf as the yardstick: a small C program on it, built once for each run.

By default the installed libbpf is used. $PROBEE_LIBBPF names the prefix of another one, as `make install
DESTDIR=… PREFIX=/usr` leaves it (`$PROBEE_LIBBPF/include/bpf`, `$PROBEE_LIBBPF/lib/libbpf.a`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
_built: dict[str, Path] = {}


def loader(directory: Path) -> Path:
    """The compiled program; skips the test if there is no libbpf to build it with."""
    found = _built.get("loader")
    if found is not None and found.exists():
        return found
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler for the host")
    prefix = os.environ.get("PROBEE_LIBBPF")
    output = directory / "libbpf_loader"
    command = [compiler, "-O1", "-o", str(output), str(HERE / "libbpf_loader.c")]
    if prefix:
        command += [f"-I{prefix}/include", f"{prefix}/lib/libbpf.a", "-lelf", "-lz"]
    else:
        command += ["-lbpf"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        pytest.skip(f"needs libbpf's headers and library (libbpf-dev): {run.stderr.strip()[-200:]}")
    _built["loader"] = output
    return output


def version(directory: Path) -> tuple[int, int]:
    run = subprocess.run([loader(directory), "version"], capture_output=True, text=True, check=True)
    major, _, minor = run.stdout.strip().partition(".")
    return int(major), int(minor)


def ask(directory: Path, mode: str, *arguments: str | Path) -> tuple[list[dict[str, Any]], str]:
    """What the program prints for `all` or `each` of an object, and what libbpf says beside it."""
    command = [str(loader(directory)), mode, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, errors="replace")
    return [json.loads(line) for line in run.stdout.splitlines()], run.stderr
