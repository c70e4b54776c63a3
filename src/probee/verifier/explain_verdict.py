"""Our own verdict on the user's source lines: the way there, what was known of which variable, cause, fix."""

from __future__ import annotations

import re

from probee.isa.disasm import text_of
from probee.isa.insn import CALL_IMM, EXIT_INSN, JA, JMP, JMP32, LD_IMM64, PSEUDO_CALL
from probee.verifier.explain import Explanation, LineTable, explain
from probee.verifier.explain_path import Step, shortened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.isa.insn import Insn
    from probee.verifier.explain_reading import Place
    from probee.verifier.objects import Prepared
    from probee.verifier.verdict import Verdict

_ASSIGNED = re.compile(r"^\s*(?:[\w\s*]+[\s*])?([A-Za-z_]\w*)\s*(?::[^=]+)?[-+*/&|^]?=(?!=)")
_MOST_STEPS = 200_000


class Known:
    """What was known of a register where the verifier stopped; `name`: the variable it holds, if clear."""

    __slots__ = ("line", "name", "register", "words")

    def __init__(self, register: str, words: str, name: str, line: int) -> None:
        self.register = register
        self.words = words
        self.name = name
        self.line = line

    def __str__(self) -> str:
        what = f"{self.name} ({self.register})" if self.name else self.register
        return f"{what} is {self.words}" + (f", set at line {self.line}" if self.line else "")


class Refusal:
    """A refusal explained: `explanation` (line, path, cause, fix), and what was `known` of registers."""

    __slots__ = ("explanation", "known")

    def __init__(self, explanation: Explanation, known: list[Known]) -> None:
        self.explanation = explanation
        self.known = known


def explain_verdict(prepared: Prepared, verdict: Verdict) -> Refusal:
    """Explain a refusal. With a verdict's log at level 1 or 2 the states of registers are known too."""
    program = prepared.program
    table = LineTable(prepared.line_info, program.btf)
    found = explain(_log(program.insns, verdict), table, prepared.poisoned, names=prepared.names)
    if verdict.index >= 0 and found.id != "leak":
        found.insn = verdict.index
        found.place = table.at(verdict.index) or found.place
    found.path = shortened(
        [
            Step(insn, taken, table.at(insn), text_of(program.insns[insn]) or "")
            for insn, taken in verdict.path
        ]
    )
    trail = executed(program.insns, verdict.path, verdict.index)
    if trail and trail[-1][0] != verdict.index:
        trail = []  # in a function that a helper calls back
    here = prepared.names(verdict.index) if verdict.index >= 0 else {}
    known = []
    for name, register in found.registers.items():
        if name not in found.known and name not in verdict.message.lower():
            continue
        place = _origin(program.insns, trail, int(name[1:]), table)
        words = "no pointer any more" if name in found.gone else register.words
        known.append(Known(name, words, here.get(name) or _variable(place), place.line if place else 0))
    return Refusal(found, known)


def _log(insns: list[Insn], verdict: Verdict) -> str:
    if verdict.log:
        return verdict.log
    if 0 <= verdict.index < len(insns):
        insn = insns[verdict.index]
        return f"{verdict.index}: ({insn.opcode:02x}) {text_of(insn)}\n{verdict.message}\n"
    return verdict.message + "\n"


def executed(insns: list[Insn], path: list[tuple[int, bool]], end: int) -> list[tuple[int, int]]:
    """The instructions on the way to `end`, each with the depth of calls. `path` tells the branches."""
    trail: list[tuple[int, int]] = []
    choices = list(reversed(path))
    frames: list[int] = []
    at = 0
    while 0 <= at < len(insns) and len(trail) < _MOST_STEPS:
        trail.append((at, len(frames)))
        if at == end and not choices:
            break
        insn = insns[at]
        kind, operation = insn.opcode & 7, insn.opcode & 0xF0
        if insn.opcode == CALL_IMM and insn.src == PSEUDO_CALL:
            frames.append(at + 1)
            at += insn.imm + 1
        elif insn.opcode == EXIT_INSN:
            if not frames:
                break
            at = frames.pop()
        elif kind in (JMP, JMP32) and operation == JA:
            at += 1 + (insn.imm if kind == JMP32 else insn.off)
        elif kind in (JMP, JMP32) and insn.opcode not in (CALL_IMM, CALL_IMM | 8):
            taken = bool(choices) and choices[-1][0] == at and choices.pop()[1]
            at += 1 + (insn.off if taken else 0)
        else:
            at += 2 if insn.opcode == LD_IMM64 else 1
    return trail


def _origin(insns: list[Insn], trail: list[tuple[int, int]], register: int, table: LineTable) -> Place | None:
    """The line that gave a register its value, on this way."""
    depth = trail[-1][1] if trail else 0
    for at, level in reversed(trail[:-1]):
        insn = insns[at]
        if level < depth:
            return None
        if level > depth:
            continue
        kind = insn.opcode & 7
        written = insn.dst if kind in (0, 1, 4, 7) else 0 if insn.opcode == CALL_IMM else -1
        if written != register:
            continue
        if insn.opcode == 0xBF:  # a copy: go on with what it copies
            register = insn.src
            continue
        return table.at(at)
    return None


def _variable(place: Place | None) -> str:
    """The variable that a source line sets."""
    found = _ASSIGNED.match(place.source) if place else None
    return found[1] if found else ""
