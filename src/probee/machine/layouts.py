"""Maps that engines look up in by themselves, without a call of the helper."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .code import Code
    from .env import Env
    from .maps import Layout

_LOOKUP = 1  # the number of bpf_map_lookup_elem
_KINDS = frozenset({"array", "percpu_array", "hash", "percpu_hash"})
_LARGEST_KEY = 64  # bytes; longer ones are compared by Python


def usable(layout: Layout) -> bool:
    """Whether engines can look up here."""
    return layout.kind in _KINDS and layout.key_size <= _LARGEST_KEY


def layouts_of(code: Code, env: Env) -> dict[int, Layout]:
    """How the maps that a program looks up in lie in memory, by address, for those that engines
    can look up in by themselves."""
    if not any(op.kind == "helper" and op.imm == _LOOKUP for op in code.ops.values()):
        return {}
    addresses = {op.imm for op in code.ops.values() if op.kind == "lddw" and op.target < 0}
    found = {address: env.layout(address) for address in sorted(addresses)}
    return {address: layout for address, layout in found.items() if layout is not None and usable(layout)}
