"""pyright, as editors run it: examples, tools and the pages' programs have no errors, and wrong ones have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lang_module
from probee.cli.main import main

REPO = Path(__file__).resolve().parents[3]
PAGES = [REPO / "README.md", *sorted((REPO / "docs").rglob("*.md"))]
IGNORES = re.compile(r"# *(type: *ignore|pyright:|mypy:)")
# A type of integers is `int` to checkers, so arrays have two spellings (docs/language/editors.md).
ARRAY = re.compile(r"\b((?:bp\.)?[iu](?:8|16|32|64))\[(\w+)\]")
WRONG = {
    "time: str = bp.ktime_get_ns()": "reportAssignmentType",
    "bp.ktime_get_ns(1)": "reportCallIssue",
    "record.comm = 7": "reportAttributeAccessIssue",
    "record.level = 'high'": "reportAttributeAccessIssue",
    "record.nothing": "reportAttributeAccessIssue",
    "bp.cast(vmlinux.sock, 4096).of_no_kernel": "reportAttributeAccessIssue",
}
ABOVE = """\
import probee as bp
import vmlinux
from probee import Bits, Char, u8

class Record(bp.Struct):
    comm: Char[16]
    level: Bits[u8, 4]

record = Record(comm="probee", level=3)
record.level += len(record.comm.upper())
"""


def written(folder: Path) -> None:
    """The programs of the pages as files."""
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.M | re.S):
            # Checkers don't know the fields of members without a name, which belong to the struct.
            if "import probee" not in match[1] or re.search(r"^ +_: ", match[1], re.M):
                continue
            code = ARRAY.sub(r"bp.Annotated[list[\1], \2]", match[1])
            code = re.sub(r"^(from probee import .*), vmlinux$", r"\1\nimport vmlinux", code, flags=re.M)
            line = text[: match.start()].count("\n") + 1
            (folder / f"{page.stem.replace('-', '_')}_{line}.py").write_text(code)


def test_pyright_has_nothing_to_say(tmp_path):
    pytest.importorskip("basedpyright", reason="pyright comes with basedpyright, which is not installed")
    lang_module.kernel_types()
    programs, stubs = tmp_path / "programs", tmp_path / "stubs"
    programs.mkdir()
    written(programs)
    assert main(["stubs", "-o", str(stubs), "task_struct", "sock"]) == 0
    (programs / "wrong.py").write_text(ABOVE + "\n".join(WRONG))
    checked = [REPO / "examples", REPO / "src/probee/tools"]
    config = {
        "include": [str(path) for path in (*checked, programs)],
        "extraPaths": [str(REPO / "src"), str(stubs)],
        "pythonVersion": "3.11",
        "typeCheckingMode": "standard",
        "enableTypeIgnoreComments": False,
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    run = [sys.executable, "-m", "basedpyright", "-p", str(tmp_path), "--outputjson"]
    out = subprocess.run([*run, "--pythonpath", sys.executable], capture_output=True, text=True)
    assert out.returncode == 1, out.stderr
    told = json.loads(out.stdout)
    found = [
        (Path(d["file"]).name, d["range"]["start"]["line"], d.get("rule", ""), d["message"])
        for d in told["generalDiagnostics"]
        if d["severity"] == "error"
    ]
    assert not [error for error in found if error[0] != "wrong.py"]
    first = ABOVE.count("\n")
    assert [(line - first, rule) for _, line, rule, _ in found] == list(enumerate(WRONG.values()))
    files = [*(REPO / "examples").glob("*.py"), *(REPO / "src/probee/tools").glob("*.py")]
    assert told["summary"]["filesAnalyzed"] > len(files) + 40
    assert not [path for path in files if IGNORES.search(path.read_text())]
