"""A log in the form of the kernel's: what is known at each instruction of the last path.

Enough of that form for `explain` to read it as it reads the kernel's: instructions, states at level 1 and
2, where paths go on, the verdict, the statistics.
"""

from __future__ import annotations

from itertools import pairwise

from probee.isa.disasm import text_of, wide_text
from probee.isa.insn import CALL, JMP, LD_IMM64
from probee.isa.tables import HELPERS
from probee.verifier.scalars import S32_MAX, S32_MIN, S64_MAX, S64_MIN, U32, U64
from probee.verifier.state import (
    ADD_CONST,
    BASE,
    BTF_ID,
    DYN,
    ITER,
    KIND_LETTERS,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    NOT_INIT,
    PACKET,
    PACKET_META,
    SCALAR,
    SPILL,
    STACK,
    Frame,
    Reg,
    Slot,
    type_name,
)
from probee.verifier.text import number_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.isa.insn import Insn
    from probee.verifier.walk import Pending, Walk


def scalar_text(reg: Reg) -> str:
    """`scalar(id=1,umax=255,var_off=(0x0; 0xff))`, or the number if it is known."""
    num = reg.num
    if num.known:
        return number_text(num.smin)
    parts = []
    if reg.id:
        parts.append(f"id={reg.id & ~ADD_CONST}{f'+{reg.off}' if reg.id & ADD_CONST else ''}")
    return f"scalar({','.join(parts + _bounds(reg))})"


def _bounds(reg: Reg) -> list[str]:
    """Ends of ranges that say something; equal ones share an equation as in the kernel's log."""
    num = reg.num
    ends = (
        ("smin", num.smin, S64_MIN),
        ("smax", num.smax, S64_MAX),
        ("umin", num.umin, 0),
        ("umax", num.umax, U64),
        ("smin32", num.s32min, S32_MIN),
        ("smax32", num.s32max, S32_MAX),
        ("umin32", num.u32min, 0),
        ("umax32", num.u32max, U32),
    )
    groups: dict[int, list[str]] = {}
    for name, value, loose in ends:
        if value != loose:
            groups.setdefault(value, []).append(name)
    parts = [f"{'='.join(names)}={number_text(value)}" for value, names in groups.items()]
    if num.mask and num.mask != U64:
        parts.append(f"var_off=({num.value:#x}; {num.mask:#x})")
    return parts


def reg_text(reg: Reg) -> str:
    """A register's contents in the kernel's words."""
    if reg.type == SCALAR:
        return scalar_text(reg)
    base = reg.type & BASE
    name = type_name(reg.type)
    if base == STACK:
        where = f"{reg.off + reg.num.smin}" if reg.num.known else f"{reg.off}"
        head = f"{name}{where}"
        return head if reg.num.known else f"{head}({','.join(_bounds(reg))})"
    if base == BTF_ID and reg.btf is not None:
        name += reg.btf.type(reg.btf_id).name
    parts = []
    if reg.id:
        parts.append(f"id={reg.id}")
    if reg.ref:
        parts.append(f"ref_obj_id={reg.ref}")
    if reg.map is not None and base in (MAP_PTR, MAP_VALUE, MAP_KEY):
        parts.append(f"map={reg.map.name}")
        parts.append(f"ks={reg.map.key_size}")
        parts.append(f"vs={reg.map.value_size}")
    if reg.off:
        parts.append(f"off={reg.off}")
    if base in (PACKET, PACKET_META):
        parts.append(f"r={reg.range}")
    if base == MEM:
        parts.append(f"sz={reg.size}")
    if reg.num.mask:
        parts += _bounds(reg)
    elif reg.num.smin:
        parts.append(f"imm={number_text(reg.num.smin)}")
    return f"{name}({','.join(parts)})"


def slot_text(slot: Slot) -> str:
    kinds = slot.kinds
    if kinds[0] == SPILL:
        rest = "".join(KIND_LETTERS[kind] for kind in reversed(kinds) if kind != SPILL)
        return rest + reg_text(slot.reg)
    if kinds[0] == DYN and slot.reg.detail is not None:
        ref = f"(ref_id={slot.reg.ref})" if slot.reg.ref else ""
        return f"dynptr_{slot.reg.detail[0]}{ref}"
    if kinds[0] == ITER and slot.reg.detail is not None:
        phase = "active" if slot.reg.detail[1] == 1 else "drained"
        return f"iter(ref_id={slot.reg.ref},state={phase},depth={slot.reg.detail[2]})"
    return "".join(KIND_LETTERS[kind] for kind in reversed(kinds))


