"""Debug info as LLVM metadata: what BPF's back end makes BTF, line info and CO-RE relocations from.

Kernel structs come out *partial*: the real name and size, and of the members only those the program uses, at
their real offsets. That is all CO-RE needs, and keeps vmlinux's web of types out of the object.
"""

from __future__ import annotations

import os

from . import ir
from .types import (
    U32,
    VOID,
    Array,
    Chars,
    Code,
    EnumInt,
    Int,
    Kptr,
    Member,
    NetInt,
    Ptr,
    Space,
    Special,
    Struct,
    Type,
)

_BASIC = {
    (1, False): ("_Bool", "DW_ATE_boolean"),
    (8, True): ("signed char", "DW_ATE_signed_char"),
    (8, False): ("unsigned char", "DW_ATE_unsigned_char"),
    (16, True): ("short", "DW_ATE_signed"),
    (16, False): ("unsigned short", "DW_ATE_unsigned"),
    (32, True): ("int", "DW_ATE_signed"),
    (32, False): ("unsigned int", "DW_ATE_unsigned"),
    (64, True): ("long long", "DW_ATE_signed"),
    (64, False): ("unsigned long long", "DW_ATE_unsigned"),
}

RING_BUFFERS = (27, 31)  # BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE_USER_RINGBUF (linux/bpf.h)
PERF = 4  # BPF_MAP_TYPE_PERF_EVENT_ARRAY


def quote(data: bytes) -> str:
    """Bytes as an LLVM string literal without its quotes."""
    if data.isalnum():
        return data.decode()
    return "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02x}" for b in data)


def _text(value: str) -> str:
    return '"' + quote(value.encode("utf-8", "replace")) + '"'


