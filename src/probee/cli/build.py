"""`probee build`: the programs of a Python file as a BPF object, for any loader with libbpf's conventions."""

from __future__ import annotations

import argparse
import os

from ..errors import ProbeeError
from ..lang.decl import ProgramDecl, programs_in
from ..session import import_file
from ..tools import TOOLS
from .run import check_file

EXAMPLES = """\
examples:
  probee build examples/execsnoop.py -o execsnoop.bpf.o
  sudo bpftool prog loadall execsnoop.bpf.o /sys/fs/bpf/execsnoop autoattach

Building needs no root, except where a program names the arguments of a system call: tracefs has them. The
object has plain tracepoints, BTF, line info that points at the Python source, and CO-RE relocations, so it
also fits other kernels than this one.
"""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee build",
        description="Compile the programs of a Python file, or of one of probee's tools, to a BPF object.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE.py|TOOL")
    parser.add_argument("-o", "--output", metavar="OBJECT.o", help="default: FILE.bpf.o, here")
    parser.add_argument(
        "-g",
        "--debug",
        action="store_true",
        help="with DWARF: debuggers and explanations know local variables",
    )
    opts = parser.parse_args(argv)
    output = opts.output or os.path.basename(opts.file).removesuffix(".py") + ".bpf.o"
    data = compile_file(opts.file, debug="names" if opts.debug else "")
    try:
        with open(output, "wb") as file:
            file.write(data)
    except OSError as error:
        raise ProbeeError(f"can't write {output}: {error.strerror}") from None
    print(f"{output}: {len(data)} bytes")
    return 0


def compile_file(path: str, debug: str = "") -> bytes:
    """The object of a Python file's programs, with plain tracepoints. `debug` is as in `lang.llvm.emit`."""
    programs = programs_of(path)
    from ..lang import compile

    return compile(programs, merge_syscalls=False, debug=debug)


def programs_of(path: str) -> list[ProgramDecl]:
    """The programs of a file, or of one of the tools."""
    if path in TOOLS:
        return programs_in(vars(__import__(f"probee.tools.{path}", fromlist=["*"])))
    check_file(path)
    programs = programs_in(vars(import_file(path)))
    if not programs:
        raise ProbeeError(f"{path} has no programs; decorate a function, for example with @bp.tracepoint(…)")
    return programs
