"""`probee top`: the programs in the kernel by the CPU time they take, live."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from ..errors import ProbeeError
from ..sys.details import ProgDetails
from ..tools._common import visible
from . import seek
from .main import one_interrupt
from .output import duration_text, layout, width
from .owners import Owners
from .profile import Statistics
from .prog_show import type_name
from .screen import Screen
from .style import bold, dim

EXAMPLES = """\
examples:
  sudo probee top                    live; q ends it
  sudo probee top -n 1 -i 5          one table, of five seconds
  sudo probee top --sort events      those that run most often first
  sudo probee top --json | jq .      one object for each interval

keys:  c, e, r, n, i  sort by CPU, events, time per run, name, id      space  now      q  end

CPU is the share of one CPU that a program took in the interval, in its hook, on all CPUs together. Counting
costs each run of each program some tens of nanoseconds, while probee top runs.
"""
SORTS = {"cpu": "CPU", "events": "events", "run": "time per run", "name": "name", "id": "id"}
_KEYS = {"c": "cpu", "e": "events", "r": "run", "n": "name", "i": "id"}
_TITLE = "probee top"
HEADS = (">ID", "TYPE", "NAME", ">CPU", ">EVENTS/S", ">PER RUN", "?>RUNS", "HELD BY")


class Program:
    """One program in one interval."""

    __slots__ = ("id", "name", "ns", "owners", "runs", "seconds", "tag", "total_ns", "total_runs", "type")

    def __init__(self, info: ProgDetails, name: str, before: tuple[int, int], seconds: float) -> None:
        self.id: int = info.id
        self.name = name
        self.type = type_name(info.type)
        self.tag = info.tag
        self.total_runs: int = info.run_count
        self.total_ns: int = info.run_time_ns
        self.runs = self.total_runs - before[0]
        self.ns = self.total_ns - before[1]
        self.seconds = seconds
        self.owners: list[tuple[int, str]] = []

    @property
    def cpu(self) -> float:
        """Percent of a CPU."""
        return float(self.ns / (self.seconds * 1e7))

    @property
    def events(self) -> float:
        """Runs a second."""
        return float(self.runs / self.seconds)

    @property
    def per_run(self) -> float:
        """Nanoseconds."""
        return self.ns / self.runs if self.runs else 0.0

    def json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": self.type,
            "name": self.name,
            "tag": self.tag,
            "cpu_percent": round(self.cpu, 4),
            "events_per_second": round(self.events, 2),
            "ns_per_run": round(self.per_run, 1),
            "run_cnt": self.total_runs,
            "run_time_ns": self.total_ns,
            "pids": [{"pid": pid, "comm": comm} for pid, comm in self.owners],
        }

    def row(self) -> list[str]:
        owners = ", ".join(f"{visible(comm)}({pid})" for pid, comm in self.owners)
        return [
            str(self.id),
            str(self.type),
            self.name,
            f"{self.cpu:.2f}%",
            f"{self.events:.0f}" if self.events >= 10 else f"{self.events:.2g}",
            duration_text(self.per_run) if self.runs else "",
            str(self.total_runs),
            owners,
        ]


class Sampler:
    """Takes the counts of all programs, again and again."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] = {}
        self._names: dict[int, str] = {}
        self._when = 0
        self.sample()  # what ran before we came is no news

    def sample(self) -> list[Program]:
        """All programs, with what they did since the last sample."""
        now = time.monotonic_ns()
        seconds = max(1e-9, (now - self._when) / 1e9)
        self._when = now
        found: list[Program] = []
        counts: dict[int, tuple[int, int]] = {}
        for id, handle in seek.each(seek.PROGRAM):
            try:
                info = handle.program()
            except OSError:
                continue
            counts[id] = (info.run_count, info.run_time_ns)
            if id not in self._names:
                self._names[id] = seek.prog_name(handle, info)
            # One loaded in the interval was counted from nothing on.
            found.append(Program(info, self._names[id], self._before.get(id, (0, 0)), seconds))
        owners = Owners()
        for program in found:
            program.owners = owners.of(seek.PROGRAM, program.id)
        self._before = counts
        self._names = {id: self._names[id] for id in counts}
        return found


