"""Calls into functions of the program: subprograms, global functions, callbacks, and coming back from
them.
"""

from __future__ import annotations

from probee.isa.insn import JMP32
from probee.verifier import effects
from probee.verifier.alu import read
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.precision import mark_precise
from probee.verifier.prune import previous_entry, widen
from probee.verifier.scalars import S64_MAX, S64_MIN, Num
from probee.verifier.state import (
    ALLOC,
    BTF_ID,
    DYNPTR,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    NON_OWN_REF,
    SCALAR,
    STACK,
    UNINIT,
    UNKNOWN_REG,
    Frame,
    Reg,
    State,
    pointer,
    type_name,
)
from probee.verifier.walk import ENDED, SWITCHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.isa.insn import Insn
    from probee.verifier.walk import Walk

    Step = Callable[[], int]

MAX_FRAMES = 8


def make_call(w: Walk, index: int, insn: Insn) -> Step:
    """The step of a call of a subprogram."""
    callee = w.graph.start_of[index + insn.imm + 1]
    start = w.graph.subprogs[callee].start
    context = w.context
    if not context.is_global(callee):

        def static_step() -> int:
            w.jumps += 1
            if w.state.locks and not context.at_least(6, 9):
                raise Reject("function calls are not allowed while holding a lock")
            context.check_static_call(w, callee)
            frame = enter(w.state, callee, index)
            frame.regs[1:6] = w.regs[1:6]
            w.kill_caller_saved()
            w.frame, w.regs = frame, frame.regs
            w.index = start
            return SWITCHED

        return static_step

    def global_step() -> int:
        w.jumps += 1
        state = w.state
        if state.locks:
            raise Reject(
                "global function calls are not allowed while holding a lock,\nuse static function instead"
            )
        if state.preempt and not context.at_least(6, 13):
            raise Reject(
                "global function calls are not allowed with preemption disabled,\nuse static function instead"
            )
        if w.context.might_sleep(callee) and not w.may_sleep:
            raise Reject(
                f"sleepable global function {context.name_of(callee)}() called in {non_sleepable(w)}"
            )
        context.check_global_call(w, callee)
        if context.changes_packet(callee):
            effects.clear_packets(w)
        context.called.add(callee)
        w.kill_caller_saved()
        w.regs[0] = UNKNOWN_REG
        return index + 1

    return global_step


def non_sleepable(w: Walk) -> str:
    """The kernel's words for why this point can't sleep."""
    state = w.state
    if state.rcu:
        return "rcu_read_lock region"
    if state.preempt:
        return "non-preemptible region"
    if state.irq_id:
        return "IRQ-disabled region"
    if state.locks:
        return "lock region"
    return "non-sleepable prog"


def enter(state: State, callee: int, index: int) -> Frame:
    """Adds a frame for `callee`."""
    if len(state.frames) >= MAX_FRAMES:
        raise Reject(f"the call stack of {len(state.frames) + 1} frames is too deep")
    frame = Frame(len(state.frames), callee, index)
    frame.async_count = 0
    state.frames.append(frame)
    return frame


def make_exit(w: Walk, index: int, insn: Insn) -> Step:
    if insn.imm or insn.src or insn.dst or insn.opcode & 8 or insn.opcode & 7 == JMP32:
        return _refuse("BPF_EXIT uses reserved fields")

    def step() -> int:
        w.jumps += 1
        return leave(w)

    return step


def _refuse(message: str) -> Step:
    def step() -> int:
        raise Reject(message)

    return step


def leave(w: Walk) -> int:
    """The end of a function: back to the caller, or the end of the path."""
    state = w.state
    nested = len(state.frames) > 1
    if state.locks and not w.context.at_least(6, 13) and (not nested or not w.context.at_least(6, 9)):
        raise Reject("bpf_spin_unlock is missing")
    effects.check_resources(w, "BPF_EXIT instruction in main prog", exception=False, locks=not nested)
    if not nested:
        w.context.check_return(w)
        return ENDED
    callee = state.frames[-1]
    caller = state.frames[-2]
    result = callee.regs[0]
    if result.type == STACK:
        raise Reject("cannot return stack pointer to the caller")
    if callee.in_callback:
        if result.type != SCALAR:
            raise Reject("R0 not a scalar value")
        mark_precise(w, 0)
        low, high = callee.ret_range
        if not (low <= result.num.smin and result.num.smax <= high):
            raise Reject(out_of_range(result.num, "At callback return", low, high))
        to = callee.callsite if w.context.at_least(6, 8) else callee.callsite + 1
    else:
        caller.regs[0] = result
        to = callee.callsite + 1
    state.frames.pop()
    w.frame, w.regs = caller, caller.regs
    if callee.in_callback and to == callee.callsite:
        before = previous_entry(state, to, state)
        if before is not None:
            widen(w, before, state)
    w.index = to
    return SWITCHED


