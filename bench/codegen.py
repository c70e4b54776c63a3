"""Generated code against clang's: the same programs in Python and in C.

Run: `python bench/codegen.py [--run] [--json] [--show] [NAME …]`. Needs clang (22 or 19) and libbpf's
headers. Instructions are counted; `--run` (root) also loads the programs, counts the instructions that the
verifier went through, and measures the time of those that BPF_PROG_TEST_RUN can run. The exit code is 1 if a
geometric mean of the ratios is above its reach or one pair has more than 1.25 times clang's instructions.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from probee import lang
from probee.errors import ProbeeError
from probee.isa.disasm import disassemble
from probee.lang.decl import programs_in
from probee.obj import ObjectSpec, read_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.program import Program

HERE = Path(__file__).parent / "codegen"
WORST = 1.25
REACH = {"size": 1.02, "verifier": 1.05, "time": 1.03}
ROUNDS, RUNS = 120, 40
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pairs to compare (default: all)")
    parser.add_argument("--json", action="store_true", help="one object for each pair, and the means")
    parser.add_argument("--show", action="store_true", help="both programs' instructions")
    parser.add_argument("--run", action="store_true", help="load and run them, too (root)")
    options = parser.parse_args()
    names = options.names or sorted(p.stem for p in HERE.glob("*.py"))
    compilers = [c for c in ("clang-22", "clang-19", "clang") if shutil.which(c)]
    if not compilers:
        print("no clang to compare with", file=sys.stderr)
        return 2
    if not options.json:
        more = f" {'verifier':>13} {'ratio':>6} {'ns':>13} {'ratio':>6}" if options.run else ""
        print(f"{'pair':<15} {'probee':>6} {compilers[0][:9]:>9} {'ratio':>6}{more}")
    ratios: dict[str, list[float]] = {kind: [] for kind in REACH}
    for name in names:
        ours, theirs = ours_of(name), theirs_of(name, compilers[0])
        found: dict[str, tuple[float, float]] = {"size": (size_of(ours), size_of(theirs))}
        if options.run:
            found |= live(name, ours, theirs)
        for kind, (a, b) in found.items():
            ratios[kind].append(a / b)
        if options.show:
            show(name, ours, theirs)
        report(name, found, options.json)
    means = {kind: math.exp(sum(map(math.log, of)) / len(of)) for kind, of in ratios.items() if of}
    worst = {kind: max(of) for kind, of in ratios.items() if of}
    if options.json:
        print(json.dumps({"pairs": len(names), "mean": means, "worst": worst}))
    else:
        for kind, mean in means.items():
            print(f"{kind}: geometric mean {mean:.3f} of {len(ratios[kind])} pairs, worst {worst[kind]:.3f}")
    return int(any(means[kind] > REACH[kind] for kind in means) or worst["size"] > WORST)


def report(name: str, found: dict[str, tuple[float, float]], as_json: bool) -> None:
    if as_json:
        print(json.dumps({"pair": name, **{kind: [a, b, round(a / b, 3)] for kind, (a, b) in found.items()}}))
        return
    a, b = found["size"]
    line = f"{name:<15} {a:>6} {b:>9} {a / b:>6.3f}"
    for kind, width in (("verifier", 0), ("time", 1)):
        if kind in found:
            a, b = found[kind]
            line += f" {f'{a:.{width}f} {b:.{width}f}':>13} {a / b:>6.3f}"
    print(line)


@contextmanager
def statistics() -> Iterator[None]:
    """The kernel adds up the time of programs."""
    before = STATS.read_text()
    STATS.write_text("1")
    try:
        yield
    finally:
        STATS.write_text(before)


def packet(protocol: int) -> bytes:
    """A packet of UDP (17) or TCP (6) from 10.0.0.1 to 10.0.0.2, to port 53."""
    behind = (
        struct.pack(">HHHH", 4000, 53, 66, 0)
        if protocol == 17
        else struct.pack(">HHIIBBHHH", 4000, 53, 1, 1, 0x50, 0x02, 64, 0, 0)
    )
    ip = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(behind) + 58, 1, 0, 64, protocol, 0, b"\n\0\0\1", b"\n\0\0\2"
    )
    return b"\2" * 12 + b"\x08\0" + ip + behind + bytes(58)


def live(name: str, ours: ObjectSpec, theirs: ObjectSpec) -> dict[str, tuple[float, float]]:
    """Instructions that the verifier went through, and nanoseconds of a run where it can be run."""
    from probee.kernel.load import load

    with load(ours) as a, load(theirs) as b, statistics():
        sides = [list(side.programs.values()) for side in (a, b)]
        found = {"verifier": tuple(float(sum(p.info().verified_insns for p in side)) for side in sides)}
        protocol = 6 if "TCP" in (HERE / f"{name}.py").read_text() else 17
        best = [math.inf, math.inf]
        try:
            for _ in range(ROUNDS):
                for which, side in enumerate(sides):
                    best[which] = min(best[which], sum(one_run(p, packet(protocol)) for p in side))
        except ProbeeError:
            return found  # not a kind that can be run so
        return found | {"time": (best[0], best[1])}


def one_run(program: Program, data: bytes) -> float:
    """Nanoseconds of a run, the mean of some."""
    if program.section.startswith(("raw_tp", "tp_btf")):
        context = struct.pack("<QQ", 7, 257) if program.section.startswith("raw_tp") else bytes(48)
        before = program.info()
        for _ in range(RUNS):
            program.test_run(ctx=context)
        after = program.info()
        return (after.run_time_ns - before.run_time_ns) / (after.run_count - before.run_count)
    return float(program.test_run(data, repeat=20 * RUNS).duration)


def module_of(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"codegen_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def our_object(name: str) -> bytes:
    return lang.compile(programs_in(vars(module_of(name))), merge_syscalls=False)


def their_object(name: str, compiler: str) -> bytes:
    includes = [f"-I/usr/include/{platform.machine()}-linux-gnu", f"-I{HERE}"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.o"
        command = [compiler, "-target", "bpf", "-mcpu=v3", "-g", "-O2", "-Wall", "-Werror", *includes]
        command += ["-c", str(HERE / f"{name}.bpf.c"), "-o", str(made)]
        subprocess.run(command, check=True)
        return made.read_bytes()


def ours_of(name: str) -> ObjectSpec:
    return read_object(our_object(name), name)


def theirs_of(name: str, compiler: str) -> ObjectSpec:
    return read_object(their_object(name, compiler), name)


def size_of(spec: ObjectSpec) -> int:
    """Instructions of all programs with the subprograms they call; a wide one counts as its two slots."""
    return sum(len(p.link().insns) // 8 for p in spec.programs.values())


def show(name: str, ours: ObjectSpec, theirs: ObjectSpec) -> None:
    for who, spec in (("probee", ours), ("clang", theirs)):
        for program in spec.programs.values():
            print(f"-- {name}: {program.name} by {who}")
            print("\n".join(disassemble(bytes(program.link().insns))))


if __name__ == "__main__":
    raise SystemExit(main())
