"""Contexts whose arguments have BTF types: tp_btf, fentry and fexit, LSM, iterators, struct_ops.

What such a program is attached to is a `Target`: a function prototype in the kernel's BTF with what the
kernel knows of its arguments beside their types (which may be NULL, which are trusted).
"""

from __future__ import annotations

from probee.btf import Btf, BtfType
from probee.btf.kinds import (
    CONST,
    ENUM,
    ENUM64,
    FUNC,
    FUNC_PROTO,
    INT,
    PTR,
    RESTRICT,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
    VOLATILE,
)
from probee.isa.tables import ATTACH_TYPES, PROG_TYPES, name_of
from probee.verifier.context_rules import Access
from probee.verifier.program import SLEEPABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.program import Program

_MODIFIERS = (TYPEDEF, CONST, VOLATILE, RESTRICT, TYPE_TAG)
_ARGUMENTS = 12  # MAX_BPF_FUNC_ARGS

# Tracepoints whose pointers may be NULL ("0": the first argument) or hold an error number ("0!"), as Linux
# 6.18 has them; the kernel keeps such a list by hand, since 6.13.
_MAYBE_NULL = """
    sched_pi_setprio:1 sched_stick_numa:2 sched_swap_numa:2 afs_make_fs_call:1
    afs_make_fs_calli:1 afs_make_fs_call1:1 afs_make_fs_call2:1 afs_protocol_error:0 afs_flock_ev:1
    cachefiles_lookup:0,2! cachefiles_unlink:0 cachefiles_rename:0 cachefiles_prep_read:0
    cachefiles_mark_active:0 cachefiles_mark_failed:0 cachefiles_mark_inactive:0 cachefiles_vfs_error:0
    cachefiles_io_error:0 cachefiles_ondemand_open:0 cachefiles_ondemand_copen:0 cachefiles_ondemand_close:0
    cachefiles_ondemand_read:0 cachefiles_ondemand_cread:0 cachefiles_ondemand_fd_write:0
    cachefiles_ondemand_fd_release:0 ext4_mballoc_discard:1 ext4_mballoc_free:1 fib_table_lookup:2
    posix_lock_inode:1 fcntl_setlk:1 locks_remove_posix:1 flock_lock_inode:1 break_lease_noblock:1
    break_lease_block:1 break_lease_unblock:1 generic_delete_lease:1 time_out_leases:1
    host1x_cdma_push_gather:4 mm_khugepaged_scan_pmd:1 mm_collapse_huge_page_isolate:0
    mm_khugepaged_scan_file:1 mm_khugepaged_collapse_file:1 mm_page_alloc:0 mm_page_pcpu_drain:0
    mm_page_alloc_zone_locked:0 netfs_failure:1 device_pm_callback_start:1 qdisc_dequeue:3 rxrpc_recvdata:0
    rxrpc_resend:1 kfree_skb:3 xs_stream_read_data:0
    xprt_reserve_cong:1 xprt_release_cong:1 xprt_get_cong:1 xprt_put_cong:1 tcp_send_reset:0,1
    tegra_dma_tx_status:2 tmigr_update_events:0 writeback_dirty_folio:1 folio_wait_writeback:1
    mr_integ_alloc:3! hugetlbfs_alloc_inode:1 tcp_sendmsg_locked:2 xfs_inodegc_flush:0 xfs_inodegc_push:0
    xfs_inodegc_start:0 xfs_inodegc_stop:0 xfs_inodegc_queue:0 xfs_inodegc_throttle:0 xfs_fs_sync_fs:0
    xfs_blockgc_start:0 xfs_blockgc_stop:0 xfs_blockgc_worker:0 xfs_blockgc_flush_all:0
    xfs_map_blocks_found:4 xfs_map_blocks_alloc:4 xfs_btree_updkeys:2 xfs_btree_overlapped_query_range:2
    xfs_defer_create_intent:0 xfs_defer_cancel_list:0 xfs_defer_pending_finish:0 xfs_defer_pending_abort:0
    xfs_defer_relog_intent:0 xfs_defer_isolate_paused:0 xfs_defer_item_pause:0 xfs_defer_item_unpause:0
    xfs_defer_add_item:0 xfs_defer_cancel_item:0 xfs_defer_finish_item:0 xfs_ioc_free_eofblocks:1
    xfs_blockgc_free_space:1
"""
# Iterators: argument -> ("null" or "buf", "trusted" or "rdonly" or ""). `meta` is always there and trusted.
_ITERATORS: dict[str, dict[str, str]] = {
    "bpf_prog": {"prog": "null"},
    "bpf_map": {"map": "null trusted"},
    "bpf_link": {"link": "null"},
    "bpf_map_elem": {"key": "buf rdonly", "value": "buf"},
    "cgroup": {"cgroup": "null trusted"},
    "task": {"task": "null trusted"},
    "task_file": {"task": "null", "file": "null"},
    "task_vma": {"task": "null", "vma": "null"},
    "tcp": {"sk_common": "null trusted"},
    "udp": {"udp_sk": "null trusted"},
    "unix": {"unix_sk": "null"},
    "netlink": {"sk": "null"},
    "ipv6_route": {"rt": "null"},
    "ksym": {"ksym": "null"},
    "kmem_cache": {"s": "null trusted"},
    "dmabuf": {"dmabuf": "null"},
    "sockmap": {"key": "buf rdonly", "sk": "null"},
    "bpf_sk_storage_map": {"sk": "null", "value": "buf"},
}
# LSM hooks that see objects that are being made or freed: their arguments are not trusted.
_UNTRUSTED_HOOKS = (
    "bpf_map_free bpf_prog_free file_alloc_security file_free_security sk_alloc_security sk_free_security "
    "task_free"
)


