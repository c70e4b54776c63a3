"""Declared globals: `Const`, which Python sets before the load, and `Global`, which both share."""

from __future__ import annotations

from ...errors import ProbeeError
from .structs import normalise
from .types import coerce, default, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .maps import MapDecl
    from .types import DeclType

_ARENA = 33  # enum bpf_map_type


class _VarMeta(type):
    def __getitem__(cls, type_: Any) -> Callable[..., Any]:
        t = normalise(type_, cls.__name__)

        def declare(value: Any = None, **options: Any) -> Any:
            return cls(t, value, **options)

        return declare


class Var(metaclass=_VarMeta):
    """Base of `Const` and `Global`. `type` is the declared type, `default` the value in the object, `section`
    the name of the map that it lies in, "" for that of all others.

    While a session holds it, `_live` is the session's `globals` and `.value` is the memory of the program.
    """

    __slots__ = ("_live", "_value", "default", "name", "section", "type")

    def __init__(self, type: DeclType, value: Any = None, *, section: str = "") -> None:
        self.type = type
        if not isinstance(section, str) or (section and not (section.isascii() and section.isidentifier())):
            from .refuse import refuse

            word = self.__class__.__name__
            raise refuse(f"{word}[{type!r}]: section= is a name, not {section!r}", 'write section="counters"')
        self.section = section
        try:
            self.default = self._value = default(type) if value is None else coerce(type, value)
        except (ValueError, TypeError) as e:
            from .refuse import refuse

            word = self.__class__.__name__
            raise refuse(f"{word}[{type!r}]: the value can't be {value!r}", str(e)) from None
        self.name = ""
        self._live: Any = None

    @property
    def value(self) -> Any:
        return self._value if self._live is None else getattr(self._live, self.name)

    @value.setter
    def value(self, value: Any) -> None:
        self._value = coerce(self.type, value)
        if self._live is not None:
            self._set_live(self._value)

    def _set_live(self, value: Any) -> None:
        setattr(self._live, self.name, value)

    def initial(self) -> bytes | None:
        """The memory to start with if it differs from `default`, else None."""
        now = pack(self.type, self._value)
        return None if now == pack(self.type, self.default) else now

    def __int__(self) -> int:
        return int(self.value)

    __index__ = __int__

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}[{self.type!r}] {self.name or 'unnamed'} = {self.value!r}>"


class Const(Var):
    """A value that programs read and only Python sets, before `bp.attach()`: `target = Const[u32](0)`.

    It lives in read-only memory, so the verifier knows it and drops the branches it rules out. Setting it
    does not compile the program anew. `section="tables"` puts it into a map of its own, `.rodata.tables`.
    """

    __slots__ = ()

    def _set_live(self, value: Any) -> None:
        raise ProbeeError(
            f"{self.name}: a Const is fixed once loaded; set it before bp.attach(), or use Global"
        )


class Global(Var):
    """A variable that programs and Python share: `total = Global[u64](0)`, used as `total.value`.

    With `arena` it lies in the module's arena (Linux 6.9), where pointers of programs can lead to it.
    `section="counters"` puts it into a map of its own, `.data.counters`, with others of that name.
    """

    __slots__ = ("arena",)

    def __init__(
        self, type: DeclType, value: Any = None, *, arena: MapDecl | None = None, section: str = ""
    ) -> None:
        super().__init__(type, value, section=section)
        if arena is not None and section:
            from .refuse import refuse

            raise refuse(f"Global[{type!r}]: an arena has no sections", "drop section=")
        if arena is not None and getattr(arena, "kind", 0) != _ARENA:
            from .refuse import refuse

            raise refuse(f"Global[{type!r}]: arena= takes the module's bp.Arena, not {arena!r}")
        self.arena = arena
