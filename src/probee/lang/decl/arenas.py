"""Declared arenas, and pointers that lead into them."""

from __future__ import annotations

from .maps import MapDecl
from .refuse import refuse, user_frame
from .types import PtrType, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...errors import CompileError
    from .. import types
    from .types import DeclType

_MMAPABLE = 1 << 10  # BPF_F_MMAPABLE of linux/bpf.h
_MOST = 1 << 20  # pages: 4 GiB
_PAGE = 4096


class Arena(MapDecl):
    """BPF_MAP_TYPE_ARENA (Linux 6.9): memory that programs and Python share, `Arena(pages=16)`.

    Pages come into being when a program asks for them or Python touches them. `address` is where the arena
    begins in this process; the kernel chooses if it is 0. A module has one arena.
    """

    __slots__ = ()
    kind = 33
    _takes = ()
    _flags = _MMAPABLE
    _example = "write for example Arena(pages=16)"

    def __init__(self, pages: int, *, address: int = 0, **kwargs: Any) -> None:
        super().__init__(pages, **kwargs)
        if pages > _MOST:
            raise refuse(f"Arena: {pages} pages are more than 4 GiB", self._example)
        if not isinstance(address, int) or not 0 <= address < 1 << 47 or address % _PAGE:
            raise refuse(f"Arena: address is a multiple of {_PAGE} in user space, not {address!r}")
        self.extra = address

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key = self.value = None

    def at(self, pointer: Any, of: Any) -> Any:
        """The struct of type `of` that a pointer into the live arena leads to; None for a null one."""
        return self._use().at(pointer, of)

    def array(self, pointer: Any, of: Any, count: int) -> Any:
        """A NumPy array of `count` structs or numbers over the live arena's memory, from a pointer on."""
        return self._use().array(pointer, of, count)


class ArenaPtrType(PtrType):
    """`ArenaPtr[Node]`, `ArenaPtr["Node"]`: an address in the module's arena.

    The struct around it, and those declared later in its module, are given by their names.
    """

    __slots__ = ("missing", "scope")

    def __init__(self, to: Any, scope: dict[str, Any]) -> None:
        super().__init__(to)
        self.scope = scope
        self.missing: CompileError | None = None  # what is said if there is no such struct
        if isinstance(to, str):
            self.declared()

    def declared(self) -> None:
        """This is the line that declares it."""
        self.missing = refuse(
            f'ArenaPtr["{self.to}"]: there is no struct {self.to} in the module',
            "declare it at the top of the module, or give the class itself",
        )

    def target(self) -> Any:
        """What it leads to, None where that is not said."""
        if isinstance(self.to, str):
            found = self.scope.get(self.to)
            if not hasattr(found, "_ir_"):
                assert self.missing is not None
                raise self.missing
            self.to = found
        return self.to

    def _ir_(self) -> types.Type:
        from .. import types

        to = self.target()
        return types.Ptr(types.VOID if to is None else to._ir_(), types.Space.ARENA)

    def _pack_(self, value: Any) -> bytes:
        return u64._pack_(getattr(value, "_pointer", value) or 0)

    def __call__(self, value: Any = 0) -> int:
        return super().__call__(getattr(value, "_pointer", value) or 0)

    _coerce_ = __call__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ArenaPtrType):
            return False
        mine, theirs = self.to, other.to
        names = [t if isinstance(t, str) else getattr(t, "__name__", t) for t in (mine, theirs)]
        return names[0] == names[1]

    def __hash__(self) -> int:
        return hash("ArenaPtr")

    def __repr__(self) -> str:
        return f"ArenaPtr[{self.to!r}]"


class _ArenaPtrMeta(type):
    def __getitem__(cls, to: Any) -> ArenaPtrType:
        if isinstance(to, str):
            if not to.isidentifier():
                raise refuse(f"ArenaPtr takes the name of a struct, not {to!r}", 'write ArenaPtr["Node"]')
            return ArenaPtrType(to, user_frame().f_globals)
        from .structs import StructType, normalise

        if to is None or (isinstance(to, StructType) and "_fields_" not in to.__dict__):
            return ArenaPtrType(to, {})  # the struct around it is still being made
        return ArenaPtrType(normalise(to, "ArenaPtr"), {})

    def __call__(cls, *args: object, **kwargs: object) -> ArenaPtrType:
        raise refuse("ArenaPtr needs what it points to", 'write for example ArenaPtr["Node"]')


if TYPE_CHECKING:  # what type checkers and editors see
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class ArenaPtr(Generic[T]):
        """A pointer into the module's arena: `next: ArenaPtr["Node"]` (Linux 6.9)."""

        def __get__(self, obj: object, owner: object = None) -> Any: ...
        def __set__(self, obj: object, value: object) -> None: ...

else:

    class ArenaPtr(metaclass=_ArenaPtrMeta):
        """A pointer into the module's arena, as a field or a Global: `next: ArenaPtr["Node"]` (Linux 6.9)."""
