"""`__kconfig` values of an object: which types they may have. The conventions are libbpf's."""

from __future__ import annotations

from probee.btf.kinds import ARRAY, ENUM, ENUM64, INT, INT_BOOL, INT_SIGNED
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import Btf

BOOL, TRISTATE, CHAR, NUMBER, TEXT = "bool", "tristate", "char", "number", "text"
_TRISTATE = "libbpf_tristate"


def kind(btf: Btf, type_id: int) -> tuple[str, bool]:
    """Which sort of value a type is for, "" if for none, and whether it is signed."""
    t = btf.type(btf.strip(type_id))
    if t.kind == INT:
        if t.encoding & INT_BOOL:
            return (BOOL if t.size == 1 else ""), False
        signed = bool(t.encoding & INT_SIGNED)
        if t.size == 1:
            return CHAR, signed
        return (NUMBER if t.size in (2, 4, 8) else ""), signed
    if t.kind in (ENUM, ENUM64):
        return (TRISTATE if t.name == _TRISTATE and (t.kind == ENUM64 or t.size == 4) else ""), False
    if t.kind == ARRAY:
        element, _, count = t.array
        inside = btf.type(btf.strip(element))
        if count and inside.kind == INT and kind(btf, element)[0] == CHAR:
            return TEXT, False
    return "", False


def layout(btf: Btf, name: str, type_id: int) -> tuple[int, int]:
    """Size and alignment of a value in the map `.kconfig`. Raises ObjectError for types that have no use."""
    sort, _ = kind(btf, type_id)
    if not sort:
        raise ObjectError(
            f"{name} is a {btf.type(btf.strip(type_id)).kind_name}; values of the kernel's configuration are"
            " bool, char, integers, enum libbpf_tristate or char arrays"
        )
    size = btf.size_of(type_id)
    return size, 1 if sort == TEXT else size
