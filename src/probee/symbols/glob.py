"""Patterns of names, `*` and `?`, as regular expressions over whole tables of names."""

from __future__ import annotations

import re

MARKS = "*?"


def is_pattern(text: str) -> bool:
    return any(mark in text for mark in MARKS)


def body(pattern: str, end: bytes) -> bytes:
    """`pattern` as the source of a regular expression on names in which the bytes `end` can't be.

    Each `*` but the last is matched as short as can be and never tried again: that is enough for patterns of
    this kind, and keeps the time linear in the text.
    """
    inside = b"[^" + end + b"]"
    one = b"(?:[^\x80-\xbf" + end + b"][\x80-\xbf]*)"  # a character of UTF-8
    parts = [
        b"".join(one if char == "?" else re.escape(char.encode()) for char in part)
        for part in pattern.split("*")
    ]
    if len(parts) == 1:
        return parts[0]
    middle = b"".join(b"(?>" + inside + b"*?" + part + b")" for part in parts[1:-1] if part)
    return parts[0] + middle + inside + b"*" + parts[-1]


def name_regex(pattern: str) -> re.Pattern[bytes]:
    """For `match` at a name in an ELF string table, where a NUL ends it."""
    return re.compile(body(pattern, rb"\0") + rb"\0")


def longest_literal(pattern: str) -> bytes:
    """The longest part of `pattern` without marks: what every match holds."""
    return max(pattern.replace("?", "*").split("*"), key=len).encode()


def line_regex(pattern: str, before: bytes = rb"\n") -> re.Pattern[bytes]:
    """Matches a line from `before` on, if the word after it matches; the line's end is not part of it."""
    return re.compile(before + body(pattern, rb"\s") + rb"(?=[\s])")


def text_regex(pattern: str) -> re.Pattern[str]:
    """Matches a whole text, of any characters."""
    parts = [re.escape(part).replace(r"\?", ".") for part in pattern.split("*")]
    return re.compile(".*".join(parts), re.DOTALL)
