"""What to write to run a program: the event that a test or a scenario would fire for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ProbeeError

if TYPE_CHECKING:
    from .load import Program
    from .machine import Machine

_FEW = 3  # arguments shown
# By program type (linux/bpf.h).
_BY_TYPE = {
    1: "m.skb(packet)",
    3: "m.tc(packet)",
    4: "m.tc(packet)",
    6: "m.xdp(packet)",
    7: 'm.fire("perf_event", stack=[0x1000])',
    8: "m.skb(packet)",
    10: "m.skb(packet)",
    11: "m.skb(packet)",
    12: "m.skb(packet)",
    13: "m.sock_ops(3)",
    14: "m.skb(packet)",
    15: 'm.device(1, 5, access="read")',
    16: 'm.sk_msg(b"data")',
    19: "m.skb(packet)",
    20: "m.lirc(500)",
    21: "m.sk_reuseport(packet)",
    22: "m.flow_dissector(packet)",
    23: 'm.sysctl("kernel/hostname", "value")',
    30: 'm.sk_lookup(("127.0.0.1", 80), ("127.0.0.1", 4000))',
    32: "m.netfilter(packet)",
}
_CGROUP = {
    "sock_create": "m.sock_create()",
    "sock_release": "m.sock_release()",
    "post_bind4": 'm.post_bind("127.0.0.1", 80)',
    "post_bind6": 'm.post_bind("::1", 80)',
    "setsockopt": "m.setsockopt(6, 1, 1)",
    "getsockopt": "m.getsockopt(6, 1, 1)",
}
_ADDRESSES = {"4": '"127.0.0.1", 80', "6": '"::1", 80', "x": '"/run/a.sock", 0'}


def event_for(machine: Machine, program: Program) -> str:
    """A line of Python that runs a program, with `…` for what it is given."""
    kind, target = program.kind.partition(".")[0], program.target
    if kind in ("tp", "tracepoint"):
        return _tracepoint(machine, target)
    if program.type in _BY_TYPE:
        return _BY_TYPE[program.type]
    if kind.startswith("cgroup/"):
        what = kind.partition("/")[2]
        if what in _CGROUP:
            return _CGROUP[what]
        return f"m.{what.rstrip('46').removesuffix('_unix')}({_ADDRESSES[what[-1]]})"
    if kind in ("uprobe", "uretprobe", "usdt", "syscall"):
        return f'm.fire("{program.name}", …)'
    if kind == "iter":
        return f'm.iterate("{target}")' if "map" not in target else f"m.iterate({program.name}, the_map)"
    if kind in ("ksyscall", "kretsyscall"):
        return f'm.fire("{kind}:{target}", …)'
    if kind == "struct_ops":
        return f'm.call("…", "{program.name}", …)'
    if target in ("sys_enter", "sys_exit"):
        return 'm.syscall("openat", -100, "/etc/hosts", ret=3)'
    result = ["result=0"] if kind in ("fexit", "kretprobe") else []
    names = [] if kind == "kretprobe" else _parameters(machine, program)
    event = f"{kind}:{target}" if kind not in ("tp_btf", "raw_tp", "raw_tracepoint") else target
    by_name = kind in ("fentry", "fexit", "kprobe", "lsm") and "…" not in names
    given = [f"{name}=…" if by_name else "…" for name in names]
    return f"m.fire({', '.join([repr(event).replace(chr(39), chr(34)), *given, *result])})"


def _parameters(machine: Machine, program: Program) -> list[str]:
    found = machine._params(program)
    return [name or "…" for name, _ in found[0]][:_FEW] if found is not None else ["…"]


def _tracepoint(machine: Machine, target: str) -> str:
    group, _, event = target.partition("/")
    try:
        fields = machine.types.fields(group, event)
    except ProbeeError:
        fields = []
    if group == "syscalls":
        names = [f.name for f in fields if not f.name.startswith(("common_", "__"))][:_FEW]
        call = event.partition("_")[2].partition("_")[2]
        return f'm.syscall("{call}", {", ".join(f"{name}=…" for name in names)})'
    names = [f.name for f in fields if not f.name.startswith("common_")][:_FEW]
    return f"m.fire({', '.join([chr(34) + group + ':' + event + chr(34), *(f'{name}=…' for name in names)])})"
