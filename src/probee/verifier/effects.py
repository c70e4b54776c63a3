"""What a helper does once its arguments are right: references, callbacks, the result, lost packet
pointers.
"""

from __future__ import annotations

from probee.verifier import callbacks, dynptrs
from probee.verifier.calls import (
    GET_LOCAL_STORAGE,
    KPTR_XCHG,
    LOOP,
    SMP_PROCESSOR_ID,
    SNPRINTF,
    TAIL_CALL,
    Arguments,
    is_null,
)
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.map_rules import check_map_for_helper
from probee.verifier.precision import mark_precise
from probee.verifier.scalars import S32_MIN, U32, U64
from probee.verifier.state import (
    ALLOC,
    BASE,
    BTF_ID,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    PACKET,
    PACKET_END,
    PACKET_META,
    PERCPU,
    RCU,
    RDONLY,
    RINGBUF,
    SOCK_COMMON,
    SOCKET,
    TCP_SOCK,
    TRUSTED,
    UNINIT,
    UNKNOWN_REG,
    Reg,
    pointer,
    scalar,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Walk

_RESULTS = {
    "sock": SOCKET,
    "sock_common": SOCK_COMMON,
    "tcp_sock": TCP_SOCK,
    "ringbuf_mem": MEM | RINGBUF,
    "dynptr_mem": MEM,
}
_CASTS = {
    "tcp_sock",
    "sk_fullsock",
    "skc_to_tcp_sock",
    "skc_to_tcp6_sock",
    "skc_to_udp6_sock",
    "skc_to_mptcp_sock",
    "skc_to_tcp_timewait_sock",
    "skc_to_tcp_request_sock",
}
_SIZED = {"get_stack", "get_task_stack", "probe_read_str", "probe_read_kernel_str", "probe_read_user_str"}
_ACQUIRES = {"sk_lookup_tcp", "sk_lookup_udp", "skc_lookup_tcp", "ringbuf_reserve", "kptr_xchg"}
MAX_ERRNO = 4095


def apply(w: Walk, index: int, args: Arguments, following: int) -> int:
    """Carries the call out and says where it goes on."""
    name = args.name
    regs = w.regs
    if args.release:
        _release(w, args)
    if args.number == TAIL_CALL:
        check_resources(w, "tail_call", exception=False, locks=True)
    elif args.number == GET_LOCAL_STORAGE:
        if not is_null(regs[2]):
            raise Reject("get_local_storage() doesn't support non-zero flags")
        mark_precise(w, 2)
    elif args.number == SNPRINTF:
        dynptrs.check_format(w, regs[3], regs[5])
    elif args.number == LOOP:
        if w.context.at_least(6, 8):
            mark_precise(w, 1)
        if w.frame.callback_depth < regs[1].num.umax or not w.context.at_least(6, 8):
            callbacks.push(w, index, args.func, "loop", args)
        else:
            w.frame.callback_depth = 0
    elif name in ("for_each_map_elem", "timer_set_callback", "find_vma", "user_ringbuf_drain"):
        callbacks.push(w, index, args.func, name, args)
    elif name == "dynptr_from_mem":
        if regs[1].type != MAP_VALUE:
            from probee.verifier.state import type_name

            raise Reject(f"Unsupported reg type {type_name(regs[1].type)} for bpf_dynptr_from_mem data")
    elif name == "set_retval":
        w.context.check_set_retval()
    changes = args.proto.changes
    slice_of = 0
    slice_ref = 0
    if name == "dynptr_data":
        slice_of, slice_ref = dynptrs.identity(w, regs[1])
    elif name == "dynptr_write":
        changes = changes or dynptrs.kind(w, regs[1]) == "skb"
    percpu = bool(regs[1].type & RCU) if name in ("per_cpu_ptr", "this_cpu_ptr") else False
    w.kill_caller_saved()
    regs[0] = _result(w, args, percpu)
    if regs[0].type & MAYBE_NULL:
        regs[0] = regs[0].but(id=w.new_id())
    if name == "dynptr_data":
        regs[0] = regs[0].but(uid=slice_of, ref=slice_ref)
    elif name in _CASTS:
        regs[0] = regs[0].but(ref=args.ref)
    elif name in _ACQUIRES or (
        name == "map_lookup_elem" and args.map is not None and args.map.type in (15, 18)
    ):
        id = w.acquire()
        regs[0] = regs[0].but(id=id, ref=id)
    check_map_for_helper(args.map, args.proto, may_update_sockmap=w.context.may_update_sockmap(name))
    if name == "get_func_ip":
        w.context.check_get_func_ip()
    if changes:
        clear_packets(w)
    return callbacks.after_call(w, following)


def clear_packets(w: Walk) -> None:
    """The packet may have moved."""

    def clear(reg: Reg) -> Reg | None:
        if reg.type in (PACKET, PACKET_META, PACKET_END):
            return UNKNOWN_REG
        if reg.type & BASE == MEM and reg.detail == ("packet",):
            return UNKNOWN_REG
        return None

    w.replace(w.state, clear)


def _release(w: Walk, args: Arguments) -> None:
    reg = w.regs[args.release]
    kind = args.proto.args[args.release - 1]
    if "dynptr" in kind:
        dynptrs.release(w, reg)
        return
    if args.number == KPTR_XCHG and args.ref:
        ref = args.ref
        if not w.drop_held(ref):
            raise Reject(f"func bpf_{args.name}#{args.number} reference has not been acquired before")
        in_rcu = w.in_rcu

        def change(item: Reg) -> Reg | None:
            if item.ref != ref:
                return None
            if in_rcu and item.type & ALLOC and item.type & PERCPU:
                return item.but(ref=0, type=item.type & ~ALLOC | RCU)
            return UNKNOWN_REG

        w.replace(w.state, change)
    elif args.ref and not w.release(args.ref):
        raise Reject(f"func bpf_{args.name}#{args.number} reference has not been acquired before")


def _result(w: Walk, args: Arguments, percpu: bool) -> Reg:
    kind = args.proto.ret
    name = args.name
    if kind == "int":
        return _number(w, args)
    if kind == "void":
        return UNINIT
    null = MAYBE_NULL if kind.endswith("?") else 0
    kind = kind.rstrip("?")
    if kind == "map_value":
        if args.map is None:
            raise Reject("kernel subsystem misconfigured verifier")
        if (
            name == "map_lookup_elem"
            and args.map.type in (2, 6)
            and 0 <= args.const_key < args.map.max_entries
        ):
            null = 0
        reg = pointer(MAP_VALUE | null, map=args.map, uid=args.uid)
        if not null and w.context.record(args.map).has("spin_lock", "res_spin_lock"):
            reg.id = w.new_id()
        return reg
    if kind in _RESULTS:
        return pointer(_RESULTS[kind] | null, size=args.mem_size)
    if kind.startswith("rdonly_mem"):
        return pointer(MEM | RDONLY | null, size=args.mem_size)
    if kind == "percpu":
        return w.context.percpu_result(w, args, null, percpu)
    if kind.startswith(("btf:", "trusted:")):
        if args.number == KPTR_XCHG:
            return w.context.xchg_result(args.field, null)
        flavour, _, type = kind.partition(":")
        btf, id = w.context.kernel_type(type)
        return pointer(BTF_ID | null | (TRUSTED if flavour == "trusted" else 0), btf=btf, btf_id=id)
    if args.number == KPTR_XCHG:
        return w.context.xchg_result(args.field, null)
    raise Unsupported(f"helper results of kind {kind}")


def _number(w: Walk, args: Arguments) -> Reg:
    learn = w.context.numbers.sync
    if args.name in _SIZED and (args.name != "get_task_stack" or w.context.at_least(5, 11)):
        most = args.size_max
        signed_most = most - (1 << 64) if most >> 63 else most
        low = (most & U32) - (1 << 32) if most >> 31 & 1 else most & U32
        return scalar(learn(0, U64, -MAX_ERRNO, signed_most, 0, U64, -MAX_ERRNO, low, 0, U32))
    if args.number == SMP_PROCESSOR_ID and w.context.at_least(6, 10):
        top = w.context.cpus - 1
        return scalar(learn(0, U64, 0, top, 0, top, 0, top, 0, top))
    if args.name == "get_retval" and w.context.retval_range() is not None:
        low, high = w.context.retval_range() or (S32_MIN, -S32_MIN - 1)
        return scalar(learn(0, U64, low, high, 0, U64, low, high, 0, U32))
    return UNKNOWN_REG


def check_resources(w: Walk, what: str, *, exception: bool, locks: bool) -> None:
    """Nothing is held where the program ends (or goes over to another).

    Raises:
        Reject: something is.
    """
    state = w.state
    if locks and state.locks:
        raise Reject(f"{what} cannot be used inside bpf_spin_lock-ed region")
    if exception or len(state.frames) == 1:
        returned = w.regs[0].ref if w.context.program.prog_type == 27 else 0
        left = [item for item in state.held if item[0] == 1 and item[1] != returned]
        if left:
            lines = "".join(f"Unreleased reference id={item[1]} alloc_insn={item[2]}\n" for item in left)
            raise Reject(f"{lines}{what} would lead to reference leak")
    if not locks:
        return
    if state.irq_id:
        raise Reject(f"{what} cannot be used inside bpf_local_irq_save-ed region")
    if state.rcu:
        raise Reject(f"{what} cannot be used inside bpf_rcu_read_lock-ed region")
    if state.preempt:
        raise Reject(f"{what} cannot be used inside bpf_preempt_disable-ed region")
