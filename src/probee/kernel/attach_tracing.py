"""`TracingHooks`: the methods of `Program` that attach to the kernel's own code and events."""

from __future__ import annotations

from probee.kernel.attach_base import Attachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from probee.kernel.links.base import Link

# Kind of section -> method.
TRACING = {
    "tp": "attach_tracepoint",
    "tracepoint": "attach_tracepoint",
    "raw_tp": "attach_raw_tracepoint",
    "raw_tracepoint": "attach_raw_tracepoint",
    "raw_tp.w": "attach_raw_tracepoint",
    "raw_tracepoint.w": "attach_raw_tracepoint",
    "tp_btf": "attach_tp_btf",
    "perf_event": "attach_perf_event",
}


class TracingHooks(Attachable):
    """Tracepoints, kprobes, perf events, BTF hooks, LSM, iterators."""

    __slots__ = ()

    def attach_tracepoint(self, event: str = "", *, cookie: int = 0) -> Link:
        """Run at a tracepoint, `group:event` (Linux 4.7; `cookie` 5.15). Type `tracepoint`."""
        from probee.kernel.links import tracepoint

        group, _, name = (event or self.spec.attach_to).replace(":", "/", 1).partition("/")
        return tracepoint.attach(self.fd, group, name, cookie=cookie)

    def attach_raw_tracepoint(self, event: str = "", *, cookie: int = 0) -> Link:
        """Run at a tracepoint, `event` without its group (Linux 4.17; `cookie` 6.10). Type `raw_tracepoint`,
        or `raw_tracepoint_writable` (5.2) where the tracepoint lets programs write."""
        from probee.kernel.links import raw_tp

        return raw_tp.attach(self.fd, event or self.spec.attach_to, cookie=cookie)

    def attach_tp_btf(self, event: str = "", *, cookie: int = 0) -> Link:
        """Run at the tracepoint the program was loaded for (Linux 5.5; `cookie` 6.10). Type `tracing`."""
        from probee.kernel.links import tp_btf

        return tp_btf.attach(self.fd, event or self.spec.attach_to, cookie=cookie)

    def attach_perf_event(
        self,
        event: str = "",
        *,
        frequency: int = 0,
        period: int = 0,
        pid: int | None = None,
        cpus: Sequence[int] | None = None,
        cookie: int = 0,
    ) -> Link:
        """Run at each sample of a perf event, on every CPU (Linux 4.9). Type `perf_event`."""
        from probee.kernel.links import perf_event

        name, hertz, every = perf_event.parse(event)
        if frequency or period:
            hertz, every = frequency, period
        return perf_event.attach(
            self.fd, name, frequency=hertz, period=every, pid=pid, cpus=cpus, cookie=cookie
        )
