"""Each map type in the running kernel, and globals, with programs at the other end."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from c_objects import object_from_c
from probee.errors import MapError
from probee.kernel import batch, walk
from probee.kernel import maps as m_
from probee.kernel.features.inventory import program_type
from probee.kernel.load import Collection, load
from probee.kernel.maps import Map
from probee.obj import MapSpec

pytestmark = pytest.mark.root

PROGRAMS = r"""
static long (*get_stackid)(void *, void *, u64) = (void *)27;
struct key { u32 pid; char comm[8]; };
struct stat { u64 calls; u32 errors; char who[12]; };
HASH(by_key, struct key, struct stat, 128);
MAP(9, 64, u32, u64) recent SEC(".maps");
ARRAY(slots, struct stat, 8);
MAP(5, 64, u32, u32) cpu_hash SEC(".maps");
MAP(6, 4, u32, struct stat) cpu_slots SEC(".maps");
#define SIZED(t, n, v) struct { \
    __uint(type, t); __uint(max_entries, n); __uint(key_size, 4); __uint(value_size, v); }
SIZED(7, 64, 64) stacks SEC(".maps");
SIZED(3, 4, 4) jumps SEC(".maps");

u64 total; s32 last = -5; char name[8]; struct stat kept; const volatile u32 step = 3; u64 stack_id;

SEC("raw_tp/sys_enter") int fill(void *ctx) {
    for (u32 i = 0; i < 100; i++) {
        struct key k = {.pid = i, .comm = "prog"};
        struct stat s = {.calls = i * 2, .errors = i, .who = "me"};
        map_update(&by_key, &k, &s, 0);
        u32 id = i; map_update(&recent, &id, &s.calls, 0);
    }
    u32 two = 2;
    struct stat s = {.calls = 7, .errors = 8, .who = "slot"};
    map_update(&slots, &two, &s, 0);
    u32 *one = map_lookup(&cpu_hash, &two), n = 1;
    if (one) *one += 1; else map_update(&cpu_hash, &two, &n, 0);
    struct stat *c = map_lookup(&cpu_slots, &two);
    if (c) c->calls += 5;
    __sync_fetch_and_add(&total, step);
    last -= 1;
    kept.calls = total;
    __builtin_memcpy(name, "syscall", 8);
    return 0;
}
SEC("raw_tp/sys_enter") int leaf(void *ctx) { return 42; }
SEC("raw_tp/sys_enter") int root(void *ctx) {
    stack_id = get_stackid(ctx, &stacks, 0);
    tail_call(ctx, &jumps, 1);
    return 1;
}
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return object_from_c(tmp_path_factory.mktemp("maps"), PROGRAMS)


@pytest.fixture
def c(live: Any) -> Iterator[Collection]:
    collection = load(live)
    yield collection
    collection.close()


def test_hash_of_structs(c: Collection) -> None:
    m = c.maps["by_key"]
    c.programs["fill"].test_run()
    assert type(m) is m_.Hash
    assert len(m) == 100
    assert m[(3, "prog")] == (6, 3, "me")
    assert m[{"pid": 4, "comm": "prog"}].who == "me"
    assert m.get((500, "prog")) is None
    assert sorted(k.pid for k in m) == list(range(100))
    assert sum(v.calls for v in m.values()) == 9900
    array = m.to_numpy()
    assert array["value"]["calls"].sum() == 9900
    assert set(array["key"]["comm"]) == {b"prog"}
    assert m.pop((3, "prog")).calls == 6
    assert (3, "prog") not in m
    m[(1000, "x")] = (1, 2, "y")
    assert m[(1000, "x")] == (1, 2, "y")
    assert dict(m.items()) == m.snapshot()
    assert len(m.drain()) == 100
    assert len(m) == 0


def test_a_hash_that_is_full_says_so(c: Collection) -> None:
    m = c.maps["by_key"]
    m.update({(i, "a"): (i, i, "b") for i in range(128)})
    assert len(m) == 128
    with pytest.raises(MapError, match="is full, it takes 128 entries"):
        m[(999, "a")] = (0, 0, "")
    m.clear()
    assert len(m) == 0


def test_lru_hash(c: Collection) -> None:
    m = c.maps["recent"]
    assert type(m) is m_.LruHash
    c.programs["fill"].test_run()
    assert 0 < len(m) <= 64
    assert m[99] == 198
    for i in range(1000, 2000):
        m[i] = i
    assert len(m) <= 64
    assert m[1999] == 1999


