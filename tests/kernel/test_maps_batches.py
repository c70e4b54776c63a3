"""Many entries at once: written, read, taken and deleted, in batches and where there are none."""

from __future__ import annotations

import errno
import threading
from typing import Any

import numpy as np
import pytest
from test_maps_types import create

import probee as bp
from probee.errors import MapError
from probee.kernel import batch
from probee.kernel.maps import BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST
from probee.sys import kernel

pytestmark = pytest.mark.root

BATCHES = ("map_lookup_batch", "map_update_batch", "map_delete_batch")
KINDS = ["hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "array", "percpu_array"]


@pytest.fixture(params=["batches", "one by one"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With batches, and on a kernel that knows none."""
    if request.param == "one by one":

        def none(*args: Any, **kwargs: Any) -> Any:
            raise OSError(524, "no batches")

        for name in BATCHES:
            monkeypatch.setattr(type(kernel()), name, none)
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_in_and_out(kind: str, way: str) -> None:
    n = 300
    with create(kind, value="u32", entries=4096 if kind.startswith("lru") else n) as m:
        keys = np.arange(n)
        values = keys * 7
        if kind.startswith(("percpu", "lru_percpu")):
            values = np.stack([values + cpu for cpu in range(m.cpus)], axis=1)
        m.update_many(keys, values)
        array = m.to_numpy()
        array.sort(order="key")
        assert array["key"].tolist() == keys.tolist()
        assert array["value"].tolist() == values.tolist()
        assert m[5] == values[5].tolist()
        assert m.get_many([1, 2]) == [values[1].tolist(), values[2].tolist()]
        array["value"] += 1
        m.from_numpy(array)
        assert m[7] == (values[7] + 1).tolist()
        if "array" in kind:
            with pytest.raises(MapError, match="can't be deleted"):
                m.delete_many([1])
            m.clear()
            assert not m.to_numpy()["value"].any()
            return
        assert m.delete_many([*range(0, 200, 2), 5000, 5001, 1]) == 101
        assert len(m) == n - 101
        assert len(m.drain()) == n - 101
        assert len(m) == 0


def test_maps_whose_batches_may_begin_again(way: str) -> None:
    with create("lpm_trie", key="ipv4", value="u32", entries=1000) as m:
        m.update({f"10.{i >> 8}.{i & 255}.0/24": i for i in range(500)})
        assert sorted(m.values()) == list(range(500))
        assert m.delete_many(f"10.0.{i}.0/24" for i in range(100)) == 100
        assert len(m.drain()) == 400
        assert len(m) == 0


def test_flags_of_columns() -> None:
    with create("hash", key="u32", value="u32", entries=100) as m:
        m.update_many([1, 2, 3], [1, 2, 3], flags=BPF_NOEXIST)
        with pytest.raises(MapError, match="File exists"):
            m.update_many(range(20), range(20), flags=BPF_NOEXIST)
        with pytest.raises(MapError, match="it has no"):
            m.update_many(range(50, 70), range(20), flags=BPF_EXIST)
        m.update_many([1, 2], [10, 20], flags=BPF_EXIST)
        assert m[2] == 20
        with pytest.raises(MapError, match="is full"):
            m.update_many(range(1000), range(1000))


def test_structs_in_columns() -> None:
    key = {"pid": "u32", "comm": "char[8]"}
    with create("hash", key=key, value={"a": "u8", "b": "u64"}, entries=100) as m:
        keys = np.array([(1, b"one"), (2, b"two")], [("pid", "<u2"), ("comm", "S3")])
        m.update_many(keys, [(1, 10), (2, 20)])
        assert m[(1, "one")] == (1, 10)
        assert m[(2, "two")].b == 20
        array = m.to_numpy()
        m.clear()
        m.from_numpy(array)
        assert len(m) == 2
        with pytest.raises(TypeError, match="fields pid, comm"):
            m.update_many(np.zeros(2, [("x", "<u2")]), [(1, 10), (2, 20)])
        wide = np.array([(300, 1)], [("a", "<u2"), ("b", "<u8")])
        with pytest.raises(OverflowError, match="value"):
            m.update_many(keys[:1], wide)


def test_values_that_do_not_fit() -> None:
    with create("hash", key="u8", value="char[4]", entries=100) as m:
        m.update_many([1, 2], ["ab", b"abcd"])
        assert m.snapshot() == {1: "ab", 2: "abcd"}
        for keys, values, error in [
            ([256], [b"x"], OverflowError),
            ([-1], [b"x"], OverflowError),
            ([1], ["12345"], ValueError),
            ([1.5], [b"x"], TypeError),
            ([1, 2], [b"x"], ValueError),
            ([1], [7], TypeError),
            ([[1, 2]], [b"x"], TypeError),
            (np.array(["x"]), [b"x"], TypeError),
        ]:
            with pytest.raises(error):
                m.update_many(keys, values)
        assert len(m) == 2
        m.update_many([], [])


def test_large_columns_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_WRITTEN", 1000)
    with create("hash", key="u32", value="u64", entries=10_000) as m:
        m.update_many(np.arange(9_500), np.arange(9_500) * 3)
        array = m.to_numpy()
        assert len(array) == 9_500
        assert (array["value"] == array["key"] * np.uint64(3)).all()
        assert m.delete_many(range(0, 20_000, 3)) == len(range(0, 9_500, 3))


def test_under_a_spin_lock(tmp_path: Any) -> None:
    from c_objects import object_from_c
    from probee.kernel.load import load

    text = r"""
    struct bpf_spin_lock { u32 val; };
    struct both { struct bpf_spin_lock lock; u32 a, b; };
    HASH(pairs, u32, struct both, 64);
    SEC("socket") int nothing(void *ctx) { return 0; }
    """
    with load(object_from_c(tmp_path, text)) as c:
        m = c.maps["pairs"]
        m.put(1, {"a": 5, "b": 6}, BPF_F_LOCK | BPF_NOEXIST)
        m.put(1, {"a": 7, "b": 8}, BPF_F_LOCK)
        value = m.get(1, flags=BPF_F_LOCK)
        assert (value.a, value.b) == (7, 8)
        found = [m.value.unpack_many(values, n) for _, values, n in m.chunks(flags=BPF_F_LOCK)]
        assert found[0][0].b == 8


def test_a_key_that_vanishes_in_the_middle_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives up with EINTR then: what was read counts, the rest comes key by key, nothing twice."""
    monkeypatch.setattr(batch, "_FIRST", 8)
    monkeypatch.setattr(batch, "_CHUNK_BYTES", 64)
    monkeypatch.setattr(batch, "_LEAST", 8)
    with create("hash_of_maps", key="u32", inner=create_and_keep(), entries=100) as m:
        for i in range(30):
            m[i] = KEPT[0]
        real = type(kernel()).map_lookup_batch
        calls: list[int] = []

        def interrupted(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            if len(calls) == 2:
                raise OSError(errno.EINTR, "gone")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(type(kernel()), "map_lookup_batch", interrupted)
        assert sorted(m.ids()) == list(range(30))
        KEPT.pop().close()


KEPT: list[Any] = []


def create_and_keep() -> Any:
    KEPT.append(create("array"))
    return KEPT[0]


@pytest.mark.parametrize("kind", ["hash", "lru_hash", "percpu_hash", "lpm_trie"])
def test_reading_while_others_delete_everything(kind: str) -> None:
    """No error, no key twice, no value torn, whatever vanishes."""
    n = 3000
    with create(kind, key="ipv4" if kind == "lpm_trie" else "u32", value="u64", entries=2 * n) as m:
        if kind == "lpm_trie":
            m.networks = False
        keys: list[Any] = [(32, i.to_bytes(4, "big")) if kind == "lpm_trie" else i for i in range(n)]
        filling = {key: [i * 3] * m.cpus if hasattr(m, "cpus") else i * 3 for i, key in enumerate(keys)}
        m.update(filling)
        stop = threading.Event()

        def churn() -> None:
            while not stop.is_set():
                m.delete_many(keys)
                m.update(filling)

        with bp.maps.open(id=m.id) as reader:
            if kind == "lpm_trie":
                reader.networks = False
            worker = threading.Thread(target=churn)
            worker.start()
            try:
                for _ in range(5):
                    seen = list(reader.items())
                    assert len({key for key, _ in seen}) == len(seen)
                    assert all(filling[key] == value for key, value in seen)
                    assert len(list(reader)) <= n
                    assert len(reader.to_numpy()) <= n
            finally:
                stop.set()
                worker.join()