class Target:
    """What a typed program is attached to.

    `kind` is "raw_tp", "function", "lsm", "iter" or "struct_ops"; `name` is the kernel's name of it.
    `parameters` are (name, type id) without a tracepoint's `__data`, `returns` is a type id (0: void).
    """

    __slots__ = ("_marks", "btf", "id", "kind", "name", "ops", "parameters", "returns", "skipped")

    def __init__(self, kind: str, name: str, btf: Btf, id: int, proto: BtfType) -> None:
        self.kind = kind
        self.name = name.removeprefix("btf_trace_") if kind == "raw_tp" else name
        self.btf = btf
        self.id = id
        self.skipped = 1 if kind == "raw_tp" else 0
        self.parameters = list(proto.params)[self.skipped :]
        self.returns = proto.type
        self.ops = ""  # the struct of a struct_ops program
        self._marks: dict[int, str] = {}

    @property
    def void(self) -> bool:
        """Whether the function returns nothing."""
        return self.returns == 0

    def mark(self, index: int) -> str:
        """What the kernel knows of an argument beside its type: words of "null", "trusted", "buf", …"""
        return self._marks.get(index, "")

    def _find_marks(self) -> None:
        if self.kind == "iter":
            known = _ITERATORS.get(self.name.removeprefix("bpf_iter_"), {})
            self._marks = {
                index: known[name] for index, (name, _) in enumerate(self.parameters) if name in known
            }
        elif self.kind == "raw_tp":
            words = _MAYBE_NULL.split()
            told = next((word for word in words if word.partition(":")[0] == self.name), "")
            for part in told.partition(":")[2].split(","):
                if part:
                    self._marks[int(part.rstrip("!"))] = "error" if part.endswith("!") else "null"
        elif self.kind == "struct_ops":
            self._stub_marks()

    def _stub_marks(self) -> None:
        """A struct_ops argument may be NULL if the kernel's stub calls it `…__nullable`."""
        stub = self.btf.find(f"{self.ops}__{self.name}", FUNC)
        if stub is None:
            return
        proto = self.btf.type(self.btf.type(stub).type)
        for index, (name, _) in enumerate(proto.params):
            if name.endswith("__nullable"):
                self._marks[index] = "null trusted"
            elif name.endswith("__ref"):
                self._marks[index] = "trusted acquired"