class DebugInfo:
    """The metadata of one module, numbered as it is asked for; equal nodes share a number."""

    def __init__(self, module: ir.Module, *, dwarf: bool = False) -> None:
        self.module = module
        self.dwarf = dwarf  # for debuggers, beside the BTF
        self.nodes: list[str] = []
        self.used: dict[Struct, set[int]] = {}  # the members of kernel structs that the program touches
        self._by_text: dict[str, str] = {}
        self._structs: dict[Struct, str] = {}
        self._locs: dict[tuple[str, int, int], str] = {}
        self._globals: list[str] = []
        self._enums: dict[tuple[str, str, int], str] = {}
        self._embed = self._must_embed()
        first = module.functions[0].file if module.functions else ""
        self.file = self._file(first or "<probee>")
        self.unit = self._reserve()

    # -- nodes

    def node(self, text: str) -> str:
        """The number (as `!7`) of a node with this text."""
        if (known := self._by_text.get(text)) is not None:
            return known
        self.nodes.append(text)
        ref = self._by_text[text] = f"!{len(self.nodes) - 1}"
        return ref

    def _reserve(self) -> str:
        self.nodes.append("")
        return f"!{len(self.nodes) - 1}"

    def _fill(self, ref: str, text: str) -> None:
        self.nodes[int(ref[1:])] = text

    def _distinct(self, text: str) -> str:
        ref = self._reserve()
        self._fill(ref, "distinct " + text)
        return ref

    # -- files and places

    def _files(self) -> dict[str, set[int]]:
        """The lines used of each file."""
        out: dict[str, set[int]] = {}
        for fn in self.module.functions:
            lines = out.setdefault(fn.file, {fn.line})
            lines.add(fn.line)
            lines.update(op.loc.line for block in fn.blocks for op in block.ops)
        return out

    def _must_embed(self) -> dict[str, set[int]] | None:
        """LLVM reads source files itself, if all are there; if one is not, all must be embedded."""
        files = self._files()
        if all(not f or os.path.isfile(f) for f in files):
            return None
        return files

    def _file(self, name: str) -> str:
        path = os.path.abspath(name) if name and os.path.isfile(name) else name
        # the whole path as the name: LLVM's messages leave the directory out
        text = f'!DIFile(filename: {_text(path)}, directory: ""'
        if self._embed is not None:
            wanted = self._embed.get(name, set())
            lines = self._lines(name) if wanted else []
            # only the lines that some instruction comes from, each at its place
            kept = [
                x.rstrip("\n") if n in wanted else ""
                for n, x in enumerate(lines[: max(wanted, default=0)], 1)
            ]
            text += f", source: {_text(chr(10).join(kept) + chr(10))}"
        return self.node(text + ")")

    def _lines(self, name: str) -> list[str]:
        if (given := self.module.sources.get(name)) is not None:
            return given
        if os.path.isfile(name):
            with open(name, encoding="utf-8", errors="replace") as f:
                return f.readlines()
        import linecache

        return linecache.getlines(name)

    def location(self, subprogram: str, loc: ir.Loc) -> str:
        key = (subprogram, loc.line, loc.column)
        if (known := self._locs.get(key)) is None:
            known = self._locs[key] = self.node(
                f"!DILocation(line: {loc.line}, column: {loc.column + 1}, scope: {subprogram})"
            )
        return known

    # -- types

    def type(self, t: Type) -> str:
        """A type's node; `null` for void."""
        if isinstance(t, EnumInt):
            return self._enum_type(t.name, t.size * 8, t.signed, t.enumerators)
        if isinstance(t, Int):
            width = t.bits if t.bits == 1 else t.size * 8  # a part of a header may have 4 bits
            name, encoding = _BASIC[width, t.signed and t.bits > 1]
            return self.node(f'!DIBasicType(name: "{name}", size: {t.size * 8}, encoding: {encoding})')
        if isinstance(t, Chars):
            char = self.node('!DIBasicType(name: "char", size: 8, encoding: DW_ATE_signed_char)')
            return self.array(char, 8, t.n)
        if isinstance(t, Array):
            return self.array(self.type(t.elem), t.elem.size * 8, t.n)
        if isinstance(t, Code):
            kinds = ", ".join(self.type(x) for x in (t.ret, *t.params))
            return self.node(f"!DISubroutineType(types: {self.node(f'!{{{kinds}}}')})")
        if isinstance(t, Kptr):
            return self._kptr(t)
        if isinstance(t, Ptr):
            return self.pointer(self._pointee(t.to))
        if isinstance(t, Struct):
            return self._struct(t)
        return "null"

    def array(self, elem: str, bits: int, n: int) -> str:
        count = self.node(f"!DISubrange(count: {n})")
        elements = self.node(f"!{{{count}}}")
        head = f"!DICompositeType(tag: DW_TAG_array_type, baseType: {elem}, size: {bits * n}"
        return self.node(f"{head}, elements: {elements})")

    def pointer(self, to: str) -> str:
        return self.node(f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {to}, size: 64)")

    def _kptr(self, t: Kptr) -> str:
        """A tagged pointer; the kernel wants the struct itself, not only its name."""
        if isinstance(t.to, Struct) and t.to.core:
            self.used.setdefault(t.to, set())
        note = self.node(f'!{{!"btf_type_tag", !"{t.tag}"}}')
        notes = self.node(f"!{{{note}}}")
        return self.node(
            f"!DIDerivedType(tag: DW_TAG_pointer_type, baseType: {self.type(t.to)}, size: 64, "
            f"annotations: {notes})"
        )

    def _pointee(self, t: Type) -> str:
        """What a pointer leads to: of kernel structs the program does not look into, only the name."""
        if isinstance(t, Struct) and t.core and t not in self.used:
            if not t.name:
                return "null"
            head = f"!DICompositeType(tag: {_tag(t)}, name: {_text(t.name)}, file: {self.file}"
            return self.node(f"{head}, flags: DIFlagFwdDecl)")
        return self.type(t)

    def _struct(self, t: Struct) -> str:
        if (known := self._structs.get(t)) is not None:
            return known
        ref = self._structs[t] = self._reserve()
        elements = self.node("!{" + ", ".join(self._members(t, ref)) + "}")
        name = f"name: {_text(t.name)}, " if t.name else ""
        head = f"distinct !DICompositeType(tag: {_tag(t)}, {name}file: {self.file}, size: {t.size * 8}, "
        self._fill(ref, f"{head}elements: {elements})")
        return ref

    def _members(self, t: Struct, scope: str) -> list[str]:
        indexes = sorted(self.used.get(t, ())) if t.core else range(len(t.members))
        return [self._member(t.members[i], scope) for i in indexes]

    def _member(self, m: Member, scope: str) -> str:
        name = f"name: {_text(m.name)}, " if m.name else ""
        bits, rest = m.type.size * 8, ""
        if self.dwarf and isinstance(m.type, NetInt):
            return self._net(m, m.type, name, scope)
        if m.bit_size:
            storage = m.bit_offset // bits * bits
            bits, rest = m.bit_size, f", flags: DIFlagBitField, extraData: i64 {storage}"
        if isinstance(m.type, Special) and m.type.contains is not None:
            to, link = m.type.contains
            assert isinstance(to, Struct)
            self.type(to)
            rest += self._tags((f"contains:{to.name}:{link}",))
        return self.node(
            f"!DIDerivedType(tag: DW_TAG_member, {name}scope: {scope}, file: {self.file}, "
            f"baseType: {self.type(m.type)}, size: {bits}, offset: {m.bit_offset}{rest})"
        )

    def _net(self, m: Member, t: NetInt, name: str, scope: str) -> str:
        """A member as protocols have it: where its bits are, as debuggers find numbers in network order."""
        base, rest, bits, at = self.type(t.plain), "", t.unit, m.bit_offset
        if t.swap == t.unit:
            encoding = f"name: {_text(f'u{t.unit}')}, size: {t.unit}, encoding: DW_ATE_unsigned"
            base = self.node(f"!DIBasicType({encoding}, flags: DIFlagBigEndian)")
        if t.bits != t.unit:
            rest = f", flags: DIFlagBitField, extraData: i64 {at}"
            at += t.unit - t.shift - t.bits if t.swap else t.shift
            bits = t.bits
        return self.node(
            f"!DIDerivedType(tag: DW_TAG_member, {name}scope: {scope}, file: {self.file}, "
            f"baseType: {base}, size: {bits}, offset: {at}{rest})"
        )

    def member_index(self, t: Struct, index: int) -> int:
        """The index of a member in the debug info's version of the struct."""
        return sorted(self.used[t]).index(index) if t.core else index

    def _enum_type(self, name: str, bits: int, signed: bool, values: tuple[tuple[str, int], ...]) -> str:
        unsigned = "" if signed else ", isUnsigned: true"
        elements = [self.node(f"!DIEnumerator(name: {_text(n)}, value: {v}{unsigned})") for n, v in values]
        tuple_ = self.node("!{" + ", ".join(elements) + "}")
        base = self.type(Int(bits, signed))
        return self.node(
            f"!DICompositeType(tag: DW_TAG_enumeration_type, name: {_text(name)}, file: {self.file}, "
            f"baseType: {base}, size: {bits}, elements: {tuple_})"
        )

    def enum(self, op: ir.EnumInfo) -> str:
        """An enum with just the one enumerator a CO-RE fact is about."""
        bits = 32 if -(1 << 31) <= op.local < 1 << 32 else 64
        return self._enum_type(op.enum, bits, op.local < 0, ((op.enumerator, op.local),))

    # -- functions and variables

    def subprogram(self, fn: ir.Function) -> str:
        """A function, its parameters named: the kernel refuses BTF of a global function without names."""
        file = self._file(fn.file) if fn.file else self.file
        shown = [p.type if i in fn.tags else _plain(p.type) for i, p in enumerate(fn.params)]
        if fn.section and shown:
            shown[0] = _context(fn.params[0].type)
        types = [self.type(fn.ret)] + [self.type(t) for t in shown]
        kind = self.node(f"!DISubroutineType(types: {self.node('!{' + ', '.join(types) + '}')})")
        ref = self._reserve()
        kept = [
            self.node(
                f"!DILocalVariable(name: {_text(_identifier(p.name))}, arg: {i + 1}, scope: {ref}, "
                f"file: {file}, line: {fn.line}, type: {types[i + 1]}{self._tags(fn.tags.get(i, ()))})"
            )
            for i, p in enumerate(fn.params)
        ]
        local = "" if fn.visible else "DISPFlagLocalToUnit | "
        self._fill(
            ref,
            f"distinct !DISubprogram(name: {_text(fn.name)}, scope: {file}, file: {file}, line: {fn.line}, "
            f"type: {kind}, scopeLine: {fn.line}, flags: DIFlagPrototyped, "
            f"spFlags: {local}DISPFlagDefinition | DISPFlagOptimized, unit: {self.unit}, "
            f"retainedNodes: {self.node('!{' + ', '.join(kept) + '}')})",
        )
        return ref

    def local(self, variable: ir.Variable, fn: ir.Function, subprogram: str) -> str:
        """A variable of a function. What it holds is told where it lives."""
        assert isinstance(variable.place.type, Ptr)
        return self.node(
            f"!DILocalVariable(name: {_text(variable.name)}, scope: {subprogram}, "
            f"file: {self._file(fn.file) if fn.file else self.file}, line: {variable.line}, "
            f"type: {self.type(variable.place.type.to)})"
        )

    def _tags(self, tags: tuple[str, ...]) -> str:
        if not tags:
            return ""
        notes = [self.node(f'!{{!"btf_decl_tag", !"{tag}"}}') for tag in tags]
        return f", annotations: {self.node('!{' + ', '.join(notes) + '}')}"

    def extern(self, extern: ir.Extern) -> str:
        """A kernel function, declared."""
        params = [self.type(t) for _, t in extern.params]
        types = self.node("!{" + ", ".join([self.type(extern.ret), *params]) + "}")
        kind = self.node(f"!DISubroutineType(types: {types})")
        return self.node(
            f"!DISubprogram(name: {_text(extern.name)}, scope: {self.file}, file: {self.file}, "
            f"type: {kind}, flags: DIFlagPrototyped, spFlags: DISPFlagOptimized)"
        )

    def variable(self, name: str, type: str) -> str:
        """A global variable; gives what its `!dbg` refers to."""
        var = self._distinct(
            f"!DIGlobalVariable(name: {_text(name)}, scope: {self.unit}, file: {self.file}, line: 0, "
            f"type: {type}, isLocal: false, isDefinition: true)"
        )
        ref = self.node(f"!DIGlobalVariableExpression(var: {var}, expr: !DIExpression())")
        self._globals.append(ref)
        return ref

    def ksym(self, ksym: ir.Ksym) -> str:
        """A variable of the kernel; gives what its `!dbg` refers to."""
        if isinstance(ksym.type, Struct) and ksym.type.core:
            self.used.setdefault(ksym.type, set())
        kind = self.type(ksym.type)
        if ksym.type is VOID:  # its address alone
            kind = self.node("!DIDerivedType(tag: DW_TAG_const_type, baseType: null)")
        var = self._distinct(
            f"!DIGlobalVariable(name: {_text(ksym.name)}, scope: {self.unit}, file: {self.file}, line: 0, "
            f"type: {kind}, isLocal: false, isDefinition: false)"
        )
        return self.node(f"!DIGlobalVariableExpression(var: {var}, expr: !DIExpression())")

    def map_type(self, m: ir.Map) -> tuple[str, int]:
        """The struct that describes a map, in libbpf's convention, and how many pointers it holds.

        Numbers are the lengths of arrays of `int`. A ring buffer's record type is told by the element type of
        `type`'s array, of which libbpf reads only the length; so are the structs that lists and trees hold,
        which the kernel looks up by name though no program may mention them.
        """
        int_ = self.type(Int(32, True))
        record = m.value if m.kind in (*RING_BUFFERS, PERF) and isinstance(m.value, Struct) else None
        held = _held(m.value) if m.value is not None and record is None else []
        if held:
            each = tuple(Member(f"_{i}", t, 0) for i, t in enumerate(held))
            record = held[0] if len(held) == 1 else Struct("", max(t.size for t in held), each, union=True)
        first = (
            self.array(self.type(record), record.size * 8, m.kind) if record else self.array(int_, 32, m.kind)
        )
        fields = [("type", first)]
        if m.max_entries:
            fields.append(("max_entries", self.array(int_, 32, m.max_entries)))
        if m.flags:
            fields.append(("map_flags", self.array(int_, 32, m.flags)))
        if m.key is not None:
            fields.append(("key", self.type(m.key)))
        if m.value is not None and m.kind not in RING_BUFFERS:
            fields.append(("value", self.type(U32 if m.kind == PERF else m.value)))
        if m.pinning:
            fields.append(("pinning", self.array(int_, 32, m.pinning)))
        if m.numa_node is not None:
            fields.append(("numa_node", self.array(int_, 32, m.numa_node)))
        large = "map_extra" if m.extra >> 32 else ""  # no length of an array: an enumerator
        if large:
            fields.append(("map_extra", self._enum_type("", 64, False, (("value", m.extra),))))
        elif m.extra:
            fields.append(("map_extra", self.array(int_, 32, m.extra)))
        ref = self._reserve()
        members = [
            self.node(
                f'!DIDerivedType(tag: DW_TAG_member, name: "{name}", scope: {ref}, file: {self.file}, '
                f"baseType: {t if name == large else self.pointer(t)}, size: 64, offset: {64 * i})"
            )
            for i, (name, t) in enumerate(fields)
        ]
        if m.inner is not None or m.programs:
            inside = self._function_type() if m.inner is None else self.map_type(m.inner)[0]
            values = self.array(self.pointer(inside), 64, 0)
            members.append(
                self.node(
                    f'!DIDerivedType(tag: DW_TAG_member, name: "values", scope: {ref}, file: {self.file}, '
                    f"baseType: {values}, offset: {64 * len(fields)})"
                )
            )
        elements = self.node("!{" + ", ".join(members) + "}")
        self._fill(
            ref,
            f"distinct !DICompositeType(tag: DW_TAG_structure_type, file: {self.file}, "
            f"size: {64 * len(fields)}, elements: {elements})",
        )
        return ref, len(fields)

    def _function_type(self) -> str:
        """`int (void *)`: what programs are."""
        types = self.node(f"!{{{self.type(Int(32, True))}, {self.pointer('null')}}}")
        return self.node(f"!DISubroutineType(types: {types})")

    def struct_ops_type(self, ops: ir.StructOps) -> str:
        """The struct of a struct_ops variable: its functions are pointers to functions, as loaders ask."""
        ref = self._reserve()
        function = self.pointer(self.node(f"!DISubroutineType(types: {self.node('!{null}')})"))
        members = [
            self.node(
                f"!DIDerivedType(tag: DW_TAG_member, name: {_text(m.name)}, scope: {ref}, file: {self.file}, "
                f"baseType: {function if isinstance(data, str) else self.type(m.type)}, "
                f"size: {m.type.size * 8}, offset: {m.bit_offset})"
            )
            for m, data in zip(ops.type.members, ops.data, strict=True)
        ]
        elements = self.node("!{" + ", ".join(members) + "}")
        self._fill(
            ref,
            f"distinct !DICompositeType(tag: DW_TAG_structure_type, name: {_text(ops.type.name)}, "
            f"file: {self.file}, size: {ops.type.size * 8}, elements: {elements})",
        )
        return ref

    # -- the end

    def finish(self) -> list[str]:
        """All lines of metadata. Nothing can be added afterwards."""
        globals_ = self.node("!{" + ", ".join(self._globals) + "}")
        self._fill(
            self.unit,
            f'distinct !DICompileUnit(language: DW_LANG_C11, file: {self.file}, producer: "probee", '
            f"isOptimized: true, runtimeVersion: 0, emissionKind: FullDebug, globals: {globals_}, "
            "splitDebugInlining: false, nameTableKind: None)",
        )
        # "CodeView" without a DWARF version: BTF alone, no DWARF beside it, which no loader reads
        flags = [
            self.node('!{i32 2, !"Debug Info Version", i32 3}'),
            self.node('!{i32 7, !"Dwarf Version", i32 5}' if self.dwarf else '!{i32 2, !"CodeView", i32 1}'),
        ]
        head = [f"!llvm.dbg.cu = !{{{self.unit}}}", f"!llvm.module.flags = !{{{', '.join(flags)}}}"]
        return head + [f"!{i} = {text}" for i, text in enumerate(self.nodes)]


def _held(t: Type) -> list[Struct]:
    """The structs of the objects that lists and trees in a value hold."""
    if isinstance(t, Array):
        return _held(t.elem)
    if isinstance(t, Special) and t.contains is not None:
        to = t.contains[0]
        return [to] if isinstance(to, Struct) else []
    if isinstance(t, Struct) and not t.core:
        return list(dict.fromkeys(inner for m in t.members for inner in _held(m.type)))
    return []


def _tag(t: Struct) -> str:
    return "DW_TAG_union_type" if t.union else "DW_TAG_structure_type"


def _plain(t: Type) -> Type:
    """A parameter's type in the debug info: where a pointer leads is of no interest there."""
    return Ptr(VOID, t.space) if isinstance(t, Ptr) else t


def _context(t: Type) -> Type:
    """A program's parameter: by its name the kernel knows it, and lets the program be replaced as a whole."""
    if isinstance(t, Ptr) and t.space is Space.CONTEXT and isinstance(t.to, Struct) and not t.to.core:
        return Ptr(Struct(t.to.name, t.to.size, ()), t.space)
    return _plain(t)


def _identifier(name: str) -> str:
    """A name as BTF allows it: ASCII letters, digits, underscores."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name) or "_"
