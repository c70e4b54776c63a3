"""docs/links.md: its C compiles, its Python runs on the programs of that C, its table is the truth."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.kernel.attach_tracing import TRACING
from probee.kernel.attach_user import USER
from probee.kernel.features import have
from probee.kernel.load import load
from probee.kernel.program import Program

PAGE = (Path(__file__).resolve().parents[3] / "docs/links.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
PYTHON = [code for language, code in BLOCKS if language == "python" and "import probee" not in code]
# Programs that only some kernels load.
OPTIONAL = {"on_vfs": "kprobe_multi", "on_sleep_fast": "fentry", "may_protect": "lsm", "add": "syscall_prog"}


@pytest.mark.root
@pytest.mark.parametrize("code", [pytest.param(code, id=str(i)) for i, code in enumerate(PYTHON)])
def test_code_runs(code: str, tmp_path: Path) -> None:
    wanted = re.match(r"# needs (\w+)\n", code)
    if wanted:
        needs(wanted[1])
    (text,) = (code for language, code in BLOCKS if language == "c")
    spec = object_from_c(tmp_path, text)
    chosen = [n for n, p in spec.programs.items() if p.autoload or have(OPTIONAL[n])]
    with load(spec, programs=chosen) as live:
        try:
            exec(compile(code, "docs/links.md", "exec"), {"live": live})
        finally:
            subprocess.run(["rm", "-f", "/sys/fs/bpf/example"], check=True)


def test_the_table_names_every_kind_and_only_methods_there_are() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    sections = "".join(row.split("|")[1] for row in rows)
    kinds = set(re.findall(r"`([a-z_.]+)/", sections))
    assert {kind.removesuffix(".s") for kind in (*TRACING, *USER)} <= kinds | {"syscall"}
    for name in re.findall(r"`(attach_\w+)", PAGE):
        assert hasattr(Program, name), name
