"""What a program may return."""

from __future__ import annotations

from probee.verifier.alu import read
from probee.verifier.errors import Reject
from probee.verifier.state import SCALAR, type_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.context import Context
    from probee.verifier.walk import Walk


def check(context: Context, w: Walk) -> None:
    """R0 at the end of the program, of a global function or of an asynchronous callback.

    Raises:
        Reject: Linux doesn't allow the value.
    """
    frame = w.state.frames[0]
    read(w.regs, 0)
    if frame.in_async:
        context.scalar_result(w, 0, 0, 0, "At async callback return")
        return
    reg = w.regs[0]
    if frame.subprog and not frame.in_exception:
        if reg.type != SCALAR:
            raise Reject(
                f"At subprogram exit the register R0 is not a scalar value ({type_name(reg.type)})"
            )
        return