def target_of(program: Program, btf: Btf) -> Target | str:
    """What `program` is attached to, or the kernel's words why that can't be.

    Uses `attach_btf_id`, or `target` if that is 0.
    """
    prog = name_of(PROG_TYPES, program.prog_type)
    attach = name_of(ATTACH_TYPES, program.attach_type)
    if prog == "struct_ops":
        return _struct_ops(program, btf)
    number = program.attach_btf_id or _by_name(prog, attach, program.target, btf)
    if not number:
        return "Tracing programs must provide btf_id"
    if not 0 < number < len(btf):
        return f"attach_btf_id {number} is invalid"
    held = btf.type(number)
    if not held.name:
        return f"attach_btf_id {number} doesn't have a name"
    if attach == "trace_raw_tp" and prog == "tracing":
        if not held.name.startswith("btf_trace_"):
            return f"attach_btf_id {number} points to wrong type name {held.name}"
        if held.kind != TYPEDEF:
            return f"attach_btf_id {number} is not a typedef"
        pointed = btf.type(held.type)
        proto = btf.type(pointed.type) if pointed.kind == PTR else pointed
        kind = "raw_tp"
    else:
        if held.kind != FUNC:
            return f"attach_btf_id {number} is not a function"
        proto = btf.type(held.type)
        kind = {"lsm": "lsm"}.get(prog, "iter" if attach == "trace_iter" else "function")
        if kind == "lsm" and not held.name.startswith("bpf_lsm_"):
            return f"attach_btf_id {number} points to wrong type name {held.name}"
    if proto.kind != FUNC_PROTO:
        return f"attach_btf_id {number} is not a function"
    target = Target(kind, held.name, btf, number, proto)
    target._find_marks()
    return target


def _by_name(prog: str, attach: str, name: str, btf: Btf) -> int:
    if attach == "trace_raw_tp":
        return btf.find(f"btf_trace_{name}", TYPEDEF) or 0
    prefix = "bpf_lsm_" if prog == "lsm" else "bpf_iter_" if attach == "trace_iter" else ""
    return btf.find(prefix + name.removeprefix(prefix), FUNC) or 0


def _struct_ops(program: Program, btf: Btf) -> Target | str:
    """`attach_btf_id` is the struct, `attach_type` the number of the member."""
    struct, _, member = program.target.partition(".")
    number = program.attach_btf_id or btf.find(struct, STRUCT) or 0
    if not 0 < number < len(btf) or btf.find(f"bpf_struct_ops_{btf.type(number).name}", STRUCT) is None:
        return f"attach_btf_id {number} is not a supported struct"
    held = btf.type(number)
    index = program.attach_type
    if member:
        index = next((at for at, each in enumerate(held.members) if each.name == member), index)
    if index >= len(held.members):
        return f"attach to invalid member idx {index} of struct {held.name}"
    found = held.members[index]
    pointer = _bare(btf, found.type)
    proto = btf.type(pointer.type) if pointer.kind == PTR else pointer
    if proto.kind != FUNC_PROTO:
        return f"attach to invalid member {found.name}({index}) of struct {held.name}"
    if held.name == "bpf_dummy_ops" and program.flags & SLEEPABLE and found.name != "test_sleepable":
        return f"attach to unsupported member {found.name} of struct {held.name}"
    target = Target("struct_ops", found.name, btf, number, proto)
    target.ops = held.name
    target._find_marks()
    return target


def _bare(btf: Btf, number: int) -> BtfType:
    held = btf.type(number)
    while held.kind in _MODIFIERS:
        held = btf.type(held.type)
    return held


def _slot(btf: Btf, number: int) -> int:
    """How many bytes of the context an argument takes."""
    held = _bare(btf, number) if number else None
    if held is None or held.kind == PTR:
        return 8
    return (held.size + 7) // 8 * 8


