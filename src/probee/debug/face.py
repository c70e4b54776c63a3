"""The debugger's plain face: a prompt with completion and help, or commands from a string or a pipe."""

from __future__ import annotations

import cmd
import sys
from collections.abc import Iterable
from typing import IO, Any

from ..errors import ProbeeError
from ..isa.disasm import disassemble_insns
from . import interrupts, values
from .debugger import Debugger, Quit
from .names import Names
from .places import NOWHERE
from .timeline import Moment
from .views import Gone

_AROUND = 5  # source lines and instructions shown before and after the one that matters
_ALIASES = {
    "s": "step",
    "n": "next",
    "o": "out",
    "finish": "out",
    "c": "continue",
    "si": "stepi",
    "ni": "nexti",
    "rs": "backstep",
    "rn": "back",
    "ro": "backout",
    "rc": "backcontinue",
    "rsi": "backi",
    "reverse-step": "backstep",
    "reverse-next": "back",
    "b": "break",
    "tb": "tbreak",
    "cond": "condition",
    "d": "delete",
    "i": "info",
    "p": "print",
    "l": "list",
    "bt": "where",
    "w": "where",
    "regs": "registers",
    "locals": "vars",
    "h": "help",
    "q": "quit",
    "exit": "quit",
    "EOF": "quit",
}
_MOVES = {"step", "next", "out", "stepi", "nexti", "continue", "back", "backstep", "backi", "backcontinue"}
_MOVES |= {word for word, command in _ALIASES.items() if command in _MOVES}
_CHAPTERS = {
    "to go on": "step next out continue stepi nexti",
    "to go back": "backstep back backout backcontinue backi",
    "to stop": "break tbreak watch condition info disable enable delete",
    "to look": "print vars ctx packet maps where up down list registers stack disasm x",
    "to change and to leave": "set help quit",
}
_HINTS = """\
Anything else is an expression to print: `task.comm`, `runs[7]`, `total * 2`, in C `event->pid` and `*event`.
Commands may stand in a row with `;`. An empty line repeats the last step. Ctrl-C stops programs that run."""


