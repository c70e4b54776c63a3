"""`probee conformance-plugin`: the machine as a plug-in of bpf_conformance, whose runner drives it."""

from __future__ import annotations

import argparse
import sys

from ..errors import ProbeeError
from ..machine.code import Code
from ..machine.env import BareEnv, Cpu

_UNWIND = 5  # the helper that the suite calls; it gives its argument back
_ENGINES = {
    "interpreter": "interpret",
    "interpret": "interpret",
    "step": "step",
    "jit": "jit-checked",
    "verified": "jit-verified",
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee conformance-plugin",
        description="Runs one program in the machine and prints r0 in hex. The program comes in hex on "
        "standard input; r1 points to the memory and r2 is its length.",
    )
    parser.add_argument("memory", nargs="?", default="", metavar="MEMORY", help="bytes in hex")
    parser.add_argument("--program", metavar="HEX", help="the program, instead of standard input")
    engine = parser.add_mutually_exclusive_group()
    for option, text in (
        ("--interpreter", "translated to Python (the default)"),
        ("--interpret", argparse.SUPPRESS),
        ("--step", "one instruction at a time"),
        ("--jit", "native code that checks every access"),
        ("--verified", "native code without checks"),
    ):
        engine.add_argument(option, dest="engine", action="store_const", const=option[2:], help=text)
    opts = parser.parse_args(argv)
    program = _bytes(sys.stdin.read() if opts.program is None else opts.program, "the program")
    data = _bytes(opts.memory, "the memory")
    env = BareEnv(helpers={_UNWIND: _unwind})
    args: tuple[int, ...] = (0, 0)
    if data:
        region = env.memory.alloc(len(data), "ctx")
        region.data[:] = data
        args = (region.address, len(data))
    code = Code(program, name="program", verified=True)
    print(f"{Cpu(env, engine=_ENGINES[opts.engine or 'interpreter']).run(code, *args):x}")
    return 0


def _bytes(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ProbeeError(f"{what} has to be bytes in hex: b7 00 00 00 2a 00 00 00 …") from None


def _unwind(cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return r1
