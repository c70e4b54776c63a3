"""`probee debug`: programs in the machine, step by step, forward and back."""

from __future__ import annotations

import argparse
import sys

from .. import machine_target
from ..debug import launch, terminal
from ..debug.debugger import Quit
from ..errors import ProbeeError
from ..machine.memory import Fault
from ..machine_target import Machine
from .run import check_file
from .run_machine import run_machine

EXAMPLES = """\
A file's events are those that its function `scenario(m)` fires, or those of --events, as for `probee run
--machine`. Commands: step, next, out, continue, and back, backstep, backout, backcontinue for the other way;
break, watch, print, vars, maps, packet, registers, stack, where, list; `help` explains them.

examples:
  probee debug mytool.py
  probee debug mytool.py --events events.json --command 'break 12 if pid > 5; continue; vars'
  probee debug mytool.bpf.o --events events.json
  probee debug run.probee --start 12            what `probee record` wrote
  probee debug test_mytool.py::test_exec        a failing test: goes back from where it failed
"""


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee debug",
        description="Debug BPF programs in the user-space machine. Needs neither root nor a kernel.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE.py|OBJECT.o|RECORDING|TEST.py::NAME")
    parser.add_argument("arguments", nargs="*", help="what a Python file finds in sys.argv")
    parser.add_argument("--events", metavar="FILE", default="", help="events: JSON, one object a line")
    parser.add_argument(
        "--start",
        metavar="N",
        type=int,
        default=0,
        help="of a recording: the first N invocations run through",
    )
    parser.add_argument(
        "--command",
        "-c",
        metavar="COMMANDS",
        action="append",
        default=[],
        help="debugger commands, `;` between",
    )
    parser.add_argument(
        "--optimised",
        action="store_true",
        help="debug Python programs as the kernel gets them: variables are known as far as they are kept",
    )
    opts = parser.parse_args(argv)
    terminal.script[:] = opts.command
    machine_target.build = "" if opts.optimised else "slots"
    try:
        if "::" in opts.file:
            return _test(opts.file, opts.arguments, opts.command)
        check_file(opts.file)
        if opts.file.endswith((".py", ".o")):
            return _file(opts)
        return _recording(opts.file, opts.start)
    except Quit:
        return 0
    finally:
        terminal.script.clear()
        machine_target.build = ""


def _file(opts: argparse.Namespace) -> int:
    machines: list[Machine] = []

    def look(machine: Machine) -> None:
        machines.append(machine)
        launch.debug(machine)

    try:
        code = run_machine(opts.file, [opts.file, *opts.arguments], opts.events, False, look)
    except Fault as fault:
        print(f"probee: {fault}", file=sys.stderr)
        machines[-1].debugger.post_mortem("the program did what it must not; `back` goes back from here")
        return 1
    print("the programs have ended")
    return code


def _recording(path: str, start: int) -> int:
    from ..record.replay import replay

    with replay(path, engine="step") as again:
        again.seek(start)
        launch.debug(again.machine)
        differences = again.run()
    for one in differences:
        print(f"not as in the kernel: {one}")
    print("the recording is over")
    return 1 if differences else 0


def _test(test: str, words: list[str], commands: list[str]) -> int:
    try:
        import pytest
    except ImportError:
        raise ProbeeError("debugging a test needs pytest: pip install pytest") from None
    from importlib.metadata import entry_points

    given = [word for text in commands for word in ("--bpf-command", text)]
    if not any(e.value == "probee.pytest_plugin" for e in entry_points(group="pytest11")):
        given += ["-p", "probee.pytest_plugin"]  # probee is on the path, but was not installed
    return int(pytest.main(["--bpf-debug", *given, test, *words]))
