"""Kernel functions: what their flags ask of programs, who may call them, what parameters' names say.

BTF tells which functions programs may call (the tag `bpf_kfunc`, Linux 6.10) and their types; their flags are
not in it, so there is a table (`kfunc_table`), checked against the running kernel by a test.
"""

from __future__ import annotations

from probee.isa.helpers.programs import version
from probee.isa.tables import PROG_TYPES
from probee.verifier.kfunc_table import TABLE

_GROUPS = {
    "@tracing": "tracing tracepoint perf_event lsm",
    "@cgroup": "cgroup_skb cgroup_sock cgroup_device cgroup_sock_addr cgroup_sockopt cgroup_sysctl sock_ops",
    "@lwt": "lwt_in lwt_out lwt_xmit lwt_seg6local",
    "any": " ".join(PROG_TYPES),
}
# What the end of a parameter's name says, the longer before the shorter.
SUFFIXES = (
    "__refcounted_kptr",
    "__const_str",
    "__irq_flag",
    "__nullable",
    "__uninit",
    "__alloc",
    "__prog",
    "__szk",
    "__ign",
    "__map",
    "__opt",
    "__str",
    "__sz",
    "__wq",
    "__tw",
    "__k",
)


class Kfunc:
    """A kernel function's flags. `iter` is "new", "next", "destroy" or "".

    `rcu`: arguments may be RCU pointers where `trusted_args` wants trusted ones; `rcu_protected`: to be
    called inside an RCU section, where alone what an iterator gives is valid. `sleepable`: for sleepable
    programs.
    """

    __slots__ = (
        "acquire",
        "destructive",
        "iter",
        "name",
        "programs",
        "rcu",
        "rcu_protected",
        "release",
        "ret_null",
        "since",
        "sleepable",
        "trusted_args",
    )

    def __init__(self, name: str, flags: str, programs: frozenset[str], since: str) -> None:
        told = flags.split()
        self.name = name
        self.programs = programs
        self.since = since
        self.acquire = "acquire" in told
        self.release = "release" in told
        self.ret_null = "ret_null" in told
        self.trusted_args = "trusted_args" in told or "release" in told
        self.rcu = "rcu" in told
        self.rcu_protected = "rcu_protected" in told
        self.sleepable = "sleepable" in told
        self.destructive = "destructive" in told
        self.iter = next((word[5:] for word in told if word.startswith("iter_")), "")

    def __repr__(self) -> str:
        return f"Kfunc({self.name!r})"

    def allowed(self, prog_type: str, *, kernel: str = "6.18") -> bool:
        """Whether programs of a type may call it on Linux `kernel`."""
        return prog_type in self.programs and version(self.since) <= version(kernel)


def _read() -> dict[str, Kfunc]:
    found: dict[str, Kfunc] = {}
    programs: frozenset[str] = frozenset()
    flags = ""
    for line in TABLE.splitlines():
        if line.startswith("for "):
            words = " ".join(_GROUPS.get(word, word) for word in line[4:].split())
            programs = frozenset(words.split())
        elif line.endswith(":"):
            flags = line.strip(" :-")
        else:
            for word in line.split():
                name, _, since = word.partition("@")
                found[name] = Kfunc(name, flags, programs, since or "6.1")
    return found


KFUNCS: dict[str, Kfunc] = _read()


def suffix(parameter: str) -> str:
    """What a parameter's name says of the argument (`__sz`, `__k`, …); "" if nothing."""
    for ending in SUFFIXES:
        if parameter.endswith(ending):
            return ending
    return ""
