"""What programs did, instruction by instruction, and memory as it was at each of them.

A `Timeline` looks on while programs run. Each instruction leaves a `Moment`: registers, callers, and the
bytes of memory that change until the next one. Going back puts the old bytes there; nothing runs twice, so
what helpers and Python did to memory in between is undone as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import ProbeeError
from ..machine.code import Code
from ..machine.env import FRAME_SIZE
from ..machine.memory import BASE, Memory
from ..machine.ops import Op
from ..machine.step import Execution, Frame, Hooks
from .past import Entries

LIMIT = 200_000  # moments that are kept: the oldest go first
_CHUNK = 4096


class Change:
    """Bytes of memory before and after; `offset` is from the start of memory."""

    __slots__ = ("new", "offset", "old")

    def __init__(self, offset: int, old: bytes, new: bytes) -> None:
        self.offset = offset
        self.old = old
        self.new = new


class Moment:
    """Before an instruction. `caller` is the moment of the call that led here, None in a program's main
    function; `event` counts runs of programs; `changes` is what happens to memory until the next moment.
    """

    __slots__ = (
        "caller",
        "changes",
        "code",
        "cpu",
        "depth",
        "entered",
        "entries",
        "event",
        "frame",
        "pc",
        "registers",
    )

    def __init__(
        self,
        code: Code,
        pc: int,
        registers: Sequence[int],
        caller: Moment | None,
        event: int,
        cpu: int,
        entered: bool,
        frame: Frame,
    ) -> None:
        self.code = code
        self.pc = pc
        self.registers = tuple(registers)
        self.caller = caller
        self.depth: int = 0 if caller is None else caller.depth + 1
        self.event = event
        self.cpu = cpu
        self.entered = entered  # the first instruction of a function
        self.frame = frame
        self.changes: list[Change] = []
        self.entries: Entries = {}


class Timeline(Hooks):
    """Records, and asks `reached` at each new moment. `at` is the moment that is looked at."""

    def __init__(
        self, memory: Memory, reached: Callable[[Moment], None], entries: Callable[[], Entries]
    ) -> None:
        self.memory = memory
        self._look = entries
        self._entries: Entries = {}
        self.reached = reached
        self.moments: list[Moment] = []
        self.at = -1
        self.event = 0
        self.dropped = 0
        self.results: dict[int, int] = {}  # r0 of events that are over
        self._copy = bytearray()
        self._stale = True  # memory may have changed otherwise than by stores
        self._entered = False
        self._moved = False  # whether another moment was looked at
        self._last: dict[Frame, Moment] = {}  # in each function that runs
        self._first: dict[Frame, Moment] = {}  # the first in each function that ran
        # stores of a function to its own stack: address -> number of the moment after
        self._stores: dict[Frame, dict[int, int]] = {}

    # ---- looking on

    def before(self, execution: Execution) -> None:
        frame = execution.frames[-1]
        if self._stale:
            self._catch_up()
        outermost = len(execution.frames) == 1 and execution.outer is None
        caller = None if outermost else self._caller(execution)
        moment = Moment(
            frame.code,
            frame.pc,
            frame.registers,
            caller,
            self.event,
            execution.cpu.number,
            self._entered,
            frame,
        )
        self._entered = False
        moment.entries = self._entries
        if moment.entered:
            self._first[frame] = moment
            self._stores[frame] = {}
        self._last[frame] = moment
        if len(self.moments) >= LIMIT:
            gone = LIMIT // 4
            for ended in {old.frame for old in self.moments[:gone]} - self._last.keys():
                self._first.pop(ended, None)
                self._stores.pop(ended, None)
            del self.moments[:gone]
            self.dropped += gone
        self.moments.append(moment)
        self.at = len(self.moments) - 1
        self._moved = False
        self.reached(moment)
        if self._moved:
            self.to_end()

    def storing(self, execution: Execution, address: int, size: int, value: int) -> None:
        self._note_store(execution.frame, address)
        if self._stale or not self.memory.permits(address, size, write=True):
            self._stale = True
            return
        self._note(address - BASE, (value & (1 << 8 * size) - 1).to_bytes(size, "little"))

    def calling(self, execution: Execution, op: Op, arguments: Sequence[int]) -> int | None:
        self._catch_up()
        self._stale = True
        for argument in arguments:
            self._note_store(execution.frame, argument)  # it may write there
        return None

    def called(self, execution: Execution, op: Op, result: int) -> None:
        self._stale = True

    def entered(self, execution: Execution) -> None:
        self._stale = self._entered = True  # its stack frame was cleared
        outermost = len(execution.frames) == 1 and execution.outer is None
        if outermost and not execution.cpu.tail_calls:
            self.event += 1

    def left(self, execution: Execution, result: int) -> None:
        self._last.pop(execution.frame, None)
        if len(execution.frames) == 1 and execution.outer is None:
            self.results[self.event] = result
            self._last.clear()
            self._stale = True  # Python goes on, and may change anything

    def _caller(self, execution: Execution) -> Moment | None:
        if len(execution.frames) > 1:
            return self._last.get(execution.frames[-2])
        outer = execution.outer
        return None if outer is None else self._last.get(outer.frame)

    def _note_store(self, frame: Frame, address: int) -> None:
        top = frame.registers[10]
        if top - FRAME_SIZE <= address < top and frame in self._stores:
            self._stores[frame].setdefault(address, self.dropped + len(self.moments))

    def stored(self, moment: Moment, address: int, size: int) -> bool:
        """Whether something was stored there, in the stack frame of the function of the moment, before it."""
        stores = self._stores.get(moment.frame)
        if stores is None:
            return True
        now = self.dropped + self._number(moment)
        return any(address <= at < address + size and when <= now for at, when in stores.items())

    def _number(self, moment: Moment) -> int:
        if self.moments[self.at] is moment:
            return self.at
        return next((i for i in range(self.at, -1, -1) if self.moments[i] is moment), self.at)

    def _note(self, offset: int, new: bytes) -> None:
        old = bytes(self._copy[offset : offset + len(new)])
        if old != new and self.moments:
            self.moments[-1].changes.append(Change(offset, old, new))
        self._copy[offset : offset + len(new)] = new

    def _catch_up(self) -> None:
        """Find what changed since memory was looked at last."""
        if not self._stale:
            return
        self._stale = False
        self._entries = self._look()
        buffer = self.memory.buffer
        extent = self.memory.extent
        if len(self._copy) < extent:
            self._copy += bytes(extent - len(self._copy))  # memory that was never used is zero
        now = bytes(buffer[:extent])
        if now == self._copy:
            return
        for start in range(0, extent, _CHUNK):
            new, old = now[start : start + _CHUNK], self._copy[start : start + _CHUNK]
            if new != old:
                differ = [i for i in range(len(new)) if new[i] != old[i]]
                first, last = differ[0], differ[-1] + 1
                self._note(start + first, new[first:last])

    def entry_of(self, moment: Moment) -> Moment | None:
        """The first moment of the function that a moment is in, None if that is no longer kept."""
        return self._first.get(moment.frame)

    def changed(self) -> None:
        """Memory or registers were changed by hand: note it, at the last moment."""
        self._stale = True
        if self.moments:
            last = self.moments[-1]
            last.registers = tuple(last.frame.registers)

    # ---- moving

    @property
    def moment(self) -> Moment:
        """The moment looked at. Raises ProbeeError if nothing ran yet."""
        if not self.moments:
            raise ProbeeError("no program has run yet")
        return self.moments[self.at]

    @property
    def live(self) -> bool:
        """Whether this is the last moment, from which programs run on."""
        return self.at == len(self.moments) - 1

    def go(self, index: int) -> None:
        """Look at another moment: memory becomes what it was then."""
        self._moved = True
        if self.live and index != self.at:
            self._catch_up()
            self._undo(self.at)  # what happened after the last moment
        while self.at > index:
            self.at -= 1
            self._undo(self.at)
        while self.at < index:
            self._redo(self.at)
            self.at += 1

    def to_end(self) -> None:
        """Look at the present again, with what happened after the last moment."""
        if self.moments and not self.live:
            self.go(len(self.moments) - 1)
        if self.moments:
            self._redo(self.at)

    def _undo(self, index: int) -> None:
        for change in reversed(self.moments[index].changes):
            self._put(change.offset, change.old)

    def _redo(self, index: int) -> None:
        for change in self.moments[index].changes:
            self._put(change.offset, change.new)

    def _put(self, offset: int, data: bytes) -> None:
        self.memory.buffer[offset : offset + len(data)] = data

    def back_from(self, index: int) -> Iterator[int]:
        """The numbers of the moments before one, the latest first."""
        return iter(range(index - 1, -1, -1))

    def forward_from(self, index: int) -> Iterator[int]:
        """The numbers of the moments after one that are known."""
        return iter(range(index + 1, len(self.moments)))
