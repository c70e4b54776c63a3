"""Compilation units and their entries: tags, attributes, and what the forms of attributes mean."""

from __future__ import annotations

from probee.errors import ObjectError
from probee.obj.dwarf import numbers as n
from probee.obj.dwarf.cursor import Cursor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from probee.obj.elf import Elf

Address = tuple[int, int]  # index of the section (0: not known), offset in it

_MOST = 1 << 21  # entries that are read of one file
_DEEPEST = 200

# Sizes of the forms that are plain numbers; "reference" forms are below
_DATA = {0x0B: 1, 0x05: 2, 0x06: 4, 0x07: 8, 0x0C: 1}
_BLOCKS = {0x0A: 1, 0x03: 2, 0x04: 4}
_REFERENCES = {0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8}
_STRX = {0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4}
_ADDRX = {0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4}
_FLAG = 0x0C


class Index(int):
    """A number that counts entries of a table (location or range lists) instead of bytes."""


class Die:
    """An entry: `offset` in .debug_info, its tag, its attributes by number, the entries in it."""

    __slots__ = ("attributes", "children", "offset", "tag", "unit")

    def __init__(self, offset: int, tag: int, unit: Unit) -> None:
        self.offset = offset
        self.tag = tag
        self.unit = unit
        self.attributes: dict[int, Any] = {}
        self.children: list[Die] = []

    def get(self, attribute: int, default: Any = None) -> Any:
        """An attribute's value. References are offsets in .debug_info, addresses are `Address`."""
        return self.attributes.get(attribute, default)

    def number(self, attribute: int, default: int = 0) -> int:
        """An attribute that is a number; `default` if it is absent or something else."""
        found = self.attributes.get(attribute)
        return found if isinstance(found, int) else default

    @property
    def name(self) -> str:
        found = self.attributes.get(n.NAME)
        return found if isinstance(found, str) else ""


class Unit:
    """One compilation unit."""

    __slots__ = (
        "address_size",
        "addresses",
        "base",
        "lists",
        "offset",
        "ranges",
        "strings",
        "version",
        "wide",
    )

    def __init__(self, offset: int, version: int, wide: bool, address_size: int) -> None:
        self.offset = offset
        self.version = version
        self.wide = wide
        self.address_size = address_size
        self.strings = 16 if wide else 8  # where this unit's part of each table begins
        self.addresses = 16 if wide else 8
        self.lists = 20 if wide else 12
        self.ranges = 20 if wide else 12
        self.base: Address = (0, 0)


