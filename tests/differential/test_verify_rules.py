"""The verifier's tables against the running kernel: every helper and every byte of every context is tried."""

from __future__ import annotations

import os
import re

import pytest

from probee.btf import Btf, kernel_btf
from probee.errors import Unsupported
from probee.isa.helpers.programs import allowed
from probee.isa.insn import Insn, encode
from probee.isa.tables import ATTACH_TYPES, HELPERS, PROG_TYPES
from probee.kernel.features.inventory import _ATTACH, helpers, program_type
from probee.sys import kernel
from probee.sys.bpf import ProgAttr, VerifierLog
from probee.verifier import context_rules
from probee.verifier.cases import kfunc_ids
from probee.verifier.kernels import Rules
from probee.verifier.kfunc_rules import KFUNCS
from probee.verifier.program import Program
from probee.verifier.typed_context import Target, target_of, typed_access

pytestmark = pytest.mark.root

SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
_RAW_TP, _ITER, _SLEEPABLE = 23, 28, 16
# Built in or not, allowed or not, whatever the version.
_BY_CONFIGURATION = {
    "probe_write_user",
    "override_return",
    "get_cgroup_classid",
    "xdp_output",
    "skb_output",
    "bprm_opts_set",
}
FUNC, STRUCT, TYPEDEF = 12, 4, 8


def known() -> str:
    version = Rules("live").version
    if not version.startswith("6.18"):
        pytest.skip(f"the tables say what Linux 6.18 does; this is {version}")
    return version


def vmlinux() -> Btf:
    try:
        return kernel_btf()
    except Unsupported as missing:
        pytest.skip(str(missing))


def types() -> list[str]:
    """The program types whose helpers the kernel can be asked for by themselves."""
    return [kind for kind in PROG_TYPES if kind not in ("ext", "struct_ops", "lsm", "lirc_mode2")]


@pytest.mark.parametrize("kind", types())
def test_who_may_call_which_helper(kind: str) -> None:
    known()
    if not program_type(kind):
        pytest.skip(f"this kernel has no {kind} programs")
    live = set(helpers(kind, full=True))
    # The prober's programs have these attach types, or 0, which stands for cgroup_inet_ingress.
    attach = {"tracing": "", "sk_lookup": "sk_lookup", "netfilter": "netfilter"}.get(
        kind, "cgroup_inet_ingress"
    )
    if kind == "cgroup_sock":  # for which the kernel reads 0 as this
        attach = "cgroup_inet_sock_create"
    if kind in _ATTACH:
        attach = next(name for name, (number, _) in ATTACH_TYPES.items() if number == _ATTACH[kind])
    ours = {name for name in HELPERS if allowed(name, kind, attach, kernel="6.18")}
    unasked = {"get_func_arg", "get_func_ret", "get_func_arg_cnt", "setsockopt", "getsockopt"}
    apart = (live ^ ours) - _BY_CONFIGURATION - (unasked if kind == "tracing" else set())
    assert apart == set()


ATTACHED = {
    "cgroup_sock": [
        "cgroup_inet_sock_create",
        "cgroup_inet_sock_release",
        "cgroup_inet4_post_bind",
        "cgroup_inet6_post_bind",
    ],
    "cgroup_sock_addr": [
        "cgroup_inet4_bind",
        "cgroup_inet6_connect",
        "cgroup_udp4_sendmsg",
        "cgroup_udp6_sendmsg",
    ],
    "cgroup_sockopt": ["cgroup_getsockopt", "cgroup_setsockopt"],
    "sk_lookup": ["sk_lookup"],
    "netfilter": ["netfilter"],
    "xdp": ["xdp", "xdp_devmap"],
    "sk_reuseport": ["sk_reuseport_select_or_migrate"],
    "cgroup_skb": ["cgroup_inet_ingress", "cgroup_inet_egress"],
}
CASES = [
    (kind, attach)
    for kind in (
        *context_rules.CONTEXTS,
        "tracepoint",
        "raw_tracepoint",
        "raw_tracepoint_writable",
        "syscall",
    )
    for attach in ATTACHED.get(kind, [""])
]


