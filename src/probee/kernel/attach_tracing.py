"""`TracingHooks`: the methods of `Program` that attach to the kernel's own code and events."""

from __future__ import annotations

from probee.kernel.attach_base import Attachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Protocol

    from probee.kernel.links.base import Link
    from probee.kernel.links.iter import IterLink
    from probee.kernel.program import Program

    class HasFd(Protocol):
        """An open map."""

        @property
        def fd(self) -> int: ...


# Kind of section -> method.
TRACING = {
    "tp": "attach_tracepoint",
    "tp.s": "attach_tracepoint",
    "tracepoint": "attach_tracepoint",
    "tracepoint.s": "attach_tracepoint",
    "raw_tp": "attach_raw_tracepoint",
    "raw_tp.s": "attach_raw_tracepoint",
    "raw_tp.w": "attach_raw_tracepoint",
    "raw_tracepoint": "attach_raw_tracepoint",
    "raw_tracepoint.s": "attach_raw_tracepoint",
    "raw_tracepoint.w": "attach_raw_tracepoint",
    "kprobe": "attach_kprobe",
    "kretprobe": "attach_kprobe",
    "kprobe.multi": "attach_kprobe_multi",
    "kretprobe.multi": "attach_kprobe_multi",
    "kprobe.session": "attach_kprobe_multi",
    "ksyscall": "attach_ksyscall",
    "kretsyscall": "attach_ksyscall",
    "perf_event": "attach_perf_event",
    "iter": "_attach_iter",
    "iter.s": "_attach_iter",
    **dict.fromkeys(
        ("tp_btf", "tp_btf.s", "fentry", "fentry.s", "fexit", "fexit.s", "fmod_ret", "fmod_ret.s"),
        "_attach_tracing",
    ),
    **dict.fromkeys(("fsession", "fsession.s", "lsm", "lsm.s", "freplace"), "_attach_tracing"),
    **dict.fromkeys(
        ("fentry.multi", "fentry.multi.s", "fexit.multi", "fexit.multi.s"), "attach_tracing_multi"
    ),
    **dict.fromkeys(("fsession.multi", "fsession.multi.s"), "attach_tracing_multi"),
}
_FREPLACE = 28  # enum bpf_prog_type


