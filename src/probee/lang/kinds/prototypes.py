"""The kernel's functions and hooks, as BTF types them."""

from __future__ import annotations

from ...btf.kinds import FUNC, FUNC_PROTO, PTR, STRUCT
from ...errors import CompileError
from ..diag import nearest
from ..types import Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..ktypes import KernelTypes


class Prototype:
    """Names and types of the parameters, and the type of the result."""

    __slots__ = ("params", "ret")

    def __init__(self, params: list[tuple[str, Type]], ret: Type) -> None:
        self.params = params
        self.ret = ret


def function(ktypes: KernelTypes, name: str) -> Prototype | None:
    """A function of the kernel; None if its BTF has none of that name."""
    own = ktypes.home(name, FUNC)
    return _prototype(own[0], own[0].btf.type(own[1]).type) if own is not None else None


def needed(ktypes: KernelTypes, name: str, what: str) -> Prototype:
    """As `function`; raises CompileError, with near names, if there is none."""
    found = function(ktypes, name)
    if found is None:
        shown = name.removeprefix("bpf_lsm_")
        raise CompileError(
            f"this kernel's BTF has no {what} {shown}",
            advice=nearest(shown, _names(ktypes, name)) or "/proc/kallsyms lists the kernel's functions",
        )
    return found


def _names(ktypes: KernelTypes, name: str) -> list[str]:
    """Functions whose names begin as this one does."""
    start = "bpf_lsm_" if name.startswith("bpf_lsm_") else name[:3]
    out = [n for n in ktypes._names(start) if n]
    return out if start == "bpf_lsm_" else [start + n for n in out]


def member(ktypes: KernelTypes, struct: str, name: str) -> Prototype | None:
    """A function pointer of a struct; None if that member is something else."""
    own = ktypes.home(struct, STRUCT)
    if own is not None:
        ktypes = own[0]
    for m in ktypes.btf.type(own[1]).members if own is not None else ():
        if m.name == name:
            of = ktypes.btf.type(ktypes.btf.strip(m.type))
            if of.kind == PTR:
                to = ktypes.btf.strip(of.type)
                if ktypes.btf.type(to).kind == FUNC_PROTO:
                    return _prototype(ktypes, to)
    return None


def _prototype(ktypes: KernelTypes, id: int) -> Prototype:
    proto = ktypes.btf.type(id)
    params = [(name, ktypes.type(t)) for name, t in proto.params if t]
    return Prototype(params, ktypes.type(proto.type))
