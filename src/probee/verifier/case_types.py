"""Types for the functions of cases that were taken from BPF objects without their BTF.

A file of cases names a program's functions but doesn't tell their types. What a global function takes is read
off its instructions (which helper a parameter is given to, what is loaded through it, whether it is compared
with NULL) and off what its callers pass; a word in a name counts where nothing else tells.
"""

from __future__ import annotations

from probee.btf import BtfBuilder
from probee.isa.helpers import BY_ID
from probee.isa.insn import CALL_IMM, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, SIZE_BYTES, Insn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_GET_CURRENT_TASK = 158
_EXCEPTION = "exception_cb"
_ALU, _ALU64, _LD, _LDX, _ST, _STX, _JMP, _JMP32 = 4, 7, 0, 1, 2, 3, 5, 6


class _Use:
    """How a function uses one parameter."""

    __slots__ = ("helper", "nullable", "reach", "used")

    def __init__(self) -> None:
        self.used = False
        self.helper = ""  # the kind of a helper's argument that it is given for
        self.reach = 0  # bytes that are loaded or stored through it
        self.nullable = False


def _follow(insns: Sequence[Insn], start: int, end: int) -> tuple[list[_Use], bool]:
    """(the use of each of five parameters, whether r0 is ever set), in the order of the instructions."""
    uses = [_Use() for _ in range(5)]
    holds: dict[int, int] = {number + 1: number for number in range(5)}
    result = False
    at = start
    while at < end:
        insn = insns[at]
        kind, op = insn.opcode & 7, insn.opcode & 0xF0
        reads: list[int] = []
        if insn.opcode == CALL_IMM:
            proto = BY_ID.get(insn.imm) if insn.src == 0 else None
            for number, argument in enumerate(proto.args if proto is not None else (), 1):
                if number in holds:
                    reads.append(number)
                    uses[holds[number]].helper = uses[holds[number]].helper or argument.rstrip("?")
        elif kind == _LDX or kind in (_ST, _STX):
            through = insn.src if kind == _LDX else insn.dst
            reads += [through, insn.src] if kind != _ST else [through]
            if through in holds:
                use = uses[holds[through]]
                use.reach = max(use.reach, insn.off + SIZE_BYTES[insn.opcode & 0x18])
        elif kind in (_ALU, _ALU64):
            if insn.opcode & 8:
                reads.append(insn.src)
            if op != 0xB0:
                reads.append(insn.dst)
        elif kind in (_JMP, _JMP32) and op not in (0x00, 0x80, 0x90):
            reads += [insn.dst, insn.src] if insn.opcode & 8 else [insn.dst]
            if not insn.opcode & 8 and not insn.imm and insn.dst in holds:
                uses[holds[insn.dst]].nullable = True
        for register in reads:
            if register in holds:
                uses[holds[register]].used = True
        if insn.opcode == CALL_IMM:
            result = True
            for register in range(1, 6):
                holds.pop(register, None)
        elif kind in (_LD, _LDX, _ALU, _ALU64):
            into = 0 if kind == _LD and insn.opcode != LD_IMM64 else insn.dst
            result = result or into == 0
            same = holds.get(insn.src) if insn.opcode == 0xBF and not insn.off else None
            holds.pop(into, None)
            if same is not None:
                holds[into] = same
        at += 2 if insn.opcode == LD_IMM64 else 1
    return uses, result


def _passed(insns: Sequence[Insn], bounds: list[tuple[int, int]], callee: int) -> list[set[str]]:
    """What callers pass: "ctx", "task", "stack" or "" for each of five parameters."""
    found: list[set[str]] = [set() for _ in range(5)]
    for start, end in bounds:
        holds = {1: "ctx", 10: "stack"} if start == 0 else {10: "stack"}
        at = start
        while at < end:
            insn = insns[at]
            kind = insn.opcode & 7
            if insn.opcode == CALL_IMM:
                if insn.src == PSEUDO_CALL and at + 1 + insn.imm == callee:
                    for number in range(5):
                        found[number].add(holds.get(number + 1, ""))
                for register in range(6):
                    holds.pop(register, None)
                if insn.src == 0 and insn.imm == _GET_CURRENT_TASK:
                    holds[0] = "task"
            elif insn.opcode == 0xBF and not insn.off:
                holds[insn.dst] = holds.get(insn.src, "")
            elif kind in (_LD, _LDX) or (kind in (_ALU, _ALU64) and holds.get(insn.dst) != "stack"):
                holds.pop(insn.dst, None)
            at += 2 if insn.opcode == LD_IMM64 else 1
    return found


