"""Text to BPF code: both dialects of `disasm`, with labels.

One instruction a line. `name:` is a label; branches, `call` and `func(…)` take labels.
Comments begin with `;` or `//`, and with `#` at the start of a word.

    r0 = 0
    again:
    r0 += 1
    if r0 < 10 goto again
    exit
"""

from __future__ import annotations

import re
import struct

from probee.errors import ProbeeError
from probee.isa import insn as i_
from probee.isa.disasm import _ARITH, _ATOMIC, _COMPARE, PSEUDO_NAMES
from probee.isa.insn import Insn, encode
from probee.isa.tables import HELPERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class AssemblyError(ProbeeError, ValueError):
    """A line that is no instruction. `line` counts from 1, `text` is the line."""

    def __init__(self, message: str, *, line: int = 0, text: str = "") -> None:
        self.line = line
        self.text = text
        super().__init__(f"line {line}: {message}: {text}" if line else message)


_UNSIGNED = r"(?:0[xX][0-9a-fA-F]+|\d+)"
_NUM = rf"[+-]?{_UNSIGNED}"
_TARGET = rf"(?:pc\s*)?{_NUM}|[A-Za-z_.$][\w.$]*"
_ADDR = rf"r(\d+)(?:\s*([+-])\s*({_UNSIGNED}))?"
_MEM = rf"\(([us])(8|16|32|64) \*\)\s*\({_ADDR}\)"

_SIZES = {8: i_.B, 16: i_.H, 32: i_.W, 64: i_.DW}
_ARITH_CODES = {symbol: code for code, symbol in _ARITH.items()}
_COMPARE_CODES = {symbol: code for code, symbol in _COMPARE.items()}
_ATOMIC_SYMBOLS = {symbol: code for code, (_, symbol) in _ATOMIC.items()}
_ATOMIC_NAMES = {name: code for code, (name, _) in _ATOMIC.items()}
_PSEUDO_CODES = {name: code for code, name in PSEUDO_NAMES.items()}

# What an instruction refers to by name, resolved when all labels are known.
_OFF, _IMM = 0, 1


class _Line:
    """An instruction being built: its slots, and a label one of its fields waits for."""

    __slots__ = ("field", "label", "slots")

    def __init__(self, *slots: Insn, label: str = "", field: int = _OFF) -> None:
        self.slots = slots
        self.label = label
        self.field = field


def _number(text: str) -> int:
    return int(text, 16 if "x" in text.lower() else 10)


def _reg(text: str) -> int:
    number = int(text)
    if number > 10:
        raise AssemblyError(f"there is no register {number}; they are 0 to 10")
    return number


def _imm32(text: str) -> int:
    value = _number(text)
    if not -(1 << 31) <= value < 1 << 32:
        raise AssemblyError(f"{text} does not fit in 32 bits")
    return value - (1 << 32) if value >= 1 << 31 else value


def _off16(sign: str | None, text: str | None) -> int:
    if text is None:
        return 0
    value = -_number(text) if sign == "-" else _number(text)
    return _fits16(value)


def _fits16(value: int) -> int:
    if not -(1 << 15) <= value < 1 << 15:
        raise AssemblyError(f"an offset of {value} does not fit in 16 bits")
    return value


def _same_width(*registers: str) -> bool:
    """Whether the registers are the 64-bit ones; AssemblyError if they are mixed."""
    kinds = {r[0] for r in registers}
    if len(kinds) != 1:
        raise AssemblyError(f"32-bit and 64-bit registers are mixed: {', '.join(registers)}")
    return kinds == {"r"}


def _branch(insn: Insn, target: str, field: int) -> _Line:
    bare = target[2:].strip() if re.match(r"pc\s*[+-]", target) else target
    if not re.fullmatch(_NUM, bare):
        return _Line(insn, label=target, field=field)
    if field == _OFF:
        insn.off = _fits16(_number(bare))
    else:
        insn.imm = _imm32(bare)
    return _Line(insn)


