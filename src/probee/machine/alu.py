"""What arithmetic does, and what conditional jumps compare: the rules of RFC 9669, once, in Python's
integers.

Values are unsigned, of 64 bits where `wide` and of 32 otherwise; results are, too.
"""

from __future__ import annotations

U64 = (1 << 64) - 1
U32 = 0xFFFFFFFF


def signed(value: int, bits: int) -> int:
    """The two's complement number that the lowest `bits` bits of `value` are."""
    half = 1 << (bits - 1)
    return ((value & (2 * half - 1)) ^ half) - half


def divide(a: int, b: int, bits: int) -> int:
    """Signed division as C's, of unsigned numbers that stand for signed ones; 0 by 0."""
    if not b:
        return 0
    x, y = signed(a, bits), signed(b, bits)
    quotient = abs(x) // abs(y)
    return (quotient if (x < 0) == (y < 0) else -quotient) & ((1 << bits) - 1)


def modulo(a: int, b: int, bits: int) -> int:
    """Signed remainder as C's: the sign is that of the dividend; the dividend if the divisor is 0."""
    if not b:
        return a
    x, y = signed(a, bits), signed(b, bits)
    rest = abs(x) % abs(y)
    return (-rest if x < 0 else rest) & ((1 << bits) - 1)


def swap(value: int, bits: int) -> int:
    """The lowest `bits` bits with their bytes in the opposite order."""
    size = bits // 8
    return int.from_bytes((value & ((1 << bits) - 1)).to_bytes(size, "little"), "big")


def compute(name: str, a: int, b: int, wide: bool, off: int = 0) -> int:
    """One arithmetic operation. `a` is the destination's value, `b` the operand's; `off` is movsx' width."""
    bits = 64 if wide else 32
    mask = U64 if wide else U32
    if name in ("le", "be", "bswap"):  # `b` is the number of bits
        return a & ((1 << b) - 1) if name == "le" else swap(a, b)
    a &= mask
    b &= mask
    if name == "mov":
        return b
    if name == "movsx":
        return signed(b, off) & mask
    if name == "neg":
        return -a & mask
    if name == "add":
        return (a + b) & mask
    if name == "sub":
        return (a - b) & mask
    if name == "mul":
        return (a * b) & mask
    if name == "div":
        return a // b if b else 0
    if name == "mod":
        return a % b if b else a
    if name == "sdiv":
        return divide(a, b, bits)
    if name == "smod":
        return modulo(a, b, bits)
    if name == "or":
        return a | b
    if name == "and":
        return a & b
    if name == "xor":
        return a ^ b
    if name == "lsh":
        return (a << (b & (bits - 1))) & mask
    if name == "rsh":
        return a >> (b & (bits - 1))
    if name == "arsh":
        return (signed(a, bits) >> (b & (bits - 1))) & mask
    raise AssertionError(f"no operation {name}")


def compare(name: str, a: int, b: int, wide: bool) -> bool:
    """Whether a conditional jump jumps."""
    bits = 64 if wide else 32
    mask = U64 if wide else U32
    a &= mask
    b &= mask
    if name[0] == "s" and name != "set":
        a, b, name = signed(a, bits), signed(b, bits), name[1:]
    if name == "eq":
        return a == b
    if name == "ne":
        return a != b
    if name == "gt":
        return a > b
    if name == "ge":
        return a >= b
    if name == "lt":
        return a < b
    if name == "le":
        return a <= b
    return bool(a & b)


def atomic(name: str, old: int, operand: int, mask: int) -> int:
    """What an atomic operation, but for cmpxchg, leaves in memory."""
    if name == "add":
        return (old + operand) & mask
    if name == "or":
        return old | operand
    if name == "and":
        return old & operand
    if name == "xor":
        return old ^ operand
    return operand  # xchg
