"""Steps of calls to kernel functions."""

from __future__ import annotations

from probee.btf.kinds import ENUMS, FUNC, INT, PTR, STRUCT, UNION
from probee.verifier import callbacks, fields, iterators, results, special
from probee.verifier.btf_pointers import is_scalar_struct
from probee.verifier.effects import check_resources, clear_packets
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.kfunc_arguments import Given, check_arguments
from probee.verifier.kfunc_rules import KFUNCS, Kfunc
from probee.verifier.scalars import U32, U64, sync
from probee.verifier.state import (
    ALLOC,
    BASE,
    BTF_ID,
    INSN,
    MAYBE_NULL,
    MEM,
    NON_OWN_REF,
    PERCPU,
    RCU,
    RDONLY,
    TRUSTED,
    UNINIT,
    UNKNOWN_REG,
    UNTRUSTED,
    ZERO_REG,
    Reg,
    Slot,
    pointer,
    scalar,
)
from probee.verifier.walk import ENDED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.btf import Btf
    from probee.isa.insn import Insn
    from probee.verifier.context import Context
    from probee.verifier.walk import Walk

    Step = Callable[[], int]

_GRAPH = {
    "bpf_list_push_front_impl",
    "bpf_list_push_back_impl",
    "bpf_list_pop_front",
    "bpf_list_pop_back",
    "bpf_list_front",
    "bpf_list_back",
    "bpf_rbtree_add_impl",
    "bpf_rbtree_remove",
    "bpf_rbtree_first",
    "bpf_rbtree_root",
    "bpf_rbtree_left",
    "bpf_rbtree_right",
    "bpf_refcount_acquire_impl",
}
_UNDER_LOCK = _GRAPH | {
    "bpf_iter_num_new",
    "bpf_iter_num_next",
    "bpf_iter_num_destroy",
    "bpf_res_spin_lock",
    "bpf_res_spin_unlock",
    "bpf_res_spin_lock_irqsave",
    "bpf_res_spin_unlock_irqrestore",
    "bpf_cgroup_release",
    "bpf_obj_drop_impl",
}
_PUSHES = {"bpf_list_push_front_impl", "bpf_list_push_back_impl", "bpf_rbtree_add_impl"}
_ARENA = {"bpf_arena_alloc_pages", "bpf_arena_free_pages", "bpf_arena_reserve_pages"}
_NON_OWNING_RESULT = {"bpf_rbtree_first", "bpf_rbtree_root", "bpf_rbtree_left", "bpf_rbtree_right"}
_NON_OWNING_RESULT |= {"bpf_list_front", "bpf_list_back"}
LARGEST_PERCPU = 512
_MAX_ERRNO = 4095
_ERRORS = sync(0, U64, -_MAX_ERRNO, -1, 0, U64, -_MAX_ERRNO, -1, 0, U32)
KINDS = {"sched_cls": "sk_buff", "xdp": "xdp_buff"}


def name_of(context: Context, index: int) -> str:
    """The function's name, "" where it isn't known."""
    name = context.program.kfuncs.get(index, "")
    if name or context.kernel_btf is None:
        return name
    id = context.program.insns[index].imm
    if 0 < id < len(context.kernel_btf) and context.program.insns[index].off == 0:
        type = context.kernel_btf.type(id)
        if type.kind == FUNC:
            return type.name
    return ""


def rules_of(context: Context, index: int) -> Kfunc | None:
    """The function's flags."""
    return KFUNCS.get(name_of(context, index))


def is_iter_next(context: Context, index: int) -> bool:
    rules = rules_of(context, index)
    return rules is not None and rules.iter == "next"


def callback_kind(context: Context, index: int) -> str:
    """Whether the function calls back, and when: "sync", "async" or ""."""
    name = name_of(context, index)
    if name == "bpf_rbtree_add_impl":
        return "sync"
    if name.startswith(("bpf_wq_set_callback", "bpf_task_work_schedule")):
        return "async"
    return ""


