"""What became of each test of a run, line by line in a file, so that it is known even when the machine dies.

`tests/conftest.py` writes it for `pytest --results FILE`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO


class Recorder:
    """Writes a line when a test starts and one when it ends."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a")
        self._outcome: dict[str, tuple[str, str]] = {}

    def start(self, test: str) -> None:
        self._outcome[test] = ("passed", "")
        self._line({"test": test, "outcome": "started"})

    def phase(self, test: str, outcome: str, reason: str) -> None:
        """Setup, call or teardown ended; the worst of the three counts."""
        if outcome == "failed" or (outcome == "skipped" and self._outcome[test][0] != "failed"):
            self._outcome[test] = (outcome, reason)

    def finish(self, test: str) -> None:
        outcome, reason = self._outcome.pop(test)
        self._line({"test": test, "outcome": outcome, "reason": reason})

    def _line(self, record: dict[str, str]) -> None:
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()


@dataclass
class Results:
    """Of one kernel."""

    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # test -> why
    failed: dict[str, str] = field(default_factory=dict)  # test -> last line of the failure
    unfinished: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Results:
        """Raises OSError if the run never began."""
        out = cls()
        running: dict[str, None] = {}
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # cut off when the machine died
                continue
            test, outcome = record["test"], record["outcome"]
            if outcome == "started":
                running[test] = None
                continue
            running.pop(test, None)
            if outcome == "passed":
                out.passed.append(test)
            else:
                (out.skipped if outcome == "skipped" else out.failed)[test] = record["reason"]
        out.unfinished = list(running)
        return out

    def add(self, other: Results) -> None:
        self.passed += other.passed
        self.skipped |= other.skipped
        self.failed |= other.failed

    def known(self) -> set[str]:
        return {*self.passed, *self.skipped, *self.failed}
