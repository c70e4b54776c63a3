"""`probee record`: programs run in the kernel, with all they read kept in a file."""

from __future__ import annotations

import argparse
import os
import sys

from ..errors import ProbeeError
from ..tools import TOOLS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="probee record",
        description="Run programs in the kernel and keep what each invocation of them read, so that "
        "`probee replay` can run them again anywhere. Ends at Ctrl-C.",
    )
    parser.add_argument("what", nargs="+", metavar="FILE.py|OBJECT.o|TOOL", help="programs to run")
    parser.add_argument("-o", "--output", default="run.probee", metavar="FILE", help="default: run.probee")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N invocations")
    parser.add_argument(
        "--most", type=int, default=256, metavar="MIB", help="end when so much was recorded (default: 256)"
    )
    parser.add_argument("--json", action="store_true", help="say what was recorded as JSON")
    return parser


def main(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    from ..record.live import record
    from .run import check_file

    paths = []
    for what in options.what:
        if what in TOOLS and not os.path.exists(what):
            what = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tools", f"{what}.py")
        check_file(what)
        paths.append(what)
    if options.count < 0 or (options.seconds is not None and options.seconds < 0) or options.most < 1:
        raise ProbeeError("--seconds, --count and --most take positive numbers")
    folder = os.path.dirname(os.path.abspath(options.output))
    if not os.access(folder, os.W_OK):
        raise ProbeeError(f"can't write {options.output}: {folder} is not there or not writable")
    if not options.json and options.seconds is None:
        print("Recording... Ctrl-C to end.", file=sys.stderr)
    made = record(*paths, seconds=options.seconds, count=options.count, keep=options.most << 20)
    size = made.save(options.output)
    counts = {t.name: 0 for t in made.programs}
    for one in made.all:
        counts[one.program] += 1
    if options.json:
        import json

        print(
            json.dumps(
                {
                    "file": options.output,
                    "bytes": size,
                    "invocations": counts,
                    "dropped": made.dropped,
                    "unfinished": made.unfinished,
                    "full": made.full,
                    "partial": {t.name: t.notes for t in made.programs if t.partial},
                }
            )
        )
        return 0
    for name, count in counts.items():
        print(f"{name}: {count} invocations")
    for traced in made.programs:
        for note in traced.notes:
            print(f"{traced.name} is recorded in part: {note}", file=sys.stderr)
    if made.dropped:
        print(f"{made.dropped} invocations were dropped: the recorder was too slow", file=sys.stderr)
    if made.unfinished:
        print(f"{made.unfinished} invocations had not ended", file=sys.stderr)
    if made.full:
        print(f"ended early: {options.most} MiB were recorded (--most)", file=sys.stderr)
    print(f"{options.output}: {size} bytes; `probee replay {options.output}` runs it again")
    return 0
