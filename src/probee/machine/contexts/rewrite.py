"""Pointers in contexts that UAPI gives 32 bits: `data`, `data_end` and `data_meta`.

The kernel turns a program's 32-bit loads of these fields into 64-bit loads from a struct of its own. So does
the machine: behind the context it keeps the pointers in full, and each load of such a field through a context
pointer is turned into a load from there. Which registers hold the context is found by following it from r1
through moves, the stack and calls of subprograms.
"""

from __future__ import annotations

from collections.abc import Callable

from ...isa.insn import (
    ADD,
    ALU64,
    CALL,
    CALL_IMM,
    DW,
    EXIT,
    JA,
    JMP,
    JMP32,
    LDX,
    MEM,
    MEMSX,
    MOV,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    ST,
    STX,
    Insn,
    W,
    X,
    decode,
    encode,
)

SHADOW = 256  # where the full pointers begin, from the start of the context

# Program types (linux/bpf.h) by their context.
_XDP = (6,)
_SKB = (1, 3, 4, 8, 10, 11, 12, 14, 19, 22)

# Offset of the 32-bit field -> offset of the pointer.
XDP_MD = {0: SHADOW, 4: SHADOW + 8, 8: SHADOW + 16}
SK_BUFF = {76: SHADOW, 80: SHADOW + 8, 140: SHADOW + 16}

_CTX, _STACK, _FUNCTION, _KERNEL = "ctx", "stack", "function", "kernel"

# Program types whose contexts hold pointers that the kernel lets programs follow: tracing, extensions, LSM,
# struct_ops, netfilter, and what hands on pointers to the current task.
_TYPED = (2, 5, 7, 17, 24, 26, 27, 28, 29, 32)
# Helpers that return such pointers: the current task, sockets of a kind, a file's socket, a task's registers.
_GIVE_KERNEL = frozenset((158, 136, 137, 138, 139, 140, 162, 175, 178, 196))

# Helpers that call back: the register of the function; that of what they hand on, and where it arrives.
_CALLBACKS = {164: (2, 3, 4), 180: (3, 4, 3), 181: (2, 3, 2), 209: (2, 3, 2)}
_NO_REGISTERS = (None,) * 5  # 11 to 15, which broken code may name
_State = tuple[tuple[str, int, int] | None, ...]  # r0 to r10: what, in which function, offset
_Slots = dict[int, tuple[str, int, int]]


def pointer_fields(prog_type: int) -> dict[int, int]:
    """The pointer fields of a program type's context."""
    return XDP_MD if prog_type in _XDP else SK_BUFF if prog_type in _SKB else {}


def certain(code: bytes | bytearray, prog_type: int) -> bool:
    """Whether `rewrite` finds every load of a pointer field: the context never gets out of sight."""
    if not pointer_fields(prog_type):
        return True
    flow = _Flow(decode(code))
    flow.run()
    return not flow.lost


def rewrite(code: bytes | bytearray, prog_type: int) -> bytes:
    """The program with its loads of pointer fields turned into 64-bit loads; the same number of slots."""
    fields = pointer_fields(prog_type)
    if not fields:
        return bytes(code)
    insns = decode(code)
    for index in _loads(insns, fields):
        insn = insns[index]
        insn.opcode = LDX | MEM | DW
    return encode(insns)


def btf_loads(
    code: bytes | bytearray, prog_type: int, gives_kernel: Callable[[int], bool] = lambda number: False
) -> set[int]:
    """The loads through kernel pointers: where there is no memory they give 0, as in the kernel.

    `gives_kernel` says by its number whether a kernel function returns such a pointer.
    """
    insns = decode(code)
    flow = _Flow(insns, kernel=prog_type in _TYPED, words=prog_type in (26, 27, 28, 29, 32))
    flow.gives_kernel = gives_kernel
    flow.run()
    out = set()
    for index, insn in enumerate(insns):
        if insn.opcode & 7 == LDX and insn.opcode & 0xE0 in (MEM, MEMSX):
            base = flow.base(index)
            if base is not None and base[0] == _KERNEL:
                out.add(index)
    return out


def _loads(insns: list[Insn], fields: dict[int, int]) -> list[int]:
    """The loads of pointer fields; their offsets are put right."""
    flow = _Flow(insns)
    flow.run()
    found = []
    for index, insn in enumerate(insns):
        if insn.opcode != (LDX | MEM | W):
            continue
        base = flow.base(index)
        if base is None or base[0] != _CTX or base[2] + insn.off not in fields:
            continue
        insn.off = fields[base[2] + insn.off] - base[2]
        found.append(index)
    return found


