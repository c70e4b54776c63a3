"""Programs for user space, to be probed: compiled once, told by letters what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType

import pytest

from c_compiler import compiled

# A probe as sys/sdt.h makes it: a nop, and a note that tells where it is and where its arguments are.
SDT = r"""
#define SDT_PROBE(provider, name, semaphore, arguments, ...) __asm__ __volatile__( \
    "990: nop\n" \
    ".pushsection .note.stapsdt,\"\",\"note\"\n" \
    ".balign 4\n .4byte 992f-991f, 994f-993f, 3\n" \
    "991: .asciz \"stapsdt\"\n 992: .balign 4\n" \
    "993: .8byte 990b\n .8byte _.stapsdt.base\n .8byte " semaphore "\n" \
    " .asciz \"" #provider "\"\n .asciz \"" #name "\"\n .asciz \"" arguments "\"\n" \
    "994: .balign 4\n .popsection\n" \
    ".ifndef _.stapsdt.base\n" \
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n" \
    ".weak _.stapsdt.base\n .hidden _.stapsdt.base\n _.stapsdt.base: .space 1\n" \
    ".size _.stapsdt.base, 1\n .popsection\n .endif\n" :: __VA_ARGS__)
#define SDT_SEMAPHORE(name) \
    __attribute__((section(".probes"), used)) volatile unsigned short name = 0
"""

LOOP = r"""
#include <stdio.h>
void act(int letter);
int main(void) {
    for (int c; (c = getchar()) != EOF;) { act(c); putchar('.'); fflush(stdout); }
    return 0;
}
"""


def build(
    directory: Path,
    source: str,
    *flags: str,
    name: str = "program",
    compiler: str = "gcc",
    suffix: str = ".c",
) -> Path:
    """The program that `compiler` makes of `source`; skips the test if there is no such compiler."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    command = [compiler, "-g0", *flags, f"{name}{suffix}", "-o", name]
    made = compiled(command, {f"{name}{suffix}": source}, name)
    path = directory / name
    path.write_bytes(made)
    path.chmod(0o755)
    return path


class Running:
    """A program on `LOOP`, running until the end of the `with` block."""

    def __init__(self, *command: str | Path, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **(env or {})},
            bufsize=0,
        )
        self.pid = self.process.pid

    def __enter__(self) -> Running:
        self.do(" ")  # it has started when it answers
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def do(self, letters: str) -> None:
        """Have it do something for each letter, and wait until it has."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for letter in letters:
            self.process.stdin.write(letter.encode())
            answer = self.process.stdout.read(1)
            assert answer == b".", "the program ended"
