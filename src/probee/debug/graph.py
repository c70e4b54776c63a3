"""Ways through a program by source lines: which instructions tell of a line, which line may follow which."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from ..isa.insn import CALL, EXIT, JA, JMP, JMP32, LD, LD_IMM64, ST, STX, Insn

Place = TypeVar("Place", bound=Hashable)


def telling(insns: Sequence[Insn], place_of: Callable[[int], Place | None]) -> dict[int, Place]:
    """The instructions that tell whether their line ran, by number. The compiler may move what only computes
    to before a branch, but no call, and hardly a store: where a line has such, they are what counts.
    """
    ranks: dict[Place, dict[int, int]] = {}
    pc = 0
    while pc < len(insns):
        place = place_of(pc)
        if place is not None:
            ranks.setdefault(place, {})[pc] = _rank(insns[pc])
        pc += 2 if insns[pc].opcode == LD_IMM64 else 1
    found = {}
    for place, pcs in ranks.items():
        most = max(pcs.values())
        found.update({pc: place for pc, rank in pcs.items() if rank == most})
    return found


def _rank(insn: Insn) -> int:
    kind = insn.opcode & 7
    if kind in (JMP, JMP32):
        operation = insn.opcode & 0xF0
        return 2 if operation == CALL else 0 if operation == JA else 1
    return int(kind in (ST, STX) or (kind == LD and insn.opcode != LD_IMM64))


def arcs(insns: Sequence[Insn], known: dict[int, Place]) -> set[tuple[Place, Place | None]]:
    """From which line to which control may go, as those instructions tell; None is the end of a function."""
    found: set[tuple[Place, Place | None]] = set()
    for start, place in known.items():
        todo, seen = _following(insns, start), {start}
        if _ends(insns[start]):
            found.add((place, None))
        while todo:
            pc = todo.pop()
            if pc in seen or not 0 <= pc < len(insns):
                continue
            seen.add(pc)
            other = known.get(pc)
            if other is not None:
                if other != place:
                    found.add((place, other))
                continue
            if _ends(insns[pc]):
                found.add((place, None))
            todo += _following(insns, pc)
    return found


def conditional(insn: Insn) -> bool:
    """Whether an instruction is a jump that may not be taken."""
    return insn.opcode & 7 in (JMP, JMP32) and insn.opcode & 0xF0 not in (JA, CALL, EXIT)


def _ends(insn: Insn) -> bool:
    return insn.opcode & 7 == JMP and insn.opcode & 0xF0 == EXIT


def _following(insns: Sequence[Insn], pc: int) -> list[int]:
    insn = insns[pc]
    if insn.opcode & 7 in (JMP, JMP32):
        operation = insn.opcode & 0xF0
        if operation == EXIT:
            return []
        if operation == JA:
            return [pc + 1 + (insn.imm if insn.opcode & 7 == JMP32 else insn.off)]
        if operation != CALL:
            return [pc + 1, pc + 1 + insn.off]
    return [pc + (2 if insn.opcode == LD_IMM64 else 1)]


__all__ = ["arcs", "conditional", "telling"]
