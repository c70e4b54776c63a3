"""The typed IR: what every front end lowers to and the LLVM back end reads.

A `Module` holds functions, maps and globals. A function is a list of basic blocks; a block is a list of
`Op`s that ends in one terminator (`Jump`, `Branch`, `MayGoto`, `Switch`, `Return`). An op that gives a value
*is* that value. Variables of the source are `Local`s: slots on the stack, which LLVM turns into registers.

Pointers passed to `Load` and `Store` are in a directly accessible space; reads of `KERNEL` and `USER` memory
are `Helper` calls, which `builder.Builder` chooses by the pointer's space.
"""

from __future__ import annotations

from .types import BOOL, I64, U64, VOID, Int, Ptr, Space, Struct, Type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .scratch import Scratch


class Loc:
    """A place in a source file: line from 1, column from 0."""

    __slots__ = ("column", "line")

    def __init__(self, line: int, column: int = 0) -> None:
        self.line = line
        self.column = column


class Value:
    __slots__ = ("type",)
    type: Type


class Const(Value):
    """An integer constant, or NULL when the type is a pointer and the value 0."""

    __slots__ = ("value",)

    def __init__(self, type: Type, value: int) -> None:
        self.type = type
        self.value = value


class Param(Value):
    """Parameter `index` of the function it stands in."""

    __slots__ = ("index", "name")

    def __init__(self, index: int, name: str, type: Type) -> None:
        self.index = index
        self.name = name
        self.type = type


class Local(Value):
    """A stack slot; as a value it is the slot's address. Its content starts undefined."""

    __slots__ = ("name", "of")

    def __init__(self, name: str, of: Type) -> None:
        self.name = name
        self.of = of
        self.type = Ptr(of, Space.STACK)


class Variable:
    """A variable of the source: its name, and the address of its value (a `Local`, or an `Offset` from one or
    from a `Param`). Of one that may be None, `name?` says whether it has a value.
    """

    __slots__ = ("line", "name", "place")

    def __init__(self, name: str, place: Value, line: int) -> None:
        self.name = name
        self.place = place
        self.line = line


class MapRef(Value):
    """The map itself, as helpers take it."""

    __slots__ = ("map",)

    def __init__(self, map: Map) -> None:
        self.map = map
        self.type = Ptr(VOID, Space.MAP)


class GlobalRef(Value):
    """Address of a global."""

    __slots__ = ("var",)

    def __init__(self, var: GlobalVar) -> None:
        self.var = var
        self.type = Ptr(var.type, Space.ARENA if var.arena else Space.GLOBAL)


class FunctionRef(Value):
    """Address of a subprogram of the module, as helpers take callbacks."""

    __slots__ = ("fn",)

    def __init__(self, fn: Function) -> None:
        self.fn = fn
        self.type = Ptr(VOID, Space.CODE)


class Extern:
    """A kernel function that programs may call (a kfunc), with the prototype the kernel's BTF gives it.

    A `weak` one may be missing in the kernel: the object loads if no path leads to its call.
    """

    __slots__ = ("name", "params", "ret", "weak")

    def __init__(self, name: str, params: list[tuple[str, Type]], ret: Type, *, weak: bool = False) -> None:
        self.name = name
        self.params = params
        self.ret = ret
        self.weak = weak


class ExternRef(Value):
    """Address of a kernel function, 0 where a weak one is missing."""

    __slots__ = ("extern",)

    def __init__(self, extern: Extern) -> None:
        self.extern = extern
        self.type = Ptr(VOID, Space.CODE)


class Ksym:
    """A variable of the kernel, found by its name when the object is loaded.

    With `config`, a value of the kernel's configuration instead, that the loader puts into a map; 0 if it is
    `weak` and the kernel has none.
    """

    __slots__ = ("config", "name", "type", "weak")

    def __init__(self, name: str, type: Type, *, config: bool = False, weak: bool = False) -> None:
        self.name = name
        self.type = type
        self.config = config
        self.weak = weak


class KsymRef(Value):
    """Address of a kernel variable, or of a value of its configuration."""

    __slots__ = ("ksym",)

    def __init__(self, ksym: Ksym) -> None:
        self.ksym = ksym
        self.type = Ptr(ksym.type, Space.GLOBAL if ksym.config else Space.TRUSTED)


class Op(Value):
    """An instruction. `loc` is where in the source it comes from."""

    __slots__ = ("loc",)
    loc: Loc


class Load(Op):
    """Read `ptr.to`, an integer or pointer, without widening; `type` stands for another type of the value."""

    __slots__ = ("ptr",)

    def __init__(self, ptr: Value, type: Type | None = None) -> None:
        assert isinstance(ptr.type, Ptr)
        self.ptr = ptr
        self.type = type or ptr.type.to


