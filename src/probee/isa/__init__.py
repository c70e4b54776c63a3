"""The BPF instruction set (RFC 9669) and the tables of what the kernel knows. Touches nothing.

`decode`/`encode` turn bytes into `Insn` values and back, `disassemble`/`assemble` into text and back.
Tables of program types, map types, attach types and helpers are in `tables`, section names in `sections`,
system call numbers in `syscalls`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.isa.asm import assemble
    from probee.isa.disasm import disassemble
    from probee.isa.insn import Insn, decode, encode

__all__ = ["Insn", "assemble", "decode", "disassemble", "encode"]

_HOME = {"Insn": "insn", "decode": "insn", "encode": "insn", "disassemble": "disasm", "assemble": "asm"}


def __getattr__(name: str) -> object:
    # Loaded on first use: the hot path needs only the small tables.
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
