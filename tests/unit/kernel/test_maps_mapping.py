"""Maps as Python mappings, over the fake kernel: what the kernel is asked, and what its refusals become."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from probee.btf.build import BtfBuilder
from probee.btf.values import Codecs
from probee.errors import MapError, ObjectError
from probee.kernel import maps as m_
from probee.kernel.maps import Map
from probee.obj import MapSpec
from probee.sys import use
from probee.sys.fake import FakeKernel

PROG_ARRAY, STACK_TRACE = m_.PROG_ARRAY, m_.STACK_TRACE


@pytest.fixture
def fake() -> Iterator[FakeKernel]:
    with use(FakeKernel(cpus=3)) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert not kernel.open, "a descriptor is still open"


def spec(map_type: int, key: int = 4, value: int = 8, n: int = 16, **more: Any) -> MapSpec:
    return MapSpec("runs", map_type=map_type, key_size=key, value_size=value, max_entries=n, **more)


def typed() -> tuple[Any, MapSpec]:
    """BTF and the spec of a hash from text to a struct."""
    b = BtfBuilder()
    u32 = b.int_("u32", 4)
    name = b.array(b.int_("char", 1, 1), 8)
    value = b.struct("Stat", 8, [("calls", u32, 0), ("errors", u32, 32)])
    return b.btf(), spec(m_.HASH, 8, 8, key_type_id=name, value_type_id=value)


@pytest.mark.parametrize("map_type", [m_.HASH, m_.LRU_HASH])
def test_a_hash_is_a_mapping(fake: FakeKernel, map_type: int) -> None:
    with Map.create(spec(map_type)) as m:
        assert len(m) == 0
        assert list(m) == []
        m[1] = 10
        m[2] = 20
        assert m[1] == 10
        assert m.get(1) == 10
        assert m.get(3) is None
        assert m.get(3, 7) == 7
        assert 1 in m
        assert 3 not in m
        with pytest.raises(KeyError, match="3"):
            _ = m[3]
        assert sorted(m) == [1, 2]
        assert sorted(m.items()) == [(1, 10), (2, 20)]
        assert sorted(m.values()) == [10, 20]
        assert set(m.keys()) == {1, 2}
        assert 1 in m.keys()  # noqa: SIM118
        assert (1, 10) in m.items()
        assert len(m.items()) == len(m) == 2
        assert m.snapshot() == dict(m) == {1: 10, 2: 20}
        assert m.setdefault(2, 5) == 20
        assert m.setdefault(5, 5) == 5
        del m[5]
        with pytest.raises(KeyError):
            del m[5]
        assert m.pop(2) == 20
        assert m.pop(2, None) is None
        with pytest.raises(KeyError):
            m.pop(2)
        m.update({7: 70})
        m.update([(8, 80)])
        assert m.snapshot() == {1: 10, 7: 70, 8: 80}
        m.update((k, k) for k in range(10))
        assert m.snapshot() == {k: k for k in range(10)}
        assert dict(m.drain()) == {k: k for k in range(10)}
        assert len(m) == 0
        m[1] = 1
        m.clear()
        assert len(m) == 0
        assert m
        assert m == m
        assert {m: 1}[m] == 1
        assert "runs" in repr(m)
        assert m.id > 0
        assert m.type == map_type


def test_keys_and_values_are_checked(fake: FakeKernel) -> None:
    with Map.create(spec(m_.HASH)) as m:
        for key, value, error in ((1 << 32, 0, OverflowError), ("a", 0, TypeError), (1, -1, OverflowError)):
            with pytest.raises(error):
                m[key] = value
        assert not fake.called("map_update")


def test_keys_and_values_have_their_types(fake: FakeKernel) -> None:
    btf, s = typed()
    with Map.create(s, btf, btf_fd=9) as m:
        m["open"] = {"calls": 3, "errors": 1}
        assert m["open"] == (3, 1)
        assert m["open"].errors == 1
        assert m.snapshot() == {"open": (3, 1)}
        array = m.to_numpy()
        assert array["key"].tolist() == [b"open"]
        assert array["value"]["calls"].tolist() == [3]
        assert array.dtype["value"].names == ("calls", "errors")
        m[b"read"] = m["open"]._replace(calls=9)
        assert m["read"].calls == 9
    (made,) = fake.called("map_create")
    assert (made["btf_fd"], made["key_type_id"], made["value_type_id"]) == (9, s.key_type_id, s.value_type_id)


def test_types_that_the_kernel_does_not_like_are_left_out(fake: FakeKernel) -> None:
    btf, s = typed()
    fake.refuse("map_create", errno.EINVAL)
    Map.create(s, btf, btf_fd=9).close()
    assert [made["btf_fd"] for made in fake.called("map_create")] == [9, 0]


def test_sizes_and_types_must_agree(fake: FakeKernel) -> None:
    btf, s = typed()
    s.value_size = 12
    with pytest.raises(ObjectError, match="its value has 12 bytes, struct Stat has 8"):
        Map.create(s, btf)


def test_refusals_are_map_errors_with_a_reason(fake: FakeKernel) -> None:
    fake.refuse("map_create", errno.EPERM)
    with pytest.raises(MapError, match="can't create map 'runs': the kernel denies it"):
        Map.create(spec(m_.HASH))
    with Map.create(spec(m_.HASH, n=1)) as m:
        m[1] = 1
        with pytest.raises(MapError, match="is full, it takes 1 entries") as e:
            m[2] = 2
        assert e.value.errno == errno.E2BIG
        for call, act in (
            ("map_lookup", lambda: m[1]),
            ("map_lookup", lambda: 1 in m),
            ("map_delete", lambda: m.pop(1)),
            ("map_lookup_batch", lambda: list(m)),
            ("map_freeze", lambda: m.freeze()),
        ):
            if call == "map_delete":
                fake.refuse("map_lookup_and_delete", errno.EINVAL)
            fake.refuse(call, errno.EIO)
            with pytest.raises(MapError, match="Input/output error"):
                act()
        m.freeze()
        with pytest.raises(MapError, match="frozen"):
            m[1] = 2
    with pytest.raises(MapError, match="it is closed"):
        _ = m[1]
    m.close()
    assert m.closed
    assert "closed" in repr(m)


def test_put_with_flags(fake: FakeKernel) -> None:
    with Map.create(spec(m_.HASH)) as m:
        with pytest.raises(KeyError):
            m.put(1, 1, m_.BPF_EXIST)
        m.put(1, 1, m_.BPF_NOEXIST)
        with pytest.raises(MapError, match="File exists"):
            m.put(1, 2, m_.BPF_NOEXIST)
        m.put(1, 3, m_.BPF_EXIST)
        assert m[1] == 3


@pytest.mark.parametrize("number", [errno.EINVAL, 524])
def test_kernels_without_batches_are_read_key_by_key(fake: FakeKernel, number: int) -> None:
    with Map.create(spec(m_.HASH, n=300)) as m:
        for i in range(300):
            m[i] = i * 2
        fake.refuse("map_lookup_batch", number, times=100)
        assert m.snapshot() == {i: i * 2 for i in range(300)}
        assert len(m) == 300
        array = m.to_numpy()
        assert dict(array.tolist()) == {i: i * 2 for i in range(300)}
        fake.refuse("map_update_batch", number)
        m.update(dict.fromkeys(range(20), 1))
        assert m[19] == 1
        m.clear()
        assert fake._object(m.fd, "map").values == {}


def test_pop_on_kernels_that_can_not_take_out(fake: FakeKernel) -> None:
    with Map.create(spec(m_.HASH)) as m:
        m[1] = 10
        fake.refuse("map_lookup_and_delete", errno.EINVAL)
        assert m.pop(1) == 10
        assert 1 not in m
        fake.refuse("map_lookup_and_delete", errno.EINVAL)
        assert m.pop(1, 5) == 5


class Restless(FakeKernel):
    """Deletes the key that was just given out: the kernel then starts the walk again from the first key."""

    __slots__ = ("victims",)

    def map_next_key(self, fd: int, key: Any, key_size: int) -> bytes | None:
        found = super().map_next_key(fd, key, key_size)
        if found is not None and len(self.open[fd].values) > 4 and found in self.victims:
            self.victims.remove(found)
            del self.open[fd].values[found]
        return found

    def map_lookup_batch(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EINVAL, "no batches")


def test_iteration_while_entries_vanish_gives_each_key_once() -> None:
    kernel = Restless()
    with use(kernel), Map.create(spec(m_.HASH, n=64)) as m:
        for i in range(40):
            m[i] = i
        kernel.victims = [i.to_bytes(4, "little") for i in range(3, 30, 4)]
        keys = list(m)
        assert len(keys) == len(set(keys))
        assert set(keys) >= {i for i in range(40) if i % 4 != 3}


def test_a_bucket_larger_than_a_chunk(fake: FakeKernel) -> None:
    with Map.create(spec(m_.HASH, n=20_000)) as m:
        m[1] = 2
        fake.refuse("map_lookup_batch", errno.ENOSPC)
        assert m.snapshot() == {1: 2}
        first, second = (call["count"] for call in fake.called("map_lookup_batch"))
        assert second > first
    with Map.create(spec(m_.HASH, n=2)) as m:
        fake.refuse("map_lookup_batch", errno.ENOSPC)
        with pytest.raises(MapError):
            list(m)


def test_an_array_has_all_its_entries(fake: FakeKernel) -> None:
    with Map.create(spec(m_.ARRAY, n=4)) as m:
        assert len(m) == 4
        assert list(m) == [0, 1, 2, 3]
        m[2] = 5
        assert m[np.int64(2)] == 5
        assert list(m.items()) == [(0, 0), (1, 0), (2, 5), (3, 0)]
        assert m.to_numpy()["value"].tolist() == [0, 0, 5, 0]
        for i in (4, -1):
            assert i not in m
            assert m.get(i, 9) == 9
            with pytest.raises(KeyError):
                _ = m[i]
            with pytest.raises(KeyError):
                m[i] = 1
        with pytest.raises(TypeError, match="indexed by integers"):
            _ = m["x"]
        for act in (lambda: m.pop(2), lambda: m.__delitem__(2), lambda: m.drain()):
            with pytest.raises(MapError, match="can't be deleted"):
                act()
        m.clear()
        assert list(m.values()) == [0] * 4


@pytest.mark.parametrize("map_type", [m_.PERCPU_HASH, m_.LRU_PERCPU_HASH, m_.PERCPU_ARRAY])
@pytest.mark.parametrize("size", [4, 8])
def test_per_cpu_values_are_lists(fake: FakeKernel, map_type: int, size: int) -> None:
    with Map.create(spec(map_type, value=size, n=2)) as m:
        assert m.cpus == 3
        m[0] = [1, 2, 3]
        m[1] = [4, 5, 6]
        assert m[0] == [1, 2, 3]
        assert m.sum(1) == 15
        assert m.sums() == {0: 6, 1: 15}
        assert m.snapshot() == {0: [1, 2, 3], 1: [4, 5, 6]}
        array = m.to_numpy()
        assert array["value"].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert array["value"].sum(axis=1).tolist() == [6, 15]
        with pytest.raises(TypeError, match=r"write \[7\] \* runs.cpus"):
            m[0] = 7
        with pytest.raises(ValueError, match="has 3 values, not 2"):
            m[0] = [1, 2]
        with pytest.raises(OverflowError):
            m[0] = [1, 2, -1]
        assert len(m[0]) == 3


def test_per_cpu_structs(fake: FakeKernel) -> None:
    b = BtfBuilder()
    u32 = b.int_("u32", 4)
    value = b.struct("S", 12, [("a", u32, 0), ("b", u32, 32), ("c", u32, 64)])
    s = spec(m_.PERCPU_HASH, 4, 12, key_type_id=u32, value_type_id=value)
    with Map.create(s, b.btf()) as m:
        m[1] = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
        assert [v.b for v in m[1]] == [2, 5, 8]
        assert m.to_numpy()["value"]["c"].tolist() == [[3, 6, 9]]
        with pytest.raises(TypeError):
            m.sum(1)


def test_stacks(fake: FakeKernel) -> None:
    with Map.create(spec(STACK_TRACE, value=32)) as m:
        fake._object(m.fd, "map").values[b"\5\0\0\0"] = b"".join(
            n.to_bytes(8, "little") for n in (7, 8, 0, 0)
        )
        fake._object(m.fd, "map").values[b"\6\0\0\0"] = b"\1" * 32
        assert m.depth == 4
        assert m[5] == (7, 8)
        assert len(m[6]) == 4
        assert m.get(5) == (7, 8)
        assert -14 not in m
        assert m.get(-14) is None
        with pytest.raises(KeyError, match="EFAULT"):
            _ = m[-14]
        with pytest.raises(TypeError, match="only programs"):
            m[5] = (1, 2)
        fake.refuse("map_lookup_batch", errno.EINVAL, times=9)
        assert m.snapshot()[5] == (7, 8)
        assert m.to_numpy()["value"].shape == (2, 4)
        del m[5]
        assert 5 not in m


def test_arrays_of_programs_take_what_has_a_descriptor(fake: FakeKernel) -> None:
    class Program:
        fd = 77

    class File:
        def fileno(self) -> int:
            return 78

    with Map.create(spec(PROG_ARRAY, value=4, n=4)) as m:
        m[0] = Program()
        m[1] = File()
        m[2] = 79
        assert [m[i] for i in range(3)] == [77, 78, 79]
        with pytest.raises(TypeError, match="no descriptor"):
            m[0] = "x"
        fake.refuse("map_lookup_batch", errno.EINVAL, times=9)
        assert list(m) == [0, 1, 2]
        m.clear()
        assert list(m) == []


def test_maps_that_exist_already(fake: FakeKernel) -> None:
    made = Map.create(spec(m_.HASH))
    made[1] = 2
    again = Map.open(made.fd)
    assert type(again) is m_.Hash
    assert again.snapshot() == {1: 2}
    assert again.name == "runs"
    assert again.id == made.id
    made.close()


def test_a_map_that_exists_gets_types_from_a_spec(fake: FakeKernel) -> None:
    btf, s = typed()
    made = Map.create(s, btf)
    made["open"] = (1, 2)
    again = Map.open(made.fd, s, Codecs(btf))
    assert again.snapshot() == {"open": (1, 2)}
    again.close()


def test_perf_event_arrays_have_an_entry_for_each_cpu(fake: FakeKernel) -> None:
    with Map.create(spec(m_.PERF_EVENT_ARRAY, value=4, n=0)) as m:
        assert m.max_entries == 3


def test_untyped_sizes_are_integers_or_bytes(fake: FakeKernel) -> None:
    with Map.create(spec(m_.HASH, 6, 3)) as m:
        m[b"abcdef"] = b"xyz"
        assert m[b"abcdef"] == b"xyz"
        assert m.to_numpy()["key"].shape == (1, 6)


def test_an_empty_map_in_numpy(fake: FakeKernel) -> None:
    with Map.create(spec(m_.HASH)) as m:
        array = m.to_numpy()
        assert len(array) == 0
        assert array.dtype.names == ("key", "value")
