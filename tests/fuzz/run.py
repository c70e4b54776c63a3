"""Fuzzes the parsers of bytes, guided by coverage: `python tests/fuzz/run.py TARGET [SECONDS]`.

Without a target it runs each for some seconds (10 by default). A target that raises anything but probee's own
errors, or that takes more than thirty seconds or 2 GB for an input, ends with exit code 1, and says where the
input is. Needs atheris (`pip install atheris`), a front end of LLVM's libFuzzer.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

SECONDS = 10


def one(name: str, seconds: int, folder: str) -> None:
    """Fuzz one target in this process, which ends here."""
    import atheris

    with atheris.instrument_imports(include=["probee"]):
        from targets import TARGETS, seeds, stored

        from probee.errors import ProbeeError

        target = TARGETS[name]
        corpus = Path(folder) / name
        corpus.mkdir(exist_ok=True)
        for number, data in enumerate([*seeds(name), *stored(name)]):
            (corpus / f"seed-{number}").write_bytes(data)
            with contextlib.suppress(ProbeeError):  # what it needs is imported, and so instrumented, here
                target(data)

    def test(data: bytes) -> None:
        with contextlib.suppress(ProbeeError):
            target(data)

    options = [f"-max_total_time={seconds}", "-timeout=30", "-rss_limit_mb=2048", "-print_final_stats=1"]
    options += [f"-artifact_prefix={folder}/{name}-", "-verbosity=0"]
    atheris.Setup([sys.argv[0], str(corpus), *options], test)
    atheris.Fuzz()


def main() -> int:
    words = sys.argv[1:]
    if len(words) == 3 and words[0] == "--child":
        one(words[1], int(words[2]), tempfile.gettempdir())
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("fuzzing needs atheris: pip install atheris", file=sys.stderr)
        return 2
    from targets import TARGETS

    seconds = int(words.pop()) if words and words[-1].isdigit() else SECONDS
    unknown = [word for word in words if word not in TARGETS]
    if unknown:
        print(f"no target {unknown[0]}; there are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in words or TARGETS:
        command = [sys.executable, __file__, "--child", name, str(seconds)]
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        text = run.stdout.decode("utf-8", "replace")
        counts = [line.split()[-1] for line in text.splitlines() if "number_of_executed_units" in line]
        units = counts[-1] if counts else "?"
        print(f"{name:<16} {units:>10} inputs  {'ok' if run.returncode == 0 else 'FAILED'}", flush=True)
        if run.returncode:
            failed += 1
            print(text[-4000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
