"""`probee prog run`: a program run by itself, with data and a context from files (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
import sys
from typing import Any

from ..errors import ProbeeError
from ..kernel.program import Program
from . import seek
from .grammar import Words, Wrong
from .output import Output, duration_text

_MOST = 1 << 20  # bytes of data that are offered to the kernel for what comes back
_USUAL = 32 << 10
_FILES = ("data_in", "data_out", "ctx_in", "ctx_out")
_SIZES = ("data_size_out", "ctx_size_out")


def run(words: Words, output: Output) -> int:
    with seek.program(words) as handle:
        files: dict[str, str] = {}
        sizes: dict[str, int] = {}
        repeat = 1
        while words:
            word = words.peek()
            near = [k for k in (*_FILES, *_SIZES) if k.startswith(word)]
            if len(near) > 1 and word not in near:
                raise Wrong(f"{word!r} may be {' or '.join(near)}")
            what = words.one_of(*_FILES, *_SIZES, "repeat")
            if what == "repeat":
                repeat = words.number("N")
            elif what in _SIZES:
                sizes[what] = words.number("N", most=_MOST)
            else:
                files[what] = words.next("FILE")
        if files.get("data_in") == files.get("ctx_in") == "-":
            raise Wrong("standard input can't be both data_in and ctx_in")
        data = _read(files.get("data_in", ""))
        ctx = _read(files.get("ctx_in", ""))
        with Program.open(fd=handle.fd) as program:
            room = sizes.get("data_size_out") or max(_USUAL, len(data) + 256)
            done = program.test_run(data, ctx, repeat, out_size=room if data else 0)
    ctx_out = done.ctx[: sizes.get("ctx_size_out") or None]
    facts: dict[str, Any] = {}
    for name, raw in (("data_out", done.data), ("ctx_out", ctx_out)):
        if name in files:
            _write(files[name], raw, name, facts, output)
    if output.json:
        output.emit({**facts, "retval": done.retval, "duration": done.duration})
    else:
        average = " (average)" if repeat > 1 else ""
        took = duration_text(done.duration)
        print(f"return value {done.retval} ({done.retval:#x}), duration{average} {took}")
    return 0


def _read(path: str) -> bytes:
    if not path:
        return b""
    if path == "-":
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ProbeeError(f"can't read {path}: {error.strerror}") from None


def _write(path: str, raw: bytes, name: str, facts: dict[str, Any], output: Output) -> None:
    if path != "-":
        try:
            with open(path, "wb") as file:
                file.write(raw)
        except OSError as error:
            raise ProbeeError(f"can't write {path}: {error.strerror}") from None
    elif output.json:
        facts[name] = list(raw)
    else:
        print(hexdump(raw))


def hexdump(raw: bytes) -> str:
    """`0000000  0102 0304 …  | ..` as bpftool and hexdump have it."""
    lines = []
    for start in range(0, len(raw), 16):
        row = raw[start : start + 16]
        pairs = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in row)
        lines.append(f"{start:07x}\t{pairs:<39} | {text[:8]} {text[8:]}".rstrip())
    return os.linesep.join(lines)
