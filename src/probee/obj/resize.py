"""Data maps of another size than the object says: the array at the end grows or shrinks, in its type too."""

from __future__ import annotations

import struct

from probee.btf.kinds import ARRAY, DATASEC, VAR
from probee.btf.parser import Btf
from probee.errors import ObjectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.obj.spec import ObjectSpec

_U32 = 1 << 32


def resize(spec: ObjectSpec, name: str, size: int) -> None:
    """See `ObjectSpec.resize`."""
    data = spec.maps.get(name)
    if data is None or data.initial is None:
        known = ", ".join(m.name for m in spec.maps.values() if m.initial is not None) or "none"
        raise ObjectError(f"there is no data map {name} in {spec.name}; there are: {known}")
    if not 0 < size < _U32:
        raise ObjectError(f"map {name} can't have {size} bytes")
    btf = spec.btf
    datasec = btf.find(name, DATASEC) if btf is not None else None
    if btf is not None and datasec is not None and btf.type(datasec).vars:
        _retype(spec, btf, datasec, size)
    data.initial = data.initial[:size].ljust(size, b"\0")
    data.value_size = size


def _retype(spec: ObjectSpec, btf: Btf, datasec: int, size: int) -> None:
    """Give the last variable of a section the type that fills it, and the section its size."""
    section = btf.type(datasec)
    at = len(section.vars) - 1
    var_id, offset, _ = section.vars[at]
    var = btf.type(var_id)
    array = btf.type(btf.strip(var.type)) if var.kind == VAR else var
    if array.kind != ARRAY:
        raise ObjectError(f"{section.name} can't be resized: its last variable, {var.name}, is no array")
    element, index, _ = array.array
    step = btf.size_of(element)
    if size <= offset or not step or (size - offset) % step:
        raise ObjectError(
            f"{size} bytes of {section.name} leave {size - offset} for {var.name}, which is not made of whole"
            f" elements of {step} bytes"
        )
    order = "<" if btf.endian == "little" else ">"
    raw = bytearray(btf.raw)
    struct.pack_into(order + "I", raw, section._place - 4, size)
    struct.pack_into(order + "III", raw, section._place + 12 * at, var_id, offset, size - offset)
    struct.pack_into(order + "I", raw, var._place - 4, len(btf))
    added = struct.pack(order + "6I", 0, ARRAY << 24, 0, element, index, (size - offset) // step)
    hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from(order + "IIIII", raw, 4)
    types = raw[hdr_len + type_off : hdr_len + type_off + type_len] + added
    strings = raw[hdr_len + str_off : hdr_len + str_off + str_len]
    head = raw[:4] + struct.pack(order + "5I", 24, 0, len(types), len(types), len(strings))
    spec.btf = Btf.parse(bytes(head + types + strings))
    variable = spec.globals.get(var.name)
    if variable is not None and variable.map == section.name:
        variable.size = size - offset
        variable.type_id = len(btf)
