"""`NetworkHooks`: the methods of `Program` that attach to the network, sockets and cgroups."""

from __future__ import annotations

from probee.kernel.attach_base import Attachable

# Kind of section -> method.
NETWORK: dict[str, str] = {}


class NetworkHooks(Attachable):
    """XDP, tc, netfilter, sockets, cgroups."""

    __slots__ = ()
