"""Decorators of network, socket and cgroup programs.

Each takes what `bp.attach()` attaches the program to; without it, the program is loaded and attached by hand:
`session.programs["name"].attach_xdp("eth0")`. Sections are libbpf's.
"""

from __future__ import annotations

from ..decl.programs import ProgramDecl
from ..decl.refuse import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Decorator = Callable[[Any], ProgramDecl]


def _make(kind: str, section: str, target: Any, method: str, **how: Any) -> Any:
    """The decorator, or the program when it was written without parentheses."""
    plain = hasattr(target, "__code__") or isinstance(target, ProgramDecl)

    def decorate(fn: Any) -> ProgramDecl:
        made = ProgramDecl(fn, kind, (section,))
        if target is not None and not plain:
            made.attachment = (method, (target,), {k: v for k, v in how.items() if v is not None})
        return made

    return decorate(target) if plain else decorate


def _one_of(kind: str, what: str, value: str, allowed: str) -> str:
    if value not in allowed.split():
        raise refuse(f"@{kind}: {value!r} is no {what}", f"it is one of {', '.join(allowed.split())}")
    return value


def xdp(interface: Any = None, *, frags: bool = False, mode: str | None = None, at: str = "") -> Any:
    """Run on each packet that an interface receives, first of all (Linux 4.8).

    `frags`: packets may be larger than a page (5.18). `at` is "devmap" or "cpumap" for programs that run
    where another redirects to. `mode` is native, generic or offload.
    """
    section = "xdp.frags" if frags else "xdp"
    if at:
        section += "/" + _one_of("xdp", "place", at, "devmap cpumap")
    return _make("xdp", section, interface, "attach_xdp", mode=mode)


def tc(interface: Any = None, direction: str = "ingress", *, priority: int | None = None) -> Any:
    """Run as a filter of classic tc, at an interface's `ingress` or `egress` (Linux 4.5)."""
    _one_of("tc", "direction", direction, "ingress egress")
    return _make("tc", "tc", interface, "attach_tc", direction=direction, priority=priority)


def tcx(interface: Any = None, direction: str = "ingress") -> Any:
    """Run at an interface's `ingress` or `egress`, in order with others (Linux 6.6)."""
    return _make(
        "tcx", f"tcx/{_one_of('tcx', 'direction', direction, 'ingress egress')}", interface, "attach_tcx"
    )
