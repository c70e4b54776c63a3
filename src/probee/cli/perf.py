"""`probee perf`: programs on perf events, found by looking at every descriptor of every process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..sys import caps, kernel
from ..sys.bpf import TaskFd
from .grammar import Words, command
from .link import program_name
from .output import Output
from .owners import comm

HELP = """
usage: probee perf show|list

Programs that processes have attached through perf events: tracepoints, raw tracepoints, kprobes, uprobes.
Each line is one open descriptor. JSON (-j) is bpftool's.

examples:
  probee perf
  probee perf show -j
"""
# enum bpf_task_fd_type
_KINDS = ("raw_tracepoint", "tracepoint", "kprobe", "kretprobe", "uprobe", "uretprobe")


def main(argv: list[str]) -> int:
    return command("perf", {"show": show, "list": show}, HELP, argv)


def show(words: Words, output: Output) -> int:
    words.end()
    if caps.missing(caps.CAP_SYS_ADMIN):
        raise caps.denied("looking at other processes' perf events", caps.CAP_SYS_ADMIN)
    found = list(events())
    if output.json:
        output.emit([describe(*one) for one in found])
        return 0
    rows = [
        (pid, comm(pid), fd, _kind(task), _where(task), program_name(task.prog_id)) for pid, fd, task in found
    ]
    output.table((">PID", "COMM", ">FD", "TYPE", "HOOK", "PROGRAM"), rows, empty="no programs on perf events")
    return 0


def events() -> Iterator[tuple[int, int, TaskFd]]:
    """(process id, descriptor, what it is) of every program on a perf event or raw tracepoint."""
    for name in sorted((n for n in os.listdir("/proc") if n.isdigit()), key=int):
        try:
            fds = sorted(os.listdir(f"/proc/{name}/fd"), key=int)
        except OSError:
            continue
        for fd in fds:
            try:
                target = os.readlink(f"/proc/{name}/fd/{fd}")
                task = kernel().task_fd_query(int(name), int(fd)) if _may_be(target) else None
            except OSError:  # gone, or no such query for it
                continue
            if task is not None:
                yield int(name), int(fd), task


def _may_be(target: str) -> bool:
    return target.startswith("anon_inode:") and ("bpf" in target or "perf" in target)


def _kind(task: TaskFd) -> str:
    return _KINDS[task.kind] if 0 <= task.kind < len(_KINDS) else str(task.kind)


def describe(pid: int, fd: int, task: TaskFd) -> dict[str, Any]:
    """An event in bpftool's JSON."""
    kind = _kind(task)
    facts: dict[str, Any] = {"pid": pid, "fd": fd, "prog_id": task.prog_id, "fd_type": kind}
    if kind in ("raw_tracepoint", "tracepoint"):
        facts["tracepoint"] = task.name
    elif kind in ("uprobe", "uretprobe"):
        facts["filename"] = task.name
        facts["offset"] = task.offset
    elif task.name:
        facts["func"] = task.name
        facts["offset"] = task.offset
    else:
        facts["addr"] = task.address
    return facts


def _where(task: TaskFd) -> str:
    if not task.name:
        return f"{task.address:#x}"
    return f"{task.name}+{task.offset:#x}" if task.offset else task.name
