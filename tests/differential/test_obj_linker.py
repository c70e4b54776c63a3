"""Static linking: the linked object runs as one, and libbpf's linker makes the same programs of the parts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from c_objects import compile_c, compile_file
from probee.errors import ObjectError
from probee.kernel.load import load
from probee.obj import read_object
from probee.obj.linker import link

HERE = Path(__file__).parent
HALVES = [HERE / "linked/first.bpf.c", HERE / "linked/second.bpf.c"]


def linked() -> bytes:
    return link([(path.name, compile_file(path)) for path in HALVES])


def test_what_a_linked_object_holds() -> None:
    spec = read_object(linked())
    assert set(spec.programs) == {"first", "second", "sum"}
    assert set(spec.maps) == {"table", ".data", ".rodata"}
    assert {name for name in spec.globals if name != "own"} >= {"total", "limit", "outside"}
    assert spec.btf is not None
    assert len(spec.btf.find_all("shared", 4)) == 1  # STRUCT
    assert spec.license == "GPL"


@pytest.mark.root
def test_the_halves_work_as_one() -> None:
    with load(read_object(linked())) as live:
        result, _, _ = live.programs["sum"].test_run(ctx=b"")
        assert result == 30 * 1000 + 3 * 10 + 7  # the strong pick(), the variable and the constant
        assert live.globals.total == 5


@pytest.mark.root
def test_libbpf_loads_it_and_links_the_same(tmp_path: Path) -> None:
    tool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if tool is None:
        pytest.skip("bpftool is not installed")
    parts = []
    for path in HALVES:
        parts.append(tmp_path / path.name.replace(".bpf.c", ".o"))
        parts[-1].write_bytes(compile_file(path))
    theirs, ours = tmp_path / "theirs.o", tmp_path / "ours.o"
    subprocess.run([tool, "gen", "object", theirs, *parts], check=True)
    ours.write_bytes(linked())
    shown = subprocess.run([tool, "-j", "btf", "dump", "file", ours], check=True, capture_output=True)
    assert json.loads(shown.stdout)["types"]
    with load(read_object(theirs)) as a, load(read_object(ours)) as b:
        assert {n: p.tag for n, p in a.programs.items()} == {n: p.tag for n, p in b.programs.items()}


def test_linking_one_object_keeps_its_programs() -> None:
    whole = compile_file(HERE / "c/many_functions.bpf.c")
    before, after = read_object(whole), read_object(link([("it", whole)]))
    for name, program in before.programs.items():
        assert after.programs[name].link().insns == program.link().insns
    assert list(after.maps) == list(before.maps)


ONE = "int shared(int x) { return x; }"


def _object(folder: Path, text: str, name: str) -> tuple[str, bytes]:
    return name, compile_c(folder, text, name)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (ONE, ONE, "shared is defined in a and in b"),
        (
            ONE,
            'long shared(long x); SEC("xdp") int p(void *c) { return shared(1); }',
            "one type in a and another",
        ),
        (
            "int v = 1;",
            'extern long v; SEC("xdp") int p(void *c) { return v; }',
            "one type in a and another in b",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, first: str, second: str, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        link([_object(tmp_path, first, "a"), _object(tmp_path, second, "b")])


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ObjectError):
        link([("x", b"\x7fELF")])
    with pytest.raises(ObjectError, match="nothing"):
        link([])
