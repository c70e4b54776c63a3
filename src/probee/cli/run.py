"""`probee run`: a Python file as `python FILE` would run it, or a BPF object attached and shown."""

from __future__ import annotations

import os
import sys

from ..errors import ProbeeError

HELP = """\
usage: probee run [-v] [--json] FILE.py [ARGUMENT …]
       probee run [-v] [--json] OBJECT.o
       probee run --machine [--events EVENTS.json] [--json] FILE.py|OBJECT.o

Run a Python file, with its arguments in sys.argv. If the file attaches nothing itself, probee attaches its
programs, and prints the records of its ring buffers and what the programs print() until Ctrl-C.
A BPF object (made by `probee build`, clang, …) is attached and shown in the same way.
With --machine nothing reaches the kernel: the programs run in a user-space machine, without privileges, and
see the events that the file's function `scenario(m)` fires, or those of a file (see docs/testing.md).

options:
  -v, --verbose   the verifier's full log when it refuses a program
  --json          records as JSON, one object a line (when probee does the printing)
  --machine       in the user-space machine instead of the kernel
  --events FILE   events for the machine: JSON, one object a line

examples:
  sudo probee run examples/execsnoop.py
  sudo probee run mytool.py --its-own-option
  sudo probee run mytool.bpf.o"""


def main(argv: list[str]) -> int:
    json = machine = False
    events = ""
    while argv and argv[0].startswith("-"):
        option, argv = argv[0], argv[1:]
        if option in ("-h", "--help"):
            print(HELP)
            return 0
        if option == "--":
            break
        if option == "--json":
            json = True
        elif option == "--machine":
            machine = True
        elif option == "--events" or option.startswith("--events="):
            events = option[9:] if "=" in option else argv.pop(0) if argv else ""
            if not events:
                print("probee run: --events needs a file", file=sys.stderr)
                return 2
        elif option in ("-v", "--verbose"):
            from . import report

            report.verbose = True
        else:
            print(f"probee run: there is no option {option}; `probee run --help` lists them", file=sys.stderr)
            return 2
    if not argv:
        print(f"probee run: which file?\n\n{HELP}", file=sys.stderr)
        return 2
    path = argv[0]
    check_file(path)
    if events and not machine:
        print("probee run: --events goes with --machine", file=sys.stderr)
        return 2
    if machine:
        from .run_machine import run_machine

        return run_machine(path, argv, events, json)
    if path.endswith(".py"):
        return run_python(path, argv, json)
    from ..session import attach

    with attach(path, catch_interrupt=True) as session:
        from .show import show

        show(session, json=json)
    return 0


def check_file(path: str) -> None:
    """Raise ProbeeError, with the reason, if there is no such file."""
    if os.path.isfile(path):
        return
    if os.path.isdir(path):
        raise ProbeeError(f"{path} is a directory; give a file")
    if os.path.exists(path):
        raise ProbeeError(f"{path} is no regular file")
    raise ProbeeError(f"there is no file {path}")


def run_python(path: str, argv: list[str], json: bool) -> int:
    from .. import session
    from ..lang.decl import programs_in

    attached: list[session.Session] = []
    session.on_attach.append(attached.append)
    sys.argv = argv
    module = session.import_file(path, "__main__")
    programs = [] if attached else programs_in(vars(module))
    if not programs and not attached:
        print(f"probee: {path} has no programs, and has attached none", file=sys.stderr)
    if programs:
        with session.attach(*programs, catch_interrupt=True) as live:
            from .show import show

            show(live, json=json)
    return 0
