"""Declared fields that belong to the kernel: timers, locks, lists, trees, pointers that it keeps.

Python sees none of what they hold: such a field reads as None, and only programs use it, through methods.
"""

from __future__ import annotations

from .refuse import refuse
from .types import ArrayType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .. import types


class OpaqueType(type):
    """The class of fields that the kernel knows by the name of their struct."""

    kernel: str = ""
    size: int = 0
    align: int = 8
    _made: types.Struct | None = None

    def __call__(cls, *args: object, **kwargs: object) -> Any:
        raise refuse(f"a {cls.__name__} is a field of a struct", f"write `name: bp.{cls.__name__}` in it")

    def __getitem__(cls, n: int) -> ArrayType:
        return ArrayType(cls, n)  # type: ignore[arg-type]

    def __repr__(cls) -> str:
        return cls.__name__

    @property
    def _size_(cls) -> int:
        return cls.size

    @property
    def _align_(cls) -> int:
        return cls.align

    def _zero_(cls) -> None:
        return None

    def _coerce_(cls, value: Any) -> None:
        if value is not None:
            raise TypeError(f"a {cls.__name__} belongs to the kernel: it has no value")

    def _pack_(cls, value: Any) -> bytes:
        return bytes(cls.size)

    def _unpack_(cls, data: bytes) -> None:
        return None

    def _ir_(cls) -> types.Type:
        from .. import types

        if cls._made is None:
            word = types.U64 if cls.align == 8 else types.U32
            inside = types.Array(word, cls.size // word.size)
            member = types.Member("__opaque", inside, 0)
            cls._made = types.Special(cls.kernel, cls.size, (member,))
        return cls._made


class Timer(metaclass=OpaqueType):
    """A timer in a map's value (Linux 5.15), with `init`, `set_callback`, `start` and `cancel`."""

    kernel, size, align = "bpf_timer", 16, 8


class WorkQueue(metaclass=OpaqueType):
    """Work to be done later by a kernel thread, in a map's value (Linux 6.10)."""

    kernel, size, align = "bpf_wq", 16, 8


class TaskWork(metaclass=OpaqueType):
    """Work to be done by a task on its way back to user space, in a map's value (Linux 6.18)."""

    kernel, size, align = "bpf_task_work", 8, 8


class SpinLock(metaclass=OpaqueType):
    """A lock in a map's value or of a global (Linux 5.1): `with value.lock:`."""

    kernel, size, align = "bpf_spin_lock", 4, 4


class ResSpinLock(metaclass=OpaqueType):
    """A lock that fails instead of hanging (Linux 6.15): `with value.lock:` skips the body then."""

    kernel, size, align = "bpf_res_spin_lock", 4, 4


class Refcount(metaclass=OpaqueType):
    """Makes objects of `bp.obj_new` that several may own (Linux 6.4)."""

    kernel, size, align = "bpf_refcount", 4, 4


class ListNode(metaclass=OpaqueType):
    """What makes an object of `bp.obj_new` fit to be in a list (Linux 6.2)."""

    kernel, size, align = "bpf_list_node", 24, 8


class RbNode(metaclass=OpaqueType):
    """What makes an object of `bp.obj_new` fit to be in a tree (Linux 6.3)."""

    kernel, size, align = "bpf_rb_node", 32, 8


class HeadType:
    """`ListHead[Node, "link"]`: a list or tree of such objects, linked by that field of theirs."""

    __slots__ = ("kernel", "link", "made", "size", "to")
    _align_ = 8

    def __init__(self, kernel: str, to: Any, link: str) -> None:
        self.kernel = kernel
        self.size = 16
        self.to = to
        self.link = link
        self.made: types.Special | None = None

    @property
    def _size_(self) -> int:
        return self.size

    def __getitem__(self, n: int) -> ArrayType:
        return ArrayType(self, n)  # type: ignore[arg-type]

    def _zero_(self) -> None:
        return None

    def _coerce_(self, value: Any) -> None:
        if value is not None:
            raise TypeError(f"{self!r} belongs to the kernel: it has no value")

    def _pack_(self, value: Any) -> bytes:
        return bytes(self.size)

    def _unpack_(self, data: bytes) -> None:
        return None

    def _ir_(self) -> types.Type:
        from .. import types

        if self.made is None:
            inside = types.Member("__opaque", types.Array(types.U64, 2), 0)
            self.made = types.Special(self.kernel, self.size, (inside,), contains=(self.to._ir_(), self.link))
        return self.made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeadType) and (self.kernel, self.to, self.link) == (
            other.kernel,
            other.to,
            other.link,
        )

    def __hash__(self) -> int:
        return hash((self.kernel, self.link))

    def __repr__(self) -> str:
        name = "ListHead" if "list" in self.kernel else "RbRoot"
        return f"{name}[{self.to!r}, {self.link!r}]"


