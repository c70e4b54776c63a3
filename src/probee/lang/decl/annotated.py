"""`Annotated[str, 16]`: fields of fixed size in the spelling of type checkers, without the cost of typing."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Annotated:
    """`comm: Annotated[str, 16]` is `Char[16]`, `Annotated[list[u32], 4]` is `u32[4]`: what checkers accept.

    The same as `typing.Annotated`, which fields take as well.
    """

    __slots__ = ("__metadata__", "__origin__")

    def __init__(self, origin: Any, metadata: tuple[Any, ...]) -> None:
        self.__origin__ = origin
        self.__metadata__ = metadata

    def __class_getitem__(cls, of: Any) -> Annotated:
        if not isinstance(of, tuple) or len(of) < 2:
            raise TypeError("Annotated takes a type and what is said of it: Annotated[str, 16]")
        return cls(of[0], of[1:])

    def __repr__(self) -> str:
        return f"Annotated[{self.__origin__!r}, {', '.join(map(repr, self.__metadata__))}]"
