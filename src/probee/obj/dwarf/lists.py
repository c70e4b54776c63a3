"""Where in the code something holds: location lists and range lists of DWARF 2 to 5."""

from __future__ import annotations

from probee.errors import ObjectError
from probee.obj.dwarf import numbers as n
from probee.obj.dwarf.units import Index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from probee.obj.dwarf.cursor import Cursor
    from probee.obj.dwarf.units import Address, Die, File, Unit

Range = tuple[int, int, int]  # section, first offset, offset behind the last
_LONGEST = 1 << 16  # entries of one list


def ranges(file: File, die: Die) -> list[Range]:
    """The code that an entry is about; empty if it doesn't say."""
    low, high = die.get(n.LOW_PC), die.get(n.HIGH_PC)
    if isinstance(low, tuple):
        if isinstance(high, tuple):
            return [(low[0], low[1], high[1])]
        return [(low[0], low[1], low[1] + high)] if isinstance(high, int) else []
    where = die.get(n.RANGES)
    if not isinstance(where, int):
        return []
    return [(section, low, high) for section, low, high, _ in _entries(file, die.unit, where, False)]


def locations(file: File, unit: Unit, where: Any) -> list[tuple[Range | None, bytes]]:
    """What a location attribute says: expressions, each with the code it holds in (None: everywhere)."""
    if isinstance(where, bytes):
        return [(None, where)]
    if not isinstance(where, int):
        return []
    out: list[tuple[Range | None, bytes]] = []
    for section, low, high, expression in _entries(file, unit, where, True):
        out.append((None if high < 0 else (section, low, high), expression))
    return out


def _entries(file: File, unit: Unit, where: int, located: bool) -> Iterator[tuple[int, int, int, bytes]]:
    """(section, low, high, expression); high is -1 for what holds everywhere else."""
    read = _new if unit.version >= 5 else _old
    for count, entry in enumerate(read(file, unit, where, located)):
        if count > _LONGEST:
            raise ObjectError("broken DWARF: a list does not end")
        yield entry


def _old(file: File, unit: Unit, where: int, located: bool) -> Iterator[tuple[int, int, int, bytes]]:
    cursor = file.cursor(".debug_loc" if located else ".debug_ranges", where)
    base = unit.base
    last = (1 << 8 * unit.address_size) - 1
    while True:
        low, high = file.address(cursor, unit.address_size), file.address(cursor, unit.address_size)
        if low == (0, 0) and high == (0, 0):
            return
        if low[1] == last:
            base = high
            continue
        expression = cursor.take(cursor.number(2)) if located else b""
        if low[0]:  # relocated: no base is added
            yield low[0], low[1], high[1], expression
        else:
            yield base[0], base[1] + low[1], base[1] + high[1], expression


def _new(file: File, unit: Unit, where: int, located: bool) -> Iterator[tuple[int, int, int, bytes]]:
    name = ".debug_loclists" if located else ".debug_rnglists"
    if isinstance(where, Index):
        start = unit.lists if located else unit.ranges
        size = 8 if unit.wide else 4
        where = start + file.cursor(name, start + where * size).number(size)
    cursor = file.cursor(name, where)
    base: Address = unit.base
    while True:
        kind = cursor.number(1)
        if kind > 4 and not located:
            kind += 1  # range lists have no default
        found: tuple[Address, int] | None = None
        if kind == 0:
            return
        if kind == 1:
            base = file.indexed(unit, cursor.uleb())
        elif kind == 2:
            found = file.indexed(unit, cursor.uleb()), file.indexed(unit, cursor.uleb())[1]
        elif kind == 3:
            low = file.indexed(unit, cursor.uleb())
            found = low, low[1] + cursor.uleb()
        elif kind == 4:
            first = cursor.uleb()
            found = (base[0], base[1] + first), base[1] + cursor.uleb()
        elif kind == 5:
            found = (0, 0), -1
        elif kind == 6:
            base = file.address(cursor, unit.address_size)
        elif kind == 7:
            low = file.address(cursor, unit.address_size)
            found = low, file.address(cursor, unit.address_size)[1]
        elif kind == 8:
            low = file.address(cursor, unit.address_size)
            found = low, low[1] + cursor.uleb()
        else:
            raise ObjectError(f"DWARF list entry {kind} is not known")
        if found is not None:
            yield found[0][0], found[0][1], found[1], _expression(cursor) if located else b""


def _expression(cursor: Cursor) -> bytes:
    return cursor.take(cursor.uleb())
