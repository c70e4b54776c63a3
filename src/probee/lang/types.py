"""Types of the typed IR.

A type says what a value is; a `Ptr` also says where it points (`Space`), and that alone decides whether a
read is a direct load, a `probe_read_kernel` or a `probe_read_user`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Space(Enum):
    """Where a pointer points."""

    TRUSTED = "kernel memory trusted by BTF"  # direct loads; the verifier knows the type
    KERNEL = "kernel memory"  # probe_read_kernel
    USER = "user memory"  # probe_read_user
    MAP = "a map value"
    STACK = "the stack"
    PACKET = "a packet"
    PACKET_READ = "a packet that this kind of program can only read"
    CONTEXT = "the context"
    CALLER = "memory of the caller"  # the context of a syscall program, which it may write
    RECORD = "a ring buffer record"
    GLOBAL = "a global"  # .data/.bss/.rodata
    ARENA = "an arena"  # of a process: addresses mean the same there; no helper takes them
    CODE = "code"


class Type:
    """Base of all types. `size` is in bytes, 0 where it has none."""

    __slots__ = ()
    size: int = 0


class Void(Type):
    __slots__ = ()

    def __repr__(self) -> str:
        return "void"


class Int(Type):
    """A fixed-width integer; `bits` 1 is the result of a comparison, stored as one byte."""

    __slots__ = ("bits", "signed", "size")

    def __init__(self, bits: int, signed: bool) -> None:
        self.bits = bits
        self.signed = signed
        self.size = max(1, bits // 8)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NetInt):
            return False
        return isinstance(other, Int) and (self.bits, self.signed) == (other.bits, other.signed)

    def __hash__(self) -> int:
        return hash((self.bits, self.signed))

    def __repr__(self) -> str:
        return "bool" if self.bits == 1 else f"{'i' if self.signed else 'u'}{self.bits}"


class EnumInt(Int):
    """An integer declared as the enum `name` ("" if it has none), of the kernel or the program.

    In all ways the integer it derives from; BTF tells its enumerators, and CO-RE never lets an enum stand for
    an int. Those of the kernel's enums are not listed.
    """

    __slots__ = ("enumerators", "name")

    def __init__(
        self, name: str, bits: int, signed: bool, enumerators: tuple[tuple[str, int], ...] = ()
    ) -> None:
        super().__init__(bits, signed)
        self.name = name
        self.enumerators = enumerators


class NetInt(Int):
    """An unsigned integer as protocols have it: in network byte order, or some bits of such a word.

    In memory it is `unit` bits wide. Its low `swap` bits (0: none, for a byte) are in network order; the
    number is `bits` wide and starts `shift` bits above the lowest of them. The builder converts.
    """

    __slots__ = ("shift", "swap", "unit")

    def __init__(self, bits: int, unit: int = 0, swap: int = -1, shift: int = 0) -> None:
        super().__init__(bits, False)
        self.unit = unit or bits
        self.swap = (self.unit if self.unit > 8 else 0) if swap < 0 else swap
        self.shift = shift
        self.size = self.unit // 8

    @property
    def plain(self) -> Int:
        """What is loaded and stored."""
        return Int(self.unit, False)

    @property
    def whole(self) -> bool:
        """It is all of its word: writing it needs no reading."""
        return not self.shift and self.bits == (self.swap or self.unit)

    def _key(self) -> tuple[int, ...]:
        return (self.bits, self.unit, self.swap, self.shift)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NetInt) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"be{self.bits}" if self.whole else f"{self.bits} bits of a be{self.unit}"


class Chars(Type):
    """`Char[n]`: text of at most n bytes, ended by NUL or by the end of the field."""

    __slots__ = ("n", "size")

    def __init__(self, n: int) -> None:
        self.n = self.size = n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Chars) and self.n == other.n

    def __hash__(self) -> int:
        return hash(("Chars", self.n))

    def __repr__(self) -> str:
        return f"Char[{self.n}]"


class Array(Type):
    """`n` elements of one type; n = 0 for a kernel struct's flexible array."""

    __slots__ = ("elem", "n", "size")

    def __init__(self, elem: Type, n: int) -> None:
        self.elem = elem
        self.n = n
        self.size = elem.size * n

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Array) and (self.elem, self.n) == (other.elem, other.n)

    def __hash__(self) -> int:
        return hash(("Array", self.elem, self.n))

    def __repr__(self) -> str:
        return f"{self.elem!r}[{self.n}]"


class Member:
    """A field. `name` is "" for an anonymous struct or union; `bit_size` is 0 unless a bitfield."""

    __slots__ = ("bit_offset", "bit_size", "name", "type")

    def __init__(self, name: str, type: Type, bit_offset: int, bit_size: int = 0) -> None:
        self.name = name
        self.type = type
        self.bit_offset = bit_offset
        self.bit_size = bit_size


