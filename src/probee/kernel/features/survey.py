"""Everything at once: what `probee feature` shows, in bpftool's JSON fields and ours."""

from __future__ import annotations

import errno
import os

from probee.errors import Unsupported
from probee.isa.tables import ATTACH_TYPES, HELPERS, LINK_TYPES, MAP_TYPES, PROG_TYPES
from probee.kernel import features
from probee.kernel.features import Answer, inventory, system
from probee.sys import caps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

# What bpftool reads of the kernel's configuration, in its order; then what our features depend on.
CONFIG = (
    "CONFIG_BPF",
    "CONFIG_BPF_SYSCALL",
    "CONFIG_HAVE_EBPF_JIT",
    "CONFIG_BPF_JIT",
    "CONFIG_BPF_JIT_ALWAYS_ON",
    "CONFIG_DEBUG_INFO_BTF",
    "CONFIG_DEBUG_INFO_BTF_MODULES",
    "CONFIG_CGROUPS",
    "CONFIG_CGROUP_BPF",
    "CONFIG_CGROUP_NET_CLASSID",
    "CONFIG_SOCK_CGROUP_DATA",
    "CONFIG_BPF_EVENTS",
    "CONFIG_KPROBE_EVENTS",
    "CONFIG_UPROBE_EVENTS",
    "CONFIG_TRACING",
    "CONFIG_FTRACE_SYSCALLS",
    "CONFIG_FUNCTION_ERROR_INJECTION",
    "CONFIG_BPF_KPROBE_OVERRIDE",
    "CONFIG_NET",
    "CONFIG_XDP_SOCKETS",
    "CONFIG_LWTUNNEL_BPF",
    "CONFIG_NET_ACT_BPF",
    "CONFIG_NET_CLS_BPF",
    "CONFIG_NET_CLS_ACT",
    "CONFIG_NET_SCH_INGRESS",
    "CONFIG_XFRM",
    "CONFIG_IP_ROUTE_CLASSID",
    "CONFIG_IPV6_SEG6_BPF",
    "CONFIG_BPF_LIRC_MODE2",
    "CONFIG_BPF_STREAM_PARSER",
    "CONFIG_NETFILTER_XT_MATCH_BPF",
    "CONFIG_BPFILTER",
    "CONFIG_BPFILTER_UMH",
    "CONFIG_TEST_BPF",
    "CONFIG_HZ",
    "CONFIG_BPF_LSM",
    "CONFIG_FPROBE",
    "CONFIG_KPROBES",
    "CONFIG_UPROBES",
    "CONFIG_NETKIT",
    "CONFIG_NET_XGRESS",
    "CONFIG_NETFILTER_BPF_LINK",
    "CONFIG_SCHED_CLASS_EXT",
    "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS",
    "CONFIG_BPF_UNPRIV_DEFAULT_OFF",
    "CONFIG_HID_BPF",
)
# bpftool's names of what it calls miscellaneous.
MISC = {
    "have_large_insn_limit": "large_insn_limit",
    "have_bounded_loops": "bounded_loops",
    "have_v2_isa_extension": "isa_v2",
    "have_v3_isa_extension": "isa_v3",
    "have_v4_isa_extension": "isa_v4",
}


class Survey:
    """What a kernel, or a network device, can do. Made by `survey()`.

    `programs`, `maps`, `map_flags`, `attach_types`, `link_types`, `features`: name → `Answer`.
    `helpers`: program type → names. `system` and `config`: name → value or None.
    """

    def __init__(self) -> None:
        self.ifindex = 0
        self.have_bpf = True
        self.system: dict[str, int | None] = {}
        self.config: dict[str, str] | None = None
        self.lockdown = ""
        self.security_modules: list[str] = []
        self.capabilities: dict[str, bool] = {}
        self.programs: dict[str, Answer] = {}
        self.maps: dict[str, Answer] = {}
        self.helpers: dict[str, list[str]] = {}
        self.attach_types: dict[str, Answer] = {}
        self.link_types: dict[str, Answer] = {}
        self.map_flags: dict[str, Answer] = {}
        self.features: dict[str, Answer] = {}

    def json(self) -> dict[str, Any]:
        """bpftool's object, with our sections after its own."""
        out: dict[str, Any] = {}
        if not self.ifindex:
            configured = self.config or {}
            out["system_config"] = {**self.system, **{name: configured.get(name) for name in CONFIG}}
        out["syscall_config"] = {"have_bpf_syscall": self.have_bpf}
        out["program_types"] = {f"have_{n}_prog_type": bool(a) for n, a in self.programs.items()}
        out["map_types"] = {f"have_{n}_map_type": bool(a) for n, a in self.maps.items()}
        out["helpers"] = {
            f"{kind}_available_helpers": [f"bpf_{name}" for name in names]
            for kind, names in self.helpers.items()
        }
        if self.ifindex:
            return out
        out["misc"] = {name: bool(self.features[ours]) for name, ours in MISC.items()}
        out["attach_types"] = {f"have_{n}_attach_type": bool(a) for n, a in self.attach_types.items()}
        out["link_types"] = {f"have_{n}_link_type": bool(a) for n, a in self.link_types.items()}
        out["map_flags"] = {f"have_{n}_map_flag": bool(a) for n, a in self.map_flags.items()}
        out["features"] = {
            name: {
                "have": answer.yes,
                "since": features.FEATURES[name].since,
                "what": features.FEATURES[name].what,
                "reason": answer.reason,
                "detail": answer.detail,
            }
            for name, answer in self.features.items()
        }
        out["since"] = {group: {n: row[1] for n, row in table.items()} for group, table in _VERSIONS.items()}
        out["security"] = {
            "lockdown": self.lockdown,
            "security_modules": self.security_modules,
            "capabilities": self.capabilities,
        }
        return out


