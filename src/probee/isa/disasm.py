"""BPF code to text.

Two dialects: `llvm` is what llvm-objdump prints (`r1 = *(u32 *)(r2 + 0x8)`), `kernel` what the verifier's log
and bpftool print (`r1 = *(u32 *)(r2 +8)`). `asm.assemble` reads both. Neither has words for everything, so
pseudo sources and calls of subprograms and kernel functions say what they are (`map_fd(0x3, 0x0) ll`,
`call pc+0x5`, `call kfunc(0x7, 0x0)`), and slots that are no instruction, reserved bits included, come as
`.8byte`. So assembling the lines of any code gives the same bytes again.
"""

from __future__ import annotations

import struct

from probee.isa import insn as i_
from probee.isa.insn import Insn, decode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ARITH = {
    i_.ADD: "+=",
    i_.SUB: "-=",
    i_.MUL: "*=",
    i_.DIV: "/=",
    i_.OR: "|=",
    i_.AND: "&=",
    i_.LSH: "<<=",
    i_.RSH: ">>=",
    i_.MOD: "%=",
    i_.XOR: "^=",
    i_.MOV: "=",
    i_.ARSH: "s>>=",
}
_COMPARE = {
    i_.JEQ: "==",
    i_.JGT: ">",
    i_.JGE: ">=",
    i_.JSET: "&",
    i_.JNE: "!=",
    i_.JSGT: "s>",
    i_.JSGE: "s>=",
    i_.JLT: "<",
    i_.JLE: "<=",
    i_.JSLT: "s<",
    i_.JSLE: "s<=",
}
_ATOMIC = {i_.ADD: ("add", "+="), i_.OR: ("or", "|="), i_.AND: ("and", "&="), i_.XOR: ("xor", "^=")}
PSEUDO_NAMES = {
    i_.PSEUDO_MAP_FD: "map_fd",
    i_.PSEUDO_MAP_VALUE: "map_value",
    i_.PSEUDO_BTF_ID: "btf_id",
    i_.PSEUDO_FUNC: "func",
    i_.PSEUDO_MAP_IDX: "map_idx",
    i_.PSEUDO_MAP_IDX_VALUE: "map_idx_value",
}


def _hex(value: int) -> str:
    return f"-{-value:#x}" if value < 0 else f"{value:#x}"


def _signed_hex(value: int) -> str:
    return f"-{-value:#x}" if value < 0 else f"+{value:#x}"


class _Dialect:
    """How the two dialects spell the parts they differ in."""

    __slots__ = ("kernel",)

    def __init__(self, kernel: bool) -> None:
        self.kernel = kernel

    def address(self, reg: int, off: int) -> str:
        if self.kernel:
            return f"r{reg} {off:+d}"
        return f"r{reg} - {-off:#x}" if off < 0 else f"r{reg} + {off:#x}"

    def imm(self, value: int) -> str:
        return str(value) if self.kernel else _hex(value)

    def compared(self, value: int) -> str:
        return f"{value & 0xFFFFFFFF:#x}" if self.kernel else _hex(value)

    def target(self, distance: int) -> str:
        return f"pc{distance:+d}" if self.kernel else _signed_hex(distance)

    def data(self, reg: int, narrow: bool) -> str:
        """A register that is loaded or stored: LLVM shows the 32-bit name for up to 4 bytes."""
        return f"w{reg}" if narrow and not self.kernel else f"r{reg}"


def _alu(n: Insn, d: _Dialect) -> str | None:
    op, is64, by_reg = n.opcode & 0xF0, n.opcode & 7 == i_.ALU64, bool(n.opcode & i_.X)
    r = "r" if is64 else "w"
    if op == i_.END:
        if n.src or n.off or n.imm not in (16, 32, 64) or (is64 and by_reg):
            return None
        name = "bswap" if is64 else "be" if by_reg else "le"
        return f"r{n.dst} = {name}{n.imm} r{n.dst}"
    if op == i_.NEG:
        return None if by_reg or n.src or n.off or n.imm else f"{r}{n.dst} = -{r}{n.dst}"
    sign = ""
    if op == i_.MOV and by_reg and n.off:
        if n.off == 1 and is64:
            dst_as, src_as = n.imm >> 16 & 0xFFFF, n.imm & 0xFFFF
            return f"r{n.dst} = addr_space_cast(r{n.src}, {d.compared(dst_as)}, {d.compared(src_as)})"
        if n.imm or n.off not in ((8, 16, 32) if is64 else (8, 16)):
            return None
        return f"{r}{n.dst} = (s{n.off}){r}{n.src}"
    if n.off:
        if n.off != 1 or op not in (i_.DIV, i_.MOD):
            return None
        sign = "s"
    symbol = _ARITH.get(op)
    if symbol is None or (n.imm if by_reg else n.src):
        return None
    return f"{r}{n.dst} {sign}{symbol} {f'{r}{n.src}' if by_reg else d.imm(n.imm)}"