def _alu_reg(m: re.Match[str]) -> _Line:
    dst, sign, symbol, src = m.groups()
    is64 = _same_width(dst, src)
    code, off = _arith(sign + symbol)
    return _Line(Insn((i_.ALU64 if is64 else i_.ALU) | i_.X | code, _reg(dst[1:]), _reg(src[1:]), off))


def _alu_imm(m: re.Match[str]) -> _Line:
    dst, sign, symbol, value = m.groups()
    code, off = _arith(sign + symbol)
    cls = i_.ALU64 if dst[0] == "r" else i_.ALU
    return _Line(Insn(cls | i_.K | code, _reg(dst[1:]), 0, off, _imm32(value)))


def _arith(symbol: str) -> tuple[int, int]:
    """The operation and the offset that makes it signed."""
    code = _ARITH_CODES.get(symbol)
    if code is not None:
        return code, 0
    if symbol in ("s/=", "s%="):
        return _ARITH_CODES[symbol[1:]], 1
    raise AssemblyError(f"there is no operation {symbol}")


def _neg(m: re.Match[str]) -> _Line:
    dst, src = m.groups()
    if dst != src:
        raise AssemblyError("a negation works in place: both registers must be the same")
    return _Line(Insn((i_.ALU64 if dst[0] == "r" else i_.ALU) | i_.NEG, _reg(dst[1:])))


def _swap(m: re.Match[str]) -> _Line:
    dst, name, bits, src = m.groups()
    if dst != src:
        raise AssemblyError("a byte swap works in place: both registers must be the same")
    code = {"le": i_.ALU, "be": i_.ALU | i_.X, "bswap": i_.ALU64}[name]
    return _Line(Insn(code | i_.END, _reg(dst[1:]), imm=int(bits)))


def _movsx(m: re.Match[str]) -> _Line:
    dst, bits, src = m.groups()
    is64 = _same_width(dst, src)
    if bits == "32" and not is64:
        raise AssemblyError("(s32) extends to 64 bits: use the r registers")
    code = (i_.ALU64 if is64 else i_.ALU) | i_.MOV | i_.X
    return _Line(Insn(code, _reg(dst[1:]), _reg(src[1:]), int(bits)))


def _space_cast(m: re.Match[str]) -> _Line:
    dst, src, dst_as, src_as = m.groups()
    spaces = (_number(dst_as), _number(src_as))
    if not all(0 <= s < 1 << 16 for s in spaces):
        raise AssemblyError("an address space is a number of 16 bits")
    imm = _imm32(str(spaces[0] << 16 | spaces[1]))
    return _Line(Insn(i_.ALU64 | i_.MOV | i_.X, _reg(dst), _reg(src), 1, imm))


def _check_width(register: str, bits: str) -> None:
    if register[0] == "w" and bits == "64":
        raise AssemblyError(f"{register} has 32 bits; use r{register[1:]}")


def _load(m: re.Match[str]) -> _Line:
    dst, sign, bits, src, minus, off = m.groups()
    _check_width(dst, bits)
    if sign == "s" and bits == "64":
        raise AssemblyError("there is no s64 load; use u64")
    mode = i_.MEMSX if sign == "s" else i_.MEM
    return _Line(Insn(i_.LDX | mode | _SIZES[int(bits)], _reg(dst[1:]), _reg(src), _off16(minus, off)))


def _store_reg(m: re.Match[str]) -> _Line:
    _, bits, dst, minus, off, src = m.groups()
    _check_width(src, bits)
    return _Line(Insn(i_.STX | i_.MEM | _SIZES[int(bits)], _reg(dst), _reg(src[1:]), _off16(minus, off)))


def _store_imm(m: re.Match[str]) -> _Line:
    _, bits, dst, minus, off, value = m.groups()
    return _Line(Insn(i_.ST | i_.MEM | _SIZES[int(bits)], _reg(dst), 0, _off16(minus, off), _imm32(value)))


def _packet_abs(m: re.Match[str]) -> _Line:
    return _Line(Insn(i_.LD | i_.ABS | _SIZES[int(m[1])], imm=_imm32(m[2])))


def _packet_ind(m: re.Match[str]) -> _Line:
    imm = _imm32(m[3]) if m[3] else 0
    return _Line(Insn(i_.LD | i_.IND | _SIZES[int(m[1])], src=_reg(m[2]), imm=imm))


