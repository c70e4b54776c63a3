"""What a run gave: return values by name, and what helpers did on the way."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import ProbeeError
from .contexts.checksum import Checksum

# UAPI linux/bpf.h and linux/pkt_cls.h, linux/netfilter.h.
XDP = ("ABORTED", "DROP", "PASS", "TX", "REDIRECT")
TC = {-1: "UNSPEC", 0: "OK", 1: "RECLASSIFY", 2: "SHOT", 3: "PIPE", 4: "STOLEN", 5: "QUEUED", 6: "REPEAT"}
TC.update({7: "REDIRECT", 8: "TRAP"})
SK = ("DROP", "PASS")
NETFILTER = ("DROP", "ACCEPT")
LWT = {0: "OK", 2: "DROP", 7: "REDIRECT", 128: "LWT_REROUTE", 129: "FLOW_DISSECTOR_CONTINUE"}


class Result:
    """One run of one program.

    `r0` is the register, unsigned; `retval` is what the kernel takes of it, a signed number. `verdict` is
    that by its name where the program's type has names ("PASS", "SHOT", "ACCEPT"), `decision` "allow" or
    "deny" where it permits something, `errno` the name of the error of a denial ("EPERM"). `facts` is what
    helpers left, as `redirect`. `context` are the fields of the context after the run, for types with such.
    """

    def __init__(self, program: str, r0: int, *, wide: bool = False) -> None:
        self.program = program
        self.r0 = r0
        bits = 64 if wide else 32
        low = r0 & (1 << bits) - 1
        self.retval = low - (1 << bits) if low >> bits - 1 else low
        self.verdict = ""
        self.decision = ""
        self.errno = ""
        self.facts: dict[str, Any] = {}
        self.context: dict[str, Any] = {}
        self.output = b""  # of an iterator; what a syscall program left in its context

    def deny(self, number: int) -> None:
        """Note the decision for an error number, 0 for none."""
        self.decision = "deny" if number else "allow"
        self.errno = errno.errorcode.get(abs(number), str(number)) if number else ""

    def __repr__(self) -> str:
        words = self.verdict or self.decision or str(self.retval)
        return f"<{self.program}: {words}>"


class PacketResult(Result):
    """A run on a packet: `packet` is what it left of it, `meta` the bytes before it.

    `mark`, `priority`, `queue_mapping` and `cb` are an skb's. `redirect` says where the packet goes if it is
    redirected: a dict with `ifindex` or `map` and `key`, and `flags`. `checksum` is what is known of the
    packet's checksum, and whether the checksums in it are right.
    """

    def __init__(self, program: str, r0: int) -> None:
        super().__init__(program, r0)
        self.packet = b""
        self.meta = b""
        self.checksum = Checksum()

    @property
    def redirect(self) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.facts.get("redirect")
        return found

    @property
    def mark(self) -> int:
        return int(self.context.get("mark", 0))

    @property
    def priority(self) -> int:
        return int(self.context.get("priority", 0))

    @property
    def queue_mapping(self) -> int:
        return int(self.context.get("queue_mapping", 0))

    @property
    def cb(self) -> list[int]:
        return list(self.context.get("cb", ()))


class Results(Sequence[Result]):
    """The runs of one event, in the order of the programs. With one program its facts are here as well."""

    def __init__(self, target: str, runs: list[Result]) -> None:
        self.target = target
        self.runs = runs

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            for run in self.runs:
                if run.program == index:
                    return run
            raise KeyError(f"{index} did not run; there ran {', '.join(r.program for r in self.runs)}")
        return self.runs[index]

    def __iter__(self) -> Iterator[Result]:
        return iter(self.runs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if len(self.runs) != 1:
            ran = ", ".join(r.program for r in self.runs) or "none"
            raise ProbeeError(
                f"{name} of which program? {self.target} ran {ran}: take results['NAME'].{name}"
            )
        return getattr(self.runs[0], name)

    @property
    def decision(self) -> str:
        """ "deny" if any of the programs denied, else "allow"; "" if none decides."""
        found = {run.decision for run in self.runs}
        return "deny" if "deny" in found else "allow" if "allow" in found else ""

    def __repr__(self) -> str:
        return f"<{self.target}: {', '.join(map(repr, self.runs))}>"