@pytest.mark.parametrize(("kind", "attach"), CASES)
def test_every_byte_of_a_context(kind: str, attach: str) -> None:
    known()
    if not program_type(kind):
        pytest.skip(f"this kernel has no {kind} programs")
    calls, log = kernel(), VerifierLog(4096, 4)
    end = context_rules.size_of(kind) + 16 if kind in context_rules.CONTEXTS else 112
    apart = []
    for off in range(end):
        for size, bits in SIZES.items():
            for way, opcode in (("load", 0x61), ("store", 0x62), ("signed load", 0x81)):
                if way == "signed load" and size == 8:
                    continue
                register = (1, 0) if way == "store" else (0, 1)
                code = [Insn(opcode & ~0x18 | bits, *register, off), Insn(0xB7, imm=1), Insn(0x95)]
                attr = ProgAttr(PROG_TYPES[kind][0], encode(code), "GPL")
                attr.attach_type = ATTACH_TYPES[attach][0] if attach else 0
                attr.flags = _SLEEPABLE if kind == "syscall" else 0
                try:
                    os.close(calls.prog_load(attr, log))
                    live = True
                except OSError:
                    live = False
                ours = context_rules.access(
                    kind, attach or 0, off, size, write=way == "store", signed=way == "signed load"
                )
                if live != (ours is not None):
                    apart.append((way, off, size, live))
    assert apart == []


def words(found: context_rules.Access | None) -> str:
    """A register as the kernel's log has it."""
    if found is None:
        return "refused"
    if found.kind == "scalar":
        return "scalar"
    if found.kind == "buf":
        return ("rdonly_" if found.rdonly else "") + "buf_or_null"
    tag = f"{found.tag}_" if found.tag else ""
    return (
        f"{'trusted_' if found.trusted else ''}{tag}ptr_{'or_null_' if found.maybe_null else ''}{found.name}"
    )


def targets(btf: Btf) -> list[tuple[str, int, int]]:
    """All tracepoints, iterators and members of struct_ops: program type, attach type or member, id."""
    found = []
    for number in range(1, len(btf)):
        held = btf.type(number)
        if held.kind == TYPEDEF and held.name.startswith("btf_trace_"):
            found.append(("tracing", _RAW_TP, number))
        elif held.kind == FUNC and held.name.startswith("bpf_iter_"):
            params = list(btf.type(held.type).params)
            if params and params[0][0] == "meta":
                found.append(("tracing", _ITER, number))
        elif held.kind == STRUCT and held.name and btf.find(f"bpf_struct_ops_{held.name}", STRUCT):
            found += [("struct_ops", index, number) for index in range(len(held.members))]
    return found


def test_arguments_of_tracepoints_iterators_and_struct_ops() -> None:
    known()
    btf = vmlinux()
    calls, log = kernel(), VerifierLog(1 << 16, 2)
    apart, tried = [], 0
    for kind, attach, number in targets(btf):
        made = Program([], PROG_TYPES[kind][0], attach_type=attach, attach_btf_id=number)
        target = target_of(made, btf)
        if not isinstance(target, Target):
            continue
        for off in range(0, 8 * len(target.parameters) + 17, 8):
            attr = ProgAttr(made.prog_type, encode([Insn(0x79, 2, 1, off), Insn(0xB7), Insn(0x95)]), "GPL")
            attr.attach_type, attr.attach_btf_id = attach, number
            try:
                os.close(calls.prog_load(attr, log))
            except OSError as error:
                if error.errno == 1:
                    pytest.skip("this kernel refuses programs of this kind")
            text = log.text
            state = re.search(
                r"^0: \(79\)(?:(?!^1: \(b7).)*?R2(?:_w)?=([^ (\n]+)", text, re.MULTILINE | re.DOTALL
            )
            if state is None and "invalid bpf_context access" not in text:
                continue
            live = state[1] if state else "refused"
            found, said = typed_access(target, made, off, 8)
            tried += 1
            if words(found) != live or (found is None and said not in text):
                apart.append((target.name, off, words(found), live, said))
    assert tried > 1000
    assert apart == []


def test_who_may_call_which_kernel_function() -> None:
    known()
    btf = vmlinux()
    calls, log = kernel(), VerifierLog(1 << 14, 4)
    numbers = {btf.type(number).name: number for number in kfunc_ids(btf)}
    apart = []
    for kind in (
        "socket_filter",
        "sched_cls",
        "xdp",
        "kprobe",
        "tracepoint",
        "cgroup_skb",
        "syscall",
        "sk_msg",
    ):
        for name, number in numbers.items():
            if name not in KFUNCS or name.startswith("bpf_session_"):
                continue
            attr = ProgAttr(
                PROG_TYPES[kind][0], encode([Insn(0x85, 0, 2, 0, number), Insn(0xB7), Insn(0x95)]), "GPL"
            )
            attr.flags = _SLEEPABLE if kind == "syscall" else 0
            try:
                os.close(calls.prog_load(attr, log))
                live = True
            except OSError:
                live = "is not allowed" not in log.text
            if live != KFUNCS[name].allowed(kind):
                apart.append((kind, name, live))
    assert apart == []


def test_every_kernel_function_is_known() -> None:
    known()
    btf = vmlinux()
    there = {btf.type(number).name for number in kfunc_ids(btf)}
    tests = {name for name in there if name.startswith(("bpf_fentry_test", "bpf_modify_return"))}
    assert there - tests - set(KFUNCS) == set()
