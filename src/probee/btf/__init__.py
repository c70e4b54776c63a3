"""BTF, the type information of the kernel and of BPF objects: read, index, write, render, and CO-RE.

What is not needed to run a compiled program is imported when it is first used.
"""

from __future__ import annotations

from probee.btf.ext import BtfExt, CoreReloc
from probee.btf.live import kernel_btf, module_btfs, open_btf
from probee.btf.parser import Btf, BtfMember, BtfType, essential_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.build import BtfBuilder
    from probee.btf.c_source import render_c
    from probee.btf.python_source import render_python

_LAZY = {
    "BtfBuilder": "probee.btf.build",
    "render_c": "probee.btf.c_source",
    "render_python": "probee.btf.python_source",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        from importlib import import_module

        value: object = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Btf",
    "BtfBuilder",
    "BtfExt",
    "BtfMember",
    "BtfType",
    "CoreReloc",
    "essential_name",
    "kernel_btf",
    "module_btfs",
    "open_btf",
    "render_c",
    "render_python",
]
