"""From IR to LLVM IR as text, and on to an object. No other module knows LLVM's language.

What comes out has the shape clang gives C programs for BPF: maps as variables in `.maps`, kernel fields
reached through `llvm.preserve.*.access.index`, every instruction with its place in the source.
"""

from __future__ import annotations

from math import gcd

from . import ir, markers, scratch
from .codegen import Compiler
from .debuginfo import DebugInfo, quote
from .inlining import plan
from .legal import MAX_STACK, check
from .types import VOID, Array, Chars, Code, Int, Ptr, Space, Struct, Type
from .walk import Body, bodies_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_HEAD = 'target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"\ntarget triple = "bpf"\n'
_TAIL = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1 immarg)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1 immarg)
declare void @llvm.lifetime.start.p0(ptr)
declare void @llvm.lifetime.end.p0(ptr)
declare void @llvm.memcpy.p0.p1.i64(ptr, ptr addrspace(1), i64, i1 immarg)
declare void @llvm.memcpy.p1.p0.i64(ptr addrspace(1), ptr, i64, i1 immarg)
declare void @llvm.memcpy.p1.p1.i64(ptr addrspace(1), ptr addrspace(1), i64, i1 immarg)
declare void @llvm.memset.p1.i64(ptr addrspace(1), i8, i64, i1 immarg)
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
declare ptr @llvm.preserve.static.offset(ptr)
declare ptr @llvm.preserve.struct.access.index.p0.p0(ptr, i32 immarg, i32 immarg)
declare ptr @llvm.preserve.union.access.index.p0.p0(ptr, i32 immarg)
declare ptr @llvm.preserve.array.access.index.p0.p0(ptr, i32 immarg, i32 immarg)
declare i32 @llvm.bpf.preserve.field.info.p0(ptr, i64 immarg)
declare i32 @llvm.bpf.preserve.type.info(i32, i64 immarg)
declare i64 @llvm.bpf.btf.type.id(i32, i64)
declare i64 @llvm.bpf.preserve.enum.value(i32, ptr, i64 immarg)
attributes #0 = { nounwind }
attributes #1 = { noinline nounwind }
"""
# libbpf's numbers for CO-RE facts (bpf_core_read.h)
_FIELD = {"byte_offset": 0, "byte_size": 1, "exists": 2, "signed": 3, "lshift_u64": 4, "rshift_u64": 5}
_TYPE = {"exists": 0, "size": 1, "matches": 2}
_TYPE_ID = {"local_id": 0, "kernel_id": 1}  # BPF_TYPE_ID_LOCAL, BPF_TYPE_ID_TARGET
_ENUM = {"exists": 0, "value": 1}

_ARENA = "ptr addrspace(1)"  # LLVM casts such addresses to the kernel's before it uses them
_INLINE = 512  # bytes that memcpy and memset are spelled out for; more takes a loop


NAMES, SLOTS = "names", "slots"


def emit(module: ir.Module, *, cpu: str = "v3", compiler: Compiler | None = None, debug: str = "") -> bytes:
    """The ELF object of a module.

    `debug` adds DWARF that tells debuggers where variables are: NAMES leaves all instructions as they are
    without it, SLOTS gives each variable memory of its own and optimises little (for the machine only).
    `compiler` may be started before there is a module, so that LLVM starts while the front end works. Raises
    CompileError at the place of what BPF cannot do.
    """
    bodies = bodies_of(module)
    scratch.place(module, MAX_STACK, bodies)
    check(module, bodies)
    made = _ModuleText(module, debug, bodies)
    text = made.text()
    places = {fn.name: (fn.file, fn.line) for fn in module.functions}
    if compiler is not None:
        data = compiler.compile(text, places, made.plan)
    else:
        with Compiler(cpu, optimise=debug != SLOTS) as fresh:
            data = fresh.compile(text, places, made.plan)
    return markers.exchange(data) if made.marked else data


def to_text(module: ir.Module, debug: str = "") -> str:
    """The module in LLVM's language."""
    return _ModuleText(module, debug, bodies_of(module)).text()


def natural(t: Type) -> int:
    """The alignment C gives a type; 1 for kernel structs, whose members are not looked at."""
    if isinstance(t, (Int, Ptr)):
        return t.size
    if isinstance(t, Array):
        return natural(t.elem)
    if isinstance(t, Struct) and not t.core:
        return min(t.align or max((natural(m.type) for m in t.members), default=1), 8)
    return 1


def _place(t: Type) -> int:
    """The alignment given to variables: 8 where they are that large, for whole-word copies."""
    return 8 if t.size >= 8 else natural(t)


def _slot(t: Type) -> str:
    if isinstance(t, Int) and t.bits == 1:
        return "i8"
    return _type(t) if isinstance(t, (Int, Ptr)) else f"[{t.size} x i8]"


def _type(t: Type) -> str:
    if isinstance(t, Int):
        return f"i{t.bits}"
    if isinstance(t, Ptr):
        return _ARENA if t.space is Space.ARENA else "ptr"
    assert t is VOID, f"no value is of type {t!r}"
    return "void"


