"""From a function object to its syntax tree, with the line numbers of the file it stands in.

The text comes from the file or whatever put it into `linecache` (IPython, Jupyter, doctest, importers), from
the interactive interpreter's history, or from the command line of `python -c`. Where nothing vouches for the
text, it is compiled again and compared with the function: what runs is what was written.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType

from ..errors import CompileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

_FILE_ADVICE = "put the program into a file, or a notebook cell"


class Source:
    """A function's syntax and text. Line numbers of `node` are those of `file`; `lines` is the whole text."""

    __slots__ = ("file", "lines", "node")

    def __init__(self, node: ast.FunctionDef, file: str, lines: list[str]) -> None:
        self.node = node
        self.file = file
        self.lines = lines

    def line(self, number: int) -> str:
        """Text of a line, counted from 1, without its end; "" outside the text."""
        return self.lines[number - 1].rstrip("\r\n") if 0 < number <= len(self.lines) else ""


class _Text:
    """A parsed text: its functions by (first line, name). The first line is that of the first decorator."""

    __slots__ = ("codes", "functions", "lines")

    def __init__(self, lines: list[str], file: str) -> None:
        self.lines = lines
        self.codes: dict[int, set[tuple[object, ...]]] = {}  # facts of the functions, by `from __future__`
        self.functions = {
            (min((d.lineno for d in node.decorator_list), default=node.lineno), node.name): node
            for node in _functions(ast.parse("".join(lines), file).body)
        }


_texts: dict[str, _Text] = {}  # by file name, as long as the text stays the same
_read: dict[str, tuple[tuple[int, int, int], list[str]]] = {}  # files by name: what stat() says, and lines


def _functions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node
        for field in ("body", "orelse", "finalbody"):
            yield from _functions(getattr(node, field, []))
        for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            yield from _functions(part.body)


def nodes(top: ast.AST) -> list[ast.AST]:
    """The nodes of a tree as ast.walk() gives them, in a third of its time; kept with the tree."""
    known: list[ast.AST] | None = top.__dict__.get("_nodes")
    if known is None:
        known = [top]
        for node in known:  # grows
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, list):
                    known += [part for part in value if isinstance(part, ast.AST)]
                elif isinstance(value, ast.AST):
                    known.append(value)
        top._nodes = known  # type: ignore[attr-defined]
    return known


def of_function(fn: Callable[..., Any]) -> Source:
    """The source of a Python function. Raises CompileError if there is none, or it can't be trusted."""
    if not isinstance(fn, FunctionType):
        raise CompileError(
            f"{getattr(fn, '__name__', repr(fn))} is not a Python function",
            advice="programs and what they call are plain functions written with `def`",
        )
    code = fn.__code__
    if code.co_name == "<lambda>":
        raise _error(code, "a lambda can't be compiled", "write a function with `def`")
    if hasattr(fn, "__wrapped__"):
        raise _error(
            code,
            f"{fn.__name__} is wrapped by another decorator",
            "use only probee's decorators on functions that run in the kernel",
        )
    text, node = _find(fn, code)
    if isinstance(node, ast.AsyncFunctionDef):
        raise _error(code, f"{fn.__name__} is `async`", "programs are plain functions: drop `async`")
    return Source(node, code.co_filename, text.lines)


def _error(code: CodeType, message: str, advice: str) -> CompileError:
    import linecache

    line = linecache.getline(code.co_filename, code.co_firstlineno)
    column = len(line) - len(line.lstrip())
    return CompileError(
        message,
        file=code.co_filename,
        line=code.co_firstlineno,
        column=column,
        end_column=len(line.rstrip()),
        source=line,
        advice=advice,
    )


Found: TypeAlias = "tuple[_Text, ast.FunctionDef | ast.AsyncFunctionDef]"


def _find(fn: FunctionType, code: CodeType) -> Found:
    file = code.co_filename
    lines = _lines(fn, code)
    if lines:
        found = _in_lines(lines, file, code)
        # Python 3.13 keeps the texts of `-c` and of the prompt in linecache, where exec() can meet them.
        doubtful = file.startswith(("<string>", "<stdin>")) or _changed(file)
        if found and (not doubtful or _same(found, code)):
            return found
        if file == "<string>":
            raise _unavailable(fn, code)
        raise _error(
            code,
            f"the text of {file} is not what {fn.__name__} was made from",
            "the file changed after it was imported: start again",
        )
    found = None
    if file == "<string>":
        found = _in_command(code)
    elif file == "<stdin>":
        found = _in_history(code)
    if found:
        return found
    raise _unavailable(fn, code)


