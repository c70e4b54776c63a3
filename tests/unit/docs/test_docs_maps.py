"""docs/maps.md: its C compiles as written, its Python runs in order, and prints what its comments say."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from c_compiler import compiled
from c_objects import clang
from probee.isa.tables import MAP_TYPES
from probee.kernel.features.inventory import map_type

PAGE = Path(__file__).resolve().parents[3] / "docs/maps.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
EXPECTED = """
1 kthreadd
2 False None
kthreadd
2 1 None
2 [3]
42
1249975000
['key', 'value.calls', 'value.comm']
99998
10
7 7
[7] 1
"""


def blocks(language: str) -> list[str]:
    return [match[2] for match in BLOCK.finditer(PAGE.read_text()) if match[1] == language]


@pytest.mark.root
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs libbpf's headers (libbpf-dev)")
    for kind in ("user_ringbuf", "arena"):
        if not map_type(kind):
            pytest.skip(f"this kernel has no maps of type {kind} (Linux {MAP_TYPES[kind][1]})")
    (source,) = blocks("c")
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"  # where Debian has asm/types.h
    command = [clang(), "-target", "bpf", "-O2", "-g", include, "-c", "events.bpf.c", "-o", "events.bpf.o"]
    (tmp_path / "events.bpf.o").write_bytes(compiled(command, {"events.bpf.c": source}, "events.bpf.o"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(compile(code, str(PAGE), "exec"), names)
    out = capsys.readouterr().out
    assert out.startswith(EXPECTED.lstrip())
    last = out.removeprefix(EXPECTED.lstrip()).splitlines()
    assert last[0].startswith("0 {0: 0")
    assert last[1:] == ["42", "b'hello'"]


def test_every_map_type_is_in_the_table() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    assert set(MAP_TYPES) <= named
