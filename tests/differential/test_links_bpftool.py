"""What a link says of itself, against bpftool's JSON: whatever bpftool prints, we print the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.kernel.link_info import LinkDetails
from probee.kernel.load import load

pytestmark = pytest.mark.root

TEXT = r"""
struct bpf_iter__task;
SEC("tp/sched/sched_process_exec") int tracepoint(void *ctx) { return 0; }
SEC("raw_tp/sched_process_exec") int raw(void *ctx) { return 0; }
SEC("tp_btf/sched_process_exec") int typed(u64 *ctx) { return 0; }
SEC("perf_event/page-faults:period=1000000") int sample(void *ctx) { return 0; }
SEC("iter/task") int tasks(void *ctx) { return 0; }
SEC("?kprobe/do_nanosleep") int kprobe(void *ctx) { return 0; }
SEC("?kretprobe/do_nanosleep") int kretprobe(void *ctx) { return 0; }
SEC("?kprobe.multi/do_nanosleep") int multi(void *ctx) { return 0; }
SEC("?fentry/do_nanosleep") int fentry(void *ctx) { return 0; }
SEC("?lsm/file_mprotect") int lsm(void *ctx) { return 0; }
"""

NEEDS = {
    "tracepoint": "perf_link",
    "raw": "link",
    "typed": "tp_btf",
    "sample": "perf_link",
    "tasks": "iter",
    "kprobe": "kprobe",
    "kretprobe": "kprobe",
    "multi": "kprobe_multi",
    "fentry": "fentry",
    "lsm": "lsm",
}


def bpftool(id: int) -> dict[str, object]:
    tool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if tool is None:
        pytest.skip("needs bpftool")
    run = subprocess.run([tool, "-j", "link", "show", "id", str(id)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found: dict[str, object] = json.loads(run.stdout)
    return {key: value for key, value in found.items() if key not in ("pids", "pinned")}


def agree(details: LinkDetails) -> None:
    """Everything bpftool knows of the link is in ours; bpftools older than the kernel know less."""
    theirs, ours = bpftool(details.id), details.to_dict()
    assert {key: ours.get(key) for key in theirs} == theirs


@pytest.mark.parametrize("name", NEEDS)
def test_links_of_tracing(tmp_path: Path, name: str) -> None:
    needs(NEEDS[name])
    options = {"cpus": [0]} if name == "sample" else {}
    with (
        load(object_from_c(tmp_path, TEXT), programs=[name]) as live,
        live.programs[name].attach(**options) as link,
    ):
        agree(link.info())


def test_narrowed_iterators(tmp_path: Path) -> None:
    needs("iter_cgroup")
    with load(object_from_c(tmp_path, TEXT), programs=["tasks"]) as live:
        for narrowed in ({"pid": os.getpid()}, {"tid": os.getpid()}):
            with live.programs["tasks"].attach(**narrowed) as link:
                agree(link.info())
