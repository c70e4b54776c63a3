"""One test, two places: programs in the machine, and the same programs in the running kernel."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from ..errors import PermissionDenied, Unsupported
from ..lang.decl import programs_in
from ..machine.results import SK, TC, XDP

_SOCKET_FILTER, _SCHED_CLS, _SCHED_ACT, _XDP, _CGROUP_SKB, _SK_LOOKUP = 1, 3, 4, 6, 8, 30


class Outcome:
    """What one run of a program gave: `retval` (signed), `verdict` (its name, "" without one), `packet` as it
    was left. Outcomes compare by these three.
    """

    def __init__(self, retval: int, verdict: str, packet: bytes) -> None:
        self.retval = retval
        self.verdict = verdict
        self.packet = packet

    def _key(self) -> tuple[int, str, bytes]:
        return self.retval, self.verdict, self.packet

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Outcome) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        packet = f", {len(self.packet)} bytes: {self.packet.hex()}" if self.packet else ""
        return f"<{self.verdict or self.retval}{packet}>"


class Target:
    """Where a test's programs run: `where` is "machine" or "kernel", `session` the `bp.Machine` or the
    `bp.Session`. Declared maps and globals stand for its own; other names are the session's.
    """

    def __init__(self, where: str, session: Any) -> None:
        self.where = where
        self.session = session

    def run(self, program: Any, packet: bytes = b"", *, args: tuple[int, ...] = ()) -> Outcome:
        """Run one program, on a packet or on the arguments of a raw tracepoint, without its hook.

        In the kernel that is BPF_PROG_TEST_RUN. Raises Unsupported for programs that it can't run so.
        """
        name = program if isinstance(program, str) else program.name
        if self.where == "machine":
            inputs: tuple[Any, ...] = (packet,) if packet else args
            ran = self.session.fire(self.session.programs[name], *inputs)[0]
            return Outcome(ran.retval, ran.verdict, getattr(ran, "packet", b""))
        live = self.session.programs[name]
        ctx = struct.pack(f"<{len(args)}Q", *(a & (1 << 64) - 1 for a in args))
        done = live.test_run(packet, ctx)
        retval = done.retval - (1 << 32) if done.retval >> 31 else done.retval
        return Outcome(retval, _verdict(live.type, retval), done.data if packet else b"")

    def event(
        self, *, machine: Callable[[Any], object] | None = None, kernel: Callable[[], object] | None = None
    ) -> None:
        """Make an event: `machine` is called with the machine and fires it, `kernel` does what causes it."""
        if self.where == "machine":
            if machine is not None:
                machine(self.session)
        elif kernel is not None:
            kernel()

    def read(self, buffer: Any, count: int = 0, timeout: float = 2.0) -> list[Any]:
        """The records of a ring buffer that are there; waits up to `timeout` seconds until there are
        `count`.
        """
        live = self.session.maps[buffer if isinstance(buffer, str) else buffer.name]
        records: list[Any] = live.consume()
        end = time.monotonic() + (timeout if self.where == "kernel" else 0)
        while len(records) < count and time.monotonic() < end:
            time.sleep(0.005)
            records += live.consume()
        return records

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.session, name)

    def __repr__(self) -> str:
        return f"<target {self.where}>"


def _verdict(type: int, retval: int) -> str:
    if type == _XDP:
        return XDP[retval] if 0 <= retval < len(XDP) else ""
    if type in (_SCHED_CLS, _SCHED_ACT):
        return TC.get(retval, "")
    if type == _SK_LOOKUP:
        return SK[retval] if 0 <= retval < len(SK) else ""
    return ""


def find_programs(namespace: dict[str, Any]) -> list[Any]:
    """The programs a test module is about: those declared in it or imported into it; if there are none,
    those of the modules it imports. Empty if there are none either.
    """
    own: list[Any] = list(programs_in(namespace))
    if own:
        return own
    modules = [value for value in namespace.values() if isinstance(value, ModuleType)]
    modules = [m for m in modules if m.__name__.partition(".")[0] != "probee" or ".tools." in m.__name__]
    return [m for m in dict.fromkeys(modules) if programs_in(vars(m))]


class NotHere(Exception):
    """The kernel can't be used; the message names the privilege or the feature that is missing."""


@contextmanager
def in_kernel(what: tuple[Any, ...]) -> Iterator[Any]:
    """A session with the programs attached. Raises NotHere where the privilege or the feature is missing."""
    if sys.platform != "linux":
        raise NotHere(f"needs a Linux kernel; this is {sys.platform}")
    from ..session import attach
    from ..sys import caps

    lacking = caps.missing(caps.CAP_BPF, caps.CAP_PERFMON)
    if lacking:
        raise NotHere(f"needs {' and '.join(lacking)} to load programs (run as root)")
    try:
        session = attach(*what, catch_interrupt=False)
    except PermissionDenied as error:
        missing = f"needs {error.capability}: " if error.capability else f"refused by {error.reason}: "
        raise NotHere(f"{missing}{error}") from None
    except Unsupported as error:
        raise NotHere(f"this kernel lacks {error.feature or 'a feature'}: {error}") from None
    with session:
        yield session


@contextmanager
def in_machine(what: tuple[Any, ...], options: dict[str, Any]) -> Iterator[Any]:
    """A machine with the programs."""
    from ..machine_target import Machine

    with Machine(*what, **options) as machine:
        yield machine


__all__ = ["NotHere", "Outcome", "Target", "find_programs", "in_kernel", "in_machine"]
