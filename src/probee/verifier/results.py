"""What a program may return."""

from __future__ import annotations

from probee.verifier.alu import read
from probee.verifier.callbacks import out_of_range
from probee.verifier.errors import Reject
from probee.verifier.precision import mark_precise
from probee.verifier.return_rules import return_rule
from probee.verifier.state import SCALAR, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.context import Context
    from probee.verifier.walk import Walk


def check(context: Context, w: Walk, number: int = 0) -> None:
    """R`number` at the end of the program, of a global function or of an asynchronous callback.

    Raises:
        Reject: Linux doesn't allow the value.
    """
    frame = w.state.frames[0]
    where = "At program exit"
    name = f"R{number}"
    if frame.in_async:
        low, high, bits32 = 0, 0, False
        where = "At async callback return"
        read(w.regs, number)
    else:
        target = context.target
        rule = return_rule(
            context.kind,
            context.attach,
            hook=target.name if target is not None and target.kind == "lsm" else "",
            void=target.void if target is not None else False,
            typed=bool(context.program.attach_btf_id),
            kernel=context.kernel,
        )
        in_function = frame.subprog and not frame.in_exception
        if not rule.read and not in_function:
            return
        read(w.regs, number)
        if in_function:
            reg = w.regs[number]
            if reg.type != SCALAR:
                raise Reject(
                    f"At subprogram exit the register {name} is not a scalar value ({type_name(reg.type)})"
                )
            return
        if context.kind == "struct_ops":
            reg = w.regs[number]
            if reg.ref and context.returns_pointer:
                return
        if not rule.checked:
            return
        low, high, bits32 = rule.low, rule.high, rule.bits32
    reg = w.regs[number]
    if reg.type != SCALAR:
        raise Reject(f"{where} the register {name} is not a known value ({type_name(reg.type)})")
    mark_precise(w, number)
    num = reg.num
    fits = (low <= num.s32min and num.s32max <= high) if bits32 else (low <= num.smin and num.smax <= high)
    if not fits:
        raise Reject(out_of_range(num, where, low, high, name))
