"""BPF_PROG_TEST_RUN: programs run without their hooks, with data and contexts of the caller's."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import LoadError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.program import Program

# enum bpf_prog_type
_SOCKET_FILTER, _SCHED_CLS, _SCHED_ACT, _XDP = 1, 3, 4, 6
_RAW_TRACEPOINT, _FLOW_DISSECTOR, _RAW_WRITABLE, _TRACING, _SK_LOOKUP, _SYSCALL = 17, 22, 24, 26, 30, 31
_CGROUP_SKB, _LWT_IN, _LWT_OUT, _LWT_XMIT, _NETFILTER = 8, 10, 11, 12, 32
_PACKETS = {
    _SOCKET_FILTER,
    _SCHED_CLS,
    _SCHED_ACT,
    _XDP,
    _FLOW_DISSECTOR,
    _CGROUP_SKB,
    _LWT_IN,
    _LWT_OUT,
    _LWT_XMIT,
    _NETFILTER,
}
BPF_F_TEST_RUN_ON_CPU = 1
BPF_F_TEST_XDP_LIVE_FRAMES = 2
BPF_F_TEST_SKB_CHECKSUM_COMPLETE = 4
_ENOTSUPP = 524
_TAIL_ROOM = 256  # bytes a test run's data may grow by
_ETHERNET = 14


class RunResult(tuple[int, bytes, int]):
    """(return value, data, nanoseconds per run), by name too; `ctx` is the context as the program left it."""

    ctx: bytes

    @property
    def retval(self) -> int:
        return self[0]

    @property
    def data(self) -> bytes:
        return self[1]

    @property
    def duration(self) -> int:
        return self[2]


def run(
    program: Program,
    data: bytes,
    ctx: bytes,
    repeat: int,
    cpu: int | None,
    flags: int,
    batch_size: int,
    out_size: int | None,
) -> RunResult:
    """`Program.test_run`."""
    kind = program.type
    live = bool(flags & BPF_F_TEST_XDP_LIVE_FRAMES)
    raw = kind in (_RAW_TRACEPOINT, _RAW_WRITABLE)
    if cpu is not None:
        flags |= BPF_F_TEST_RUN_ON_CPU
    context = bytearray(ctx)  # a syscall program's changes come back in place
    in_place = kind == _SYSCALL
    if out_size is None:
        out_size = len(data) + _TAIL_ROOM if data and not live else 0
    try:
        done = kernel_calls.kernel().prog_test_run(
            program.fd,
            data,
            context,
            repeat=0 if raw or in_place else repeat,
            out_size=out_size,
            ctx_out=not (raw or live or in_place),
            flags=flags,
            cpu=cpu or 0,
            batch_size=batch_size,
        )
    except OSError as error:
        raise _refused(program, error, data, ctx, flags) from None
    result = RunResult((done.retval, done.data, done.duration))
    result.ctx = bytes(context) if in_place else done.ctx
    return result


def _refused(program: Program, error: OSError, data: bytes, ctx: bytes, flags: int) -> Exception:
    number = error.errno or 0
    section = f"section {program.section!r}" if program.section else f"type {program.type}"
    if number in (_ENOTSUPP, errno.EOPNOTSUPP):
        return Unsupported(f"the kernel can't test-run programs in {section}", feature="BPF_PROG_TEST_RUN")
    if number in (errno.EPERM, errno.EACCES):
        from probee.sys import caps

        return caps.denied(f"a test run of {program.name}", caps.CAP_BPF, caps.CAP_PERFMON, error=number)
    reason = os.strerror(number)
    if number == errno.EINVAL:
        if program.type in _PACKETS and len(data) < _ETHERNET:
            reason = f"the packet has {len(data)} bytes, the kernel wants an Ethernet header, 14, at least"
        elif ctx and program.type in _PACKETS:
            reason = "the context sets a field that a test run can't set, or doesn't fit the packet"
        elif program.type == _SK_LOOKUP and not ctx:
            reason = "programs of this kind want a context (ctx=), struct bpf_sk_lookup"
        elif flags:
            reason = "the kernel takes no such flags for this kind of program"
    elif number == errno.ENXIO:
        reason = "no such CPU is online"
    elif number == errno.ENOSPC:
        reason = "what comes back is longer than out_size"
    elif number == errno.E2BIG:
        reason = "the context is longer than the kernel knows"
    return LoadError(f"test run of {program.name} failed: {reason}", errno=number)
