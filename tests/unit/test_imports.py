"""Start-up is a feature: what must not be imported on the way to an attached program, and by which room."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "probee"
HEAVY = {
    "argparse",
    "ast",
    "asyncio",
    "click",
    "dataclasses",
    "inspect",
    "json",
    "llvmlite",
    "logging",
    "numpy",
    "pathlib",
    "rich",
    "subprocess",
    "tempfile",
    "typing",
}
ORDER = [
    "isa",
    "btf",
    "obj",
    "verifier",
    "sys",
    "symbols",
    "kernel",
    "machine",
    "lang",
    "session",
    "record",
    "debug",
    "testing",
    "tools",
    "cli",
]
# What the design's table allows, room by room, beyond "only rooms listed before".
ALLOWED = {
    "isa": set(),
    "btf": {"isa"},
    "obj": {"isa", "btf"},
    "verifier": {"isa", "btf", "obj"},
    "sys": {"isa"},
    "symbols": {"isa", "sys"},
    "kernel": {"isa", "btf", "obj", "verifier", "sys", "symbols"},
    # `kernel` for the classes that show a map to Python, see docs/decisions.md; `sys` for files of tracefs
    "machine": {"isa", "btf", "obj", "verifier", "sys", "kernel"},
    "lang": {"isa", "btf", "obj", "verifier", "sys"},  # `verifier` for the flags of kernel functions
    "session": {"isa", "btf", "obj", "verifier", "sys", "symbols", "kernel", "machine", "lang", "cache"},
    "record": {"isa", "btf", "obj", "sys", "kernel", "machine", "session"},
    "debug": {"isa", "btf", "obj", "verifier", "machine", "lang", "session", "record"},
    "testing": {"isa", "verifier", "sys", "machine", "lang", "session", "debug"},
}


def modules_after(statement: str) -> set[str]:
    """Modules that the statement adds to a bare interpreter (`-S`: without what site pulls in)."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules);"
        f"{statement}; print(*(set(sys.modules) - before))"
    )
    run = [sys.executable, "-S", "-c", script, str(SOURCE.parent)]
    return set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import probee",
        "from probee import u32, u64, Char, Struct, Hash, RingBuf, tracepoint",
        "import probee.session, probee.cache, probee.lang.cachekey, probee.obj, probee.kernel.load",
        "import probee.cli.main",
    ],
)
def test_start_up_imports_nothing_heavy(statement: str) -> None:
    assert not modules_after(statement) & HEAVY


def _imports(path: Path, room: str) -> set[str]:
    """The rooms that a file imports, at any level of it."""
    found = set()
    package = ["probee", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [stem, *(f"{stem}.{a.name}" for a in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == "probee" and len(parts) > 1:
                found.add(parts[1])
    return (found & (set(ORDER) | {"cache"})) - {room}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_rooms_import_only_from_rooms_below(room: str) -> None:
    files = sorted((SOURCE / room).rglob("*.py")) if (SOURCE / room).is_dir() else [SOURCE / f"{room}.py"]
    extra = {str(f.relative_to(SOURCE)): sorted(_imports(f, room) - ALLOWED[room]) for f in files}
    wrong = {file: rooms for file, rooms in extra.items() if rooms}
    assert not wrong


def test_ctypes_stays_in_its_rooms() -> None:
    allowed = {"sys", "machine", "lang/codegen.py"}
    users = {
        str(f.relative_to(SOURCE))
        for f in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(f.read_text()))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "ctypes" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ctypes")
    }
    assert {u for u in users if u.split("/")[0] not in allowed and u not in allowed} == set()
