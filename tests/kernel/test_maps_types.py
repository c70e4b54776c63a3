"""Every map type that the running kernel has, made from Python, and used without a program."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probee as bp
from probee.errors import MapError, Unsupported
from probee.isa.tables import MAP_TYPES
from probee.kernel.maps import _FAMILIES, Hash, LruHash

pytestmark = pytest.mark.root

SO_COOKIE = 57
HOW: dict[str, dict[str, Any]] = {
    "hash": {"key": 4, "value": 8},
    "rhash": {"key": 4, "value": 8},
    "lru_hash": {"key": 4, "value": 8},
    "percpu_hash": {"key": 4, "value": 8},
    "lru_percpu_hash": {"key": 4, "value": 8},
    "array": {"value": 8},
    "percpu_array": {"value": 8},
    "lpm_trie": {"key": "ipv4", "value": 8},
    "sockhash": {"key": 8},
    "hash_of_maps": {"key": 4},
    "queue": {"value": 4},
    "stack": {"value": 4},
    "bloom_filter": {"value": 4},
    **{f"{of}_storage": {"value": 8, "entries": 0} for of in ("sk", "inode", "task", "cgrp")},
    **{f"{of}cgroup_storage": {"value": 8, "entries": 0} for of in ("", "percpu_")},
    "ringbuf": {"entries": 4096},
    "user_ringbuf": {"entries": 4096},
}
NAMES = sorted(set(MAP_TYPES) - {"struct_ops"})


def create(kind: str, **more: Any) -> Any:
    """A map of a type; skips the test on a kernel without."""
    try:
        return bp.maps.create(kind, **{"entries": 4, **HOW.get(kind, {}), **more})
    except Unsupported as e:
        pytest.skip(str(e))
    except MapError as e:
        if kind == "inode_storage":
            pytest.skip(f"inode storage needs the BPF LSM: {e}")
        raise


@pytest.mark.parametrize("kind", NAMES)
def test_each_type_is_made_found_again_and_closed(kind: str) -> None:
    inner = create("array") if kind.endswith("_of_maps") else None
    with create(kind, name=f"t_{kind}"[:15], **({"inner": inner} if inner else {})) as m:
        if inner is not None:
            inner.close()
        known = _FAMILIES.get(MAP_TYPES[kind][0])
        expected = known[1] if known else (LruHash if kind == "lru_hash" else Hash).__name__
        assert type(m).__name__ == expected
        facts = m.info()
        assert facts.type == m.type == MAP_TYPES[kind][0]
        assert facts.name == f"t_{kind}"[:15]
        assert facts.frozen in (False, None)
        with bp.maps.open(id=m.id) as again:
            assert type(again) is type(m)
            assert (again.key_size, again.value_size) == (m.key_size, m.value_size)
            assert again.flags & m.flags == m.flags  # to some types the kernel adds flags
        assert repr(m).startswith(f"<{expected} ")
    assert m.closed
    m.close()
    with pytest.raises(MapError, match="it is closed"):
        m.info()


def test_lpm_tries_are_keyed_by_networks() -> None:
    with create("lpm_trie", entries=10) as m:
        m["10.0.0.0/8"] = 8
        m[ipaddress.ip_network("10.1.0.0/16")] = 16
        m[ipaddress.ip_interface("10.1.2.3/24")] = 24
        assert m["10.1.2.200"] == 24
        assert m[ipaddress.ip_address("10.1.99.1")] == 16
        assert m["10.200.0.0/16"] == 8
        assert m.get("11.0.0.1") is None
        assert "11.0.0.1" not in m
        with pytest.raises(KeyError):
            _ = m["11.0.0.1"]
        networks = {ipaddress.ip_network(n) for n in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24")}
        assert set(m) == networks
        assert m.snapshot()[ipaddress.ip_network("10.1.2.0/24")] == 24
        del m["10.1.2.0/24"]
        assert m["10.1.2.3"] == 16
        with pytest.raises(KeyError):
            del m["10.1.2.0/24"]
        assert m.pop("10.1.0.0/16") == 16
        with pytest.raises(ValueError, match="IPv6"):
            m["::1"] = 1
        with pytest.raises(TypeError, match="no network"):
            m[7] = 1
        assert m.to_numpy()["key"]["data"].tolist() == [[10, 0, 0, 0]]
        m.networks = False
        assert m.snapshot() == {(8, b"\x0a\0\0\0"): 8}
        m.clear()
        assert len(m) == 0


def test_lpm_tries_of_ipv6_and_of_bytes() -> None:
    with create("lpm_trie", key="ipv6") as m:
        m["fe80::/10"] = 1
        assert m["fe80::1"] == 1
        assert "2001::" not in m
        assert list(m) == [ipaddress.ip_network("fe80::/10")]
    with create("lpm_trie", key=6) as m:
        m[(12, b"\xab\xcd")] = 1
        assert m[b"\xab\xcf\xff\0\0\0"] == 1
        assert b"\xac" not in m
        assert m.snapshot() == {(12, b"\xab\xc0\0\0\0\0"): 1}
        with pytest.raises(TypeError):
            m["10.0.0.0/8"] = 1
        with pytest.raises(ValueError, match="at most 48 bits"):
            m[(49, b"")] = 1
        with pytest.raises(ValueError, match="4 or 16"):
            m.networks = True


def test_queues_and_stacks() -> None:
    with create("queue", value={"a": "u32", "b": "u16"}) as q:
        with pytest.raises(IndexError, match="empty"):
            q.pop()
        assert q.peek(None) is None
        q.extend([(1, 1), (2, 2), (3, 3), (4, 4)])
        with pytest.raises(MapError, match="full"):
            q.push((5, 5))
        q.push((5, 5), replace=True)
        assert q.peek() == (2, 2)
        assert q.pop().a == 2
        assert q.drain() == [(3, 3), (4, 4), (5, 5)]
    with create("stack") as s:
        s.extend(range(3))
        assert (s.pop(), s.peek()) == (2, 1)
        s.clear()
        assert s.pop("nothing") == "nothing"
        with pytest.raises(OverflowError):
            s.push(1 << 32)


def test_bloom_filters() -> None:
    with create("bloom_filter", value="u64", entries=1000, extra=3) as b:
        b.update(range(500))
        b.add(7_000)
        assert all(i in b for i in range(500))
        assert 7_000 in b
        assert sum(i in b for i in range(10_000, 11_000)) < 500
        assert b.hashes == 3


def connected() -> tuple[socket.socket, socket.socket, socket.socket]:
    listener = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(listener.getsockname())
    server, _ = listener.accept()
    return listener, client, server


def cookie(s: socket.socket) -> int:
    return int.from_bytes(s.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")


def test_maps_of_sockets() -> None:
    listener, client, server = connected()
    with listener, client, server, create("sockmap") as m, create("sockhash", key="char[8]") as h:
        m[1] = client
        m[3] = server.fileno()
        h["conn"] = client
        assert m[1] == h["conn"] == cookie(client)
        assert m.snapshot() == {1: cookie(client), 3: cookie(server)}
        assert list(m) == [1, 3]
        assert list(h) == ["conn"]
        assert len(m) == 2
        assert 0 not in m
        del m[1]
        assert list(m) == [3]
        with pytest.raises(TypeError, match="no descriptor"):
            m[0] = "nothing"
    with create("sockmap", value="u32") as m, pytest.raises(MapError, match="have 8 bytes"):
        list(m)


def test_sockets_that_share_a_port() -> None:
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    with create("reuseport_sockarray") as m:
        port = 0
        for s in sockets:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            s.bind(("127.0.0.1", port))
            port = s.getsockname()[1]
        m[0], m[2] = sockets
        assert m.snapshot() == {0: cookie(sockets[0]), 2: cookie(sockets[1])}
        assert list(m) == [0, 2]
        for s in sockets:
            s.close()
        assert list(m) == []


def test_storage_of_sockets() -> None:
    with socket.socket() as s, create("sk_storage") as m:
        m[s] = 5
        assert m[s] == m[s.fileno()] == 5
        assert m.pop(s) == 5
        assert s not in m
        assert m.get(s, 7) == 7
        assert m.pop(s, None) is None
        with pytest.raises(KeyError):
            del m[s]
        m.update([(s, 9)])
        assert m.delete_many([s, s]) == 1
        with pytest.raises(MapError, match="can't be listed"):
            list(m)
        with tempfile.TemporaryFile() as f, pytest.raises(MapError, match="no socket"):
            m[f] = 1


def test_storage_of_tasks() -> None:
    with create("task_storage") as m:
        m[os.getpid()] = 5
        pidfd = os.pidfd_open(os.getpid())
        with os.fdopen(pidfd, "rb", buffering=0) as held:
            assert m[held] == m[os.getpid()] == 5
        child = subprocess.Popen(["sleep", "60"])
        m[child.pid] = 7
        assert m[child.pid] == 7
        child.kill()
        child.wait()
        assert child.pid not in m
        with pytest.raises(KeyError):
            _ = m[child.pid]
        with pytest.raises(MapError, match="there is no process"):
            m[child.pid] = 1
        assert m.pop(os.getpid()) == 5


def test_storage_of_inodes(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    with create("inode_storage") as m:
        m[file] = 3
        with file.open() as f:
            assert m[f] == m[str(file)] == 3
        assert (tmp_path / "absent") not in m
        del m[file]
        assert file not in m


def cgroup2() -> Path:
    """Where the version 2 hierarchy is; skips the test if it is nowhere."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        if fields[fields.index("-") + 1] == "cgroup2":
            return Path(fields[4])
    pytest.skip("no cgroup2 file system is mounted")


