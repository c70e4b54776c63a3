"""What `probee disasm` prints: linked programs with the source lines and the names behind the numbers.

on_exec:  tp/sched/sched_process_exec  (63 instructions)
; 12: runs[task.real_parent.tgid] += 1
   0: call 0x9e                                   ; bpf_get_current_task_btf
   2: r1 = map_fd(0x0, 0x0) ll                    ; map runs
"""

from __future__ import annotations

import struct

from probee.errors import ObjectError
from probee.isa.disasm import disassemble_insns
from probee.isa.insn import CALL_IMM, JMP, JMP32, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, Insn, decode
from probee.isa.tables import HELPERS
from probee.obj.spec import KCONFIG, MAP_FD, MAP_VALUE, RELOC_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from probee.obj.spec import LinkedProgram, MapSpec, ObjectSpec, ProgramSpec

_COMMENT_COLUMN = 52
_JA, _CALL, _EXIT = 0x00, 0x80, 0x90


def listing(spec: ObjectSpec, program: str | None = None) -> Iterator[str]:
    """The lines of all programs of an object, or of one. An empty line stands between programs.

    Raises:
        ObjectError: there is no such program, or a program can't be linked.
    """
    if program is not None and program not in spec.programs:
        known = ", ".join(spec.programs) or "none"
        raise ObjectError(f"there is no program {program} in {spec.name}; there are: {known}")
    chosen = [spec.programs[program]] if program is not None else list(spec.programs.values())
    for i, one in enumerate(chosen):
        if i:
            yield ""
        yield from _program(spec, one)


def _program(spec: ObjectSpec, program: ProgramSpec) -> Iterator[str]:
    linked = program.link()
    insns = decode(linked.insns, spec.endian)
    starts = dict(linked.functions)
    sources = _source_lines(spec, linked)
    notes = _notes(spec, linked, insns)
    yield f"{program.name}:  {program.section}  ({len(insns)} instructions)"
    for at, text in enumerate(disassemble_insns(insns, endian=spec.endian)):
        if at and at in starts:
            yield f"{starts[at]}:"
        if at in sources:
            yield f"; {sources[at]}"
        if text is None:  # the second slot of a wide immediate
            continue
        line = f"{at:4d}: {text}"
        found = notes.get(at)
        yield f"{line:<{_COMMENT_COLUMN}} ; {'; '.join(found)}" if found else line


def _source_lines(spec: ObjectSpec, linked: LinkedProgram) -> dict[int, str]:
    """Where a new source line begins: instruction -> its number and text."""
    out: dict[int, str] = {}
    if spec.btf is None:
        return out
    order = "<" if spec.endian == "little" else ">"
    before = None
    for at, file, text, position in struct.iter_unpack(order + "IIII", linked.line_info):
        here = (file, text, position >> 10)
        if here != before and position >> 10:
            line = spec.btf.string(text).strip()
            out[at] = f"{position >> 10}: {line}" if line else f"{spec.btf.string(file)}:{position >> 10}"
        before = here
    return out


def _notes(spec: ObjectSpec, linked: LinkedProgram, insns: list[Insn]) -> dict[int, list[str]]:
    """What numbers in instructions stand for: maps, variables, functions, kernel types, targets."""
    notes: dict[int, list[str]] = {}
    starts = dict(linked.functions)
    helpers = {number: f"bpf_{name}" for name, (number, _) in HELPERS.items()}
    for at, kind, symbol, addend in linked.relocs:
        notes.setdefault(at, []).append(_reloc_text(spec, kind, symbol, addend))
    for at, insn in enumerate(insns):
        words = ""
        if insn.opcode == CALL_IMM and insn.src == 0:
            words = helpers.get(insn.imm, "")
        elif (insn.opcode, insn.src) in ((CALL_IMM, PSEUDO_CALL), (LD_IMM64, PSEUDO_FUNC)):
            words = starts.get(at + 1 + insn.imm, "")
        elif insn.opcode == JMP32 | _JA:
            words = f"to {at + 1 + insn.imm}"
        elif insn.opcode & 7 in (JMP, JMP32) and insn.opcode & 0xF0 not in (_CALL, _EXIT):
            words = f"to {at + 1 + insn.off}"
        if words:
            notes.setdefault(at, []).append(words)
    if spec.btf is not None and linked.core:
        from probee.btf.core import resolve

        for reloc in linked.core:
            words = resolve(spec.btf, spec.btf, reloc).text
            notes.setdefault(reloc.insn_off // 8, []).append(f"CO-RE {words}")
    return notes


def _reloc_text(spec: ObjectSpec, kind: int, symbol: str, addend: int) -> str:
    if kind == MAP_FD:
        return f"map {symbol}"
    if kind == MAP_VALUE:
        found = next(
            (
                v
                for v in spec.globals.values()
                if v.map == symbol and v.offset <= addend < v.offset + max(1, v.size)
            ),
            None,
        )
        if found is None:
            text = _text_at(spec.maps[symbol], addend)
            return f"{symbol}+{addend}" + (f" {text}" if text else "")
        offset = addend - found.offset
        return found.name + (f"+{offset}" if offset else "")
    return f"kconfig {symbol}" if kind == KCONFIG else f"{RELOC_NAMES[kind]} {symbol}"


def _text_at(data: MapSpec, offset: int) -> str:
    """A string literal, quoted, if that is what a read-only section has there."""
    content = data.initial or b""
    end = content.find(0, offset)
    piece = content[offset : end if end >= 0 else len(content)]
    if not data.readonly or len(piece) < 2 or not piece.isascii():
        return ""
    text = piece.decode("ascii")
    return repr(text) if text.rstrip("\n").isprintable() else ""
