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
        self._path = path
        self._file: IO[str] = path.open("a")
        self._outcome: dict[str, tuple[str, str]] = {}

    def collected(self, tests: list[str]) -> None:
        """What will run, in a file of its own: of a run that is cut off, the rest is known by name."""
        _plan(self._path).write_text("".join(f"{test}\n" for test in tests))

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


def _plan(path: Path) -> Path:
    return path.with_name(path.name + ".collected")


@dataclass
class Results:
    """Of one kernel."""

    passed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)  # test -> why
    failed: dict[str, str] = field(default_factory=dict)  # test -> last line of the failure
    unfinished: list[str] = field(default_factory=list)  # what ran when the run ended
    not_run: set[str] = field(default_factory=set)  # what was never begun

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
        if _plan(path).exists():
            out.not_run = set(_plan(path).read_text().splitlines()) - out.known() - set(running)
        return out

    def add(self, other: Results) -> None:
        self.passed += other.passed
        self.skipped |= other.skipped
        self.failed |= other.failed
        self.not_run = other.not_run

    def known(self) -> set[str]:
        return {*self.passed, *self.skipped, *self.failed}
