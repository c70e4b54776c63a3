"""`__arg_ctx` for kernels that do not know the tag (before 6.8).

A global function that takes the program's context says so with the tag `arg:ctx`. Older kernels go by the
parameter's type, which must be the context of the program's type; so each program gets a BTF of its own in
which it is. The rules are libbpf's.
"""

from __future__ import annotations

import struct

from probee import sys as kernel_calls
from probee.btf.kinds import DECL_TAG, FUNC, FUNC_PROTO, INT, LINK_GLOBAL, PTR, STRUCT, TYPEDEF, VOID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import Btf, BtfType
    from probee.sys.bpf import ProgAttr

_TAG = "arg:ctx"
_KPROBE, _PERF_EVENT, _RAW_TP, _RAW_TP_WRITABLE = 2, 7, 17, 24
# enum bpf_prog_type -> its context's struct.
_CONTEXTS = {
    1: "__sk_buff",
    2: "bpf_user_pt_regs_t",
    3: "__sk_buff",
    4: "__sk_buff",
    6: "xdp_md",
    7: "bpf_perf_event_data",
    8: "__sk_buff",
    9: "bpf_sock",
    10: "__sk_buff",
    11: "__sk_buff",
    12: "__sk_buff",
    13: "bpf_sock_ops",
    14: "__sk_buff",
    15: "bpf_cgroup_dev_ctx",
    16: "sk_msg_md",
    17: "bpf_raw_tracepoint_args",
    18: "bpf_sock_addr",
    19: "__sk_buff",
    21: "sk_reuseport_md",
    22: "__sk_buff",
    23: "bpf_sysctl",
    24: "bpf_raw_tracepoint_args",
    25: "bpf_sockopt",
    30: "bpf_sk_lookup",
    32: "bpf_nf_ctx",
}


def fix_arguments(attr: ProgAttr, btf: Btf) -> int:
    """Give a program a BTF in which tagged parameters have the context's type, where the kernel needs that.

    Returns the descriptor of that BTF, which the caller closes after loading; 0 if nothing had to be done.
    """
    from probee.kernel.features import have

    context = _CONTEXTS.get(attr.type)
    if context is None or have("arg_ctx_tag"):
        return 0
    places = {type_id: at for at, (_, type_id) in enumerate(struct.iter_unpack("=II", attr.func_info))}
    wanted: dict[int, set[int]] = {}
    for t in btf.own_types():
        if t.kind != DECL_TAG or t.name != _TAG or t.type not in places:
            continue
        function = btf.type(t.type)
        if function.kind != FUNC or function.linkage != LINK_GLOBAL:
            continue
        proto = btf.type(function.type)
        index = t.component_idx
        if proto.kind != FUNC_PROTO or not 0 <= index < proto.vlen:
            continue
        if _needs_fix(btf, attr.type, proto.params[index][1]):
            wanted.setdefault(t.type, set()).add(index)
    if not wanted:
        return 0
    raw, clones = _with_clones(btf, wanted, context)
    info = bytearray(attr.func_info)
    for type_id, clone in clones.items():
        struct.pack_into("=I", info, 8 * places[type_id] + 4, clone)
    fd = _load(raw)
    if fd:
        attr.func_info, attr.btf_fd = bytes(info), fd
    return fd


def _load(raw: bytes) -> int:
    kernel = kernel_calls.kernel()
    try:
        return kernel.btf_load(raw)
    except OSError as error:
        from probee.kernel.sanitize import load_sanitized

        return max(0, load_sanitized(raw, error)[0])


def _needs_fix(btf: Btf, program_type: int, type_id: int) -> bool:
    """Whether a parameter has a type that the kernel would not take for the context, but may."""
    pointer = btf.type(btf.strip(type_id))
    if pointer.kind != PTR:
        return False
    inside: BtfType = btf.type(pointer.type)
    registers = inside.kind == TYPEDEF and inside.name == "bpf_user_pt_regs_t"
    if registers and program_type in (_KPROBE, _PERF_EVENT):
        return False
    inside = btf.type(btf.strip(pointer.type))
    if inside.kind == VOID:
        return True
    if inside.kind == STRUCT:
        if program_type == _KPROBE:
            return inside.name == "pt_regs"
        return program_type == _PERF_EVENT and inside.name in ("pt_regs", "user_pt_regs", "user_regs_struct")
    return program_type in (_RAW_TP, _RAW_TP_WRITABLE) and inside.kind == INT and inside.size == 8


def _with_clones(btf: Btf, wanted: dict[int, set[int]], context: str) -> tuple[bytes, dict[int, int]]:
    """BTF with another function for each of `wanted`, whose parameters are pointers to `context`."""
    raw = btf.raw
    hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from("=IIIII", raw, 4)
    types = bytearray(raw[hdr_len + type_off : hdr_len + type_off + type_len])
    strings = raw[hdr_len + str_off : hdr_len + str_off + str_len]
    tag_name, strings = len(strings), strings + _TAG.encode() + b"\0"
    context_name, strings = len(strings), strings + context.encode() + b"\0"
    next_id = len(btf)
    types += struct.pack("=3I", context_name, STRUCT << 24, 0)
    types += struct.pack("=3I", 0, PTR << 24, next_id)
    pointer, next_id = next_id + 1, next_id + 2
    clones = {}
    for type_id, indexes in wanted.items():
        function = btf.type(type_id)
        proto = btf.type(function.type)
        types += struct.pack("=3I", 0, FUNC_PROTO << 24 | proto.vlen, proto.type)
        for at, (_, parameter) in enumerate(proto.params):
            (name,) = struct.unpack_from("=I", raw, proto._place + 8 * at)
            types += struct.pack("=2I", name, pointer if at in indexes else parameter)
        types += struct.pack("=3I", function.name_off, FUNC << 24 | function.vlen, next_id)
        clones[type_id] = next_id + 1
        for at in sorted(indexes):
            types += struct.pack("=3Ii", tag_name, DECL_TAG << 24, next_id + 1, at)
        next_id += 2 + len(indexes)
    head = raw[:4] + struct.pack("=5I", 24, 0, len(types), len(types), len(strings))
    return head + bytes(types) + strings, clones
