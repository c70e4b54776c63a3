"""Instruction arrays: where instructions of a program ended up, for indirect jumps and static keys."""

from __future__ import annotations

from struct import Struct

from ..btf.values import Codec
from .arrays import Indexed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VALUE = Struct("=III4x")  # struct bpf_insn_array_value


class Instruction(tuple):  # type: ignore[type-arg]
    """`original`: the offset in the program as it was loaded; `translated`: after the verifier's changes;
    `native`: in machine code. In instructions; the latter in bytes."""

    __slots__ = ()

    @property
    def original(self) -> int:
        offset: int = self[0]
        return offset

    @property
    def translated(self) -> int:
        offset: int = self[1]
        return offset

    @property
    def native(self) -> int:
        offset: int = self[2]
        return offset

    def __repr__(self) -> str:
        return f"Instruction(original={self[0]}, translated={self[1]}, native={self[2]})"


class InstructionCodec(Codec):
    __slots__ = ()

    def load(self, slot: bytes) -> Instruction:
        return Instruction(_VALUE.unpack(slot))

    def dump(self, value: Any) -> bytes:
        if not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise TypeError(f"{value!r} is no offset of an instruction")
        return _VALUE.pack(value, 0, 0)

    def _dtype(self, np: Any) -> Any:
        return np.dtype([("original", "=u4"), ("translated", "=u4"), ("native", "=u4"), ("_", "V4")])


class InsnArray(Indexed):
    """BPF_MAP_TYPE_INSN_ARRAY (Linux 6.19): assign offsets of instructions, freeze it, load the program with
    it, and read where they went."""

    __slots__ = ()

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        if self.value_size == _VALUE.size:
            self.value = InstructionCodec("instruction", _VALUE.size, self.key.order, f"{_VALUE.size}s")
