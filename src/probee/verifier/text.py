"""Numbers in the kernel's words."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.scalars import Num


def number_text(value: int) -> str:
    """Small numbers in decimal, large ones in hexadecimal digits."""
    if -0xFFFF <= value <= 0xFFFF:
        return str(value)
    return f"{value:#x}" if value >= 0 else f"{value & (1 << 64) - 1:#x}"


def bits_text(num: Num) -> str:
    """The known bits: `(0x0; 0xff)`, or the number if all are known."""
    if not num.mask:
        return number_text(num.value)
    return f"({num.value:#x}; {num.mask:#x})"
