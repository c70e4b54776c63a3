"""The way to a refusal: the branches on it, from a verdict of ours or from the kernel's log."""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.explain_reading import Place

_FROM = re.compile(r"^from (\d{1,7}) to (\d{1,7})\b")
_BRANCH = re.compile(r"^(?:may_goto |if ).*goto |^may_goto ")
_SHOWN_FIRST, _SHOWN_LAST = 5, 15


class Step:
    """A conditional branch on the way: its source line, which way it went, how many times in a row."""

    __slots__ = ("insn", "place", "taken", "text", "times")

    def __init__(self, insn: int, taken: bool, place: Place | None, text: str) -> None:
        self.insn = insn
        self.taken = taken
        self.place = place
        self.text = text
        self.times = 1

    def as_json(self) -> dict[str, object]:
        """The step for --json; `line` 0 where no source is known."""
        return {
            "insn": self.insn,
            "taken": self.taken,
            "times": self.times,
            "file": self.place.file if self.place else "",
            "line": self.place.line if self.place else 0,
            "source": self.place.source if self.place else "",
        }


class Trail:
    """The instructions of the way that a log follows, in their order.

    The verifier walks one way at a time, and goes back to the branch that it left last ("from 2 to 5: …"):
    what came after that branch is no part of the next way.
    """

    __slots__ = ("_left", "_walked")

    def __init__(self) -> None:
        self._walked: list[tuple[int, str, Place | None]] = []
        self._left: list[bool] = []  # of each, whether its other side has been taken up already

    def walk(self, insn: int, text: str, place: Place | None) -> None:
        self._walked.append((insn, text, place))
        self._left.append(False)

    def read(self, line: str) -> None:
        """A line that may take up another way."""
        found = _FROM.match(line)
        if not found:
            return
        branch = int(found[1])
        for at in range(len(self._walked) - 1, -1, -1):
            if self._walked[at][0] == branch and not self._left[at]:
                del self._walked[at + 1 :], self._left[at + 1 :]
                self._left[at] = True
                return

    def steps(self) -> list[Step]:
        """The branches on the way, each with the side it went to."""
        found = []
        for (insn, text, place), (after, _, _) in zip(self._walked, self._walked[1:], strict=False):
            if _BRANCH.match(text):
                found.append(Step(insn, after != insn + 1, place, text))
        return found


def _line(step: Step) -> tuple[int, str]:
    return (step.place.line, step.place.source) if step.place else (0, "")


def shortened(steps: list[Step]) -> list[Step]:
    """Of branches of one line in a row, the last; of long ways, the beginning and the end."""
    kept: list[Step] = []
    for step in steps:
        same = kept and _line(kept[-1]) == _line(step) != (0, "")
        if same and kept[-1].insn == step.insn and kept[-1].taken == step.taken:
            kept[-1].times += 1
        elif same and kept[-1].insn != step.insn:
            kept[-1] = step
        else:
            kept.append(step)
    if len(kept) <= _SHOWN_FIRST + _SHOWN_LAST:
        return kept
    return kept[:_SHOWN_FIRST] + kept[-_SHOWN_LAST:]
