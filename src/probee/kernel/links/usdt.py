"""USDT: probes that programs were built with; with arguments, as libbpf's `usdt.bpf.h` reads them.

A program finds the place of its arguments in the map `__bpf_usdt_specs`, under a number that is the
attachment's cookie or, before cookies (Linux 5.15), the one that `__bpf_usdt_ip_to_spec_id` has for the
instruction. Both maps are the object's own; their layout is a contract of that header with whoever attaches.
"""

from __future__ import annotations

import errno
import os
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, Unsupported
from probee.kernel.links.base import Link
from probee.kernel.links.uprobe import Point
from probee.symbols import usdt_args as args
from probee.symbols.usdt import Probe, list_probes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.symbols.usdt_args import Argument

SPECS, PLACES = "__bpf_usdt_specs", "__bpf_usdt_ip_to_spec_id"
_MOST_ARGUMENTS = 12
_KINDS = {args.CONSTANT: 0, args.REGISTER: 1, args.MEMORY: 2, args.INDEXED: 3}
_UNREADABLE = 0xFF  # no kind that bpf_usdt_arg knows: it returns -EINVAL
_END = Struct("=Qh6x")
# struct __bpf_usdt_arg_spec up to libbpf 1.6, and since 1.7, where it has a second register.
_OLD, _NEW = Struct("=QIhBB"), Struct("=QBxHxxhBB6x")
_free: dict[int, _Numbers] = {}


