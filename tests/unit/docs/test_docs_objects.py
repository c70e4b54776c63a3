"""docs/objects.md: its C compiles as written, its Python runs in order, and prints what it says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from c_compiler import compiled
from c_objects import clang

PAGE = Path(__file__).resolve().parents[3] / "docs/objects.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


def blocks(language: str) -> list[str]:
    return [match[2] for match in BLOCK.finditer(PAGE.read_text()) if match[1] == language]


@pytest.mark.root
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs libbpf's headers (libbpf-dev)")
    (source,) = blocks("c")
    (command,) = blocks("sh")
    words = command.split()
    words[0] = clang()
    words += [f"-I/usr/include/{os.uname().machine}-linux-gnu"]  # where Debian has asm/types.h
    made = compiled(words, {"counter.bpf.c": source}, "counter.bpf.o")
    (tmp_path / "counter.bpf.o").write_bytes(made)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks("python"):
        exec(compile(code, str(PAGE), "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["1", "1", "xdp 1024"]
    assert re.fullmatch("[0-9a-f]{16}", lines[3])
    assert lines[4] == "1"
    assert [line.split()[0] for line in lines[5:]] == ["on_getppid", "pass"]
    assert all(re.search("[0-9a-f]{16}$", line) for line in lines[5:])
