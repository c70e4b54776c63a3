"""`probee map event_pipe`: what programs send through a perf event array, live."""

from __future__ import annotations

import select
import sys
import time
from collections.abc import Iterator
from typing import Any

from ..errors import ProbeeError
from ..kernel.found import open_map
from ..kernel.perf_buffer import PerfBuffer
from . import seek
from .grammar import Words, Wrong
from .main import one_interrupt
from .output import Output
from .prog_run import hexdump

PERF_EVENT_ARRAY = 4
_SAMPLE, _LOST = 9, 2  # PERF_RECORD_SAMPLE, PERF_RECORD_LOST
_MOST = 10_000  # records between two looks at what was lost


def event_pipe(words: Words, output: Output) -> int:
    """Print records until Ctrl-C. With JSON, one array of them, as bpftool does."""
    with seek.map_(words) as handle:
        cpu = _cpu(words)
        if handle.map().type != PERF_EVENT_ARRAY:
            raise ProbeeError("only perf event arrays have events; a ring buffer is its reader's")
        one_interrupt()
        with open_map(fd=handle.fd) as array, array.buffer() as buffer:
            shown = 0
            try:
                if output.json:
                    print("[", end="", flush=True)
                for event in _events(buffer):
                    if cpu is not None and event["cpu"] != cpu:
                        continue
                    _print(event, output, first=not shown)
                    shown += 1
            except KeyboardInterrupt:
                pass
            finally:
                if output.json:
                    print("]", flush=True)
    return 0


def _cpu(words: Words) -> int | None:
    if not words:
        return None
    words.one_of("cpu")
    cpu = words.number("N")
    words.one_of("index")
    index = words.number("M")
    words.end()
    if index != cpu:
        raise Wrong("probee reads each CPU at its own index: `cpu N index N`")
    return cpu


def _events(buffer: PerfBuffer) -> Iterator[dict[str, Any]]:
    """Records with their CPU and the time they were read at, and losses, as they come; Ctrl-C ends it."""
    waiting = select.poll()
    waiting.register(buffer.fileno(), select.POLLIN)
    waiting.register(1, 0)  # a reader that goes away ends it
    lost: dict[int, int] = {}
    while True:
        now = time.monotonic_ns()
        for cpu, found in buffer.consume_by_cpu(_MOST).items():
            for data in found:
                yield {"type": _SAMPLE, "cpu": cpu, "index": cpu, "timestamp": now, "data": data}
        for cpu, count in buffer.lost.items():
            if count > lost.get(cpu, 0):
                more = count - lost.get(cpu, 0)
                yield {"type": _LOST, "cpu": cpu, "index": cpu, "lost": {"id": 0, "count": more}}
            lost[cpu] = count
        sys.stdout.flush()
        if any(fd == 1 for fd, _ in waiting.poll()):
            return


def _print(event: dict[str, Any], output: Output, *, first: bool) -> None:
    if output.json:
        data = event.get("data")
        facts = event if data is None else {**event, "data": list(data)}
        if not first:
            print(",", end="")
        output.emit(facts)
    elif event["type"] == _LOST:
        print(f"lost {event['lost']['count']} events on CPU {event['cpu']}")
    else:
        seconds, ns = divmod(event["timestamp"], 1_000_000_000)
        print(f"== @{seconds}.{ns:09d}  CPU {event['cpu']}  {len(event['data'])} bytes")
        print(hexdump(event["data"]))
