"""Variables by name: the part of DWARF 2 to 5 that debuggers of BPF programs need.

LLVM's DWARF for BPF, and what it leaves out: registers are numbered as r0 to r10, the frame base is r10, but
offsets from it (`DW_OP_fbreg`) count from the lower end of the stack frame.
"""

from __future__ import annotations

from probee.obj.dwarf.variables import Dwarf, Function, Place, State, Variable

__all__ = ["Dwarf", "Function", "Place", "State", "Variable"]