def _jump(n: Insn, d: _Dialect) -> str | None:
    op, is64, by_reg = n.opcode & 0xF0, n.opcode & 7 == i_.JMP, bool(n.opcode & i_.X)
    symbol = _COMPARE.get(op)
    if symbol is not None:
        if n.imm if by_reg else n.src:
            return None
        r = "r" if is64 else "w"
        right = f"{r}{n.src}" if by_reg else d.compared(n.imm)
        return f"if {r}{n.dst} {symbol} {right} goto {d.target(n.off)}"
    if not is64:
        long_jump = n.opcode == i_.JMP32 | i_.JA and not (n.dst or n.src or n.off)
        return f"gotol {d.target(n.imm)}" if long_jump else None
    if op == i_.CALL:
        return _call(n, d, by_reg)
    if by_reg:
        plain_gotox = op == i_.JA and not (n.src or n.off or n.imm)
        return f"gotox r{n.dst}" if plain_gotox else None
    if n.dst or n.src or n.imm:
        return None
    if op == i_.JA:
        return f"goto {d.target(n.off)}"
    if op == i_.JCOND:
        return f"may_goto {d.target(n.off)}"
    return "exit" if op == i_.EXIT and not n.off else None


def _call(n: Insn, d: _Dialect, by_reg: bool) -> str | None:
    if by_reg:
        return None if n.src or n.off or n.imm else f"callx r{n.dst}"
    if n.dst or (n.off and n.src != i_.PSEUDO_KFUNC_CALL):
        return None
    if n.src == 0:
        return f"call {d.imm(n.imm)}"
    if n.src == i_.PSEUDO_CALL:
        return f"call pc{n.imm:+d}" if d.kernel else f"call pc{_signed_hex(n.imm)}"
    if n.src == i_.PSEUDO_KFUNC_CALL:
        return f"call kfunc({d.imm(n.imm)}, {d.imm(n.off)})"
    return None


def _load(n: Insn, d: _Dialect) -> str | None:
    mode, size = n.opcode & 0xE0, i_.SIZE_BYTES[n.opcode & 0x18]
    if n.opcode & 7 == i_.LDX:
        if n.imm:
            return None
        if mode == i_.MEM:
            return f"{d.data(n.dst, size < 8)} = *(u{size * 8} *)({d.address(n.src, n.off)})"
        if mode == i_.MEMSX and size < 8:
            return f"r{n.dst} = *(s{size * 8} *)({d.address(n.src, n.off)})"
        return None
    if n.dst or n.off or size == 8:
        return None
    if mode == i_.ABS and not n.src:
        return f"r0 = *(u{size * 8} *)skb[{d.imm(n.imm)}]"
    if mode == i_.IND:
        if not n.imm and not d.kernel:
            return f"r0 = *(u{size * 8} *)skb[r{n.src}]"
        return f"r0 = *(u{size * 8} *)skb[r{n.src} + {d.imm(n.imm)}]"
    return None


def _store(n: Insn, d: _Dialect) -> str | None:
    mode, size = n.opcode & 0xE0, i_.SIZE_BYTES[n.opcode & 0x18]
    place = f"*(u{size * 8} *)({d.address(n.dst, n.off)})"
    if n.opcode & 7 == i_.ST:
        return None if n.src or mode != i_.MEM else f"{place} = {d.imm(n.imm)}"
    if mode == i_.MEM:
        return None if n.imm else f"{place} = {d.data(n.src, size < 8)}"
    return _atomic(n, d, size) if mode == i_.ATOMIC else None


