"""Compile errors that point at the user's source."""

from __future__ import annotations

import ast

from ..errors import CompileError
from .ir import Loc
from .source import Source


def error(source: Source, place: ast.AST | Loc | None, message: str, advice: str = "") -> CompileError:
    """A CompileError at a syntax node or an IR location of `source`; `None` is the function's own line.

    Columns of syntax nodes are bytes of UTF-8 and those of the error characters; a node that goes on behind
    its first line is underlined to the end of that line.
    """
    if place is None:
        place = source.node
    end = 0
    if isinstance(place, Loc):
        line, column = place.line, place.column
    else:
        line, column = getattr(place, "lineno", source.node.lineno), getattr(place, "col_offset", 0)
        end = getattr(place, "end_col_offset", None) or 0
        if isinstance(
            place, (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.With, ast.Match)
        ):
            end = len(source.line(line).split(":", 1)[0].encode()) if place is source.node else 0
        elif getattr(place, "end_lineno", line) != line:
            end = 0
    text = source.line(line)
    return CompileError(
        message,
        file=source.file,
        line=line,
        column=characters(text, column),
        end_column=characters(text, end) if end else len(text.rstrip()),
        source=text,
        advice=advice,
    )


def characters(text: str, column: int) -> int:
    """Byte offset in the UTF-8 of `text` -> offset in characters."""
    return column if text.isascii() else len(text.encode()[:column].decode("utf-8", "ignore"))


def nearest(name: str, names: list[str], lead: str = "did you mean") -> str:
    """Advice that offers the names closest to a misspelt one, "" if none is close."""
    import difflib

    found = difflib.get_close_matches(name, names, 3, 0.62)
    # behind a name that is almost the same, others only confuse
    ratios = [difflib.SequenceMatcher(None, name, n).ratio() for n in found]
    found = [n for n, ratio in zip(found, ratios, strict=True) if ratio >= ratios[0] - 0.12]
    if not found:
        found = [n for n in names if len(name) > 2 and (name in n or n in name)][:3]
    if not found:
        return ""
    return f"{lead} {' or '.join(found)}?"


def a(word: str) -> str:
    """The word with its article; names in capitals are spelled out: "an XDP", "a tc"."""
    return f"an {word}" if word[:1] in "aeiouXFLMNRS" else f"a {word}"
