"""The kernel's own types as IR types, read from BTF when they are used.

A kernel struct is `core`: its offsets here are those of the kernel the program is compiled on, and every
access is relocated on the kernel it runs on. Tracepoints join two sources: which fields there are, and in
which order, is in tracefs' `format` file, where that can be read; the struct to relocate against and the
exact types are in BTF.
"""

from __future__ import annotations

import os

from ..btf.kinds import (
    ARRAY,
    ENUM,
    ENUM64,
    FLOAT,
    FUNC,
    FUNC_PROTO,
    FWD,
    INT,
    PTR,
    STRUCT,
    TYPE_TAG,
    TYPEDEF,
    UNION,
)
from ..errors import CompileError, PermissionDenied, ProbeeError, Unsupported
from .diag import nearest
from .ir import Extern
from .types import (
    BOOL,
    I8,
    I64,
    U8,
    U64,
    VOID,
    Array,
    Chars,
    Code,
    EnumInt,
    Int,
    Member,
    Ptr,
    Space,
    Struct,
    Type,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from ..btf import Btf, BtfType
    from ..btf.parser import BtfMember
    from ..sys.tracefs import Field as FormatField
    from .module_types import Modules

# How a field of a tracepoint's record is reached.
PLAIN = "plain"  # a member of the struct
DATA_LOC = "data_loc"  # a u32 that holds the data's offset from the record and, above 16 bits, its length
REL_LOC = "rel_loc"  # the same, with the offset counted from the end of the u32
ARGUMENT = "argument"  # a register-wide element of `args` of a system call

_C_INTS = {
    "char": I8,
    "signed char": I8,
    "unsigned char": U8,
    "short": Int(16, True),
    "unsigned short": Int(16, False),
    "int": Int(32, True),
    "unsigned": Int(32, False),
    "unsigned int": Int(32, False),
    "long": I64,
    "unsigned long": U64,
    "long long": I64,
    "unsigned long long": U64,
    "bool": BOOL,
    "_Bool": BOOL,
}


class TracepointField:
    """A field as programs name it: member `path` of the record's struct, reached in way `how`.

    `type` is what the value is: for `DATA_LOC` and `REL_LOC` what the data is, for `ARGUMENT` (element
    `index` of the member) what the register is cut to.
    """

    __slots__ = ("how", "index", "name", "path", "type")

    def __init__(self, name: str, how: str, path: tuple[int, ...], type: Type, index: int = 0) -> None:
        self.name = name
        self.how = how
        self.path = path
        self.type = type
        self.index = index


class Tracepoint:
    """A tracepoint's record: `struct` is what the context points to, `fields` are in the record's order."""

    __slots__ = ("event", "fields", "group", "struct")

    def __init__(self, group: str, event: str, struct: Struct, fields: list[TracepointField]) -> None:
        self.group = group
        self.event = event
        self.struct = struct
        self.fields = {f.name: f for f in fields}


class _Lazy(Member):
    """A member of a kernel struct: most are never asked for more than their name."""

    __slots__ = ("_field", "_types")

    def __init__(self, types: KernelTypes, field: BtfMember) -> None:
        self.name = field.name
        self._types = types
        self._field = field

    def __getattr__(self, attribute: str) -> Any:  # what is not set yet
        if attribute not in Member.__slots__:
            raise AttributeError(attribute)
        field, types = self._field, self._types
        type = self.type = types.type(field.type)
        self.bit_offset, self.bit_size = field.bit_offset, field.bit_size
        if not self.bit_size and isinstance(type, Int):  # bitfields of compilers before BTF's kind_flag
            storage = types.btf.type(types.btf.strip(field.type))
            if storage.kind == INT and storage.bits < storage.size * 8:
                self.bit_offset, self.bit_size = self.bit_offset + storage.offset, storage.bits
        return object.__getattribute__(self, attribute)


class KernelTypes:
    """Kernel types by name, for one BTF and one architecture.

    `formats(group, event)` gives the fields of a tracepoint's format file and `events()` all tracepoints as
    group:event; both raise ProbeeError or OSError where tracefs can't be read. Errors are CompileErrors
    without a place: whoever asked knows it. `without` names kernel functions, helpers as `bpf_…`, and
    `may_goto`, that are taken to be missing: so compiles a program for a kernel that has less. `modules` is
    the split BTF of modules, None for those of the running kernel.
    """

    def __init__(
        self,
        btf: Btf,
        *,
        arch: str = "",
        formats: Callable[[str, str], list[FormatField]] | None = None,
        events: Callable[[], list[str]] | None = None,
        without: Iterable[str] = (),
        modules: Iterable[Btf] | None = (),
    ) -> None:
        self.btf = btf
        self._given = modules
        self._modules: Modules | None = None
        self.without = frozenset(without)
        self.arch = arch or os.uname().machine
        self._formats = formats or _live_fields
        self._events = events or _live_events
        self._by_id: dict[int, Type] = {}
        self._enums: dict[str, dict[str, int] | None] = {}
        self._tracepoints: dict[tuple[str, str], Tracepoint] = {}
        self._known_events: list[str] | None = None
        self._externs: dict[str, Extern | None] = {}
        self._records: list[str] | None = None  # all names of records, when they had to be listed

    @staticmethod
    def usual(what: Any = None) -> KernelTypes:
        """The types of the running kernel, or others; see `btf.choose` for what those may be."""
        from ..btf.choose import LIVE, arch_of, choose

        btf, key = choose(what)
        if key == LIVE:
            return KernelTypes(btf, modules=None)
        from ..sys.formats import shipped_events, shipped_fields

        return KernelTypes(btf, arch=arch_of(btf), formats=shipped_fields, events=shipped_events)

    # ---- types ----

    def home(self, name: str, *kinds: int) -> tuple[KernelTypes, int] | None:
        """Whose type this is, the kernel's own or a module's, and its id there; None if nobody has it."""
        id = self.btf.find(name, *kinds)
        if id is not None:
            return self, id
        if self._given == ():
            return None
        if self._modules is None:
            from .module_types import Modules

            self._modules = Modules(self, self._given)
        return self._modules.find(name, *kinds)

    def find(self, name: str) -> Struct | None:
        """A struct or union by name: `task_struct`, `struct task_struct`, `union x`, or a typedef of one."""
        word, _, rest = name.partition(" ")
        kinds = {"struct": (STRUCT,), "union": (UNION,)}.get(word)
        own = self.home(rest.strip(), *kinds) if kinds else self.home(name, STRUCT, UNION)
        if own is None and not kinds and (alias := self.btf.find(name, TYPEDEF)) is not None:
            own = self, self.btf.strip(alias)
        found = own[0].type(own[1]) if own is not None else None
        return found if isinstance(found, Struct) else None

    def struct(self, name: str) -> Struct:
        """As `find`; raises CompileError if this kernel has no such struct."""
        found = self.find(name)
        if found is None:
            raise CompileError(
                f"this kernel has no struct {name.removeprefix('struct ')}",
                advice=self._near(name)
                or "`bpftool btf dump file /sys/kernel/btf/vmlinux format c` shows all it has",
            )
        return found

    def _near(self, name: str) -> str:
        from .diag import nearest

        word = name.removeprefix("struct ")
        names = {t.name for t in self.btf.own_types(STRUCT)}
        return nearest(word, sorted(n for n in names if n[:1] == word[:1]))

    def integer(self, name: str) -> Int | None:
        """An integer type by its C name, typedefs of the kernel included: `unsigned int`, `pid_t`."""
        name = " ".join(w for w in name.split() if w not in ("const", "volatile"))
        if name in _C_INTS:
            return _C_INTS[name]
        if name.startswith("enum "):
            id = self.btf.find(name[5:], ENUM, ENUM64)
        else:
            id = self.btf.find(name, TYPEDEF)
        found = self.type(id) if id is not None else None
        return found if isinstance(found, Int) else None

    def enum(self, name: str) -> dict[str, int] | None:
        """The enumerators of an enum; None if this kernel has no such enum."""
        if name not in self._enums:
            id = self.btf.find(name.removeprefix("enum "), ENUM, ENUM64)
            if id is None and (alias := self.btf.find(name, TYPEDEF)) is not None:
                id = self.btf.strip(alias)
            self._enums[name] = dict(self.btf.type(id).enumerators) if id is not None else None
        return self._enums[name]

    def has_helper(self, name: str) -> bool:
        """Does this kernel have the helper? True where its BTF does not list helpers."""
        if f"bpf_{name}" in self.without:
            return False
        helpers = self.enum("bpf_func_id")
        return helpers is None or f"BPF_FUNC_{name}" in helpers

    def counts_rounds(self) -> bool:
        """Has this kernel bpf_loop, as far as its BTF tells?"""
        return self.has_helper("loop") and self.enum("bpf_func_id") is not None

    def has_may_goto(self) -> bool:
        """Has this kernel the instruction may_goto (Linux 6.9), as far as its BTF tells?"""
        return "may_goto" not in self.without and self.enum("bpf_cond_pseudo_jmp") is not None

    def type(self, id: int) -> Type:
        """The IR type of a BTF type. Kernel pointers come as `KERNEL`; whoever reads one knows better."""
        known = self._by_id.get(id)
        if known is None:
            known = self._by_id[id] = self._make(id)
        return known

    def _make(self, id: int) -> Type:
        stripped = self.btf.strip(id)
        if stripped != id:
            return self.type(stripped)
        t = self.btf.type(id)
        if t.kind == INT:
            return _integer(t)
        if t.kind == PTR:
            return self._pointer(t)
        if t.kind in (ENUM, ENUM64):
            return EnumInt(t.name, t.size * 8, t.kflag or any(value < 0 for _, value in t.enumerators))
        if t.kind == ARRAY:
            elem, _, n = t.array
            of = self.type(elem)
            if self._is_char(elem):
                return Chars(n)
            return Array(of, n)
        if t.kind in (STRUCT, UNION):
            return Struct(t.name, t.size, lambda: self._members(t), union=t.kind == UNION, core=True)
        if t.kind == FWD:
            return self._forward(t)
        if t.kind == FLOAT:
            return Array(U8, t.size)
        return VOID  # void, functions

    def _pointer(self, t: BtfType) -> Ptr:
        space, to = Space.KERNEL, t.type
        tag = self.btf.type(to)
        if tag.kind == TYPE_TAG and tag.name == "user":
            space, to = Space.USER, tag.type
        return Ptr(self.type(to), space)

    def _forward(self, t: BtfType) -> Type:
        """A struct known by name only: the full one of that name, if there is one."""
        found = self.btf.find(t.name, UNION if t.kflag else STRUCT)
        return self.type(found) if found is not None else Struct(t.name, 0, (), union=t.kflag, core=True)

    def _is_char(self, id: int) -> bool:
        t = self.btf.type(self.btf.strip(id))
        return t.kind == INT and t.name == "char"

    def _members(self, t: BtfType) -> tuple[Member, ...]:
        return tuple(_Lazy(self, m) for m in t.members)

    # ---- raw tracepoints ----

    def raw_params(self, event: str) -> list[tuple[str, Type]]:
        """(name, type) of a tracepoint's arguments as the kernel passes them; names are often ""."""
        own = self.home(f"btf_trace_{event}", TYPEDEF)
        if own is None:
            near = nearest(event, list(self._names("btf_trace_")))
            group = f"drop the group: {event.partition(':')[2]!r}" if ":" in event else ""
            raise CompileError(f"this kernel has no raw tracepoint {event}", advice=group or near)
        types, alias = own
        proto = types.btf.type(types.btf.strip(types.btf.type(types.btf.strip(alias)).type))
        return [(name, types.type(id)) for name, id in proto.params[1:]]  # the first is void *__data

    def has_raw(self, event: str) -> bool:
        return self.btf.find(f"btf_trace_{event}", TYPEDEF) is not None

    # ---- functions ----

    def kfunc(self, name: str) -> Extern | None:
        """A function of the kernel by its name, with the prototype of its BTF; None if there is none."""
        if name not in self._externs:
            own = self.home(name, FUNC) if name not in self.without else None
            found = None
            if own is not None:
                types, id = own
                proto = types.btf.type(types.btf.type(id).type)
                params = [(n, types._parameter(t)) for n, t in proto.params]
                found = Extern(name, params, types.type(proto.type) if proto.type else VOID)
            self._externs[name] = found
        return self._externs[name]

    def _parameter(self, id: int) -> Type:
        """As `type`, with the prototypes of callbacks."""
        t = self.btf.type(self.btf.strip(id))
        to = self.btf.type(self.btf.strip(t.type)) if t.kind == PTR and t.type else None
        if to is None or to.kind != FUNC_PROTO:
            return self.type(id)
        params = tuple(self.type(p) for _, p in to.params)
        return Ptr(Code(params, self.type(to.type) if to.type else VOID), Space.CODE)

    def _names(self, prefix: str) -> Iterator[str]:
        """What follows `prefix` in all names of the BTF that begin with it."""
        data, start = self.btf.raw, b"\0" + prefix.encode()
        at = data.find(start)
        while at >= 0:
            at += len(start)
            end = data.index(b"\0", at)
            yield data[at:end].decode(errors="replace")
            at = data.find(start, end)

    # ---- tracepoints ----

    def tracepoint(self, group: str, event: str) -> Tracepoint:
        """A tracepoint's record. Raises CompileError with the nearest names if there is none of that name."""
        known = self._tracepoints.get((group, event))
        if known is None:
            known = self._tracepoints[group, event] = self._tracepoint(group, event)
        return known

    def _tracepoint(self, group: str, event: str) -> Tracepoint:
        try:
            fields = self._formats(group, event)
        except (ProbeeError, OSError):
            names = self._all_events()
            if names and f"{group}:{event}" not in names:
                raise CompileError(
                    f"this kernel has no tracepoint {group}:{event}",
                    advice=_near_event(group, event, names),
                ) from None
            return self._without_format(group, event)
        if group == "syscalls":
            found = self._syscall(event, fields)
            if found:
                return found
        wanted = [f for f in fields if not f.name.startswith("common_")]
        struct = self._record(event, wanted)
        if struct is None:
            struct = self._fixed(event, fields)
        out = [self._field(struct, f.name, f.type) for f in wanted]
        return Tracepoint(group, event, struct, out)

    def _all_events(self) -> list[str]:
        if self._known_events is None:
            try:
                self._known_events = self._events()
            except (ProbeeError, OSError):
                self._known_events = []
        return self._known_events

    def _without_format(self, group: str, event: str) -> Tracepoint:
        """What BTF alone says: enough unless several events share one record."""
        if group == "syscalls" and (found := self._syscall(event, None)):
            return found
        struct = self.find(f"struct trace_event_raw_{event}")
        if struct is None:
            raise CompileError(
                f"can't find out the fields of {group}:{event}",
                advice="is the name right? /sys/kernel/tracing/events would tell, but reading it needs root",
            )
        out = []
        for m in struct.members:
            if m.name not in ("ent", "__data"):
                name = m.name.removeprefix("__data_loc_").removeprefix("__rel_loc_")
                out.append(self._field(struct, name, "char[]"))
        return Tracepoint(group, event, struct, out)

    def _record(self, event: str, fields: list[FormatField]) -> Struct | None:
        """The BTF struct with just these fields at these places: the event's own, or that of its class."""
        for name in self._classes(event):
            struct = self.find(f"struct trace_event_raw_{name}")
            if struct is not None and _matches(struct, fields):
                return struct
        return None

    def _classes(self, event: str) -> Iterator[str]:
        """Event classes that `event` may be of, the likeliest first."""
        words = event.split("_")
        for n in range(len(words), 0, -1):
            start = "_".join(words[:n])
            yield from (start, f"{start}_template", f"{start}_class")
        if self._records is None:
            self._records = list(self._names("trace_event_raw_"))
        yield from sorted(self._records, key=lambda name: (-_alike(name, event), name))

    def _fixed(self, event: str, fields: list[FormatField]) -> Struct:
        """A struct made of the format alone: its offsets hold on this kernel only."""
        members = []
        for f in fields:
            type = self._c_type(f.type, f.size, f.signed)
            if f.data_loc:
                members.append(Member(f"__data_loc_{f.name}", Int(32, False), f.offset * 8))
            elif f.type.startswith("__rel_loc "):
                members.append(Member(f"__rel_loc_{f.name}", Int(32, False), f.offset * 8))
            else:
                members.append(Member(f.name, type, f.offset * 8))
        return Struct(
            f"trace_event_{event}", max((f.offset + f.size for f in fields), default=8), tuple(members)
        )

    def _field(self, struct: Struct, name: str, c_type: str) -> TracepointField:
        for prefix, how in (("__data_loc_", DATA_LOC), ("__rel_loc_", REL_LOC)):
            if path := struct.find(prefix + name):
                text = c_type.removeprefix("__rel_loc ").partition("[")[0].strip()
                elem = self.integer(text) or U8
                return TracepointField(name, how, path, Chars(0) if text == "char" else Array(elem, 0))
        path = struct.find(name)
        assert path is not None, name
        return TracepointField(name, PLAIN, path, _member(struct, path).type)

    def _c_type(self, text: str, size: int, signed: bool) -> Type:
        """The type of a format file's declaration; `size` and `signed` decide where the name says nothing."""
        head, bracket, _ = text.partition("[")
        head = head.strip()
        if bracket:
            elem = self.integer(head) or U8
            n = size // max(1, elem.size)
            return Chars(n) if head.removeprefix("const ") == "char" else Array(elem, n)
        if head.endswith("*"):
            return Ptr(self._pointed(head), Space.KERNEL)
        if size in (1, 2, 4, 8):
            return self.integer(head) if head in ("bool", "_Bool") else Int(size * 8, signed)  # type: ignore[return-value]
        return Array(U8, size)

    def _pointed(self, text: str) -> Type:
        """What `const char *` or `struct sockaddr __user *` points to."""
        words = text.removesuffix("*").replace("*", " * ").split()
        name = " ".join(w for w in words if w not in ("const", "volatile", "__user"))
        if name.endswith("*"):
            return U64  # a pointer in user memory, as the number it is
        return self.find(name) or self.integer(name) or VOID

    # ---- system calls ----

    def _syscall(self, event: str, fields: list[FormatField] | None) -> Tracepoint | None:
        """A system call's tracepoint: all share one record, whose `args` the format gives names and types.

        Without the format (`fields` None) they are there as the array `args`.
        """
        enter = event.startswith("sys_enter_")
        struct = self.find(f"struct trace_event_raw_{'sys_enter' if enter else 'sys_exit'}")
        path = struct.find("args" if enter else "ret") if struct is not None else None
        number = struct.find("id") if struct is not None else None
        if struct is None or path is None or number is None:
            return None
        # The tracer writes an int and leaves the rest of the long undefined.
        out = [TracepointField("__syscall_nr", ARGUMENT, number, Int(32, True))]
        if fields is None or not enter:
            out.append(self._field(struct, "args" if enter else "ret", ""))
        else:
            wanted = [f for f in fields if not f.name.startswith("common_") and f.name != "__syscall_nr"]
            for i, f in enumerate(wanted):
                out.append(TracepointField(f.name, ARGUMENT, path, self.argument(f.type), i))
        return Tracepoint("syscalls", event, struct, out)

    def argument(self, text: str) -> Type:
        """The type of a system call's argument by its C declaration; pointers lead to user memory."""
        text = text.strip()
        if text.endswith("*"):
            return Ptr(self._pointed(text), Space.USER)
        return self.integer(text) or U64


def _integer(t: BtfType) -> Type:
    if t.encoding & 4:
        return BOOL if t.size == 1 else Int(t.size * 8, False)
    if t.size > 8:
        return Array(U64, t.size // 8)
    return Int(t.size * 8, bool(t.encoding & 1))


def _alike(a: str, b: str) -> int:
    """Length of the common beginning."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def _member(struct: Struct, path: tuple[int, ...]) -> Member:
    for i in path[:-1]:
        inner = struct.members[i].type
        assert isinstance(inner, Struct)
        struct = inner
    return struct.members[path[-1]]


def _matches(struct: Struct, fields: list[FormatField]) -> bool:
    """Has the struct these fields at these offsets, and no others?"""
    have = {m.name: m.bit_offset // 8 for m in struct.members if m.name not in ("ent", "__data")}
    if len(have) != len(fields):
        return False
    for f in fields:
        prefix = "__data_loc_" if f.data_loc else "__rel_loc_" if f.type.startswith("__rel_loc ") else ""
        if have.get(prefix + f.name) != f.offset:
            return False
    return True


def _near_event(group: str, event: str, names: list[str]) -> str:
    from ..sys.tracefs import nearest as near

    found = near(f"{group}:{event}", names)
    return f"did you mean {' or '.join(found)}?" if found else "`bpftrace -l` or available_events lists them"


def _live_fields(group: str, event: str) -> list[FormatField]:
    from ..sys import tracefs

    try:
        return tracefs.fields(group, event)
    except (PermissionDenied, Unsupported):
        if group != "syscalls":  # whose fields are the same on all kernels; others may have moved
            raise
        from ..sys.formats import shipped_fields

        return shipped_fields(group, event)


def _live_events() -> list[str]:
    from ..sys import tracefs

    return tracefs.events()
