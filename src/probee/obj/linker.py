"""Static linking: several objects made into one, as `bpftool gen object` does.

Sections of a name follow each other, names that one object leaves open are found in the others, and types
are merged. A weak definition gives way to a strong one. What no object defines stays open, for the kernel.
"""

from __future__ import annotations

import struct

from probee.btf.ext import BtfExt
from probee.btf.parser import Btf
from probee.errors import ObjectError
from probee.obj import elf as e_
from probee.obj.elf import Elf
from probee.obj.elf_write import OutSection, OutSymbol, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from probee.obj.elf import Section, Symbol
    from probee.obj.link_btf import Part

_SHF_ALLOC = 0x2
_ONCE = ("license", "version")  # every object says it; once is enough
_SKIP = (".eh_frame",)
_R_64, _R_ABS64, _R_ABS32, _R_CALL = 1, 2, 3, 10


class _Input:
    """An object to link. `taken` are the output sections of its sections, `bases` the places in them."""

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.elf = Elf(data)
        if self.elf.machine not in (0, e_.EM_BPF) or self.elf.type != e_.ET_REL:
            raise ObjectError(f"{name} is no relocatable BPF object")
        self.bases: dict[int, int] = {}
        self.taken: dict[int, int] = {}
        self.symbols: dict[int, int] = {}
        self.part: Part | None = None


class _Definition:
    __slots__ = ("input", "symbol")

    def __init__(self, input: _Input, symbol: Symbol) -> None:
        self.input = input
        self.symbol = symbol


def link(objects: Sequence[tuple[str, bytes]]) -> bytes:
    """One object of several, given as (name for messages, content).

    Raises ObjectError: broken objects, a name defined twice, objects that disagree on a type, on the licence
    or on the byte order.
    """
    if not objects:
        raise ObjectError("there is nothing to link")
    return _Linker([_Input(name, data) for name, data in objects]).link()