def effects(context: Context, index: int) -> tuple[bool, bool]:
    """(may move the packet, may sleep)."""
    name = name_of(context, index)
    rules = KFUNCS.get(name)
    return name == "bpf_xdp_pull_data", rules is not None and rules.sleepable


def allowed_under_lock(context: Context, index: int) -> bool:
    return name_of(context, index) in _UNDER_LOCK


def make(w: Walk, index: int, insn: Insn) -> Step:
    context = w.context
    if not insn.imm:

        def skipped() -> int:
            context.uneliminated = index
            return index + 1

        return skipped
    name = name_of(context, index)
    rules = KFUNCS.get(name)
    btf = context.kernel_btf
    if btf is None:
        return _stop(Unsupported(f"kernel function {name or insn.imm} without the kernel's BTF"))
    id = btf.find(name, FUNC) if name else None
    if id is None or rules is None:
        return _stop(Unsupported(f"kernel function {name or insn.imm}"))
    narrowed = name == "bpf_sock_destroy" and context.attach != "trace_iter"
    if narrowed or not rules.allowed(context.kind, kernel=context.kernel):
        return _stop(Reject(f"calling kernel function {name} is not allowed"))
    function_id = id

    def step() -> int:
        return call(w, index, rules, btf, function_id)

    return step


def _stop(error: Exception) -> Step:
    def step() -> int:
        raise error

    return step


def call(w: Walk, index: int, rules: Kfunc, btf: Btf, id: int) -> int:
    """One call."""
    name = rules.name
    regs = w.regs
    if rules.sleepable and not w.sleepable:
        raise Reject(f"program must be sleepable to call sleepable kfunc {name}")
    if rules.rcu_protected and not rules.iter and not w.in_rcu:
        raise Reject(f"kernel func {name} requires RCU critical section protection")
    proto = btf.type(btf.type(id).type)
    given = Given(name, rules, btf)
    if name.startswith("bpf_res_spin_lock"):
        _fail_to_lock(w, index)
    elif name == "__bpf_trap":
        raise Reject("unexpected __bpf_trap() due to uninitialized variable?")
    check_arguments(w, given, proto.params)
    if name in ("bpf_rbtree_add_impl",):
        callbacks.push(w, index, given.func, "rbtree_add", given)
    elif name.startswith("bpf_wq_set_callback"):
        callbacks.push(w, index, given.func, "wq_set_callback", given)
    elif name.startswith("bpf_task_work_schedule"):
        callbacks.push(w, index, given.func, "task_work", given)
    _sections(w, rules)
    if given.release:
        ref = regs[given.release].ref
        if not w.release(ref):
            raise Reject(f"kfunc {name}#{id} reference has not been acquired before")
    if name in _PUSHES:
        ref = regs[2].ref
        _make_non_owning(w, ref)
        w.drop_held(ref)
    if name == "bpf_throw":
        if w.context.exception_callback < 0:
            results.check(w.context, w, 1)
        check_resources(w, "bpf_throw", exception=True, locks=True)
        return ENDED
    w.kill_caller_saved()
    regs[0] = _result(w, given, proto.type)
    if name == "bpf_xdp_pull_data":
        clear_packets(w)
    if rules.iter == "next":
        iterators.advance(w, index, given)
    return callbacks.after_call(w, index + 1)


