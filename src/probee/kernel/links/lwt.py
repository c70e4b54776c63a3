"""Lightweight tunnels: a program on the packets of a route. Routes are made by pyroute2."""

from __future__ import annotations

import errno

from probee.errors import AttachError
from probee.kernel.links.attached import Attachment
from probee.kernel.links.interfaces import refused, resolve
from probee.kernel.links.namespaces import inside, open_namespace
from probee.sys.netlink import NetlinkError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.kernel.attach_base import Attachable

_DIRECTIONS = {10: "in", 11: "out", 12: "xmit"}  # by enum bpf_prog_type
_SEG6LOCAL = 19


class LwtRoute(Attachment):
    """A route whose packets go through a program: it stays until it is taken off, or its interface goes."""

    __slots__ = ("_namespace", "_route")

    what = "a route"

    def __init__(self, program: Attachable, hook: str, route: dict[str, Any], encap: dict[str, Any]) -> None:
        super().__init__(hook, program)
        self._route = route
        try:
            self._namespace = open_namespace()
            self._own.append(self._namespace)
            self._request("add", {**route, "encap": encap})
        except OSError as error:
            self.leave()
            number = error.errno or 0
            if number == errno.EEXIST:
                raise AttachError(
                    f"can't attach to {hook}: there is such a route already; delete it, or choose "
                    "another metric",
                    hook=hook,
                    errno=number,
                ) from None
            raise refused(hook, error) from None

    def _request(self, command: str, facts: dict[str, Any]) -> None:
        def run() -> None:
            from pyroute2 import IPRoute
            from pyroute2.netlink.exceptions import NetlinkError as Refusal

            try:
                with IPRoute(ext_ack=True) as netlink:
                    netlink.route(command, **facts)
            except Refusal as error:
                raise NetlinkError(error.code, str(error.args[1]) if len(error.args) > 1 else "") from None

        # pyroute2 runs an event loop, which may not be done in a thread where one is running already.
        inside(self._namespace, run, thread=True)

    def _take_off(self) -> None:
        try:
            self._request("del", self._route)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.ENODEV):
                raise refused(self.hook, error, "detaching from") from None


def attach(
    program: Attachable,
    destination: str,
    *,
    interface: str | int = "",
    gateway: str = "",
    table: int = 0,
    metric: int = 0,
    headroom: int = 0,
) -> LwtRoute:
    """`Program.attach_lwt`."""
    from ipaddress import ip_network

    hook = f"route to {destination}"
    try:
        version = ip_network(destination, strict=False).version
    except ValueError as problem:
        raise AttachError(f"{hook}: {problem}", hook=hook) from None
    route: dict[str, Any] = {"dst": destination, "family": 10 if version == 6 else 2}
    if interface != "":
        route["oif"] = resolve(interface)[0]
    if gateway:
        route["gateway"] = gateway
    if not gateway and interface == "":
        raise AttachError(f"{hook}: a route needs an interface or a gateway", hook=hook)
    if table:
        route["table"] = table
    if metric:
        route["priority"] = metric
    what: dict[str, Any] = {"fd": program.fd, "name": program.name}
    if program.type == _SEG6LOCAL:
        return LwtRoute(program, hook, route, {"type": "seg6local", "action": "End.BPF", "bpf": what})
    direction = _DIRECTIONS.get(program.type)
    if direction is None:
        raise AttachError(
            f"{hook}: program {program.name} is not of type lwt_in, lwt_out, lwt_xmit or lwt_seg6local",
            hook=hook,
        )
    if headroom:
        if direction != "xmit":
            raise AttachError(f"{hook}: only lwt_xmit programs have headroom", hook=hook)
        what["headroom"] = headroom
    return LwtRoute(program, hook, route, {"type": "bpf", direction: what})
