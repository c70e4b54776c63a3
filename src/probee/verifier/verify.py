"""`verify()`: what Linux's verifier will say of a program."""

from __future__ import annotations

from probee.verifier.verdict import UNSUPPORTED, Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.verifier.program import Program


def verify(
    program: Program, *, kernel: str = "live", kernel_btf: Btf | None = None, log_level: int = 0
) -> Verdict:
    """The verdict on `program`.

    Args:
        program: instructions, maps, types, purpose.
        kernel: the Linux version whose rules count ("5.10", "6.1", "6.12", "6.18"), "live" for the running one.
        kernel_btf: the kernel's BTF where the program needs it (kernel functions, typed arguments).
        log_level: 1 or 2 for `Verdict.log` in the form of the kernel's log.
    """
    return Verdict(UNSUPPORTED, "the walk is not there yet")
