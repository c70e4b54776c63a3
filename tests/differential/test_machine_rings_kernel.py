"""A ring buffer's memory after the same programs in the kernel and in the machine: the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machine_asm import Asm, in_kernel
from probee.sys import kernel

pytestmark = pytest.mark.root

RINGBUF, PAGE = 27, 4096
RECORD = st.tuples(st.sampled_from((1, 4, 8, 20, 100, 1000, 4080, 4088, 4096)), st.sampled_from("sdo"))


def program(fd: int, records: Sequence[tuple[int, str]]) -> str:
    """Reserves and submits (s) or discards (d) each record, or outputs it (o); r0 counts the refused ones."""
    lines = ["r7 = 0"]
    for i, (size, how) in enumerate(records):
        if how == "o":
            lines += [f"*(u64 *)(r10 - 8) = {i + 1}", f"r1 = map_fd({fd}, 0x0) ll", "r2 = r10", "r2 += -8"]
            lines += [f"r3 = {min(size, 8)}", "r4 = 0", "call ringbuf_output", f"if r0 == 0 goto next{i}"]
            lines += ["r7 += 1", f"next{i}:"]
            continue
        lines += [f"r1 = map_fd({fd}, 0x0) ll", f"r2 = {size}", "r3 = 0", "call ringbuf_reserve"]
        lines += [
            f"if r0 != 0 goto got{i}",
            "r7 += 1",
            f"goto next{i}",
            f"got{i}:",
            f"*(u8 *)(r0 + 0) = {i + 1}",
        ]
        lines += ["r1 = r0", "r2 = 0", f"call ringbuf_{'submit' if how == 's' else 'discard'}", f"next{i}:"]
    lines += [f"r1 = map_fd({fd}, 0x0) ll", "r2 = 0", "call ringbuf_query", "r7 <<= 16", "r0 |= r7", "exit"]
    return "\n".join(lines) + "\n"


@given(st.lists(st.lists(RECORD, max_size=8), max_size=5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_bytes(runs: list[list[tuple[int, str]]]) -> None:
    calls = kernel()
    theirs = calls.map_create(RINGBUF, 0, 0, PAGE)
    machine = Asm()
    ours = machine.map(RINGBUF, 0, 0, PAGE)
    try:
        their_consumer = memoryview(calls.mmap(theirs, PAGE, write=True))
        their_rest = memoryview(calls.mmap(theirs, 3 * PAGE, offset=PAGE))
        our_consumer = machine.services.syscalls.mmap(ours, PAGE, write=True)
        our_rest = machine.services.syscalls.mmap(ours, 3 * PAGE, offset=PAGE)
        for records in runs:
            expected = in_kernel(program(theirs, records))[0]
            assert machine.run(program(ours, records), context=machine.packet(bytes(64))) == expected
            assert our_rest[:8] == their_rest[:8]
            assert our_rest[PAGE:] == their_rest[PAGE:]
            their_consumer[:8] = our_consumer[:8] = bytes(their_rest[:8])
    finally:
        calls.close(theirs)
