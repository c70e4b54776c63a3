"""Steps of arithmetic instructions: moves, sums, pointers and numbers put together."""

from __future__ import annotations

from probee.isa.insn import (
    ADD,
    ALU64,
    AND,
    ARSH,
    DIV,
    END,
    LSH,
    MOD,
    MOV,
    MUL,
    NEG,
    OR,
    RSH,
    SUB,
    XOR,
    X,
)
from probee.verifier import arithmetic, tnum
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.precision import mark_precise
from probee.verifier.scalars import (
    S32_MAX,
    S32_MIN,
    S64_MAX,
    S64_MIN,
    U32,
    U64,
    UNKNOWN,
    Num,
    broken,
    byte_swap,
    const,
    raw,
    sign_extend,
    sign_extend32,
    unbounded,
    zero_extend32,
)
from probee.verifier.state import (
    ADD_CONST,
    ARENA,
    BASE,
    BTF_ID,
    BUF,
    CTX,
    DYNPTR,
    FLOW_KEYS,
    FUNC,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    MEM,
    NOT_INIT,
    PACKET,
    PACKET_META,
    SCALAR,
    STACK,
    TP_BUFFER,
    UNKNOWN_REG,
    ZERO_NUM,
    Reg,
    constant,
    pointer,
    scalar,
    tied,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.isa.insn import Insn
    from probee.verifier.walk import Walk

    Step = Callable[[], int]

MAX_OFFSET = 1 << 29
OPERATORS = {
    ADD: "+=",
    SUB: "-=",
    MUL: "*=",
    DIV: "/=",
    OR: "|=",
    AND: "&=",
    LSH: "<<=",
    RSH: ">>=",
    NEG: "neg",
    MOD: "%=",
    XOR: "^=",
    MOV: "=",
    ARSH: "s>>=",
    END: "endian",
}
_PLAIN_POINTERS = {MAP_VALUE, MAP_KEY, STACK, PACKET, PACKET_META, MEM, BUF}
_MOVABLE = {CTX, MAP_VALUE, MAP_KEY, STACK, PACKET_META, PACKET, TP_BUFFER, BTF_ID, MEM, BUF, FUNC, DYNPTR}


def read(regs: list[Reg], number: int) -> Reg:
    """The register's contents.

    Raises:
        Reject: nothing was written to it.
    """
    if number > 10:
        raise Reject(f"R{number} is invalid")
    reg = regs[number]
    if reg.type == NOT_INIT:
        raise Reject(f"R{number} !read_ok")
    return reg


def check_writable(number: int) -> None:
    if number > 10:
        raise Reject(f"R{number} is invalid")
    if number == 10:
        raise Reject("frame pointer is read only")


def with_id(w: Walk, regs: list[Reg], number: int, reg: Reg) -> Reg:
    """Before a scalar is copied it gets an id, so that what is learnt of one copy counts for the other."""
    num = reg.num
    if reg.id & ADD_CONST:
        reg = scalar(num)
    if not reg.id and num.mask:
        w.next_id += 1
        reg = tied(num, w.next_id)
    regs[number] = reg
    return reg


def make(w: Walk, index: int, insn: Insn) -> Step:
    """The step of an ALU or ALU64 instruction."""
    op = insn.opcode & 0xF0
    if op == MOV:
        return _move_reg(w, index, insn) if insn.opcode & X else _move_imm(w, index, insn)
    if op in (NEG, END):
        return _unary(w, index, insn)
    if op > END:
        return _refuse(f"invalid BPF_ALU opcode {op:x}")
    return _binary_reg(w, index, insn) if insn.opcode & X else _binary_imm(w, index, insn)


def _refuse(message: str) -> Step:
    def step() -> int:
        raise Reject(message)

    return step


def _move_imm(w: Walk, index: int, insn: Insn) -> Step:
    if insn.src or insn.off:
        return _refuse("BPF_MOV uses reserved fields")
    following, dst = index + 1, insn.dst
    value = insn.imm if insn.opcode & 7 == ALU64 else insn.imm & U32
    reg = scalar(const(value))

    def step() -> int:
        if dst >= 10:
            check_writable(dst)
        w.regs[dst] = reg
        return following

    return step


def _move_reg(w: Walk, index: int, insn: Insn) -> Step:
    following, dst, src, off = index + 1, insn.dst, insn.src, insn.off
    wide = insn.opcode & 7 == ALU64
    if wide and off == 1:
        return _cast_address(w, index, insn)
    extends = w.context.at_least(6, 6)
    if insn.imm or off not in ((0, 8, 16, 32) if wide else (0, 8, 16)) or (off and not extends):
        return _refuse("BPF_MOV uses reserved fields")
    sync, sane = w.context.numbers.sync, w.context.numbers.sane

    def copy() -> int:
        regs = w.regs
        reg = regs[src] if src <= 10 else read(regs, src)
        if dst >= 10:
            read(regs, src)
            check_writable(dst)
        if reg.type == SCALAR:
            if reg.num.mask and (not reg.id or reg.id & ADD_CONST):
                reg = with_id(w, regs, src, reg)
            elif reg.id & ADD_CONST:
                reg = regs[src] = scalar(reg.num)
        elif reg.type == NOT_INIT:
            raise Reject(f"R{src} !read_ok")
        regs[dst] = reg
        return following

    def narrow() -> int:
        regs = w.regs
        reg = read(regs, src)
        check_writable(dst)
        if reg.type != SCALAR:
            regs[dst] = scalar(sync(*zero_extend32(UNKNOWN).fields)) if not wide else UNKNOWN_REG
            return following
        keeps = extends and (reg.num.umax <= U32 if not off else reg.num.umax < 1 << off - 1)
        if keeps:
            reg = with_id(w, regs, src, reg)
        num = reg.num
        if wide:
            num = sign_extend(num, off // 8)
        else:
            if off:
                num = sign_extend32(num, off // 8)
            num = sync(*zero_extend32(num).fields)
        if sane and broken(num):
            num = unbounded(num)
        regs[dst] = tied(num, reg.id if keeps else 0, reg.off)
        return following

    return copy if wide and not off else narrow


def _cast_address(w: Walk, index: int, insn: Insn) -> Step:
    """An arena pointer from the user's address space to the kernel's, or back."""

    def step() -> int:
        if insn.imm not in (1, 1 << 16):
            raise Reject("addr_space_cast insn can only convert between address space 1 and 0")
        if not w.context.arena:
            raise Reject("addr_space_cast insn can only be used in a program that has an associated arena")
        read(w.regs, insn.src)
        check_writable(insn.dst)
        w.regs[insn.dst] = pointer(ARENA, num=UNKNOWN) if insn.imm == 1 else UNKNOWN_REG
        return index + 1

    return step


def _unary(w: Walk, index: int, insn: Insn) -> Step:
    op, dst, is32 = insn.opcode & 0xF0, insn.dst, insn.opcode & 7 != ALU64
    if op == NEG and (insn.opcode & X or insn.src or insn.off or insn.imm):
        return _refuse("BPF_NEG uses reserved fields")
    always = insn.opcode & 7 == ALU64
    swaps = always or bool(insn.opcode & X)  # on a little-endian machine
    numbers = w.context.numbers
    follows_swaps, negates = numbers.swaps, numbers.negates
    if op == END and (
        insn.src
        or insn.off
        or insn.imm not in (16, 32, 64)
        or (always and (insn.opcode & X or not w.context.at_least(6, 6)))
    ):
        return _refuse("BPF_END uses reserved fields")

    def step() -> int:
        regs = w.regs
        reg = read(regs, dst)
        check_writable(dst)
        if op == NEG and reg.type == SCALAR and negates:
            num = arithmetic.apply(NEG, is32, reg.num, reg.num)
            regs[dst] = scalar(unbounded(num) if broken(num) else num)
        elif op == END and reg.type == SCALAR and follows_swaps:
            regs[dst] = scalar(byte_swap(reg.num, insn.imm // 8, swaps=swaps))
        else:
            regs[dst] = UNKNOWN_REG
        return index + 1

    return step


def _binary_imm(w: Walk, index: int, insn: Insn) -> Step:
    following, dst = index + 1, insn.dst
    op, is32 = insn.opcode & 0xF0, insn.opcode & 7 != ALU64
    signed = op in (DIV, MOD) and w.context.at_least(6, 6)
    if insn.src or insn.off not in (0, 1) or (insn.off and not signed):
        return _refuse("BPF_ALU uses reserved fields")
    late = ""
    if op in (DIV, MOD) and insn.imm == 0:
        late = "div by zero"
    elif op in (LSH, RSH, ARSH) and not 0 <= insn.imm < (32 if is32 else 64):
        late = f"invalid shift {insn.imm}"
    value = const(insn.imm)
    numbers = w.context.numbers
    apply, sane = numbers.apply, numbers.sane
    forks = op in (AND, OR) and numbers.forks
    delta = insn.imm if op == ADD else -insn.imm
    adds = not is32 and _keeps_tie(w, op, delta)

    exact = arithmetic.CONCRETE[is32].get(op)
    by = value.value
    moves = op == ADD and not is32

    def step() -> int:
        regs = w.regs
        reg = regs[dst] if dst <= 10 else read(regs, dst)
        if late or dst >= 10:
            read(regs, dst)
            if late:
                raise Reject(late)
            check_writable(dst)
        if reg.type != SCALAR:
            if reg.type == NOT_INIT:
                raise Reject(f"R{dst} !read_ok")
            if reg.type & BASE == ARENA:
                return following
            if moves and reg.type in _PLAIN_POINTERS:
                off = reg.off + delta
                if -MAX_OFFSET < off < MAX_OFFSET and reg.num is ZERO_NUM:
                    regs[dst] = reg.moved(off)
                    return following
            regs[dst] = adjust_pointer(w, op, is32, dst, reg, value, own=True)
            return following
        num = reg.num
        if exact is not None and not num.mask and (not reg.id or reg.id & ADD_CONST or not adds):
            regs[dst] = constant(exact(num.value, by))
            return following
        if forks and num.mask:
            reg = fork_signs(w, index, dst, reg)
            num = reg.num
        num = apply(op, is32, num, value)
        if reg.id and adds and not reg.id & ADD_CONST:
            regs[dst] = tied(num, reg.id | ADD_CONST, delta)
        else:
            regs[dst] = scalar(num)
        if sane and broken(num):
            regs[dst] = scalar(unbounded(num))
        return following

    return step


def _keeps_tie(w: Walk, op: int, delta: int) -> bool:
    """Whether a number plus `delta` stays tied to what it was (once)."""
    if op == ADD and 0 <= delta <= S32_MAX:
        return w.context.at_least(6, 11)
    return op in (ADD, SUB) and S32_MIN <= delta <= S32_MAX and w.context.at_least(6, 18)


def fork_signs(w: Walk, index: int, dst: int, reg: Reg) -> Reg:
    """A number that is 0 or -1 (a spread sign bit) before a mask is put on it: each of both is walked."""
    num = reg.num
    if num.smin == -1 and num.smax == 0:
        other = w.fork(index, index)
        other.frames[-1].regs[dst] = _known(reg, const(0))
        reg = w.regs[dst] = _known(reg, const(-1))
    elif num.s32min == -1 and num.s32max == 0:
        other = w.fork(index, index)
        other.frames[-1].regs[dst] = _known(reg, _known_half(num, 0))
        reg = w.regs[dst] = _known(reg, _known_half(num, -1))
    return reg


def _known(reg: Reg, num: Num) -> Reg:
    return tied(num, reg.id, reg.off)


def _known_half(num: Num, low: int) -> Num:
    bits = low & U32
    return raw(num.value & ~U32 | bits, num.mask & ~U32, *num.fields[2:6], low, low, bits, bits)


def _binary_reg(w: Walk, index: int, insn: Insn) -> Step:
    following, dst, src = index + 1, insn.dst, insn.src
    op, is32 = insn.opcode & 0xF0, insn.opcode & 7 != ALU64
    signed = op in (DIV, MOD) and w.context.at_least(6, 6)
    if insn.imm or insn.off not in (0, 1) or (insn.off and not signed):
        return _refuse("BPF_ALU uses reserved fields")
    numbers = w.context.numbers
    apply, sane = numbers.apply, numbers.sane
    forks = op in (AND, OR) and numbers.forks

    def step() -> int:
        regs = w.regs
        b = regs[src] if src <= 10 else read(regs, src)
        if b.type == NOT_INIT:
            raise Reject(f"R{src} !read_ok")
        a = regs[dst] if dst <= 10 else read(regs, dst)
        if a.type == NOT_INIT:
            raise Reject(f"R{dst} !read_ok")
        if dst == 10:
            check_writable(dst)
        if a.type == SCALAR and b.type == SCALAR:
            num = a.num
            other = b.num
            if forks and num.mask and not other.mask:
                a = fork_signs(w, index, dst, a)
                num = a.num
            num = apply(op, is32, num, other)
            delta = other.smin if op == ADD else -other.smin
            ties = a.id and not is32 and not other.mask and src != dst and not a.id & ADD_CONST
            if ties and _keeps_tie(w, op, delta):
                regs[dst] = tied(num, a.id | ADD_CONST, delta)
            else:
                regs[dst] = scalar(num)
            if sane and broken(num):
                regs[dst] = scalar(unbounded(num))
            return following
        if a.type & BASE == ARENA or b.type & BASE == ARENA:
            if a.type & BASE != ARENA:
                regs[dst] = b
            return following
        if b.type != SCALAR:
            if a.type != SCALAR:
                if op != SUB:
                    raise Reject(f"R{dst} pointer {OPERATORS[op]} pointer prohibited")
                regs[dst] = UNKNOWN_REG
                return following
            mark_precise(w, dst)
            regs[dst] = adjust_pointer(w, op, is32, dst, b, a.num, own=False, delta=a.off)
            return following
        mark_precise(w, src)
        regs[dst] = adjust_pointer(w, op, is32, dst, a, b.num, own=True, delta=b.off)
        return following

    return step


def _check_sane(num: Num, off: int, type: int) -> None:
    name = type_name(type)
    value = num.smin if not num.mask else 0
    if not num.mask and not -MAX_OFFSET < value < MAX_OFFSET:
        raise Reject(f"math between {name} pointer and {value} is not allowed")
    if not -MAX_OFFSET < off < MAX_OFFSET:
        raise Reject(f"{name} pointer offset {off} is not allowed")
    if num.smin == S64_MIN:
        raise Reject(f"math between {name} pointer and register with unbounded min value is not allowed")
    if not -MAX_OFFSET < num.smin < MAX_OFFSET:
        raise Reject(f"value {num.smin} makes {name} pointer be out of bounds")


def adjust_pointer(
    w: Walk, op: int, is32: bool, dst: int, ptr: Reg, by: Num, *, own: bool, delta: int = 0
) -> Reg:
    """`ptr` plus or minus a number. `own`: the pointer is the destination, not the other operand.
    `delta`: how far the number is from the one it is tied to.

    Raises:
        Reject: the kind of pointer, the operator or the offset aren't allowed.
    """
    known = not by.mask
    if (known and (by.smin != by.smax or by.umin != by.umax)) or by.smin > by.smax or by.umin > by.umax:
        return UNKNOWN_REG
    if is32:
        if op == SUB:
            return UNKNOWN_REG
        raise Reject(f"R{dst} 32-bit pointer arithmetic prohibited")
    type = ptr.type
    if type & MAYBE_NULL:
        raise Reject(f"R{dst} pointer arithmetic on {type_name(type)} prohibited, null-check it first")
    base = type & BASE
    if base not in _MOVABLE and not (
        (base == FLOW_KEYS and known)
        or (base in (MAP_PTR, FLOW_KEYS) and known and by.smin == 0 and op == ADD)
    ):
        raise Reject(f"R{dst} pointer arithmetic on {type_name(type)} prohibited")
    _check_sane(by, delta, type)
    _check_sane(ptr.num, ptr.off, type)
    if op in (AND, OR, XOR):
        raise Reject(f"R{dst} bitwise operator {OPERATORS[op]} on pointer prohibited")
    if op not in (ADD, SUB):
        raise Reject(f"R{dst} pointer arithmetic with {OPERATORS[op]} operator prohibited")
    if op == SUB:
        if not own:
            raise Reject(f"R{dst} tried to subtract pointer from scalar")
        if base == STACK:
            raise Reject(f"R{dst} subtraction from stack pointer prohibited")
    sign = 1 if op == ADD else -1
    if known and S32_MIN <= ptr.off + sign * by.smin <= S32_MAX:
        off = ptr.off + sign * by.smin
        _check_sane(ptr.num, off, type)
        return ptr.but(off=off)
    num = _moved(ptr.num, by, op)
    _check_sane(num, ptr.off, type)
    num = w.context.numbers.sync(*num.fields)
    if base in (PACKET, PACKET_META):
        keeps = op == SUB and by.smin >= 0
        return ptr.but(num=num, id=w.new_id(), range=ptr.range if keeps else 0)
    return ptr.but(num=num)


def _moved(a: Num, b: Num, op: int) -> Num:
    if op == ADD:
        bits = tnum.add((a.value, a.mask), (b.value, b.mask))
        low, high = a.smin + b.smin, a.smax + b.smax
        ulow, uhigh = a.umin + b.umin, a.umax + b.umax
    else:
        bits = tnum.sub((a.value, a.mask), (b.value, b.mask))
        low, high = a.smin - b.smax, a.smax - b.smin
        ulow, uhigh = a.umin - b.umax, a.umax - b.umin
    if low < S64_MIN or high > S64_MAX:
        low, high = S64_MIN, S64_MAX
    if ulow < 0 or uhigh > U64:
        ulow, uhigh = 0, U64
    return raw(*bits, low, high, ulow, uhigh, S32_MIN, S32_MAX, 0, U32)


__all__ = ["Unsupported", "check_writable", "make", "read"]