def _lines(fn: FunctionType, code: CodeType) -> list[str]:
    """The text of the function's file, [] if there is none.

    A file is read here: linecache is what other sources need, and takes several ms to import.
    """
    file = code.co_filename
    if file[:1] != "<":
        try:
            with open(file, "rb") as f:
                status = os.fstat(f.fileno())
                seen = status.st_ino, status.st_size, status.st_mtime_ns
                if file in _read and _read[file][0] == seen:
                    return _read[file][1]
                data = f.read()
        except (OSError, ValueError):
            data = b""
        if data and b"coding" not in b"".join(data.split(b"\n", 2)[:2]):
            _read[file] = seen, _split(data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
            return _read[file][1]
    import linecache

    linecache.checkcache(file)
    lines = linecache.getlines(file, fn.__globals__)
    if not lines and (of_code := getattr(linecache, "_getlines_from_code", None)):  # Python 3.13's prompt
        lines = of_code(code)
    return lines


def _split(text: str) -> list[str]:
    """The lines as Python counts them: a form feed ends none."""
    return [line + "\n" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]


def _unavailable(fn: FunctionType, code: CodeType) -> CompileError:
    where = {
        "<string>": "it was made by exec() or eval() of a string",
        "<stdin>": "it came through standard input",
    }.get(code.co_filename, f"there is no text for {code.co_filename}")
    return CompileError(
        f"the source of {fn.__name__} is not available: {where}",
        file=code.co_filename,
        line=code.co_firstlineno,
        advice=_FILE_ADVICE,
    )


def _in_lines(lines: list[str], file: str, code: CodeType) -> Found | None:
    known = _texts.get(file)
    if known is None or (known.lines is not lines and known.lines != lines):
        try:
            known = _texts[file] = _Text(lines, file)
        except (SyntaxError, ValueError):
            return None
    node = known.functions.get((code.co_firstlineno, code.co_name))
    return (known, node) if node else None


def _in_command(code: CodeType) -> Found | None:
    """The text after `python -c`."""
    text = _command(sys.orig_argv)
    if text is None:
        return None
    found = _in_lines(_split(text), "<string>", code)
    if found is None and text[:1] in " \t\n":  # Python 3.14 takes off common indentation
        import textwrap

        found = _in_lines(_split(textwrap.dedent(text)), "<string>", code)
    return found if found and _same(found, code) else None


def _command(argv: list[str]) -> str | None:
    """The argument of `-c` in an interpreter's command line."""
    args = iter(argv[1:])
    for arg in args:
        if arg == "--check-hash-based-pycs":
            next(args, None)
        elif not arg.startswith("-") or arg == "-":
            return None
        elif not arg.startswith("--"):
            for i, letter in enumerate(arg[1:], 2):
                if letter == "c":
                    return arg[i:] or next(args, None)
                if letter == "m":
                    return None
                if letter in "WX":
                    if i == len(arg):
                        next(args, None)
                    break
    return None


def _in_history(code: CodeType) -> Found | None:
    """The last block typed at the interactive prompt that compiles to the function.

    History keeps no blank lines and no line equal to the one before it, hence the comparison.
    """
    readline = sys.modules.get("readline")
    if readline is None or not hasattr(sys, "ps1"):
        return None
    history = [readline.get_history_item(i + 1) or "" for i in range(readline.get_current_history_length())]
    for i in range(len(history) - 1, -1, -1):
        if not history[i].lstrip().startswith((f"def {code.co_name}(", f"def {code.co_name} ")):
            continue
        start = i
        while start and history[start][:1].isspace():
            start -= 1
        while start and history[start - 1].startswith("@"):
            start -= 1
        end = i + 1
        while end < len(history) and history[end][:1].isspace():
            end += 1
        found = _in_lines([line + "\n" for line in history[start:end]], "<stdin>", code)
        if found and _same(found, code):
            return found
    return None


def _same(found: Found, code: CodeType) -> bool:
    """Does the text compile to just this function?"""
    futures = code.co_flags & 0x1FF0000  # the features of `from __future__`
    text = found[0]
    if futures not in text.codes:
        try:
            module = compile("".join(text.lines), code.co_filename, "exec", futures, dont_inherit=True)
        except (SyntaxError, ValueError):
            return False
        text.codes[futures] = {_facts(c) for c in _codes(module)}
    return _facts(code) in text.codes[futures]


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _facts(code: CodeType) -> tuple[object, ...]:
    constants = tuple((type(c), c) for c in code.co_consts if not isinstance(c, CodeType))
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_name, code.co_firstlineno, code.co_argcount, code.co_code, names, constants


def _changed(file: str) -> bool:
    """Was the file written after this process started?"""
    try:
        return os.stat(file).st_mtime > _started()
    except OSError:
        return False


_start: list[float] = []  # when this process started, once it was asked for


def _started() -> float:
    """When this process started, in seconds since 1970; never, where the kernel doesn't say."""
    if not _start:
        try:
            with open("/proc/self/stat", "rb") as f:
                ticks = int(f.read().rpartition(b")")[2].split()[19])
            with open("/proc/stat", "rb") as f:
                boot = next(int(line.split()[1]) for line in f if line.startswith(b"btime"))
            _start.append(boot + ticks / os.sysconf("SC_CLK_TCK"))
        except (OSError, ValueError, IndexError, StopIteration):
            _start.append(float("inf"))
    return _start[0]
