"""`./dev matrix`: the kernel tests on this kernel and on others, and a table of what became of them."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .kernels import SUITES, MatrixError, kernel
from .results import Results
from .table import Row, print_table, update_docs
from .vm import REPO, TIMED_OUT, run, turn

HERE = "here"
# What says something about a kernel: hooks, objects, maps, features, refusals, and that libbpf agrees. The
# language's other tests and the tools compile, which takes minutes in a guest; what commands print is the
# same with all.
_KERNELS = (
    "test_links",
    "test_load",
    "test_maps",
    "test_features_live",
    "test_refusals",
    "test_programs_run",
    "test_lang_kinds",
)
_FILES = sorted(f"tests/kernel/{p.name}" for p in (REPO / "tests/kernel").glob("test_*.py"))
TESTS = (
    *(file for file in _FILES if file.startswith(tuple(f"tests/kernel/{name}" for name in _KERNELS))),
    "tests/differential/test_judge.py",
    # Ports of the kernel's selftests on hooks that not every kernel has.
    *(f"tests/selftests/test_selftests_{name}.py" for name in ("kprobes", "lsm", "trampolines")),
)
_PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
# A guest's second is a twentieth of the host's.
_IN_GUEST = ["-o", "timeout=300"]


def _here(tests: list[str]) -> Row:
    import os

    with tempfile.TemporaryDirectory(prefix="probee-matrix-") as directory:
        path = Path(directory) / "results"
        begin = time.monotonic()
        subprocess.run([*_PYTEST, f"--results={path}", *tests], cwd=REPO)
        results = _read(path, "pytest did not start here")
    return Row(HERE, os.uname().release, results, time.monotonic() - begin)


def _elsewhere(name: str, tests: list[str], timeout: float) -> Row:
    """Boots the kernel again when a test takes the machine down, without the test if it does so twice."""
    machine = kernel(name)
    results = Results()
    suspects: set[str] = set()
    inside = "/run/probee-matrix"
    words = [f"--results={inside}/results", f"--without={inside}/done", f"@{inside}/tests"]
    with tempfile.TemporaryDirectory(prefix="probee-matrix-") as directory, turn():
        share = Path(directory)
        path = share / "results"
        (share / "tests").write_text("\n".join(tests))  # many names make a long command line
        begin = time.monotonic()
        while True:
            (share / "done").write_text("\n".join(sorted(results.known())))
            path.unlink(missing_ok=True)
            left = timeout - (time.monotonic() - begin)
            died = ""
            try:
                code = run(machine, [*_PYTEST, *_IN_GUEST, *words], share=share, timeout=left, sign=path)
            except MatrixError as error:
                code, died = 0, str(error)
            found = _read(path, died or "pytest did not start in the machine")
            results.add(found)
            if code == TIMED_OUT:
                results.not_run |= set(found.unfinished)
                break
            if code not in (0, 1):
                results.failed["pytest"] = f"ended with exit code {code}"
            why = died.partition(":\n")[0] or "pytest ended in it"
            if not died or not found.unfinished:
                results.failed |= dict.fromkeys(found.unfinished, why)
                break
            again = set(found.unfinished) - suspects
            results.failed |= dict.fromkeys(set(found.unfinished) & suspects, why)
            suspects |= again
            how = "with" if again else "without"
            print(f"matrix: {died}\nmatrix: once more, {how} {', '.join(found.unfinished)}", file=sys.stderr)
        seconds = time.monotonic() - begin
    return Row(name, machine.release, results, seconds)


def _read(path: Path, otherwise: str) -> Results:
    try:
        return Results.read(path)
    except OSError:
        raise MatrixError(otherwise) from None


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="dev matrix", description="Runs the kernel tests on this kernel and on Debian's, in QEMU."
    )
    parser.add_argument("kernels", nargs="*", choices=[HERE, *SUITES, []], help="all if none is named")
    parser.add_argument("--test", action="append", metavar="TEST", help="instead of all kernel tests; repeat")
    parser.add_argument("--all", action="store_true", help="also the language, the tools and the commands")
    parser.add_argument(
        "--skipped-in",
        type=Path,
        metavar="FILE",
        help="only tests that were skipped in these results of pytest",
    )
    parser.add_argument(
        "--timeout", type=float, default=3 * 3600, metavar="S", help="seconds for each kernel"
    )
    parser.add_argument("--docs", action="store_true", help="put what was found into docs/kernels.md")
    options = parser.parse_args()
    everything = [*_FILES, TESTS[-1]]
    tests = options.test or (everything if options.all else list(TESTS))
    rows = []
    try:
        if options.skipped_in:
            native = _read(options.skipped_in, f"{options.skipped_in} can't be read")
            tests = [test for test in native.skipped if test.startswith(TESTS)]
            if not tests:
                print("matrix: no kernel test was skipped, there is nothing to do")
                return 0
        for name in options.kernels or [HERE, *SUITES]:
            print(f"matrix: {name}", file=sys.stderr, flush=True)
            rows.append(_here(tests) if name == HERE else _elsewhere(name, tests, options.timeout))
    except MatrixError as error:
        print(f"matrix: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130
    finally:
        print_table(rows)
    if options.docs:
        update_docs(rows)
    return int(any(row.results.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
