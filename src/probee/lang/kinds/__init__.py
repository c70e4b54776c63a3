"""Kinds of programs: their decorators, contexts, results, and what their packets allow."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..decl import ProgramDecl
    from ..hooks import Hook
    from ..ktypes import KernelTypes


def hook_of(decl: ProgramDecl, ktypes: KernelTypes) -> Hook:
    """The hook of a declaration whose kind is in this package."""
    from . import network, table

    if table.find(str(decl.args[0])) is not None:
        return network.NetHook(decl, ktypes)
    raise AssertionError(decl.kind)