def survey(*, full: bool = False, ifindex: int = 0, unprivileged: bool = False) -> Survey:
    """Ask for everything. Raises `PermissionDenied` where the kernel answers nobody without privilege.

    `full` asks for the helpers too whose mere mention the kernel writes to its log. `ifindex`: what a network
    device takes for offload. `unprivileged`: a kernel that answers nobody without privilege is no error.
    """
    found = Survey()
    found.ifindex = ifindex
    found.have_bpf = system.have_bpf()
    if not ifindex:
        found.system = {name: system.sysctl(name) for name in system.SYSCTLS}
        found.config = system.config()
        found.lockdown = caps.locked_down()
        found.security_modules = system.security_modules()
        found.capabilities = system.capabilities()
    if not found.have_bpf:
        return found
    if not unprivileged:
        _may_ask(found)
    programs: Iterable[str] = inventory.OFFLOADED_PROGRAMS if ifindex else PROG_TYPES
    maps: Iterable[str] = inventory.OFFLOADED_MAPS if ifindex else MAP_TYPES
    for name in programs:
        found.programs[name] = _answer(inventory.program_type, name, ifindex=ifindex)
    for name in maps:
        found.maps[name] = _answer(inventory.map_type, name, ifindex=ifindex)
    for name in programs:
        found.helpers[name] = _helpers(name, full, ifindex) if found.programs[name] else []
    if not ifindex:
        found.map_flags = {name: _answer(inventory.map_flag, name) for name in inventory.MAP_FLAGS}
        found.attach_types = _enumerators(inventory.attach_types, ATTACH_TYPES)
        found.link_types = _enumerators(inventory.link_types, LINK_TYPES)
        found.features = {name: features.ask(name) for name in features.FEATURES}
    return found


def _may_ask(found: Survey) -> None:
    disabled = found.system.get("unprivileged_bpf_disabled")
    if caps.missing(caps.CAP_BPF) and (disabled or (os.geteuid() and disabled is None)):
        raise caps.denied("asking for features", caps.CAP_BPF, caps.CAP_PERFMON, caps.CAP_NET_ADMIN)


def _answer(probe: Callable[..., bool], name: str, **more: int) -> Answer:
    return features.answer_of(lambda: probe(name, **more))


def _helpers(name: str, full: bool, ifindex: int) -> list[str]:
    try:
        return inventory.helpers(name, full=full, ifindex=ifindex)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        return []


def _enumerators(ask: Callable[[], dict[str, bool]], table: dict[str, tuple[int, str]]) -> dict[str, Answer]:
    try:
        return {name: Answer(yes) for name, yes in ask().items()}
    except Unsupported as error:
        return {name: Answer(False, features.UNKNOWN, str(error)) for name in table}


# What probee knows by name, in the kernel's order.
BUILTINS: dict[str, dict[str, tuple[int, str]]] = {
    "prog_types": PROG_TYPES,
    "map_types": MAP_TYPES,
    "attach_types": ATTACH_TYPES,
    "link_types": LINK_TYPES,
    "helpers": {f"bpf_{name}": row for name, row in HELPERS.items()},
}
_FLAGS = {name: (bit, since) for name, (bit, since, _) in inventory.MAP_FLAGS.items()}
_VERSIONS = {**BUILTINS, "map_flags": _FLAGS}