def _head(name: str, kernel: str, node: Any, of: Any) -> HeadType:
    example = f'write for example {name}[Node, "link"]'
    if not isinstance(of, tuple) or len(of) != 2 or not isinstance(of[1], str):
        raise refuse(f"{name} takes the struct of its objects and the field that links them", example)
    fields = {f.name: f.type for f in getattr(of[0], "_fields_", ())}
    if fields.get(of[1]) is not node:
        raise refuse(f"{name}: {of[0]!r} has no field {of[1]!r} that is a {node.__name__}", example)
    return HeadType(kernel, *of)


class _ListMeta(type):
    def __getitem__(cls, of: Any) -> HeadType:
        return _head("ListHead", "bpf_list_head", ListNode, of)


class ListHead(metaclass=_ListMeta):
    """A list of objects, in a map's value or a global, beside the lock that guards it (Linux 6.2)."""

    if TYPE_CHECKING:  # what pyright and editors see

        def __class_getitem__(cls, of: Any) -> Any: ...
        def __get__(self, obj: object, owner: object = None) -> Any: ...
        def __set__(self, obj: object, value: object) -> None: ...


class _TreeMeta(type):
    def __getitem__(cls, of: Any) -> HeadType:
        return _head("RbRoot", "bpf_rb_root", RbNode, of)


class RbRoot(metaclass=_TreeMeta):
    """A red-black tree of objects, beside the lock that guards it (Linux 6.3)."""

    if TYPE_CHECKING:  # what pyright and editors see

        def __class_getitem__(cls, of: Any) -> Any: ...
        def __get__(self, obj: object, owner: object = None) -> Any: ...
        def __set__(self, obj: object, value: object) -> None: ...


class KptrType:
    """`Kptr["task_struct"]`: a pointer that the map owns: to a kernel object, or one of `bp.obj_new`."""

    __slots__ = ("made", "tag", "to")
    _size_ = _align_ = size = 8

    def __init__(self, to: Any, tag: str) -> None:
        self.to = to
        self.tag = tag
        self.made: types.Kptr | None = None

    def __getitem__(self, n: int) -> ArrayType:
        return ArrayType(self, n)  # type: ignore[arg-type]

    def _zero_(self) -> None:
        return None

    def _coerce_(self, value: Any) -> None:
        if value is not None:
            raise TypeError(f"{self!r} belongs to the kernel: it has no value in Python")

    def _pack_(self, value: Any) -> bytes:
        return bytes(8)

    def _unpack_(self, data: bytes) -> None:
        return None

    def _ir_(self) -> types.Type:
        from .. import types

        if self.made is None:
            if isinstance(self.to, str):
                name = self.to.removeprefix("struct ")
                to: types.Type = types.Struct(name, 0, (), core=True)
            else:
                to = self.to._ir_()
            self.made = types.Kptr(to, self.tag)
        return self.made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KptrType) and (self.to, self.tag) == (other.to, other.tag)

    def __hash__(self) -> int:
        return hash((self.to, self.tag))

    def __repr__(self) -> str:
        name = {"kptr": "Kptr", "percpu_kptr": "PerCpuKptr"}[self.tag]
        return f"{name}[{self.to!r}]"


def _kptr(name: str, tag: str, to: Any) -> KptrType:
    kernel = getattr(to, "kernel_name", None)
    if isinstance(kernel, str):
        to = kernel
    if not isinstance(to, str) and not getattr(to, "_fields_", ()):
        raise refuse(
            f"{name} takes a struct of the kernel by its name, or one of your own",
            f'write {name}["task_struct"]',
        )
    return KptrType(to, tag)


class _KptrMeta(type):
    def __getitem__(cls, to: Any) -> KptrType:
        return _kptr("Kptr", "kptr", to)


class Kptr(metaclass=_KptrMeta):
    """A pointer in a map's value that owns what it leads to (Linux 6.1): `task: Kptr["task_struct"]`."""

    if TYPE_CHECKING:  # what pyright and editors see

        def __class_getitem__(cls, of: Any) -> Any: ...
        def __get__(self, obj: object, owner: object = None) -> Any: ...
        def __set__(self, obj: object, value: object) -> None: ...


class _PerCpuMeta(type):
    def __getitem__(cls, to: Any) -> KptrType:
        return _kptr("PerCpuKptr", "percpu_kptr", to)


class PerCpuKptr(metaclass=_PerCpuMeta):
    """A pointer in a map's value to an object that each CPU has one of (Linux 6.6)."""

    if TYPE_CHECKING:  # what pyright and editors see

        def __class_getitem__(cls, of: Any) -> Any: ...
        def __get__(self, obj: object, owner: object = None) -> Any: ...
        def __set__(self, obj: object, value: object) -> None: ...