class _Types:
    """The BTF being made."""

    def __init__(self) -> None:
        self.builder = BtfBuilder()
        self.int = self.builder.int_("int", 4, 1)
        self.long = self.builder.int_("long", 8, 1)
        self.byte = self.builder.int_("char", 1, 0)
        self.context = self.builder.ptr(0)

    def struct(self, name: str, size: int = 0) -> int:
        """A pointer to a struct of that name."""
        return self.builder.ptr(self.builder.struct(name, size, []))

    def block(self, size: int) -> int:
        """A pointer to so many bytes."""
        if size in (1, 4, 8):
            return self.builder.ptr({1: self.byte, 4: self.int, 8: self.long}[size])
        return self.builder.ptr(self.builder.array(self.byte, self.int, size))

    def parameter(self, use: _Use, passed: set[str]) -> tuple[int, str]:
        """(type, tag) of a parameter."""
        key = use.helper
        if key == "ctx":
            return self.context, "ctx"
        if key == "dynptr":
            return self.struct("bpf_dynptr"), ""
        if key.startswith("btf:"):
            return self.struct(key[4:]), "trusted"
        if use.reach and passed == {"task"}:
            return self.struct("task_struct"), "trusted"
        if use.reach and passed == {"ctx"} and not use.nullable:
            return self.context, "ctx"
        if use.reach:
            return self.block(use.reach), ""
        return self.long, ""


def functions_btf(insns: list[Insn], functions: list[tuple[Any, ...]]) -> tuple[bytes, list[int]]:
    """BTF for functions told as (instruction, name, linkage), and each function's id in it.

    The first takes a context. A static function's parameters don't matter; those of a global one are guessed.
    A function that never sets r0 returns nothing.
    """
    types = _Types()
    builder = types.builder
    starts = sorted(int(entry[0]) for entry in functions)
    ends = dict(zip(starts, [*starts[1:], len(insns)], strict=True))
    bounds = list(ends.items())
    called = _called(insns)
    found = []
    catches = ""
    for place, name, linkage in functions:
        start = int(place)
        uses, result = _follow(insns, start, ends[start])
        # That of a static function with a packet load isn't in its instructions, which set r0 either way.
        result = result and not ("_void_" in str(name) and not int(linkage))
        params: list[tuple[str, int]] = []
        tags: list[tuple[int, str]] = []
        if not start:
            params.append(("ctx", types.context))
        elif int(linkage):
            count = max((number + 1 for number, use in enumerate(uses) if use.used), default=0)
            passed = _passed(insns, bounds, start)
            for number in range(count):
                type, tag = types.parameter(uses[number], passed[number])
                params.append((f"a{number}", type))
                if tag:
                    tags.append((number, tag))
            if str(name).startswith(_EXCEPTION) and (start not in called or not catches):
                catches = str(name)
        made = builder.func(str(name), builder.func_proto(types.int if result else 0, params), int(linkage))
        for number, tag in tags:
            builder.decl_tag(f"arg:{tag}", made, number)
        found.append(made)
    if catches and found:
        builder.decl_tag(f"exception_callback:{catches}", found[0])
    return builder.build(), found


def _called(insns: Sequence[Insn]) -> set[int]:
    """Where calls and function references lead."""
    return {
        at + 1 + insn.imm
        for at, insn in enumerate(insns)
        if (insn.opcode == CALL_IMM and insn.src == PSEUDO_CALL)
        or (insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC)
    }
