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


def shipped_btf() -> Btf:
    """The shipped types, one instance per process."""
    global _btf
    if _btf is None:
        from lzma import decompress

        with open(os.path.join(FOLDER, "kernel.btf.xz"), "rb") as file:
            _btf = Btf.parse(decompress(file.read()))
    return _btf


__all__ = ["ARCH", "FOLDER", "RELEASE", "shipped_btf"]
