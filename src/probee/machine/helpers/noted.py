"""Helpers whose effect outside of the machine is only noted, in the context's facts, or read from there.

`tunnel` and `tunnel_options` are bytes (of a `struct bpf_tunnel_key`, of options), `branches` those of
perf_branch_entry records, `keys` what an infrared decoder reported, `counter` a perf event's three numbers,
`bprm_options`, `acks`, `pointer` what their helpers were given.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .table import helper

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_U32 = 0xFFFFFFFF
_KEY_SIZES = (6, 8, 12, 16, 20, 24, 28, 44)  # of struct bpf_tunnel_key as it grew
_BRANCH = 24
_GET_SIZE = 1


def _copy(cpu: MachineCpu, found: bytes | None, to: int, size: int) -> int:
    if found is None:
        cpu.memory.write(to, bytes(size))
        return -errno.EINVAL
    cpu.memory.write(to, found[:size].ljust(size, b"\0"))
    return 0


@helper("skb_get_tunnel_key")
def skb_get_tunnel_key(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _copy(cpu, cpu.machine.context_at(cpu, r1).facts.get("tunnel"), r2, r3 & _U32)


@helper("skb_set_tunnel_key")
def skb_set_tunnel_key(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    size = r3 & _U32
    if size not in _KEY_SIZES:
        return -errno.EINVAL
    cpu.machine.context_at(cpu, r1).facts["tunnel"] = cpu.memory.read(r2, size)
    return 0


@helper("skb_get_tunnel_opt")
def skb_get_tunnel_opt(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    found: bytes | None = cpu.machine.context_at(cpu, r1).facts.get("tunnel_options")
    size = r3 & _U32
    if found is None:
        cpu.memory.write(r2, bytes(size))
        return -errno.ENOENT
    if len(found) > size:
        cpu.memory.write(r2, bytes(size))
        return -errno.ENOMEM
    cpu.memory.write(r2, found.ljust(size, b"\0"))
    return len(found)


@helper("skb_set_tunnel_opt")
def skb_set_tunnel_opt(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    size = r3 & _U32
    if size % 4:
        return -errno.EINVAL
    cpu.machine.context_at(cpu, r1).facts["tunnel_options"] = cpu.memory.read(r2, size)
    return 0


@helper("read_branch_records")
def read_branch_records(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    found: bytes | None = cpu.machine.context_at(cpu, r1).facts.get("branches")
    if r4 & ~_GET_SIZE:
        return -errno.EINVAL
    if found is None:
        return -errno.ENOENT
    if r4 & _GET_SIZE:
        return len(found)
    size = r3 & _U32
    if not r2 or size % _BRANCH:
        return -errno.EINVAL
    taken = found[:size]
    cpu.memory.write(r2, taken)
    return len(taken)


@helper("get_branch_snapshot")
def get_branch_snapshot(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    found: bytes | None = cpu.context.facts.get("branches") if cpu.context is not None else None
    if r3:
        return -errno.EINVAL
    if found is None:
        return -errno.ENOENT
    size = (r2 & _U32) // _BRANCH * _BRANCH
    cpu.memory.write(r1, found[:size])
    return len(found[:size])


@helper("perf_prog_read_value")
def perf_prog_read_value(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    numbers = cpu.machine.context_at(cpu, r1).facts.get("counter")
    raw = None if numbers is None else b"".join(int(n).to_bytes(8, "little") for n in numbers)
    return _copy(cpu, raw if r3 & _U32 == 24 else None, r2, r3 & _U32)


@helper("bprm_opts_set")
def bprm_opts_set(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    if r2 & ~1:
        return -errno.EINVAL
    cpu.context.facts["bprm_options"] = r2
    return 0


@helper("tcp_send_ack")
def tcp_send_ack(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    cpu.context.facts.setdefault("acks", []).append(r2 & _U32)
    return 0


@helper("rc_keydown")
def rc_keydown(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    key = {"protocol": r2 & _U32, "scancode": r3, "toggle": r4 & _U32}
    cpu.machine.context_at(cpu, r1).facts.setdefault("keys", []).append(key)
    return 0


@helper("rc_repeat")
def rc_repeat(cpu: MachineCpu, r1: int, *_: int) -> int:
    cpu.machine.context_at(cpu, r1).facts.setdefault("keys", []).append({"repeat": True})
    return 0


@helper("rc_pointer_rel")
def rc_pointer_rel(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    def signed(value: int) -> int:
        value &= _U32
        return value - (1 << 32) if value >> 31 else value

    cpu.machine.context_at(cpu, r1).facts["pointer"] = signed(r2), signed(r3)
    return 0


@helper("get_route_realm")
def get_route_realm(cpu: MachineCpu, r1: int, *_: int) -> int:
    return int(cpu.machine.context_at(cpu, r1).facts.get("realm", 0))
