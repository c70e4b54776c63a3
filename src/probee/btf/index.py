"""The running kernel's BTF."""

from __future__ import annotations

from probee.btf.parser import Btf
from probee.errors import Unsupported

PATH = "/sys/kernel/btf/vmlinux"

_kernel: Btf | None = None


def kernel_btf() -> Btf:
    """The running kernel's types, one instance per process. Raises Unsupported if it has none."""
    global _kernel
    if _kernel is None:
        try:
            with open(PATH, "rb") as f:
                _kernel = Btf.parse(f.read())
        except OSError as e:
            raise Unsupported(
                f"no kernel BTF at {PATH} ({e.strerror}): needs a kernel built with CONFIG_DEBUG_INFO_BTF=y",
                feature="kernel BTF",
                since="5.4",
            ) from None
    return _kernel
