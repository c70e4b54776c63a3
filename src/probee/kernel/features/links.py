"""Probes of hooks: how a program can be attached. Nothing stays attached, and little ever is.

Most questions are answered by the order in which the kernel looks at its arguments: one is wrong on
purpose, and the kernel can only complain about if it knows the hook.
"""

from __future__ import annotations

import errno
import os
from struct import pack

from probee import sys as kernel_calls
from probee.kernel.features.attempt import DENIED, NOTHING, ONE, creates, link_errno, loads, program, verdict
from probee.kernel.features.maps import typed
from probee.sys.native import Scratch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.kernel.features import Answer

_KPROBE, _CLS, _TRACEPOINT, _XDP, _CGROUP_SKB, _CGROUP_SOCK, _CGROUP_ADDR = 2, 3, 5, 6, 8, 9, 18
_SK_MSG, _FLOW_DISSECTOR, _TRACING, _EXT, _LSM, _NETFILTER = 16, 22, 26, 28, 29, 32
_STRUCT_OPS_MAP = 26
# enum bpf_attach_type
_AT = {
    "raw_tp": 23,
    "fentry": 24,
    "fmod_ret": 26,
    "lsm": 27,
    "iter": 28,
    "xdp": 37,
    "perf": 41,
    "kprobe_multi": 42,
    "lsm_cgroup": 43,
    "struct_ops": 44,
    "netfilter": 45,
    "tcx": 46,
    "uprobe_multi": 48,
    "unix": 49,
    "netkit": 54,
    "kprobe_session": 56,
    "uprobe_session": 57,
}
_NO_INTERFACE = 0x7FFFFFFF
_XDP_DRIVER_MODE = 1 << 2
_NOWHERE = 1  # an address that nobody can read
_STRUCT, _ENUM, _TYPEDEF, _FUNC = 4, 6, 8, 12
_PMU = "/sys/bus/event_source/devices/"


def _with(
    kind: int, ask: Callable[[int], bool], code: bytes = NOTHING, attach: int = 0, btf_id: int = 0
) -> bool:
    """Load a program, ask with its descriptor, close it. A program that does not load is a no."""
    try:
        fd = program(kind, code, attach=attach, btf_id=btf_id)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    try:
        return ask(fd)
    finally:
        kernel_calls.kernel().close(fd)


def _answers(
    target: int, attach: int, *expected: int, flags: int = 0, extra: bytes = b""
) -> Callable[[int], bool]:
    """A question: does a link to `target` fail with one of the `expected` errnos?"""

    def ask(fd: int) -> bool:
        number = link_errno(fd, target, attach, flags=flags, extra=extra)
        if number in DENIED and number not in expected:
            raise OSError(number, "BPF_LINK_CREATE")
        return number in expected

    return ask


# ---- kprobes, uprobes, perf events


def _tracefs(name: str) -> bool:
    roots = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
    return any(os.path.exists(f"{root}/{name}") for root in roots)


def _kprobe() -> bool:
    return os.path.exists(_PMU + "kprobe/type") or _tracefs("kprobe_events")


def _uprobe() -> bool:
    return os.path.exists(_PMU + "uprobe/type") or _tracefs("uprobe_events")


def _perf_link() -> bool:
    return _with(_TRACEPOINT, _answers(-1, _AT["perf"], errno.EBADF))


def _kprobe_multi(name: str) -> bool:
    """Flags, count, symbols, addresses: reading these is the last step before the functions are looked up."""
    extra = pack("=IIQQQ", 0, 1, 0, _NOWHERE, 0)
    return _with(_KPROBE, _answers(0, _AT[name], errno.EFAULT, extra=extra), attach=_AT[name])


def _uprobe_multi(name: str) -> bool:
    """A path that is a folder, where a file is wanted."""
    path, offset = Scratch(8), Scratch(8)
    path.view[:2] = b"/\0"
    extra = pack("=QQQQIII4x", path.address, offset.address, 0, 0, 1, 0, 0)
    return _with(_KPROBE, _answers(0, _AT[name], errno.EBADF, extra=extra), attach=_AT[name])


# ---- hooks found by BTF


def kernel_id(name: str, kind: int) -> int:
    """The id of a type of the kernel, 0 if there is none."""
    from probee.btf import kernel_btf

    return kernel_btf().find(name, kind) or 0


def _constant(enum: str, name: str) -> bool:
    """Whether the kernel's headers had an enumerator when it was built."""
    from probee.btf import kernel_btf

    btf = kernel_btf()
    found = btf.find(enum, _ENUM)
    return found is not None and any(known == name for known, _ in btf.type(found).enumerators)


def _traces(attach: int, function: str, code: bytes = NOTHING) -> bool:
    """Load a program for a function of the kernel and attach it for a moment: the JIT may lack the means."""
    target = kernel_id(function, _FUNC)
    if not target:
        return False
    return _with(_TRACING, _opens, code, attach, target)


def _fmod_ret() -> bool:
    """Security hooks may be replaced on every kernel that has these programs. It is not attached."""
    target = kernel_id("security_socket_bind", _FUNC)
    return bool(target) and loads(_TRACING, attach=_AT["fmod_ret"], btf_id=target)


def _opens(fd: int) -> bool:
    kernel = kernel_calls.kernel()
    try:
        kernel.close(kernel.raw_tracepoint_open(fd))
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return error.errno == errno.EBUSY
    return True


def _tp_btf() -> bool:
    target = kernel_id("btf_trace_sched_switch", _TYPEDEF)
    return bool(target) and loads(_TRACING, attach=_AT["raw_tp"], btf_id=target)


