"""What the tests of the command line look at: an object with many kinds of types, loaded and pinned."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import probee as bp
from c_objects import compile_c
from probee.cli.main import main
from probee.kernel.collection import Collection

SOURCE = """
enum kind { SMALL = 1, LARGE = 2 };
struct val {
    u32 packets; u64 bytes; char comm[16];
    struct { u8 a; u8 b:3; u8 c:5; } in[2];
    enum kind kind; void *where; _Bool ok; short neg;
    union { u32 x; unsigned char y[4]; };
};
HASH(counts, int, struct val, 64);
struct { __uint(type, 6); __uint(max_entries, 2); __type(key, u32); __type(value, u64); } percpu SEC(".maps");
struct { __uint(type, 22); __uint(max_entries, 4); __uint(value_size, 4); } line SEC(".maps");
struct { __uint(type, 11); __uint(max_entries, 4); __uint(map_flags, 1);
         __uint(key_size, 8); __uint(value_size, 4); } routes SEC(".maps");
int hits; const volatile int limit = 7; char greeting[8] = "hi";
const char bpf_metadata_note[] __attribute__((section(".rodata"), used)) = "hello";
static __attribute__((noinline)) int sub(int x) { hits += x; return hits; }
SEC("tracepoint/syscalls/sys_enter_getppid") int on_enter(void *ctx) {
    int key = 1;
    struct val *v = map_lookup(&counts, &key);
    if (v) { v->packets++; v->bytes += limit; }
    return sub(3);
}
struct xdp_md { u32 data; };
SEC("xdp") int a_rather_long_program_name(struct xdp_md *ctx) {
    u32 zero = 0;
    u64 *count = map_lookup(&percpu, &zero);
    if (count) *count += 1;
    return 2;
}
"""
FOLDER = f"/sys/fs/bpf/probee-cli-{os.getpid()}"


def write_object(folder: Path, name: str = "seen") -> Path:
    """The object as a file."""
    compile_c(folder, SOURCE, name)
    return folder / f"{name}.bpf.o"


@contextmanager
def loaded(folder: Path) -> Iterator[Collection]:
    """The object, live, with its programs and maps pinned in FOLDER."""
    with bp.load(write_object(folder)) as live:
        try:
            live.pin(FOLDER)
            yield live
        finally:
            shutil.rmtree(FOLDER, ignore_errors=True)


class Cli:
    """Runs commands in this process."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture
        self.err = ""

    def code(self, *argv: str) -> int:
        """Run, and return the exit code; what it printed is dropped."""
        code = main(list(argv))
        self.err = self._capture.readouterr().err
        return code

    def text(self, *argv: str) -> str:
        """What a command that works prints."""
        self._capture.readouterr()
        code = main(list(argv))
        out, self.err = self._capture.readouterr()
        assert code == 0, self.err or out
        return out

    def json(self, *argv: str, code: int = 0) -> Any:
        """What it prints with -j."""
        self._capture.readouterr()
        got = main(["-j", *argv])
        out, self.err = self._capture.readouterr()
        assert got == code, self.err or out
        return json.loads(out)

    def fails(self, *argv: str, code: int = 1) -> str:
        """What it says when it fails."""
        self._capture.readouterr()
        got = main(list(argv))
        out, self.err = self._capture.readouterr()
        assert (got, out) == (code, "")
        assert len(self.err.splitlines()) == 1, self.err
        return self.err