class _Flow:
    """Where the context pointer goes."""

    def __init__(self, insns: list[Insn], *, kernel: bool = False, words: bool = False) -> None:
        self.insns = insns
        self.kernel = kernel  # follow kernel pointers, too
        self.words = words  # the context holds such pointers
        self.gives_kernel: Callable[[int], bool] = lambda number: False
        self.states: dict[int, tuple[_State, _Slots]] = {}
        self.ever: dict[
            tuple[int, int], tuple[str, int, int]
        ] = {}  # what a stack slot of a function once held
        self.lost = False  # a register or slot held the context on one path only

    def base(self, index: int) -> tuple[str, int, int] | None:
        """What the source register of a load holds."""
        state = self.states.get(index)
        return state[0][self.insns[index].src] if state else None

    def run(self) -> None:
        entry: list[tuple[str, int, int] | None] = [None] * 16
        entry[1] = (_CTX, 0, 0)
        entry[10] = (_STACK, 0, 0)
        todo: list[tuple[int, int, _State, _Slots]] = [(0, 0, tuple(entry), {})]
        while todo:
            pc, function, state, slots = todo.pop()
            if not 0 <= pc < len(self.insns):
                continue
            known = self.states.get(pc)
            if known is not None:
                before = known[0], state, known[1], slots
                state, slots = _join(known[0], state), _join_slots(known[1], slots)
                self.lost |= _loses(before[0], state) or _loses(before[1], state)
                self.lost |= _CTX in {held[0] for held in before[2].values()} and slots != before[2]
                self.lost |= _CTX in {held[0] for held in before[3].values()} and slots != before[3]
                if (state, slots) == known:
                    continue
            self.states[pc] = (state, slots)
            todo += self._step(pc, function, state, slots)

    def _step(
        self, pc: int, function: int, state: _State, slots: _Slots
    ) -> list[tuple[int, int, _State, _Slots]]:
        insn = self.insns[pc]
        kind = insn.opcode & 7
        if insn.is_wide:
            held = (_FUNCTION, pc + insn.imm + 1, 0) if insn.src == PSEUDO_FUNC else None
            return [(pc + 2, function, _put(state, insn.dst, held), slots)]
        if kind in (JMP, JMP32):
            return self._jump(pc, function, insn, state, slots)
        if kind == LDX:
            held = self._load(insn, state, slots) if insn.opcode == (LDX | MEM | DW) else None
            return [(pc + 1, function, _put(state, insn.dst, held), slots)]
        if kind in (ST, STX):
            return [(pc + 1, function, state, self._store(insn, state, slots))]
        held = None
        if kind == ALU64:
            operation = insn.opcode & 0xF0
            if operation == MOV and insn.opcode & X and not insn.off:
                held = state[insn.src]
            elif operation == ADD and not insn.opcode & X and state[insn.dst] is not None:
                what, where, at = state[insn.dst]  # type: ignore[misc]
                held = (what, where, at + insn.imm if what != _KERNEL else 0)
            elif operation == ADD and _is_kernel(state[insn.dst]):
                held = state[insn.dst]
        return [(pc + 1, function, _put(state, insn.dst, held), slots)]

    def _load(self, insn: Insn, state: _State, slots: _Slots) -> tuple[str, int, int] | None:
        base = state[insn.src]
        if base is None:
            return None
        if base[0] == _KERNEL or (base[0] == _CTX and self.words):
            return (_KERNEL, 0, 0)
        if base[0] != _STACK:
            return None
        own = state[10]
        if own is not None and base[1] == own[1]:
            return slots.get(base[2] + insn.off)
        return self.ever.get((base[1], base[2] + insn.off))

    def _store(self, insn: Insn, state: _State, slots: _Slots) -> _Slots:
        base, own = state[insn.dst], state[10]
        if base is None or base[0] != _STACK or own is None or base[1] != own[1]:
            return slots
        at = base[2] + insn.off
        held = state[insn.src] if insn.opcode == (STX | MEM | DW) else None
        slots = {key: value for key, value in slots.items() if key != at}
        if held is not None:
            slots[at] = held
            self.ever[base[1], at] = held
        return slots

    def _jump(
        self, pc: int, function: int, insn: Insn, state: _State, slots: _Slots
    ) -> list[tuple[int, int, _State, _Slots]]:
        operation = insn.opcode & 0xF0
        if operation == EXIT:
            return []
        if operation == CALL:
            result = None
            if insn.opcode == CALL_IMM and not insn.src and insn.imm in _GIVE_KERNEL:
                result = (_KERNEL, 0, 0) if self.kernel else None
            elif insn.opcode == CALL_IMM and insn.src == PSEUDO_KFUNC_CALL and self.gives_kernel(insn.imm):
                result = (_KERNEL, 0, 0)
            after = (result, None, None, None, None, None, *state[6:])
            out = [(pc + 1, function, after, slots)]
            if insn.opcode == CALL_IMM and insn.src == PSEUDO_CALL:
                start = pc + insn.imm + 1
                entry = (None, *state[1:6], None, None, None, None, (_STACK, start, 0), *_NO_REGISTERS)
                out.append((start, start, entry, {}))
            elif insn.opcode == CALL_IMM and not insn.src and insn.imm in _CALLBACKS:
                register, handed, arrives = _CALLBACKS[insn.imm]
                callback = state[register]
                if callback is not None and callback[0] == _FUNCTION:
                    start = callback[1]
                    first: list[tuple[str, int, int] | None] = [None] * 16
                    first[arrives] = state[handed]
                    first[10] = (_STACK, start, 0)
                    out.append((start, start, tuple(first), {}))
            return out
        if operation == JA:
            far = insn.imm if insn.opcode & 7 == JMP32 else insn.off
            return [(pc + 1 + far, function, state, slots)]
        return [(pc + 1, function, state, slots), (pc + 1 + insn.off, function, state, slots)]


def _put(state: _State, register: int, held: tuple[str, int, int] | None) -> _State:
    return (*state[:register], held, *state[register + 1 :])


def _join(a: _State, b: _State) -> _State:
    return tuple(
        x if x == y or _is_kernel(x) else y if _is_kernel(y) else None for x, y in zip(a, b, strict=True)
    )


def _loses(before: _State, after: _State) -> bool:
    return any(x is not None and x[0] == _CTX and y is None for x, y in zip(before, after, strict=True))


def _is_kernel(held: tuple[str, int, int] | None) -> bool:
    return held is not None and held[0] == _KERNEL


def _join_slots(a: _Slots, b: _Slots) -> _Slots:
    return {at: held for at, held in a.items() if b.get(at) == held}
