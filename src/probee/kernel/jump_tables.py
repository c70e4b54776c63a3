"""Jump tables of switch statements: maps of instructions (BPF_MAP_TYPE_INSN_ARRAY, Linux 6.19)."""

from __future__ import annotations

import os
import struct

from probee import sys as kernel_calls
from probee.errors import LoadError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.obj.spec import LinkedProgram

_INSN_ARRAY = 34  # enum bpf_map_type
_VALUE = struct.Struct("=IIII")  # struct bpf_insn_array_value: the place before and after the verifier's work


class JumpTable:
    """A frozen map for one program, open until that is loaded."""

    __slots__ = ("fd", "number")

    def __init__(self, number: int, fd: int) -> None:
        self.number = number
        self.fd = fd

    def close(self) -> None:
        kernel_calls.kernel().close(self.fd)


def relocate(linked: LinkedProgram, index: int, made: list[JumpTable]) -> None:
    """Put the descriptor of a jump table into instruction `index`; the table is created at its first use."""
    number = next(addend for at, _, _, addend in linked.relocs if at == index)
    found = next((table for table in made if table.number == number), None)
    if found is None:
        found = _create(linked, number)
        made.append(found)
    struct.pack_into("=i", linked.insns, 8 * index + 4, found.fd)


def _create(linked: LinkedProgram, number: int) -> JumpTable:
    kernel = kernel_calls.kernel()
    entries = linked.jump_tables[number]
    try:
        fd = kernel.map_create(_INSN_ARRAY, 4, _VALUE.size, len(entries), name=".jumptables")
    except OSError as error:
        from probee.kernel.features import have

        if not have("insn_array"):
            raise Unsupported(
                f"program {linked.name} has a jump table, which this kernel does not know; compile with"
                " -fno-jump-tables",
                feature="insn_array",
                since="6.19",
            ) from None
        raise LoadError(
            f"can't create a jump table of {linked.name}: {os.strerror(error.errno or 0)}",
            errno=error.errno or 0,
        ) from error
    try:
        for slot, place in enumerate(entries):
            kernel.map_update(fd, struct.pack("=I", slot), _VALUE.pack(place, 0, 0, 0))
        kernel.map_freeze(fd)
    except OSError as error:
        kernel.close(fd)
        raise LoadError(
            f"can't fill a jump table of {linked.name}: {os.strerror(error.errno or 0)}",
            errno=error.errno or 0,
        ) from error
    return JumpTable(number, fd)
