"""Reading a verifier log: the instruction it stopped at, what was known there, the verdict, the report.

Two forms are understood. The free one, of every kernel: instructions with states, and the verdict at the end.
The report that Linux 7.3 adds to it: "Verification failed:" with a category and a title, and then sections
(Reason, At, Causal path, Suggestion) of indented lines.
"""

from __future__ import annotations

import re

from probee.verifier.explain_path import Trail

_TAIL = 400_000  # characters of a log that are looked at: enough for the last few thousand instructions
_LINE = 8_000  # and of a line
_INSN = re.compile(r"^(?:from \d+ to \d+: )?(\d{1,7}): \(([0-9a-f]{2})\) (.*)$")
_STATE_ONLY = re.compile(r"^(from \d+ to )?(\d{1,7}): (?=R\d|frame\d)")
_FRAME_STATE = re.compile(r"^ (?=R\d|frame\d)")
_FRAME = re.compile(r"\bframe(\d)\b:?")
_STATE = re.compile(r"\b(R\d+|fp-\d+)(?:_[a-zA-Z]+)?=((?:[^\s()]|\((?:[^()]|\([^()]*\))*\))+)")
_BEHIND = re.compile(r"\s*; (?=R\d|fp-\d|frame\d|refs=)")  # the state that follows an instruction
_WRITES = re.compile(r"^(?:\(\w+\) )?[rw](\d+) [-+*/%&|^<>s]*= ")
_HELD = re.compile(r"\bref_obj_id=|^(?:ringbuf_mem|alloc_mem)\b")
_GIVES_BACK = re.compile(r"^call .*(?:submit|discard|release|_put|drop|free|del)")
_COMMENT = re.compile(r"^; (.*?)(?: @ ([^@]*):(\d{1,9}))?$")
_NOISE = re.compile(
    r"^(processed \d+ insns|verification time|stack depth|mark_precise:|last_idx|regs=|parent |"
    r"arg#\d+ reference type\(|\s*(?:cur|old) state:|Live regs|func#\d+ @|max_states|-- |caller:|callee:|"
    r"returning from callee:|to caller at|from \d+ to \d+: safe|\d+: safe|Validating |Func#\d+ |\s*$)"
)
_STUCK = ("verification time",)  # a verdict may come without a line's end before the statistics
_INFINITE = "old state:"
REPORT = "Verification failed:"
_SECTION = re.compile(r"^([A-Z][A-Za-z ]{1,30}):\s*$")
_AT_PLACE = re.compile(r"^(?:(\S+) @ )?(.+):(\d{1,9}):(\d{1,9})$")
_AT_INSN = re.compile(r"^insn (\d{1,7})$")
_POINTED = re.compile(r">>>\s*(\d{1,7}) \| \([0-9a-f]{2}\)")
_NOTE = re.compile(r"\^-- (\w+): (.*)$")
_MORE = re.compile(r"^\s+\|\s{3,}(\S.*)$")


class Place:
    """A line of source: `file` and `source` are as the compiler recorded them, `line` and `column` from 1."""

    __slots__ = ("column", "file", "line", "source")

    def __init__(self, file: str, line: int, column: int, source: str) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.source = source.strip()

    def __repr__(self) -> str:
        return f"Place({self.file}:{self.line})"


class Event:
    """A step on the way to the failure, as the report of Linux 7.3 tells it.

    `insn` is -1 and `place` None where it names none. `label` is the kernel's word for the kind of step
    ("update", "branch", "error" …), `text` what happened.
    """

    __slots__ = ("insn", "label", "place", "text")

    def __init__(self) -> None:
        self.insn = -1
        self.place: Place | None = None
        self.label = ""
        self.text = ""

    def __repr__(self) -> str:
        return f"Event({self.insn}, {self.label!r}, {self.text!r})"


class Report:
    """The report of Linux 7.3 and later: its sections as attributes."""

    __slots__ = ("at", "category", "path", "reason", "suggestion", "title")

    def __init__(self, category: str, title: str) -> None:
        self.category = category
        self.title = title
        self.reason = ""
        self.suggestion = ""
        self.at: Event | None = None
        self.path: list[Event] = []


