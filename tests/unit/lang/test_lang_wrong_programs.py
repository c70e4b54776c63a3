"""Wrong programs and the whole messages they get: `wrong/*.txt`, one file for each family.

A file has cases: `== what is wrong`, the program, `--`, the message as it is printed. A program that does not
begin with a declaration is the body of `def program(regs, number)` on sys_enter; what all of them may use is
in `wrong/prelude.py`. Lines are counted in the case. `PROBEE_UPDATE=1 pytest <this file>` writes the messages
anew: read what has changed before it is committed.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path
from textwrap import indent

import pytest

import lang_module
from probee.btf.choose import SHIPPED
from probee.errors import CompileError
from probee.lang import decl, legal, scratch
from probee.lang.frontend import compile_module
from probee.lang.ktypes import KernelTypes

FOLDER = Path(__file__).parent / "wrong"
FAMILIES = sorted(FOLDER.glob("*.txt"))
UPDATE = bool(os.environ.get("PROBEE_UPDATE"))
PRELUDE = "from wrong_prelude import *\n"
HEAD = '@bp.raw_tracepoint("sys_enter")\ndef program(regs, number):\n'
WHOLE = re.compile(r"(@|def |class |import functools|[abcgm] = bp\.[A-Z])|.*\n@bp\.", re.S)


def cases(path: Path) -> list[tuple[str, str, str]]:
    """Title, program and expected message of each case."""
    found = []
    for part in path.read_text().split("\n== ")[1:]:
        title, _, rest = part.partition("\n")
        text, _, message = rest.partition("\n--\n")
        found.append((title, text.strip("\n"), message.strip("\n")))
    return found


def message_of(text: str, ktypes: KernelTypes, folder: Path) -> str:
    """What compiling the program says; anything but a CompileError is raised."""
    whole = WHOLE.match(text) is not None
    above = PRELUDE if whole else PRELUDE + HEAD
    margin = 0 if whole else 4
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            try:
                module = lang_module.make(above + indent(text, " " * margin) + "\n", folder)
            except (AttributeError, NameError, TypeError) as e:  # Python's own, of a declaration
                return f"{type(e).__name__}: {e}"
        made = compile_module(decl.programs_in(vars(module)), ktypes=ktypes)
        scratch.place(made, legal.MAX_STACK)
        legal.check(made)
    except CompileError as e:
        e.file = "program.py" if e.file else ""
        e.line -= above.count("\n")
        e.source = e.source[margin:]
        e.column -= margin
        e.end_column -= margin
        return str(e)
    return "compiled"


@pytest.fixture(scope="module")
def ktypes():
    return KernelTypes.usual(SHIPPED)


@pytest.fixture(scope="module", autouse=True)
def prelude(tmp_path_factory):
    text = (FOLDER / "prelude.py").read_text()
    sys.modules["wrong_prelude"] = lang_module.make(text, tmp_path_factory.mktemp("prelude"))
    yield
    del sys.modules["wrong_prelude"]


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("path", FAMILIES, ids=[p.stem for p in FAMILIES])
def test_messages(path, ktypes, tmp_path):
    found = cases(path)
    titles = [title for title, _, _ in found]
    assert len(set(titles)) == len(titles)
    now = [(title, text, message_of(text, ktypes, tmp_path)) for title, text, _ in found]
    if UPDATE:
        head = path.read_text().split("\n== ")[0].strip("\n")
        path.write_text(head + "\n" + "".join(f"\n== {t}\n{p}\n--\n{m}\n" for t, p, m in now))
        found = now
    for (title, text, message), (_, _, made) in zip(found, now, strict=True):
        assert made == message, f"{title}:\n{text}"


def test_each_message_is_whole():
    """A place, the line with a caret, and what to write instead or what was expected."""
    total = 0
    for path in FAMILIES:
        for title, _, message in cases(path):
            total += 1
            lines = message.splitlines()
            assert re.match(r"program\.py:\d+:\d+: ", lines[0]), f"{path.stem}: {title}"
            assert lines[2].strip("^ ") == "", f"{path.stem}: {title}"
            assert "^" in lines[2], f"{path.stem}: {title}"
            for word in ("Traceback", "NoneType", "object at 0x", "ast."):
                assert word not in message, f"{path.stem}: {title}"
    assert total >= 200
