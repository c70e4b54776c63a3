"""The debugger: looks on while a machine's programs run, stops where asked, goes forward and back."""

from __future__ import annotations

from bdb import BdbQuit
from collections.abc import Callable

from ..errors import ProbeeError
from ..machine.machine import Machine
from .hooks import add, remove
from .names import Names
from .past import entries
from .places import Places
from .stops import Breakpoint, Step, Stops, Watch
from .timeline import Moment, Timeline
from .variables import Variables


class Quit(BdbQuit):
    """The user wants no more of it. Passes through programs and whatever started them."""


class Debugger:
    """Debugs the programs of one machine. `talk` is called at each stop, with a line that says why; it moves
    with `step`, `back` and `resume`, and returns to let the programs run on.
    """

    def __init__(self, machine: Machine, talk: Callable[[Debugger, str], None] | None = None) -> None:
        self.machine = machine
        self.talk = talk
        self.places = Places(machine)
        self.timeline = Timeline(machine.memory, self._reached, lambda: entries(machine))
        self.variables = Variables(machine, self.places, self.timeline)
        self.stops = Stops(self.timeline, self.places, self.names)
        self._plan: Step | None = None
        self._paused = ""  # why the plan is to stop at once
        for cpu in machine.cpus:
            add(cpu, self.timeline)

    def close(self) -> None:
        """Let the machine run as it did before."""
        for cpu in self.machine.cpus:
            remove(cpu, self.timeline)

    def names(self, moment: Moment) -> Names:
        """What names mean at a moment."""
        return Names(
            self.machine,
            self.places,
            self.variables,
            moment,
            past=not self.timeline.live,
            entry=self.timeline.entry_of(moment),
        )

    @property
    def moment(self) -> Moment:
        """The moment that is looked at."""
        return self.timeline.moment

    # ---- breakpoints

    def stop_at(self, where: str, condition: str = "", *, once: bool = False) -> Breakpoint:
        """A breakpoint at a line ("12", "file.py:12"), a function, or an instruction ("*5", "program*5").

        Raises ProbeeError if there is no such place.
        """
        number = self.stops.number()
        name, star, index = where.partition("*")
        if star:
            point = self._instruction(number, name, index, condition, once)
        elif where.rpartition(":")[2].isdigit():
            near = self.stops.place(self.moment).file if self.timeline.moments else ""
            line = self.places.find_line(where, near)
            point = Breakpoint(number, str(line), line=line, condition=condition, once=once)
        else:
            point = self._function(number, where, condition, once)
        self.stops.breakpoints[number] = point
        return point

    def _function(self, number: int, name: str, condition: str, once: bool) -> Breakpoint:
        found = [f for f in self.places.functions() if f[0] == name]
        if found:
            _, code, pc = found[0]
            only = code if len(found) == 1 else None
            return Breakpoint(number, name, code=only, pc=pc, entry=True, condition=condition, once=once)
        inlined = frozenset(self.variables.inlined_at(name))
        if inlined:
            return Breakpoint(number, f"{name} (inlined)", inlined=inlined, condition=condition, once=once)
        known = ", ".join(dict.fromkeys(f[0] for f in self.places.functions()))
        raise ProbeeError(f"there is no function {name}; there are {known}")

    def _instruction(self, number: int, name: str, index: str, condition: str, once: bool) -> Breakpoint:
        programs = {p.name: p for p in self.places.programs()}
        if name and name not in programs:
            raise ProbeeError(f"there is no program {name}; there are {', '.join(programs)}")
        code = programs[name].code if name else self.moment.code if self.timeline.moments else None
        if not index.isdigit() or (code is not None and int(index) not in code.ops):
            raise ProbeeError(f"there is no instruction {index or '?'}; write *5 or PROGRAM*5")
        what = f"{code.name if code else ''}*{index}"
        return Breakpoint(number, what, code=code, pc=int(index), condition=condition, once=once)

    def watch(self, expression: str) -> Watch:
        """Stop when the value of an expression changes."""
        return self.stops.watch(expression, self.moment if self.timeline.moments else None)

    # ---- running; all of these return why they stopped, None to let programs run on

    def step(self, kind: str = "line", *, over: bool = False) -> str | None:
        """Go forward by a line, an instruction, or "out" of the function."""
        start = self.moment if self.timeline.moments else None
        return self._forward(Step(self.stops, start, kind, over=over))

    def resume(self) -> str | None:
        """Go forward to the next breakpoint or change of something watched."""
        return self._forward(None)

    def _forward(self, plan: Step | None) -> str | None:
        timeline = self.timeline
        for index in timeline.forward_from(timeline.at):
            timeline.go(index)
            why = self._why(plan, index)
            if why is not None:
                return why
        self._plan = plan
        return None

    def back(self, kind: str = "line", *, over: bool = False) -> str:
        """Go back by a line, an instruction, or to the call of the function ("out")."""
        timeline = self.timeline
        start = self.moment
        if kind == "out":
            if start.caller is not None and start.caller in timeline.moments:
                timeline.go(timeline.moments.index(start.caller))
                return "back at the call"
            while timeline.at and timeline.moments[timeline.at - 1].event == start.event:
                timeline.go(timeline.at - 1)
            return "back at the start of the program"
        plan = Step(self.stops, start, kind, over=over)
        middle = kind == "line" and not self.stops.begins_line(timeline.at)
        for index in timeline.back_from(timeline.at):
            timeline.go(index)
            if middle and timeline.moments[index].frame is start.frame:
                if self.stops.begins_line(index):
                    return "back at the start of the line"
            elif plan.ends(index):
                self._to_start_of_line(kind)
                return "back"
        return self._at_first()

    def back_to_stop(self) -> str:
        """Go back to a breakpoint, or to where something watched changed."""
        timeline = self.timeline
        self.stops.note_watches(self.moment)
        for index in timeline.back_from(timeline.at):
            timeline.go(index)
            point = self.stops.hit(index)
            if point is not None:
                return f"back at breakpoint {point}"
            changed = self.stops.watched(self.moment)
            if changed is not None:
                watch, after, before = changed
                return f"back before {watch.expression} changed from {before!r} to {after!r}"
        return self._at_first()

    def _at_first(self) -> str:
        lost = self.timeline.dropped
        return f"nothing earlier is kept: {lost} instructions came before" if lost else "this is the start"

    def _to_start_of_line(self, kind: str) -> None:
        timeline = self.timeline
        if kind != "line":
            return
        frame, line = self.moment.frame, self.stops.place(self.moment)
        while timeline.at and not self.stops.begins_line(timeline.at):
            earlier = timeline.moments[timeline.at - 1]
            if earlier.frame is not frame or self.stops.place(earlier) != line:
                break
            timeline.go(timeline.at - 1)

    # ---- stopping

    def pause(self, why: str = "") -> None:
        """Stop at the next instruction of any program, and say why."""
        self._plan = Step(self.stops, None, "instruction")
        self._paused = why

    def _why(self, plan: Step | None, index: int) -> str | None:
        moment = self.timeline.moments[index]
        point = self.stops.hit(index)
        if point is not None:
            point.hits += 1
            if point.once:
                del self.stops.breakpoints[point.number]
            return f"breakpoint {point}"
        if self.stops.watches and (not index or self.timeline.moments[index - 1].changes):
            changed = self.stops.watched(moment)
            if changed is not None:
                watch, before, now = changed
                return f"{watch.expression} changed from {before!r} to {now!r}"
        if plan is not None and plan.ends(index):
            if plan.start is None and self._paused:
                why, self._paused = self._paused, ""
                return why
            if plan.start is not None and plan.start.event != moment.event:
                ended = self._ended(plan.start.event)
                return f"{ended}; the next event" if ended else "the next event"
            return ""
        return None

    def _ended(self, event: int) -> str:
        result = self.timeline.results.get(event)
        return "" if result is None else f"the program returned {_signed(result)}"

    def _reached(self, moment: Moment) -> None:
        stops = self.stops
        if self._plan is None and not stops.watches and moment.pc not in stops.spots(moment.code):
            return
        why = self._why(self._plan, self.timeline.at)
        if why is None or self.talk is None:
            return
        self._plan = None
        self.talk(self, why)

    def post_mortem(self, why: str) -> None:
        """Talk about what ran last, after it ended."""
        if self.talk is None or not self.timeline.moments:
            return
        self._plan = None
        self.talk(self, why)


def _signed(value: int) -> int:
    low = value & 0xFFFF_FFFF
    return low - (1 << 32) if low >> 31 else low


__all__ = ["Debugger", "Quit"]