def out_of_range(num: Num, where: str, low: int, high: int, name: str = "R0") -> str:
    """The kernel's words for a result that isn't allowed."""
    text = f"{where} the register {name} has"
    known = False
    if num.smin > S64_MIN:
        text += f" smin={num.smin}"
        known = True
    if num.smax < S64_MAX:
        text += f" smax={num.smax}"
        known = True
    if not known:
        text += " unknown scalar value"
    return f"{text} should have been in [{low}, {high}]"


def push(w: Walk, index: int, subprog: int, kind: str, args: object) -> None:
    """A helper calls back: the callback is put aside to be walked."""
    w.graph.subprogs[subprog].is_callback = True
    start = w.graph.subprogs[subprog].start
    caller = w.frame
    w.context.check_callback(w, subprog)
    if kind in ("timer_set_callback", "wq_set_callback", "task_work"):
        _push_async(w, index, subprog, kind)
        return
    inline = not w.context.at_least(6, 8)
    state = w.state if inline else w.fork(start, index)
    frame = enter(state, subprog, index)
    _arguments(w, kind, caller, frame, args)
    frame.in_callback = True
    frame.ret_range = (0, 1)
    if inline:
        return
    state.callback_unroll += 1
    state.frames[-2].callback_depth += 1
    caller.callback_depth = 0


def after_call(w: Walk, following: int) -> int:
    """Where a call goes on: before 6.8 in its callback, walked once, which comes back behind the call."""
    frame = w.state.frames[-1]
    if frame is w.frame:
        return following
    w.frame, w.regs = frame, frame.regs
    w.index = w.graph.subprogs[frame.subprog].start
    return SWITCHED


def _push_async(w: Walk, index: int, subprog: int, kind: str) -> None:
    """A callback that runs later, with nothing held and a stack of its own."""
    w.context.async_callbacks.add(subprog)
    start = w.graph.subprogs[subprog].start
    state = State()
    state.parent = w.state.parent
    if state.parent is not None:
        state.parent.branches += 1
    state.first_insn = w.state.first_insn
    state.depth = w.state.depth
    frame = Frame(0, subprog, -1)
    frame.async_count = w.frame.async_count + 1
    frame.in_async = True
    frame.ret_range = (0, 1)
    state.in_sleepable = kind != "timer_set_callback"
    state.frames = [frame]
    state.parent = None if state.parent is None else state.parent
    caller = w.regs
    info, uid = caller[1].map, caller[1].uid
    frame.regs[1] = pointer(MAP_PTR, map=info, uid=uid)
    frame.regs[2] = pointer(MAP_KEY, map=info, uid=uid)
    frame.regs[3] = pointer(MAP_VALUE, map=info, uid=uid)
    from probee.verifier.walk import Pending

    state.branches = 0
    w.pending.append(Pending(state, start, index, w.processed - w.path_start))


def _arguments(w: Walk, kind: str, caller: Frame, frame: Frame, args: object) -> None:
    regs, mine = caller.regs, frame.regs
    if kind == "loop":
        mine[1] = UNKNOWN_REG
        mine[2] = regs[3]
    elif kind == "for_each_map_elem":
        info = regs[1].map
        if info is None or info.type not in (1, 2, 5, 6, 9, 10):
            raise Reject("callback function not allowed for map")
        mine[1] = regs[1]
        mine[2] = pointer(MAP_KEY, map=info, uid=regs[1].uid)
        mine[3] = pointer(MAP_VALUE, map=info, uid=regs[1].uid)
        mine[4] = regs[3]
    elif kind == "find_vma":
        btf, id = w.context.kernel_type("vm_area_struct")
        mine[1] = regs[1]
        mine[2] = pointer(BTF_ID, btf=btf, btf_id=id)
        mine[3] = regs[4]
    elif kind == "user_ringbuf_drain":
        mine[1] = pointer(DYNPTR, detail=("local", True), id=w.new_id())
        mine[2] = regs[3]
    elif kind == "rbtree_add":
        field = w.context.record_of(regs[1]).at(regs[1].off, "rb_root")
        assert field is not None
        node = pointer(
            BTF_ID | ALLOC | NON_OWN_REF, btf=field.btf, btf_id=field.btf_id, off=field.node_offset
        )
        mine[1] = mine[2] = node
    else:
        raise Unsupported(f"callbacks of {kind}")


def ld_abs_exit(w: Walk) -> None:
    """A packet load that fails ends the function there and then."""
    raise Unsupported("leaving a subprogram by a packet load")


__all__ = ["UNINIT", "Reg", "read", "type_name"]
