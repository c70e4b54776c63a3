"""Linking: a program and the subprograms it reaches become one piece of code.

The order is libbpf's, and the program's tag depends on it: subprograms are appended at their first call, and
the calls of an appended one are followed before going on with its caller.
"""

from __future__ import annotations

import struct

from probee.btf.ext import CoreReloc
from probee.errors import ObjectError
from probee.isa.insn import (
    CALL_IMM,
    LD_IMM64,
    PSEUDO_BTF_ID,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_KFUNC_CALL,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_VALUE,
)
from probee.obj.spec import (
    JUMP_TABLE,
    KCONFIG,
    KFUNC,
    KFUNC_ADDR,
    KSYM,
    KSYM_TYPED,
    MAP_FD,
    MAP_VALUE,
    LinkedProgram,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.obj.spec import Function, ObjectSpec, Reloc

_PSEUDO = {
    MAP_FD: PSEUDO_MAP_FD,
    MAP_VALUE: PSEUDO_MAP_VALUE,
    KCONFIG: PSEUDO_MAP_VALUE,
    KSYM: 0,
    KSYM_TYPED: PSEUDO_BTF_ID,
    KFUNC: PSEUDO_KFUNC_CALL,
    KFUNC_ADDR: 0,
    JUMP_TABLE: PSEUDO_MAP_VALUE,
}
# The kernel's limit is a million; a hostile object may ask for any number of copies of large functions.
MAX_INSNS = 1_000_000


def link(obj: ObjectSpec, main: Function) -> LinkedProgram:
    """See `ProgramSpec.link`."""
    linker = _Linker(obj, main.name)
    linker.append(main)
    linker.follow()
    callback = obj.exception_callbacks.get(main.name)
    if callback is not None:
        linker.append_named(callback)
        linker.follow()
    return linker.finish()


class _Linker:
    __slots__ = ("code", "imm", "little", "obj", "order", "out", "place", "starts", "text", "todo")

    def __init__(self, obj: ObjectSpec, name: str) -> None:
        self.obj = obj
        self.little = obj.endian == "little"
        self.order = "<" if self.little else ">"
        self.out = LinkedProgram(name, obj.endian)
        self.code = self.out.insns
        self.imm = struct.Struct(self.order + "i")
        self.text = [f for f in obj.functions if f.section_index == obj.text_index]
        self.place: dict[int, int] = {}  # id of an appended function -> its first instruction in the output
        self.todo: list[tuple[Function, int, int]] = []  # function, its place, next instruction to look at
        self.starts: list[tuple[Function, int]] = []

    def append(self, f: Function) -> None:
        start = len(self.code) // 8
        if start + f.count > MAX_INSNS:
            raise ObjectError(f"program {self.out.name} has more than {MAX_INSNS} instructions")
        self.place[id(f)] = start
        section = self.obj.code[f.section_index]
        self.code += section[8 * f.start : 8 * (f.start + f.count)]
        self.starts.append((f, start))
        self.out.functions.append((start, f.name))
        self.todo.append((f, start, 0))

    def append_named(self, name: str) -> None:
        """Append a subprogram that nothing calls, unless it is there already."""
        for f in self.text:
            if f.name == name:
                if id(f) not in self.place:
                    self.append(f)
                return
        raise ObjectError(f"the exception callback {name} of {self.out.name} is no subprogram")

    def follow(self) -> None:
        """Look at every instruction of the appended functions; the newest function first."""
        while self.todo:
            f, start, at = self.todo.pop()
            relocs = self.obj.relocs.get(f.section_index, {})
            opcodes = self.code[8 * start : 8 * (start + f.count) : 8]
            while at < f.count:
                opcode = opcodes[at]
                if opcode in (CALL_IMM, LD_IMM64):
                    target = self._visit(f, start, at, opcode, relocs.get(f.start + at))
                    if target is not None and id(target) not in self.place:
                        # Appending looks at the new function next; then come back here to set the distance.
                        self.todo.append((f, start, at))
                        self.append(target)
                        break
                    if opcode == LD_IMM64:
                        at += 1
                at += 1

    def _visit(self, f: Function, start: int, at: int, opcode: int, reloc: Reloc | None) -> Function | None:
        """Relocate one instruction. The subprogram it refers to, whose distance is set if it has a place."""
        byte = 8 * (start + at)
        if reloc is None:
            if opcode != CALL_IMM or self._source(byte) != PSEUDO_CALL:
                return None
            # A static function in the same section: the distance is in the instruction.
            if f.section_index != self.obj.text_index:
                raise ObjectError(f"instruction {at} of {f.name} calls inside section {f.section}, not .text")
            original = f.start + at
            (distance,) = self.imm.unpack_from(self.obj.code[f.section_index], 8 * original + 4)
            index = original + distance + 1
        elif reloc.target is None:
            if opcode == CALL_IMM or at + 1 < f.count:
                self._set(start + at, reloc)
                if reloc.kind == JUMP_TABLE:
                    self._add_table(f, start, reloc)
            return None
        else:
            index = reloc.target
        target = self._find(index, f, at)
        place = self.place.get(id(target))
        if place is not None:
            self.imm.pack_into(self.code, byte + 4, place - (start + at) - 1)
            if opcode == LD_IMM64:
                self._set_source(byte, PSEUDO_FUNC)
        return target

    def _find(self, index: int, f: Function, at: int) -> Function:
        for candidate in self.text:
            if candidate.start <= index < candidate.start + candidate.count:
                return candidate
        raise ObjectError(f"instruction {at} of {f.name} refers to no subprogram")

    def _source(self, byte: int) -> int:
        return self.code[byte + 1] >> 4 if self.little else self.code[byte + 1] & 15

    def _set_source(self, byte: int, source: int) -> None:
        registers = self.code[byte + 1]
        self.code[byte + 1] = registers & 15 | source << 4 if self.little else registers & 0xF0 | source

    def _set(self, index: int, reloc: Reloc) -> None:
        """Mark an instruction with the pseudo source of what the loader will put there."""
        byte = 8 * index
        self._set_source(byte, _PSEUDO[reloc.kind])
        self.imm.pack_into(self.code, byte + 4, 0)
        if reloc.kind in (MAP_VALUE, KCONFIG):
            struct.pack_into(self.order + "I", self.code, byte + 12, reloc.addend)
        self.out.relocs.append((index, reloc.kind, reloc.symbol, reloc.addend))

    def _add_table(self, f: Function, start: int, reloc: Reloc) -> None:
        """Note a jump table with its instructions as they are in the linked program."""
        table = tuple([index - f.start + start for index in reloc.table])
        if not all(start <= index < start + f.count for index in table):
            raise ObjectError(f"jump table {reloc.symbol} leads out of {f.name}")
        if table not in self.out.jump_tables:
            self.out.jump_tables.append(table)
        index, kind, symbol, _ = self.out.relocs[-1]
        self.out.relocs[-1] = index, kind, symbol, self.out.jump_tables.index(table)

    def finish(self) -> LinkedProgram:
        out, ext = self.out, self.obj.btf_ext
        out.relocs.sort()
        if ext is None:
            return out
        func_info, line_info = bytearray(), bytearray()
        func = struct.Struct(self.order + "II")
        line = struct.Struct(self.order + "IIII")
        for f, start in self.starts:
            first, end = 8 * f.start, 8 * (f.start + f.count)
            for offset, type_id in ext.funcs.get(f.section, ()):
                if first <= offset < end:
                    func_info += func.pack(offset // 8 - f.start + start, type_id)
            for offset, file, text, position in ext.lines.get(f.section, ()):
                if first <= offset < end:
                    line_info += line.pack(offset // 8 - f.start + start, file, text, position)
            for r in ext.core.get(f.section, ()):
                if first <= r.insn_off < end:
                    place = r.insn_off - first + 8 * start
                    out.core.append(CoreReloc(place, r.type_id, r.access_str, r.kind))
        out.func_info, out.line_info = bytes(func_info), bytes(line_info)
        return out
