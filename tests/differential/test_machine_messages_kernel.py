"""Messages that sk_msg programs pull, push and pop: the machine's and those that arrive at a real socket."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import probee as bp
from probee import SK, i64, u32, u64

pytestmark = pytest.mark.root

PULL, PUSH, POP = 1, 2, 3
Step = tuple[int, int, int]


class Order(bp.Struct):
    what: u32
    start: u32
    size: u32
    result: u32
    seen: u64
    length: u64


sockets = bp.SockMap(2)
orders = bp.Array[Order](4)


class Byte(bp.Struct):
    value: bp.u8


@bp.sk_msg(sockets)
def change(msg):  # type: ignore[no-untyped-def]
    for i in range(4):
        order = orders.get(i)
        if order is None:
            return SK.DROP
        what, start, size, result = order.what, order.start, order.size, i64(0)
        if what == 1:
            result = msg.pull(start, start + size)
        elif what == 2:
            result = msg.push(start, size)
        elif what == 3:
            result = msg.pop(start, size)
        order = orders.get(i)
        if order is not None:
            order.result = u32(result)
            order.length = msg.size
            first = msg.read(Byte)
            if first is not None:
                order.seen = first.value + 1
            else:
                order.seen = 0
    return SK.PASS


Run = Callable[[bytes, list[Step]], None]


@pytest.fixture(scope="module")
def both() -> Iterator[Run]:
    with socket.create_server(("127.0.0.1", 0)) as server, bp.attach(change) as session:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        theirs.settimeout(2)
        with ours, theirs, bp.Machine(change) as m:
            session.maps["sockets"][0] = ours

            def run(data: bytes, steps: list[Step]) -> None:
                padded = (steps + [(0, 0, 0)] * 4)[:4]
                for where in (session, m):
                    table = where.maps["orders"]
                    for i, (what, start, size) in enumerate(padded):
                        table[i] = Order(what=what, start=start, size=size)
                left = m.sk_msg(data, change).output
                ours.sendall(data)
                arrived = b""
                while len(arrived) < len(left):
                    arrived += theirs.recv(1000)
                found = [
                    [(o.result, o.length, o.seen) for o in (where.maps["orders"][i] for i in range(4))]
                    for where in (session, m)
                ]
                places = pushed(len(data), padded, [result for result, _, _ in found[1]])
                for i in places:  # what the kernel has there is nobody's
                    arrived = arrived[:i] + b"\0" + arrived[i + 1 :]
                results = [[step[:2] for step in steps] for steps in found]
                assert results[0] == results[1]
                assert arrived == left
                if not places:
                    assert found[0] == found[1]

            yield run


def pushed(size: int, steps: list[Step], results: list[int]) -> list[int]:
    """Where the bytes that were pushed are in the end."""
    marks = [False] * size
    for (what, start, length), result in zip(steps, results, strict=True):
        if not result and what == PUSH:
            marks[start:start] = [True] * length
        elif not result and what == POP:
            del marks[start : start + length]
    return [i for i, mark in enumerate(marks) if mark]


STEP = st.tuples(st.sampled_from((PULL, PUSH, POP)), st.integers(0, 24), st.integers(0, 12))


@given(size=st.integers(1, 20), steps=st.lists(STEP, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_messages(both: Run, size: int, steps: list[Step]) -> None:
    both(bytes(range(65, 65 + size)), steps)
