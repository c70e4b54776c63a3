"""What to do, and what to say, when the kernel refuses a program. Imported only then."""

from __future__ import annotations

import errno
import os
import re
import struct

from probee import sys as kernel_calls
from probee.errors import LoadError, PermissionDenied, Unsupported, VerifierError
from probee.isa.tables import ATTACH_TYPES, MAP_TYPES, PROG_TYPES, name_of
from probee.obj.dwarf import namer
from probee.sys import caps
from probee.sys.bpf import VerifierLog
from probee.verifier.explain import LineTable, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from probee.obj.spec import LinkedProgram, MapSpec, ObjectSpec
    from probee.sys.bpf import ProgAttr
    from probee.verifier.explain import Explanation

# Log levels: every instruction; with every state; only messages and statistics (BPF_LOG_STATS).
_WHOLE, _EVERY_STATE, _VERDICT = 1, 2, 4
_LOG_SIZE = 256 * 1024
_LOG_GROWTH = 8
_LOG_LIMIT = 16 * 1024 * 1024 - 1  # kernels before 5.2 take no more; newer ones keep the end of longer logs
_MEMCG_SINCE = (5, 11)
_MIB = 1 << 20
_SLEEPABLE, _XDP_FRAGS = 1 << 4, 1 << 5  # BPF_F_… at load

_PERFMON_TYPES = frozenset(
    PROG_TYPES[name][0]
    for name in (
        "kprobe",
        "tracepoint",
        "perf_event",
        "raw_tracepoint",
        "raw_tracepoint_writable",
        "tracing",
        "lsm",
        "struct_ops",
        "ext",
    )
)
_NETWORK_TYPES = frozenset(
    PROG_TYPES[name][0]
    for name in (
        "sched_cls",
        "sched_act",
        "xdp",
        "lwt_in",
        "lwt_out",
        "lwt_xmit",
        "lwt_seg6local",
        "sk_skb",
        "sk_msg",
        "sock_ops",
        "flow_dissector",
        "cgroup_device",
        "cgroup_sock",
        "cgroup_sock_addr",
        "cgroup_sockopt",
        "cgroup_sysctl",
        "ext",
        "netfilter",
    )
)
_NETWORK_MAPS = frozenset(
    MAP_TYPES[name][0] for name in ("sockmap", "sockhash", "devmap", "devmap_hash", "xskmap")
)
# What the verifier allows to those only who may see the kernel's addresses.
_EASIER_WITH_PERFMON = ("pointer-arithmetic", "pointer-range", "unset-stack", "helper", "unbounded")


def retry(
    attr: ProgAttr,
    error: OSError,
    spec: ObjectSpec,
    linked: LinkedProgram,
    poisoned: dict[int, str],
    btf_error: str,
) -> tuple[int, str]:
    """Load again with a log. Returns (descriptor, log) if it goes well now; raises the right error if not."""
    kernel = kernel_calls.kernel()
    if error.errno == errno.EPERM and not caps.missing(*needs(attr.type)) and raise_memlock():
        try:
            return kernel.prog_load(attr), ""
        except OSError as again:
            error = again
    number = error.errno or 0
    jumps = back_jumps(linked.insns) if number == errno.E2BIG else None
    # A log of a million instructions takes the kernel ten seconds to write. If there is but one loop that
    # they can be spent in, the verdict alone will do.
    fd, text = _log_of(attr, _VERDICT if jumps is not None and len(jumps) < 2 else _WHOLE)
    if fd >= 0:
        return fd, text
    if number in (errno.EPERM, errno.EACCES) and not text.strip():
        raise _program_denied(attr, number) from None
    if not text.strip():
        lacking = _lacking(attr)
        if lacking is not None:
            raise lacking from None
        raise LoadError(
            f"the kernel refuses program {attr.name} without a word: {os.strerror(number)}", errno=number
        ) from None
    table = LineTable(linked.line_info, spec.btf, linked.endian)
    names = namer(spec, linked)
    found = explain(text, table, poisoned, jumps, names)
    if found.unknown and jumps is None and not found.report:
        found = _with_states(attr, found, table, poisoned, names)
    _surroundings(found)
    message = found.message(attr.name)
    if btf_error:
        message += f" (the kernel had refused the BTF too: {btf_error})"
    place = found.place
    raise VerifierError(
        message,
        errno=number,
        log=text,
        program=attr.name,
        file=place.file if place else "",
        line=place.line if place else 0,
        source=place.source if place else "",
        cause=found.advice(),
        explanation=found,
    ) from None


def _with_states(
    attr: ProgAttr,
    found: Explanation,
    table: LineTable,
    poisoned: dict[int, str],
    names: Callable[[int], dict[str, str]],
) -> Explanation:
    """The same explanation with the states of registers, which kernels before 5.18 write at level 2 only."""
    fd, text = _log_of(attr, _EVERY_STATE)
    if fd >= 0:
        kernel_calls.kernel().close(fd)
        return found
    again = explain(text, table, poisoned, names=names)
    return again if (again.insn, again.id) == (found.insn, found.id) else found


def _lacking(attr: ProgAttr) -> Unsupported | None:
    """What of a program this kernel has never heard of, if that is why it says nothing."""
    from probee.kernel.features import have, missing

    sleepable = "sleepable_uprobe" if attr.type == PROG_TYPES["kprobe"][0] else "sleepable"
    for flag, feature in ((_SLEEPABLE, sleepable), (_XDP_FRAGS, "xdp_frags")):
        if attr.flags & flag and not have(feature):
            return missing(feature, what=f"program {attr.name}")
    from probee.kernel.features.inventory import program_type

    name = name_of(PROG_TYPES, attr.type)
    if name and not program_type(name):
        return _unsupported("program type", name, PROG_TYPES)
    return _unknown_hook(attr)