class _Linker:
    def __init__(self, inputs: list[_Input]) -> None:
        self.inputs = inputs
        self.endian = inputs[0].elf.endian
        for each in inputs:
            if each.elf.endian != self.endian:
                raise ObjectError(
                    f"{each.name} is {each.elf.endian}-endian, {inputs[0].name} is {self.endian}-endian"
                )
        self.order = "<" if self.endian == "little" else ">"
        self.sections: list[OutSection] = []
        self.by_name: dict[str, int] = {}
        self.symbols: list[OutSymbol] = []
        self.defined: dict[str, _Definition] = {}

    def link(self) -> bytes:
        for each in self.inputs:
            for section in each.elf.sections:
                self._append(each, section)
        for each in self.inputs:
            for symbol in each.elf.symbols:
                self._define(each, symbol)
        self._make_symbols()
        for each in self.inputs:
            for table in each.elf.sections:
                if table.type == e_.SHT_REL and table.info in each.taken:
                    self._relocate(each, table)
        self._link_types()
        return write(self.sections, self.symbols, self.endian)

    # ---- sections

    def _append(self, each: _Input, section: Section) -> None:
        if section.type not in (e_.SHT_PROGBITS, e_.SHT_NOBITS) or not section.flags & _SHF_ALLOC:
            return
        if not section.size or section.name in _SKIP:
            return
        index = self.by_name.get(section.name)
        if index is None:
            self.sections.append(OutSection(section.name, section.type, section.flags))
            index = self.by_name[section.name] = len(self.sections)
        out = self.sections[index - 1]
        each.taken[section.index] = index
        content = bytes(section.data)
        if section.name in _ONCE and out.data:
            if bytes(out.data) != content:
                raise ObjectError(f"{each.name} has another {section.name} than {self.inputs[0].name}")
            each.bases[section.index] = 0
            return
        if out.flags & e_.SHF_EXECINSTR != section.flags & e_.SHF_EXECINSTR:
            raise ObjectError(f"section {section.name} is code in one object and data in {each.name}")
        align = max(section.align, 8 if section.has_code else 1)
        if align & align - 1 or align > 1 << 20:
            raise ObjectError(f"{each.name}: section {section.name} is aligned to {align}, no power of two")
        out.align = max(out.align, align)
        base = each.bases[section.index] = out.size + -out.size % align
        if section.type == e_.SHT_PROGBITS and out.type == e_.SHT_NOBITS:
            out.type = e_.SHT_PROGBITS  # zeros that have to be written, since others follow
            out.data = bytearray(out.size)
        out.size = base + section.size
        if out.type == e_.SHT_PROGBITS:
            out.data += bytes(base - len(out.data))
            out.data += content.ljust(section.size, b"\0")

    # ---- symbols

    def _define(self, each: _Input, symbol: Symbol) -> None:
        if symbol.bind == e_.STB_LOCAL or not symbol.name or symbol.shndx not in each.taken:
            return
        if symbol.name in ("LICENSE", "_license", "_version") and self._once(each, symbol):
            return
        known = self.defined.get(symbol.name)
        if known is None or (known.symbol.bind == e_.STB_WEAK and symbol.bind == e_.STB_GLOBAL):
            self.defined[symbol.name] = _Definition(each, symbol)
        elif known.symbol.bind == symbol.bind == e_.STB_GLOBAL and not self._once(each, symbol):
            raise ObjectError(f"{symbol.name} is defined in {known.input.name} and in {each.name}")

    def _once(self, each: _Input, symbol: Symbol) -> bool:
        """Whether a symbol is in a section of which there is one copy, and another's counts already."""
        return each.elf.sections[symbol.shndx].name in _ONCE and symbol.name in self.defined

    def _make_symbols(self) -> None:
        for index, section in enumerate(self.sections, 1):
            self.symbols.append(
                OutSymbol("", type=e_.STT_SECTION, bind=e_.STB_LOCAL, section=index, size=section.size)
            )
        for each in self.inputs:
            for symbol in each.elf.symbols:
                local = symbol.bind == e_.STB_LOCAL and symbol.type in (e_.STT_FUNC, e_.STT_OBJECT)
                if local and symbol.shndx in each.taken:
                    each.symbols[symbol.index] = self._add(each, symbol)
        names: dict[str, int] = {}
        for name, definition in self.defined.items():
            names[name] = self._add(definition.input, definition.symbol, self._visibility(name))
        for each in self.inputs:
            for symbol in each.elf.symbols:
                if symbol.bind == e_.STB_LOCAL or not symbol.name:
                    continue
                if symbol.name not in names:
                    if symbol.shndx != e_.SHN_UNDEF:
                        continue
                    names[symbol.name] = self._add(each, symbol)
                elif symbol.shndx == e_.SHN_UNDEF and symbol.bind == e_.STB_GLOBAL:
                    known = self.symbols[names[symbol.name] - 1]
                    if not known.section:
                        known.bind = e_.STB_GLOBAL  # one object cannot do without it
                each.symbols[symbol.index] = names[symbol.name]

    def _visibility(self, name: str) -> int:
        """The narrowest that any object gives a name."""
        given = {
            s.visibility
            for each in self.inputs
            for s in each.elf.symbols
            if s.name == name and s.bind != e_.STB_LOCAL and s.visibility
        }
        return min(given, default=0)

    def _add(self, each: _Input, symbol: Symbol, visibility: int = 0) -> int:
        self.symbols.append(
            OutSymbol(
                symbol.name,
                type=symbol.type,
                bind=symbol.bind,
                section=each.taken.get(symbol.shndx, 0),
                value=symbol.value + each.bases.get(symbol.shndx, 0),
                size=symbol.size,
                visibility=visibility,
            )
        )
        return len(self.symbols)

    # ---- relocations

    def _relocate(self, each: _Input, table: Section) -> None:
        target = self.sections[each.taken[table.info] - 1]
        base = each.bases[table.info]
        if target.name in _ONCE or target.type == e_.SHT_NOBITS:
            return
        for offset, type, symbol in each.elf.relocations(table):
            at = base + offset
            index = each.symbols.get(symbol.index)
            if index is None:
                # A section's symbol, or a label: the place is in the instruction, counted from the section.
                index = each.taken.get(symbol.shndx)
                if index is None:
                    raise ObjectError(
                        f"{each.name}: {table.name} refers to {symbol.name or symbol.shndx}, "
                        "which is not in the linked object"
                    )
                moved = each.bases[symbol.shndx] + (0 if symbol.type == e_.STT_SECTION else symbol.value)
                self._shift(each, target, at, type, moved)
            target.relocations.append((at, type, index))

    def _shift(self, each: _Input, target: OutSection, at: int, type: int, moved: int) -> None:
        """Add to what an instruction or a datum holds of its target's place in the section."""
        if type == _R_CALL:
            at, moved, form = at + 4, moved // 8, "I"
        elif type == _R_64:
            at, form = at + 4, "I"
        elif type in (_R_ABS64, _R_ABS32):
            form = "Q" if type == _R_ABS64 else "I"
        else:
            raise ObjectError(f"{each.name}: relocations of type {type} are unknown")
        number = struct.Struct(self.order + form)
        if at + number.size > len(target.data):
            raise ObjectError(f"{each.name}: a relocation of {target.name} is outside of it")
        (value,) = number.unpack_from(target.data, at)
        number.pack_into(target.data, at, value + moved & (1 << 8 * number.size) - 1)

    # ---- types

    def _link_types(self) -> None:
        from probee.obj.link_btf import Part, TypeLinker

        for each in self.inputs:
            section = each.elf.section(".BTF")
            if section is None:
                continue
            btf = Btf.parse(bytes(section.data))
            raw = each.elf.section(".BTF.ext")
            ext = BtfExt.parse(bytes(raw.data), btf) if raw is not None else None
            bases = {each.elf.sections[i].name: base for i, base in each.bases.items()}
            each.part = Part(each.name, btf, ext, bases)
        by_part = {id(each.part): each for each in self.inputs if each.part is not None}
        if not by_part:
            return

        def place(part: Part, name: str) -> int | None:
            definition = self.defined.get(name)
            if definition is None or definition.input is not by_part[id(part)]:
                return None
            return definition.symbol.value + definition.input.bases[definition.symbol.shndx]

        parts = [each.part for each in self.inputs if each.part is not None]
        sizes = {section.name: section.size for section in self.sections}
        btf_raw, ext_raw = TypeLinker(parts, place, sizes).link()
        for name, content in ((".BTF", btf_raw), (".BTF.ext", ext_raw)):
            if content:
                section_out = OutSection(name, e_.SHT_PROGBITS, 0)
                section_out.align = 4
                section_out.data += content
                self.sections.append(section_out)


__all__ = ["link"]