def test_storage_of_cgroups() -> None:
    root = cgroup2()
    with create("cgrp_storage") as m:
        m[root] = 4
        assert m[str(root)] == 4
        assert m.pop(root) == 4
        assert root not in m
        with pytest.raises(MapError, match="no cgroup"):
            m["/tmp"] = 1


def test_arrays_of_cgroups() -> None:
    root = cgroup2()
    with create("cgroup_array") as m:
        m[1] = root
        with pytest.raises(MapError, match="does not tell"):
            _ = m[1]
        with pytest.raises(MapError, match="does not tell"):
            list(m)
        del m[1]
        with pytest.raises(KeyError):
            del m[1]
        with pytest.raises(MapError, match="no cgroup"):
            m[0] = "/tmp"
        with pytest.raises(MapError, match="can't open"):
            m[0] = "/nowhere"


@pytest.mark.parametrize("kind", ["cgroup_storage", "percpu_cgroup_storage"])
def test_storage_of_cgroups_of_old(kind: str) -> None:
    with create(kind) as m:
        assert m.snapshot() == {}
        assert m.get((cgroup2(), "cgroup_inet_ingress")) is None
        with pytest.raises(ValueError, match="no attach type"):
            m.get((1, "nothing"))


def test_maps_of_devices_and_cpus() -> None:
    with create("devmap") as m, create("devmap_hash") as h, create("cpumap") as c:
        m[1] = "lo"
        h[77] = 1
        assert m[1] == h[77] == (1, 0)
        assert (m[1].ifindex, m[1].name, m[1].program_id) == (1, "lo", 0)
        assert list(m) == [1]
        assert h.snapshot() == {77: (1, 0)}
        assert 0 not in m
        assert m.get(99) is None
        with pytest.raises(KeyError):
            _ = m[0]
        del m[1]
        assert len(m) == 0
        with pytest.raises(ValueError, match="no network interface"):
            m[0] = "nothing0"
        c[0] = 192
        assert c[0].queue_size == 192
        assert c.snapshot() == {0: (192, 0)}
        assert c.to_numpy()["value"]["number"].tolist() == [192]
    with create("devmap", value=4) as m:
        m[0] = "lo"
        assert m[0].ifindex == 1
        with pytest.raises(ValueError, match="without room for a program"):
            m[0] = ("lo", 3)