def _atomic(size: int, dst: str, minus: str | None, off: str | None, src: str, op: int) -> _Line:
    if size < 4 and op not in (i_.LOAD_ACQUIRE, i_.STORE_RELEASE):
        raise AssemblyError("atomic operations are on 32 or 64 bits")
    return _Line(Insn(i_.STX | i_.ATOMIC | _SIZES[size * 8], _reg(dst), _reg(src), _off16(minus, off), op))


def _lock(m: re.Match[str]) -> _Line:
    _, bits, dst, minus, off, symbol, src = m.groups()
    return _atomic(int(bits) // 8, dst, minus, off, src[1:], _ATOMIC_SYMBOLS[symbol])


def _fetch(m: re.Match[str]) -> _Line:
    result, name, _, bits, dst, minus, off, src = m.groups()
    if result != src:
        raise AssemblyError("the old value goes to the register that held the operand")
    op = i_.XCHG if name == "xchg" else _ATOMIC_NAMES[name.removeprefix("fetch_")] | i_.FETCH
    return _atomic(int(bits) // 8, dst, minus, off, src[1:], op)


def _cmpxchg(m: re.Match[str]) -> _Line:
    _, bits, dst, minus, off, src = m.groups()
    return _atomic(int(bits) // 8, dst, minus, off, src[1:], i_.CMPXCHG)


def _llvm_xchg(m: re.Match[str]) -> _Line:
    result, wide, dst, minus, off, src = m.groups()
    if result != src:
        raise AssemblyError("the old value goes to the register that held the operand")
    return _atomic(8 if wide == "_64" else 4, dst, minus, off, src[1:], i_.XCHG)


def _llvm_cmpxchg(m: re.Match[str]) -> _Line:
    wide, dst, minus, off, src = m.groups()
    return _atomic(8 if wide == "_64" else 4, dst, minus, off, src[1:], i_.CMPXCHG)


def _load_acquire(m: re.Match[str]) -> _Line:
    dst, _, bits, src, minus, off = m.groups()
    return _atomic(int(bits) // 8, dst[1:], minus, off, src, i_.LOAD_ACQUIRE)


def _store_release(m: re.Match[str]) -> _Line:
    _, bits, dst, minus, off, src = m.groups()
    return _atomic(int(bits) // 8, dst, minus, off, src[1:], i_.STORE_RELEASE)


def _wide(dst: str, source: int, low: int, high: int, label: str = "") -> _Line:
    return _Line(Insn(i_.LD_IMM64, _reg(dst), source, 0, low), Insn(0, imm=high), label=label, field=_IMM)


def _lddw(m: re.Match[str]) -> _Line:
    value = _number(m[2])
    if not -(1 << 63) <= value < 1 << 64:
        raise AssemblyError(f"{m[2]} does not fit in 64 bits")
    low, high = struct.unpack("<ii", (value & (1 << 64) - 1).to_bytes(8, "little"))
    return _wide(m[1], 0, low, high)


def _lddw_kernel(m: re.Match[str]) -> _Line:
    """`r1 = 0x5` of the kernel's dialect is a wide immediate only where it fits nowhere else."""
    value = _number(m[2])
    if -(1 << 31) <= value < 1 << 32:
        return _Line(Insn(i_.ALU64 | i_.MOV | i_.K, _reg(m[1]), imm=_imm32(m[2])))
    return _lddw(m)


def _pseudo(m: re.Match[str]) -> _Line:
    dst, name, first, second = m.groups()
    high = _imm32(second) if second else 0
    if re.fullmatch(_NUM, first):
        return _wide(dst, _PSEUDO_CODES[name], _imm32(first), high)
    if name != "func":
        raise AssemblyError(f"{first} is no number; only func() takes a label")
    return _wide(dst, i_.PSEUDO_FUNC, 0, high, label=first)


def _ld_pseudo(m: re.Match[str]) -> _Line:
    source = _number(m[2])
    if source not in PSEUDO_NAMES:
        raise AssemblyError(f"there is no pseudo source {source}")
    return _wide(m[1], source, _imm32(m[3]), 0)


def _if_reg(m: re.Match[str]) -> _Line:
    left, symbol, right, target = m.groups()
    cls = i_.JMP if _same_width(left, right) else i_.JMP32
    return _branch(Insn(cls | i_.X | _COMPARE_CODES[symbol], _reg(left[1:]), _reg(right[1:])), target, _OFF)


def _if_imm(m: re.Match[str]) -> _Line:
    left, symbol, right, target = m.groups()
    cls = i_.JMP if left[0] == "r" else i_.JMP32
    return _branch(Insn(cls | i_.K | _COMPARE_CODES[symbol], _reg(left[1:]), imm=_imm32(right)), target, _OFF)


def _goto(m: re.Match[str]) -> _Line:
    name, target = m.groups()
    if name == "gotol":
        return _branch(Insn(i_.JMP32 | i_.JA), target, _IMM)
    return _branch(Insn(i_.JMP | (i_.JCOND if name == "may_goto" else i_.JA)), target, _OFF)


def _call(m: re.Match[str]) -> _Line:
    target = m[1]
    if re.match(r"pc\s*[+-]", target):
        return _branch(Insn(i_.CALL_IMM, src=i_.PSEUDO_CALL), target, _IMM)
    if re.fullmatch(_NUM, target):
        return _Line(Insn(i_.CALL_IMM, imm=_imm32(target)))
    name, _, number = target.partition("#")
    if number:
        return _Line(Insn(i_.CALL_IMM, imm=_imm32(number)))
    helper = HELPERS.get(name.removeprefix("bpf_")) if name.startswith("bpf_") else None
    if helper is not None:
        return _Line(Insn(i_.CALL_IMM, imm=helper[0]))
    return _branch(Insn(i_.CALL_IMM, src=i_.PSEUDO_CALL), target, _IMM)


def _kfunc(m: re.Match[str]) -> _Line:
    off = _fits16(_number(m[2])) if m[2] else 0
    return _Line(Insn(i_.CALL_IMM, src=i_.PSEUDO_KFUNC_CALL, off=off, imm=_imm32(m[1])))


def _raw(m: re.Match[str]) -> _Line:
    value = _number(m[1])
    if not 0 <= value < 1 << 64:
        raise AssemblyError(f"{m[1]} does not fit in 8 bytes")
    # The number is the slot read as a 64-bit number, so the byte order decides at the end.
    return _Line(label=f".8byte {value}")


_R = r"([rw]\d+)"
_SYMBOLS = "|".join(re.escape(s) for s in sorted(_COMPARE_CODES, key=len, reverse=True))
_FETCHES = "|".join(f"fetch_{n}" for n in _ATOMIC_NAMES)

_FORMS: list[tuple[re.Pattern[str], Callable[[re.Match[str]], _Line]]] = [
    (re.compile(pattern), make)
    for pattern, make in (
        (rf"{_R} = \*{_MEM}", _load),
        (rf"\*{_MEM} = {_R}", _store_reg),
        (rf"\*{_MEM} = ({_NUM})", _store_imm),
        (rf"if {_R} ({_SYMBOLS}) {_R} goto ({_TARGET})", _if_reg),
        (rf"if {_R} ({_SYMBOLS}) ({_NUM}) goto ({_TARGET})", _if_imm),
        (rf"(goto|gotol|may_goto) ({_TARGET})", _goto),
        (r"exit", lambda m: _Line(Insn(i_.EXIT_INSN))),
        (rf"call kfunc\(({_NUM})(?:, ({_NUM}))?\)", _kfunc),
        (rf"call ((?:{_TARGET})(?:#\d+)?)", _call),
        (r"callx r(\d+)", lambda m: _Line(Insn(i_.JMP | i_.CALL | i_.X, _reg(m[1])))),
        (r"gotox r(\d+)", lambda m: _Line(Insn(i_.JMP | i_.JA | i_.X, _reg(m[1])))),
        (rf"r(\d+) = ({_NUM}) ll", _lddw),
        (rf"r(\d+) = ({'|'.join(_PSEUDO_CODES)})\(({_TARGET})(?:, ({_NUM}))?\)(?: ll)?", _pseudo),
        (rf"ld_pseudo r(\d+), ({_NUM}), ({_NUM})", _ld_pseudo),
        (rf"r(\d+) = addr_space_cast\(r(\d+), ({_NUM}), ({_NUM})\)", _space_cast),
        (rf"{_R} = (le|be|bswap)(16|32|64) {_R}", _swap),
        (rf"{_R} = \(s(8|16|32)\)\s*{_R}", _movsx),
        (rf"{_R} = -{_R}", _neg),
        (rf"r(\d+) = ({_NUM})", _lddw_kernel),
        (rf"{_R} (s?)([-+*/|&%^]=|<<=|>>=|=) {_R}", _alu_reg),
        (rf"{_R} (s?)([-+*/|&%^]=|<<=|>>=|=) ({_NUM})", _alu_imm),
        (rf"r0 = \*\(u(8|16|32) \*\)skb\[({_NUM})\]", _packet_abs),
        (rf"r0 = \*\(u(8|16|32) \*\)skb\[r(\d+)(?: \+ ({_NUM}))?\]", _packet_ind),
        (rf"lock \*{_MEM} ([+|&^]=) {_R}", _lock),
        (rf"{_R} = atomic(?:64)?_(xchg|{_FETCHES})\({_MEM}, {_R}\)", _fetch),
        (rf"[rw]0 = atomic(?:64)?_cmpxchg\({_MEM}, [rw]0, {_R}\)", _cmpxchg),
        (rf"{_R} = xchg(_64|32_32)\({_ADDR}, {_R}\)", _llvm_xchg),
        (rf"[rw]0 = cmpxchg(_64|32_32)\({_ADDR}, [rw]0, {_R}\)", _llvm_cmpxchg),
        (rf"{_R} = load_acquire\({_MEM}\)", _load_acquire),
        (rf"store_release\({_MEM}, {_R}\)", _store_release),
        (rf"\.8byte ({_NUM})", _raw),
    )
]
_LABEL = re.compile(r"([A-Za-z_.$][\w.$]*):")
_COMMENT = re.compile(r"//|;|(?:^|(?<=\s))#")


def _parse(text: str) -> _Line:
    for pattern, make in _FORMS:
        m = pattern.fullmatch(text)
        if m is not None:
            return make(m)
    raise AssemblyError("not a BPF instruction")


def assemble(text: str, *, endian: str = "little") -> bytes:
    """The code of `text`.

    Raises:
        AssemblyError (a ValueError): a line is no instruction, a label is missing, a number does not fit.
    """
    slots: list[Insn] = []
    raw: dict[int, int] = {}  # slot -> its value as `.8byte` gives it
    labels: dict[str, int] = {}
    waiting: list[tuple[int, _Line, int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        found = _COMMENT.search(line)
        rest = " ".join((line[: found.start()] if found else line).split())
        while m := _LABEL.match(rest):
            if m[1] in labels:
                raise AssemblyError("this label is defined twice", line=number, text=line.strip())
            labels[m[1]] = len(slots)
            rest = rest[m.end() :].strip()
        if not rest:
            continue
        try:
            made = _parse(rest)
        except AssemblyError as e:
            raise AssemblyError(str(e), line=number, text=line.strip()) from None
        if not made.slots:
            raw[len(slots)] = int(made.label.split()[1])
            slots.append(Insn(0))
            continue
        if made.label:
            waiting.append((len(slots), made, number, line.strip()))
        slots += made.slots
    for at, made, number, line in waiting:
        if made.label not in labels:
            raise AssemblyError(f"there is no label {made.label}", line=number, text=line)
        distance = labels[made.label] - at - 1
        if made.field == _IMM:
            made.slots[0].imm = distance
        elif not -(1 << 15) <= distance < 1 << 15:
            raise AssemblyError(f"{made.label} is too far away; use gotol", line=number, text=line)
        else:
            made.slots[0].off = distance
    code = bytearray(encode(slots, endian))
    for at, value in raw.items():
        struct.pack_into("<Q" if endian == "little" else ">Q", code, 8 * at, value)
    return bytes(code)