class Store(Op):
    """Write an integer or pointer of exactly the type the pointer points to (front ends `Cast` first)."""

    __slots__ = ("ptr", "value")

    def __init__(self, ptr: Value, value: Value) -> None:
        self.ptr = ptr
        self.value = value
        self.type = VOID


class Copy(Op):
    """memcpy of `size` bytes between directly accessible places."""

    __slots__ = ("dst", "size", "src")

    def __init__(self, dst: Value, src: Value, size: int) -> None:
        self.dst = dst
        self.src = src
        self.size = size
        self.type = VOID


class Zero(Op):
    """memset to zero of `size` bytes; `alone`: never made one with stores beside it."""

    __slots__ = ("alone", "dst", "size")

    def __init__(self, dst: Value, size: int, *, alone: bool = False) -> None:
        self.dst = dst
        self.size = size
        self.alone = alone
        self.type = VOID


class FieldAddr(Op):
    """Address of member `index` of the struct `base` points to; a CO-RE access if that struct is `core`.

    Steps through anonymous members are FieldAddrs of their own.
    """

    __slots__ = ("base", "index", "struct")

    def __init__(self, base: Value, index: int) -> None:
        assert isinstance(base.type, Ptr)
        assert isinstance(base.type.to, Struct)
        self.base = base
        self.struct = base.type.to
        self.index = index
        self.type = Ptr(self.struct.members[index].type, base.type.space)


class ElemAddr(Op):
    """Address of element `index` (a 64-bit value) of the array (`Array` or `Chars`) `base` points to."""

    __slots__ = ("base", "index")

    def __init__(self, base: Value, index: Value, elem: Type) -> None:
        assert isinstance(base.type, Ptr)
        self.base = base
        self.index = index
        self.type = Ptr(elem, base.type.space)


class Offset(Op):
    """`base` moved by a number of bytes (a 64-bit value), pointing to `type.to`."""

    __slots__ = ("base", "bytes")

    def __init__(self, base: Value, bytes: Value, type: Ptr) -> None:
        self.base = base
        self.bytes = bytes
        self.type = type


class Recast(Op):
    """The same bits as another 64-bit type: pointer to pointer, pointer to u64, u64 to pointer."""

    __slots__ = ("value",)

    def __init__(self, value: Value, type: Type) -> None:
        self.value = value
        self.type = type


class Opaque(Recast):
    """The same value, of which LLVM knows nothing.

    It might add a small number to an address by an `or`, or leave out a test of a number that the verifier
    needs, since LLVM may know more than that.
    """

    __slots__ = ()


class Cast(Op):
    """Integer to integer: truncate, or widen by the sign of the *source* type."""

    __slots__ = ("value",)

    def __init__(self, value: Value, type: Int) -> None:
        self.value = value
        self.type = type


class Binary(Op):
    """`op`: add sub mul udiv sdiv urem srem and or xor shl lshr ashr, on two values of one integer type.

    Plain machine arithmetic: wraps; division truncates; x/0 = 0 and x%0 = x; a shift by the width or more is
    undefined. Python's flooring and shifts are the builder's job.
    """

    __slots__ = ("a", "b", "op")

    def __init__(self, op: str, a: Value, b: Value) -> None:
        self.op = op
        self.a = a
        self.b = b
        self.type = a.type


