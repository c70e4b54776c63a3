"""Probes made through tracefs (`kprobe_events`, `uprobe_events`): the way before perf's own probes, Linux
4.17.

Source: the kernel's Documentation/trace/kprobetrace.rst and uprobetracer.rst. Such a probe stays in the
kernel until somebody removes it, so its group's name says which process made it, and `sweep` removes those
whose process is gone.
"""

from __future__ import annotations

import os

from probee.sys import tracefs

KPROBES, UPROBES = "kprobe_events", "uprobe_events"
_PREFIX = "probee_"
_MAX_NAME = 60  # of 64 with the end
_count = 0


class ProbeEvent:
    """A probe in tracefs: `group:event` of `file`. It has to be removed."""

    __slots__ = ("event", "file", "group")

    def __init__(self, file: str, group: str, event: str) -> None:
        self.file = file
        self.group = group
        self.event = event

    @property
    def id(self) -> int:
        """The number perf_event_open(2) wants."""
        return tracefs.event_id(self.group, self.event)

    def remove(self) -> None:
        """Take the probe away. One that is still in use (a link that somebody pinned) stays."""
        try:
            _write(self.file, f"-:{self.group}/{self.event}")
        except OSError:
            return  # gone already, or in use: swept when this process is gone


def add(file: str, kind: str, place: str, label: str) -> ProbeEvent:
    """Make a probe: `kind` is "p", "r" or "r" and a number of instances, `place` as tracefs writes it.

    `label` becomes part of its name. Raises `OSError` with the kernel's refusal.
    """
    global _count
    sweep(file)
    _count += 1
    clean = "".join(c if c.isalnum() and c.isascii() else "_" for c in label)
    event = ProbeEvent(file, _group(), f"p{_count}_{clean}"[:_MAX_NAME])
    _write(file, f"{kind}:{event.group}/{event.event} {place}")
    return event


def sweep(file: str) -> int:
    """Remove the probes of processes that have ended. Returns how many went."""
    removed = 0
    here = _namespace()
    try:
        with open(f"{tracefs.root()}/{file}", encoding="utf-8", errors="replace") as opened:
            lines = opened.read().splitlines()
    except OSError:
        return 0
    for line in lines:
        name = line.partition(" ")[0].partition(":")[2]
        group, _, event = name.partition("/")
        owner = group.removeprefix(_PREFIX).split("_")
        if not group.startswith(_PREFIX) or len(owner) != 3 or not all(part.isdigit() for part in owner):
            continue
        if owner[0] == here and _started(int(owner[1])) != owner[2]:
            ProbeEvent(file, group, event).remove()
            removed += 1
    return removed


def _group() -> str:
    """The name of this process's probes. The start time tells it from a later one with its number."""
    return f"{_PREFIX}{_namespace()}_{os.getpid()}_{_started(os.getpid())}"


def _namespace() -> str:
    """The number of the PID namespace: process numbers of another one mean nothing here."""
    return str(os.stat("/proc/self/ns/pid").st_ino)


def _started(pid: int) -> str:
    """When the process started, in clock ticks since boot (proc(5)); "" if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _write(file: str, text: str) -> None:
    fd = os.open(f"{tracefs.root()}/{file}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode() + b"\n")
    finally:
        os.close(fd)