def test_array(c: Collection) -> None:
    m = c.maps["slots"]
    c.programs["fill"].test_run()
    assert len(m) == 8
    assert m[2] == (7, 8, "slot")
    assert m[3] == (0, 0, "")
    assert m.to_numpy()["value"]["errors"].tolist() == [0, 0, 8, 0, 0, 0, 0, 0]
    assert list(m.items())[2] == (2, m[2])
    m[7] = (1, 2, "x")
    assert m[7].who == "x"
    m.clear()
    assert m[7] == m[2] == (0, 0, "")


def test_per_cpu_hash_and_array(c: Collection) -> None:
    for _ in range(5):
        c.programs["fill"].test_run()
    m = c.maps["cpu_hash"]
    assert m.sum(2) == 5
    assert len(m[2]) == m.cpus
    assert m.snapshot() == {2: m[2]}
    assert m.to_numpy()["value"].sum() == 5
    m[9] = [7] * m.cpus
    assert m.sums()[9] == 7 * m.cpus
    m.update({i: [i] * m.cpus for i in range(20)})
    assert m[19] == [19] * m.cpus
    slots = c.maps["cpu_slots"]
    assert sum(v.calls for v in slots[2]) == 25
    assert slots.to_numpy()["value"]["calls"].sum(axis=1).tolist() == [0, 0, 25, 0]
    slots[0] = [(1, 2, "cpu")] * slots.cpus
    assert slots[0][-1] == (1, 2, "cpu")


def test_stack_traces_and_tail_calls(c: Collection) -> None:
    jumps, stacks = c.maps["jumps"], c.maps["stacks"]
    assert c.programs["root"].test_run()[0] == 1
    jumps[1] = c.programs["leaf"]
    assert c.programs["root"].test_run()[0] == 42
    assert list(jumps) == [1]
    assert jumps[1] == c.programs["leaf"].id
    assert jumps.get(0) is None
    del jumps[1]
    assert c.programs["root"].test_run()[0] == 1
    found = c.globals.stack_id
    assert found in stacks
    frames = stacks[found]
    assert 0 < len(frames) <= stacks.depth == 8
    assert all(frame > 1 << 63 for frame in frames)
    assert stacks.snapshot()[found] == frames
    assert stacks.to_numpy()["value"].shape == (len(stacks), 8)
    with pytest.raises(KeyError, match="EEXIST"):
        _ = stacks[-17]
    stacks.clear()
    assert len(stacks) == 0


def test_globals(c: Collection) -> None:
    g = c.globals
    assert (g.total, g.last, g.name, g.step) == (0, -5, "", 3)
    c.programs["fill"].test_run()
    assert (g.total, g.last, g.name) == (3, -6, "syscall")
    assert g.kept.calls == 3
    g.total = 100
    c.programs["fill"].test_run()
    assert g.total == 103
    with pytest.raises(MapError, match="constant"):
        g.step = 4


def test_constants_and_values_before_loading(live: Any) -> None:
    with load(live, values={"step": (7).to_bytes(4, "little")}) as c:
        c.programs["fill"].test_run()
        assert (c.globals.step, c.globals.total) == (7, 7)


def hash_of(
    n: int, room: int = 0, *, key: int = 4, value: int = 8, kind: int = m_.HASH, flags: int = 0
) -> Any:
    return Map.create(
        MapSpec("big", map_type=kind, key_size=key, value_size=value, max_entries=room or n, flags=flags)
    )


def fill_numbers(m: Any, n: int) -> None:
    keys, values = np.arange(n, dtype=np.uint32), np.arange(n, dtype=np.uint64) * 3
    m._kernel.map_update_batch(m.fd, keys.view(np.uint8), values.view(np.uint8), n)


@pytest.mark.parametrize("kind", [m_.HASH, m_.LRU_HASH])
@pytest.mark.parametrize("locked", [False, True])
def test_large_maps_in_numpy(kind: int, locked: bool) -> None:
    n = 30_000
    with hash_of(n, 65_536, kind=kind) as m:
        fill_numbers(m, n)
        array = m.to_numpy(locked=locked)
        array.sort(order="key")
        assert array["key"].tolist() == list(range(n))
        assert (array["value"] == array["key"].astype(np.uint64) * 3).all()
        assert len(m) == n
        assert array.flags.writeable
        assert array.flags.owndata or array.base.flags.owndata


