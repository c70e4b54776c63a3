"""What the Linux versions that verdicts are asked for have: features of the verifier and of programs.

Types of programs, maps and attachment and the helpers come from `isa.tables` and `isa.helpers`, kernel
functions from `kfunc_rules`; here is what else decides whether a kernel takes a program:
`Rules("5.10").has("bpf_loop")`.
"""

from __future__ import annotations

import os
import re

from probee.errors import ProbeeError
from probee.isa.helpers.programs import allowed, version
from probee.isa.tables import ATTACH_TYPES, HELPERS, MAP_TYPES, PROG_TYPES
from probee.verifier.kfunc_rules import KFUNCS

KNOWN = ("5.10", "6.1", "6.12", "6.18")

# Feature -> the first Linux version that has it.
FEATURES: dict[str, str] = {
    # instructions
    "jmp32": "5.1",
    "fetching_atomics": "5.12",
    "cpu_v4": "6.6",
    "may_goto": "6.9",
    "addr_space_cast": "6.9",
    "percpu_address": "6.10",
    "load_acquire": "6.15",
    "gotox": "6.19",
    # loops and functions
    "million_instructions": "5.2",
    "bounded_loops": "5.3",
    "global_functions": "5.6",
    "tail_calls_with_subprograms": "5.10",
    "callbacks": "5.13",
    "global_function_memory": "5.12",
    "global_function_tags": "6.8",
    "bpf_loop": "5.17",
    "open_iterators": "6.4",
    "callbacks_checked_twice": "6.8",
    "exceptions": "6.7",
    "private_stacks": "6.13",
    # data
    "btf_pointers": "5.5",
    "kfuncs": "5.13",
    "tracing_kfuncs": "5.18",
    "dynptr": "5.19",
    "kptr": "5.19",
    "timers": "5.15",
    "trusted_pointers": "6.2",
    "rcu_sections": "6.2",
    "local_objects": "6.2",
    "graph_roots": "6.3",
    "arena": "6.9",
    "work_queues": "6.10",
    "preempt_sections": "6.10",
    "irq_sections": "6.14",
    "res_spin_lock": "6.15",
    "uninitialised_stack_reads": "6.3",
    "sleepable_programs": "5.10",
    "xdp_fragments": "5.18",
    "maybe_null_tracepoint_arguments": "6.13",
    "lsm_return_ranges": "6.12",
    "linked_scalars_with_offsets": "6.11",
}


class Rules:
    """One kernel's rules. `version` is the Linux version that counts ("6.18")."""

    __slots__ = ("_numbers", "version")

    def __init__(self, kernel: str = "live") -> None:
        """`kernel`: a version of Linux (5.10 or later) or "live". Raises ProbeeError for anything else."""
        told = running() if kernel == "live" else kernel
        if not re.fullmatch(r"\d{1,3}\.\d{1,3}", told):
            raise ProbeeError(f"{kernel!r} is no Linux version: say {', '.join(KNOWN)} or live")
        self.version = told
        self._numbers = version(told)
        if self._numbers < (5, 10):
            raise ProbeeError(f"the rules of Linux {told} are not known; the oldest are those of 5.10")

    def __repr__(self) -> str:
        return f"Rules({self.version!r})"

    def since(self, first: str) -> bool:
        """Whether this kernel is `first` or newer."""
        return self._numbers >= version(first)

    def has(self, feature: str) -> bool:
        """Whether this kernel has one of `FEATURES`. Raises KeyError for a name that is not one."""
        return self.since(FEATURES[feature])

    def has_prog_type(self, name: str) -> bool:
        return name in PROG_TYPES and self.since(PROG_TYPES[name][1])

    def has_map_type(self, name: str) -> bool:
        return name in MAP_TYPES and self.since(MAP_TYPES[name][1])

    def has_attach_type(self, name: str) -> bool:
        return name in ATTACH_TYPES and self.since(ATTACH_TYPES[name][1])

    def has_helper(self, name: str) -> bool:
        return name in HELPERS and self.since(HELPERS[name][1])

    def may_call(self, helper: str, prog_type: str, attach_type: str = "", *, struct_ops: str = "") -> bool:
        """Whether programs of a type may call a helper here."""
        return allowed(helper, prog_type, attach_type, kernel=self.version, struct_ops=struct_ops)

    def may_call_kfunc(self, name: str, prog_type: str) -> bool:
        found = KFUNCS.get(name)
        return found is not None and found.allowed(prog_type, kernel=self.version)


def running() -> str:
    """The running Linux's version as "6.18"; the newest known one where this is no Linux."""
    told = re.match(r"(\d+\.\d+)", os.uname().release) if hasattr(os, "uname") else None
    if told is None or os.uname().sysname != "Linux":
        return KNOWN[-1]
    return told[1]
