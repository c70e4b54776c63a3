"""`probee disasm`: instructions of programs, under the source lines they come from."""

from __future__ import annotations

import argparse
import os

from ..errors import ObjectError, ProbeeError
from ..obj import read_object
from ..obj.listing import listing
from ..tools import TOOLS
from .run import check_file
from .style import bold, dim

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
    for n, name in enumerate(opts.program or spec.programs):
        if n:
            print()
        for line in listing(spec, name):
            print(styled(line))
    return 0


def styled(line: str) -> str:
    """Headings bold, source lines and notes dim, where the terminal has that."""
    if not line.startswith(" "):
        return dim(line) if line.startswith(";") else bold(line)
    code, mark, note = line.partition(" ; ")
    return code + dim(mark + note)
