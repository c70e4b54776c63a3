"""`Program`: a program the kernel has taken."""

from __future__ import annotations

import os

from probee import sys as kernel_calls
from probee.errors import AttachError, ProbeeError
from probee.kernel.attach_net import NETWORK, NetworkHooks
from probee.kernel.attach_tracing import TRACING, TracingHooks
from probee.kernel.attach_user import USER, UserHooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.kernel.links.base import Link
    from probee.kernel.testrun import RunResult
    from probee.obj.spec import ProgramSpec
    from probee.sys.bpf import ProgInfo


class Program(TracingHooks, UserHooks, NetworkHooks):
    """A loaded program. `spec` is what it was made from, `log` the verifier's log if one was needed.

    `spec` is None for a program that others loaded (`Program.open`); such a one is attached by the typed
    methods `attach_…`, each of which asks what its kind of hook needs. `maps` are the live maps of the object
    it came from, by name.
    """

    __slots__ = ("__weakref__", "_fd", "_info", "_kernel", "_pins", "_spec", "log", "maps", "name", "type")

    def __init__(
        self, fd: int, spec: ProgramSpec | None, log: str = "", *, name: str = "", type: int = 0
    ) -> None:
        self._kernel = kernel_calls.kernel()
        self._fd = fd
        self._info: ProgInfo | None = None
        self._pins: list[str] = []
        self._spec = spec
        self.name = spec.name if spec is not None else name
        self.type = spec.prog_type if spec is not None else type
        self.log = log
        self.maps: dict[str, Any] = {}

    @staticmethod
    def open(path: str | os.PathLike[str] = "", *, id: int | None = None, fd: int | None = None) -> Program:
        """The program pinned at `path`, the one with this `id`, or the one behind `fd`, which is duplicated.

        Raises `AttachError` if there is none, `PermissionDenied`; `id` needs CAP_SYS_ADMIN.
        """
        from probee.kernel.reopen import program

        return program(os.fspath(path), id, fd)

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        section = f" ({self._spec.section})" if self._spec is not None else ""
        return f"<program {self.name}{section}{'' if self._fd >= 0 else ' (closed)'}>"

    @property
    def spec(self) -> ProgramSpec:
        """What the program was made from. Raises `ProbeeError` for one that others loaded."""
        if self._spec is None:
            raise ProbeeError(f"program {self.name} was not loaded from an object here; it has no spec")
        return self._spec

    @property
    def section(self) -> str:
        """The section's name in the object; "" for a program that others loaded."""
        return self._spec.section if self._spec is not None else ""

    @property
    def kind(self) -> str:
        """The kind of section, as `tracepoint` (a key of `probee.isa.sections.SECTIONS`), or ""."""
        return self._spec.section_kind if self._spec is not None else ""

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

    def pin(self, path: str | os.PathLike[str]) -> None:
        """Keep the program in the kernel beyond this process, as a file of a BPF file system (Linux 4.4).

        Raises `AttachError` if the name is taken or is not on a BPF file system.
        """
        from probee.kernel.pinning import pin

        pin(self.fd, os.fspath(path), f"program {self.name}")
        self._pins.append(os.fspath(path))

    def unpin(self) -> None:
        """Take away the pins made through this object, or that it was opened by."""
        from probee.kernel.pinning import unpin

        while self._pins:
            unpin(self._pins.pop())

    def attach(self, target: str = "", **options: Any) -> Link:
        """Attach to the hook of the section name, or to `target` (what follows the `/` in a section name).

        `options` are those of the typed method for the kind of section, as `cookie` and `offset` of
        `attach_kprobe`. Raises `AttachError`, `PermissionDenied`, `Unsupported`.
        """
        kind = self.kind
        method = TRACING.get(kind) or USER.get(kind) or NETWORK.get(kind)
        if method is None:
            what = f"section {self.section!r}" if self._spec is not None else "a program that others loaded"
            raise AttachError(
                f"program {self.name}: {what} names no hook; use one of the methods attach_…",
                hook=self.section,
            )
        attached: Link = getattr(self, method)(target or self.spec.attach_to, **options)
        return attached

    def test_run(
        self,
        data: bytes = b"",
        ctx: bytes = b"",
        repeat: int = 1,
        *,
        cpu: int | None = None,
        flags: int = 0,
        batch_size: int = 0,
        out_size: int | None = None,
    ) -> RunResult:
        """Run the program once or `repeat` times without a hook (BPF_PROG_TEST_RUN).

        `data` is a packet and `ctx` a context, where the kind of program has them. `cpu` runs a raw
        tracepoint's program there; `flags` are BPF_F_TEST_…; `batch_size` is for XDP's live frames. At most
        `out_size` bytes of data come back (default: as many as went in, and 256).

        Returns (return value, data as the program left it, nanoseconds per run; 0 where the kernel doesn't
        say), which also has `.retval`, `.data`, `.duration` and `.ctx`. Raises `Unsupported` for kinds of
        program that the kernel can't run so, `LoadError` for what it refuses.
        """
        from probee.kernel.testrun import run

        return run(self, data, ctx, repeat, cpu, flags, batch_size, out_size)