def test_maps_of_maps() -> None:
    with (
        create("array", value="u64", name="inside") as inner,
        create("array", value="u64") as other,
        create("hash_of_maps", key="char[8]", inner=inner) as h,
        create("array_of_maps", inner=inner) as a,
    ):
        h["x"] = inner
        a[2] = other
        inner[0] = 42
        assert h["x"][0] == 42
        with h["x"] as opened:
            opened[1] = 43
            assert opened.name == "inside"
        assert inner[1] == 43
        assert opened.closed
        assert h.ids() == {"x": inner.id}
        assert a.ids() == {2: other.id}
        assert h.id_of("x") == inner.id
        assert list(a) == [2]
        assert {k: v[0] for k, v in h.items()} == {"x": 42}
        a[2] = h["x"]
        assert a[2].id == inner.id
        assert a.get(0) is None
        del h["x"]
        with pytest.raises(KeyError):
            h.id_of("x")
        with create("array", value="u32") as odd, pytest.raises(MapError):
            a[0] = odd


def test_a_map_inside_that_goes_away_meanwhile() -> None:
    with create("array") as inner, create("hash_of_maps", inner=inner) as h:
        with create("array") as gone:
            h[1] = gone
            raw = h._look(1)
        del h[1]
        deadline = 0
        while deadline < 1000:  # maps are freed after a grace period
            try:
                bp.maps.open(id=int.from_bytes(raw, "little")).close()
            except MapError:
                break
            deadline += 1
        with pytest.raises(MapError, match="is gone"):
            h.load(raw)
        assert h.load_many(memoryview(raw), 1) == [None]


