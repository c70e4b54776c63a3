"""Code size against clang's, and that both sides' objects load: the pairs of `bench/codegen`."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPO = Path(__file__).resolve().parents[2]
CLANG = next((c for c in ("clang-22", "clang-19", "clang") if shutil.which(c)), None)
pytestmark = [
    pytest.mark.skipif(CLANG is None, reason="needs clang to compare with"),
    pytest.mark.skipif(not Path("/usr/include/bpf/bpf_helpers.h").exists(), reason="needs libbpf's headers"),
    pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="this kernel has no BTF"),
]


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_codegen", REPO / "bench" / "codegen.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NAMES = sorted(p.stem for p in (REPO / "bench" / "codegen").glob("*.py"))


def test_no_more_instructions_than_clang(bench: ModuleType) -> None:
    sizes = {n: (bench.size_of(bench.ours_of(n)), bench.size_of(bench.theirs_of(n, CLANG))) for n in NAMES}
    assert len(sizes) >= 10
    assert all(ours <= theirs * bench.WORST for ours, theirs in sizes.values()), sizes
    ratios = [ours / theirs for ours, theirs in sizes.values()]
    assert math.prod(ratios) ** (1 / len(ratios)) <= bench.REACH["size"], sizes


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("bpftool"), reason="needs bpftool")
@pytest.mark.parametrize("who", ["probee", "clang"])
@pytest.mark.parametrize("name", NAMES)
def test_both_load(bench: ModuleType, tmp_path: Path, name: str, who: str) -> None:
    made = tmp_path / f"{name}.bpf.o"
    made.write_bytes(bench.our_object(name) if who == "probee" else bench.their_object(name, CLANG))
    pin = Path(f"/sys/fs/bpf/probee-pair-{os.getpid()}")
    try:
        done = subprocess.run(
            ["bpftool", "prog", "loadall", str(made), str(pin)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
    finally:
        shutil.rmtree(pin, ignore_errors=True)
