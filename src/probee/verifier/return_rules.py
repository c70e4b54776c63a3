"""The values that programs may return, by program type and attach type.

Source: the kernel's check of return codes, 5.10 to 6.18. 0 and 1 is what most cgroup hooks take.
"""

from __future__ import annotations

from probee.isa.helpers.programs import version
from probee.isa.tables import ATTACH_TYPES, PROG_TYPES, name_of

_ERRNO = 4095  # MAX_ERRNO
_BOOLS = ("cgroup_skb", "cgroup_sock", "sock_ops", "cgroup_device", "cgroup_sysctl", "cgroup_sockopt")
_ONE_ONLY = (
    "udp4_recvmsg udp6_recvmsg unix_recvmsg inet4_getpeername inet6_getpeername unix_getpeername "
    "inet4_getsockname inet6_getsockname unix_getsockname"
)
# LSM hooks that answer yes or no; the others return 0 or a negative errno.
_BOOL_HOOKS = ("xfrm_state_pol_flow_match", "audit_rule_known", "inode_xattr_skipcap")


class ReturnRule:
    """Values from `low` to `high`. `bits32`: only the lower half of r0 counts. `checked` is False where any
    value will do, and `read` where r0 needn't even be set.
    """

    __slots__ = ("bits32", "checked", "high", "low", "read")

    def __init__(self, low: int = 0, high: int = 1, *, bits32: bool = False, checked: bool = True) -> None:
        self.low = low
        self.high = high
        self.bits32 = bits32
        self.checked = checked
        self.read = True

    def __repr__(self) -> str:
        return f"ReturnRule({self.low}, {self.high})" if self.checked else "ReturnRule(any)"


def return_rule(
    prog_type: int | str,
    attach_type: int | str = "",
    *,
    hook: str = "",
    void: bool = False,
    typed: bool = False,
    kernel: str = "6.18",
) -> ReturnRule:
    """What a program may return.

    `hook` is an LSM program's hook (`file_open`), `void` says that the function it or a struct_ops program
    stands for returns nothing, `typed` that a raw tracepoint program has an attach_btf_id.
    """
    prog = prog_type if isinstance(prog_type, str) else name_of(PROG_TYPES, prog_type)
    attach = attach_type if isinstance(attach_type, str) else name_of(ATTACH_TYPES, attach_type)
    attach = attach.removeprefix("cgroup_")
    since = version(kernel)
    if prog == "cgroup_sock_addr":
        return _sock_addr(attach, since)
    if prog == "cgroup_skb" and attach == "inet_egress":
        return ReturnRule(0, 3)
    if prog in _BOOLS or prog in ("sk_lookup", "netfilter"):
        return ReturnRule()
    if prog == "tracing":
        return _tracing(attach)
    if prog == "raw_tracepoint" and typed:
        return ReturnRule(0, 0)
    if prog == "kprobe" and attach in ("trace_kprobe_session", "trace_uprobe_session"):
        return ReturnRule()
    if prog == "lsm":
        return _lsm(attach, hook, void, since)
    rule = ReturnRule(checked=False)
    rule.read = not (prog == "struct_ops" and void)
    return rule


def callback_rule(kind: str = "sync") -> ReturnRule:
    """What a function that is called back may return: "sync" (loops, walks), "async" (timers, work queues),
    "compare" (an rbtree's order: any number), "exception" (as the program itself).
    """
    if kind == "async":
        return ReturnRule(0, 0)
    return ReturnRule() if kind == "sync" else ReturnRule(checked=False)


def _sock_addr(attach: str, since: tuple[int, ...]) -> ReturnRule:
    if attach in _ONE_ONLY.split():
        return ReturnRule(1, 1)
    if attach in ("inet4_bind", "inet6_bind") and since >= (5, 12):
        return ReturnRule(0, 3)
    return ReturnRule()


def _tracing(attach: str) -> ReturnRule:
    if attach in ("trace_fentry", "trace_fexit"):
        return ReturnRule(0, 0)
    if attach in ("trace_raw_tp", "modify_return"):
        return ReturnRule(checked=False)
    return ReturnRule()


def _lsm(attach: str, hook: str, void: bool, since: tuple[int, ...]) -> ReturnRule:
    if attach == "lsm_cgroup":
        return ReturnRule(1, 1) if void else ReturnRule()
    rule = ReturnRule(-_ERRNO, 0, bits32=True)
    rule.checked = not void and since >= (6, 12)
    rule.read = not void
    if hook.removeprefix("bpf_lsm_") in _BOOL_HOOKS:
        rule.low, rule.high = 0, 1
    return rule
