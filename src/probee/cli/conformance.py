"""`probee conformance-plugin`: the machine as a plug-in of bpf_conformance, whose runner drives it."""

from __future__ import annotations

import argparse
import sys

from ..errors import ProbeeError
from ..machine.code import Code
from ..machine.env import BareEnv, Cpu

_SLEEPABLE = 1 << 4  # BPF_F_SLEEPABLE
_CONTEXT = 65536 + 8  # bytes within which the verifier lets programs reach into such a context
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
        ("--verified", "native code without checks, if the verifier takes the program"),
    ):
        engine.add_argument(option, dest="engine", action="store_const", const=option[2:], help=text)
    opts = parser.parse_args(argv)
    program = _bytes(sys.stdin.read() if opts.program is None else opts.program, "the program")
    data = _bytes(opts.memory, "the memory")
    env = BareEnv(helpers={_UNWIND: _unwind})
    refused = _refused(program) if opts.engine == "verified" else ""
    size = len(data)
    if opts.engine == "verified" and not refused:
        size = _CONTEXT  # what the verifier accepts stays within this
    args: tuple[int, ...] = (0, 0)
    if size:
        region = env.memory.alloc(size, "ctx")
        region.data[: len(data)] = data
        args = (region.address, len(data))
    if refused:
        print(f"probee: runs with every access checked: {refused}", file=sys.stderr)
    code = Code(program, name="program", verified=not refused, unverified=refused)
    print(f"{Cpu(env, engine=_ENGINES[opts.engine or 'interpreter']).run(code, *args):x}")
    return 0


def _refused(program: bytes) -> str:
    """Why the verifier does not take the program, as one of type syscall, whose context is plain memory of
    up to 64 KiB; "" if it does.
    """
    from ..isa.insn import decode
    from ..isa.tables import PROG_TYPES
    from ..verifier.program import Program
    from ..verifier.verify import verify

    verdict = verify(Program(decode(program), PROG_TYPES["syscall"][0], flags=_SLEEPABLE), kernel="6.18")
    return "" if verdict.accepted else f"the verifier says: {verdict.message}"


def _bytes(text: str, what: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ProbeeError(f"{what} has to be bytes in hex: b7 00 00 00 2a 00 00 00 …") from None


def _unwind(cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return r1