def argument_at(target: Target, off: int) -> int:
    """Which argument is at byte `off`: after the last is the return value, after that nothing."""
    at = 0
    slots = [8] * target.skipped + [_slot(target.btf, kind) for _, kind in target.parameters]
    if target.returns:
        slots.append(_slot(target.btf, target.returns))
    for index, slot in enumerate(slots):
        at += slot
        if off < at:
            return index
    return len(target.parameters) + target.skipped + 1


def typed_access(
    target: Target, program: Program, off: int, size: int, *, write: bool = False
) -> tuple[Access | None, str]:
    """What a load of the context gives, or None and the kernel's words beside the usual ones."""
    if off < 0 or off >= 8 * _ARGUMENTS or write or off % size:
        return None, ""
    if off % 8:
        return None, f"func '{target.name}' offset {off} is not multiple of 8"
    index = argument_at(target, off)
    count = len(target.parameters)
    attach = name_of(ATTACH_TYPES, program.attach_type) if target.kind != "struct_ops" else ""
    if index > count:
        return None, f"func '{target.name}' doesn't have {index + 1}-th argument"
    retval = False
    if index == count:
        if attach not in ("lsm_mac", "lsm_cgroup", "trace_fexit", "modify_return", "trace_fsession"):
            return None, f"func '{target.name}' doesn't have {index + 1}-th argument"
        retval = attach == "lsm_mac"
        number = target.returns
    else:
        number = target.parameters[index][1]
    if not number:
        return None, f"func '{target.name}' arg{index} has type VOID"
    held = _bare(target.btf, number)
    if held.kind in (ENUM, ENUM64, STRUCT, UNION) or (held.kind == INT and held.size <= 8):
        found = Access()
        found.retval = retval
        return found, ""
    if held.kind != PTR:
        name = target.parameters[index][0] if index < count else ""
        kind = held.kind_name.upper()
        words = f"func '{target.name}' arg{index} '{name}' has type {kind}. Only pointer access is allowed"
        return None, words
    if size != 8:
        return None, f"func '{target.name}' size {size} must be 8"
    return _pointer(target, program, index, held)


def _pointer(target: Target, program: Program, index: int, held: BtfType) -> tuple[Access | None, str]:
    mark = target.mark(index).split()
    if "buf" in mark:
        found = Access("buf", maybe_null=True)
        found.rdonly = "rdonly" in mark
        return found, ""
    btf = target.btf
    if not held.type or _bare(btf, held.type).kind == INT:
        return Access(), ""
    found = Access("btf", maybe_null="null" in mark, trusted=_trusted(target, program))
    if target.kind == "iter" and mark:
        found.trusted = "trusted" in mark
    if target.kind == "struct_ops" or index >= len(target.parameters):
        found.trusted = found.trusted or target.kind == "struct_ops"
    elif target.parameters[index][0].endswith("__nullable"):
        found.maybe_null = True
    number = held.type
    at = btf.type(number)
    if at.kind == TYPE_TAG and at.name in ("user", "percpu"):
        found.tag = at.name
    if at.kind == TYPE_TAG and at.name == "rcu":
        found.tag = "rcu"
    while at.kind in _MODIFIERS:
        number = at.type
        if not number:
            return Access(), ""  # a pointer to const void
        at = btf.type(number)
    if at.kind not in (STRUCT, UNION):
        return None, f"func '{target.name}' arg{index} type {at.kind_name.upper()} is not a struct"
    if "error" in mark:
        return Access(), ""
    found.btf_id, found.name = number, at.name
    if target.ops == "tcp_congestion_ops" and at.name == "sock":
        found.name = "tcp_sock"
        found.btf_id = btf.find("tcp_sock", STRUCT) or number
    return found, ""


def _trusted(target: Target, program: Program) -> bool:
    if target.kind == "lsm":
        return target.name.removeprefix("bpf_lsm_") not in _UNTRUSTED_HOOKS.split()
    return target.kind in ("raw_tp", "iter", "struct_ops")
