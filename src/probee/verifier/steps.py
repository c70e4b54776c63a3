"""From instructions to steps: each is looked at once, and what remains is a closure that the walk calls."""

from __future__ import annotations

from probee.isa.insn import (
    ABS,
    ALU,
    ALU64,
    CALL,
    DW,
    EXIT,
    IND,
    JMP,
    JMP32,
    LD,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    wide_imm,
)
from probee.verifier import access, alu, callbacks, calls, jumps
from probee.verifier.alu import check_writable, read
from probee.verifier.effects import check_resources
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.precision import mark_precise
from probee.verifier.scalars import UNKNOWN, const
from probee.verifier.state import (
    ARENA,
    CTX,
    FUNC,
    MAP_PTR,
    MAP_VALUE,
    UNKNOWN_REG,
    pointer,
    scalar,
)
from probee.verifier.walk import SWITCHED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.isa.insn import Insn
    from probee.verifier.walk import Walk

    Step = Callable[[], int]


def prepare(w: Walk) -> None:
    """Fills `w.steps`."""
    steps: list[Step] = []
    skip = False
    for index, insn in enumerate(w.insns):
        if skip:
            skip = False
            steps.append(_refuse(f"unknown opcode {insn.opcode:02x}"))
            continue
        skip = insn.opcode == LD_IMM64
        steps.append(make(w, index, insn))
    w.steps = steps


def make(w: Walk, index: int, insn: Insn) -> Step:
    """The step of one instruction: runs it on the current state and gives the next one's index."""
    kind, op = insn.opcode & 7, insn.opcode & 0xF0
    if kind in (ALU, ALU64):
        return alu.make(w, index, insn)
    if kind in (JMP, JMP32):
        if op == CALL:
            return _call(w, index, insn)
        if op == EXIT:
            return callbacks.make_exit(w, index, insn)
        return jumps.make(w, index, insn)
    if kind == LD:
        if insn.opcode == LD_IMM64:
            return _wide(w, index, insn)
        return _packet_load(w, index, insn)
    return access.make(w, index, insn)


def _refuse(message: str) -> Step:
    def step() -> int:
        raise Reject(message)

    return step


def _call(w: Walk, index: int, insn: Insn) -> Step:
    if (
        insn.opcode != JMP | CALL
        or (insn.src != PSEUDO_KFUNC_CALL and insn.off)
        or insn.src not in (0, PSEUDO_CALL, PSEUDO_KFUNC_CALL)
        or insn.dst
    ):
        return _refuse("BPF_CALL uses reserved fields")
    if insn.src == PSEUDO_CALL:
        return callbacks.make_call(w, index, insn)
    if insn.src == PSEUDO_KFUNC_CALL:
        from probee.verifier import kfuncs

        inner = kfuncs.make(w, index, insn)
    else:
        inner = calls.make(w, index, insn)
    unlock = insn.src == 0 and insn.imm in (94, 194)

    def step() -> int:
        w.jumps += 1
        if (
            w.state.locks
            and not unlock
            and not (insn.src == PSEUDO_KFUNC_CALL and w.context.kfunc_under_lock(index))
        ):
            raise Reject("function calls are not allowed while holding a lock")
        return inner()

    return step


def _wide(w: Walk, index: int, insn: Insn) -> Step:
    following, dst = index + 2, insn.dst
    second = w.insns[index + 1]
    if insn.off:
        return _refuse("BPF_LD_IMM64 uses reserved fields")
    if insn.src == 0:
        reg = scalar(const(wide_imm(insn.imm, second.imm)))
    elif insn.src == PSEUDO_FUNC:
        callee = w.graph.start_of[index + insn.imm + 1]
        if w.context.functions and w.context.is_global(callee):
            return _refuse("callback function not static")
        if not w.context.functions:
            return _refuse("missing btf func_info")
        reg = pointer(FUNC, detail=(callee,))
    elif insn.src == 3:
        from probee.verifier import kptrs

        reg = kptrs.of_variable(w.context, insn, second)
    else:
        info = w.context.program.map_refs[index]
        if insn.src in (2, 6):
            if info.type == 33:
                reg = pointer(ARENA, num=UNKNOWN)
            else:
                reg = pointer(MAP_VALUE, map=info, off=second.imm)
                if w.context.record(info).has("spin_lock", "res_spin_lock"):
                    return _with_fresh_id(w, following, dst, info, second.imm)
        else:
            reg = pointer(MAP_PTR, map=info)

    def step() -> int:
        if dst >= 10:
            check_writable(dst)
        w.regs[dst] = reg
        return following

    return step


def _with_fresh_id(w: Walk, following: int, dst: int, info: object, off: int) -> Step:
    """A map value with a lock in it: which one it is has to be known when it is unlocked."""

    def step() -> int:
        if dst >= 10:
            check_writable(dst)
        w.regs[dst] = pointer(MAP_VALUE, map=info, off=off, id=w.new_id())
        return following

    return step


_SKB_READERS = {"socket_filter", "sched_cls", "sched_act"}


def _packet_load(w: Walk, index: int, insn: Insn) -> Step:
    mode, size = insn.opcode & 0xE0, insn.opcode & 0x18
    following = index + 1
    if mode not in (ABS, IND):
        return _refuse("invalid BPF_LD mode")
    if w.context.kind not in _SKB_READERS:
        return _refuse("BPF_LD_[ABS|IND] instructions not allowed for this program type")
    if insn.dst or insn.off or size == DW or (mode == ABS and insn.src):
        return _refuse("BPF_LD_[ABS|IND] uses reserved fields")

    def step() -> int:
        regs = w.regs
        read(regs, 6)
        check_resources(w, "BPF_LD_[ABS|IND]", exception=False, locks=True)
        if regs[6].type != CTX:
            raise Reject("at the time of BPF_LD_ABS|IND R6 != pointer to skb")
        if mode == IND:
            read(regs, insn.src)
        if regs[6].off or regs[6].num.mask or regs[6].num.value:
            from probee.verifier.regions import check_offset

            check_offset(regs[6], 6)
        w.kill_caller_saved()
        regs[0] = UNKNOWN_REG
        if len(w.state.frames) > 1 and w.context.at_least(6, 8):
            return _fail_or_go_on(w, index, following)
        return following

    return step


def _fail_or_go_on(w: Walk, index: int, following: int) -> int:
    """In a subprogram a load beyond the packet returns 0 to the caller."""
    callee = w.state.frames[-1]
    if callee.in_callback:
        raise Unsupported("packet loads in callbacks")
    other = w.fork(callee.callsite + 1, index)
    gone = other.frames.pop()
    other.frames[-1].regs[0] = scalar(const(0))
    del gone
    return following


__all__ = ["MAP_VALUE", "SWITCHED", "mark_precise", "prepare"]