class Reading:
    """The parts of a log that the explanation is made of.

    `states` are registers (by number) and `stack` slots (by name, `fp-8`) of the function it was in.
    """

    __slots__ = (
        "comment",
        "frame",
        "gone",
        "insn",
        "lines",
        "report",
        "stack",
        "stated",
        "states",
        "stuck",
        "text",
        "trail",
        "verdict",
    )

    def __init__(self, log: str) -> None:
        self.insn = -1
        self.text = ""
        self.frame = 0
        self.states: dict[int, str] = {}
        self.stack: dict[str, str] = {}
        self.comment: Place | None = None
        self.trail = Trail()
        self.lines: dict[int, str] = {}  # the last text of each instruction
        self.verdict: list[str] = []
        self.gone: dict[int, str] = {}  # registers whose memory was given back, and by what call
        self.stuck = False
        self.stated = False  # whether states stand behind instructions (since Linux 5.18)
        tail = "\n" + log[-_TAIL:]
        start = tail.rfind("\n" + REPORT)
        self.report = read_report(tail[start + 1 + len(REPORT) :]) if start >= 0 else None
        walk = tail if start < 0 else tail[:start]
        for line in walk.splitlines():
            self._read(line[:_LINE])
        if not self.verdict and self.stuck:
            self.verdict = ["infinite loop detected"]

    def _read(self, line: str) -> None:
        self.trail.read(line)
        found = _INSN.match(line)
        if found:
            self._instruction(found)
            return
        if (alone := _STATE_ONLY.match(line)) or _FRAME_STATE.match(line):
            if not alone or alone[1]:  # the whole state of another path, or of a function called or left
                self._forget()
            self._remember(line)
            self.verdict = []
            return
        comment = _COMMENT.match(line)
        if comment:
            file, number = comment[2] or "", int(comment[3] or 0)
            self.comment = Place(file, number, 0, comment[1])
            return
        if _INFINITE in line[:12]:
            self.stuck = True
        if not _NOISE.match(line):
            for word in _STUCK:
                line = line.partition(word)[0]
            self.verdict.append(line.strip())

    def _instruction(self, found: re.Match[str]) -> None:
        self.insn = int(found[1])
        text, state = (*_BEHIND.split(found[3], maxsplit=1), "")[:2]
        # A branch that is left prints the state of the next instruction behind its own text.
        text, _, other = re.split(r"\s(?=\d{1,7}: (?:R|frame\d))", text, maxsplit=1)[0], "", text
        self.text = text.strip()
        self.lines[self.insn] = self.text
        self.trail.walk(self.insn, self.text, self.comment)
        self._follow()
        self.stated = self.stated or bool(state)
        self._remember(state or other)
        self.verdict = []
        self.stuck = False

    def _follow(self) -> None:
        """Which registers still hold what was given back."""
        written = _WRITES.match(self.text)
        if written:
            self.gone.pop(int(written[1]), None)
        elif _GIVES_BACK.match(self.text):
            held = [number for number, state in self.states.items() if _HELD.search(state) and number > 5]
            self.gone.update(dict.fromkeys(held, self.text))

    def _forget(self) -> None:
        self.frame = 0
        self.gone.clear()
        self.states.clear()
        self.stack.clear()

    def _remember(self, text: str) -> None:
        known = _STATE.findall(text)
        if not known:
            return
        frame = _FRAME.search(text)
        number = int(frame[1]) if frame else 0
        if number != self.frame:
            self._forget()
            self.frame = number
        for name, value in known:
            if name[0] == "R":
                self.states[int(name[1:])] = value
            else:
                self.stack[name] = value


def read_report(text: str) -> Report:
    """What follows "Verification failed:"."""
    head, _, body = text.partition("\n")
    category, _, title = head.strip().partition(": ")
    report = Report(category, title)
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in body.splitlines():
        line = line[:_LINE]
        section = _SECTION.match(line)
        if section:
            current = sections.setdefault(section[1], [])
        elif line.startswith("processed "):
            break
        else:
            current.append(line)
    report.reason = _prose(sections.get("Reason", []))
    report.suggestion = _prose(sections.get("Suggestion", []))
    events = read_events(sections.get("At", []))
    report.at = events[0] if events else None
    report.path = read_events(sections.get("Causal path", []))
    return report


def _prose(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines if line.strip())


def read_events(lines: list[str]) -> list[Event]:
    """The steps of a section: each begins with a place or an instruction's number."""
    events: list[Event] = []
    event: Event | None = None
    noted = False
    for line in lines:
        bare = line.strip()
        place = _AT_PLACE.match(bare) if "|" not in bare else None
        insn = _AT_INSN.match(bare)
        if place or insn:
            event = Event()
            events.append(event)
            noted = False
            if place:
                event.place = Place(place[2], int(place[3]), int(place[4]), "")
            elif insn:
                event.insn = int(insn[1])
            continue
        if event is None:
            continue
        note = _NOTE.search(line)
        if note:
            event.label, event.text = note[1], note[2].strip()
            noted = True
            continue
        more = _MORE.match(line) if noted else None
        if more and ">>>" not in line:
            event.text += " " + more[1].strip()
            continue
        noted = False
        pointed = _POINTED.search(line)
        if pointed:
            event.insn = int(pointed[1])
        elif event.place is not None and line.lstrip().startswith(">>>"):
            event.place.source = line.partition("|")[2].strip()
        if (
            event.place is not None and pointed and line.count(">>>") > 1
        ):  # source and instruction side by side
            event.place.source = line.partition("|")[2].partition(">>>")[0].strip()
    return events
