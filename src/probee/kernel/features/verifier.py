"""Probes of what the verifier understands: instructions, loops, callbacks, kernel functions."""

from __future__ import annotations

import errno
from struct import pack

from probee import sys as kernel_calls
from probee.kernel.features.attempt import EXIT, ZERO, insn, loads
from probee.kernel.features.btf import functions
from probee.kernel.features.programs import helper

_SOCKET_FILTER, _KPROBE, _CLS, _XDP = 1, 2, 3, 6
_PROG_ARRAY = 3
_FUNC = 12
_TAIL_CALL = 12

_STORE = insn(0x7A, 10, 0, -8)  # *(u64 *)(r10 - 8) = 0
_ONE_IN_R1 = insn(0xB7, 1, 0, 0, 1)
_V2 = ZERO + insn(0xA5, 0, 0, 1, 1) + ZERO + EXIT  # if r0 < 1 goto
_V3 = ZERO + insn(0xA6, 0, 0, 1, 1) + ZERO + EXIT  # if w0 < 1 goto
_V4 = ZERO + insn(0xBF, 0, 0, 8) + insn(0x06) + EXIT  # r0 = (s8)r0; gotol +0
_FETCH = ZERO + _STORE + _ONE_IN_R1 + insn(0xDB, 10, 1, -8, 0x01) + EXIT  # r1 = fetch_add(r10 - 8, r1)
_ACQUIRE = _STORE + insn(0xDB, 0, 10, -8, 0x100) + ZERO + EXIT
_MAY_GOTO = ZERO + insn(0xE5, 0, 0, 1) + insn(0x05, 0, 0, -2) + EXIT
_LOOP = insn(0xB7, 0, 0, 0, 10) + insn(0x17, 0, 0, 0, 1) + insn(0x55, 0, 0, -2) + EXIT
_LARGE = ZERO * 4100 + EXIT


def _with_subprogram(kind: int, code: bytes, tagged: bool) -> bool:
    """Load a program whose main is two instructions: it hands its context on and returns."""
    try:
        types = functions(tagged)
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        return False
    try:
        main = insn(0x85, 0, 1, 0, 1) + EXIT
        return loads(kind, main + code, btf_fd=types, func_info=pack("=4I", 0, 4, 2, 5))
    finally:
        kernel_calls.kernel().close(types)


def _tail_calls() -> bool:
    kernel = kernel_calls.kernel()
    table = kernel.map_create(_PROG_ARRAY, 4, 4, 1)
    try:
        jump = insn(0x18, 2, 1, 0, table) + insn(0) + insn(0xB7, 3) + insn(0x85, imm=_TAIL_CALL)
        return _with_subprogram(_SOCKET_FILTER, jump + ZERO + EXIT, False)
    finally:
        kernel.close(table)


def _ctx_tag() -> bool:
    """The argument of a global function is a void pointer but for the tag; it is used as the context."""
    return _with_subprogram(_KPROBE, insn(0x79, 0, 1) + EXIT, True)


def kfunc(*names: str) -> bool:
    """Whether the kernel has one of the functions for programs to call."""
    from probee.btf import kernel_btf

    btf = kernel_btf()
    return any(btf.find(name, _FUNC) for name in names)


PROBES = {
    "isa_v2": lambda: loads(_SOCKET_FILTER, _V2),
    "isa_v3": lambda: loads(_SOCKET_FILTER, _V3),
    "isa_v4": lambda: loads(_SOCKET_FILTER, _V4),
    "atomics": lambda: loads(_SOCKET_FILTER, _FETCH),
    "load_acquire": lambda: loads(_SOCKET_FILTER, _ACQUIRE),
    "may_goto": lambda: loads(_SOCKET_FILTER, _MAY_GOTO),
    "large_insn_limit": lambda: loads(_SOCKET_FILTER, _LARGE),
    "bounded_loops": lambda: loads(_SOCKET_FILTER, _LOOP),
    "mixed_tail_calls": _tail_calls,
    "spin_lock": lambda: helper(_CLS, 93),
    "for_each_map_elem": lambda: helper(_XDP, 164),
    "timers": lambda: helper(_XDP, 169),
    "loop_helper": lambda: helper(_XDP, 181),
    "kptr": lambda: helper(_XDP, 194),
    "dynptr": lambda: helper(_XDP, 197),
    "arg_ctx_tag": _ctx_tag,
    "rcu_kfuncs": lambda: kfunc("bpf_rcu_read_lock"),
    "cpumask_kfuncs": lambda: kfunc("bpf_cpumask_create"),
    "rbtree": lambda: kfunc("bpf_rbtree_add", "bpf_rbtree_add_impl"),
    "open_coded_iterators": lambda: kfunc("bpf_iter_num_new"),
    "exceptions": lambda: kfunc("bpf_throw"),
    "workqueues": lambda: kfunc("bpf_wq_init"),
    "crypto_kfuncs": lambda: kfunc("bpf_crypto_encrypt"),
    "session_cookie": lambda: kfunc("bpf_session_cookie"),
    "res_spin_lock": lambda: kfunc("bpf_res_spin_lock"),
    "streams": lambda: kfunc("bpf_stream_vprintk", "bpf_stream_vprintk_impl"),
}