def _lsm(attach: str, code: bytes = NOTHING) -> bool | Answer:
    target = kernel_id("bpf_lsm_socket_bind", _FUNC)
    if not target or not loads(_LSM, code, attach=_AT[attach], btf_id=target):
        return False
    from probee.kernel.features import CONFIG, Answer
    from probee.kernel.features.system import security_modules

    modules = security_modules()
    if modules and "bpf" not in modules:
        running = ",".join(modules)
        return Answer(False, CONFIG, f"bpf is not among the security modules that run here ({running})")
    return True


def _iterates(target: str) -> bool:
    found = kernel_id(f"bpf_iter_{target}", _FUNC)
    return bool(found) and loads(_TRACING, attach=_AT["iter"], btf_id=found)


def _freplace() -> bool | Answer:
    """A program type needs a target to be loaded; without one the kernel that knows it says what is wrong."""
    number, log = verdict(_EXT, btf_id=1)
    if number == errno.EPERM and not log:
        raise OSError(number, "BPF_PROG_LOAD")
    return bool(log.strip())


def _struct_ops() -> bool:
    """A map for the operations of TCP congestion control, not registered."""
    found = kernel_id("bpf_struct_ops_tcp_congestion_ops", _STRUCT)
    if not found:
        return False
    from probee.btf import kernel_btf

    size = kernel_btf().type(found).size
    types = typed()  # any BTF will do
    try:
        return creates(_STRUCT_OPS_MAP, 4, size, 1, vmlinux_value_type_id=found, btf_fd=types)
    finally:
        kernel_calls.kernel().close(types)


# ---- network and cgroups


def _xdp_link() -> bool:
    """The loopback interface has no driver for XDP, and another program may be there."""
    expected = (errno.EOPNOTSUPP, errno.EBUSY, errno.EEXIST)
    return _with(_XDP, _answers(1, _AT["xdp"], *expected, flags=_XDP_DRIVER_MODE), ONE, _AT["xdp"])


def _no_device(name: str) -> bool:
    return _with(_CLS, _answers(_NO_INTERFACE, _AT[name], errno.ENODEV), attach=_AT[name])


def _netfilter_link() -> bool:
    """Protocol family 255 has no hooks."""
    extra = pack("=IIiI", 255, 0, 0, 0)
    ask = _answers(0, _AT["netfilter"], errno.EAFNOSUPPORT, extra=extra)
    return _with(_NETFILTER, ask, ONE, _AT["netfilter"])


def _cgroup_link() -> bool:
    return _with(_CGROUP_SKB, _answers(-1, 0, errno.EBADF), ONE)


def _netns_link() -> bool:
    return _with(_FLOW_DISSECTOR, _answers(-1, 17, errno.EBADF), attach=17)


def _sockmap_link() -> bool:
    return _with(_SK_MSG, _answers(-1, 7, errno.EBADF), ONE)


def _knows(call: Callable[[], object], *expected: int) -> bool:
    """Whether a command fails with one of the `expected` errnos, or does not fail."""
    try:
        call()
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return error.errno in expected
    return True


def _stats() -> bool:
    kernel = kernel_calls.kernel()
    return _knows(lambda: kernel.close(kernel.enable_stats()))


def _cgroup_multi() -> bool:
    """The flag is checked before the program."""
    kernel = kernel_calls.kernel()
    return _knows(lambda: kernel.prog_attach(-1, -1, 0, flags=2), errno.EBADF)


PROBES = {
    "kprobe": _kprobe,
    "kprobe_pmu": lambda: os.path.exists(_PMU + "kprobe/type"),
    "uprobe": _uprobe,
    "uprobe_pmu": lambda: os.path.exists(_PMU + "uprobe/type"),
    "uprobe_ref_ctr": lambda: os.path.exists(_PMU + "uprobe/format/ref_ctr_offset"),
    "link": _cgroup_link,
    "link_detach": lambda: _knows(lambda: kernel_calls.kernel().link_detach(-1), errno.EBADF),
    "perf_link": _perf_link,
    "kprobe_multi": lambda: _kprobe_multi("kprobe_multi"),
    "kprobe_session": lambda: _kprobe_multi("kprobe_session"),
    "uprobe_multi": lambda: _uprobe_multi("uprobe_multi"),
    "uprobe_session": lambda: _uprobe_multi("uprobe_session"),
    "tp_btf": _tp_btf,
    "fentry": lambda: _traces(_AT["fentry"], "bpf_fentry_test1"),
    "fmod_ret": _fmod_ret,
    "freplace": _freplace,
    "lsm": lambda: _lsm("lsm"),
    "lsm_cgroup": lambda: _lsm("lsm_cgroup", ONE),
    "iter": lambda: _iterates("bpf_map"),
    "iter_task_vma": lambda: _iterates("task_vma"),
    "iter_cgroup": lambda: _iterates("cgroup"),
    "iter_kmem_cache": lambda: _iterates("kmem_cache"),
    "struct_ops": _struct_ops,
    "struct_ops_link": lambda: _constant("bpf_attach_type", "BPF_STRUCT_OPS"),
    "sched_ext": lambda: bool(kernel_id("bpf_struct_ops_sched_ext_ops", _STRUCT)),
    "xdp_link": _xdp_link,
    "tcx": lambda: _no_device("tcx"),
    "netkit": lambda: _no_device("netkit"),
    "netfilter_link": _netfilter_link,
    "netns_link": _netns_link,
    "sockmap_link": _sockmap_link,
    "cgroup_multi": _cgroup_multi,
    "cgroup_sock_release": lambda: loads(_CGROUP_SOCK, ONE, attach=34),
    "cgroup_unix": lambda: loads(_CGROUP_ADDR, ONE, attach=_AT["unix"]),
    "enable_stats": _stats,
    "task_fd_query": lambda: _knows(lambda: kernel_calls.kernel().task_fd_query(os.getpid(), 0)),
}
