"""BTF, the type information of the kernel and of BPF objects: read, index, write, render, and CO-RE."""

from __future__ import annotations

from probee.btf.ext import BtfExt, CoreReloc
from probee.btf.live import kernel_btf
from probee.btf.parser import Btf, BtfMember, BtfType, essential_name

__all__ = ["Btf", "BtfExt", "BtfMember", "BtfType", "CoreReloc", "essential_name", "kernel_btf"]