def frame_text(frame: Frame) -> str:
    """`frame1: R0=scalar() R1=ctx() fp-8=0`."""
    return _state_text((frame.number, frame.regs, frame.stack))


# A frame's number, registers and stack, as they were at an instruction.
Kept = tuple[int, list[Reg], dict[int, Slot]]


def _keep(frame: Frame) -> Kept:
    return frame.number, frame.regs[:], frame.stack.copy()


def _state_text(kept: Kept) -> str:
    frame, regs, stack = kept
    parts = [f"frame{frame}:"] if frame else []
    parts += [f"R{number}={reg_text(reg)}" for number, reg in enumerate(regs) if reg.type != NOT_INIT]
    parts += [f"fp-{(spi + 1) * 8}={slot_text(stack[spi])}" for spi in sorted(stack)]
    return " ".join(parts)


_HELPER_NAMES = {number: name for name, (number, _) in HELPERS.items()}


def _instruction(insn: Insn, following: Insn | None) -> str:
    if insn.opcode == JMP | CALL and insn.src == 0:
        return f"call bpf_{_HELPER_NAMES.get(insn.imm, 'unknown')}#{insn.imm}"
    if insn.opcode == LD_IMM64 and following is not None:
        return wide_text(insn, following, dialect="kernel") or ""
    return text_of(insn, dialect="kernel") or ""


class Log:
    """Lines of text, of which those that tell states are made when the text is asked for: they take longer
    than the walk. At level 1 what belongs to finished paths is dropped.
    """

    def __init__(self, walk: Walk, level: int) -> None:
        self.walk = walk
        self.level = level
        # A line, an instruction with the state before it, or where a path goes on: (from, to) and its state.
        self.lines: list[str | tuple[int, Kept] | tuple[int, int, Kept]] = []
        self.path: list[int] = []

    @property
    def length(self) -> tuple[int, int]:
        """How far the log and the path have come: what a path put aside goes back to."""
        return len(self.lines), len(self.path)

    def begin(self, subprog: int) -> None:
        """The walk of a function begins."""
        self.path.clear()
        if subprog:
            name = self.walk.context.name_of(subprog)
            self.lines.append(f"Validating {name}() func#{subprog}...")

    def step(self, previous: int, index: int) -> None:
        """An instruction is about to be looked at."""
        self.path.append(index)
        self.lines.append((index, _keep(self.walk.frame)))

    def _step_text(self, index: int, kept: Kept) -> str:
        insns = self.walk.insns
        source = self.walk.context.source_at(index)
        following = insns[index + 1] if index + 1 < len(insns) else None
        text = _instruction(insns[index], following)
        lines = f"{index}: {_state_text(kept)}\n{index}: ({insns[index].opcode:02x}) {text}"
        return f"{source}\n{lines}" if source else lines

    def safe(self, previous: int, index: int) -> None:
        """What comes is known to be safe."""
        if self.level > 1:
            self.lines.append(f"from {previous} to {index}: safe")

    def resume(self, item: Pending) -> None:
        """A path that was put aside goes on."""
        lines, steps = item.logged
        if self.level == 1:
            del self.lines[lines:]
        del self.path[steps:]
        self.lines.append((item.previous, item.index, _keep(item.state.frames[-1])))

    def branches(self) -> list[tuple[int, bool]]:
        """(instruction, whether it jumped) of each conditional branch on the last path."""
        insns = self.walk.insns
        found = []
        for before, after in pairwise(self.path):
            opcode = insns[before].opcode
            if opcode & 7 in (5, 6) and opcode & 0xF0 not in (0x00, 0x80, 0x90):
                found.append((before, after != before + 1))
        return found

    def verdict(self, message: str) -> None:
        self.lines.extend(message.split("\n"))
        states = self.walk.context.loop_states
        if states is not None and "infinite loop" in message:
            self.lines.append(f"cur state: {frame_text(states[0].frames[-1])}")
            self.lines.append(f"old state: {frame_text(states[1].frames[-1])}")

    def text(self) -> str:
        walk = self.walk
        lines = []
        for line in self.lines:
            if isinstance(line, str):
                lines.append(line)
            elif len(line) == 2:
                lines.append(self._step_text(*line))
            else:
                lines.append(f"\nfrom {line[0]} to {line[1]}: {_state_text(line[2])}")
        end = (
            f"processed {walk.processed} insns (limit 1000000) max_states_per_insn {walk.peak_states} "
            f"total_states {walk.total_states} peak_states {walk.total_states} mark_read 0"
        )
        return "\n".join([*lines, end, ""])