class Swap(Op):
    """An integer of 16, 32 or 64 bits with its bytes the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Value) -> None:
        self.value = value
        self.type = value.type


class Compare(Op):
    """`op`: eq ne ult ule ugt uge slt sle sgt sge, on two integers of one type or two pointers (eq, ne)."""

    __slots__ = ("a", "b", "op")

    def __init__(self, op: str, a: Value, b: Value) -> None:
        self.op = op
        self.a = a
        self.b = b
        self.type = BOOL


class Select(Op):
    """`a` if the bool `cond` else `b`, both computed."""

    __slots__ = ("a", "b", "cond")

    def __init__(self, cond: Value, a: Value, b: Value) -> None:
        self.cond = cond
        self.a = a
        self.b = b
        self.type = a.type


class Helper(Op):
    """Call of kernel helper `id`; arguments are 64-bit integers or pointers."""

    __slots__ = ("args", "id", "name")

    def __init__(self, id: int, name: str, args: list[Value], type: Type = I64) -> None:
        self.id = id
        self.name = name
        self.args = args
        self.type = type


class Kfunc(Op):
    """Call of a kernel function; at most five arguments, of the types of its parameters.

    `type` may say more of the result than the prototype does: which space a pointer leads to.
    """

    __slots__ = ("args", "extern")

    def __init__(self, extern: Extern, args: list[Value], type: Type | None = None) -> None:
        self.extern = extern
        self.args = args
        self.type = extern.ret if type is None else type


class Call(Op):
    """Call of a subprogram of the module; at most five arguments."""

    __slots__ = ("args", "fn")

    def __init__(self, fn: Function, args: list[Value]) -> None:
        self.fn = fn
        self.args = args
        self.type = fn.ret


class Atomic(Op):
    """`op`: add and or xor xchg, on a 32- or 64-bit integer; gives the old value if `fetch`."""

    __slots__ = ("fetch", "op", "ptr", "value")

    def __init__(self, op: str, ptr: Value, value: Value, fetch: bool = False) -> None:
        self.op = op
        self.ptr = ptr
        self.value = value
        self.fetch = fetch
        self.type = value.type if fetch else VOID


class CompareExchange(Op):
    """Write `value` where `expected` is, at once; gives what was there before."""

    __slots__ = ("expected", "ptr", "value")

    def __init__(self, ptr: Value, expected: Value, value: Value) -> None:
        self.ptr = ptr
        self.expected = expected
        self.value = value
        self.type = value.type


class LoadAcquire(Op):
    """A load that no later access comes before: `BPF_LOAD_ACQ` (Linux 6.15)."""

    __slots__ = ("ptr",)

    def __init__(self, ptr: Value) -> None:
        assert isinstance(ptr.type, Ptr)
        self.ptr = ptr
        self.type = ptr.type.to


class StoreRelease(Op):
    """A store that no earlier access comes after: `BPF_STORE_REL` (Linux 6.15)."""

    __slots__ = ("ptr", "value")

    def __init__(self, ptr: Value, value: Value) -> None:
        self.ptr = ptr
        self.value = value
        self.type = VOID


class Mention(Op):
    """Names a map, so that the kernel ties it to the program: without it an arena's pointers are refused."""

    __slots__ = ("map",)

    def __init__(self, map: MapRef) -> None:
        self.map = map
        self.type = VOID


class FieldInfo(Op):
    """A CO-RE fact about a field: `kind` is byte_offset byte_size exists signed lshift_u64 rshift_u64.

    `field` is the chain's last FieldAddr, which need not be used otherwise (its base may be NULL).
    """

    __slots__ = ("field", "kind")

    def __init__(self, kind: str, field: FieldAddr) -> None:
        self.kind = kind
        self.field = field
        self.type = U64


class TypeInfo(Op):
    """A CO-RE fact about a kernel struct: `kind` is exists, size, matches; local_id is its id in the
    object's BTF, kernel_id that in the kernel's."""

    __slots__ = ("kind", "of")

    def __init__(self, kind: str, of: Struct) -> None:
        self.kind = kind
        self.of = of
        self.type = U64


class EnumInfo(Op):
    """A CO-RE fact about an enumerator: `kind` is exists or value; `local` is its value at build time."""

    __slots__ = ("enum", "enumerator", "kind", "local")

    def __init__(self, kind: str, enum: str, enumerator: str, local: int) -> None:
        self.kind = kind
        self.enum = enum
        self.enumerator = enumerator
        self.local = local
        self.type = U64


class Jump(Op):
    __slots__ = ("target",)

    def __init__(self, target: Block) -> None:
        self.target = target
        self.type = VOID


class Branch(Op):
    __slots__ = ("cond", "no", "yes")

    def __init__(self, cond: Value, yes: Block, no: Block) -> None:
        self.cond = cond
        self.yes = yes
        self.no = no
        self.type = VOID


class MayGoto(Op):
    """Go on to `yes`, or to `no` once the kernel has enough of this loop (may_goto, Linux 6.9)."""

    __slots__ = ("no", "yes")

    def __init__(self, yes: Block, no: Block) -> None:
        self.yes = yes
        self.no = no
        self.type = VOID


class Switch(Op):
    """Jump by integer value; cases are (constant, block)."""

    __slots__ = ("cases", "default", "value")

    def __init__(self, value: Value, cases: list[tuple[int, Block]], default: Block) -> None:
        self.value = value
        self.cases = cases
        self.default = default
        self.type = VOID


class Return(Op):
    __slots__ = ("value",)

    def __init__(self, value: Value | None) -> None:
        self.value = value
        self.type = VOID


TERMINATORS = (Jump, Branch, MayGoto, Switch, Return)


