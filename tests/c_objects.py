"""BPF objects from C text, for tests: compiled by whatever clang there is, without the system's headers."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from c_compiler import compiled
from probee.obj import ObjectSpec, read_object

CLANGS = ("clang-22", "clang-21", "clang-20", "clang-19", "clang")
_ARCH = {"x86_64": "x86", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)

HEADER = (Path(__file__).parent / "differential/c/prelude.h").read_text()


def clang() -> str:
    """A clang that compiles for BPF; skips the test if there is none."""
    for name in CLANGS:
        path = shutil.which(name)
        if path:
            return path
    pytest.skip(f"needs clang (one of {', '.join(CLANGS)})")


def compile_c(directory: Path, text: str, name: str = "program", *, before: str = "") -> bytes:
    """The object file of C `text`, with debug information, for the machine's byte order.

    `before` goes in front of `text` without moving its lines.
    """
    files = {f"{name}.h": HEADER + before, f"{name}.bpf.c": text}
    command = [clang(), "-O2", "-g", "-target", "bpf", "-mcpu=v3", f"-D__TARGET_ARCH_{_ARCH}"]
    command += [
        "-fdebug-compilation-dir=.",
        "-include",
        f"{name}.h",
        "-c",
        f"{name}.bpf.c",
        "-o",
        f"{name}.bpf.o",
    ]
    made = compiled(command, files, f"{name}.bpf.o")
    (directory / f"{name}.bpf.o").write_bytes(made)
    return made


def object_from_c(directory: Path, text: str, name: str = "program", *, before: str = "") -> ObjectSpec:
    """The same, read."""
    return read_object(compile_c(directory, text, name, before=before), name)


def compile_file(source: Path) -> bytes:
    """The object file of a C file, with the headers beside it and those of `differential/c`.

    A comment `cflags:` in it adds options.
    """
    text = source.read_text().replace('"../c/', '"')
    added = " ".join(re.findall(r"/\* cflags: (.*?) \*/", text)).split()
    headers = [*(Path(__file__).parent / "differential/c").glob("*.h"), *source.parent.glob("*.h")]
    files = {path.name: path.read_text() for path in headers} | {source.name: text}
    command = [clang(), "-O2", "-g", "-target", "bpf", "-Wno-ignored-attributes", *added]
    return compiled([*command, "-c", source.name, "-o", "made.o"], files, "made.o")
