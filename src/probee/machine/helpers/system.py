"""Helpers that reach the rest of the system: symbols, BTF, bpf(2), paths, variables of each CPU."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING, Any

from .reading import fetch
from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_ELEM = struct.Struct("<I4xQQQ")
_CREATE = struct.Struct("<IIIIIIi16s")
_MAP_CREATE, _LOOKUP, _UPDATE, _DELETE, _NEXT_KEY = range(5)
_TAKE, _FREEZE = 21, 22


def _text(cpu: MachineCpu, address: int, size: int) -> str | None:
    raw = cpu.memory.read(address, size)
    return raw[:-1].decode("utf-8", "replace") if size > 1 and raw[-1:] == b"\0" else None


@helper("kallsyms_lookup_name")
def kallsyms_lookup_name(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    """From the machine's `symbols`."""
    cpu.memory.store(r4, 8, 0)
    name = None if r3 else _text(cpu, r1, r2 & 0xFFFFFFFF)
    if name is None:
        return -errno.EINVAL
    found = cpu.machine.symbols.get(name.partition("\0")[0])
    if found is None:
        return -errno.ENOENT
    cpu.memory.store(r4, 8, found)
    return 0


@helper("btf_find_by_name_kind")
def btf_find_by_name_kind(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    name = None if r4 else _text(cpu, r1, r2 & 0xFFFFFFFF)
    if name is None:
        return -errno.EINVAL
    btf = cpu.machine.btf
    found = None if btf is None else btf.find(name.partition("\0")[0], r3 & 0xFFFFFFFF)
    return -errno.ENOENT if found is None else found


@helper("sys_bpf")
def sys_bpf(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    """The commands on maps."""
    command = r1 & 0xFFFFFFFF
    attr = cpu.memory.read(r2, r3 & 0xFFFFFFFF).ljust(128, b"\0")
    try:
        return _bpf(cpu, command, attr)
    except OSError as e:
        return -(e.errno or errno.EINVAL)


def _bpf(cpu: MachineCpu, command: int, attr: bytes) -> int:
    calls = cpu.machine.syscalls
    if command == _MAP_CREATE:
        kind, key, value, entries, flags, inner, _, name = _CREATE.unpack_from(attr)
        text = name.rstrip(b"\0").decode("utf-8", "replace")
        fd = calls.map_create(kind, key, value, entries, flags=flags, inner_fd=inner, name=text)
        made = calls.find_map(fd)
        cpu.machine.maps_by_address[made.address] = made
        return fd
    fd, key_at, value_at, flags = _ELEM.unpack_from(attr)
    if command == _FREEZE:
        calls.map_freeze(fd)
        return 0
    if command not in (_LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _TAKE):
        return -errno.EINVAL
    m = calls.find_map(fd)
    key_bytes = fetch(cpu, key_at, m.key_size, "any") if key_at and m.key_size else b""
    if key_bytes is None:
        return -errno.EFAULT
    if command == _UPDATE:
        value_bytes = fetch(cpu, value_at, m.span, "any")
        if value_bytes is None:
            return -errno.EFAULT
        calls.map_update(fd, key_bytes, value_bytes, flags)
        return 0
    if command == _DELETE:
        return 0 if calls.map_delete(fd, key_bytes) else -errno.ENOENT
    found: bytes | None
    if command == _NEXT_KEY:
        found = calls.map_next_key(fd, key_bytes if key_at else None, m.key_size)
    elif command == _TAKE:
        found = calls.map_lookup_and_delete(fd, key_bytes, m.span, flags)
    else:
        found = calls.map_lookup(fd, key_bytes, m.span, flags)
    if found is None:
        return -errno.ENOENT
    cpu.memory.write(value_at, found)
    return 0


@helper("sys_close")
def sys_close(cpu: MachineCpu, r1: int, *_: int) -> int:
    try:
        cpu.machine.syscalls.close(r1 & 0xFFFFFFFF)
    except OSError as e:
        return -(e.errno or errno.EBADF)
    return 0


def path_text(cpu: MachineCpu, address: int) -> str | None:
    """What a `struct path` names: from the machine's `paths`, else along its dentries."""
    machine = cpu.machine
    known = machine.paths.get(address)
    if known is not None or machine.kernel is None:
        return known
    from ..kernel_memory import KernelError, Object

    try:
        dentry: Any = Object(machine.kernel, address, machine.kernel.type_id("struct path")).dentry
        names: list[str] = []
        while dentry is not None and int(dentry) and len(names) < 256:
            above = dentry.d_parent
            if above is None or not int(above) or int(above) == int(dentry):
                break
            raw = cpu.memory.read_string(int(dentry["d_name"].name), 256)
            names.append(raw.decode("utf-8", "replace"))
            dentry = above
    except (KernelError, TypeError, AttributeError):
        return None
    return "/" + "/".join(reversed(names))


@helper("d_path")
def d_path(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    size = r3 & 0xFFFFFFFF
    if not size:
        return 0
    text = path_text(cpu, r1)
    if text is None:
        return -errno.EINVAL
    raw = text.encode() + b"\0"
    if len(raw) > size:
        return -errno.ENAMETOOLONG
    cpu.memory.write(r2, raw)
    return len(raw)


@helper("per_cpu_ptr")
def per_cpu_ptr(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    """Variables with one copy for each CPU are in the machine's `per_cpu`: copies by the variable's
    address."""
    number = r2 & 0xFFFFFFFF
    copies = cpu.machine.per_cpu.get(r1)
    if number >= cpu.machine.home.cpus:
        return 0
    return r1 if copies is None else copies[number]


@helper("this_cpu_ptr")
def this_cpu_ptr(cpu: MachineCpu, r1: int, *_: int) -> int:
    copies = cpu.machine.per_cpu.get(r1)
    return r1 if copies is None else copies[cpu.number]