def test_values_of_each_cpu() -> None:
    with create("percpu_hash", value="u32") as m, create("percpu_array", value={"a": "u8", "b": "u16"}) as a:
        m[1] = np.arange(m.cpus, dtype=np.uint32)
        assert m[1] == list(range(m.cpus))
        assert m.array(1).tolist() == m[1]
        assert m.on_cpu(1, m.cpus - 1) == m.cpus - 1
        with pytest.raises(IndexError):
            m.on_cpu(1, m.cpus)
        with pytest.raises(KeyError):
            m.array(9)
        m.put_everywhere(2, 7)
        assert m[2] == [7] * m.cpus
        a[0] = [(1, 2)] * a.cpus
        assert a.array(0)["b"].tolist() == [2] * a.cpus
        a[1] = a.array(0)
        assert a[1] == a[0]


def test_one_cpus_value_alone() -> None:
    with create("percpu_array", value="u32") as m:
        m[0] = [5] * m.cpus
        try:
            m.put_on_cpu(0, 0, 9)
        except Unsupported as e:
            pytest.skip(str(e))
        assert m[0] == [9] + [5] * (m.cpus - 1)


def test_arenas() -> None:
    with create("arena", entries=10) as m:
        memory = m.memory
        memory[4096:4100] = b"abcd"
        assert bytes(memory[4095:4101]) == b"\0abcd\0"
        assert m.offset(m.address + 4096) == 4096
        assert m.pointer(4096) == m.address + 4096
        assert len(memory) == m.size == 10 * 4096
        with pytest.raises(IndexError):
            m.offset(m.address + m.size)
        with pytest.raises(IndexError):
            m.pointer(m.size)
    assert memory[4096] == ord("a")  # views outlive the map


def test_an_arena_at_an_address() -> None:
    with create("arena") as probe:
        free = probe.address
    del probe
    with create("arena", extra=free) as m:
        assert m.address == free
        m.memory[0] = 1
        with bp.maps.open(id=m.id) as again, pytest.raises(MapError):
            _ = again.memory  # the address is taken by the first


def test_stacks_by_build_id() -> None:
    with create("stack_trace", value=32 * 4, flags=1 << 5) as m:
        assert (m.depth, m.by_build_id) == (4, True)
        raw = b"".join(
            [
                (1).to_bytes(4, "little") + b"\xab" * 20 + (0x123).to_bytes(8, "little"),
                (2).to_bytes(4, "little") + bytes(20) + (0x456).to_bytes(8, "little"),
                bytes(32),
            ]
        )
        first, second = m.load(raw)
        assert (first.build_id, first.offset) == ("ab" * 20, 0x123)
        assert second == ("", 0x456)
        assert m.value_dtype().shape == (4,)


def test_instruction_arrays() -> None:
    with create("insn_array") as m:
        m[0] = 3
        assert m[0].original == 3
        assert m.to_numpy()["value"]["original"].tolist() == [3, 0, 0, 0]
        with pytest.raises(TypeError):
            m[0] = "x"


def test_what_makes_no_sense_is_refused_before_the_kernel_is_asked() -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"type": "hashmap", "key": 4, "value": 4, "entries": 1}, "no map type"),
        ({"type": "hash", "value": 4, "entries": 1}, "type of a key"),
        ({"type": "hash", "key": 4, "entries": 1}, "type of a value"),
        ({"type": "hash", "key": 4, "value": 4}, "how many entries"),
        ({"type": "ringbuf"}, "how many bytes"),
        ({"type": "queue", "key": 4, "value": 4, "entries": 1}, "no keys"),
        ({"type": "sk_storage", "value": 4, "entries": 1}, "as many entries"),
        ({"type": "lpm_trie", "value": 4, "entries": 1}, "ipv4"),
        ({"type": "lpm_trie", "key": "ip", "value": 4, "entries": 1}, "ipv4"),
        ({"type": "array_of_maps", "entries": 1}, "inner="),
        ({"type": "struct_ops", "value": 4, "entries": 1}, "object"),
        ({"type": "hash", "key": "u24", "value": 4, "entries": 1}, "u24"),
        ({"type": "hash", "key": {}, "value": 4, "entries": 1}, "at least one field"),
        ({"type": "hash", "key": 0, "value": 4, "entries": 1}, "0 bytes"),
    ]
    for arguments, why in refused:
        with pytest.raises(ValueError, match=why):
            bp.maps.create(**arguments)
    with pytest.raises(TypeError, match="no type of a map"):
        bp.maps.create("hash", key=3.5, value=4, entries=1)


def test_a_kernels_refusal_is_a_map_error() -> None:
    with pytest.raises(MapError, match="can't create the array map"):
        bp.maps.create("array", key="u64", value=4, entries=1)
