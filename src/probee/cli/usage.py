"""`probee --help`, `probee tools`, `probee --version`, and what to say about commands that do not exist."""

from __future__ import annotations

import os
import sys

from .. import __version__
from ..tools import TOOLS
from .nouns import NOUNS
from .style import bold

COMMANDS = {
    "demo": "see it work: three programs, a small workload, what the kernel saw",
    "run": "run a Python file that uses probee, or attach a BPF object",
    "build": "compile the programs of a Python file to a BPF object",
    "stubs": "types of the running kernel for editors: .pyi files",
    "disasm": "show the instructions of a Python file's programs or of an object",
    "record": "run programs in the kernel and keep all they read, for `probee replay`",
    "replay": "run a recording again in the machine, without root, and compare",
    "verify": "whether Linux will take a file's programs, any version of it, and why not",
    "explain": "what a verifier's log says, on the lines of the source, and what to do",
    "verify-cases": "verdicts on a file of verifier cases, ours or the running kernel's",
    "debug": "step through programs in the machine, forward and back",
    "tools": "list the tools",
}


def overview() -> str:
    """What `probee --help` prints."""
    commands = "\n".join(f"  {bold(f'{name:<12}')} {text}" for name, text in COMMANDS.items())
    nouns = "\n".join(f"  {bold(f'{name:<12}')} {text}" for name, text in NOUNS.items())
    tools = "\n".join(f"  {bold(f'{name:<12}')} {text}" for name, text in TOOLS.items())
    return f"""\
probee: eBPF for Python. Look into the running Linux kernel, with programs written in Python.

{bold("usage:")} probee [-v] COMMAND …        (most need root: sudo probee …)

{bold("commands:")}
{commands}

{bold("what is in the kernel")} (the words and the JSON of bpftool):
{nouns}

{bold("tools:")}
{tools}

{bold("examples:")}
  sudo probee demo                           start here
  sudo probee opensnoop --comm nginx         the files that nginx opens
  sudo probee runqlat -i 1 -d 10             ten histograms, one a second
  sudo probee syscount --json | jq .         every tool speaks JSON
  sudo probee run mytool.py                  a tool of your own
  sudo probee top                            who takes how much time, of all BPF there is
  sudo probee prog show                      what is loaded; `probee prog help` for more
  probee build mytool.py -o mytool.bpf.o     for libbpf, bpftool, cilium/ebpf, aya

{bold("your first program:")} save it as hello.py, then `sudo probee run hello.py`

  import probee as bp

  @bp.tracepoint("syscalls:sys_enter_openat")
  def hello(args):
      print(f"{{bp.pid()}} opens {{args.filename}}")

`probee COMMAND --help` tells more. -v shows the verifier's full log when it refuses a program."""


def main(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help", "help"):
        if len(argv) > 1 and name == "help":
            from .main import main as command

            return command([argv[1], "--help"])
        print(overview())
        return 0
    if name in ("-V", "--version", "version"):
        print(f"probee {__version__}")
        return 0
    if name == "tools":
        for tool, text in TOOLS.items():
            print(f"{bold(f'{tool:<12}')} {text}")
        folder = os.path.dirname(sys.modules["probee.tools"].__file__ or "")
        print(f"\n`probee TOOL --help` explains one. Each is one file to read and to copy: {folder}/TOOL.py")
        return 0
    return wrong(name)


def wrong(name: str) -> int:
    if name.endswith((".py", ".o")):
        advice = f"to run a file: probee run {name}"
    else:
        from difflib import get_close_matches

        near = get_close_matches(name, [*COMMANDS, *NOUNS, *TOOLS], 3)
        advice = f"did you mean {' or '.join(near)}?" if near else "`probee --help` lists the commands"
    print(f"probee: there is no command {name!r}; {advice}", file=sys.stderr)
    return 2
