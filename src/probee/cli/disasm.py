"""`probee disasm`: instructions of programs, under the source lines they come from."""

from __future__ import annotations

import argparse
import os
import struct

from ..errors import ObjectError, ProbeeError
from ..isa.disasm import disassemble_insns
from ..isa.insn import decode
from ..isa.tables import HELPERS
from ..obj import ObjectSpec, ProgramSpec, read_object
from ..tools import TOOLS
from .run import check_file
from .style import bold, dim

CALL = 0x85  # RFC 9669, section 4.3: CALL by static id, in class JMP

EXAMPLES = """\
examples:
  probee disasm examples/execsnoop.py
  probee disasm execsnoop.bpf.o on_exec
  probee disasm runqlat
"""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee disasm",
        description="The instructions of a Python file's programs, a tool's, or an object's. Needs no root.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE.py|TOOL|OBJECT.o")
    parser.add_argument("program", nargs="*", help="only these programs")
    opts = parser.parse_args(argv)
    if opts.file.endswith(".py") or opts.file in TOOLS:
        from .build import compile_file

        data = compile_file(opts.file)
    else:
        check_file(opts.file)
        try:
            with open(opts.file, "rb") as file:
                data = file.read()
        except OSError as error:
            raise ProbeeError(f"can't read {opts.file}: {error.strerror}") from None
    try:
        spec = read_object(data, os.path.basename(opts.file))
    except ObjectError as error:
        raise ObjectError(f"{opts.file}: {error}") from None
    unknown = [name for name in opts.program if name not in spec.programs]
    if unknown:
        raise ProbeeError(f"{opts.file} has no program {unknown[0]!r}; it has {', '.join(spec.programs)}")
    for name in opts.program or spec.programs:
        print("\n".join(listing(spec, spec.programs[name])), end="\n\n")
    return 0


def listing(spec: ObjectSpec, program: ProgramSpec) -> list[str]:
    """The lines of one program; calls and map loads say what they refer to."""
    linked = program.link()
    insns = decode(linked.insns, spec.endian)
    sources = source_lines(spec, linked.line_info)
    notes = {at: symbol for at, _kind, symbol, _addend in linked.relocs}
    helpers = {number: name for name, (number, _since) in HELPERS.items()}
    for at, insn in enumerate(insns):
        if insn.opcode == CALL and not insn.src:
            notes[at] = helpers.get(insn.imm, "unknown helper")
    starts = dict(linked.functions)
    lines = [f"{bold(program.name)}  {program.section}  {len(insns)} instructions"]
    for at, text in enumerate(disassemble_insns(insns, endian=spec.endian)):
        if text is None:  # the second half of a wide immediate
            continue
        if at and at in starts:
            lines.append(f"{bold(starts[at])}:")
        if at in sources:
            lines.append(dim(f"  ; {sources[at]}"))
        lines.append(f"  {at:>4}: {text}" + (dim(f"  ; {notes[at]}") if at in notes else ""))
    return lines


def source_lines(spec: ObjectSpec, line_info: bytes) -> dict[int, str]:
    """Instruction -> source line, where a new one begins (struct bpf_line_info, linux/bpf.h)."""
    found: dict[int, str] = {}
    if spec.btf is None:
        return found
    order = "<" if spec.endian == "little" else ">"
    last = None
    for insn, _file, line, column in struct.iter_unpack(order + "IIII", line_info):
        text = spec.btf.string(line).strip()
        place = (text, column >> 10)
        if text and place != last:
            found[insn] = f"{column >> 10}: {text}"
        last = place
    return found