class Struct(Type):
    """A struct or union; compared by identity.

    `core` marks a kernel type: its fields are reached through CO-RE relocations, and its `members` are
    made on first use (kernel types are cyclic). `align` is 0 where it follows from the members.
    """

    __slots__ = ("_make", "_members", "align", "core", "name", "size", "union")

    def __init__(
        self,
        name: str,
        size: int,
        members: tuple[Member, ...] | Callable[[], tuple[Member, ...]],
        *,
        union: bool = False,
        core: bool = False,
        align: int = 0,
    ) -> None:
        self.name = name
        self.align = align
        self.size = size
        self.union = union
        self.core = core
        self._members: tuple[Member, ...] | None = None
        self._make: Callable[[], tuple[Member, ...]] | None = None
        if callable(members):
            self._make = members
        else:
            self._members = members

    @property
    def members(self) -> tuple[Member, ...]:
        if self._members is None:
            assert self._make is not None
            self._members = self._make()
        return self._members

    def find(self, name: str) -> tuple[int, ...] | None:
        """Indexes that lead to the field, through anonymous members; None if there is no such field."""
        for i, m in enumerate(self.members):
            if m.name == name:
                return (i,)
            if not m.name and isinstance(m.type, Struct) and (rest := m.type.find(name)) is not None:
                return (i, *rest)
        return None

    def names(self) -> list[str]:
        """All field names that `find` finds."""
        out: list[str] = []
        for m in self.members:
            if m.name:
                out.append(m.name)
            elif isinstance(m.type, Struct):
                out += m.type.names()
        return out

    def __repr__(self) -> str:
        return f"{'union' if self.union else 'struct'} {self.name or '(anonymous)'}"


class Special(Struct):
    """A struct that the kernel knows by its name, and alone may touch: `bpf_timer`, `bpf_spin_lock`…

    `contains`: of a list or tree, the struct of its objects and the field that links them.
    """

    __slots__ = ("contains",)

    def __init__(
        self,
        name: str,
        size: int,
        members: tuple[Member, ...],
        *,
        contains: tuple[Type, str] | None = None,
    ) -> None:
        super().__init__(name, size, members)
        self.contains = contains


class Code(Type):
    """A function of the kernel's that pointers lead to: what a callback has to be like."""

    __slots__ = ("params", "ret")

    def __init__(self, params: tuple[Type, ...], ret: Type) -> None:
        self.params = params
        self.ret = ret

    def __repr__(self) -> str:
        return "a function"


class InnerMap(Type):
    """A map found in a map of maps; `map` is the declaration of what those are like."""

    __slots__ = ("map",)

    def __init__(self, map: Any) -> None:
        self.map = map

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InnerMap) and self.map is other.map

    def __hash__(self) -> int:
        return hash(("InnerMap", id(self.map)))

    def __repr__(self) -> str:
        return f"{type(self.map).__name__} map"


class Ptr(Type):
    """A pointer: what it points to, where, and whether it may be NULL."""

    __slots__ = ("nullable", "space", "to")
    size = 8

    def __init__(self, to: Type, space: Space, nullable: bool = False) -> None:
        self.to = to
        self.space = space
        self.nullable = nullable

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ptr) and (self.to, self.space, self.nullable) == (
            other.to,
            other.space,
            other.nullable,
        )

    def __hash__(self) -> int:
        return hash(("Ptr", self.to, self.space, self.nullable))

    def __repr__(self) -> str:
        return f"{'nullable ' if self.nullable else ''}pointer to {self.to!r} in {self.space.value}"


class Kptr(Ptr):
    """A pointer in a map's value that owns what it leads to; `tag` is its kind in BTF."""

    __slots__ = ("tag",)

    def __init__(self, to: Type, tag: str) -> None:
        super().__init__(to, Space.KERNEL)
        self.tag = tag

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kptr) and (self.to, self.tag) == (other.to, other.tag)

    def __hash__(self) -> int:
        return hash(("Kptr", self.to, self.tag))

    def __repr__(self) -> str:
        return f"kptr to {self.to!r}"


def kernel_part(t: Type) -> str:
    """The name of a field in a type that the kernel alone may touch, so that it can't be copied; or ""."""
    if isinstance(t, Array):
        return kernel_part(t.elem)
    if isinstance(t, Struct) and not t.core:
        for member in t.members:
            if isinstance(member.type, (Special, Kptr)):
                return member.name
            if inside := kernel_part(member.type):
                return f"{member.name}.{inside}"
    return ""


VOID = Void()
BOOL = Int(1, False)
I8, I16, I32, I64 = Int(8, True), Int(16, True), Int(32, True), Int(64, True)
U8, U16, U32, U64 = Int(8, False), Int(16, False), Int(32, False), Int(64, False)
