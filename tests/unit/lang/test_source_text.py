"""A function's syntax is found wherever the function was written, with the file's line numbers."""

from __future__ import annotations

import ast
import functools
import linecache
import os
import pty
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import ModuleType

import pytest

from probee.errors import CompileError
from probee.lang import diag, source

HERE = Path(__file__).read_text().splitlines()


def plain(args):
    return args


def _at(fn) -> str:
    src = source.of_function(fn)
    assert src.file == __file__
    assert src.node.name == fn.__name__
    return HERE[src.node.lineno - 1].strip()


class InBody:
    def method(args):
        return 1

    class Deeper:
        def method(args):
            return 2


def test_module_function() -> None:
    assert _at(plain) == "def plain(args):"
    src = source.of_function(plain)
    assert isinstance(src.node.body[0], ast.Return)
    assert src.line(src.node.body[0].lineno) == "    return args"
    assert src.line(0) == "" == src.line(10**6)


def test_class_bodies_and_nesting() -> None:
    assert _at(InBody.method) == "def method(args):"
    inner = source.of_function(InBody.Deeper.method).node
    assert isinstance(inner.body[0], ast.Return)
    assert isinstance(inner.body[0].value, ast.Constant)
    assert inner.body[0].value.value == 2
    limit = 5

    def nested(args):
        return limit

    assert _at(nested) == "def nested(args):"


def mark(fn):
    return fn


def test_decorators_conditions_and_same_names() -> None:
    @mark
    @mark
    def twice(args):
        return 1

    first = twice
    if os.sep == "/":

        def twice(args):
            return 2

    else:

        def twice(args):
            return 3

    assert source.of_function(first).node.lineno + 6 == source.of_function(twice).node.lineno
    assert _at(first) == _at(twice) == "def twice(args):"


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda args: 1, "lambda"),
        (len, "not a Python function"),
        (functools.partial(plain, 1), "not a Python function"),
        (functools.wraps(plain)(lambda *a: plain(*a)), "wrapped"),
        (InBody().method, "not a Python function"),
    ],
)
def test_refused(fn, words: str) -> None:
    if getattr(fn, "__name__", "") == "plain":
        fn.__code__ = fn.__code__.replace(co_name="plain")
    with pytest.raises(CompileError, match=words) as e:
        source.of_function(fn)
    assert e.value.advice


def test_async_is_refused() -> None:
    async def later(args):
        pass

    with pytest.raises(CompileError, match="async"):
        source.of_function(later)


def test_linecache_as_notebooks_use_it() -> None:
    text = "limit = 1\n\ndef cell(args):\n    return limit\n"
    name = "<ipython-input-7-abc>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, object] = {"__name__": "__main__"}
    exec(compile(text, name, "exec"), space)
    src = source.of_function(space["cell"])
    assert (src.file, src.node.lineno, src.line(4)) == (name, 3, "    return limit")
    # the same cell run again with other text under the same name
    text = "\n" + text.replace("cell", "other")
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    exec(compile(text, name, "exec"), space)
    assert source.of_function(space["other"]).node.lineno == 4


def test_exec_without_text() -> None:
    space: dict[str, object] = {}
    exec("def lost(args):\n    return 0\n", space)
    with pytest.raises(CompileError, match="exec") as e:
        source.of_function(space["lost"])
    assert "file" in e.value.advice


def _module(path: Path) -> ModuleType:
    module = ModuleType(path.stem)
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return module


def test_file_changed_after_import(tmp_path: Path) -> None:
    path = tmp_path / "changing.py"
    path.write_text("def f(args):\n    return 1\n\ndef g(args):\n    return 7\n")
    module = _module(path)
    assert source.of_function(module.f).node.name == "f"
    path.write_text("def f(args):\n    return 22\n\ndef g(args):\n    return 7\n")
    assert source.of_function(module.g).node.name == "g"
    with pytest.raises(CompileError, match="not what f was made from"):
        source.of_function(module.f)
    path.write_text("# nothing left\n")
    with pytest.raises(CompileError, match="not what f was made from"):
        source.of_function(module.f)


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\x0c\n\x0c\ndef f(args):\n    return 1\n",
        "\r\n\r\ndef f(args):\r\n    return 1\r\n",
        "\ufeff\n\ndef f(args):\n    return '\u2028'\n",
        "# coding: latin-1\n\ndef f(args):\n    return 'ä'",
    ],
)
def test_odd_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.py"
    path.write_bytes(text.encode("latin-1" if "latin" in text else "utf-8"))
    module = ModuleType("odd")
    exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    src = source.of_function(module.f)
    assert src.node.lineno == 3
    assert src.line(3) == "def f(args):"
    assert isinstance(src.node.body[0], ast.Return)
    assert src.node.body[0].value.value == module.f(0)


