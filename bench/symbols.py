"""Functions and USDT probes in a program of 100,000 symbols, against a loop over libelf in C.

`python bench/symbols.py [--json] [--rounds N]`; needs gcc, and libelf's header for the peer. No root needed.
The exit code is 1 if a search takes 50 ms or more, by the medians.

Each search opens the file anew. "fresh process" is a new Python that imports probee's modules and searches
once (without the interpreter's own start); "from disk" has the file's pages dropped before.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from probee.symbols.elf import Elf
from probee.symbols.locate import locate, locate_all
from probee.symbols.usdt import list_probes

LIMIT = 0.050
SYMBOLS, PROBES = 100_000, 1_000
NEEDLE, PATTERN, MANY, INNER = "the_needle", "module_5_function_*", "*_function_1*", "*77777*"
PEER = Path(__file__).parent / "peer/elf_symbols.c"
FRESH = """
import sys, time
start = time.perf_counter()
from probee.symbols.locate import locate
locate(sys.argv[1], sys.argv[2])
print(time.perf_counter() - start)
"""


def program(folder: Path) -> Path:
    """An executable with many functions and probes, made by the assembler."""
    names = random.Random(1)
    lines = [".text", ".globl _start", ".type _start, @function", "_start: ret"]
    for index in range(SYMBOLS):
        name = f"module_{index % 977}_function_{index}_{names.randrange(1 << 30):x}"
        lines += [f".globl {name}", f".type {name}, @function", f"{name}: ret"]
        if index % (SYMBOLS // PROBES) == 0:
            lines += ["990: nop", '.pushsection .note.stapsdt,"","note"', ".balign 4"]
            lines += [".4byte 8, 994f-993f, 3", '.asciz "stapsdt"', "993: .8byte 990b, 0, 0"]
            lines += ['.asciz "bench"', f'.asciz "probe_{index}"', '.asciz "-4@%eax 8@-8(%rbp)"']
            lines += ["994: .balign 4", ".popsection"]
    lines += [".globl the_needle", ".type the_needle, @function", "the_needle: ret"]
    source, output = folder / "many.s", folder / "many"
    source.write_text("\n".join(lines) + "\n")
    subprocess.run(["gcc", "-nostdlib", "-static", "-o", output, source], check=True)
    return output


def peer(folder: Path, binary: Path, rounds: int) -> list[list[float]]:
    """Seconds of the C program: by name, by pattern, notes. Empty if it can't be built (no libelf)."""
    output = folder / "peer"
    built = subprocess.run(["gcc", "-O2", "-o", output, PEER, "-lelf"], capture_output=True)
    if built.returncode:
        return []
    out: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        run = subprocess.run([output, binary, NEEDLE, PATTERN], capture_output=True, text=True, check=True)
        for times, line in zip(out, run.stdout.splitlines(), strict=True):
            times.append(float(line.split()[0]) / 1e3)
    return out


def timed(
    what: Callable[[], object], rounds: int, before: Callable[[], object] = lambda: None
) -> list[float]:
    """Seconds, for each round."""
    out = []
    for _ in range(rounds):
        before()
        start = time.perf_counter()
        what()
        out.append(time.perf_counter() - start)
    return out


def fresh(binary: Path, rounds: int) -> list[float]:
    run = [sys.executable, "-c", FRESH, str(binary), NEEDLE]
    return [float(subprocess.run(run, capture_output=True, check=True).stdout) for _ in range(rounds)]


def drop(binary: Path) -> None:
    """Have the kernel forget the file's pages."""
    fd = os.open(binary, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def at_address(path: str, address: int) -> None:
    with Elf(path) as elf:
        assert elf.at(address) is not None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one object for each row")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    if shutil.which("gcc") is None:
        print("needs gcc", file=sys.stderr)
        return 2
    rounds = options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        binary = program(folder)
        path = str(binary)
        with Elf(path) as elf:
            needle = elf.find(NEEDLE)
            assert needle is not None
        assert len(list_probes(path)) == PROBES
        theirs = peer(folder, binary, rounds) or [[], [], []]
        rows: list[tuple[str, list[float], list[float]]] = [
            ("a function by name", timed(lambda: locate(path, NEEDLE), rounds), theirs[0]),
            ("the same, from disk", timed(lambda: locate(path, NEEDLE), rounds, lambda: drop(binary)), []),
            ("the same, fresh process", fresh(binary, rounds), []),
            (f"pattern {PATTERN}", timed(lambda: locate_all(path, PATTERN), rounds), theirs[1]),
            (
                "the same, from disk",
                timed(lambda: locate_all(path, PATTERN), rounds, lambda: drop(binary)),
                [],
            ),
            (f"pattern {INNER}", timed(lambda: locate_all(path, INNER), rounds), []),
            ("a function by address", timed(lambda: at_address(path, needle.address), rounds), []),
            (f"{PROBES} USDT probes", timed(lambda: list_probes(path), rounds), theirs[2]),
            ("one USDT probe of them", timed(lambda: list_probes(path, name="probe_500"), rounds), []),
        ]
        many = len(locate_all(path, MANY))
        rows.append((f"{many} matches of {MANY}", timed(lambda: locate_all(path, MANY), rounds), []))
    limited = rows[:-1]
    if not options.json:
        print(f"Linux {platform.release()}, Python {platform.python_version()}; medians of {rounds}, ms")
        print(f"{'':40}{'probee':>10}{'libelf':>10}{'ratio':>10}")
    for what, ours, other in rows:
        mine = statistics.median(ours) * 1e3
        yours = statistics.median(other) * 1e3 if other else None
        if options.json:
            print(json.dumps({"what": what, "probee_ms": mine, "libelf_ms": yours}))
        else:
            beside = f"{yours:10.2f}{mine / yours:10.2f}" if yours else ""
            print(f"{what:40}{mine:10.2f}{beside}")
    return int(any(statistics.median(ours) >= LIMIT for _, ours, _ in limited))


if __name__ == "__main__":
    sys.exit(main())
