"""Classic tc: a BPF filter under the clsact qdisc of a network interface. Changes go through pyroute2."""

from __future__ import annotations

import errno

from probee.errors import AttachError, Unsupported
from probee.kernel import network
from probee.kernel.links.attached import Attachment
from probee.kernel.links.interfaces import programs, refused, resolve
from probee.kernel.links.namespaces import inside, open_namespace
from probee.sys.netlink import NetlinkError, Route

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from probee.kernel.attach_base import Attachable
    from probee.kernel.network import TcFilter
    from probee.kernel.program import Program

PARENTS = {"ingress": network.TC_H_INGRESS, "egress": network.TC_H_EGRESS}
_ETH_P_ALL = 3
_SCHED_CLS = 3
_CLSACT_HANDLE = 0xFFFF0000


def attach(
    program: Attachable,
    interface: str | int,
    direction: str = "",
    *,
    priority: int = 0,
    handle: int = 0,
    direct_action: bool = True,
    classid: int = 0,
    protocol: int = _ETH_P_ALL,
    replace: bool = False,
) -> TcLink:
    """`Program.attach_tc`."""
    index, name = resolve(interface)
    direction = direction or program.section.partition("/")[2] or "ingress"
    hook = f"tc {name} {direction}"
    if direction not in PARENTS:
        raise AttachError(f"{hook}: the direction is ingress or egress", hook=hook)
    if not 0 <= priority < 1 << 16:
        raise AttachError(f"{hook}: a priority is 1 to 65535 (0: the kernel's choice)", hook=hook)
    if replace and not (priority and handle):
        raise AttachError(f"{hook}: to replace a filter, say which: priority and handle", hook=hook)
    if program.type != _SCHED_CLS:
        raise AttachError(f"{hook}: program {program.name} is not of type sched_cls", hook=hook)
    options = {"flags": 1 if direct_action else 0, "protocol": protocol}
    if classid:
        options["classid"] = classid
    return TcLink(program, hook, index, direction, priority, handle, options, replace)


class TcLink(Attachment):
    """A filter of classic tc: it stays until it is taken off, or the interface goes.

    `interface` is an index; `priority` and `handle` are those the filter got. The clsact qdisc is taken off
    with the filter if this attachment made it and nothing else hangs on it.
    """

    __slots__ = ("_made_qdisc", "_namespace", "_options", "direction", "handle", "interface", "priority")

    what = "a tc filter"
    since = "6.6"

    def __init__(
        self,
        program: Attachable,
        hook: str,
        index: int,
        direction: str,
        priority: int,
        handle: int,
        options: dict[str, int],
        replace: bool,
    ) -> None:
        super().__init__(hook, program)
        self.interface = index
        self.direction = direction
        self.priority = priority
        self.handle = handle
        self._options = options
        self._made_qdisc = False
        try:
            self._namespace = open_namespace()
            self._own.append(self._namespace)
            self._made_qdisc = _add_clsact(self._namespace, index, hook, direction)
            with Route() as route:
                before = {(f.priority, f.handle) for f in self._filters(route)}
                self._request("replace-filter" if replace else "add-filter", program)
                new = [f for f in self._filters(route) if f.id == program.id]
            new = [f for f in new if (f.priority, f.handle) not in before] or new
            if not new:
                raise AttachError(f"{hook}: the filter is gone already", hook=hook)
            self.priority, self.handle = new[0].priority, new[0].handle
        except BaseException as error:
            made, self._made_qdisc = self._made_qdisc, False
            problem = self._explain(error) if isinstance(error, OSError) else None
            if made:
                _remove_clsact(self._namespace, index)
            self.leave()
            if problem is not None:
                raise problem from None
            raise

    def _filters(self, route: Route) -> list[TcFilter]:
        return network.filters(route, self.interface, self.direction, PARENTS[self.direction])

    def _request(self, command: str, program: Attachable | None = None) -> None:
        """Add, replace or delete the filter. Raises NetlinkError."""
        facts: dict[str, Any] = {
            "parent": PARENTS[self.direction],
            "prio": self.priority,
            "protocol": self._options["protocol"],
        }
        if self.handle:
            facts["handle"] = self.handle
        if program is not None:
            facts.update(self._options, fd=program.fd, name=program.name)
        _change(self._namespace, lambda tc: tc(command, "bpf", self.interface, **facts))

    def _explain(self, error: OSError) -> Exception:
        number = error.errno or 0
        explained = getattr(error, "explained", "")
        if number == errno.EEXIST:
            with Route() as route:
                same = [f for f in self._filters(route) if f.priority == self.priority]
            what = programs([f.id for f in same]) if same else "another filter"
            return AttachError(
                f"{self.hook}: priority {self.priority}"
                f"{f', handle {self.handle}' if self.handle else ''} is taken by {what}; "
                "pass replace=True to put this program in its place",
                hook=self.hook,
                errno=number,
            )
        if number == errno.ENOENT and not explained:
            return Unsupported(
                f"{self.hook}: this kernel lacks classic tc for BPF (CONFIG_NET_CLS_BPF, "
                "CONFIG_NET_SCH_INGRESS)",
                feature="cls_bpf",
                since="4.5",
            )
        return refused(self.hook, error)

    def _there(self) -> list[int]:
        def look() -> list[int]:
            with Route() as route:
                place = (self.priority, self.handle)
                return [f.id for f in self._filters(route) if (f.priority, f.handle) == place]

        return inside(self._namespace, look)

    def _change(self, program: Program) -> None:
        if self.prog_id not in self._there():
            raise AttachError(f"{self.hook}: the filter is gone or not ours any more", hook=self.hook)
        try:
            self._request("replace-filter", program)
        except OSError as error:
            raise self._explain(error) from None

    def _take_off(self) -> None:
        try:
            if self.prog_id in self._there():
                self._request("del-filter")
            if self._made_qdisc:
                _remove_clsact(self._namespace, self.interface)
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.ENOENT):
                raise refused(self.hook, error, "detaching from") from None


def _change(namespace: int, call: Callable[[Any], object]) -> None:
    """Let `call` use pyroute2's `tc()`, in a namespace. Raises NetlinkError."""

    def run() -> None:
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError as Refusal

        try:
            with IPRoute(ext_ack=True) as route:
                call(route.tc)
        except Refusal as error:
            explained = str(error.args[1]) if len(error.args) > 1 else ""
            import os

            raise NetlinkError(
                error.code, "" if explained == os.strerror(error.code) else explained
            ) from None

    # pyroute2 runs an event loop, which may not be done in a thread where one is running already.
    inside(namespace, run, thread=True)


def _add_clsact(namespace: int, index: int, hook: str, direction: str) -> bool:
    """See to it that the interface has a clsact qdisc. Whether it is a new one."""
    with Route() as route:
        kinds = {kind for kind, _, _ in network.qdiscs(route, index)}
    if "ingress" in kinds and direction == "egress":
        # The kernel would take the filter, and run it at ingress.
        raise AttachError(
            f"can't attach to {hook}: the interface has the qdisc ingress, which has no egress, "
            "in place of clsact; delete it first (tc qdisc del dev … ingress)",
            hook=hook,
        )
    if kinds & {"clsact", "ingress"}:
        return False
    try:
        _change(namespace, lambda tc: tc("add", "clsact", index))
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def _remove_clsact(namespace: int, index: int) -> None:
    """Take the clsact qdisc off, unless something hangs on it."""

    def look() -> bool:
        with Route() as route:
            return any(network.any_filter(route, index, parent) for parent in PARENTS.values())

    if not inside(namespace, look):
        _change(namespace, lambda tc: tc("del", "clsact", index))