def _suffix(pointer: str) -> str:
    """The part of an intrinsic's name that says where a pointer leads."""
    return "p1" if pointer == _ARENA else "p0"


class _ModuleText:
    def __init__(self, module: ir.Module, debug: str, bodies: dict[ir.Function, Body]) -> None:
        self.module = module
        self.bodies = bodies
        self.locals = debug
        self.debug = DebugInfo(module, dwarf=bool(debug))
        self.lines: list[str] = []
        self.private: dict[tuple[bytes, int], str] = {}
        self.externs: dict[str, ir.Extern] = {}
        self.ksyms: dict[str, ir.Ksym] = {}
        self.plan = plan(bodies, _INLINE)
        self.marked = False  # are there calls that stand for instructions?
        self.serial = 0  # numbers CO-RE facts apart, so that none is merged with another

    def text(self) -> str:
        module = self.module
        for code in self.bodies.values():
            self._note_uses(code)
        for m in module.maps:
            t, n = self.debug.map_type(m)
            ref = self.debug.variable(m.name, t)
            body = f"[{n} x ptr] zeroinitializer"
            if m.programs:
                count = max(m.programs) + 1
                slots = [f"ptr @{m.programs[i]}" if i in m.programs else "ptr null" for i in range(count)]
                body = (
                    f"{{ [{n} x ptr], [{count} x ptr] }} "
                    f"{{ [{n} x ptr] zeroinitializer, [{count} x ptr] [{', '.join(slots)}] }}"
                )
            kind = f'dso_local global {body}, section ".maps", align 8'
            self.lines.append(f"@{m.name} = {kind}, !dbg {ref}")
        for var in module.globals:
            self._global(var)
        for ops in module.struct_ops:
            self._struct_ops(ops)
        license_ = module.license.encode() + b"\0"
        char = self.debug.type(Chars(len(license_)))
        ref = self.debug.variable("_license", char)
        self.lines.append(
            f"@_license = dso_local global [{len(license_)} x i8] "
            f'c"{quote(license_)}", section "license", align 1, !dbg {ref}'
        )
        for extern in self.externs.values():
            params = ", ".join(_type(t) for _, t in extern.params)
            weak = "extern_weak " if extern.weak else ""
            self.lines.append(
                f"declare !dbg {self.debug.extern(extern)} {weak}dso_local {_type(extern.ret)} "
                f'@{extern.name}({params}) section ".ksyms"'
            )
        for ksym in self.ksyms.values():
            if ksym.config:
                weak = "extern_weak" if ksym.weak else "external"
                self.lines.append(
                    f"@{ksym.name} = {weak} dso_local constant {_slot(ksym.type)}, "
                    f'section ".kconfig", align {natural(ksym.type)}, !dbg {self.debug.ksym(ksym)}'
                )
                continue
            self.lines.append(
                f'@{ksym.name} = external dso_local global i8, section ".ksyms", align 8, '
                f"!dbg {self.debug.ksym(ksym)}"
            )
        functions: list[str] = []
        for fn, code in self.bodies.items():
            functions += _FunctionText(self, fn, code).text()
        return "\n".join([_HEAD, *self.lines, *functions, _TAIL, *self.debug.finish(), ""])

    def _note_uses(self, body: Body) -> None:
        used = self.debug.used
        for op in body.ops.get(ir.FieldAddr, ()):
            if op.struct.core:
                used.setdefault(op.struct, set()).add(op.index)
        for op in body.ops.get(ir.TypeInfo, ()):
            used.setdefault(op.of, set())
        for op in body.ops.get(ir.Kfunc, ()):
            self.extern(op.extern)
        for op in body.ops.get(ir.Call, ()):
            for p in op.fn.params if op.fn.visible else ():
                if isinstance(p.type, Ptr) and isinstance(p.type.to, Struct) and p.type.to.core:
                    used.setdefault(p.type.to, set())
        for value in body.of:
            if type(value) is ir.ExternRef:
                self.extern(value.extern)
            elif type(value) is ir.KsymRef:
                self.ksyms.setdefault(value.ksym.name, value.ksym)

    def extern(self, extern: ir.Extern) -> None:
        """A kernel function that the module mentions: loaders compare its prototype with the kernel's."""
        if extern.name in self.externs:
            return
        self.externs[extern.name] = extern
        called = [t.to for _, t in extern.params if isinstance(t, Ptr) and isinstance(t.to, Code)]
        inner = [t for code in called for t in (code.ret, *code.params)]
        for t in (extern.ret, *(t for _, t in extern.params), *inner):
            if isinstance(t, Ptr) and isinstance(t.to, Struct) and t.to.core and t.to.name:
                self.debug.used.setdefault(t.to, set())  # by name alone it would be no struct to compare with

    def _global(self, var: ir.GlobalVar) -> None:
        ref = self.debug.variable(var.name, self.debug.type(var.type))
        # a loader may set constants before the program is loaded: LLVM must not know their values
        kind = "externally_initialized constant" if var.const else "global"
        if var.arena:
            kind = "addrspace(1) global"
        place = var.section or (".rodata" if var.const else "")
        section = f', section "{place}"' if place else ""
        align = max(_place(var.type), var.type.align if isinstance(var.type, Struct) else 0)
        self.lines.append(
            f"@{var.name} = dso_local {kind} [{len(var.init)} x i8] {_bytes(var.init)}{section}, "
            f"align {align}, !dbg {ref}"
        )

    def _struct_ops(self, ops: ir.StructOps) -> None:
        ref = self.debug.variable(ops.name, self.debug.struct_ops_type(ops))
        at, types, values = 0, [], []
        for member, data in zip(ops.type.members, ops.data, strict=True):
            types.append("ptr" if isinstance(data, str) else f"[{len(data)} x i8]")
            values.append(f"ptr @{data}" if isinstance(data, str) else f"{types[-1]} {_bytes(data)}")
            at = member.bit_offset // 8 + member.type.size
        if at < ops.type.size:
            types.append(f"[{ops.type.size - at} x i8]")
            values.append(f"{types[-1]} zeroinitializer")
        self.lines.append(
            f"@{ops.name} = dso_local global <{{ {', '.join(types)} }}> <{{ {', '.join(values)} }}>, "
            f'section ".struct_ops.link", align 8, !dbg {ref}'
        )

    def constant(self, var: ir.GlobalVar) -> str:
        """A compiler-made constant; equal ones share their place."""
        key = (var.init, _place(var.type))
        if (name := self.private.get(key)) is None:
            name = self.private[key] = f"@.const.{len(self.private)}"
            data = var.init
            # LLVM would put C strings and constants of 4, 8, 16 or 32 bytes in a mergeable section: a second
            # one named .rodata, which loaders refuse
            while len(data) in (4, 8, 16, 32) or data.find(0) == len(data) - 1:
                data += b"\0"
            self.lines.append(
                f"{name} = private constant [{len(data)} x i8] {_bytes(data)}, "
                f'section ".rodata", align {key[1]}'
            )
        return name


