"""Builds IR. The language's rules live here, once, for every front end.

Integers in flight are 64 bits wide (`I64`, `U64`) or a `BOOL`; `read` widens and `write` truncates.
Arithmetic wraps, is signed only if both sides are, and floors as Python does; a shift takes its sign from the
left side. Comparisons of a signed with an unsigned number are by value. A pointer's `Space` decides between a
direct load and a `probe_read`.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..isa.tables import HELPERS
from . import ir
from .ir import Block, Const, FieldAddr, Function, GlobalRef, Loc, Local, Value
from .types import BOOL, I64, U64, VOID, Array, Chars, Int, NetInt, Ptr, Space, Struct, Type

PROBED = frozenset((Space.KERNEL, Space.USER))  # memory a program may read only through probe_read
WRITABLE = frozenset((Space.STACK, Space.MAP, Space.RECORD, Space.GLOBAL, Space.PACKET))

_PLAIN = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
_ORDER = {"<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
_SWAPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_MAX_SIGNED = (1 << 63) - 1


def wrap(value: int, type: Int) -> int:
    """`value` cut to the width of `type`, in the range of `type`."""
    value &= (1 << type.bits) - 1
    if type.signed and value >> (type.bits - 1):
        value -= 1 << type.bits
    return value


class Builder:
    """Appends ops to the blocks of one function.

    `loc` is stamped on every op. Ops that follow a terminator go to a new block that nothing reaches and that
    the back end leaves out, so a front end need not care about code after a `return`.
    """

    __slots__ = ("block", "fn", "loc")

    def __init__(self, fn: Function) -> None:
        self.fn = fn
        self.loc = Loc(fn.line)
        if not fn.blocks:
            fn.blocks.append(Block("entry"))
        self.block = fn.blocks[-1]

    # -- blocks and locals

    def new_block(self, name: str = "") -> Block:
        """A new, empty block at the end of the function; the place to append to stays where it is."""
        block = Block(name)
        self.fn.blocks.append(block)
        return block

    def at(self, block: Block) -> Block:
        """Append to `block` from now on."""
        self.block = block
        return block

    @property
    def ended(self) -> bool:
        """The current block has its terminator."""
        return self.block.ended

    def local(self, name: str, type: Type) -> Local:
        """A new stack slot, undefined until written; `name` need not be unique."""
        local = Local(name, type)
        self.fn.locals.append(local)
        return local

    def emit(self, op: ir.Op) -> ir.Op:
        """Append an op made by hand."""
        if self.block.ended:
            self.at(self.new_block("dead"))
        op.loc = self.loc
        self.block.ops.append(op)
        return op

    # -- constants

    def const(self, value: int, type: Type = I64) -> Const:
        """An integer constant, wrapped into `type`; with a pointer type and 0, NULL."""
        return Const(type, wrap(value, type) if isinstance(type, Int) else value)

    def null(self, type: Ptr) -> Const:
        return Const(type, 0)

    def string(self, text: bytes) -> GlobalRef:
        """Address of read-only bytes, a NUL added (for format strings and literals); need not be declared."""
        return self.bytes(text + b"\0")

    def bytes(self, data: bytes) -> GlobalRef:
        """Address of read-only bytes, as they are; need not be declared in the module."""
        return GlobalRef(ir.GlobalVar("", Chars(len(data)), data, const=True, private=True))

    # -- raw ops

    def load(self, ptr: Value, type: Type | None = None) -> Value:
        """A direct load, not widened. `read` is what a front end wants."""
        return self.emit(ir.Load(ptr, type))

    def store(self, ptr: Value, value: Value) -> None:
        """A direct store of a value of exactly the pointed-to type. `write` is what a front end wants."""
        self.emit(ir.Store(ptr, value))

    def copy(self, dst: Value, src: Value, size: int) -> None:
        """memcpy between directly accessible places."""
        if size:
            self.emit(ir.Copy(dst, src, size))

    def zero(self, dst: Value, size: int | None = None, *, alone: bool = False) -> None:
        """memset to zero: of `size` bytes, or of all that `dst` points to; `alone` as in ir.Zero."""
        size = _pointer(dst).to.size if size is None else size
        if size:
            self.emit(ir.Zero(dst, size, alone=alone))

    def offset(self, base: Value, by: Value | int, type: Ptr | None = None) -> Value:
        """`base` moved by a number of bytes; of `base`'s type unless `type` is given."""
        amount = self.const(by) if isinstance(by, int) else self.widen(by)
        return self.emit(ir.Offset(base, amount, type or _pointer(base)))

    def recast(self, value: Value, type: Type) -> Value:
        """The same 64 bits as another type: pointer to pointer, pointer to integer, integer to pointer."""
        if value.type == type and isinstance(value.type, (Int, Ptr)):
            return value
        if isinstance(value, Const) and isinstance(type, (Int, Ptr)):
            return (
                self.const(value.value, type)
                if isinstance(type, Int)
                else Const(type, value.value & (2**64 - 1))
            )
        if isinstance(value.type, Int):
            value = self.widen(value)
            if isinstance(type, Int):
                return self.cast(value, type)
        return self.emit(ir.Recast(value, type))

    def opaque(self, ptr: Value) -> Value:
        """The same address for run-time offsets into the stack: the verifier takes no `or` with a pointer."""
        return self.emit(ir.Opaque(ptr, ptr.type)) if _pointer(ptr).space is Space.STACK else ptr

    def summed(self, value: Value) -> Value:
        """An index that was tested. LLVM would add the parts of a sum to the address one by one, and the
        verifier knows the bounds of the sum only: what it is made of is hidden then.
        """
        made = value
        while isinstance(made, ir.Cast):
            made = made.value
        if not isinstance(made, ir.Binary) or made.op not in ("add", "sub"):
            return value
        if isinstance(made.a, Const) or isinstance(made.b, Const):
            return value
        return self.emit(ir.Opaque(value, value.type))

    def limited(self, value: Value, *, low: int | None = None, high: int | None = None) -> Value:
        """A number that is within these bounds anyway: the verifier is shown that it is."""
        hidden: Value = self.emit(ir.Opaque(self.widen(value), self.widen(value).type))
        kind = _int(hidden)
        for op, limit in ((">", high), ("<", low)):
            if limit is not None:
                edge = self.const(limit, kind)
                hidden = self.select(self.compare(op, hidden, edge), edge, hidden)
        return hidden

    def cast(self, value: Value, type: Int) -> Value:
        """An integer (or pointer) truncated to `type`, or widened by its own sign. To `BOOL`: is it not 0?"""
        if value.type == type:
            return value
        if isinstance(value.type, Ptr):
            value = self.recast(value, U64)
        if type.bits == 1:
            return self.truth(value)
        if isinstance(value, Const):
            return self.const(value.value, type)
        if isinstance(value, ir.Cast) and type.bits <= _int(value).bits:  # straight from where that came from
            return self.cast(value.value, type)
        return self.emit(ir.Cast(value, type))

    def binary(self, op: str, a: Value, b: Value) -> Value:
        """A raw `ir.Binary`; constants are folded by LLVM."""
        return self.emit(ir.Binary(op, a, b))

    def select(self, cond: Value, a: Value, b: Value) -> Value:
        """`a` if `cond` else `b`, both already computed; integers of different types meet in 64 bits."""
        cond = self.truth(cond)
        if a.type != b.type and isinstance(a.type, Int) and isinstance(b.type, Int):
            a, b = self.meet(a, b)
        if isinstance(cond, Const):
            return a if cond.value else b
        return self.emit(ir.Select(cond, a, b))

    def helper(self, name: str, *args: Value, type: Type = I64) -> Value:
        """A call of the kernel helper `name` (without `bpf_`); integers are widened. KeyError: unknown."""
        passed = [self.widen(a) if isinstance(a.type, Int) else a for a in args]
        return self.emit(ir.Helper(HELPERS[name][0], name, passed, type))

    def call(self, fn: Function, *args: Value) -> Value:
        """A call of a subprogram; integers are converted to the parameters' types."""
        pairs = zip(args, fn.params, strict=True)
        passed = [self.cast(a, p.type) if isinstance(p.type, Int) else a for a, p in pairs]
        return self.emit(ir.Call(fn, passed))

    def kfunc(self, extern: ir.Extern, *args: Value, type: Type | None = None) -> Value:
        """A call of a kernel function; integers are converted to its parameters' types, results widened."""
        pairs = zip(args, extern.params, strict=True)
        passed = [self.cast(a, t) if isinstance(t, Int) else a for a, (_, t) in pairs]
        result = self.emit(ir.Kfunc(extern, passed, type))
        return self.widen(result) if isinstance(result.type, Int) else result

    def atomic(self, op: str, ptr: Value, value: Value, fetch: bool = False) -> Value:
        """`op` (add and or xor xchg) on a 32- or 64-bit integer; with `fetch` gives the old value, widened.
        Pointers can be exchanged.

        Without `fetch` the value has no meaning. Narrower integers have no atomic instruction: ValueError.
        """
        to = _pointer(ptr).to
        if isinstance(to, Ptr) and op == "xchg":
            word = self.recast(ptr, Ptr(U64, _pointer(ptr).space))
            return self.recast(self.atomic(op, word, self.recast(value, U64), fetch), to)
        if not isinstance(to, Int) or to.bits < 32:
            raise ValueError(f"no atomic operation on {to!r}")
        old = self.emit(ir.Atomic(op, ptr, self.cast(value, to), fetch))
        return self.widen(old) if fetch else old

    def compare_exchange(self, ptr: Value, expected: Value, value: Value) -> Value:
        """Write `value` where `expected` is, at once. Gives the old value. Of 32 or 64 bits, or a pointer."""
        to = _pointer(ptr).to
        if isinstance(to, Int):
            return self.widen(
                self.emit(ir.CompareExchange(ptr, self.cast(expected, to), self.cast(value, to)))
            )
        return self.emit(ir.CompareExchange(ptr, self.recast(expected, to), self.recast(value, to)))

    def load_acquire(self, ptr: Value) -> Value:
        """A load that later accesses stay behind, widened (Linux 6.15)."""
        to = _pointer(ptr).to
        if isinstance(to, Ptr):
            return self.recast(self.load_acquire(self.recast(ptr, Ptr(U64, _pointer(ptr).space))), to)
        return self.widen(self.emit(ir.LoadAcquire(ptr)))

    def store_release(self, ptr: Value, value: Value) -> None:
        """A store that earlier accesses stay before (Linux 6.15)."""
        to = _pointer(ptr).to
        if isinstance(to, Ptr):
            self.store_release(self.recast(ptr, Ptr(U64, _pointer(ptr).space)), self.recast(value, U64))
            return
        assert isinstance(to, Int)
        self.emit(ir.StoreRelease(ptr, self.cast(value, to)))

    def jump(self, target: Block) -> None:
        if not self.block.ended:
            self.emit(ir.Jump(target))

    def branch(self, cond: Value, yes: Block, no: Block) -> None:
        cond = self.truth(cond)
        if isinstance(cond, Const):
            self.emit(ir.Jump(yes if cond.value else no))
        else:
            self.emit(ir.Branch(cond, yes, no))

    def switch(self, value: Value, cases: list[tuple[int, Block]], default: Block) -> None:
        self.emit(ir.Switch(self.widen(value), cases, default))

    def ret(self, value: Value | None = None) -> None:
        """Return `value`, converted to the function's type; without a value, 0 if it has one."""
        want = self.fn.ret
        if value is None and want is not VOID:
            value = self.const(0, want)
        if want is VOID:
            value = None
        elif value is not None and isinstance(want, Int):
            value = self.cast(value, want)
        self.emit(ir.Return(value))

    # -- memory

    def read(self, ptr: Value) -> Value:
        """What `ptr` points to.

        An integer comes widened to 64 bits; a pointer found in kernel memory is `TRUSTED` if it was reached
        through trusted pointers and leads to a struct, else `KERNEL`; one found in user memory is `USER`. A
        struct, array or text is not read: its address is the reference to it.
        """
        where = _pointer(ptr)
        if isinstance(where.to, (Struct, Array, Chars)) or where.to is VOID:
            return ptr
        if isinstance(ptr, FieldAddr) and ptr.struct.members[ptr.index].bit_size:
            return self._read_bits(ptr)
        if isinstance(where.to, NetInt):
            return self._read_net(ptr, where.to)
        found = _found(where)
        if where.space in PROBED:
            slot = self.local("", where.to)
            self.probe_read(slot, where.to.size, ptr)
            value = self.load(slot, found)
        else:
            value = self.load(ptr, found)
        return self.widen(value) if isinstance(found, Int) else value

    def probe_read(self, dst: Value, size: int | Value, src: Value) -> Value:
        """Copy kernel or user memory to `dst`; on a fault `dst` is zeroed. Gives 0 or a negative error."""
        amount = self.const(size) if isinstance(size, int) else size
        name = "probe_read_user" if _pointer(src).space is Space.USER else "probe_read_kernel"
        return self.helper(name, dst, amount, src)

    def read_str(self, dst: Value, size: int | Value, src: Value) -> Value:
        """Copy a NUL-ended string of at most `size` bytes to `dst`, always NUL-ended.

        Gives its length with the NUL, or a negative error. What lies behind the NUL in `dst` stays.
        """
        amount = self.const(size) if isinstance(size, int) else size
        name = "probe_read_user_str" if _pointer(src).space is Space.USER else "probe_read_kernel_str"
        return self.helper(name, dst, amount, src)

    def copy_into(self, dst: Value, src: Value) -> None:
        """Copy a struct, array or text from anywhere to the directly accessible `dst`.

        A shorter source leaves zeroes behind it. Text from the kernel or the user is read as a string, and
        what follows its NUL is zero.
        """
        to, source = _pointer(dst).to, _pointer(src)
        far = source.space in PROBED or source.space is Space.TRUSTED
        if isinstance(to, Chars) and far:
            self.zero(dst)
            size = (
                min(to.n, source.to.size)
                if isinstance(source.to, (Chars, Array)) and source.to.size
                else to.n
            )
            self.read_str(dst, size, src)
            return
        size = min(to.size, source.to.size)
        if size < to.size:
            self.zero(dst)
        if far and _pointer(dst).space is Space.ARENA:
            slot = self.local("", to)  # helpers don't write there
            self.probe_read(slot, size, src)
            self.copy(dst, slot, size)
        elif far:
            self.probe_read(dst, size, src)
        elif source.space in (Space.CONTEXT, Space.CALLER):
            self._copy_context(dst, src, size)
        else:
            self.copy(dst, src, size)

    def _copy_context(self, dst: Value, src: Value, size: int) -> None:
        """Word by word: the verifier takes constant offsets from the context only."""
        at = 0
        while at < size:
            step = next(n for n in (8, 4, 2, 1) if n <= size - at)
            word = Int(step * 8, False)
            value = self.load(self.offset(src, at, Ptr(word, _pointer(src).space)))
            self.store(self.offset(dst, at, Ptr(word, _pointer(dst).space)), value)
            at += step

    def write(self, ptr: Value, value: Value) -> None:
        """Store an integer, truncated to the field, or a pointer. Structs, arrays and text: `copy_into`."""
        to = _pointer(ptr).to
        if isinstance(to, (Struct, Array, Chars)):
            self.copy_into(ptr, value)
        elif isinstance(ptr, FieldAddr) and ptr.struct.members[ptr.index].bit_size:
            self._write_bits(ptr, value)
        elif isinstance(to, NetInt):
            self._write_net(ptr, to, value)
        elif isinstance(to, Int):
            if isinstance(value.type, Ptr):
                value = self.recast(value, U64)
            self.store(ptr, self.cast(value, to))
        else:
            self.store(ptr, self.recast(value, to))

    def field(self, ptr: Value, name: str) -> Value | None:
        """Address of a field, found through anonymous members; None if the struct has no such field."""
        struct = _pointer(ptr).to
        if not isinstance(struct, Struct):
            return None
        path = struct.find(name)
        if path is None:
            return None
        for index in path:
            ptr = self.emit(FieldAddr(ptr, index))
        return ptr

    def index(self, ptr: Value, i: Value | int) -> Value:
        """Address of element `i` of the array or text `ptr` points to, or of the i-th thing behind `ptr`.

        No bounds are checked. The verifier allows no variable offset on a trusted pointer, so such an element
        is read through probe_read.
        """
        at = self.const(i) if isinstance(i, int) else self.widen(i)
        where = _pointer(ptr)
        space = where.space
        if space is Space.TRUSTED and not isinstance(at, Const):
            space = Space.KERNEL
        if isinstance(where.to, (Array, Chars)):
            elem = where.to.elem if isinstance(where.to, Array) else Int(8, False)
            op = self.emit(ir.ElemAddr(ptr, at, elem))
            op.type = Ptr(elem, space)
            return op
        if isinstance(where.to, Struct) and where.to.core:
            size: Value = self.emit(ir.TypeInfo("size", where.to))
        else:
            size = self.const(max(1, where.to.size))
        return self.offset(ptr, self.arith("*", at, size), Ptr(where.to, space))

    def has_field(self, struct: Struct, name: str) -> Value | None:
        """A `BOOL`: does the running kernel's struct have the field? None if the local struct lacks it."""
        fact = self.fact("exists", struct, name)
        return None if fact is None else self.truth(fact)

    def fact(self, kind: str, struct: Struct, name: str) -> Value | None:
        """A CO-RE fact about a field, see `ir.FieldInfo`; None if the local struct lacks it.

        It is told at the start of the function: LLVM's simplification of branches dies of the address of a
        field behind NULL.
        """
        here, self.block = self.block, Block("facts")
        field = self.field(self.null(Ptr(struct, Space.KERNEL)), name)
        out: Value | None = None
        if field is not None:
            assert isinstance(field, FieldAddr)
            out = self.emit(ir.FieldInfo(kind, field))
        self.fn.blocks[0].ops[0:0] = self.block.ops
        self.block = here
        return out

    def field_info(self, kind: str, field: FieldAddr) -> Value:
        """A CO-RE fact about a field, see `ir.FieldInfo`."""
        return self.emit(ir.FieldInfo(kind, field))

    def type_info(self, kind: str, of: Struct) -> Value:
        """A CO-RE fact about a kernel struct, see `ir.TypeInfo`."""
        return self.emit(ir.TypeInfo(kind, of))

    def enum_info(self, kind: str, enum: str, enumerator: str, local: int) -> Value:
        """A CO-RE fact about an enumerator, see `ir.EnumInfo`."""
        return self.emit(ir.EnumInfo(kind, enum, enumerator, local))

    def swap(self, value: Value, bits: int) -> Value:
        """The low `bits` (16, 32, 64) of an integer with their bytes the other way round; `bits` wide."""
        low = self.cast(value, Int(bits, False))
        if isinstance(low, Const):
            data = (low.value & ((1 << bits) - 1)).to_bytes(bits // 8, "little")
            return self.const(int.from_bytes(data, "big"), Int(bits, False))
        return self.emit(ir.Swap(low))

    def _net_word(self, ptr: Value, t: NetInt) -> Value:
        """The word that a number in network order is in, in the host's order, of 64 bits."""
        word = self.read(self.recast(ptr, Ptr(t.plain, _pointer(ptr).space)))
        return self.widen(self.swap(word, t.swap)) if t.swap else word

    def _read_net(self, ptr: Value, t: NetInt) -> Value:
        word = self._net_word(ptr, t)
        if t.whole:
            return word
        return self.arith(
            "&", self.arith(">>", word, self.const(t.shift, U64)), self.const((1 << t.bits) - 1, U64)
        )

    def _write_net(self, ptr: Value, t: NetInt, value: Value) -> None:
        value = self.cast(self.widen(value), U64)
        if not t.whole:
            mask = (1 << t.bits) - 1
            value = self.arith("<<", self.arith("&", value, self.const(mask, U64)), self.const(t.shift, U64))
            rest = self.arith("&", self._net_word(ptr, t), self.const(~(mask << t.shift), U64))
            value = self.arith("|", rest, value)
        if t.swap:
            value = self.swap(value, t.swap)
        self.write(self.recast(ptr, Ptr(t.plain, _pointer(ptr).space)), self.widen(value))

    def _read_bits(self, field: FieldAddr) -> Value:
        member = field.struct.members[field.index]
        kind = member.type
        assert isinstance(kind, Int)
        wide = I64 if kind.signed else U64
        if field.struct.core:
            # where and how wide the storage is, and where in it the bits are, is known at load time only
            slot = self.local("", U64)
            self.store(slot, self.const(0, U64))
            start = self.recast(field.base, Ptr(VOID, _pointer(field.base).space))
            src = self.offset(start, self.field_info("byte_offset", field))
            self.probe_read(slot, self.field_info("byte_size", field), src)
            value = self.binary("shl", self.load(slot), self.field_info("lshift_u64", field))
            right = self.field_info("rshift_u64", field)
        else:
            place, shift = self._bits_word(field)
            value = self.cast(self.read(place), U64)
            if not kind.signed:
                value = self.arith(">>", value, self.const(shift, U64))
                return self.arith("&", value, self.const((1 << member.bit_size) - 1, U64))
            value = self.binary("shl", value, self.const(64 - shift - member.bit_size, U64))
            right = self.const(64 - member.bit_size, U64)
        if kind.signed:
            return self.binary("ashr", self.cast(value, wide), self.cast(right, wide))
        return self.binary("lshr", value, right)

    def _bits_word(self, field: FieldAddr) -> tuple[Value, int]:
        """The address of the smallest integer that a declared bit field lies in, and how far up in it."""
        member, whole = field.struct.members[field.index], field.struct.size
        first, last = member.bit_offset // 8, (member.bit_offset + member.bit_size - 1) // 8
        for width in (1, 2, 4, 8):
            start = first // width * width
            if last < start + width <= whole:
                break
        else:  # packed: across such words
            width = next(w for w in (2, 4, 8) if last - first < w <= whole)
            start = min(first, whole - width)
        space = _pointer(field.base).space
        base = self.recast(field.base, Ptr(VOID, space))
        return self.offset(base, start, Ptr(Int(width * 8, False), space)), member.bit_offset - start * 8

    def _write_bits(self, field: FieldAddr, value: Value) -> None:
        place, shift = self._bits_word(field)
        mask = (1 << field.struct.members[field.index].bit_size) - 1
        value = self.arith("&", self.cast(self.widen(value), U64), self.const(mask, U64))
        rest = self.arith("&", self.cast(self.read(place), U64), self.const(~(mask << shift), U64))
        self.write(place, self.arith("|", rest, self.arith("<<", value, self.const(shift, U64))))

    # -- integers

    def widen(self, value: Value) -> Value:
        """The same value in 64 bits: `I64` from signed integers and `BOOL`, else `U64`. Pointers stay."""
        kind = value.type
        if not isinstance(kind, Int) or kind.bits == 64:
            return value
        return self.cast(value, I64 if kind.signed or kind.bits == 1 else U64)

    def meet(self, *values: Value) -> list[Value]:
        """The integers in one 64-bit type: `I64` if all are signed (or `BOOL`), else `U64`."""
        wide = [self.widen(v) for v in values]
        signed = all(_int(v).signed for v in wide)
        return [self.cast(v, I64 if signed else U64) for v in wide]

    def fits_signed(self, value: Value) -> bool:
        """Has the integer surely the same value as an `I64`?"""
        wide = self.widen(value)
        return _int(wide).signed or _fits_signed(wide)

    def truth(self, value: Value) -> Value:
        """A `BOOL`: is it not 0, not NULL?"""
        if value.type == BOOL:
            return value
        if isinstance(value, Const):
            return self.const(int(value.value != 0), BOOL)
        if isinstance(value.type, Int):
            return self.emit(ir.Compare("ne", value, self.const(0, value.type)))
        return self.emit(ir.Compare("ne", value, Const(value.type, 0)))

    def not_(self, value: Value) -> Value:
        """A `BOOL`: Python's `not`."""
        if isinstance(value, Const):
            return self.const(int(value.value == 0), BOOL)
        if value.type == BOOL:
            return self.emit(ir.Binary("xor", value, self.const(1, BOOL)))
        return self.emit(ir.Compare("eq", value, Const(value.type, 0)))

    def neg(self, value: Value) -> Value:
        """`-value`, wrapping in its own 64-bit type."""
        value = self.widen(value)
        return self.arith("-", self.const(0, value.type), value)

    def invert(self, value: Value) -> Value:
        """`~value` in its own 64-bit type."""
        value = self.widen(value)
        return self.arith("^", value, self.const(-1, value.type))

    def arith(self, op: str, a: Value, b: Value) -> Value:
        """`a op b` for `+ - * // % << >> & | ^`, in 64 bits.

        `//` and `%` floor. At run time `x // 0` is 0, `x % 0` is x, and a shift by 64 or more (or by a
        negative amount) leaves 0, or -1 where a negative number moves right. Two bools give a bool for
        `& | ^`.
        """
        if op in ("&", "|", "^") and a.type == BOOL and b.type == BOOL:
            if isinstance(a, Const) and isinstance(b, Const):
                return self.const(_fold(op, a.value, b.value), BOOL)
            return self.emit(ir.Binary(_PLAIN[op], a, b))
        if op in ("<<", ">>"):
            return self._shift(op, self.widen(a), self.widen(b))
        a, b = self.meet(a, b)
        kind = _int(a)
        if isinstance(a, Const) and isinstance(b, Const):
            return self.const(_fold(op, a.value, b.value), kind)
        if op in _PLAIN:
            return self.emit(ir.Binary(_PLAIN[op], a, b))
        if not kind.signed:
            return self.emit(ir.Binary("udiv" if op == "//" else "urem", a, b))
        if isinstance(b, Const) and b.value > 0:
            return self._floor_by_positive(op, a, b)
        return self._floor(op, a, b)

    def _floor_by_positive(self, op: str, a: Value, b: Const) -> Value:
        n = b.value
        if n & (n - 1) == 0:  # a power of two: an arithmetic shift floors, a mask is Python's remainder
            if op == "%":
                return self.binary("and", a, self.const(n - 1))
            return self.binary("ashr", a, self.const(n.bit_length() - 1))
        # floor(a / n) for negative a is ~(~a / n), and ~a is a ^ -1
        sign = self.binary("ashr", a, self.const(63))
        size, divisor = self.cast(self.binary("xor", a, sign), U64), self.const(n, U64)
        if op == "//":
            return self.binary("xor", self.cast(self.binary("udiv", size, divisor), I64), sign)
        rest = self.binary("xor", self.cast(self.binary("urem", size, divisor), I64), sign)
        return self.binary("add", rest, self.binary("and", sign, self.const(n)))

    def _floor(self, op: str, a: Value, b: Value) -> Value:
        # With different signs floor(a / b) is ~((|a| - 1) / |b|), else |a| / |b|; `apart` is -1 or 0.
        zero = self.const(0)
        apart = self.binary("ashr", self.binary("xor", a, b), self.const(63))
        both = self.binary("and", self.compare("!=", a, zero), self.compare("!=", b, zero))
        apart = self.select(both, apart, zero)
        size = self.cast(self.binary("add", self._magnitude(a), apart), U64)
        quotient = self.cast(self.binary("udiv", size, self.cast(self._magnitude(b), U64)), I64)
        quotient = self.binary("xor", quotient, apart)
        return quotient if op == "//" else self.binary("sub", a, self.binary("mul", quotient, b))

    def _magnitude(self, a: Value) -> Value:
        sign = self.binary("ashr", a, self.const(63))
        return self.binary("sub", self.binary("xor", a, sign), sign)

    def _shift(self, op: str, a: Value, b: Value) -> Value:
        kind = _int(a)
        arithmetic = op == ">>" and kind.signed
        name = "shl" if op == "<<" else "ashr" if arithmetic else "lshr"
        if isinstance(b, Const):
            amount = b.value
            if isinstance(a, Const) and 0 <= amount < 64:
                return self.const(_fold(op, a.value, amount), kind)
            if 0 <= amount < 64:
                return self.binary(name, a, self.const(amount, kind))
            return self.binary(name, a, self.const(63, kind)) if arithmetic else self.const(0, kind)
        amounts = self.cast(b, U64)
        small = self.emit(ir.Compare("ult", amounts, self.const(64, U64)))
        if arithmetic:
            amounts = self.emit(ir.Select(small, amounts, self.const(63, U64)))
            return self.binary(name, a, self.cast(amounts, kind))
        shifted = self.binary(name, a, self.cast(amounts, kind))
        return self.emit(ir.Select(small, shifted, self.const(0, kind)))

    def compare(self, op: str, a: Value, b: Value) -> Value:
        """`a op b` for `== != < <= > >=`, a `BOOL`. Pointers know `==` and `!=` only."""
        if isinstance(a.type, Ptr) or isinstance(b.type, Ptr):
            return self._compare_pointers(op, a, b)
        a, b = self.widen(a), self.widen(b)
        if isinstance(a, Const) and isinstance(b, Const):
            return self.const(_holds(op, a.value, b.value), BOOL)
        if _int(a).signed == _int(b).signed:
            return self._compare_same(op, a, b)
        if _int(b).signed:
            a, b, op = b, a, _SWAPPED[op]
        # a is signed, b is not
        if isinstance(a, Const):
            if a.value < 0:
                return self.const(_holds(op, -1, 0), BOOL)
            return self._compare_same(op, self.cast(a, U64), b)
        if _fits_signed(b):
            return self._compare_same(op, a, self.cast(b, I64))
        if isinstance(b, Const):  # above every signed number
            return self.const(_holds(op, 0, 1), BOOL)
        negative = self._compare_same("<", a, self.const(0))
        by_size = self._compare_same(op, self.cast(a, U64), b)
        if op in ("<", "<=", "!="):
            return self.binary("or", negative, by_size)
        return self.binary("and", self.not_(negative), by_size)

    def _compare_same(self, op: str, a: Value, b: Value) -> Value:
        if op in ("==", "!="):
            return self.emit(ir.Compare("eq" if op == "==" else "ne", a, b))
        return self.emit(ir.Compare(("s" if _int(a).signed else "u") + _ORDER[op], a, b))

    def _compare_pointers(self, op: str, a: Value, b: Value) -> Value:
        if op not in ("==", "!="):
            raise ValueError(f"pointers have no order: {op}")
        if isinstance(a.type, Int):
            a, b = b, a
        if isinstance(b, Const) and b.value == 0:
            b = Const(a.type, 0)
        elif isinstance(b.type, Int):
            a, b = self.recast(a, U64), self.cast(b, U64)
        return self.emit(ir.Compare("eq" if op == "==" else "ne", a, b))

    def any_of(self, conditions: Iterable[Value]) -> Value:
        """A `BOOL`: is one of the already computed conditions true?"""
        out: Value = self.const(0, BOOL)
        for cond in conditions:
            cond = self.truth(cond)
            out = cond if isinstance(out, Const) and not out.value else self.arith("|", out, cond)
        return out


def _pointer(value: Value) -> Ptr:
    assert isinstance(value.type, Ptr), f"not a pointer: {value.type!r}"
    return value.type


def _int(value: Value) -> Int:
    assert isinstance(value.type, Int), f"not an integer: {value.type!r}"
    return value.type


def _found(where: Ptr) -> Type:
    """The type of what lies behind `where`: a pointer's space depends on the way it was reached."""
    to = where.to
    if not isinstance(to, Ptr) or to.space is Space.USER:
        return to
    if where.space is Space.TRUSTED:
        return Ptr(to.to, Space.TRUSTED if isinstance(to.to, Struct) else Space.KERNEL)
    if where.space in PROBED:
        return Ptr(to.to, where.space)
    return to


def _fits_signed(value: Value) -> bool:
    """The unsigned 64-bit value is known to be below 2**63."""
    if isinstance(value, Const):
        return value.value <= _MAX_SIGNED
    if isinstance(value, ir.Cast) and isinstance(value.value.type, Int):
        return value.value.type.bits < 64 and not value.value.type.signed
    if isinstance(value, ir.Binary) and isinstance(value.b, Const):
        if value.op == "lshr":
            return value.b.value > 0
        return value.op in ("and", "urem") and value.b.value <= _MAX_SIGNED
    return False


def _fold(op: str, a: int, b: int) -> int:
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "&":
            return a & b
        case "|":
            return a | b
        case "^":
            return a ^ b
        case "<<":
            return a << b
        case ">>":
            return a >> b
        case "//":
            return a // b if b else 0
        case "%":
            return a % b if b else a
    raise ValueError(f"unknown operator {op}")


def _holds(op: str, a: int, b: int) -> bool:
    match op:
        case "==":
            return a == b
        case "!=":
            return a != b
        case "<":
            return a < b
        case "<=":
            return a <= b
        case ">":
            return a > b
        case ">=":
            return a >= b
    raise ValueError(f"unknown comparison {op}")