@pytest.mark.parametrize(("key", "value"), [(1, 1), (6, 3), (12, 20), (16, 8), (64, 400)])
def test_the_walk_copies_entries_of_any_size(key: int, value: int) -> None:
    n = 200
    with hash_of(n, key=key, value=value) as m:
        sent = {}
        for i in range(n):
            k = i.to_bytes(2, "little") * (key // 2) or bytes([i])
            v = bytes([i + 1 & 255]) * value
            sent[k] = v
        m.update({m.key.unpack(k): m.value.unpack(v) for k, v in sent.items()})
        rows = walk.walk(m)
        if rows is None and not program_type("syscall"):
            pytest.skip("this kernel has no programs of type syscall (Linux 5.14)")
        assert rows is not None
        at = key + 7 & ~7
        found = {row.tobytes()[:key]: row.tobytes()[at : at + value] for row in rows}
        assert found == sent


def test_large_maps_of_structs(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, PROGRAMS.replace("128);", "20000);", 1))
    with load(spec) as c:
        m = c.maps["by_key"]
        m.update({(i, "abc"): (i, i % 7, "w") for i in range(12_000)})
        array = m.to_numpy()
        assert len(array) == 12_000
        assert array["value"]["calls"].sum() == sum(range(12_000))
        assert set(array["value"]["who"]) == {b"w"}
        assert sorted(array["key"]["pid"].tolist()) == list(range(12_000))


def test_keys_that_come_twice_are_given_once() -> None:
    rows = np.array([[1, 5], [2, 6], [1, 7], [3, 8]], np.uint64)
    assert walk._unique(np, rows[:, :1], 4).tolist() == [0, 1, 3]
    assert walk._unique(np, rows, 16) is None
    wide = np.array([[1, 5], [2, 6], [1, 5], [1, 6]], np.uint64)
    assert walk._unique(np, wide, 12).tolist() == [0, 1, 3]


def test_reading_while_a_map_changes() -> None:
    """No key twice, no pair torn, and nothing that was there all the time is missing under the locks."""
    n = 20_000
    stop = threading.Event()
    with hash_of(n, 65_536, flags=1) as m:
        fill_numbers(m, n)

        def churn() -> None:
            i = n
            while not stop.is_set():
                m[i] = i * 3
                m.pop(i - 50, None) if i - 50 >= n else None
                i = i + 1 if i < n * 2 else n

        worker = threading.Thread(target=churn)
        worker.start()
        try:
            for locked in (False, True, False, True):
                array = m.to_numpy(locked=locked)
                keys = array["key"].tolist()
                assert len(set(keys)) == len(keys)
                assert (array["value"] == array["key"].astype(np.uint64) * 3).all()
                if locked:
                    assert set(keys) >= set(range(n))
                snapshot = m.snapshot()
                assert set(snapshot) >= set(range(n))
        finally:
            stop.set()
            worker.join()


def test_batches_and_single_keys_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with hash_of(5000) as m:
        fill_numbers(m, 5000)
        monkeypatch.setattr(batch, "_FIRST", 64)
        monkeypatch.setattr(batch, "_CHUNK_BYTES", 4096)
        in_batches = m.snapshot()

        def none(*args: Any, **kwargs: Any) -> Any:
            raise OSError(524, "no batches")

        monkeypatch.setattr(type(m._kernel), "map_lookup_batch", none)
        assert m.snapshot() == in_batches == {i: i * 3 for i in range(5000)}


def test_bpftool_agrees() -> None:
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin")
    if not bpftool:
        pytest.skip("needs bpftool")
    with hash_of(10) as m:
        fill_numbers(m, 10)
        done = subprocess.run(
            [bpftool, "map", "dump", "-j", "id", str(m.id)], capture_output=True, check=True
        )
        dump = {
            int.from_bytes(bytes(int(b, 16) for b in e["key"]), "little"): int.from_bytes(
                bytes(int(b, 16) for b in e["value"]), "little"
            )
            for e in json.loads(done.stdout)
        }
        assert dump == m.snapshot()
        shown = subprocess.run(
            [bpftool, "map", "show", "-j", "id", str(m.id)], capture_output=True, check=True
        )
        assert json.loads(shown.stdout)["name"] == "big"


def test_the_kernel_knows_the_types_of_typed_maps(c: Collection) -> None:
    info = c.maps["by_key"]._kernel.map_info(c.maps["by_key"].fd)
    assert info.btf_id > 0
    assert info.name == "by_key"
