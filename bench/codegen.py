"""Generated code against clang's: the same programs in Python and in C, instructions counted.

Run: `python bench/codegen.py [--json] [--show NAME] [NAME …]`. Needs clang (22 or 19) and libbpf's headers.
The exit code is 1 if the total is above 1.05 times clang's.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from probee import lang
from probee.isa.disasm import disassemble
from probee.lang.decl import programs_in
from probee.obj import ObjectSpec, read_object

HERE = Path(__file__).parent / "codegen"
REACH = 1.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="pairs to compare (default: all)")
    parser.add_argument("--json", action="store_true", help="one object for each pair, and the total")
    parser.add_argument("--show", action="store_true", help="both programs' instructions")
    options = parser.parse_args()
    names = options.names or sorted(p.stem for p in HERE.glob("*.py"))
    compilers = [c for c in ("clang-22", "clang-19", "clang") if shutil.which(c)]
    if not compilers:
        print("no clang to compare with", file=sys.stderr)
        return 2
    rows = []
    for name in names:
        ours, theirs = ours_of(name), theirs_of(name, compilers[0])
        rows.append((name, size_of(ours), size_of(theirs)))
        if options.show:
            show(name, ours, theirs)
    rows.append(("total", sum(r[1] for r in rows), sum(r[2] for r in rows)))
    if not options.json:
        print(f"{'pair':<14} {'probee':>6} {compilers[0][:9]:>9} {'ratio':>7}")
    for name, our_size, their_size in rows:
        ratio = our_size / their_size
        if options.json:
            print(
                json.dumps(
                    {"pair": name, "probee": our_size, compilers[0]: their_size, "ratio": round(ratio, 3)}
                )
            )
        else:
            print(f"{name:<14} {our_size:>6} {their_size:>9} {ratio:>7.3f}")
    return int(rows[-1][1] / rows[-1][2] > REACH)


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
