"""Where to stop: breakpoints, watched expressions, and the ways of stepping."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..errors import ProbeeError
from ..machine.code import Code
from .names import Names
from .places import NOWHERE, Line, Places
from .timeline import Moment, Timeline

_UNKNOWN: Any = object()


class Breakpoint:
    """A place to stop at, if `condition` (an expression) holds there; `once` takes it away then.

    `line`, or `code` with `pc` and the name of the place as `what`; `entry` is at the start of a function,
    `inlined` are the places where one was inlined.
    """

    def __init__(
        self,
        number: int,
        what: str,
        *,
        line: Line | None = None,
        code: Code | None = None,
        pc: int = -1,
        entry: bool = False,
        inlined: frozenset[tuple[Code, int]] = frozenset(),
        condition: str = "",
        once: bool = False,
    ) -> None:
        self.number = number
        self.what = what
        self.line = line
        self.code = code
        self.pc = pc
        self.entry = entry
        self.inlined = inlined
        self.condition = condition
        self.once = once
        self.enabled = True
        self.hits = 0

    def __str__(self) -> str:
        words = [f"{self.number}: {self.what}"]
        if self.condition:
            words.append(f"if {self.condition}")
        if not self.enabled:
            words.append("(disabled)")
        if self.hits:
            words.append(f"(hit {self.hits} time{'s' * (self.hits != 1)})")
        return " ".join(words)


class Watch:
    """An expression whose value is compared after each change of memory. One with local variables is about
    the runs of one `function`: its code and first instruction.
    """

    def __init__(self, number: int, expression: str, function: tuple[Code, int] | None = None) -> None:
        self.number = number
        self.expression = expression
        self.function = function
        self.value: Any = _UNKNOWN

    def __str__(self) -> str:
        return f"{self.number}: watch {self.expression}"


class _Breakpoints(dict[int, Breakpoint]):
    """Breakpoints by number; `stops` forgets what it knows of them when there are others."""

    def __init__(self, stops: Stops) -> None:
        super().__init__()
        self.stops = stops

    def __setitem__(self, number: int, point: Breakpoint) -> None:
        super().__setitem__(number, point)
        self.stops._spots.clear()

    def __delitem__(self, number: int) -> None:
        super().__delitem__(number)
        self.stops._spots.clear()


class Stops:
    """All breakpoints and watches of a debugger, and what ends a step."""

    def __init__(self, timeline: Timeline, places: Places, names: Callable[[Moment], Names]) -> None:
        self.timeline = timeline
        self.places = places
        self.names = names
        self.breakpoints: dict[int, Breakpoint] = _Breakpoints(self)
        self._spots: dict[Code, set[int]] = {}
        self.watches: dict[int, Watch] = {}
        self.complaint = ""  # of a condition that can't be evaluated

    def number(self) -> int:
        """The next number for a breakpoint or a watch."""
        return max([0, *self.breakpoints, *self.watches]) + 1

    def spots(self, code: Code) -> set[int]:
        """The instructions of some code that a breakpoint may be about."""
        found = self._spots.get(code)
        if found is None:
            found = self._spots[code] = set()
            for point in self.breakpoints.values():
                if point.line is not None:
                    found |= {pc for pc in code.ops if self.places.line(code, pc) == point.line}
                elif point.inlined:
                    found |= {pc for where, pc in point.inlined if where is code}
                else:
                    found.add(point.pc)
        return found

    def place(self, moment: Moment) -> Line:
        """The source line of a moment."""
        return self.places.line(moment.code, moment.pc)

    def before(self, index: int) -> Moment | None:
        """The moment before the given one in the same function's run, None at its start."""
        moment = self.timeline.moments[index]
        for at in self.timeline.back_from(index):
            earlier = self.timeline.moments[at]
            if earlier.event != moment.event or earlier.depth < moment.depth:
                return None
            if earlier.frame is moment.frame and not self.jumps(earlier):
                return earlier
        return None

    def jumps(self, moment: Moment) -> bool:
        """Whether nothing is done but to go elsewhere: the compiler puts such jumps behind other lines."""
        return moment.code.ops[moment.pc].kind == "ja"

    def begins_line(self, index: int) -> bool:
        """Whether a line is entered here: from another line, or again by a jump back."""
        moment = self.timeline.moments[index]
        line = self.place(moment)
        if line == NOWHERE or self.jumps(moment):
            return False
        earlier = self.before(index)
        return earlier is None or self.place(earlier) != line or earlier.pc > moment.pc

    def hit(self, index: int) -> Breakpoint | None:
        """The breakpoint that stops at a moment."""
        moment = self.timeline.moments[index]
        if moment.pc not in self.spots(moment.code):
            return None
        for point in list(self.breakpoints.values()):
            if not point.enabled or not self._at(point, moment, index):
                continue
            if point.condition and not self._holds(point, moment):
                continue
            return point
        return None

    def _at(self, point: Breakpoint, moment: Moment, index: int) -> bool:
        if point.line is not None:
            return self.place(moment) == point.line and self.begins_line(index)
        if point.inlined:
            return (moment.code, moment.pc) in point.inlined
        if moment.pc != point.pc or (point.code is not None and moment.code is not point.code):
            return False
        return moment.entered or not point.entry

    def _holds(self, point: Breakpoint, moment: Moment) -> bool:
        try:
            return bool(self.names(moment).evaluate(point.condition))
        except ProbeeError as error:
            self.complaint = f"breakpoint {point.number}: {error}"
            return True

    def _function(self, moment: Moment) -> tuple[Code, int]:
        return moment.code, self.places.start(moment.code, moment.pc)[0]

    def watch(self, expression: str, moment: Moment | None) -> Watch:
        """Watch an expression from a moment on. Raises ProbeeError if it can't be evaluated there."""
        watch = Watch(self.number(), expression)
        if moment is not None:
            names = self.names(moment)
            value = names.evaluate(expression)
            if names.known.declared(moment).keys() & names_in(expression):
                watch.function = self._function(moment)
            watch.value = dict(value.items()) if hasattr(value, "items") else value
        self.watches[watch.number] = watch
        return watch

    def note_watches(self, moment: Moment) -> None:
        """Take the watched values as they are now."""
        for watch in self.watches.values():
            watch.value = self.value(watch, moment)

    def watched(self, moment: Moment) -> tuple[Watch, Any, Any] | None:
        """The watch whose value changed, with the value before and now."""
        for watch in self.watches.values():
            now = self.value(watch, moment)
            if now != watch.value:
                before, watch.value = watch.value, now
                return watch, before, now
        return None

    def value(self, watch: Watch, moment: Moment) -> Any:
        """What is watched, at a moment; of local variables the last value, where they have none."""
        place: Moment | None = moment
        while watch.function is not None and place is not None and self._function(place) != watch.function:
            place = place.caller
        if place is None:
            return watch.value
        try:
            value = self.names(place).evaluate(watch.expression)
        except ProbeeError:
            return None if watch.function is None else watch.value  # a missing entry; not assigned yet
        if hasattr(value, "items"):
            return dict(value.items())
        return value


def names_in(expression: str) -> set[str]:
    """The names that an expression uses."""
    return set(re.findall(r"[A-Za-z_]\w*", expression))


class Step:
    """A way of stepping, from `start`: whether to stop at another moment, before or after it.

    `kind` is "line" or "instruction"; `over` stays in the function and its callers, `out` goes to the caller.
    """

    def __init__(self, stops: Stops, start: Moment | None, kind: str, *, over: bool = False) -> None:
        self.stops = stops
        self.start = start
        self.kind = kind
        self.over = over

    def ends(self, index: int) -> bool:
        """Whether the step is over at this moment."""
        moment = self.stops.timeline.moments[index]
        start = self.start
        if start is None or moment.event != start.event:
            return self.kind != "line" or self.stops.place(moment) != NOWHERE or moment.depth == 0
        if self.kind == "out":
            return moment.depth < start.depth
        if self.over and moment.depth > start.depth:
            return False
        if self.kind == "instruction":
            return True
        line = self.stops.place(moment)
        if line == NOWHERE or self.stops.jumps(moment):
            return False
        if moment.frame is not start.frame:
            return moment.depth != start.depth or self.stops.begins_line(index)
        return line != self.stops.place(start) or (self.stops.begins_line(index) and moment.pc < start.pc)
