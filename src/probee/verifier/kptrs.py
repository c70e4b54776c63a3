"""Kernel pointers in map values."""

from __future__ import annotations

from probee.verifier.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.isa.insn import Insn
    from probee.verifier.calls import Arguments
    from probee.verifier.context import Context
    from probee.verifier.fields import Field
    from probee.verifier.state import Reg
    from probee.verifier.walk import Walk


def access(w: Walk, reg: Reg, field: Field, *, write: bool, value: int, imm: int | None) -> Reg | None:
    raise Unsupported("kernel pointers in maps")


def check_match(w: Walk, field: Field | None, reg: Reg, number: int) -> None:
    raise Unsupported("kernel pointers in maps")


def check_destination(w: Walk, number: int, reg: Reg, args: Arguments) -> None:
    raise Unsupported("kernel pointers in maps")


def taken(context: Context, field: Field | None, null: int) -> Reg:
    raise Unsupported("kernel pointers in maps")


def percpu_result(context: Context, args: Arguments, null: int, percpu: bool) -> Reg:
    raise Unsupported("per-CPU pointers")


def of_variable(context: Context, insn: Insn, second: Insn) -> Reg:
    raise Unsupported("variables of the kernel")