def _atomic(n: Insn, d: _Dialect, size: int) -> str | None:
    pointer = f"(u{size * 8} *)({d.address(n.dst, n.off)})"
    src = d.data(n.src, size < 8)
    if n.imm == i_.LOAD_ACQUIRE:
        return f"{d.data(n.dst, size < 8)} = load_acquire((u{size * 8} *)({d.address(n.src, n.off)}))"
    if n.imm == i_.STORE_RELEASE:
        return f"store_release({pointer}, {src})"
    if size < 4:
        return None
    prefix = "atomic64" if size == 8 and d.kernel else "atomic"
    if n.imm == i_.XCHG:
        if d.kernel:
            return f"{src} = {prefix}_xchg({pointer}, {src})"
        name = "xchg_64" if size == 8 else "xchg32_32"
        return f"{src} = {name}({d.address(n.dst, n.off)}, {src})"
    if n.imm == i_.CMPXCHG:
        if d.kernel:
            return f"r0 = {prefix}_cmpxchg({pointer}, r0, {src})"
        name, r0 = ("cmpxchg_64", "r0") if size == 8 else ("cmpxchg32_32", "w0")
        return f"{r0} = {name}({d.address(n.dst, n.off)}, {r0}, {src})"
    known = _ATOMIC.get(n.imm & ~i_.FETCH)
    if known is None:
        return None
    if n.imm & i_.FETCH:
        return f"{src} = {prefix}_fetch_{known[0]}({pointer}, {src})"
    return f"lock *{pointer} {known[1]} {src}"


_BY_CLASS: tuple[Callable[[Insn, _Dialect], str | None], ...] = (
    _load,
    _load,
    _store,
    _store,
    _alu,
    _jump,
    _jump,
    _alu,
)
_DIALECTS = {"llvm": _Dialect(False), "kernel": _Dialect(True)}


def text_of(insn: Insn, *, dialect: str = "llvm") -> str | None:
    """The text of a one-slot instruction, None if it is not a valid one (RFC 9669; reserved fields zero)."""
    if insn.dst > 10 or insn.src > 10:
        return None
    return _BY_CLASS[insn.opcode & 7](insn, _DIALECTS[dialect])


def wide_text(first: Insn, second: Insn, *, dialect: str = "llvm") -> str | None:
    """The text of a 64-bit immediate load, None if the two slots are not one."""
    if first.opcode != i_.LD_IMM64 or first.off or first.dst > 10:
        return None
    if second.opcode or second.dst or second.src or second.off:
        return None
    if first.src == 0:
        value = i_.wide_imm(first.imm, second.imm)
        return f"r{first.dst} = {value:#x}" + ("" if dialect == "kernel" else " ll")
    name = PSEUDO_NAMES.get(first.src)
    if name is None:
        return None
    return f"r{first.dst} = {name}({_hex(first.imm)}, {_hex(second.imm)}) ll"


def disassemble_insns(
    insns: list[Insn], *, dialect: str = "llvm", endian: str = "little"
) -> list[str | None]:
    """One entry a slot, None for the second slot of a wide immediate."""
    out: list[str | None] = []
    i, n = 0, len(insns)
    while i < n:
        insn = insns[i]
        if insn.opcode == i_.LD_IMM64 and i + 1 < n:
            wide = wide_text(insn, insns[i + 1], dialect=dialect)
            if wide is not None:
                out += [wide, None]
                i += 2
                continue
        line = text_of(insn, dialect=dialect)
        if line is None:
            (raw,) = struct.unpack("<Q" if endian == "little" else ">Q", i_.encode([insn], endian))
            line = f".8byte {raw:#018x}"
        out.append(line)
        i += 1
    return out


def disassemble(
    code: bytes | bytearray | memoryview, *, endian: str = "little", dialect: str = "llvm"
) -> list[str]:
    """The lines of `code`, one an instruction (a wide immediate is one line).

    `dialect` is `llvm` or `kernel`. Raises ObjectError if the length is not a multiple of 8.
    """
    lines = disassemble_insns(decode(code, endian), dialect=dialect, endian=endian)
    return [line for line in lines if line is not None]