def ordered(programs: list[Program], sort: str) -> list[Program]:
    if sort == "name":
        return sorted(programs, key=lambda p: (p.name, p.id))
    if sort == "id":
        return sorted(programs, key=lambda p: p.id)
    key = {"cpu": "cpu", "events": "events", "run": "per_run"}[sort]
    return sorted(programs, key=lambda p: (-float(getattr(p, key)), p.id))


def frame(programs: list[Program], sort: str, columns: int, rows: int) -> list[str]:
    """The lines of one table with its heading. `rows` 0: all programs."""
    cpu = sum(program.cpu for program in programs)
    events = sum(program.events for program in programs)
    count = f"{len(programs)} program{'s'[: len(programs) != 1]}"
    head = f"  {time.strftime('%H:%M:%S')}  {count}, {cpu:.2f}% of a CPU, {events:.0f} events/s"
    order = f"  by {SORTS[sort]}"
    if columns:
        head = head[: columns - len(_TITLE)]
        order = order if len(_TITLE + head + order) <= columns else ""
    lines = [bold(_TITLE) + head + dim(order)]
    shown = ordered(programs, sort)
    if rows:
        shown = shown[: max(1, rows - 3)]
    if shown:
        lines += layout(HEADS, [program.row() for program in shown], columns)
    left = len(programs) - len(shown)
    if left:
        lines.append(dim(f"… and {left} more"))
    return lines


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="probee top",
        description="The programs in the kernel by the CPU time they take, live. Needs root.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-i", "--interval", type=_seconds, default=1.0, metavar="SECONDS")
    parser.add_argument("-n", "--times", type=int, default=0, metavar="N", help="so many tables, then end")
    parser.add_argument("-s", "--sort", choices=list(SORTS), default="cpu")
    parser.add_argument("-j", "--json", action="store_true", help="one object a line for each interval")
    opts = parser.parse_args(argv)
    if opts.times < 0:
        parser.error("-n has to be a number from 1 on")
    one_interrupt()
    try:
        with Statistics():
            if opts.json or opts.times or not (sys.stdout.isatty() and sys.stdin.isatty()):
                _print(opts.interval, opts.times, opts.sort, opts.json)
            else:
                _live(opts.interval, opts.sort)
    except KeyboardInterrupt:
        return 0 if not opts.times else 130
    except OSError as error:
        if error.filename != "/proc/sys/kernel/bpf_stats_enabled":
            raise
        raise ProbeeError("this kernel can't count programs' runs (Linux 5.1)") from error
    return 0


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 86400:
        raise argparse.ArgumentTypeError("an interval is from 0.05 to 86400 seconds")
    return value


def _print(interval: float, times: int, sort: str, as_json: bool) -> None:
    """Tables one after the other, or JSON lines."""
    sampler = Sampler()
    done = 0
    while not times or done < times:
        time.sleep(interval)
        programs = sampler.sample()
        if as_json:
            facts = [program.json() for program in ordered(programs, sort)]
            print(json.dumps({"time": round(time.time(), 3), "programs": facts}))
        else:
            if done:
                print()
            print("\n".join(frame(programs, sort, width() if sys.stdout.isatty() else 0, 0)))
        sys.stdout.flush()
        done += 1


def _live(interval: float, sort: str) -> None:
    sampler = Sampler()
    wait = min(interval, 0.3)  # the first table soon
    with Screen() as screen:
        screen.draw([dim("counting …")])
        while True:
            key = screen.wait(wait)
            if key in ("q", "Q", "\x1b"):
                return
            sort = _KEYS.get(key, sort)
            size = os.get_terminal_size()
            screen.draw(frame(sampler.sample(), sort, size.columns, size.lines))
            wait = interval
