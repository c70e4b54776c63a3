"""Makes an object's BTF fit for the kernel, as libbpf does before BPF_BTF_LOAD.

Compilers leave the sizes of data sections and the offsets of global variables open, because a linker could
still move them. The places come from the symbol table here: relocations of `.BTF` say the same again, and are
often stripped. Names that the kernel provides become plain variables, and hidden functions static ones.
"""

from __future__ import annotations

import struct

from probee.btf.kinds import DATASEC, FUNC, FUNC_PROTO, INT, VAR
from probee.btf.parser import Btf
from probee.errors import ObjectError
from probee.obj.elf import STV_HIDDEN, STV_INTERNAL
from probee.obj.spec import KCONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import BtfType
    from probee.obj.elf import Section, Symbol
    from probee.obj.spec import ExternSpec

_STATIC, _GLOBAL = 0, 1  # linkage of variables and functions
_KSYMS, _KCONFIG = ".ksyms", ".kconfig"


def complete(
    btf: Btf,
    sections: dict[str, Section],
    symbols: dict[tuple[int, str], Symbol],
    externs: dict[str, ExternSpec],
    hidden: set[str],
) -> Btf:
    """A BTF with data sections laid out as in the file. `symbols` are the global ones by section and name.

    Raises ObjectError for broken BTF.
    """
    order = "<" if btf.endian == "little" else ">"
    entry = struct.Struct(order + "III")
    raw = bytearray(btf.raw)
    changed = False
    ksyms: list[tuple[BtfType, list[tuple[int, int, int]]]] = []
    for t in btf.own_types(DATASEC, FUNC) if hidden else btf.own_types(DATASEC):
        if t.kind == DATASEC:
            place = t._place
            if t.name == _KSYMS:
                ksyms.append((t, list(t.vars)))
                continue
            if t.name == _KCONFIG:
                entries = _lay_out_kconfig(btf, raw, order, t, externs)
                size = max((offset + length for _, offset, length in entries), default=0)
            else:
                section = sections.get(t.name)
                if section is None:
                    continue
                if _hide(btf, raw, order, t, section, symbols):
                    changed = True
                if t.size:
                    continue
                entries = [_place(btf, v, section, symbols) for v in t.vars]
                size = section.size
            entries.sort(key=lambda v: v[1])
            struct.pack_into(order + "I", raw, place - 4, size)
            for i, values in enumerate(entries):
                entry.pack_into(raw, place + 12 * i, *values)
            changed = True
        elif hidden and t.kind == FUNC and t.vlen != _STATIC and t.name in hidden:
            struct.pack_into(order + "I", raw, t._place - 8, FUNC << 24 | _STATIC)
            changed = True
    if ksyms:
        raw = _dummy_ksyms(btf, raw, order, ksyms)
        changed = True
    return Btf.parse(bytes(raw)) if changed else btf


def _hide(
    btf: Btf,
    raw: bytearray,
    order: str,
    datasec: BtfType,
    section: Section,
    symbols: dict[tuple[int, str], Symbol],
) -> bool:
    """Make hidden variables static ones, as hidden functions are: nobody outside the object may see them."""
    changed = False
    for type_id, _, _ in datasec.vars:
        t = btf.type(type_id)
        if t.kind == VAR and t.linkage == _GLOBAL:
            symbol = symbols.get((section.index, t.name))
            if symbol is not None and symbol.visibility in (STV_HIDDEN, STV_INTERNAL):
                struct.pack_into(order + "I", raw, t._place, _STATIC)
                changed = True
    return changed


def _place(
    btf: Btf, var: tuple[int, int, int], section: Section, symbols: dict[tuple[int, str], Symbol]
) -> tuple[int, int, int]:
    """The entry of a variable with its offset. Static variables have theirs in the file."""
    type_id, offset, size = var
    t = btf.type(type_id)
    if t.kind == VAR and t.linkage != _STATIC:
        symbol = symbols.get((section.index, t.name))
        if symbol is None:
            raise ObjectError(f"variable {t.name} of section {section.name} has no symbol")
        offset = symbol.value
    if offset + size > section.size:
        raise ObjectError(f"variable {t.name} reaches beyond section {section.name}")
    return type_id, offset, size


def _lay_out_kconfig(
    btf: Btf, raw: bytearray, order: str, section: BtfType, externs: dict[str, ExternSpec]
) -> list[tuple[int, int, int]]:
    entries = []
    for type_id, _, size in section.vars:
        t = btf.type(type_id)
        extern = externs.get(t.name)
        if extern is None or extern.kind != KCONFIG:
            entries.append((type_id, 0, size))
            continue
        struct.pack_into(order + "I", raw, t._place, _GLOBAL)
        entries.append((type_id, extern.offset, extern.size))
    return entries


def _dummy_ksyms(
    btf: Btf, raw: bytearray, order: str, ksyms: list[tuple[BtfType, list[tuple[int, int, int]]]]
) -> bytearray:
    """Kernel symbols as ints, kernel functions as static ones behind a dummy variable.

    The kernel takes only sized variables in a data section, and only functions whose parameters have names.
    """
    hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from(order + "IIIII", raw, 4)
    types_at, strings_at = hdr_len + type_off, hdr_len + str_off
    new_types = bytearray()
    next_id = len(btf)
    int_id = next((t.id for t in btf.own_types(INT) if t.size == 4), 0)
    name_off = str_len
    if not int_id:
        int_id, next_id = next_id, next_id + 1
        new_types += struct.pack(order + "IIII", name_off, INT << 24, 4, 32)
    dummy_id = next_id
    new_types += struct.pack(order + "IIII", name_off, VAR << 24, int_id, _GLOBAL)
    for section, entries in ksyms:
        struct.pack_into(order + "I", raw, section._place - 4, 4 * len(entries))
        for i, (type_id, _, _) in enumerate(entries):
            t = btf.type(type_id)
            member = type_id
            if t.kind == FUNC:
                struct.pack_into(order + "I", raw, t._place - 8, FUNC << 24 | _STATIC)
                member = dummy_id
                proto = btf.type(t.type)
                if proto.kind == FUNC_PROTO:
                    for p, (name, param_type) in enumerate(proto.params):
                        if not name and param_type:
                            struct.pack_into(order + "I", raw, proto._place + 8 * p, name_off)
            elif t.kind == VAR:
                struct.pack_into(order + "II", raw, t._place - 4, int_id, _GLOBAL)
            struct.pack_into(order + "III", raw, section._place + 12 * i, member, 4 * i, 4)
    types = raw[types_at : types_at + type_len] + new_types
    strings = raw[strings_at : strings_at + str_len] + b"dummy_ksym\0"
    struct.pack_into(order + "IIII", raw, 8, 0, len(types), len(types), len(strings))
    return raw[:hdr_len] + types + strings
