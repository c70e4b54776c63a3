"""Loads and stores through pointers to the kernel's structs."""

from __future__ import annotations

from probee.verifier.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.verifier.state import Reg
    from probee.verifier.walk import Walk


def access(
    w: Walk, reg: Reg, number: int, off: int, size: int, *, write: bool, dst: int, value: int
) -> Reg | None:
    raise Unsupported("BTF pointers")


def map_access(w: Walk, reg: Reg, number: int, off: int, size: int, *, write: bool, dst: int) -> Reg | None:
    raise Unsupported("loads through map pointers")


def matches(reg: Reg, btf: Btf, id: int, *, strict: bool) -> bool:
    raise Unsupported("BTF pointers as arguments")
