"""Program by program, probee and libbpf say the same of an object: loaded with the same tag, or refused.

`judge.c` loads each program by itself with the system's libbpf. The objects are the fixtures of `corpus/` and
`c/`, and every `*.o` under the directory that PROBEE_CORPUS names (for instance the libbpf-tools of BCC,
compiled elsewhere). The same test runs on other kernels, where verdicts differ but must do so for both.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from c_objects import compile_file
from probee.errors import ProbeeError
from probee.kernel.load import load
from probee.obj import read_object

HERE = Path(__file__).parent
SOURCES = sorted([*HERE.glob("corpus/*.bpf.c"), *HERE.glob("c/*.bpf.c")])
FOREIGN = sorted(Path(os.environ["PROBEE_CORPUS"]).rglob("*.o")) if os.environ.get("PROBEE_CORPUS") else []

# libbpf gives up on a whole object where one program's names or slots are missing; probee on that program.
STRICTER_LIBBPF = {
    "tail_calls": "its program array has slots for programs that are not loaded",
}


@pytest.fixture(scope="session")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang-22")
    if compiler is None:
        pytest.skip("needs a C compiler")
    if not Path("/usr/include/bpf/libbpf.h").exists():
        pytest.skip("needs libbpf's headers (libbpf-dev)")
    out = tmp_path_factory.mktemp("judge") / "judge"
    subprocess.run(
        [compiler, "-O1", str(HERE / "judge.c"), "-lbpf", "-lelf", "-lz", "-o", str(out)], check=True
    )
    return out


def libbpf_says(judge: Path, path: Path) -> dict[str, tuple[int, str] | int]:
    """(type, tag) or errno, of the programs whose sections this libbpf knows."""
    run = subprocess.run([judge, path], capture_output=True, text=True, check=False)
    if run.returncode:
        return {}
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    return {
        line["name"]: (line["type"], line["tag"]) if "tag" in line else line["error"]
        for line in lines
        if line.get("known", True)
    }


def probee_says(path: Path) -> dict[str, tuple[int, str] | str]:
    said: dict[str, tuple[int, str] | str] = {}
    spec = read_object(path)
    for name in spec.programs:
        try:
            with load(spec, programs=[name]) as live:
                program = live.programs[name]
                said[name] = (program.type, program.tag)
        except ProbeeError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def compare(judge: Path, path: Path, stem: str) -> None:
    theirs = libbpf_says(judge, path)
    if not theirs:
        pytest.skip("this version of libbpf can't open the object")
    ours = probee_says(path)
    assert set(theirs) <= set(ours)
    for name, verdict in theirs.items():
        mine = ours[name]
        if isinstance(verdict, tuple):
            assert mine == verdict, f"{name}: libbpf loads it"
        elif stem not in STRICTER_LIBBPF:
            assert isinstance(mine, str), f"{name}: libbpf is refused with errno {verdict}"


@pytest.mark.root
@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name.removesuffix(".bpf.c"))
def test_same_verdict_and_tag_as_libbpf(source: Path, judge: Path, tmp_path: Path) -> None:
    path = tmp_path / source.name.replace(".bpf.c", ".bpf.o")
    path.write_bytes(compile_file(source))
    compare(judge, path, source.name.removesuffix(".bpf.c"))


@pytest.mark.root
@pytest.mark.skipif(not FOREIGN, reason="PROBEE_CORPUS names no directory of further objects")
@pytest.mark.parametrize("path", FOREIGN, ids=lambda p: p.stem)
def test_foreign_objects(path: Path, judge: Path) -> None:
    compare(judge, path, path.stem)


def test_there_are_enough_objects() -> None:
    assert len(SOURCES) >= 60