class TracingHooks(Attachable):
    """Tracepoints, kprobes, perf events, BTF hooks, LSM, iterators.

    All raise `AttachError` with the cause, `PermissionDenied` (CAP_BPF and CAP_PERFMON are needed),
    `Unsupported` where the kernel lacks the hook. `cookie` is a number that the program reads with
    bpf_get_attach_cookie().
    """

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

    def attach_tracing(self, *, cookie: int = 0) -> Link:
        """Run at what the program was loaded for: fentry, fexit, fmod_ret, tp_btf (Linux 5.5; `cookie` 5.19,
        for tp_btf 6.10), fsession (7.0). Type `tracing`.
        """
        from probee.kernel.links import tp_btf, tracing

        if self.kind.startswith("tp_btf"):
            return tp_btf.attach(self.fd, self.spec.attach_to, cookie=cookie)
        attach_type = self.spec.attach_type if cookie else 0
        return tracing.attach(self.fd, self._loaded_for(), cookie=cookie, attach_type=attach_type)

    def attach_tracing_multi(
        self,
        pattern: str = "",
        *,
        functions: Sequence[str] = (),
        cookies: Sequence[int] = (),
        cookie: int = 0,
    ) -> Link:
        """Run where many functions start or return, by `pattern` (`*`, `?`) or name. Type `tracing`, of a
        section `fentry.multi`, `fexit.multi` or `fsession.multi` (Linux 7.2).
        """
        from probee.kernel.links import tracing_multi

        if not pattern and not functions:
            pattern = self.spec.attach_to
        return tracing_multi.attach(
            self.fd,
            self.spec.attach_type,
            pattern,
            functions=functions,
            cookies=cookies,
            cookie=cookie,
        )

    def attach_lsm(self, *, cookie: int = 0) -> Link:
        """Run at the security hook that the program was loaded for; what it returns is the decision (Linux
        5.7, booted with `lsm=…,bpf`; `cookie` 5.19). Type `lsm`.
        """
        from probee.kernel.links import lsm

        return lsm.attach(self.fd, self.spec.attach_to if self.kind else "hook", cookie=cookie)

    def attach_freplace(self, target: Program | None = None, function: str = "") -> Link:
        """Run in place of a global function of another BPF program (Linux 5.6). Type `ext`.

        Without `target` it is the function that the program was loaded for; with it the one of that name, or
        `function`, in another program, if its arguments are the same (5.10).
        """
        from probee.kernel.links import tracing

        if target is None:
            return tracing.attach(self.fd, self._loaded_for())
        from probee.kernel.program_btf import function_in

        name = function or self.spec.attach_to
        hook = f"freplace {name} of program {target.name}"
        return tracing.attach_to_program(self.fd, target.fd, function_in(target.fd, name, hook), hook)

    def attach_kprobe(
        self,
        function: str = "",
        *,
        address: int = 0,
        offset: int = 0,
        returns: bool | None = None,
        cookie: int = 0,
        maxactive: int = 0,
        way: str = "auto",
    ) -> Link:
        """Run where a function of the kernel starts, `offset` bytes into it, or when it returns. Type
        `kprobe`.

        `function` may be `name`, `name+offset` or `module:name`; `address` stands for it. `returns` goes by
        the section's name if left out. Links and `cookie` since Linux 5.15, before it the older ways: see
        `links.kprobe.attach` for `maxactive` and `way`.
        """
        from probee.kernel.links import kprobe

        place = kprobe.Place("", 0, "", address) if address else kprobe.parse(function or self.spec.attach_to)
        place.offset += offset
        return kprobe.attach(
            self.fd, place, returns=self._returns(returns), cookie=cookie, maxactive=maxactive, way=way
        )

    def attach_kprobe_multi(
        self,
        pattern: str = "",
        *,
        functions: Sequence[str] = (),
        addresses: Sequence[int] = (),
        returns: bool | None = None,
        session: bool | None = None,
        cookies: Sequence[int] = (),
        cookie: int = 0,
    ) -> Link:
        """Run at many functions of the kernel by one link: those that match `pattern` (`*`, `?`), or are
        named, or start at `addresses` (Linux 5.18). Type `kprobe`, of a section `kprobe.multi`.

        `cookies` has one for each function, `cookie` is for all. `session` (6.10, section
        `kprobe.session`) runs the program at start and return. Both go by the section's name if left out.
        """
        from probee.kernel.links import kprobe_multi

        if not (pattern or functions or addresses):
            pattern = self.spec.attach_to
        return kprobe_multi.attach(
            self.fd,
            pattern,
            functions=functions,
            addresses=addresses,
            returns=self._returns(returns),
            session=self.kind == "kprobe.session" if session is None else session,
            cookies=cookies,
            cookie=cookie,
        )

    def attach_ksyscall(
        self, name: str = "", *, returns: bool | None = None, cookie: int = 0, way: str = "auto"
    ) -> Link:
        """Run at a system call, or when it returns, whatever its function is called here. Type `kprobe`."""
        from probee.kernel.links import ksyscall

        return ksyscall.attach(
            self.fd, name or self.spec.attach_to, returns=self._returns(returns), cookie=cookie, way=way
        )

    def attach_perf_event(
        self,
        event: str = "",
        *,
        type: int | None = None,
        config: int = 0,
        frequency: int = 0,
        period: int = 0,
        pid: int | None = None,
        cpus: Sequence[int] | None = None,
        cgroup: str | os.PathLike[str] | int | None = None,
        cookie: int = 0,
    ) -> Link:
        """Run at each sample of a perf event, on every CPU (Linux 4.9; `cookie` 5.15). Type `perf_event`.

        `event` is a name of perf-list(1): a software, hardware or cache event, or `r` and a raw number in
        hexadecimal; `type` and `config` of perf_event_open(2) stand for it. `frequency` is samples a second,
        `period` events (for clocks nanoseconds) between samples. All processes, or the one called `pid`, or
        those of `cgroup`.
        """
        from probee.kernel.links import perf_event

        name, hertz, every = perf_event.parse(event or (self.spec.attach_to if self.kind else ""))
        if frequency or period:
            hertz, every = frequency, period
        return perf_event.attach(
            self.fd,
            name if type is None else (type, config),
            frequency=hertz,
            period=every,
            pid=pid,
            cpus=cpus,
            cgroup=cgroup,
            cookie=cookie,
        )

    def attach_breakpoint(
        self, address: int, *, length: int = 8, access: str = "w", pid: int | None = None, cookie: int = 0
    ) -> Link:
        """Run when memory at `address` is read or written (`access`: "r", "w", "rw"), or the instruction
        there is executed ("x"), by a debug register (Linux 4.9). Type `perf_event`.

        `length` is 1, 2, 4 or 8 bytes. An address of user space is meant in process `pid`; without `pid` it
        is one of the kernel, or the same in every process.
        """
        from probee.kernel.links import breakpoint

        return breakpoint.attach(self.fd, address, length, access, pid=pid, cookie=cookie)

    def attach_iter(
        self,
        *,
        map: HasFd | None = None,
        pid: int | None = None,
        tid: int | None = None,
        pidfd: int | None = None,
        cgroup: str | os.PathLike[str] | int | None = None,
        order: str = "",
    ) -> IterLink:
        """Set up the iterator that the program was loaded for (Linux 5.8); read it with the link's `read`,
        `text`, `lines` or `stream`. Type `tracing`.

        Some iterators walk less than everything: `map`, an open map (bpf_map_elem, which needs one); `pid`,
        all threads of a process, `tid`, one thread, or `pidfd` (task ones, 6.1); `cgroup`, by path or id, in
        the `order` "pre" (default), "post", "up", "self" or "children" (cgroup, 6.1).
        """
        from probee.kernel.links import iter

        return iter.attach(
            self.fd,
            self.spec.attach_to if self.kind else "",
            map_fd=None if map is None else map.fd,
            pid=pid,
            tid=tid,
            pidfd=pidfd,
            cgroup=cgroup,
            order=order,
        )

    # ---- what sections say

    def _returns(self, returns: bool | None) -> bool:
        return self.kind.startswith("kret") if returns is None else returns

    def _loaded_for(self) -> str:
        return f"{self.kind} {self.spec.attach_to}" if self.kind else f"what {self.name} was loaded for"

    def _same_target(self, target: str) -> None:
        if target and target != self.spec.attach_to:
            from probee.errors import AttachError

            raise AttachError(
                f"program {self.name} is verified for {self.spec.attach_to} and loaded for it; for {target} "
                "set the spec's attach_to before loading",
                hook=self.section,
            )

    def _attach_tracing(self, target: str = "", *, cookie: int = 0) -> Link:
        self._same_target(target)
        if self.type == _FREPLACE:
            return self.attach_freplace()
        return (
            self.attach_lsm(cookie=cookie)
            if self.kind.startswith("lsm")
            else self.attach_tracing(cookie=cookie)
        )

    def _attach_iter(self, target: str = "", **options: object) -> Link:
        self._same_target(target)
        return self.attach_iter(**options)  # type: ignore[arg-type]  # the caller's, checked there
