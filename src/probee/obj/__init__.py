"""BPF objects as files, in libbpf's conventions: ELF in, `ObjectSpec` out.

Pure: no system call, the same answer on every machine and for both byte orders.
"""

from __future__ import annotations

from probee.obj.reader import read_object
from probee.obj.spec import (
    JUMP_TABLE,
    KCONFIG,
    KFUNC,
    KFUNC_ADDR,
    KSYM,
    KSYM_TYPED,
    MAP_FD,
    MAP_VALUE,
    ExternSpec,
    GlobalSpec,
    LinkedProgram,
    MapSpec,
    ObjectSpec,
    ProgramSpec,
)

__all__ = [
    "JUMP_TABLE",
    "KCONFIG",
    "KFUNC",
    "KFUNC_ADDR",
    "KSYM",
    "KSYM_TYPED",
    "MAP_FD",
    "MAP_VALUE",
    "ExternSpec",
    "GlobalSpec",
    "LinkedProgram",
    "MapSpec",
    "ObjectSpec",
    "ProgramSpec",
    "read_object",
]
