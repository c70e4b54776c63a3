"""The compiler's view of a header: a struct that knows its class."""

from __future__ import annotations

from ..types import Member, Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .header import HeaderType

METHODS = ("compute_checksum", "update")


class HeaderStruct(Struct):
    """The struct of a `Header` class."""

    __slots__ = ("cls",)

    def __init__(self, cls: HeaderType, members: tuple[Member, ...]) -> None:
        super().__init__(cls.__name__, cls._size_, members, align=1)
        self.cls = cls
