"""A log in the form of the kernel's: what is known at each instruction of the last path."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.walk import Pending, Walk


class Log:
    """Lines of text. At level 1 what belongs to finished paths is dropped."""

    def __init__(self, walk: Walk, level: int) -> None:
        self.walk = walk
        self.level = level
        self.lines: list[str] = []

    @property
    def length(self) -> int:
        return len(self.lines)

    def begin(self, subprog: int) -> None:
        """The walk of a function begins."""

    def step(self, previous: int, index: int) -> None:
        """An instruction is about to be looked at."""

    def safe(self, previous: int, index: int) -> None:
        """What comes is known to be safe."""

    def resume(self, item: Pending) -> None:
        """A path that was put aside goes on."""
        if self.level == 1:
            del self.lines[item.logged :]

    def verdict(self, message: str) -> None:
        self.lines.extend(message.split("\n"))

    def text(self) -> str:
        return "\n".join(self.lines)
