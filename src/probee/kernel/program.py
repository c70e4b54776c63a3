"""`Program`: a program the kernel has taken."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, LoadError, ProbeeError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.kernel.links.base import Link
    from probee.obj.spec import ProgramSpec
    from probee.sys.bpf import ProgInfo

# enum bpf_prog_type
TRACEPOINT, PERF_EVENT, RAW_TRACEPOINT, RAW_TRACEPOINT_WRITABLE, TRACING, SYSCALL = 5, 7, 17, 24, 26, 31
_ENOTSUPP = 524
_TAIL_ROOM = 256  # bytes a test run's data may grow by


class Program:
    """A loaded program. `spec` is what it was made from, `log` the verifier's log if one was needed."""

    __slots__ = ("__weakref__", "_fd", "_info", "_kernel", "log", "name", "spec", "type")

    def __init__(self, fd: int, spec: ProgramSpec, log: str = "") -> None:
        self._kernel = kernel_calls.kernel()
        self._fd = fd
        self._info: ProgInfo | None = None
        self.spec = spec
        self.name = spec.name
        self.type = spec.prog_type
        self.log = log

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<program {self.name} ({self.spec.section}){'' if self._fd >= 0 else ' (closed)'}>"

    @property
    def fd(self) -> int:
        if self._fd < 0:
            raise ProbeeError(f"program {self.name} is closed")
        return self._fd

    @property
    def closed(self) -> bool:
        return self._fd < 0

    def close(self) -> None:
        """Give up the descriptor. What is attached stays attached until its link is closed."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._kernel.close(fd)

    def info(self) -> ProgInfo:
        """What the kernel says of the program now: run counts, sizes, tag."""
        return self._kernel.prog_info(self.fd)

    @property
    def id(self) -> int:
        return int(self._facts().id)

    @property
    def tag(self) -> str:
        """The hash of the program's instructions, 16 hexadecimal digits: the same for the same code."""
        return self._facts().tag

    def _facts(self) -> ProgInfo:
        if self._info is None:
            self._info = self.info()
        return self._info

    def attach(self, target: str = "", **options: Any) -> Link:
        """Attach to the hook of the section name, or to `target` (what follows the `/` in a section name).

        Options by kind of hook: `cookie`; `pid` (uprobe, perf_event); `event`, `frequency`, `period`, `cpus`
        (perf_event). Raises `AttachError`, or `PermissionDenied`.
        """
        kind = self.spec.section_kind
        target = target or self.spec.attach_to
        fd = self.fd
        if kind in ("tp", "tracepoint"):
            from probee.kernel.links import tracepoint

            group, _, event = target.replace(":", "/", 1).partition("/")
            return tracepoint.attach(fd, group, event, **options)
        if kind in ("raw_tp", "raw_tracepoint", "raw_tp.w", "raw_tracepoint.w"):
            from probee.kernel.links import raw_tp

            return raw_tp.attach(fd, target, **options)
        if kind == "tp_btf":
            from probee.kernel.links import tp_btf

            return tp_btf.attach(fd, target, **options)
        if kind == "perf_event":
            from probee.kernel.links import perf_event

            event, frequency, period = perf_event.parse(target)
            chosen = {"event": event, "frequency": frequency, "period": period}
            if options.get("frequency") or options.get("period"):
                chosen.update(frequency=0, period=0)
            return perf_event.attach(fd, **{**chosen, **options})
        if kind in ("uprobe", "uretprobe", "uprobe.s", "uretprobe.s"):
            from probee.kernel.links import uprobe

            binary, symbol = uprobe.split_target(target)
            return uprobe.attach(fd, binary, symbol, returns=kind.startswith("uret"), **options)
        raise AttachError(
            f"program {self.name}: section {self.spec.section!r} is no hook that probee attaches to",
            hook=self.spec.section,
        )

    def test_run(self, data: bytes = b"", ctx: bytes = b"", repeat: int = 1) -> tuple[int, bytes, int]:
        """Run the program once or `repeat` times without a hook (BPF_PROG_TEST_RUN).

        Returns (return value, data as the program left it, nanoseconds per run; 0 where the kernel doesn't
        say). Raises `Unsupported` for kinds of program that the kernel can't run so.
        """
        raw = self.type in (RAW_TRACEPOINT, RAW_TRACEPOINT_WRITABLE)
        try:
            run = self._kernel.prog_test_run(
                self.fd,
                data,
                ctx,
                repeat=0 if raw or self.type == SYSCALL else repeat,
                out_size=len(data) + _TAIL_ROOM if data else 0,
                ctx_out=not raw,
            )
        except OSError as error:
            number = error.errno or 0
            if number in (_ENOTSUPP, errno.EOPNOTSUPP):
                raise Unsupported(
                    f"the kernel can't test-run programs in section {self.spec.section!r}",
                    feature="BPF_PROG_TEST_RUN",
                ) from None
            raise LoadError(f"test run of {self.name} failed: {os.strerror(number)}", errno=number) from error
        return run.retval, run.data, run.duration
