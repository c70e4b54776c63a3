"""The machine's maps do as the kernel's: any sequence of operations gives the same results and errors.

Both are asked on the same seam, `Kernel`'s map calls. The process keeps to one CPU, since LRU maps have lists
for each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee.isa.tables import MAP_TYPES
from probee.kernel.describe import Types
from probee.machine.maps import Home
from probee.machine.maps.calls import MapCalls
from probee.machine.memory import Memory
from probee.sys import kernel

pytestmark = pytest.mark.root

HASH, ARRAY = 1, 2
SETTINGS = settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def on_one_cpu() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


class Pair:
    """The kernel and a machine with as many CPUs."""

    def __init__(self) -> None:
        self.theirs: Any = kernel()
        home = Home(Memory(), self.theirs.possible_cpus())
        home.cpu = min(os.sched_getaffinity(0))
        self.ours = MapCalls(home)
        self.cpus = home.cpus

    def same(self, ask: Callable[[Any, int], Any], fds: tuple[int, int] = (-1, -1)) -> Any:
        answers = []
        for calls, fd in zip((self.theirs, self.ours), fds, strict=True):
            try:
                answers.append(ask(calls, fd))
            except OSError as e:
                answers.append(("errno", e.errno))
        assert answers[1] == answers[0]
        return answers[0]


class Maps(Pair):
    """The same map in both."""

    def __init__(self, type: str, key: int, value: int, entries: int, flags: int = 0, **facts: Any) -> None:
        super().__init__()
        number = MAP_TYPES[type][0]
        self.fds = (
            self.theirs.map_create(number, key, value, entries, flags=flags, **facts),
            self.ours.map_create(number, key, value, entries, flags=flags, **facts),
        )
        self.key = key
        self.span = self.ours.find_map(self.fds[1]).span

    def ask(self, ask: Callable[[Any, int], Any]) -> Any:
        return self.same(ask, self.fds)

    def contents(self) -> None:
        """Both hold the same entries, in whatever order."""
        found = []
        for calls, fd in zip((self.theirs, self.ours), self.fds, strict=True):
            key, entries = None, {}
            while (key := calls.map_next_key(fd, key, self.key)) is not None:
                entries[key] = calls.map_lookup(fd, key, self.span)
            found.append(entries)
        assert found[1] == found[0]

    def __enter__(self) -> Maps:
        return self

    def __exit__(self, *exc: object) -> None:
        self.theirs.close(self.fds[0])


OPERATION = st.tuples(
    st.sampled_from(("update", "update", "update", "lookup", "delete", "take", "next", "has")),
    st.integers(0, 40),
    st.sampled_from((0, 0, 0, 0, 1, 2, 3, 4, 8)),
)


def play(maps: Maps, operations: list[tuple[str, int, int]], pack: Callable[[int], bytes]) -> None:
    for step, (word, number, flags) in enumerate(operations, 1):
        key = pack(number)
        value = step.to_bytes(8, "little") * (maps.span // 8) if maps.span >= 8 else bytes(maps.span)
        if word == "update":
            maps.ask(lambda c, fd, k=key, v=value, f=flags: c.map_update(fd, k, v, f))
        elif word == "lookup":
            maps.ask(lambda c, fd, k=key, f=flags: c.map_lookup(fd, k, maps.span, f))
        elif word == "delete":
            maps.ask(lambda c, fd, k=key: c.map_delete(fd, k))
        elif word == "take":
            maps.ask(lambda c, fd, k=key: c.map_lookup_and_delete(fd, k, maps.span))
        elif word == "has":
            maps.ask(lambda c, fd, k=key: c.map_lookup(fd, k, maps.span) is not None)


def word(number: int) -> bytes:
    return number.to_bytes(4, "little")


@pytest.mark.parametrize(
    ("type", "entries", "flags"),
    [
        ("hash", 12, 0),
        ("hash", 12, 1),
        ("percpu_hash", 12, 0),
        ("lru_hash", 1, 0),
        ("lru_hash", 12, 0),
        ("lru_hash", 30, 0),
        ("lru_hash", 12, 2),
        ("lru_percpu_hash", 12, 0),
        ("array", 12, 0),
        ("percpu_array", 12, 0),
    ],
)
def test_keyed_maps(type: str, entries: int, flags: int) -> None:
    @given(st.lists(OPERATION, max_size=60))
    @SETTINGS
    def run(operations: list[tuple[str, int, int]]) -> None:
        with Maps(type, 4, 8, entries, flags) as maps:
            play(maps, operations, word)
            maps.contents()

    run()


def test_large_lru_map_drops_the_same_entries() -> None:
    import random

    chance = random.Random(7)
    with Maps("lru_hash", 4, 8, 500) as maps:
        for i in range(6000):
            key = word(chance.randrange(1200))
            if chance.random() < 0.1:
                maps.ask(lambda c, fd, k=key: c.map_delete(fd, k))
            else:
                value = i.to_bytes(8, "little")
                maps.ask(lambda c, fd, k=key, v=value: c.map_update(fd, k, v))
            if not i % 500:
                maps.contents()


PREFIXES = st.tuples(st.integers(0, 34), st.integers(0, 255))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("update", "lookup", "delete", "next", "take")),
            PREFIXES,
            st.sampled_from((0, 1, 2, 3)),
        ),
        max_size=50,
    )
)
@SETTINGS
def test_tries(operations: list[tuple[str, tuple[int, int], int]]) -> None:
    with Maps("lpm_trie", 8, 8, 10, 1) as maps:
        for step, (what, (length, seed), flags) in enumerate(operations):
            key = length.to_bytes(4, "little") + bytes([seed & 0xC3, seed & 0x81, 0, seed & 3])
            value = step.to_bytes(8, "little")
            if what == "update":
                maps.ask(lambda c, fd, k=key, v=value, f=flags: c.map_update(fd, k, v, f))
            elif what == "lookup":
                maps.ask(lambda c, fd, k=key: c.map_lookup(fd, k, 8))
            elif what == "delete":
                maps.ask(lambda c, fd, k=key: c.map_delete(fd, k))
            elif what == "next":
                maps.ask(lambda c, fd, k=key: c.map_next_key(fd, k, 8))
        key = None
        for _ in range(12):
            key = maps.ask(lambda c, fd, k=key: c.map_next_key(fd, k, 8))
            if key is None:
                break


@pytest.mark.parametrize("type", ["queue", "stack"])
def test_queues(type: str) -> None:
    @given(
        st.lists(
            st.tuples(st.sampled_from(("push", "pop", "peek")), st.sampled_from((0, 0, 1, 2, 3))), max_size=40
        )
    )
    @SETTINGS
    def run(operations: list[tuple[str, int]]) -> None:
        with Maps(type, 0, 8, 5) as maps:
            for step, (what, flags) in enumerate(operations):
                value = step.to_bytes(8, "little")
                if what == "push":
                    maps.ask(lambda c, fd, v=value, f=flags: c.map_update(fd, b"", v, f))
                elif what == "pop":
                    maps.ask(lambda c, fd: c.map_lookup_and_delete(fd, b"", 8))
                else:
                    maps.ask(lambda c, fd: c.map_lookup(fd, b"", 8))

    run()


def test_bloom_filter_never_forgets() -> None:
    with Maps("bloom_filter", 0, 8, 100) as maps:
        values = [i.to_bytes(8, "little") for i in range(100)]
        for value in values:
            maps.ask(lambda c, fd, v=value: c.map_update(fd, b"", v))
        for value in values:
            assert maps.ask(lambda c, fd, v=value: c.map_holds(fd, v))
        maps.ask(lambda c, fd: c.map_update(fd, b"", bytes(8), 1))
        wrong = sum(maps.ours.map_holds(maps.fds[1], i.to_bytes(8, "little")) for i in range(1000, 2000))
        assert wrong < 100


@pytest.mark.parametrize("type", ["cpumap", "devmap", "devmap_hash"])
def test_where_packets_go(type: str) -> None:
    longest = 20000 if type == "cpumap" else 1
    with Maps(type, 4, 4, 4) as maps:
        for key in map(word, (0, 1, 3, 4, 9)):
            for value in map(word, (0, 1, longest)):
                for flags in (0, 1, 2, 3):
                    maps.ask(lambda c, fd, k=key, v=value, f=flags: c.map_update(fd, k, v, f))
            maps.ask(lambda c, fd, k=key: c.map_lookup(fd, k, 4))
            maps.ask(lambda c, fd, k=key: c.map_next_key(fd, k, 4) is None)
            maps.ask(lambda c, fd, k=key: c.map_delete(fd, k))


@pytest.mark.parametrize("type", ["array_of_maps", "hash_of_maps"])
def test_maps_of_maps(type: str) -> None:
    pair = Pair()
    number = MAP_TYPES[type][0]
    kinds = [(HASH, 4, 8, 5, 0), (HASH, 4, 8, 9, 0), (HASH, 4, 4, 5, 0), (ARRAY, 4, 8, 5, 0)]
    theirs = [pair.theirs.map_create(t, k, v, n, flags=f) for t, k, v, n, f in kinds]
    ours = [pair.ours.map_create(t, k, v, n, flags=f) for t, k, v, n, f in kinds]
    outers = (
        pair.theirs.map_create(number, 4, 4, 2, inner_fd=theirs[0]),
        pair.ours.map_create(number, 4, 4, 2, inner_fd=ours[0]),
    )
    try:
        for key in map(word, (0, 1, 2, 1)):
            for inside in (0, 1, 2, 3, -1):
                held = {id(pair.theirs): word(999999), id(pair.ours): word(999999)}
                if inside >= 0:
                    held = {id(pair.theirs): word(theirs[inside]), id(pair.ours): word(ours[inside])}
                for flags in (0, 1, 2):
                    pair.same(lambda c, fd, k=key, h=held, f=flags: c.map_update(fd, k, h[id(c)], f), outers)
            pair.same(lambda c, fd, k=key: c.map_lookup(fd, k, 4) is None, outers)
            pair.same(lambda c, fd, k=key: c.map_lookup_and_delete(fd, k, 4) is None, outers)
        pair.same(lambda c, fd: c.map_delete(fd, word(1)), outers)
        pair.same(lambda c, fd: c.map_delete(fd, word(1)), outers)
        pair.same(lambda c, fd: c.map_delete(fd, word(7)), outers)
    finally:
        for fd in (*theirs, outers[0]):
            pair.theirs.close(fd)


LIMITS = st.sampled_from((0, 1, 3, 4, 5, 8, 16, 17, 100, 4096, 8192, 40000, 1 << 22, (1 << 32) - 1))
FLAGS = st.sampled_from((0, *(1 << bit for bit in range(13)), 3, 0x18, 0x180, 0x401))
_NO_TYPES = (
    "struct_ops",
    "insn_array",
    "rhash",
    "cgroup_storage",
    "percpu_cgroup_storage",
    "reuseport_sockarray",
)


@pytest.mark.parametrize("type", [name for name in MAP_TYPES if name not in _NO_TYPES])
def test_what_can_be_made(type: str) -> None:
    """Creation is refused with the same errno."""
    number = MAP_TYPES[type][0]

    @given(
        key=LIMITS,
        value=LIMITS,
        entries=st.sampled_from((0, 1, 5, 100, 4096, 8192, 10000)),
        flags=FLAGS,
        extra=st.sampled_from((0, 0, 0, 3, 16)),
    )
    @settings(SETTINGS, max_examples=60)
    def run(key: int, value: int, entries: int, flags: int, extra: int) -> None:
        def make(calls: Any, _: int) -> str:
            fd = calls.map_create(number, key, value, entries, flags=flags, extra=extra)
            calls.close(fd)
            return "made"

        pair = Pair()
        if entries * (key + max(value, 1) * pair.cpus) > 64 << 20:
            return  # the machine's memory is smaller
        pair.same(make)

    run()


def test_frozen_and_one_way_maps() -> None:
    for flags in (0, 1 << 3, 1 << 4, 1 << 7, 1 << 8):
        with Maps("array", 4, 8, 2, flags) as maps:
            maps.ask(lambda c, fd: c.map_update(fd, word(0), bytes(8)))
            maps.ask(lambda c, fd: c.map_lookup(fd, word(0), 8))
            maps.ask(lambda c, fd: c.map_freeze(fd))
            maps.ask(lambda c, fd: c.map_freeze(fd))
            maps.ask(lambda c, fd: c.map_update(fd, word(0), bytes(8)))
            maps.ask(lambda c, fd: c.map_lookup(fd, word(0), 8))


@pytest.mark.parametrize("type", ["hash", "array", "lru_hash"])
def test_values_with_locks(type: str) -> None:
    """A lock is not written by updates, shown as 0, and wants BPF_F_LOCK to be allowed."""
    types = Types()
    key_id = types.add("u32")[0]
    number = types.add("u32")[0]
    lock = types.builder.struct("bpf_spin_lock", 4, [("val", number, 0)])
    value_id = types.builder.struct("v", 8, [("lock", lock, 0), ("n", number, 32)])
    btf = types.builder.btf()
    pair = Pair()
    btf_fd = pair.theirs.btf_load(btf.raw)
    ids = {"key_type_id": key_id, "value_type_id": value_id}
    kind = MAP_TYPES[type][0]

    def make(calls: Any, _: int) -> Any:
        types_of = {"btf": btf} if calls is pair.ours else {"btf_fd": btf_fd}
        fds.append(calls.map_create(kind, 4, 8, 4, **types_of, **ids))
        return "made"

    fds: list[int] = []
    try:
        if pair.same(make) != "made":
            return
        both = (fds[0], fds[1])
        for flags in (0, 4, 5, 6, 4):
            pair.same(lambda c, fd, f=flags: c.map_update(fd, word(1), b"\xff" * 8, f), both)
            pair.same(lambda c, fd: c.map_lookup(fd, word(1), 8), both)
            pair.same(lambda c, fd: c.map_lookup(fd, word(1), 8, 4), both)
            pair.same(lambda c, fd: c.map_lookup(fd, word(1), 8, 1), both)
    finally:
        pair.theirs.close(btf_fd)
        if fds:
            pair.theirs.close(fds[0])