class Face(cmd.Cmd):
    """Talks with a user. `script` are commands that come before those of the user (`;` between them)."""

    prompt = "(probee) "

    def __init__(
        self,
        script: Iterable[str] = (),
        *,
        stdin: IO[str] | None = None,
        stdout: IO[str] | None = None,
    ) -> None:
        super().__init__(stdin=stdin, stdout=stdout)
        self.waiting = [part.strip() for text in script for part in text.split(";") if part.strip()]
        self._given = stdin, stdout  # else what sys has at the time: pytest changes it
        self._debugger: Debugger | None = None
        self._up = 0  # frames that `up` went
        self._shown = 0  # lines of bpf_printk that were shown
        self._event = 0
        self._closely = False  # whether steps are of instructions

    # ---- the conversation

    def talk(self, debugger: Debugger, why: str) -> None:
        """A stop: show where, and take commands until one lets the programs run on. Raises Quit."""
        with interrupts.default():
            self._talk(debugger, why)
        if self.use_rawinput:
            interrupts.pause(debugger)

    def _talk(self, debugger: Debugger, why: str) -> None:
        self._debugger = debugger
        self._up = 0
        self.stdin, self.stdout = self._given[0] or sys.stdin, self._given[1] or sys.stdout
        self.use_rawinput = self._given[0] is None and self.stdin.isatty()
        debugger.stops.note_watches(debugger.moment)
        self._arrived(why)
        while True:
            line = self._next()
            try:
                if self.onecmd(self.precmd(line)):
                    return
            except KeyboardInterrupt:
                self.say("interrupted")

    def _next(self) -> str:
        if self.waiting:
            line = self.waiting.pop(0)
            self.say(f"(probee) {line}")
            return line
        try:
            if self.use_rawinput:
                return self._ask()
            line = self.stdin.readline()
            return line.rstrip("\n") if line else "EOF"
        except EOFError:
            self.say("")
            return "EOF"
        except KeyboardInterrupt:  # the line is dropped
            self.say("\n(`quit` or Ctrl-D leaves)")
            self.lastcmd = ""
            return ""

    def _ask(self) -> str:
        try:
            import readline
        except ImportError:
            return input(self.prompt)
        before = readline.get_completer()
        readline.set_completer(self.complete)  # type: ignore[arg-type]
        readline.parse_and_bind("tab: complete")
        try:
            return input(self.prompt)
        finally:
            readline.set_completer(before)

    def say(self, text: str) -> None:
        """Print a line."""
        print(text, file=self.stdout, flush=True)

    @property
    def debugger(self) -> Debugger:
        assert self._debugger is not None
        return self._debugger

    @property
    def moment(self) -> Moment:
        """The frame that is looked at, as `up` and `down` say."""
        found = self.debugger.moment
        for _ in range(self._up):
            found = found.caller or found
        return found

    @property
    def names(self) -> Names:
        return self.debugger.names(self.moment)

    def onecmd(self, line: str) -> bool:
        word, _, rest = line.strip().partition(" ")
        if word[:1] in ("!", "?"):
            word, rest = {"?": "help"}.get(word[0], "print"), f"{word[1:]} {rest}"
        line = f"{_ALIASES.get(word, word)} {rest}".strip()
        try:
            return bool(super().onecmd(line))
        except ProbeeError as error:
            self.say(f"error: {error}")
            return False

    def emptyline(self) -> bool:
        """The last command again, if it went somewhere."""
        again = self.lastcmd.partition(" ")[0] in _MOVES
        return bool(self.onecmd(self.lastcmd)) if again else False

    def default(self, line: str) -> None:
        """What is no command is an expression."""
        self.do_print(line)

    def completenames(self, text: str, *ignored: Any) -> list[str]:
        words = [word for word in _ALIASES if len(word) > 2 and word.startswith(text) and word != "EOF"]
        commands = [*super().completenames(text, *ignored), *words]
        return sorted(commands) or self.completedefault(text)

    def completedefault(self, text: str, *ignored: Any) -> list[str]:
        before, dot, word = text.rpartition(".")
        if not dot:
            return [name for name in dict.fromkeys(self.names) if name.startswith(text)]
        try:
            found = dir(self.names.evaluate(before))
        except ProbeeError:
            return []
        return [f"{before}.{name}" for name in found if name.startswith(word) and name[:1] != "_"]

    def complete_break(self, text: str, *ignored: Any) -> list[str]:
        """Functions, and names for a condition."""
        functions = [f[0] for f in self.debugger.places.functions() if f[0].startswith(text)]
        return functions or self.completedefault(text)

    def complete_maps(self, text: str, *ignored: Any) -> list[str]:
        """Maps."""
        return [name for name in self.debugger.machine.maps if name.startswith(text)]

    def complete_help(self, text: str, *ignored: Any) -> list[str]:
        """Commands."""
        return self.completenames(text)

    complete_tbreak = complete_break

    # ---- where we are

    def _arrived(self, why: str | None) -> bool:
        """Say where we are; False, so that the conversation goes on. None: programs run on."""
        if why is None:
            return True
        debugger, moment = self.debugger, self.debugger.moment
        if debugger.stops.complaint:
            self.say(f"error: {debugger.stops.complaint}")
            debugger.stops.complaint = ""
        if why:
            self.say(f"-- {why}")
        if moment.event != self._event:
            self._event = moment.event
            program = debugger.places.program(moment.code)
            self.say(f"-- event {moment.event}: {moment.code.name} ({program.section if program else ''})")
        self._printed()
        self.say(self._place(moment))
        if self._closely:
            self.say(f"   *{moment.pc}: {self._instruction(moment.code, moment.pc)}")
        return False

    def _printed(self) -> None:
        lines = self.debugger.machine.trace_pipe
        for text in lines[self._shown :]:
            self.say("printed: " + text.rstrip("\n"))
        self._shown = len(lines)

    def _place(self, moment: Moment, mark: str = "->") -> str:
        places = self.debugger.places
        line = places.line(moment.code, moment.pc)
        function = places.function(moment.code, moment.pc)
        inlined = self.debugger.variables.inlined(moment)
        if inlined:
            function = f"{inlined[0][0]} (inlined)"
        if line == NOWHERE or not line.text:
            where = f" {line}" if line != NOWHERE else ""
            return f"{mark} {function}{where} *{moment.pc}: {self._instruction(moment.code, moment.pc)}"
        return f"{mark} {line} {function}: {line.text.strip()}"

    def _instruction(self, code: Any, pc: int) -> str:
        return disassemble_insns(list(code.insns[pc : pc + 2]))[0] or "?"

    # ---- going

    def _times(self, arg: str) -> int:
        if arg and not arg.isdigit():
            raise ProbeeError(f"how often? {arg!r} is no number")
        return max(1, int(arg or 1))

    def _go(self, arg: str, kind: str, over: bool) -> bool:
        self._up = 0
        self._closely = kind == "instruction"
        times = self._times(arg)
        why = self.debugger.step(kind, over=over)
        if why is None and times > 1:
            word = {("line", False): "step", ("line", True): "next"}.get((kind, over), "")
            word = word or ("nexti" if over else "stepi" if kind == "instruction" else "out")
            self.waiting.insert(0, f"{word} {times - 1}")
        elif why is not None and times > 1:
            return self._go(str(times - 1), kind, over)
        return self._arrived(why)

    def do_step(self, arg: str) -> bool:
        """s[tep] [N]: run to the next source line, also in a function that is called."""
        return self._go(arg, "line", False)

    def do_next(self, arg: str) -> bool:
        """n[ext] [N]: run to the next source line of this function; calls run through."""
        return self._go(arg, "line", True)

    def do_out(self, arg: str) -> bool:
        """o[ut]: run until the function has returned."""
        return self._go(arg, "out", False)

    def do_stepi(self, arg: str) -> bool:
        """si, stepi [N]: run one instruction."""
        return self._go(arg, "instruction", False)

    def do_nexti(self, arg: str) -> bool:
        """ni, nexti [N]: run one instruction; calls run through."""
        return self._go(arg, "instruction", True)

    def do_continue(self, arg: str) -> bool:
        """c[ontinue]: run to the next breakpoint or change of something watched."""
        self._up, self._closely = 0, False
        return self._arrived(self.debugger.resume())

    def _backwards(self, arg: str, kind: str, over: bool) -> None:
        self._up = 0
        self._closely = kind == "instruction"
        why = ""
        for _ in range(self._times(arg)):
            why = self.debugger.back(kind, over=over)
        self._arrived(why)

    def do_backstep(self, arg: str) -> None:
        """rs, backstep [N]: go back to the source line before, also into functions that were called."""
        self._backwards(arg, "line", False)

    def do_back(self, arg: str) -> None:
        """back, rn [N]: go back to the source line before in this function or its caller."""
        self._backwards(arg, "line", True)

    def do_backi(self, arg: str) -> None:
        """rsi, backi [N]: go back by one instruction."""
        self._backwards(arg, "instruction", False)

    def do_backout(self, arg: str) -> None:
        """ro, backout: go back to where this function was called."""
        self._backwards("", "out", False)

    def do_backcontinue(self, arg: str) -> None:
        """rc, backcontinue: go back to a breakpoint, or to where something watched changed."""
        self._up, self._closely = 0, False
        self._arrived(self.debugger.back_to_stop())

    # ---- breakpoints

    def do_break(self, arg: str) -> None:
        """b[reak] [LINE | FILE:LINE | FUNCTION | *INSTRUCTION | PROGRAM*INSTRUCTION] [if CONDITION]

        Without anything: list them.
        """
        if not arg:
            self.do_info("")
            return
        self._break(arg, once=False)

    def do_tbreak(self, arg: str) -> None:
        """tb[reak] …: a breakpoint for once."""
        self._break(arg, once=True)

    def _break(self, arg: str, once: bool) -> None:
        where, _, condition = arg.partition(" if ")
        if not condition and "," in where:
            where, _, condition = where.partition(",")
        self.say(f"breakpoint {self.debugger.stop_at(where.strip(), condition.strip(), once=once)}")

    def do_watch(self, arg: str) -> None:
        """watch EXPRESSION: stop when its value changes, as `watch runs[7]` or `watch runs`."""
        if not arg:
            raise ProbeeError("watch what?")
        watch = self.debugger.watch(arg)
        self.say(f"{watch} (now {values.show(watch.value)})")

    def do_delete(self, arg: str) -> None:
        """d[elete] [NUMBER …]: take breakpoints and watches away; all without a number."""
        stops = self.debugger.stops
        for number in self._numbers(arg) or [*stops.breakpoints, *stops.watches]:
            if number in stops.breakpoints:
                del stops.breakpoints[number]
            stops.watches.pop(number, None)

    def do_disable(self, arg: str) -> None:
        """disable NUMBER …: keep breakpoints, but don't stop there."""
        for number in self._numbers(arg):
            self._breakpoint(number).enabled = False

    def do_enable(self, arg: str) -> None:
        """enable NUMBER …: stop there again."""
        for number in self._numbers(arg):
            self._breakpoint(number).enabled = True

    def do_condition(self, arg: str) -> None:
        """cond[ition] NUMBER [EXPRESSION]: stop only where it holds, as `cond 1 pid > 5`."""
        number, _, condition = arg.partition(" ")
        self._breakpoint(self._numbers(number)[0] if number else 0).condition = condition.strip()

    def _numbers(self, arg: str) -> list[int]:
        if not all(word.isdigit() for word in arg.split()):
            raise ProbeeError(f"{arg!r}: give the numbers of breakpoints")
        return [int(word) for word in arg.split()]

    def _breakpoint(self, number: int) -> Any:
        found = self.debugger.stops.breakpoints.get(number)
        if found is None:
            raise ProbeeError(f"there is no breakpoint {number}")
        return found

    def do_info(self, arg: str) -> None:
        """i[nfo]: breakpoints and watches."""
        stops = self.debugger.stops
        for one in [*stops.breakpoints.values(), *stops.watches.values()]:
            self.say(str(one))
        if not stops.breakpoints and not stops.watches:
            self.say("no breakpoints")

    # ---- looking

    def do_print(self, arg: str) -> None:
        """p[rint] EXPRESSION: names are variables, registers, maps, globals, ctx, packet, task, m."""
        self.say(values.show(self.names.evaluate(arg)))

    def do_vars(self, arg: str) -> None:
        """vars, locals: the variables that have a value here, and the fields of the context."""
        variables = self.names.variables()
        gone = [name for name, value in variables.items() if isinstance(value, Gone)]
        gone += sorted(self.debugger.variables.lost(self.moment) - variables.keys())
        for name, value in variables.items():
            if name not in gone:
                self.say(f"{name} = {values.brief(value)}")
        fields = self.names.context_fields()
        for name, value in fields.items():
            self.say(f"ctx.{name} = {values.show(value)}")
        if gone:
            self.say(f"optimised out here, or not yet known: {', '.join(gone)}")
        if not variables and not fields and not gone:
            self.say("none is known here; `registers` and `stack` show what there is")

    def do_registers(self, arg: str) -> None:
        """regs, registers: what they hold, and where they point to."""
        for line in values.registers(self.debugger.machine, self.debugger.places, self.moment):
            self.say(line)

    def do_stack(self, arg: str) -> None:
        """stack: the words of the function's stack that are not zero."""
        lines = list(values.stack(self.debugger.machine, self.debugger.places, self.moment))
        for line in lines or ["all zero"]:
            self.say(line)

    def do_where(self, arg: str) -> None:
        """bt, where: the functions that run, the innermost first; callbacks show their helper's caller."""
        frame: Moment | None = self.debugger.moment
        n = 0
        while frame is not None:
            self.say(f"{'*' if n == self._up else ' '}#{n} {self._place(frame, '')}".replace("  ", " "))
            inlined = self.debugger.variables.inlined(frame)
            callers = [f"{name} (inlined)" for name, _ in inlined[1:]]
            callers.append(self.debugger.places.function(frame.code, frame.pc))
            for (_, line), caller in zip(inlined, callers, strict=False):
                self.say(f"     called in line {line} of {caller}")
            frame, n = frame.caller, n + 1

    def do_up(self, arg: str) -> None:
        """up: look at the caller."""
        if self.moment.caller is None:
            raise ProbeeError("this is the outermost function")
        self._up += 1
        self.say(self._place(self.moment))

    def do_down(self, arg: str) -> None:
        """down: look at what it called."""
        if not self._up:
            raise ProbeeError("this is the innermost function")
        self._up -= 1
        self.say(self._place(self.moment))

    def do_list(self, arg: str) -> None:
        """l[ist] [LINE]: source lines around here; those with instructions have a `|`."""
        import linecache

        places = self.debugger.places
        here = places.line(self.moment.code, self.moment.pc)
        if here == NOWHERE:
            self.do_disasm("")
            return
        middle = self._times(arg) if arg else here.number
        have = {line.number for line in places.lines() if line.file == here.file}
        stops = {b.line.number for b in self.debugger.stops.breakpoints.values() if b.line}
        for number in range(max(1, middle - _AROUND), middle + _AROUND + 1):
            text = linecache.getline(here.file, number).rstrip("\n")
            if text or number in have:
                mark = "->" if number == here.number else "b " if number in stops else "  "
                self.say(f"{mark}{number:>4} {'|' if number in have else ' '} {text}")

    def do_disasm(self, arg: str) -> None:
        """disasm: instructions around here."""
        moment = self.moment
        slots = sorted(moment.code.ops)
        at = slots.index(moment.pc)
        for pc in slots[max(0, at - _AROUND) : at + _AROUND + 1]:
            line = self.debugger.places.line(moment.code, pc)
            text = f"{self._instruction(moment.code, pc):<40}"
            self.say(f"{'->' if pc == moment.pc else '  '}*{pc:<4} {text} {line.number or ''}".rstrip())

    def do_maps(self, arg: str) -> None:
        """maps [NAME]: all maps, or the entries of one."""
        machine = self.debugger.machine
        if arg:
            machine.map(arg)  # says which there are
            live = self.names[arg]
            if not hasattr(live, "items"):
                raise ProbeeError(f"{arg} holds no entries to list")
            entries = list(live.items())
            for key, value in entries:
                self.say(f"[{key!r}] = {values.show(value)}")
            self.say(f"{len(entries)} entries")
            return
        for name, live in machine.maps.items():
            kind = type(live).__name__.removeprefix("Machine")
            self.say(f"{name}: {kind}, {live.max_entries} entries at most")

    def do_packet(self, arg: str) -> None:
        """packet: its headers and its bytes."""
        data = self.names.packet()
        self.say(f"{len(data)} bytes")
        program = self.names.program
        link_layer = program is None or program.type in (3, 4, 6)  # sched_cls, sched_act, xdp
        for line in values.dissected(data, link_layer):
            self.say(line)

    def do_ctx(self, arg: str) -> None:
        """ctx: the context's fields."""
        for name, value in self.names.context_fields().items():
            self.say(f"{name} = {values.show(value)}")

    def do_x(self, arg: str) -> None:
        """x ADDRESS [SIZE]: bytes of memory, 64 of them if not said; both are expressions."""
        address, _, size = arg.partition(" ")
        if not address:
            raise ProbeeError("which address?")
        count = int(self.names.evaluate(size)) if size.strip() else 64
        for line in values.memory(self.debugger.machine, int(self.names.evaluate(address)), count):
            self.say(line)

    def do_set(self, arg: str) -> None:
        """set NAME = EXPRESSION: change a local variable that is a number, or a register; not in the past."""
        name, equals, expression = arg.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ProbeeError("write: set NAME = EXPRESSION, with a local variable or r0 to r9")
        debugger = self.debugger
        if not debugger.timeline.live or self._up:
            raise ProbeeError("the past can't be changed: `continue` or `step` to the present")
        value = int(self.names.evaluate(expression)) & (1 << 64) - 1
        moment = debugger.moment
        if not debugger.variables.set(moment, name, value, debugger.timeline.entry_of(moment)):
            if name not in [f"r{n}" for n in range(10)]:
                raise ProbeeError(f"there is no local variable {name} here; `vars` shows which there are")
            moment.frame.registers[int(name[1:])] = value
        debugger.timeline.changed()

    def do_quit(self, arg: str) -> bool:
        """q[uit]: leave, and the programs with it."""
        raise Quit

    def do_help(self, arg: str) -> None:
        """h[elp] [COMMAND]: what there is."""
        if arg:
            method = getattr(self, f"do_{_ALIASES.get(arg, arg)}", None)
            if method is None:
                raise ProbeeError(f"there is no command {arg}")
            self.say((method.__doc__ or "").replace("\n        ", "\n").rstrip())
            return
        for title, names in _CHAPTERS.items():
            self.say(title)
            for name in names.split():
                first = (getattr(self, f"do_{name}").__doc__ or "").splitlines()[0]
                self.say(f"  {first}")
        self.say(_HINTS)
