"""What the verifier answers."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.log import Log

ACCEPT, REJECT, UNSUPPORTED = "accept", "reject", "unsupported"


class Verdict:
    """The answer to "will Linux load this program?".

    `verdict` is "accept", "reject" or "unsupported" (something in the program isn't modelled: `message`
    says what). `message` has Linux's words and `index` the instruction it is about (-1: none). `path`
    is the way there from the entry: (instruction, taken) of each conditional branch. `log` is text in
    the form of the kernel's own log, the last path only, made when asked for. `insns_processed`,
    `total_states` and `peak_states` count as the kernel's statistics do; `stack_depth` is each
    subprogram's stack in bytes. `worst_path` is the longest path walked to its end or to where it was pruned,
    in instructions. `probe_loads` are the loads through BTF pointers that may fault.
    """

    __slots__ = (
        "_log",
        "index",
        "insns_processed",
        "kept_log",
        "message",
        "path",
        "peak_states",
        "probe_loads",
        "stack_depth",
        "total_states",
        "verdict",
        "worst_path",
    )

    def __init__(self, verdict: str, message: str = "", index: int = -1) -> None:
        self.verdict = verdict
        self.message = message
        self.index = index
        self.path: list[tuple[int, bool]] = []
        self._log = ""
        self.kept_log: Log | None = None  # what the log is made of
        self.insns_processed = 0
        self.total_states = 0
        self.peak_states = 0
        self.stack_depth: list[int] = []
        self.probe_loads: frozenset[int] = frozenset()
        self.worst_path = 0

    @property
    def log(self) -> str:
        if self.kept_log is not None:
            self._log = self.kept_log.text()
            self.kept_log = None
        return self._log

    @log.setter
    def log(self, text: str) -> None:
        self._log = text
        self.kept_log = None

    @property
    def accepted(self) -> bool:
        return self.verdict == ACCEPT

    def __repr__(self) -> str:
        where = f" at {self.index}" if self.index >= 0 else ""
        return f"Verdict({self.verdict}{where}{': ' + self.message if self.message else ''})"
