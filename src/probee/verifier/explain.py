"""What a rejection means: from the kernel verifier's log to the line of the source, the cause and a fix.

Imported only after a rejection. Works on the log of any kernel since 5.10: places come from the program's own
line info, not from the comments in the log (which have file and line only since Linux 6.9).
"""

from __future__ import annotations

import re
import struct
from bisect import bisect_right

from probee.verifier.explain_causes import find
from probee.verifier.explain_path import Step, shortened
from probee.verifier.explain_reading import Event, Place, Reading, Report
from probee.verifier.explain_states import Register, stack_words, words_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from probee.btf.parser import Btf

__all__ = ["Event", "Explanation", "LineTable", "Place", "Register", "Report", "explain", "words_for"]

_REGISTER = re.compile(r"\bR(\d+)\b")


class LineTable:
    """The line info of a loaded program: which source line an instruction belongs to."""

    __slots__ = ("_places", "_starts")

    def __init__(self, line_info: bytes, btf: Btf | None, endian: str = "little") -> None:
        order = "<" if endian == "little" else ">"
        self._starts: list[int] = []
        self._places: list[Place] = []
        if btf is None:
            return
        records = struct.iter_unpack(order + "IIII", line_info[: len(line_info) // 16 * 16])
        for insn, file, text, position in sorted(records):
            self._starts.append(insn)
            self._places.append(Place(btf.string(file), position >> 10, position & 1023, btf.string(text)))

    def at(self, insn: int) -> Place | None:
        """The line of instruction number `insn`; compiler-made instructions (line 0) get the one before."""
        at = bisect_right(self._starts, insn) - 1
        while at > 0 and not self._places[at].line:
            at -= 1
        return self._places[at] if at >= 0 and self._places[at].line else None


class Explanation:
    """What a verifier log says.

    `insn` is the instruction it stopped at (-1: none), `place` its source line or None, `last_words` the
    verifier's own verdict, `known` what it knew of the registers that mattered, in words. `id` names the
    cause (`explain_causes` has them all); `kind` is "verifier", "core", "kfunc", "map", "license" or "btf";
    `cause` and `fix` are texts. `id` and they are empty where the verdict is not a common one. `registers`
    (`r0` …) and `stack` (`fp-8` …) are all that was known there; `report` is the kernel's own, from Linux
    7.3 on. `variables` are the local variables that were in registers or on the stack, with what was known of
    them in words, where the object has their names. `unknown` are registers that mattered and whose states
    the log does not have: kernels before 5.18 write those only at log level 2. `gone` are registers whose
    memory was given back. `path` are the branches on the way there, of a long way the first and the last.
    """

    __slots__ = (
        "cause",
        "fix",
        "gone",
        "id",
        "insn",
        "kind",
        "known",
        "last_words",
        "path",
        "place",
        "registers",
        "report",
        "stack",
        "unknown",
        "variables",
    )

    def __init__(self) -> None:
        self.id = ""
        self.kind = "verifier"
        self.insn = -1
        self.place: Place | None = None
        self.last_words = ""
        self.known = ""
        self.cause = ""
        self.fix = ""
        self.registers: dict[str, Register] = {}
        self.stack: dict[str, str] = {}
        self.report: Report | None = None
        self.unknown: list[str] = []
        self.gone: set[str] = set()
        self.variables: dict[str, str] = {}
        self.path: list[Step] = []

    def advice(self) -> str:
        """Cause, knowledge and fix as text of one line."""
        parts = [self.cause, f"known there: {self.known}" if self.known else "", self.fix]
        return "; ".join(part for part in parts if part)

    def message(self, program: str) -> str:
        """The rejection in one line."""
        where = f"{self.place.file}:{self.place.line}: " if self.place else ""
        code = f" at `{self.place.source}`" if self.place and self.place.source else ""
        words = self.last_words or "no reason given"
        advice = self.advice()
        tail = f" ({advice})" if advice else ""
        return f"{where}the verifier refuses {program}{code}: {words}{tail}"


def explain(
    log: str,
    lines: LineTable | None = None,
    poisoned: Mapping[int, str] | None = None,
    jumps: Sequence[int] | None = None,
    names: Callable[[int], Mapping[str, str]] | None = None,
) -> Explanation:
    """Explain a rejection.

    `names` tells of an instruction which registers and stack slots are which variables (`obj.dwarf.namer`).
    `poisoned`: for instructions that CO-RE poisoned, what is missing. `jumps`: the instructions that end the
    program's loops, if known; the first stands for a log that names no instruction.
    """
    reading = Reading(log)
    result = Explanation()
    result.report = reading.report
    result.insn = reading.insn if reading.insn >= 0 or not jumps else jumps[0]
    words = _verdict(reading)
    result.last_words = words
    named = re.search(r"\binsn (\d{1,7})\b", words)
    if named and (reading.insn < 0 or "at insn" in words or "unreachable" in words or "from insn" in words):
        result.insn = int(named[1])
    if reading.report and reading.report.at and result.insn < 0:
        result.insn = reading.report.at.insn
    result.place = _place(result.insn, lines, reading)
    result.path = _path(reading, lines)
    result.registers = {f"r{number}": Register(text) for number, text in sorted(reading.states.items())}
    result.stack = dict(reading.stack)
    result.gone = {f"r{number}" for number in reading.gone}
    cause, result.cause, result.fix = find(words, reading)
    if cause is not None:
        result.id, result.kind = cause.id, cause.kind
    elif reading.report:
        result.cause, result.fix = reading.report.reason.rstrip("."), reading.report.suggestion.rstrip(".")
    matter = [f"r{number}" for number in _registers(words, reading)]
    named_here = names(result.insn) if names is not None and result.insn >= 0 else {}
    result.variables = _variables(result, named_here)
    known = [
        f"{_named(name, named_here)} is {_words(name, result)}" for name in matter if name in result.registers
    ]
    result.known = ", ".join(known)
    if not reading.stated:
        result.unknown = [name for name in matter if name not in result.registers]
    if jumps is not None and not jumps and "too large" in words:
        result.cause = "the verifier walks every path, up to 1,000,000 instructions, and there are more"
        result.fix = "use fewer branches one after the other, or split the work with tail calls"
    allocation = re.search(r"alloc_insn=(\d{1,7})", words)
    if allocation:
        _leak(result, int(allocation[1]), lines)
    missing = (poisoned or {}).get(result.insn)
    if missing or result.id == "missing-relocation":
        _relocation(result, missing or "")
    return result


def _words(name: str, result: Explanation) -> str:
    """What a register holds; a kernel's log doesn't say it of one whose memory was given back."""
    return "no pointer any more" if name in result.gone else result.registers[name].words


def _named(place: str, names: Mapping[str, str]) -> str:
    """A register with the variable that it is, if that is known."""
    return f"{names[place]} ({place})" if place in names else place


def _variables(result: Explanation, names: Mapping[str, str]) -> dict[str, str]:
    """What was known of the variables that are in registers and on the stack, by their names."""
    out = {}
    for place, name in names.items():
        if place in result.registers:
            out[name] = result.registers[place].words
        elif place in result.stack:
            out[name] = stack_words(result.stack[place])
    return out


def _verdict(reading: Reading) -> str:
    """The verifier's last words in one line; the two lines of some verdicts both say something."""
    words = "; ".join(reading.verdict[-2:])
    if not words and reading.report:
        words = reading.report.title or reading.report.category
    return words


def _place(insn: int, lines: LineTable | None, reading: Reading) -> Place | None:
    """The program's own line info knows best, then the kernel's report, then the comments of the log."""
    found = lines.at(insn) if lines and insn >= 0 else None
    told = reading.report.at.place if reading.report and reading.report.at else None
    return found or told or reading.comment


def _path(reading: Reading, lines: LineTable | None) -> list[Step]:
    steps = reading.trail.steps()
    for step in steps:
        step.place = (lines.at(step.insn) if lines else None) or step.place
    return shortened(steps)


def _registers(words: str, reading: Reading) -> list[int]:
    """The registers a verdict is about: those it names, else those the instruction reads."""
    named = [int(r) for r in _REGISTER.findall(words)]
    if "!read_ok" in words or "At program exit" in words:
        return []
    if not named and reading.text and "call" not in reading.text:
        side = reading.text.partition(" = ")[2] if "] = r0" not in reading.text else reading.text
        named = [int(r) for r in re.findall(r"\b[rw](\d+)\b", side or reading.text)]
    return list(dict.fromkeys(named))


def _leak(result: Explanation, insn: int, lines: LineTable | None) -> None:
    made = lines.at(insn) if lines else None
    if made is None:
        return
    leaving = result.place
    result.place = made
    if leaving and leaving.line != made.line:
        result.cause += f"; the way out without it is at line {leaving.line}: `{leaving.source}`"


def _relocation(result: Explanation, missing: str) -> None:
    """What the loader could not find in this kernel: a field, a type, a symbol, a kernel function."""
    result.id = "missing-relocation"
    result.kind = "kfunc" if "kfunc" in missing else "core"
    result.cause = missing or "a CO-RE relocation failed: a field or type is not in this kernel"
    result.fix = "test for it first (hasattr, bpf_core_field_exists, bpf_ksym_exists)"
    result.known = ""
