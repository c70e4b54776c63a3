"""The kernel types that come with probee, for machines that have none of their own to show.

They are those of one Linux (`RELEASE`) on x86-64, cut down to what tracing programs commonly touch:
`python -m probee.machine.ship` makes the files anew from the running kernel.
"""

from __future__ import annotations

import os

from probee.btf.parser import Btf

RELEASE = "6.18"
ARCH = "x86_64"
FOLDER = os.path.dirname(os.path.abspath(__file__))

_btf: Btf | None = None


def data(name: str) -> bytes:
    """The content of a shipped file, unpacked."""
    from lzma import decompress

    with open(os.path.join(FOLDER, name), "rb") as file:
        return decompress(file.read())


def shipped_btf() -> Btf:
    """The shipped types, one instance per process."""
    global _btf
    if _btf is None:
        _btf = Btf.parse(data("kernel.btf.xz"))
    return _btf


__all__ = ["ARCH", "FOLDER", "RELEASE", "data", "shipped_btf"]