def _bytes(data: bytes) -> str:
    return f'c"{quote(data)}"' if any(data) else "zeroinitializer"


class _FunctionText:
    def __init__(self, owner: _ModuleText, fn: ir.Function, body: Body) -> None:
        self.owner = owner
        self.debug = owner.debug
        self.fn = fn
        self.blocks, self.body = body.blocks, body
        self.names: dict[ir.Value, str] = {}
        self.labels = {b: f"b{i}" for i, b in enumerate(body.blocks)}
        self.out: list[str] = []
        self.next = 0
        self.dbg = ""
        self.subprogram = ""

    # -- the frame

    def text(self) -> list[str]:
        fn = self.fn
        self.subprogram = self.debug.subprogram(fn)
        for p in fn.params:
            self.names[p] = f"%p{p.index}"
        params = ", ".join(f"{_type(p.type)} noundef %p{p.index}" for p in fn.params)
        kind = "dso_local" if fn.visible else "internal"
        section = f' section "{quote(fn.section.encode())}"' if fn.section else ""
        attributes = "#0" if fn.section or fn.inline else "#1"
        uses = self.body
        starts: dict[ir.Op, list[ir.Local]] = {}
        ends: dict[ir.Op, list[ir.Local]] = {}
        head = f"define {kind} {_type(fn.ret)} @{fn.name}({params}) {attributes}{section}"
        self.out.append(f"\n{head} !dbg {self.subprogram} {{")
        for i, local in enumerate(v for v in fn.locals if v in uses.of):
            self.names[local] = f"%l{i}"
            if fn.scratch is not None and local in fn.scratch.offsets:
                continue
            self.out.append(f"  %l{i} = alloca {_slot(local.of)}, align {_place(local.of)}")
            if self.owner.locals == SLOTS:
                continue
            if not uses.promoted(local) and (life := uses.lifetime(local)) is not None:
                # so that variables of different places share the stack
                starts.setdefault(life[0], []).append(local)
                ends.setdefault(life[1], []).append(local)
        if fn.scratch is not None:
            self.take(fn.scratch)
        if self.owner.locals:
            self.declare()
        if not fn.section and any(isinstance(block.ops[-1], ir.MayGoto) for block in self.blocks):
            # Linux 6.18 looks for the count among a function's own variables, and fails if there are none
            self.out.append("  %rounds = alloca i64, align 8")
            self.out.append("  store volatile i64 0, ptr %rounds, align 8")
        self.out.append(f"  br label %{self.labels[self.blocks[0]]}")
        at: ir.Loc | None = None
        for block in self.blocks:
            self.out.append(f"{self.labels[block]}:")
            for op in block.ops:
                if op.loc is not at:
                    at = op.loc
                    self.dbg = f", !dbg {self.debug.location(self.subprogram, at)}"
                for local in starts.get(op, ()):
                    self.add(f"call void @llvm.lifetime.start.p0(ptr {self.names[local]})")
                _EMIT[type(op)](self, op)
                for local in ends.get(op, ()):
                    self.add(f"call void @llvm.lifetime.end.p0(ptr {self.names[local]})")
        self.out.append("}")
        return self.out

    def declare(self) -> None:
        """Tell debuggers where variables are."""
        fn = self.fn
        spilled: dict[ir.Value, str] = {}
        for variable in fn.variables:
            place: ir.Value = variable.place
            steps: list[str] = []
            if isinstance(place, ir.Offset):
                offset, place = place.bytes, place.base
                assert isinstance(offset, ir.Const)
                steps = ["DW_OP_plus_uconst", str(offset.value)]
            if place not in self.names:
                continue  # of no use to anybody
            ref, how, kind = self.names[place], "declare", _type(place.type)
            if isinstance(place, ir.Param) or (fn.scratch is not None and place in fn.scratch.offsets):
                how, steps = "value", [*steps, "DW_OP_deref"]
                if self.owner.locals == SLOTS:
                    if place not in spilled:
                        spilled[place] = f"{ref}.held"
                        self.out.append(f"  {ref}.held = alloca {kind}, align 8")
                        self.out.append(f"  store {kind} {ref}, ptr {ref}.held, align 8")
                    ref, how, kind = spilled[place], "declare", "ptr"
                    steps = ["DW_OP_deref", *steps[:-1]]
            known = self.debug.local(variable, fn, self.subprogram)
            at = self.debug.location(self.subprogram, ir.Loc(variable.line))
            self.out.append(f"    #dbg_{how}({kind} {ref}, {known}, !DIExpression({', '.join(steps)}), {at})")

    def take(self, own: scratch.Scratch) -> None:
        """A part of the function's per-CPU memory, and the addresses of the variables in it."""
        self.dbg = f", !dbg {self.debug.location(self.subprogram, ir.Loc(self.fn.line))}"
        fails = "ret void" if self.fn.ret is VOID else f"ret {self.arg(ir.Const(self.fn.ret, 0))}"
        self.out.append("  %scratch.key = alloca i32, align 4")
        self.add("store i32 0, ptr %scratch.key, align 4")
        self.add(
            f"%scratch = call align 8 ptr inttoptr (i64 1 to ptr)(ptr @{own.map.name}, ptr %scratch.key)"
        )
        self.add("%scratch.none = icmp eq ptr %scratch, null")
        self.add("br i1 %scratch.none, label %scratch.no, label %scratch.there")
        self.out.append("scratch.no:")
        self.add(fails)
        self.out.append("scratch.there:")
        self.add("%scratch.depth = load i64, ptr %scratch, align 8")
        self.add(f"%scratch.full = icmp ugt i64 %scratch.depth, {scratch.LEVELS - 1}")
        self.add("br i1 %scratch.full, label %scratch.no, label %scratch.yes")
        self.out.append("scratch.yes:")
        self.add("%scratch.next = add i64 %scratch.depth, 1")
        self.add("store volatile i64 %scratch.next, ptr %scratch, align 8")
        self.add(f"%scratch.at = mul i64 %scratch.depth, {own.size}")
        self.add("%scratch.from = add i64 %scratch.at, 8")
        self.add("%scratch.part = getelementptr i8, ptr %scratch, i64 %scratch.from")
        for local, offset in own.offsets.items():
            if local in self.names:
                self.add(f"{self.names[local]} = getelementptr i8, ptr %scratch.part, i64 {offset}")

    def add(self, text: str) -> None:
        self.out.append(f"  {text}{self.dbg}")

    def fresh(self) -> str:
        self.next += 1
        return f"%v{self.next}"

    def give(self, text: str) -> str:
        """An instruction with a result; its name."""
        name = self.fresh()
        self.add(f"{name} = {text}")
        return name

    def define(self, op: ir.Op, text: str) -> None:
        self.names[op] = self.give(text)

    # -- operands

    def ref(self, v: ir.Value) -> str:
        """An operand without its type."""
        if (name := self.names.get(v)) is not None:
            return name
        if isinstance(v, ir.Const):
            if isinstance(v.type, Ptr):
                return f"inttoptr (i64 {v.value} to {_type(v.type)})" if v.value else "null"
            if v.type.size == 1 and isinstance(v.type, Int) and v.type.bits == 1:
                return "true" if v.value else "false"
            return str(v.value)
        if isinstance(v, ir.MapRef):
            return f"@{v.map.name}"
        if isinstance(v, ir.FunctionRef):
            return f"@{v.fn.name}"
        if isinstance(v, ir.ExternRef):
            return f"@{v.extern.name}"
        if isinstance(v, ir.KsymRef):
            return f"@{v.ksym.name}"
        if isinstance(v, ir.GlobalRef):
            return self.owner.constant(v.var) if v.var.private else f"@{v.var.name}"
        return self.names[v]

    def arg(self, v: ir.Value) -> str:
        """An operand with its type."""
        return f"{_type(v.type)} {self.ref(v)}"

    def align(self, v: ir.Value) -> int:
        """What the address is surely a multiple of."""
        if isinstance(v, ir.Local):
            return _place(v.of)
        if isinstance(v, ir.GlobalRef):
            return _place(v.var.type)
        if isinstance(v, ir.FieldAddr) and not v.struct.core:
            offset = v.struct.members[v.index].bit_offset // 8
            return gcd(self.align(v.base), offset) or 8
        if isinstance(v, ir.ElemAddr):
            assert isinstance(v.type, Ptr)
            step = v.type.to.size * (v.index.value if isinstance(v.index, ir.Const) else 1)
            return gcd(self.align(v.base), step)
        if isinstance(v, ir.Offset):
            return gcd(self.align(v.base), v.bytes.value) if isinstance(v.bytes, ir.Const) else 1
        if isinstance(v, ir.Recast) and isinstance(v.value.type, Ptr):
            return self.align(v.value)
        assert isinstance(v.type, Ptr)
        if isinstance(v, ir.Helper) and v.type.space in (Space.MAP, Space.RECORD):
            return 8
        if v.type.space in (Space.PACKET, Space.PACKET_READ):
            return 4
        return natural(v.type.to)

    def access_align(self, ptr: ir.Value, size: int) -> int:
        """The alignment of a load or store: the type's own, but for a field placed across it.

        In packets it is always the type's own: the verifier does not mind where the CPU does not.
        """
        while isinstance(ptr, ir.Recast) and isinstance(ptr.value.type, Ptr):
            ptr = ptr.value
        if isinstance(ptr.type, Ptr) and ptr.type.space in (Space.PACKET, Space.PACKET_READ):
            return size
        return gcd(size, self.declared_align(ptr))

    def declared_align(self, v: ir.Value) -> int:
        """What an address is a multiple of if pointers from elsewhere are as their types say."""
        if isinstance(v, ir.FieldAddr) and not v.struct.core:
            return gcd(self.declared_align(v.base), v.struct.members[v.index].bit_offset // 8) or 8
        if isinstance(v, ir.ElemAddr):
            assert isinstance(v.type, Ptr)
            step = v.type.to.size * (v.index.value if isinstance(v.index, ir.Const) else 1)
            return gcd(self.declared_align(v.base), step) or 8
        if isinstance(v, ir.Offset) and isinstance(v.bytes, ir.Const):
            return gcd(self.declared_align(v.base), v.bytes.value) or 8
        if isinstance(v, ir.Recast) and isinstance(v.value.type, Ptr):
            return self.declared_align(v.value)
        if isinstance(v, (ir.Local, ir.GlobalRef)):
            return self.align(v)
        if isinstance(v.type, Ptr) and isinstance(v.type.to, Struct) and not v.type.to.core:
            return self.align(v)
        return 8

    # -- ops

    def load(self, op: ir.Load) -> None:
        t = op.type
        align = self.access_align(op.ptr, t.size)
        how = f"load{self.kept(op.ptr)}"
        if isinstance(t, Int) and t.bits == 1:
            byte = self.give(f"{how} i8, {self.arg(op.ptr)}, align 1")
            self.define(op, f"icmp ne i8 {byte}, 0")
        else:
            self.define(op, f"{how} {_type(t)}, {self.arg(op.ptr)}, align {align}")

    def kept(self, ptr: ir.Value) -> str:
        """Where each variable has memory, its loads and stores stay what they are, and in their order."""
        return " volatile" if self.owner.locals == SLOTS and isinstance(ptr, ir.Local) else ""

    def store(self, op: ir.Store) -> None:
        t = op.value.type
        value = self.arg(op.value)
        if isinstance(t, Int) and t.bits == 1:
            value = f"i8 {self.give(f'zext {value} to i8')}"
        align = self.access_align(op.ptr, t.size)
        self.add(f"store{self.kept(op.ptr)} {value}, {self.arg(op.ptr)}, align {align}")

    def copy(self, op: ir.Copy) -> None:
        to, source = self.align(op.dst), self.align(op.src)
        if op.size <= _INLINE:
            dst, src = _type(op.dst.type), _type(op.src.type)
            self.add(
                f"call void @llvm.memcpy.{_suffix(dst)}.{_suffix(src)}.i64({dst} align {to} "
                f"{self.ref(op.dst)}, {src} align {source} {self.ref(op.src)}, i64 {op.size}, i1 false)"
            )
        else:
            self.by_words(op.dst, op.src, op.size, gcd(to, source, op.size, 8))

    def zero(self, op: ir.Zero) -> None:
        to = self.align(op.dst)
        if op.size <= _INLINE:
            dst = _type(op.dst.type)
            args = f"{dst} align {to} {self.ref(op.dst)}, i8 0, i64 {op.size}, i1 {str(op.alone).lower()}"
            self.add(f"call void @llvm.memset.{_suffix(dst)}.i64({args})")
        else:
            self.by_words(op.dst, None, op.size, gcd(to, op.size, 8))

    def by_words(self, dst: ir.Value, src: ir.Value | None, size: int, unit: int) -> None:
        """Copy or zero in a loop; volatile, or LLVM would make it a call of a C library."""
        word, n = f"i{unit * 8}", self.next
        before, loop, done = f"pre{n}", f"loop{n}", f"done{n}"
        i, following = self.fresh(), self.fresh()
        self.add(f"br label %{before}")
        self.out.append(f"{before}:")
        self.add(f"br label %{loop}")
        self.out.append(f"{loop}:")
        self.add(f"{i} = phi i64 [ 0, %{before} ], [ {following}, %{loop} ]")
        to = self.give(f"getelementptr inbounds {word}, {self.arg(dst)}, i64 {i}")
        value = "0"
        if src is not None:
            place = self.give(f"getelementptr inbounds {word}, {self.arg(src)}, i64 {i}")
            value = self.give(f"load volatile {word}, {_type(src.type)} {place}, align {unit}")
        self.add(f"store volatile {word} {value}, {_type(dst.type)} {to}, align {unit}")
        self.add(f"{following} = add nuw nsw i64 {i}, 1")
        more = self.give(f"icmp ult i64 {following}, {size // unit}")
        self.add(f"br i1 {more}, label %{loop}, label %{done}")
        self.out.append(f"{done}:")

    def field(self, op: ir.FieldAddr) -> None:
        if not op.struct.core:
            offset = op.struct.members[op.index].bit_offset // 8
            assert isinstance(op.type, Ptr)
            known = isinstance(op.base, ir.Param) and op.type.space is Space.CONTEXT
            if known or op.type.space is Space.CALLER:
                # or LLVM might add a number to the context before it loads, which the verifier refuses
                fixed = self.give(f"call ptr @llvm.preserve.static.offset({self.arg(op.base)})")
                self.define(op, f"getelementptr inbounds i8, ptr {fixed}, i64 {offset}")
            elif offset:
                self.define(op, f"getelementptr inbounds i8, {self.arg(op.base)}, i64 {offset}")
            else:
                self.names[op] = self.ref(op.base)
            return
        index = self.debug.member_index(op.struct, op.index)
        access = f", !llvm.preserve.access.index {self.debug.type(op.struct)}"
        if op.struct.union:
            call = f"@llvm.preserve.union.access.index.p0.p0({self.arg(op.base)}, i32 {index})"
        else:
            # a struct type, since LLVM asks for the member's when it weighs whether to move the call
            base = f"ptr elementtype({{ i8 }}) {self.ref(op.base)}"
            call = f"@llvm.preserve.struct.access.index.p0.p0({base}, i32 0, "
            call += f"i32 {index})"
        name = self.names[op] = self.fresh()
        self.out.append(f"  {name} = call ptr {call}{self.dbg}{access}")

    def elem(self, op: ir.ElemAddr) -> None:
        base = op.base
        assert isinstance(base.type, Ptr)
        assert isinstance(op.type, Ptr)
        if isinstance(base, ir.FieldAddr) and base.struct.core and isinstance(op.index, ir.Const):
            access = f", !llvm.preserve.access.index {self.debug.type(base.type.to)}"
            # two indexes will be made of it; where little is optimised, they have to be valid for a while
            of = "[1 x i8]" if self.owner.locals == SLOTS else "i8"
            name = self.names[op] = self.fresh()
            self.out.append(
                f"  {name} = call ptr @llvm.preserve.array.access.index.p0.p0(ptr elementtype({of}) "
                f"{self.ref(base)}, i32 1, i32 {op.index.value}){self.dbg}{access}"
            )
        else:
            step = f"[{op.type.to.size} x i8]"
            self.define(op, f"getelementptr inbounds {step}, {self.arg(base)}, {self.arg(op.index)}")

    def offset(self, op: ir.Offset) -> None:
        self.define(op, f"getelementptr i8, {self.arg(op.base)}, {self.arg(op.bytes)}")

    def recast(self, op: ir.Recast) -> None:
        had, want = _type(op.value.type), _type(op.type)
        if had == want:
            self.names[op] = self.ref(op.value)
        elif had.startswith("ptr") and want.startswith("ptr"):
            number = self.give(f"ptrtoint {self.arg(op.value)} to i64")
            self.define(op, f"inttoptr i64 {number} to {want}")
        else:
            how = "ptrtoint" if had.startswith("ptr") else "inttoptr"
            self.define(op, f"{how} {self.arg(op.value)} to {want}")

    def opaque(self, op: ir.Opaque) -> None:
        self.define(op, f'call {_type(op.type)} asm "", "=r,0"({self.arg(op.value)})')

    def cast(self, op: ir.Cast) -> None:
        had, want = op.value.type, op.type
        assert isinstance(had, Int)
        assert isinstance(want, Int)
        if want.bits == had.bits:
            self.names[op] = self.ref(op.value)
        elif want.bits == 1:
            self.define(op, f"icmp ne {self.arg(op.value)}, 0")
        elif want.bits < had.bits:
            self.define(op, f"trunc {self.arg(op.value)} to {_type(want)}")
        else:
            how = "sext" if had.signed and had.bits > 1 else "zext"
            self.define(op, f"{how} {self.arg(op.value)} to {_type(want)}")

    def binary(self, op: ir.Binary) -> None:
        a, b, t = self.ref(op.a), self.ref(op.b), _type(op.type)
        match op.op:
            case "udiv" | "urem":
                self.names[op] = self.divide(op.op, t, a, b, op.b)
            case "sdiv" | "srem":
                self.names[op] = self.divide_signed(op.op, t, a, b, op.b)
            case _:
                self.define(op, f"{op.op} {t} {a}, {b}")

    def divide(self, how: str, t: str, a: str, b: str, divisor: ir.Value) -> str:
        """Unsigned; by zero it gives 0, and a as the remainder, as BPF's instruction does."""
        if isinstance(divisor, ir.Const) and divisor.value:
            return self.give(f"{how} {t} {a}, {b}")
        zero = self.give(f"icmp eq {t} {b}, 0")
        safe = self.give(f"select i1 {zero}, {t} 1, {t} {b}")
        result = self.give(f"{how} {t} {a}, {safe}")
        return self.give(f"select i1 {zero}, {t} {'0' if how == 'udiv' else a}, {t} {result}")

    def divide_signed(self, how: str, t: str, a: str, b: str, divisor: ir.Value) -> str:
        """Truncating, made of the unsigned one: BPF has no signed division below cpu v4."""
        top = int(t[1:]) - 1

        def magnitude(x: str) -> tuple[str, str]:
            sign = self.give(f"ashr {t} {x}, {top}")
            return sign, self.give(f"sub {t} {self.give(f'xor {t} {x}, {sign}')}, {sign}")

        sign, size = magnitude(a)
        if isinstance(divisor, ir.Const) and divisor.value:
            result = self.give(f"u{how[1:]} {t} {size}, {abs(divisor.value)}")
            other = "-1" if divisor.value < 0 else "0"
        else:
            other, by = magnitude(b)
            result = self.divide(f"u{how[1:]}", t, size, by, divisor)
        if how == "sdiv":
            sign = self.give(f"xor {t} {sign}, {other}")
        return self.give(f"sub {t} {self.give(f'xor {t} {result}, {sign}')}, {sign}")

    def swap(self, op: ir.Swap) -> None:
        t = _type(op.type)
        self.define(op, f"call {t} @llvm.bswap.{t}({self.arg(op.value)})")

    def compare(self, op: ir.Compare) -> None:
        self.define(op, f"icmp {op.op} {self.arg(op.a)}, {self.ref(op.b)}")

    def select(self, op: ir.Select) -> None:
        self.define(op, f"select {self.arg(op.cond)}, {self.arg(op.a)}, {self.arg(op.b)}")

    def call_text(self, op: ir.Helper | ir.Call | ir.Kfunc, callee: str, attributes: str = "") -> None:
        args = ", ".join(self.arg(a) for a in op.args)
        text = f"call {attributes}{_type(op.type)} {callee}({args})"
        if op.type is VOID:
            self.add(text)
        else:
            self.define(op, text)

    def helper(self, op: ir.Helper) -> None:
        aligned = isinstance(op.type, Ptr) and op.type.space in (Space.MAP, Space.RECORD)
        self.call_text(op, f"inttoptr (i64 {op.id} to ptr)", "align 8 " if aligned else "")

    def call(self, op: ir.Call) -> None:
        self.call_text(op, f"@{op.fn.name}")

    def kfunc(self, op: ir.Kfunc) -> None:
        self.call_text(op, f"@{op.extern.name}")

    def atomic(self, op: ir.Atomic) -> None:
        order = "seq_cst" if op.fetch else "monotonic"
        text = (
            f"atomicrmw {op.op} {self.arg(op.ptr)}, {self.arg(op.value)} {order}, align {op.value.type.size}"
        )
        self.define(op, text)

    def compare_exchange(self, op: ir.CompareExchange) -> None:
        pair = self.give(
            f"cmpxchg {self.arg(op.ptr)}, {self.arg(op.expected)}, {self.arg(op.value)} seq_cst seq_cst, "
            f"align {op.value.type.size}"
        )
        t = _type(op.type)
        self.define(op, f"extractvalue {{ {t}, i1 }} {pair}, 0")

    def load_acquire(self, op: ir.LoadAcquire) -> None:
        t = op.type
        result = self.give(
            f"call i64 inttoptr (i64 {markers.LOAD_ACQUIRE + t.size} to ptr)({self.kernel_address(op.ptr)})"
        )
        self.owner.marked = True
        if t.size < 8:
            self.define(op, f"trunc i64 {result} to {_type(t)}")
        else:
            self.names[op] = result

    def store_release(self, op: ir.StoreRelease) -> None:
        t = op.value.type
        value = self.ref(op.value)
        if t.size < 8:
            value = self.give(f"zext {self.arg(op.value)} to i64")
        place = self.kernel_address(op.ptr)
        self.add(f"call i64 inttoptr (i64 {markers.STORE_RELEASE + t.size} to ptr)({place}, i64 {value})")
        self.owner.marked = True

    def kernel_address(self, ptr: ir.Value) -> str:
        """An operand as instructions want it that LLVM does not know."""
        if _type(ptr.type) == _ARENA:
            return f"ptr {self.give(f'addrspacecast {self.arg(ptr)} to ptr')}"
        return self.arg(ptr)

    def mention(self, op: ir.Mention) -> None:
        self.add(f'call void asm sideeffect "", "r"({self.arg(op.map)})')

    # -- CO-RE facts

    def field_info(self, op: ir.FieldInfo) -> None:
        fact = self.give(
            f"call i32 @llvm.bpf.preserve.field.info.p0({self.arg(op.field)}, i64 {_FIELD[op.kind]})"
        )
        self.define(op, f"zext i32 {fact} to i64")

    def type_info(self, op: ir.TypeInfo) -> None:
        self.owner.serial += 1
        name = self.fresh()
        access = f"!llvm.preserve.access.index {self.debug.type(op.of)}"
        if op.kind in _TYPE_ID:
            call = f"call i64 @llvm.bpf.btf.type.id(i32 {self.owner.serial}, i64 {_TYPE_ID[op.kind]})"
            self.out.append(f"  {name} = {call}{self.dbg}, {access}")
            self.names[op] = name
            return
        self.out.append(
            f"  {name} = call i32 @llvm.bpf.preserve.type.info(i32 {self.owner.serial}, i64 {_TYPE[op.kind]})"
            f"{self.dbg}, {access}"
        )
        self.define(op, f"zext i32 {name} to i64")

    def enum_info(self, op: ir.EnumInfo) -> None:
        self.owner.serial += 1
        label = f"{op.enumerator}:{op.local}".encode() + b"\0"
        text = ir.GlobalVar("", Chars(len(label)), label, const=True, private=True)
        name = self.names[op] = self.fresh()
        access = f"!llvm.preserve.access.index {self.debug.enum(op)}"
        self.out.append(
            f"  {name} = call i64 @llvm.bpf.preserve.enum.value(i32 {self.owner.serial}, "
            f"ptr {self.owner.constant(text)}, i64 {_ENUM[op.kind]}){self.dbg}, {access}"
        )

    # -- terminators

    def jump(self, op: ir.Jump) -> None:
        self.add(f"br label %{self.labels[op.target]}")

    def branch(self, op: ir.Branch) -> None:
        self.add(f"br {self.arg(op.cond)}, label %{self.labels[op.yes]}, label %{self.labels[op.no]}")

    def may_goto(self, op: ir.MayGoto) -> None:
        args = ", ".join(f"i64 {number}" for number in markers.ARGUMENTS)
        more = self.give(f"call i64 inttoptr (i64 {markers.MAY_GOTO} to ptr)({args})")
        self.owner.marked = True
        go_on = self.give(f"icmp ne i64 {more}, 0")
        self.add(f"br i1 {go_on}, label %{self.labels[op.yes]}, label %{self.labels[op.no]}")

    def switch(self, op: ir.Switch) -> None:
        t = _type(op.value.type)
        cases = " ".join(f"{t} {n}, label %{self.labels[b]}" for n, b in op.cases)
        self.add(f"switch {self.arg(op.value)}, label %{self.labels[op.default]} [ {cases} ]")

    def ret(self, op: ir.Return) -> None:
        if self.fn.scratch is not None:
            self.add("store volatile i64 %scratch.depth, ptr %scratch, align 8")
        self.add("ret void" if op.value is None else f"ret {self.arg(op.value)}")


_EMIT: dict[type[ir.Op], Callable[[_FunctionText, Any], None]] = {
    ir.Load: _FunctionText.load,
    ir.Store: _FunctionText.store,
    ir.Copy: _FunctionText.copy,
    ir.Zero: _FunctionText.zero,
    ir.FieldAddr: _FunctionText.field,
    ir.ElemAddr: _FunctionText.elem,
    ir.Offset: _FunctionText.offset,
    ir.Recast: _FunctionText.recast,
    ir.Opaque: _FunctionText.opaque,
    ir.Cast: _FunctionText.cast,
    ir.Binary: _FunctionText.binary,
    ir.Swap: _FunctionText.swap,
    ir.Compare: _FunctionText.compare,
    ir.Select: _FunctionText.select,
    ir.Helper: _FunctionText.helper,
    ir.Call: _FunctionText.call,
    ir.Kfunc: _FunctionText.kfunc,
    ir.Atomic: _FunctionText.atomic,
    ir.CompareExchange: _FunctionText.compare_exchange,
    ir.LoadAcquire: _FunctionText.load_acquire,
    ir.StoreRelease: _FunctionText.store_release,
    ir.Mention: _FunctionText.mention,
    ir.FieldInfo: _FunctionText.field_info,
    ir.TypeInfo: _FunctionText.type_info,
    ir.EnumInfo: _FunctionText.enum_info,
    ir.Jump: _FunctionText.jump,
    ir.Branch: _FunctionText.branch,
    ir.MayGoto: _FunctionText.may_goto,
    ir.Switch: _FunctionText.switch,
    ir.Return: _FunctionText.ret,
}