def _sections(w: Walk, rules: Kfunc) -> None:
    """RCU sections, sections without preemption, and what may not be called in them."""
    state, name = w.state, rules.name
    lock, unlock = name == "bpf_rcu_read_lock", name == "bpf_rcu_read_unlock"
    if lock or unlock:
        if state.rcu and w.context.in_tree_callback(w):
            raise Reject("Calling bpf_rcu_read_{lock,unlock} in unnecessary rbtree callback")
        if lock:
            if state.rcu and not w.context.at_least(6, 19):
                raise Reject(f"nested rcu read lock (kernel function {name})")
            state.rcu += 1
        elif not state.rcu:
            raise Reject(f"unmatched rcu read unlock (kernel function {name})")
        else:
            state.rcu -= 1
            if not state.rcu:
                _end_rcu(w)
    elif state.rcu and rules.sleepable:
        raise Reject(f"kernel func {name} is sleepable within rcu_read_lock region")
    if name == "bpf_preempt_disable":
        state.preempt += 1
    elif name == "bpf_preempt_enable":
        if not state.preempt:
            raise Reject(f"unmatched attempt to enable preemption (kernel function {name})")
        state.preempt -= 1
    elif state.preempt and rules.sleepable:
        raise Reject(f"kernel func {name} is sleepable within non-preemptible region")
    if state.irq_id and rules.sleepable:
        raise Reject(f"kernel func {name} is sleepable within IRQ-disabled region")


def _end_rcu(w: Walk) -> None:
    def drop(reg: Reg) -> Reg | None:
        if reg.type & RCU:
            return reg.but(type=reg.type & ~(RCU | MAYBE_NULL) | UNTRUSTED)
        return None

    w.replace(w.state, drop)
    for frame in w.state.frames:
        for spi, slot in frame.stack.items():
            if slot.kinds[0] == 5 and slot.reg.type & RCU:
                frame.stack[spi] = Slot(slot.kinds, slot.reg.but(type=slot.reg.type & ~RCU | UNTRUSTED))


def _make_non_owning(w: Walk, ref: int) -> None:
    """What was owned is in a list or tree now: good to look at while the lock is held."""

    def change(reg: Reg) -> Reg | None:
        if reg.ref != ref:
            return None
        counted = RCU if w.context.record_of(reg).has("refcount") else 0
        return reg.but(ref=0, type=reg.type | NON_OWN_REF | counted)

    w.replace(w.state, change)


def _node(w: Walk, given: Given) -> Reg:
    field = given.root
    assert field is not None
    return pointer(BTF_ID | ALLOC, btf=field.btf, btf_id=field.btf_id, off=field.node_offset)


def _result(w: Walk, given: Given, type_id: int) -> Reg:
    name, rules, btf = given.name, given.rules, given.btf
    plain = fields.skip(btf, type_id) if type_id else 0
    if not plain:
        return UNINIT
    type = btf.type(plain)
    if type.kind == INT or type.kind in ENUMS:
        if name.startswith("bpf_res_spin_lock"):
            return ZERO_REG  # where it fails is walked by itself
        return UNKNOWN_REG
    if type.kind != PTR:
        raise Unsupported(f"what {name} returns")
    reg = _pointer_result(w, given, type.type)
    if reg.type & BASE == 1:
        return reg
    null = rules.ret_null and not (name == "bpf_refcount_acquire_impl" and given.owning)
    if null:
        reg = reg.but(type=reg.type | MAYBE_NULL, id=w.new_id())
    if rules.acquire:
        ref = w.acquire()
        reg = reg.but(ref=ref, id=ref if null else reg.id)
    elif name in _NON_OWNING_RESULT:
        counted = RCU if w.context.record_of(reg.but(type=BTF_ID | ALLOC)).has("refcount") else 0
        reg = reg.but(type=reg.type | NON_OWN_REF | counted)
    plain_type = reg.but(type=reg.type & ~MAYBE_NULL)
    if not reg.id and w.context.record_of(plain_type).has("spin_lock", "res_spin_lock"):
        reg = reg.but(id=w.new_id())
    return reg


def _fail_to_lock(w: Walk, index: int) -> None:
    """The lock isn't had: an error in r0, and nothing held."""
    other = w.fork(index + 1, index)
    regs = other.frames[-1].regs
    regs[0:6] = [scalar(_ERRORS), *[UNINIT] * 5]