class File:
    """The DWARF of one ELF file: its sections, with the entries of all units."""

    def __init__(self, elf: Elf) -> None:
        """Raises ObjectError if the DWARF is broken."""
        self.endian = elf.endian
        self.sections: dict[str, bytes] = {}
        self._moved: dict[str, dict[int, Address]] = {}  # section -> offset -> section and offset meant
        index_of = {}
        for s in elf.sections:
            if s.name.startswith(".debug_") and not s.flags & 0x800:  # SHF_COMPRESSED
                self.sections[s.name] = bytes(s.data)
                index_of[s.index] = s.name
        for s in elf.sections:
            name = index_of.get(s.info) if s.type == 9 else None  # SHT_REL
            if name is not None:
                moved = self._moved.setdefault(name, {})
                for offset, _, symbol in elf.relocations(s):
                    moved[offset] = (symbol.shndx, symbol.value)
        self.dies: dict[int, Die] = {}
        self.units: list[tuple[Unit, Die]] = list(self._read())

    def cursor(self, name: str, at: int) -> Cursor:
        """A place in a section. Raises ObjectError if there is no such place."""
        return Cursor(self.sections.get(name, b""), at, name, self.endian)

    def address(self, cursor: Cursor, size: int) -> Address:
        """The address that is written next."""
        at = cursor.at
        section, moved = self._moved.get(cursor.name, {}).get(at, (0, 0))
        return section, cursor.number(size) + moved

    def indexed(self, unit: Unit, index: int) -> Address:
        """An entry of .debug_addr."""
        cursor = self.cursor(".debug_addr", unit.addresses + index * unit.address_size)
        return self.address(cursor, unit.address_size)

    # ---- units

    def _read(self) -> Iterator[tuple[Unit, Die]]:
        data = self.sections.get(".debug_info", b"")
        at = 0
        while at < len(data):
            cursor = self.cursor(".debug_info", at)
            length, wide = cursor.number(4), False
            if length == 0xFFFFFFFF:
                length, wide = cursor.number(8), True
            end = cursor.at + length
            if end > len(data):
                raise ObjectError("broken DWARF: a unit reaches beyond .debug_info")
            version = cursor.number(2)
            if not 2 <= version <= 5:
                raise ObjectError(f"DWARF version {version} is not known")
            size = 8 if wide else 4
            kind = 1
            if version >= 5:
                kind, address_size = cursor.number(1), cursor.number(1)
                abbreviations = cursor.number(size)
            else:
                abbreviations, address_size = cursor.number(size), cursor.number(1)
            if address_size not in (4, 8):
                raise ObjectError(f"broken DWARF: addresses of {address_size} bytes")
            unit = Unit(at, version, wide, address_size)
            if kind in (1, 3):  # DW_UT_compile, DW_UT_partial
                yield unit, self._tree(unit, cursor, end, self._abbreviations(abbreviations))
            at = end

    def _abbreviations(self, offset: int) -> dict[int, tuple[int, bool, list[tuple[int, int, int]]]]:
        cursor = self.cursor(".debug_abbrev", offset)
        found: dict[int, tuple[int, bool, list[tuple[int, int, int]]]] = {}
        while code := cursor.uleb():
            tag, children = cursor.uleb(), bool(cursor.number(1))
            forms = []
            while True:
                attribute, form = cursor.uleb(), cursor.uleb()
                given = cursor.sleb() if form == 0x21 else 0  # DW_FORM_implicit_const
                if not attribute and not form:
                    break
                forms.append((attribute, form, given))
            found[code] = tag, children, forms
        return found

    def _tree(
        self,
        unit: Unit,
        cursor: Cursor,
        end: int,
        abbreviations: dict[int, tuple[int, bool, list[tuple[int, int, int]]]],
    ) -> Die:
        root: Die | None = None
        around: list[Die] = []
        while cursor.at < end:
            offset = cursor.at
            code = cursor.uleb()
            if not code:
                if around:
                    around.pop()
                if not around:
                    break
                continue
            if code not in abbreviations:
                raise ObjectError(f"broken DWARF: entry {offset} has the unknown abbreviation {code}")
            tag, children, forms = abbreviations[code]
            die = Die(offset, tag, unit)
            later = []
            for attribute, form, given in forms:
                if root is None and form in (0x1A, 0x1B, *_STRX, *_ADDRX):
                    later.append((attribute, form, cursor.at))  # its tables are named by later attributes
                die.attributes[attribute] = self._value(unit, cursor, form, given, root is not None)
            if root is None:
                root = die
                self._bases(unit, die)
                for attribute, form, at in later:
                    die.attributes[attribute] = self._value(unit, self.cursor(cursor.name, at), form, 0, True)
                low = die.get(n.LOW_PC)
                unit.base = low if isinstance(low, tuple) else (0, 0)
            self.dies[offset] = die
            if len(self.dies) > _MOST:
                raise ObjectError(f"the DWARF has more than {_MOST} entries")
            if around:
                around[-1].children.append(die)
            if children:
                if len(around) >= _DEEPEST:
                    raise ObjectError("broken DWARF: entries are nested too deep")
                around.append(die)
            elif not around:
                break
        if root is None:
            raise ObjectError("broken DWARF: a unit without entries")
        return root

    def _bases(self, unit: Unit, die: Die) -> None:
        unit.strings = die.number(n.STR_OFFSETS_BASE, unit.strings)
        unit.addresses = die.number(n.ADDR_BASE, unit.addresses)
        unit.lists = die.number(n.LOCLISTS_BASE, unit.lists)
        unit.ranges = die.number(n.RNGLISTS_BASE, unit.ranges)

    def _value(self, unit: Unit, cursor: Cursor, form: int, given: int, tables: bool) -> Any:
        """What is written in a form. Without `tables`, indexes into tables are left as they are."""
        wide = 8 if unit.wide else 4
        if form in _DATA:
            value = cursor.number(_DATA[form])
            return bool(value) if form == _FLAG else value
        if form == 0x19:  # flag_present
            return True
        if form in _REFERENCES:
            return unit.offset + cursor.number(_REFERENCES[form])
        if form == 0x15:  # ref_udata
            return unit.offset + cursor.uleb()
        if form == 0x18 or form == 0x09:  # exprloc, block
            return cursor.take(cursor.uleb())
        if form in _BLOCKS:
            return cursor.take(cursor.number(_BLOCKS[form]))
        if form == 0x0F:  # udata
            return cursor.uleb()
        if form == 0x0D:  # sdata
            return cursor.sleb()
        if form == 0x21:  # implicit_const
            return given
        if form == 0x08:  # string
            return cursor.text()
        if form in (0x0E, 0x1F):  # strp, line_strp
            section = ".debug_str" if form == 0x0E else ".debug_line_str"
            return self.cursor(section, self.address(cursor, wide)[1]).text()
        if form == 0x1A or form in _STRX:  # strx
            index = cursor.uleb() if form == 0x1A else cursor.number(_STRX[form])
            return self._string(unit, index) if tables else index
        if form == 0x01:  # addr
            return self.address(cursor, unit.address_size)
        if form == 0x1B or form in _ADDRX:  # addrx
            index = cursor.uleb() if form == 0x1B else cursor.number(_ADDRX[form])
            return self.indexed(unit, index) if tables else index
        if form in (0x22, 0x23):  # loclistx, rnglistx
            return Index(cursor.uleb())
        if form == 0x17 or form == 0x10:  # sec_offset, ref_addr
            size = unit.address_size if form == 0x10 and unit.version == 2 else wide
            return self.address(cursor, size)[1]
        if form == 0x1E:  # data16
            return cursor.take(16)
        if form in (0x20, 0x24):  # ref_sig8, ref_sup8
            return cursor.take(8)
        if form in (0x1C, 0x1D, 0x1F20, 0x1F21):  # of a supplementary file
            return cursor.take(4 if form == 0x1C else wide)
        if form == 0x16:  # indirect
            inner = cursor.uleb()
            if inner in (0x16, 0x21):
                raise ObjectError("broken DWARF: an indirect form of an indirect form")
            return self._value(unit, cursor, inner, 0, tables)
        raise ObjectError(f"DWARF form {form:#x} is not known")

    def _string(self, unit: Unit, index: int) -> str:
        wide = 8 if unit.wide else 4
        cursor = self.cursor(".debug_str_offsets", unit.strings + index * wide)
        return self.cursor(".debug_str", self.address(cursor, wide)[1]).text()
