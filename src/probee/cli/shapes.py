"""What the records of a C object are: objects say so in no agreed way, but often enough it can be told.

A struct that a global variable points to (`struct event *unused;`, as code generators want it) is taken for
what is sent; else a struct of the object's own, which the kernel hasn't got, if only one has the record's
size.
"""

from __future__ import annotations

from typing import Any

from ..btf import Btf, essential_name, kernel_btf
from ..btf.kinds import PTR, STRUCT, VAR
from ..btf.values import Codec, Codecs
from ..errors import ProbeeError

_PADDING = 7  # bytes that a perf buffer may add


class Shapes:
    """Decodes records that have no type yet."""

    def __init__(self, btf: Btf | None, *, padded: bool = False) -> None:
        self._codecs: dict[int, Codec | None] = {}
        self._padded = padded
        self._made = Codecs(btf) if btf is not None else None
        self._named, self._own = _candidates(btf) if btf is not None else ([], [])

    def decode(self, record: bytes) -> Any:
        """A record with names, or the bytes if it can't be told what they are."""
        size = len(record)
        if size not in self._codecs:
            self._codecs[size] = self._find(size)
        codec = self._codecs[size]
        return record if codec is None else codec.unpack(record)

    def _find(self, size: int) -> Codec | None:
        if self._made is None:
            return None
        least = size - _PADDING if self._padded else size
        for candidates in (self._named, self._own):
            found = [(length, id) for length, id in candidates if least <= length <= size]
            if len(found) == 1:
                try:
                    return self._made.get(found[0][1])
                except ProbeeError:
                    return None
        return None


def _candidates(btf: Btf) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(size, type id) of structs that global variables point to, and of the object's own."""
    named: list[tuple[int, int]] = []
    own: list[tuple[int, int]] = []
    try:
        kernel: Btf | None = kernel_btf()
    except ProbeeError:
        kernel = None
    for t in btf.own_types():
        if t.kind == VAR:
            pointer = btf.type(btf.strip(t.type))
            target = btf.type(btf.strip(pointer.type)) if pointer.kind == PTR else None
            if target is not None and target.kind == STRUCT and target.name and target.size:
                named.append((target.size, target.id))
        elif t.kind == STRUCT and t.name and t.size:
            known = kernel.find(essential_name(t.name), STRUCT) if kernel is not None else None
            if known is None:
                own.append((t.size, t.id))
    return sorted(set(named)), own
