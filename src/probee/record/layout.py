"""How the memory is laid out that instrumented programs write to: an array map with one value.

It begins with counters, a page of them. Behind that is the buffer, a ring of records. A record begins with
its site (16 bits), its length in words of 8 bytes (16 bits), and the number of its invocation (32 bits). The
first half of that is written last: while it is 0, the record is not finished.
"""

from __future__ import annotations

# Offsets of the counters, each in a cache line of its own.
WRITTEN, CONSUMED, NEXT_ID, LAST_ID, DROPPED, RUNNING = 0, 64, 128, 192, 256, 1024
BUFFER = 4096  # where the ring begins
SLACK = 1 << 16  # behind it, for records that run over its end
MOST_CPUS = (BUFFER - RUNNING) // 8

# Sites that are no instructions.
BEGIN, END = 0xFFFF, 0xFFFE
BEGIN_HEAD = 32  # bytes of a BEGIN record before the context: header, program, CPU, time, thread


def value_size(size: int) -> int:
    """Bytes of the map's value for a ring of `size` bytes, a power of two."""
    return BUFFER + size + SLACK
