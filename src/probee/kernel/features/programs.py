"""Probes of what can be loaded as a program."""

from __future__ import annotations

import errno
from struct import pack

from probee import sys as kernel_calls
from probee.kernel.features.attempt import EXIT, NOTHING, ZERO, insn, loads, program, verdict
from probee.sys.bpf import VerifierLog

_SOCKET_FILTER, _KPROBE, _TRACEPOINT, _XDP, _CGROUP_SOCK = 1, 2, 5, 6, 9
_RAW_TP, _RAW_TP_W, _SK_LOOKUP, _SYSCALL, _NETFILTER = 17, 24, 30, 31, 32
_ARRAY = 2
_INET_SOCK_CREATE, _AT_SK_LOOKUP, _AT_XDP, _AT_NETFILTER = 2, 36, 37, 45
_SLEEPABLE, _FRAGS = 1 << 4, 1 << 5
_PROBE_READ_KERNEL, _GET_ATTACH_COOKIE = 113, 174
_LIVE, _NO_SUCH_FLAG = 2, 1 << 31


def helper(kind: int, number: int, **more: int) -> bool:
    """Whether programs of a type may call a helper: it is refused by name, or for its arguments."""
    code, log = verdict(kind, insn(0x85, imm=number) + ZERO + EXIT, **more)
    if code == errno.EPERM and not log:
        raise OSError(code, "BPF_PROG_LOAD")
    return code == 0 or not any(words in log for words in REFUSED_BY_NAME)


REFUSED_BY_NAME = ("invalid func ", "unknown func ", "cannot use helper ")


def _name() -> bool:
    return loads(_SOCKET_FILTER, name="probee")


def _expected() -> bool:
    """An attach type of another kind of program is refused where attach types are looked at."""
    return loads(_CGROUP_SOCK, attach=_INET_SOCK_CREATE) and not loads(_CGROUP_SOCK, attach=_AT_XDP)


def _subprogram() -> bool:
    code = insn(0x85, 0, 1, 0, 1) + EXIT + NOTHING
    return loads(_SOCKET_FILTER, code)


def _bind() -> bool:
    kernel = kernel_calls.kernel()
    fd = program(_SOCKET_FILTER)
    try:
        table = kernel.map_create(_ARRAY, 4, 8, 1)
        try:
            kernel.prog_bind_map(fd, table)
        except OSError as error:
            if error.errno == errno.EPERM:
                raise
            return False
        finally:
            kernel.close(table)
    finally:
        kernel.close(fd)
    return True


def _sleepable() -> bool:
    """Socket filters can't sleep. A kernel that knows the flag says so, an older one is silent."""
    code, log = verdict(_SOCKET_FILTER, flags=_SLEEPABLE)
    if code == errno.EPERM and not log:
        raise OSError(code, "BPF_PROG_LOAD")
    return bool(log.strip())


def _true_size() -> bool:
    log = VerifierLog(4096)
    kernel_calls.kernel().close(program(_SOCKET_FILTER, log=log))
    return log.true_size > 0


def _test_run(kind: int, code: bytes, *, data: bytes = b"", ctx: bytes = b"", **more: int) -> bool:
    kernel = kernel_calls.kernel()
    try:
        fd = program(kind, code, attach=more.pop("attach", 0))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    try:
        kernel.prog_test_run(fd, data, ctx, ctx_out=False, **more)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    finally:
        kernel.close(fd)
    return True


def _kfunc() -> bool:
    """Older kernels refuse the form of the call, newer ones the function."""
    code, log = verdict(_XDP, insn(0x85, 0, 2, 0, 1) + ZERO + EXIT)
    if code == errno.EPERM and not log:
        raise OSError(code, "BPF_PROG_LOAD")
    return "reserved fields" not in log


def _live_xdp() -> bool:
    """Kernels before this flag take every flag, and look at none."""
    return _test_run(_XDP, _DROP, data=bytes(64), flags=_LIVE) and not _test_run(
        _XDP, _DROP, data=bytes(64), flags=_NO_SUCH_FLAG
    )


# struct bpf_sk_lookup: cookie, family, protocol, remote_ip4, remote_ip6[4], remote_port, local_ip4,
# local_ip6[4], local_port, ingress_ifindex
_LOOKUP = pack("=Q3I4I2I4II", 0, 2, 6, 0x0100007F, 0, 0, 0, 0, 0, 0x0100007F, 0, 0, 0, 0, 80)
_DROP = insn(0xB7, 0, 0, 0, 1) + EXIT

PROBES = {
    "prog_name": _name,
    "expected_attach_type": _expected,
    "bpf2bpf": _subprogram,
    "probe_read_kernel": lambda: helper(_TRACEPOINT, _PROBE_READ_KERNEL),
    "prog_bind_map": _bind,
    "bpf_cookie": lambda: helper(_TRACEPOINT, _GET_ATTACH_COOKIE),
    "sleepable": _sleepable,
    "sleepable_uprobe": lambda: loads(_KPROBE, flags=_SLEEPABLE),
    "xdp_frags": lambda: loads(_XDP, _DROP, flags=_FRAGS),
    "log_true_size": _true_size,
    "raw_tp_writable": lambda: loads(_RAW_TP_W),
    "test_run_raw_tp": lambda: _test_run(_RAW_TP, NOTHING, repeat=0),
    "test_run_sk_lookup": lambda: _test_run(_SK_LOOKUP, _DROP, ctx=_LOOKUP, attach=_AT_SK_LOOKUP),
    "test_run_live_xdp": _live_xdp,
    "syscall_prog": lambda: loads(_SYSCALL, flags=_SLEEPABLE),
    "netfilter": lambda: loads(_NETFILTER, _DROP, attach=_AT_NETFILTER),
    "kfunc": _kfunc,
}
