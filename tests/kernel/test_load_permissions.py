"""What a process is told that lacks a capability: which one, and the line that helps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from c_objects import compile_c

pytestmark = pytest.mark.root

CHILD = """
import ctypes, struct, sys
from probee.errors import PermissionDenied
from probee.kernel.load import load
from probee.obj import read_object

def keep(*capabilities):
    mask = sum(1 << capability for capability in capabilities)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    head, data = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", low, low, 0, high, high, 0)
    assert ctypes.CDLL(None).capset(head, data) == 0

spec = read_object(sys.argv[1])
CAP_PERFMON, CAP_BPF = 38, 39
with load(spec) as live:
    keep(CAP_BPF)
    for attempt in (lambda: live.programs["p"].attach(), lambda: load(spec)):
        try:
            attempt()
        except PermissionDenied as error:
            print(error.capability, error, sep="|")
    keep()
    try:
        load(spec)
    except PermissionDenied as error:
        print(error.capability, error, sep="|")
"""

TEXT = """
HASH(calls, u32, u64, 16);
SEC("tp/sched/sched_switch") int p(void *ctx) { count(&calls, 1); return 0; }
"""


def test_the_missing_capability_is_named(tmp_path: Path) -> None:
    compile_c(tmp_path, TEXT, "child")
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "child.bpf.o")], capture_output=True, text=True
    )
    assert run.stderr == ""
    attach, load, create = (line.partition("|")[::2] for line in run.stdout.splitlines())
    help = f"run it as root: sudo {sys.executable} {script} {tmp_path / 'child.bpf.o'}"
    assert attach == (
        "CAP_PERFMON",
        f"attaching to tracepoint sched:sched_switch needs CAP_PERFMON, which is missing here; {help}",
    )
    assert load == ("CAP_PERFMON", f"loading program p needs CAP_PERFMON, which is missing here; {help}")
    assert create == ("CAP_BPF", f"creating map calls needs CAP_BPF, which is missing here; {help}")
