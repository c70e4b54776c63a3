"""What programs do with their packet, by the name of the method."""

from __future__ import annotations

import ast

from ..items import Item
from ..kinds.network import packet_end
from ..kinds.table import COPY, NetKind
from ..types import U64
from .read import read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..kinds.network import NetContext
    from ..scope import Fn

    Method = Callable[[Fn, NetContext, ast.Call], Item]


def names(kind: NetKind) -> frozenset[str]:
    """The methods of a kind of program."""
    return frozenset(_methods(kind))


def call(f: Fn, c: NetContext, name: str, node: ast.Call) -> Item:
    return _methods(c.kind)[name](f, c, node)


def _methods(kind: NetKind) -> dict[str, Method]:
    return {"read": read, "rewind": _rewind}


def _rewind(f: Fn, c: NetContext, node: ast.Call) -> Item:
    """Read from the packet's start again."""
    from ..calls import arguments
    from ..items import Py

    arguments(f, node, "rewind()", 0, 0)
    assert c.cursor is not None
    f.b.store(c.cursor, f.b.const(0, U64) if c.kind.packet == COPY else packet_end(f.b, c.kind, c.ctx, 0))
    return Py(None)
