"""Which kernel types and tracepoint formats a machine goes by."""

from __future__ import annotations

import os

from ..btf import Btf
from ..btf.choose import LIVE, arch_of, choose
from ..btf.shipped import ARCH
from ..sys.formats import known_events, known_fields, shipped_events, shipped_fields


class Types:
    """Kernel types and the formats of tracepoints that belong to them. `key` tells them from others."""

    def __init__(self, what: str | os.PathLike[str] | Btf | None = None) -> None:
        """`what` as in `btf.choose`. Raises ProbeeError."""
        self.btf, self.key = choose(what)
        live = self.key == LIVE
        self.fields = known_fields if live else shipped_fields
        self.events = known_events if live else shipped_events
        self.arch = arch_of(self.btf) or ARCH
