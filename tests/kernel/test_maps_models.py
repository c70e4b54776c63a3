"""Maps of the kernel against Python's own: the same operations give the same answers."""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_maps_types import create

pytestmark = pytest.mark.root

CASES = settings(max_examples=60)
KEYS = st.integers(0, 12)
VALUES = st.integers(0, 2**32 - 1)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, VALUES),
        st.tuples(st.just("del"), KEYS),
        st.tuples(st.just("pop"), KEYS),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("setdefault"), KEYS, VALUES),
        st.tuples(st.just("update"), st.dictionaries(KEYS, VALUES)),
        st.tuples(st.just("update_many"), st.dictionaries(KEYS, VALUES)),
        st.tuples(st.just("delete_many"), st.lists(KEYS, unique=True, max_size=13)),
        st.tuples(st.just("drain")),
        st.tuples(st.just("clear")),
        st.tuples(st.just("popitem")),
    ),
    max_size=40,
)


@pytest.fixture(scope="module", params=["hash", "percpu_hash"])
def mapping(request: pytest.FixtureRequest) -> Iterator[Any]:
    with create(request.param, key="u16", value="u32", entries=13) as m:
        yield m


def answer(action: Any) -> Any:
    try:
        return action()
    except KeyError:
        return KeyError


@CASES
@given(operations=OPERATIONS)
def test_hash_maps_are_dicts(mapping: Any, operations: list[tuple[Any, ...]]) -> None:
    mapping.clear()
    model: dict[int, Any] = {}
    cpus = getattr(mapping, "cpus", 0)

    def value(v: int) -> Any:
        return [v] * cpus if cpus else v

    for name, *arguments in operations:
        key = arguments[0] if arguments else None
        if name == "set":
            mapping[key] = model[key] = value(arguments[1])
        elif name == "del":
            assert answer(lambda: mapping.__delitem__(key)) == answer(lambda: model.__delitem__(key))  # noqa: B023
        elif name == "pop":
            assert answer(lambda: mapping.pop(key)) == answer(lambda: model.pop(key))  # noqa: B023
        elif name == "get":
            assert mapping.get(key, "nothing") == model.get(key, "nothing")
            assert (key in mapping) == (key in model)
        elif name == "setdefault":
            v = value(arguments[1])
            assert mapping.setdefault(key, v) == model.setdefault(key, v)
        elif name == "update":
            new = {k: value(v) for k, v in arguments[0].items()}
            mapping.update(new)
            model.update(new)
        elif name == "update_many":
            new = {k: value(v) for k, v in arguments[0].items()}
            mapping.update_many(list(new), list(new.values()))
            model.update(new)
        elif name == "delete_many":
            there = sum(model.pop(k, None) is not None for k in arguments[0])
            assert mapping.delete_many(arguments[0]) == there
        elif name == "drain":
            assert dict(mapping.drain()) == model
            model.clear()
        elif name == "clear":
            mapping.clear()
            model.clear()
        elif model:
            k, v = mapping.popitem()
            assert model.pop(k) == v
        assert mapping.snapshot() == model
        assert len(mapping) == len(model)
    array = mapping.to_numpy()
    assert dict(zip(array["key"].tolist(), array["value"].tolist(), strict=True)) == model


@pytest.fixture(scope="module", params=["ipv4", "ipv6"])
def trie(request: pytest.FixtureRequest) -> Iterator[Any]:
    with create("lpm_trie", key=request.param, value="u32", entries=1000) as m:
        yield m


@CASES
@given(data=st.data())
def test_tries_match_as_ipaddress_does(trie: Any, data: st.DataObject) -> None:
    trie.clear()
    bits = 8 * trie.key.width
    network = ipaddress.IPv4Network if bits == 32 else ipaddress.IPv6Network
    # Few distinct addresses, so that prefixes hold one another.
    addresses = st.sampled_from([0, 1 << bits - 1, 0xAC10 << bits - 16, 0xAC11 << bits - 16, (1 << bits) - 1])
    prefixes = st.builds(
        lambda a, n: network((a >> bits - n << bits - n, n)), addresses, st.integers(0, bits)
    )
    model: dict[Any, int] = data.draw(st.dictionaries(prefixes, VALUES, max_size=20))
    trie.update(model)
    for gone in data.draw(st.lists(prefixes, max_size=5)):
        assert answer(lambda: trie.__delitem__(gone)) == answer(lambda: model.__delitem__(gone))  # noqa: B023
    assert trie.snapshot() == model
    assert trie.key.unpack_many(trie.to_numpy()["key"].tobytes(), len(model)) == list(trie)
    for address in data.draw(st.lists(addresses, max_size=10)):
        host = network((address, bits))
        holding = [n for n in model if host.subnet_of(n)]
        best = max(holding, key=lambda n: n.prefixlen, default=None)
        assert trie.get(host[0]) == (None if best is None else model[best])


@pytest.mark.parametrize("kind", ["queue", "stack"])
@CASES
@given(operations=st.lists(st.one_of(VALUES, st.sampled_from(["pop", "peek", "drain", "push or drop"]))))
def test_queues_and_stacks_are_deques(kind: str, operations: list[Any]) -> None:
    room = 5
    with create(kind, value="u32", entries=room) as m:
        model: deque[int] = deque()

        def take() -> Any:
            return (model.popleft() if kind == "queue" else model.pop()) if model else "empty"

        for operation in operations:
            if operation == "pop":
                assert m.pop("empty") == take()
            elif operation == "peek":
                assert m.peek("empty") == (model[0 if kind == "queue" else -1] if model else "empty")
            elif operation == "drain":
                assert m.drain() == [take() for _ in range(len(model))]
            elif operation == "push or drop":
                if len(model) == room:
                    model.popleft()
                m.push(1, replace=True)
                model.append(1)
            elif len(model) < room:
                m.push(operation)
                model.append(operation)


@CASES
@given(values=st.dictionaries(st.integers(0, 19), VALUES), more=st.lists(VALUES, min_size=20, max_size=20))
def test_arrays_are_lists(values: dict[int, int], more: list[int]) -> None:
    with create("array", value="u32", entries=20) as m:
        model = [0] * 20
        for i, v in values.items():
            m[i] = model[i] = v
        assert list(m.values()) == model
        m.update_many(range(20), more)
        assert m.to_numpy()["value"].tolist() == more
        m.clear()
        assert list(m.values()) == [0] * 20
