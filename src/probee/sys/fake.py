"""A kernel that lives in this process, for unit tests: maps hold values, programs load or fail as told.

Its descriptors are numbers from 1000 up; `open` says which are, so that a test can ask whether everything
was closed.
"""

from __future__ import annotations

import errno
import mmap
import os

from probee.sys.bpf import (
    Kernel,
    LinkInfo,
    MapInfo,
    ProgAttr,
    ProgInfo,
    ProgQuery,
    TestRun,
    VerifierLog,
    object_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Buffer

_ARRAY, _PERCPU_ARRAY = 2, 6
_ARRAYS = (_ARRAY, _PERCPU_ARRAY, 3)
_PERCPU = (5, _PERCPU_ARRAY, 10, 21)
_FIRST_FD = 1000


def _error(number: int, what: str) -> OSError:
    return OSError(number, f"{what}: {os.strerror(number)}")


class FakeObject:
    """What is behind a fake descriptor: `kind` is map, prog, btf, link or perf; `facts` how it was made."""

    def __init__(self, kind: str, id: int, **facts: Any) -> None:
        self.kind = kind
        self.id = id
        self.facts = facts
        self.values: dict[bytes, bytes] = {}
        self.memory = -1
        self.frozen = False
        self.ioctls: list[tuple[int, int]] = []


class FakeKernel(Kernel):
    """`refuse(call, errno, …)` queues failures, `calls` is what was asked, `open` what is not closed."""

    __slots__ = ("_refusals", "calls", "cpus", "open", "query", "run")

    def __init__(self, cpus: int = 2) -> None:
        super().__init__()
        self.cpus = cpus
        self.open: dict[int, FakeObject] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.run = TestRun(0, b"", b"", 0)
        self.query = ProgQuery(0, [])
        self._refusals: dict[str, list[tuple[int, str]]] = {}

    def refuse(self, call: str, number: int, log: str = "", times: int = 1) -> None:
        """Make the next `times` calls of `call` fail with errno `number`, leaving `log` in the log buffer.

        Number 0 lets a call go well.
        """
        self._refusals.setdefault(call, []).extend([(number, log)] * times)

    def called(self, call: str) -> list[dict[str, Any]]:
        """The arguments of every `call` so far."""
        return [facts for name, facts in self.calls if name == call]

    def _enter(self, call: str, facts: dict[str, Any], log: VerifierLog | None = None) -> None:
        self.calls.append((call, facts))
        waiting = self._refusals.get(call)
        if waiting:
            number, text = waiting.pop(0)
            if not number:
                return
            if log is not None:
                raw = text.encode() + b"\0"
                log.true_size = len(raw)
                room = log.scratch.size
                log.scratch.view[: min(len(raw), room)] = raw[:room]
                if len(raw) > room:  # as the kernel: a cut log is its own error
                    log.scratch.view[room - 1] = 0
                    number = errno.ENOSPC
            raise _error(number, call)

    def _new(self, kind: str, **facts: Any) -> int:
        fd = _FIRST_FD + len(self.calls)
        while fd in self.open:
            fd += 1
        self.open[fd] = FakeObject(kind, fd - _FIRST_FD + 1, **facts)
        return fd

    def _object(self, fd: int, kind: str) -> FakeObject:
        found = self.open.get(fd)
        if found is None or found.kind != kind:
            raise _error(errno.EBADF, f"{kind} {fd}")
        return found

    def close(self, fd: int) -> None:
        self._enter("close", {"fd": fd})
        found = self.open.pop(fd, None)
        if found is None:
            raise _error(errno.EBADF, "close")
        if found.memory >= 0:
            os.close(found.memory)

    def dup(self, fd: int) -> int:
        self._enter("dup", {"fd": fd})
        found = self.open.get(fd)
        if found is None:
            raise _error(errno.EBADF, "dup")
        new = self._new(found.kind, **found.facts)
        self.open[new].id, self.open[new].values = found.id, found.values
        return new

    # ---- maps

    def map_create(
        self,
        type: int,
        key_size: int,
        value_size: int,
        max_entries: int,
        *,
        flags: int = 0,
        name: str = "",
        btf_fd: int = 0,
        key_type_id: int = 0,
        value_type_id: int = 0,
        inner_fd: int = 0,
        extra: int = 0,
        numa_node: int | None = None,
        vmlinux_value_type_id: int = 0,
        value_type_btf_obj_fd: int = 0,
        token_fd: int = 0,
        exclusive_hash: Buffer = b"",
        ifindex: int = 0,
    ) -> int:
        facts = {
            "type": type,
            "key_size": key_size,
            "value_size": value_size,
            "max_entries": max_entries,
            "flags": flags,
            "name": object_name(name).decode(),
            "btf_fd": btf_fd,
            "key_type_id": key_type_id,
            "value_type_id": value_type_id,
            "inner_fd": inner_fd,
            "extra": extra,
            "numa_node": numa_node,
            "vmlinux_value_type_id": vmlinux_value_type_id,
        }
        self._enter("map_create", facts)
        fd = self._new("map", **facts)
        if type == _ARRAY:
            self.open[fd].memory = os.memfd_create("fake-map", os.MFD_CLOEXEC)
            os.ftruncate(self.open[fd].memory, self._slot(self.open[fd]) * max_entries)
        return fd

    def _slot(self, found: FakeObject) -> int:
        size = int(found.facts["value_size"])
        if found.facts["type"] in _PERCPU:
            return (size + 7 & ~7) * self.cpus
        return size + 7 & ~7 if found.facts["type"] == _ARRAY else size

    def _index(self, found: FakeObject, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        return index if index < found.facts["max_entries"] else -1

    def map_lookup(self, fd: int, key: Buffer, size: int, flags: int = 0) -> bytes | None:
        found = self._object(fd, "map")
        raw = bytes(key)
        self._enter("map_lookup", {"fd": fd, "key": raw})
        if found.facts["type"] == _ARRAY:
            index = self._index(found, raw)
            return None if index < 0 else os.pread(found.memory, size, index * self._slot(found))
        if found.facts["type"] in _ARRAYS and self._index(found, raw) < 0:
            return None
        if found.facts["type"] == _PERCPU_ARRAY:
            return found.values.get(raw, bytes(self._slot(found)))[:size]
        value = found.values.get(raw)
        return None if value is None else value[:size]

    def map_lookup_and_delete(self, fd: int, key: Buffer, size: int, flags: int = 0) -> bytes | None:
        found = self._object(fd, "map")
        self._enter("map_lookup_and_delete", {"fd": fd, "key": bytes(key)})
        return found.values.pop(bytes(key), None)

    def map_holds(self, fd: int, value: Buffer) -> bool:
        found = self._object(fd, "map")
        self._enter("map_holds", {"fd": fd, "value": bytes(value)})
        return bytes(value) in found.values.values()

    def map_update(self, fd: int, key: Buffer, value: Buffer, flags: int = 0) -> None:
        found = self._object(fd, "map")
        raw, data = bytes(key), bytes(value)
        self._enter("map_update", {"fd": fd, "key": raw, "value": data, "flags": flags})
        if found.frozen:
            raise _error(errno.EPERM, "map_update")
        if found.facts["type"] in _ARRAYS:
            index = self._index(found, raw)
            if index < 0:
                raise _error(errno.E2BIG, "map_update")
            if found.facts["type"] == _ARRAY:
                os.pwrite(found.memory, data, index * self._slot(found))
                return
        elif flags == 1 and raw in found.values:
            raise _error(errno.EEXIST, "map_update")
        elif flags == 2 and raw not in found.values:
            raise _error(errno.ENOENT, "map_update")
        elif raw not in found.values and len(found.values) >= found.facts["max_entries"]:
            raise _error(errno.E2BIG, "map_update")
        found.values[raw] = data

    def map_delete(self, fd: int, key: Buffer) -> bool:
        found = self._object(fd, "map")
        self._enter("map_delete", {"fd": fd, "key": bytes(key)})
        if found.facts["type"] in (_ARRAY, _PERCPU_ARRAY):
            raise _error(errno.EINVAL, "map_delete")
        return found.values.pop(bytes(key), None) is not None

    def map_next_key(self, fd: int, key: Buffer | None, key_size: int) -> bytes | None:
        found = self._object(fd, "map")
        raw = None if key is None else bytes(key)
        self._enter("map_next_key", {"fd": fd, "key": raw})
        keys = self._keys(found)
        if raw is None or raw not in keys:
            return keys[0] if keys else None
        at = keys.index(raw) + 1
        return keys[at] if at < len(keys) else None

    def _keys(self, found: FakeObject) -> list[bytes]:
        if found.facts["type"] in (_ARRAY, _PERCPU_ARRAY):
            return [index.to_bytes(4, "little") for index in range(found.facts["max_entries"])]
        return list(found.values)

    def map_freeze(self, fd: int) -> None:
        self._enter("map_freeze", {"fd": fd})
        self._object(fd, "map").frozen = True

    def map_lookup_batch(
        self,
        fd: int,
        in_batch: bytes | None,
        keys: Buffer,
        values: Buffer,
        count: int,
        *,
        batch_size: int,
        delete: bool = False,
        flags: int = 0,
    ) -> tuple[int, bytes | None, bool]:
        found = self._object(fd, "map")
        self._enter("map_lookup_batch", {"fd": fd, "in_batch": in_batch, "count": count, "delete": delete})
        start = 0 if in_batch is None or delete else int.from_bytes(in_batch, "little")
        every = self._keys(found)
        part = every[start : start + count]
        into_keys, into_values = memoryview(keys).cast("B"), memoryview(values).cast("B")
        slot = self._slot(found)
        for at, key in enumerate(part):
            value = self.map_lookup(fd, key, slot) or b""
            into_keys[at * len(key) : (at + 1) * len(key)] = key
            into_values[at * slot : at * slot + len(value)] = value
            if delete:
                del found.values[key]
        done = start + count >= len(every)
        following = None if done else (start + count).to_bytes(batch_size, "little")
        return len(part), following, done

    def map_update_batch(self, fd: int, keys: Buffer, values: Buffer, count: int, *, flags: int = 0) -> int:
        found = self._object(fd, "map")
        size, slot = int(found.facts["key_size"]), self._slot(found)
        every_key, every_value = bytes(keys), bytes(values)
        for at in range(count):
            key = every_key[at * size : (at + 1) * size]
            self.map_update(fd, key, every_value[at * slot : (at + 1) * slot], flags)
        return count

    def map_delete_batch(self, fd: int, keys: Buffer, count: int) -> int:
        size = int(self._object(fd, "map").facts["key_size"])
        every = bytes(keys)
        for at in range(count):
            if not self.map_delete(fd, every[at * size : (at + 1) * size]):
                return at
        return count

    # ---- BTF and programs

    def btf_load(self, data: Buffer, log: VerifierLog | None = None, *, token_fd: int = 0) -> int:
        self._enter("btf_load", {"data": bytes(data)}, log)
        return self._new("btf", data=bytes(data))

    def prog_load(self, attr: ProgAttr, log: VerifierLog | None = None) -> int:
        facts = {name: getattr(attr, name) for name in ProgAttr.__slots__}
        facts["insns"] = bytes(attr.insns)
        self._enter(
            "prog_load",
            {**facts, "log_size": log.scratch.size if log else 0, "log_level": log.level if log else 0},
            log,
        )
        return self._new("prog", **facts)

    def prog_test_run(
        self,
        fd: int,
        data: Buffer = b"",
        ctx: Buffer = b"",
        *,
        repeat: int = 1,
        out_size: int = 0,
        ctx_out: bool = True,
        flags: int = 0,
        cpu: int = 0,
        batch_size: int = 0,
    ) -> TestRun:
        self._object(fd, "prog")
        self._enter(
            "prog_test_run",
            {"fd": fd, "data": bytes(data), "ctx": bytes(ctx), "repeat": repeat, "flags": flags},
        )
        return self.run

    # ---- links and objects

    def link_create(
        self,
        prog_fd: int,
        target: int,
        attach_type: int,
        *,
        flags: int = 0,
        cookie: int = 0,
        extra: bytes = b"",
    ) -> int:
        facts = {
            "prog_fd": prog_fd,
            "target_fd": target,
            "attach_type": attach_type,
            "cookie": cookie,
            "flags": flags,
            "extra": extra,
        }
        self._enter("link_create", facts)
        if target < 0:
            raise _error(errno.EBADF, "link_create")
        return self._new("link", **facts)

    def link_update(self, link_fd: int, new_fd: int, *, old_fd: int | None = None, flags: int = 0) -> None:
        found = self._object(link_fd, "link")
        self._enter("link_update", {"link_fd": link_fd, "new_fd": new_fd, "old_fd": old_fd, "flags": flags})
        found.facts["prog_fd"] = new_fd

    def link_detach(self, link_fd: int) -> None:
        self._object(link_fd, "link")
        self._enter("link_detach", {"link_fd": link_fd})

    def prog_attach(
        self,
        target: int,
        prog_fd: int,
        attach_type: int,
        *,
        flags: int = 0,
        replace_fd: int = 0,
        relative: int = 0,
        revision: int = 0,
    ) -> None:
        self._enter(
            "prog_attach",
            {
                "target": target,
                "prog_fd": prog_fd,
                "attach_type": attach_type,
                "flags": flags,
                "replace_fd": replace_fd,
                "relative": relative,
                "revision": revision,
            },
        )

    def prog_detach(
        self,
        target: int,
        prog_fd: int,
        attach_type: int,
        *,
        flags: int = 0,
        relative: int = 0,
        revision: int = 0,
    ) -> None:
        self._enter("prog_detach", {"target": target, "prog_fd": prog_fd, "attach_type": attach_type})

    def prog_query(self, target: int, attach_type: int, *, flags: int = 0, capacity: int = 64) -> ProgQuery:
        """What `query` says."""
        self._enter("prog_query", {"target": target, "attach_type": attach_type, "flags": flags})
        return self.query

    def raw_tracepoint_open(self, prog_fd: int, name: str = "", *, cookie: int = 0) -> int:
        self._enter("raw_tracepoint_open", {"prog_fd": prog_fd, "name": name, "cookie": cookie})
        return self._new("link", prog_fd=prog_fd, name=name)

    def map_info(self, fd: int) -> MapInfo:
        found = self._object(fd, "map")
        info = MapInfo(bytes(256))
        info.id = found.id
        for name in ("type", "key_size", "value_size", "max_entries", "flags", "name"):
            setattr(info, name, found.facts[name])
        return info

    def prog_info(self, fd: int) -> ProgInfo:
        found = self._object(fd, "prog")
        info = ProgInfo(bytes(256))
        info.id = found.id
        info.type = found.facts["type"]
        info.name = found.facts["name"]
        return info

    def link_info(self, fd: int) -> LinkInfo:
        info = LinkInfo(bytes(256))
        info.id = self._object(fd, "link").id
        return info

    # ---- perf events

    def perf_event_open(
        self,
        type: int,
        config: int,
        *,
        sample: int = 0,
        frequency: bool = False,
        sample_type: int = 0,
        pid: int = -1,
        cpu: int = 0,
        flags: int = 0,
        config1: int = 0,
        config2: int = 0,
        path: str | None = None,
        read_format: int = 0,
        wakeup: int | None = None,
        clock: int = 0,
        bp_type: int = 0,
        open_flags: int = 0,
    ) -> int:
        facts = {
            "type": type,
            "config": config,
            "sample": sample,
            "frequency": frequency,
            "pid": pid,
            "cpu": cpu,
            "config1": config1,
            "config2": config2,
            "path": path,
            "bp_type": bp_type,
            "open_flags": open_flags,
        }
        self._enter("perf_event_open", facts)
        return self._new("perf", **facts)

    def ioctl(self, fd: int, request: int, argument: int = 0) -> int:
        found = self._object(fd, "perf")
        self._enter("ioctl", {"fd": fd, "request": request, "argument": argument})
        found.ioctls.append((request, argument))
        return 0

    # ---- memory and CPUs

    def mmap(self, fd: int, length: int, *, write: bool = False, offset: int = 0) -> mmap.mmap:
        found = self._object(fd, "map")
        self._enter("mmap", {"fd": fd, "length": length, "write": write, "offset": offset})
        if found.memory < 0:
            raise _error(errno.ENODEV, "mmap")
        if found.frozen and write:
            raise _error(errno.EPERM, "mmap")
        if os.fstat(found.memory).st_size < offset + length:
            os.ftruncate(found.memory, offset + length)
        protection = mmap.PROT_READ | mmap.PROT_WRITE if write else mmap.PROT_READ
        return mmap.mmap(found.memory, length, mmap.MAP_SHARED, protection, offset=offset)

    def possible_cpus(self) -> int:
        return self.cpus

    def online_cpus(self) -> list[int]:
        return list(range(self.cpus))