class _Numbers:
    """The numbers in use in one map of specs, by the map's id."""

    __slots__ = ("free", "next", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.next = 0
        self.free: list[int] = []

    def take(self, hook: str) -> int:
        if self.free:
            return self.free.pop()
        if self.next >= self.total:
            raise AttachError(
                f"{hook}: {self.total} kinds of places are attached already; the object is to be compiled "
                "with a larger BPF_USDT_MAX_SPEC_CNT",
                hook=hook,
                errno=errno.E2BIG,
            )
        self.next += 1
        return self.next - 1


def attach(
    program_fd: int,
    maps: dict[str, Any],
    binary: str,
    provider: str,
    name: str,
    *,
    pid: int | None = None,
    cookie: int = 0,
) -> Link:
    """Run a program of type `kprobe` at every place of the probe `provider:name` of `binary`.

    `maps` are those of the program's object. All processes, or the one called `pid`.
    """
    from probee.kernel.links import uprobe_multi

    hook = f"usdt {binary or f'process {pid}'}:{provider}:{name}"
    probes = list_probes(binary, provider, name, pid=pid)
    if not probes:
        raise AttachError(_no_probe(binary, provider, name, pid), hook=hook, errno=errno.ENOENT)
    _hasten(probes)
    specs = maps.get(SPECS)
    if specs is None:  # a program that takes no arguments
        points = [Point(p.path, p.offset, cookie, p.semaphore) for p in probes]
        return uprobe_multi.attach(program_fd, points, hook, pid=pid)
    taken = _Taken(maps, hook)
    try:
        points = taken.points(probes, pid, cookie)
        link = uprobe_multi.attach(program_fd, points, hook, pid=pid)
    except BaseException:
        taken.give_back()
        raise
    pins, before = link._pins, link._after

    def after() -> None:
        if not pins:  # a pinned link goes on without us, and needs what it refers to
            taken.give_back()
        if before is not None:
            before()

    link.after_close(after)
    return link


def _hasten(probes: list[Probe]) -> None:
    """Move the probes to nops that the kernel probes without a trap, where both have that."""
    fast = [probe for probe in probes if probe.fast]
    if not fast:
        return
    from probee.sys.uprobe_call import available

    if available():
        for probe in fast:
            probe.address += probe.fast
            probe.offset += probe.fast
            probe.fast = 0


class _Taken:
    """What one link has put into the maps."""

    __slots__ = ("_addresses", "_by_text", "_hook", "_numbers", "_places", "_specs", "_where")

    def __init__(self, maps: dict[str, Any], hook: str) -> None:
        from probee.kernel.features import have

        self._hook = hook
        self._specs = maps[SPECS]
        self._where = maps.get(PLACES)
        self._numbers = _free.setdefault(self._specs.id, _Numbers(self._specs.max_entries))
        self._by_text: dict[tuple[object, ...], int] = {}
        self._places: list[bytes] = []
        self._addresses = not have("bpf_cookie")

    def points(self, probes: list[Probe], pid: int | None, cookie: int) -> list[Point]:
        """Tell the maps of every place. Returns where the uprobes go."""
        points = []
        for probe in probes:
            number = self._spec(probe, cookie)
            if self._addresses:
                self._tell_place(probe, number, pid)
            points.append(Point(probe.path, probe.offset, 0 if self._addresses else number, probe.semaphore))
        return points

    def give_back(self) -> None:
        """Let other links have the numbers."""
        if self._where is not None and not self._where.closed:
            for place in self._places:
                kernel_calls.kernel().map_delete(self._where.fd, place)
        self._places.clear()
        self._numbers.free += self._by_text.values()
        self._by_text.clear()

    def _spec(self, probe: Probe, cookie: int) -> int:
        """The number under which the map has the places of the probe's arguments."""
        arguments = probe.arguments
        if len(arguments) > _MOST_ARGUMENTS:
            raise AttachError(
                f"{self._hook}: the probe has {len(arguments)} arguments; {_MOST_ARGUMENTS} are the most",
                hook=self._hook,
                errno=errno.E2BIG,
            )
        relative = [argument for argument in arguments if argument.symbol]
        # Addresses of data are counted from the probe's own: each place is then a kind of its own.
        key = (probe.text, probe.path, probe.address) if relative else (probe.text,)
        number = self._by_text.get(key)
        if number is None:
            raw = encode(probe, arguments, cookie, self._specs.value_size, self._hook)
            number = self._numbers.take(self._hook)
            self._by_text[key] = number
            kernel_calls.kernel().map_update(self._specs.fd, number.to_bytes(4, "little"), raw)
        return number

    def _tell_place(self, probe: Probe, number: int, pid: int | None) -> None:
        if self._where is None:
            raise Unsupported(
                f"{self._hook}: this kernel has no cookies, and the object has no map {PLACES}",
                feature="bpf_cookie",
                since="5.15",
            )
        place = _loaded_at(probe, pid, self._hook).to_bytes(8, "little")
        try:
            kernel_calls.kernel().map_update(self._where.fd, place, number.to_bytes(4, "little"), 1)
        except OSError as error:
            what = "is attached to already" if error.errno == errno.EEXIST else os.strerror(error.errno or 0)
            raise AttachError(
                f"{self._hook}: the place {probe.path}+{probe.offset:#x} {what}",
                hook=self._hook,
                errno=error.errno or 0,
            ) from None
        self._places.append(place)


def encode(probe: Probe, arguments: list[Argument], cookie: int, size: int, hook: str) -> bytes:
    """A value of the map of specs, `size` bytes (`struct __bpf_usdt_spec`)."""
    for form in (_OLD, _NEW):
        if size == _MOST_ARGUMENTS * form.size + _END.size:
            break
    else:
        raise AttachError(
            f"{hook}: values of {SPECS} have {size} bytes; no version of libbpf's usdt.bpf.h has such",
            hook=hook,
        )
    parts = [_argument(form, argument, probe) for argument in arguments]
    room = form.size * (_MOST_ARGUMENTS - len(parts))
    return b"".join(parts) + bytes(room) + _END.pack(cookie, len(parts))


def _argument(form: Struct, argument: Argument, probe: Probe) -> bytes:
    places = args.registers(probe.machine)
    kind = _KINDS.get(argument.kind, _UNREADABLE)
    value = argument.value if argument.kind == args.CONSTANT else argument.offset
    if argument.symbol:
        address = probe.symbols.get(argument.symbol)
        if address is None:
            kind = _UNREADABLE
        else:  # where the instruction pointer is at the probe
            value = address + argument.offset - probe.address
    if argument.kind == args.INDEXED and form is _OLD:
        kind = _UNREADABLE
    register = places.get(argument.register, 0)
    shift = 64 - 8 * argument.size if argument.size in args.SIZES else 0
    value &= (1 << 64) - 1
    if form is _OLD:
        return form.pack(value, kind, register, argument.signed, shift)
    index = places.get(argument.index, 0) | argument.scale.bit_length() - 1 << 12
    return form.pack(value, kind, index, register, argument.signed, shift)


def _loaded_at(probe: Probe, pid: int | None, hook: str) -> int:
    """The address of the probe's instruction in the process; in all, if the file is loaded at a fixed one."""
    if probe.fixed:
        return probe.address
    if pid is None:
        raise Unsupported(
            f"{hook}: on this kernel, arguments of probes in libraries and position-independent programs "
            "need pid=",
            feature="bpf_cookie",
            since="5.15",
        )
    from probee.symbols.process import file_of, mappings

    for mapping in mappings(pid):
        inside = mapping.offset <= probe.offset < mapping.offset + mapping.end - mapping.start
        if mapping.executable and inside and _same(file_of(pid, mapping), probe.path):
            return mapping.start + probe.offset - mapping.offset
    raise AttachError(f"{hook}: process {pid} has not mapped {probe.path}", hook=hook)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _no_probe(binary: str, provider: str, name: str, pid: int | None) -> str:
    from probee.sys.tracefs import nearest

    known = sorted({f"{probe.provider}:{probe.name}" for probe in list_probes(binary, pid=pid)})
    where = binary or f"process {pid}"
    if not known:
        return f"{where} has no USDT probes"
    near = nearest(f"{provider}:{name}", known)
    return f"no USDT probe {provider}:{name} in {where}; " + (
        f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known[:5])}…"
    )
