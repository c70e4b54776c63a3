"""What an expression evaluates to while a program is compiled.

Some of it exists at run time (numbers, references, pointers), some only in the compiler: Python objects such
as constants, maps and functions, which programs use but the kernel never sees.
"""

from __future__ import annotations

from collections.abc import Callable

from .types import Ptr, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from types import CodeType
    from typing import Any

    from .flow import Fresh
    from .hooks import ContextObject
    from .ir import Value


class Item:
    """Base of all."""

    __slots__ = ()


class Num(Item):
    """An integer in flight: `I64`, `U64`, or the `BOOL` of a comparison.

    `origin` is the local it was just read from, with that local's version: what a key slot may be shared by.
    `given` is what it was before it became a number, where that matters later.
    """

    __slots__ = ("given", "origin", "v")

    def __init__(self, v: Value, origin: tuple[str, int] | None = None) -> None:
        self.v = v
        self.given: Item | None = None
        self.origin = origin


class Py(Item):
    """A Python object known to the compiler."""

    __slots__ = ("obj",)

    def __init__(self, obj: Any) -> None:
        self.obj = obj


class Ref(Item):
    """A reference to a struct, array or text: `ptr` is its address.

    `maybe` is the expression that may be None ("" when it can't be), `shared` says that other CPUs write
    there too, `fresh` and `offset` tie it to the zeroed memory it lies in, as long as nobody else knows the
    address. `origin` holds the locals it was read from and the `Site`s that made it. `writable` marks a place
    in the context that the kernel lets the program write.
    """

    __slots__ = ("fresh", "maybe", "offset", "origin", "ptr", "shared", "writable")

    def __init__(
        self,
        ptr: Value,
        *,
        maybe: str = "",
        shared: bool = False,
        fresh: Fresh | None = None,
        offset: int = 0,
        origin: frozenset[object] = frozenset(),
        writable: bool = False,
    ) -> None:
        assert isinstance(ptr.type, Ptr)
        self.writable = writable
        self.origin = origin
        self.ptr = ptr
        self.maybe = maybe
        self.shared = shared
        self.fresh = fresh
        self.offset = offset

    @property
    def type(self) -> Type:
        assert isinstance(self.ptr.type, Ptr)
        return self.ptr.type.to


class Kept(Ref):
    """What a pointer in a map's value leads to, with the place of that pointer."""

    __slots__ = ("place",)

    def __init__(self, ptr: Value, place: Value, maybe: str) -> None:
        super().__init__(ptr, maybe=maybe)
        self.place = place


class Pointer(Item):
    """A pointer found in kernel or user memory: it may be NULL, and reading through NULL gives 0."""

    __slots__ = ("v",)

    def __init__(self, v: Value) -> None:
        assert isinstance(v.type, Ptr)
        self.v = v

    @property
    def to(self) -> Type:
        assert isinstance(self.v.type, Ptr)
        return self.v.type.to


class Opt(Item):
    """A snapshot that may be None: `present` is a BOOL, `item` a `Num` or `Ref`; `name` is for messages."""

    __slots__ = ("item", "name", "present")

    def __init__(self, present: Value, item: Item, name: str) -> None:
        self.present = present
        self.item = item
        self.name = name


class Entry(Item):
    """`m[k]` of a map whose values are structs or arrays, and what lies in it: looked up when it is used.

    `path` are fields (str) and elements (Item) that lead from the value to the place.
    """

    __slots__ = ("key", "map", "path", "type")

    def __init__(self, map: Any, key: Item, type: Type, path: tuple[str | Item, ...] = ()) -> None:
        self.map = map
        self.key = key
        self.type = type
        self.path = path


class TextCall(Item):
    """Text that a helper writes where it is wanted: `comm()`, `user_str(p)`.

    `fill(dst)` writes it to a `Chars` and defines every byte; `size` is its natural size, 0 without one.
    """

    __slots__ = ("fill", "name", "size")

    def __init__(self, name: str, size: int, fill: Callable[[Value], None]) -> None:
        self.name = name
        self.size = size
        self.fill = fill


class Context(Item):
    """A hook's parameter with fields (`args`)."""

    __slots__ = ("obj",)

    def __init__(self, obj: ContextObject) -> None:
        self.obj = obj


class Group(Item):
    """A tuple display: there to be unpacked."""

    __slots__ = ("items",)

    def __init__(self, items: list[Item]) -> None:
        self.items = items


class Closure(Item):
    """A function defined inside a program: its code, and its syntax."""

    __slots__ = ("code", "node")

    def __init__(self, code: CodeType, node: ast.FunctionDef) -> None:
        self.code = code
        self.node = node

    @property
    def name(self) -> str:
        return self.node.name


class Method(Item):
    """`m.get` and the like, before the call."""

    __slots__ = ("name", "of")

    def __init__(self, of: Item, name: str) -> None:
        self.of = of
        self.name = name
