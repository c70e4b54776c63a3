"""docs/objects.md: its C compiles as written, its Python runs in order, and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from c_compiler import compiled
from c_objects import clang

PAGE = Path(__file__).resolve().parents[3] / "docs/objects.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)


@pytest.mark.root
def test_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/usr/include/bpf/bpf_helpers.h").exists():
        pytest.skip("needs libbpf's headers (libbpf-dev)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    names: dict[str, object] = {}
    source = ""
    for block in BLOCK.finditer(PAGE.read_text()):
        language, code = block.groups()
        if language == "c":
            source = code
        elif code.startswith("clang"):
            words = code.split()
            words[0] = clang()
            words += [f"-I/usr/include/{os.uname().machine}-linux-gnu"]  # where Debian has asm/types.h
            made = compiled(words, {"counter.bpf.c": source}, "counter.bpf.o")
            (tmp_path / "counter.bpf.o").write_bytes(made)
        elif language == "sh":
            for command in code.splitlines():
                words = command.split()
                assert words[0] == "probee"
                subprocess.run([sys.executable, "-m", *words], check=True)
        else:
            exec(compile(code, str(PAGE), "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    event = lines[0]
    assert re.fullmatch(rf"{os.getpid()} \S.*", event)
    assert lines[1:4] == ["1", "1", "xdp 1024"]
    assert re.fullmatch("[0-9a-f]{16}", lines[4])
    assert lines[5:8] == [event, "1", "1"]
    assert [line.split()[0] for line in lines[8:]] == ["on_getppid", "pass"]
    assert all(re.search("[0-9a-f]{16}$", line) for line in lines[8:])
    assert 0 < (tmp_path / "small.btf").stat().st_size < 1000