def _pointer_result(w: Walk, given: Given, target_id: int) -> Reg:
    name, btf, context = given.name, given.btf, w.context
    if name in ("bpf_obj_new_impl", "bpf_percpu_obj_new_impl"):
        return _allocated(context, given)
    if name == "bpf_refcount_acquire_impl":
        return pointer(BTF_ID | ALLOC, btf=given.arg_btf, btf_id=given.arg_btf_id)
    if name in _GRAPH:
        return _node(w, given)
    if name == "bpf_cast_to_kern_ctx":
        kernel, id = context.kernel_type(_KERNEL_CONTEXT.get(context.kind, ""))
        return pointer(BTF_ID | TRUSTED, btf=kernel, btf_id=id)
    if name == "bpf_rdonly_cast":
        if not given.constant:
            return pointer(MEM | RDONLY | UNTRUSTED, size=0)
        if not 0 < given.constant < len(btf) or btf.type(given.constant).kind not in (STRUCT, UNION):
            raise Reject("kfunc bpf_rdonly_cast type ID argument must be of a struct or void")
        return pointer(BTF_ID | UNTRUSTED, btf=btf, btf_id=given.constant)
    if name in ("bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"):
        flags = RDONLY if name == "bpf_dynptr_slice" else 0
        if not flags and not context.may_touch_packet(w, write=True):
            raise Reject("the prog does not allow writes to packet data")
        detail = ("packet",) if given.dynptr_kind in ("skb", "xdp") else None
        return pointer(MEM | flags, size=given.constant, uid=given.dynptr_id, detail=detail)
    if name in _ARENA:
        return UNKNOWN_REG
    plain = fields.skip(btf, target_id) if target_id else 0
    if not plain:
        return UNKNOWN_REG
    target = btf.type(plain)
    if target.kind in (STRUCT, UNION):
        flags = 0
        if given.rules.iter == "next":
            flags = given.iterator_flags
        elif name in _TRUSTED_RESULT:
            flags = TRUSTED
        return pointer(BTF_ID | flags, btf=btf, btf_id=plain)
    size = given.result_size or btf.size_of(plain)
    readonly = RDONLY if given.result_readonly or not given.result_size else 0
    return pointer(MEM | readonly, size=size, ref=given.ref)


_TRUSTED_RESULT: set[str] = set()
_KERNEL_CONTEXT = {
    "xdp": "xdp_buff",
    "sched_cls": "sk_buff",
    "sched_act": "sk_buff",
    "socket_filter": "sk_buff",
    "cgroup_skb": "sk_buff",
    "perf_event": "bpf_perf_event_data_kern",
    "sk_lookup": "bpf_sk_lookup_kern",
    "sock_ops": "bpf_sock_ops_kern",
    "cgroup_sock_addr": "bpf_sock_addr_kern",
    "kprobe": "pt_regs",
    "netfilter": "bpf_nf_ctx",
}


def _allocated(context: Context, given: Given) -> Reg:
    btf = context.program.btf
    if given.constant >> 32:
        raise Reject("local type ID argument must be in range [0, U32_MAX]")
    if btf is None:
        raise Reject("bpf_obj_new/bpf_percpu_obj_new requires prog BTF")
    if not 0 < given.constant < len(btf) or btf.type(given.constant).kind != STRUCT:
        raise Reject("bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct")
    type = btf.type(given.constant)
    flags = ALLOC
    if given.name == "bpf_percpu_obj_new_impl":
        if type.size > LARGEST_PERCPU:
            raise Reject(f"bpf_percpu_obj_new type size ({type.size}) is greater than {LARGEST_PERCPU}")
        if not is_scalar_struct(btf, given.constant):
            raise Reject("bpf_percpu_obj_new type ID argument must be of a struct of scalars")
        if fields.record_of(btf, given.constant).fields:
            raise Reject("bpf_percpu_obj_new type ID argument must not contain special fields")
        flags |= PERCPU
    return pointer(BTF_ID | flags, btf=btf, btf_id=given.constant)


__all__ = ["INSN", "make", "special"]