def test_error_columns_are_characters(tmp_path: Path) -> None:
    path = tmp_path / "utf8.py"
    path.write_text('def f(args):\n    x = "äöü"; y = 1.5\n    return (1 +\n        2)\n', encoding="utf-8")
    src = source.of_function(_module(path).f)
    assign = src.node.body[1]
    assert isinstance(assign, ast.Assign)
    e = diag.error(src, assign.value, "no floats", "use int")
    assert e.source[e.column : e.end_column] == "1.5"
    assert str(e).splitlines()[0] == f"{path}:2:{e.column + 1}: no floats"
    assert str(e).splitlines()[2] == "    " + " " * e.column + "^^^"
    many = diag.error(src, src.node.body[2], "two lines")
    assert many.source[many.column : many.end_column] == "return (1 +"
    head = diag.error(src, None, "whole function")
    assert head.source[head.column : head.end_column] == "def f(args)"


def test_nearest() -> None:
    assert diag.nearest("filenme", ["filename", "pid"]) == "did you mean filename?"
    assert diag.nearest("zzz", ["filename", "pid"]) == ""


SHOW = """
from probee.lang.source import of_function
def show(f):
    s = of_function(f)
    print("FOUND", s.file, s.node.lineno, s.line(s.node.lineno).strip(), len(s.node.body))
"""


@pytest.mark.parametrize("flags", [["-c"], ["-uc"], ["-X", "utf8", "-W", "ignore", "-c"], ["-Wignore", "-c"]])
def test_command_line(flags: list[str]) -> None:
    text = SHOW + "if True:\n  def prog(args):\n    return 7\nshow(prog)\n"
    run = subprocess.run([sys.executable, *flags, text], capture_output=True, text=True, timeout=20)
    line = text[: text.index("def prog")].count("\n") + 1
    assert run.stdout == f"FOUND <string> {line} def prog(args): 1\n", run.stderr


def test_command_line_joined_to_its_option() -> None:
    run = subprocess.run(
        [sys.executable, "-c" + SHOW + "def prog(args): return 7\nshow(prog)"], capture_output=True, text=True
    )
    assert "FOUND <string>" in run.stdout, run.stderr


def test_exec_inside_a_command_line_is_not_confused() -> None:
    text = SHOW + "\ndef prog(args):\n  return 1\nexec('\\n'*7 + 'def prog(args):\\n  return 2')\nshow(prog)"
    run = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
    assert "the source of prog is not available" in run.stderr


def test_piped_standard_input() -> None:
    text = SHOW + "def prog(args):\n    return 7\nshow(prog)\n"
    run = subprocess.run([sys.executable, "-"], input=text, capture_output=True, text=True)
    assert "CompileError" in run.stderr
    assert "the source of prog is not available: it came through standard input" in run.stderr
    assert "put the program into a file" in run.stderr


def _interactive(tmp_path: Path, text: str) -> str:
    """Type `text` at the prompt of an interpreter on a terminal; gives all it showed."""
    env = {**os.environ, "TERM": "dumb", "PYTHON_BASIC_REPL": "1", "HOME": str(tmp_path), "PYTHONSTARTUP": ""}
    master, slave = pty.openpty()
    try:
        run = subprocess.Popen(
            [sys.executable, "-q"], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
    finally:
        os.close(slave)
    shown = b""
    try:
        for line in [*text.splitlines(), "exit()"]:
            while not shown.endswith((b">>> ", b"... ")):
                shown += os.read(master, 4096)
            os.write(master, line.encode() + b"\n")
            shown += b"\n"
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                if not (chunk := os.read(master, 4096)):
                    break
            except OSError:
                break
            shown += chunk
    finally:
        run.kill()
        run.wait()
        os.close(master)
    return shown.decode()


def test_interactive_prompt(tmp_path: Path) -> None:
    pytest.importorskip("readline")
    setup = "import readline\nfrom probee.lang.source import of_function\n"
    shown = _interactive(
        tmp_path,
        setup
        + textwrap.dedent(
            """\
            deco = lambda f: f
            def prog(args):
                return 1

            @deco
            def prog(args):
                x = 1
                return x

            class Body:
                @deco
                def inner(args):
                    return 3

            s = of_function(prog); print("A", s.file, s.node.lineno, len(s.node.body))
            s = of_function(Body.inner); print("B", s.file, s.node.lineno, s.line(4))
            def twice(args):
                args += 1
                args += 1
                return args

            of_function(twice)
            """
        ),
    )
    assert re.search(r"^A <(stdin|python-input)\S* 2 2\r?$", shown, re.M), shown
    assert re.search(r"^B <(stdin|python-input)\S* 3         return 3\r?$", shown, re.M), shown
    if sys.version_info < (3, 13):  # history drops the repeated line, so the text can't be trusted
        assert "the source of twice is not available" in shown
