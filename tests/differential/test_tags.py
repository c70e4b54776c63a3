"""The kernel gives our programs the tag that libbpf's get: the hash of every instruction after loading.

Each fixture in `c/` is compiled by clang and loaded twice, by probee and by libbpf (through bpftool). Tags,
and what the kernel says of the maps, must be equal.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from c_objects import compile_file
from probee.kernel.load import load
from probee.obj import read_object

HERE = Path(__file__).parent / "c"
FIXTURES = sorted(HERE.glob("*.bpf.c"))
MMAPABLE = 1 << 10  # old versions of libbpf set it for all data maps, new ones where something is to see
BPFFS = Path("/sys/fs/bpf")


def _bpftool() -> str:
    found = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip("bpftool is not installed")
    return found


@pytest.fixture(scope="module")
def pins() -> Iterator[Path]:
    if not os.path.ismount(BPFFS):
        pytest.skip(f"no bpffs is mounted at {BPFFS}, where bpftool could pin programs")
    folder = BPFFS / f"probee-tags-{os.getpid()}"
    folder.mkdir()
    yield folder
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _compile(source: Path, target: Path) -> Path:
    target.write_bytes(compile_file(source))
    return target


def _json(*command: str) -> object:
    run = subprocess.run([_bpftool(), "-j", *command], capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


Facts = tuple[dict[str, str], set[tuple[object, ...]]]


def _facts(prog_ids: dict[str, int]) -> Facts:
    """Tags by program, and the maps these programs use as the kernel knows them."""
    wanted = set(prog_ids.values())
    progs = _json("prog", "show")
    maps = _json("map", "show")
    assert isinstance(progs, list)
    assert isinstance(maps, list)
    by_id = {p["id"]: p for p in progs if p["id"] in wanted}
    used = {i for p in by_id.values() for i in p.get("map_ids", [])}
    return (
        {name: by_id[i]["tag"] for name, i in prog_ids.items()},
        {
            (
                m.get("name"),
                m["type"],
                m["bytes_key"],
                m["bytes_value"],
                m["max_entries"],
                m["flags"] & ~MMAPABLE,
            )
            for m in maps
            if m["id"] in used
        },
    )


def _by_libbpf(path: Path, pins: Path, names: list[str]) -> Facts:
    folder = pins / path.name.replace(".", "_")
    run = subprocess.run(
        [_bpftool(), "prog", "loadall", str(path), str(folder)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"libbpf does not load this fixture: {run.stderr[-3000:]}"
    ids = {}
    for name in names:
        shown = _json("prog", "show", "pinned", str(folder / name))
        assert isinstance(shown, dict)
        ids[name] = shown["id"]
    return _facts(ids)


@pytest.mark.root
@pytest.mark.parametrize("source", FIXTURES, ids=lambda p: p.name.removesuffix(".bpf.c"))
def test_same_tags_and_maps_as_libbpf(source: Path, tmp_path: Path, pins: Path) -> None:
    path = _compile(source, tmp_path / source.name.replace(".bpf.c", ".bpf.o"))
    spec = read_object(path)
    theirs = _by_libbpf(path, pins, list(spec.programs))
    with load(spec) as live:
        ours = _facts({name: program.id for name, program in live.programs.items()})
        assert ours == theirs
        assert {name: program.tag for name, program in live.programs.items()} == theirs[0]


def test_there_are_enough_fixtures() -> None:
    assert len(FIXTURES) >= 20
