"""Kprobes: where a function of the kernel starts, or returns, or at an instruction inside it."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError, Unsupported
from probee.kernel.links import perf
from probee.kernel.links.base import Link, refused
from probee.sys.bpf import PERF_SAMPLE_RAW, PERF_TYPE_TRACEPOINT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.sys.probe_events import ProbeEvent

_PMU = "/sys/bus/event_source/devices/kprobe"
WAYS = ("auto", "perf", "tracefs")


class Place:
    """Where a kprobe goes: `offset` bytes into a function, by name (and module) or, without name,
    `address`.
    """

    __slots__ = ("address", "module", "name", "offset")

    def __init__(self, name: str, offset: int = 0, module: str = "", address: int = 0) -> None:
        self.name = name
        self.offset = offset
        self.module = module
        self.address = address

    def __str__(self) -> str:
        if not self.name:
            return f"{self.address + self.offset:#x}"
        front = f"{self.module}:" if self.module else ""
        behind = f"+{self.offset:#x}" if self.offset else ""
        return f"{front}{self.name}{behind}"


def parse(text: str) -> Place:
    """`function`, `function+0x10`, `module:function` or `0xaddress` as a place."""
    name, plus, behind = text.strip().partition("+")
    module, colon, function = name.rpartition(":")
    try:
        offset = int(behind, 0) if plus else 0
        if function.startswith("0x"):
            return Place("", offset, module, int(function, 16))
    except ValueError:
        function = ""
    if not function or (colon and not module) or offset < 0:
        raise AttachError(
            f"kprobe/{text}: expected FUNCTION, FUNCTION+OFFSET or MODULE:FUNCTION", hook=f"kprobe {text}"
        )
    return Place(function, offset, module)


def attach(
    program_fd: int,
    place: Place,
    *,
    returns: bool = False,
    cookie: int = 0,
    maxactive: int = 0,
    way: str = "auto",
) -> Link:
    """Run a program of type `kprobe` at `place`, or (`returns`) when the function returns.

    `maxactive` is how many calls may be on their way at once before returns are missed; it needs tracefs.
    `way` forces an older way than the kernel's best: "perf" (Linux 4.17) or "tracefs" (4.1).
    """
    hook = f"{'kretprobe' if returns else 'kprobe'} {place}"
    if way not in WAYS:
        raise ProbeeError(f"way={way!r}: expected one of {', '.join(WAYS)}")
    if returns and place.offset:
        raise AttachError(f"{hook}: a return has no offset", hook=hook)
    if maxactive and not returns:
        raise AttachError(f"{hook}: maxactive is for returns", hook=hook)
    kind = _pmu_type()
    try:
        if way == "tracefs" or maxactive or (way == "auto" and kind is None):
            return _through_tracefs(program_fd, place, hook, returns, cookie, maxactive, way != "auto")
        if kind is None:
            raise lacking()
        fd = _open_event(kind, place, returns)
        return perf.attach([fd], program_fd, hook, cookie=cookie, legacy=way != "auto")
    except OSError as error:
        from probee.kernel.links.functions import not_probed

        raise not_probed(hook, place, error) or refused(hook, error) from None


def lacking() -> Unsupported:
    """The error for a kernel without kprobes."""
    return Unsupported(
        "this kernel has no kprobes (CONFIG_KPROBES, CONFIG_KPROBE_EVENTS); fentry, tp_btf or raw_tp may do",
        feature="kprobe",
        since="4.1",
    )


def _open_event(kind: int, place: Place, returns: bool) -> int:
    """A perf event of the probe."""
    config = 1 << int(_sysfs("format/retprobe").rpartition(":")[2]) if returns else 0
    open_event = kernel_calls.kernel().perf_event_open
    if not place.name:
        return open_event(kind, config, config2=place.address + place.offset)
    try:
        name = f"{place.module}:{place.name}" if place.module else place.name
        return open_event(kind, config, path=name, config2=place.offset)
    except OSError as error:
        if not place.module or error.errno not in (errno.ENOENT, errno.EINVAL):
            raise
        from probee.kernel.links.functions import address_in_module

        address = address_in_module(place)  # kernels that don't split module:function
        if not address:
            raise
        return open_event(kind, config, config2=address + place.offset)


def _through_tracefs(
    program_fd: int, place: Place, hook: str, returns: bool, cookie: int, maxactive: int, legacy: bool
) -> Link:
    from probee.sys import probe_events

    letter = f"r{maxactive or ''}" if returns else "p"
    try:
        event = probe_events.add(probe_events.KPROBES, letter, str(place), place.name or "address")
    except FileNotFoundError as error:
        if _exists(probe_events.KPROBES):
            raise
        raise lacking() from error
    try:
        link = _attach_event(event, program_fd, hook, cookie, legacy)
    except BaseException:
        event.remove()
        raise
    link.after_close(event.remove)
    return link


def _attach_event(event: ProbeEvent, program_fd: int, hook: str, cookie: int, legacy: bool) -> Link:
    fd = kernel_calls.kernel().perf_event_open(
        PERF_TYPE_TRACEPOINT, event.id, sample=1, sample_type=PERF_SAMPLE_RAW
    )
    return perf.attach([fd], program_fd, hook, cookie=cookie, legacy=legacy)


def _exists(file: str) -> bool:
    from probee.sys import tracefs

    return os.path.exists(f"{tracefs.root()}/{file}")


def _pmu_type() -> int | None:
    """The perf event type of kprobes; None where there is none (before Linux 4.17)."""
    try:
        return int(_sysfs("type"))
    except OSError:
        return None


def _sysfs(name: str) -> str:
    fd = os.open(f"{_PMU}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 256).decode().strip()
    finally:
        os.close(fd)
