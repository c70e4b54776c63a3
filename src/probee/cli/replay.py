"""`probee replay`: a recording run again in the machine, and compared with what happened in the kernel."""

from __future__ import annotations

import argparse
import json
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..record.replay import Replay


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="probee replay",
        description="Run a recording in the user-space machine, without privileges, and compare each return "
        "value, the records in ring buffers and the maps at the end with the kernel's. Exit code 1 if "
        "something differs.",
    )
    parser.add_argument("file", metavar="RUN.probee")
    parser.add_argument(
        "--program", default="", metavar="NAME", help="look at the invocations of this one only"
    )
    parser.add_argument("--engine", default="auto", help="auto, interpreter or step (default: auto)")
    parser.add_argument("--events", action="store_true", help="print the records of ring buffers")
    parser.add_argument("--json", action="store_true")
    return parser


def main(argv: list[str]) -> int:
    options = _parser().parse_args(argv)
    from ..record.replay import replay
    from .run import check_file

    check_file(options.file)
    with replay(options.file, engine=options.engine) as run:
        differences = run.run(options.program)
        if options.json:
            print(json.dumps(_facts(run, options.program)))
        else:
            _print(run, options.events)
    return 1 if differences else 0


def _facts(run: Replay, program: str) -> dict[str, Any]:
    from .show import plain

    recording = run.recording
    return {
        "kernel": recording.release,
        "invocations": len(recording.invocations(program)),
        "results": [
            r
            for one, r in zip(recording.all, run.results, strict=False)
            if not program or one.program == program
        ],
        "dropped": recording.dropped,
        "unfinished": recording.unfinished,
        "partial": {t.name: t.notes for t in recording.programs if t.partial},
        "changed_by_others": run.changes,
        "events": {name: [plain(e) for e in events] for name, events in run.events.items()},
        "differences": [{"invocation": d.where, "text": d.text} for d in run.differences],
    }


def _print(run: Replay, events: bool) -> None:
    recording = run.recording
    if events:
        for name, records in run.events.items():
            for record in records:
                print(f"{name}: {record}")
    for traced in recording.programs:
        for note in traced.notes:
            print(f"{traced.name} was recorded in part: {note}", file=sys.stderr)
    lost = recording.dropped + recording.unfinished
    if not run.whole:
        print(
            f"{lost or 'some'} invocations are missing: maps and records at the end are not compared",
            file=sys.stderr,
        )
    for difference in run.differences:
        print(difference)
    count = sum(map(len, run.events.values()))
    print(
        f"{len(recording)} invocations recorded on Linux {recording.release}, {count} records; "
        + (f"{len(run.differences)} differences" if run.differences else "the same as in the kernel")
    )