class Block:
    """A basic block. `name` is for reading only."""

    __slots__ = ("name", "ops")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ops: list[Op] = []

    @property
    def ended(self) -> bool:
        return bool(self.ops) and isinstance(self.ops[-1], TERMINATORS)


class Function:
    """A program (`section` set: global, in that ELF section) or a subprogram (static, in `.text`).

    A program takes one parameter, the context, and returns `I32`. `inline` lets LLVM inline a subprogram at
    will; without it the subprogram stays a function of its own. A `visible` one is verified on its own;
    `tags` of its parameters, by index, tell the verifier what it may take for granted.
    """

    __slots__ = (
        "blocks",
        "file",
        "inline",
        "line",
        "locals",
        "name",
        "params",
        "regions",
        "ret",
        "scratch",
        "section",
        "tags",
        "variables",
        "visible",
    )

    def __init__(
        self,
        name: str,
        params: list[Param],
        ret: Type,
        *,
        section: str = "",
        file: str = "",
        line: int = 0,
        inline: bool = True,
    ) -> None:
        self.name = name
        self.params = params
        self.ret = ret
        self.section = section
        self.file = file
        self.line = line
        self.inline = inline
        self.visible = bool(section)
        self.tags: dict[int, tuple[str, ...]] = {}
        self.scratch: Scratch | None = None  # variables that are not on the stack
        self.blocks: list[Block] = []
        self.locals: list[Local] = []
        self.variables: list[Variable] = []  # for debuggers
        self.regions: list[Region] = []  # loops to take apart


class Region:
    """A loop of a function whose rounds the helper bpf_loop is to count (`outline`).

    `head` compares `index`, that starts at 0, with `rounds`; it goes to `body` or to `out`. `next` counts up.
    A round ends there, or leaves for one of `exits`.
    """

    __slots__ = ("body", "exits", "head", "index", "next", "out", "rounds")

    def __init__(
        self,
        head: Block,
        body: Block,
        next: Block,
        out: Block,
        exits: list[Block],
        index: Local,
        rounds: Local,
    ) -> None:
        self.head = head
        self.body = body
        self.next = next
        self.out = out
        self.exits = exits
        self.index = index
        self.rounds = rounds


class Map:
    """A map as `.maps` describes it. `kind` is the UAPI number; key or value is None if the type has none.

    `inner` is what the maps in a map of maps are like, `programs` what a program array holds: names by index.
    """

    __slots__ = (
        "extra",
        "flags",
        "inner",
        "key",
        "kind",
        "max_entries",
        "name",
        "numa_node",
        "pinning",
        "programs",
        "value",
    )

    def __init__(
        self,
        name: str,
        kind: int,
        key: Type | None,
        value: Type | None,
        max_entries: int,
        flags: int = 0,
        pinning: int = 0,
    ) -> None:
        self.name = name
        self.kind = kind
        self.key = key
        self.value = value
        self.max_entries = max_entries
        self.flags = flags
        self.pinning = pinning
        self.numa_node: int | None = None
        self.extra = 0
        self.inner: Map | None = None
        self.programs: dict[int, str] = {}


class GlobalVar:
    """A variable in `.rodata` (`const`), `.data`, or `.bss` (`init` all zero). `init` is little-endian.

    `private` marks compiler-made constants (format strings), kept out of the BTF; `arena` variables that lie
    in the module's arena; `section` is another section than those.
    """

    __slots__ = ("arena", "const", "init", "name", "private", "section", "type")

    def __init__(self, name: str, type: Type, init: bytes, *, const: bool, private: bool = False) -> None:
        self.name = name
        self.type = type
        self.init = init
        self.const = const
        self.private = private
        self.arena = False
        self.section = ""


class StructOps:
    """A variable in `.struct_ops.link`: a struct of the kernel, of which `type` has the members that are set.

    `data` has for each member its bytes, or the name of the program that is the function.
    """

    __slots__ = ("data", "name", "type")

    def __init__(self, name: str, type: Struct, data: list[bytes | str]) -> None:
        self.name = name
        self.type = type
        self.data = data


class Module:
    """One object.

    A ring buffer's record type is the `value` of its map. `sources` has the lines of source files by name:
    what line info shows of files that cannot be read when LLVM runs (notebook cells, a REPL); others may be
    left out.
    """

    __slots__ = ("functions", "globals", "license", "maps", "sources", "struct_ops")

    def __init__(self, license: str = "Dual MIT/GPL") -> None:
        self.functions: list[Function] = []
        self.maps: list[Map] = []
        self.globals: list[GlobalVar] = []
        self.license = license
        self.sources: dict[str, list[str]] = {}
        self.struct_ops: list[StructOps] = []