def _unknown_hook(attr: ProgAttr) -> Unsupported | None:
    from probee.kernel.features.inventory import attach_types

    name = name_of(ATTACH_TYPES, attr.attach_type)
    try:
        known = attach_types()
    except Unsupported:  # no BTF of the kernel's own: nobody can tell
        return None
    return None if known.get(name, True) else _unsupported("attach type", name, ATTACH_TYPES)


def _unsupported(what: str, name: str, table: dict[str, tuple[int, str]]) -> Unsupported:
    since = table[name][1]
    return Unsupported(
        f"this kernel ({os.uname().release}) has no {what} {name}, which came with Linux {since}",
        feature=f"{what} {name}",
        since=since,
    )


def needs(kind: int) -> tuple[int, ...]:
    """The capabilities that loading a program of a type takes."""
    needed = [caps.CAP_BPF]
    if kind in _PERFMON_TYPES:
        needed.append(caps.CAP_PERFMON)
    if kind in _NETWORK_TYPES:
        needed.append(caps.CAP_NET_ADMIN)
    return tuple(needed)


def _program_denied(attr: ProgAttr, number: int) -> PermissionDenied:
    what = f"loading program {attr.name}"
    if attr.token_fd:
        kind = name_of(PROG_TYPES, attr.type)
        return PermissionDenied(
            f"{what} is not permitted by the BPF token: mount its bpffs with delegate_cmds=prog_load, "
            f"delegate_progs={kind} and the attach type in delegate_attachs",
            errno=number,
            reason="token",
        )
    needed = needs(attr.type)
    return _memlock_denied(what, needed) or caps.denied(what, *needed, error=number)


def _surroundings(found: Explanation) -> None:
    """Add to the cause what is not the program's fault: less is allowed here than elsewhere."""
    if found.id == "helper" and "probe_read" in found.last_words and caps.locked_down() == "confidentiality":
        found.cause = "the kernel is locked down (lockdown=confidentiality): no program may read its memory"
        found.fix = "boot without lockdown, or with lockdown=integrity"
    elif found.id in _EASIER_WITH_PERFMON and caps.missing(caps.CAP_PERFMON):
        found.fix += "; CAP_PERFMON is missing here, without which the verifier allows less"


def _log_of(attr: ProgAttr, level: int) -> tuple[int, str]:
    """Load with a log of `level`, in a buffer that grows while it is too small: (descriptor or -1, log)."""
    size = _LOG_SIZE
    while True:
        log = VerifierLog(size, level)
        try:
            return kernel_calls.kernel().prog_load(attr, log), log.text
        except OSError as error:
            if error.errno != errno.ENOSPC or size >= _LOG_LIMIT:
                return -1, log.text
            # The kernel's own figure where it gives one (Linux 6.4); the verdict is at the end of the log.
            size = min(max(log.true_size, size * _LOG_GROWTH), _LOG_LIMIT)


def back_jumps(insns: Buffer) -> list[int]:
    """The instructions that jump backwards, the ends of a program's loops (callbacks are not seen)."""
    found = []
    for index, (opcode, _, offset, immediate) in enumerate(struct.iter_unpack("=BBhi", insns)):
        if opcode & 7 not in (5, 6) or opcode & 0xF0 in (0x80, 0x90):  # jumps, but not call and exit
            continue
        if (immediate if opcode == 0x06 else offset) < 0:  # 0x06: the long jump has its distance in imm
            found.append(index)
    return found


def map_refused(spec: MapSpec) -> PermissionDenied:
    """The error for a map that may not be created."""
    needed = [caps.CAP_BPF]
    if spec.map_type in _NETWORK_MAPS:
        needed.append(caps.CAP_NET_ADMIN)
    what = f"creating map {spec.name}"
    return _memlock_denied(what, needed) or caps.denied(what, *needed)


def _memlock_denied(what: str, needed: Sequence[int]) -> PermissionDenied | None:
    """The error where locked memory is the limit and could not be raised."""
    if caps.missing(*needed) or not _charged():
        return None
    soft, _ = _limit()
    if soft < 0:
        return None
    return PermissionDenied(
        f"{what} takes locked memory on kernels before 5.11, and the limit is {soft / _MIB:g} MiB: raise it "
        "with `ulimit -l unlimited`, or run with CAP_SYS_RESOURCE",
        capability="CAP_SYS_RESOURCE" if caps.missing(caps.CAP_SYS_RESOURCE) else "",
        reason="memlock",
    )


def raise_memlock() -> bool:
    """Lift RLIMIT_MEMLOCK on kernels that charge BPF memory to it (before 5.11). True if it was lifted."""
    if _limit()[0] < 0 or caps.missing(caps.CAP_BPF) or not _charged():
        return False
    import resource

    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        return False
    return True


def _charged() -> bool:
    """Whether BPF memory counts as locked memory."""
    from probee.kernel.features import OLD, POLICY, ask

    answer = ask("memcg_accounting")
    if answer.reason == POLICY:  # where nothing at all may be loaded, be it for want of locked memory
        found = re.match(r"(\d+)\.(\d+)", os.uname().release)
        return found is not None and (int(found[1]), int(found[2])) < _MEMCG_SINCE
    return not answer and answer.reason == OLD


def _limit() -> tuple[int, int]:
    """RLIMIT_MEMLOCK, soft and hard, in bytes; -1 is no limit."""
    import resource

    return resource.getrlimit(resource.RLIMIT_MEMLOCK)
