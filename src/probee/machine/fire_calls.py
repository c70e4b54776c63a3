"""Programs that no event of the kernel runs: iterators, struct_ops, syscall programs, replacements."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..btf.kinds import FUNC_PROTO, STRUCT
from ..errors import ProbeeError
from .builders import PROTOCOLS
from .contexts.base import Context, arguments
from .fire import Firing
from .kernel_memory import Object
from .load import Program
from .results import Result

# Program types (linux/bpf.h).
STRUCT_OPS, EXT, SYSCALL = 27, 28, 31
_OVER_MAPS = ("bpf_map_elem", "bpf_sk_storage_map")


class Calls(Firing):
    """What `Machine` has of these."""

    def _builders(self) -> dict[int, Callable[[Program, tuple[Any, ...], dict[str, Any]], Result]]:
        return {
            **super()._builders(),
            STRUCT_OPS: self._struct_ops,
            EXT: self._replacement,
            SYSCALL: self._syscall_program,
        }

    # ---- iterators

    def iterate(self, target: Any, items: Any = None, **fields: Any) -> Result:
        """Run an iterator over some objects, and once more at the end as the kernel does.

        `target` is what it iterates ("task") or the program. An item is an object, or a dict of the context's
        fields. Without items: the machine's tasks (`task`), cgroups (`cgroup`), sockets (`tcp`, `udp`), maps
        (`bpf_map`). For `bpf_map_elem` and `bpf_sk_storage_map` the items are a map. The result's `output` is
        what it wrote, `retval` the last return value. Raises ProbeeError, and what the program raises.
        """
        name = getattr(target, "name", target)
        found = [
            p for p in self.programs.values() if p.name == name or (p.kind[:4] == "iter" and p.target == name)
        ]
        if not found:
            raise self._nothing(f"iter:{name}")
        program = found[0]
        id = self.btf.find(f"bpf_iter__{program.target}", STRUCT)
        if id is None:
            raise ProbeeError(f"the machine's types have no iterator {program.target}")
        members = [name for name in self.kernel.fields(id) if name != "meta"]
        seq = self.kernel.new("seq_file")
        output = self.sequences[int(seq)] = bytearray()
        result = Result(program.name, 0)
        for number, item in enumerate(self._visited(program.target, items)):
            meta = self.kernel.new("bpf_iter_meta", seq=seq, session_id=1, seq_num=number)
            given = dict(item) if isinstance(item, Mapping) else {members[0]: item} if members else {}
            given = {**fields, **given}
            region = self.memory.alloc(self.btf.type(id).size, "ctx", writable=False, name="iterator")
            made = Object(self.kernel, region.address, id)
            made.meta = meta
            for field, value in given.items():
                made[field] = value
            result = self._finish(program, Context(region))
        result.output = bytes(output)
        del self.sequences[int(seq)]
        return result

    def _visited(self, kind: str, items: Any) -> Iterator[Any]:
        """What an iterator sees one by one, and at the end None, or a context without an element."""
        if kind in _OVER_MAPS:
            yield from self._elements(kind, items)
            return
        if items is None:
            items = self._all_of(kind)
        yield from items
        yield None

    def _all_of(self, kind: str) -> list[Any]:
        tasks = self.services.tasks
        if kind == "task":
            return [task.object for _, task in sorted(tasks.by_pid.items()) if task.pid and task.object]
        if kind == "cgroup":
            return [cgroup.address for cgroup in tasks.cgroups]
        if kind in ("tcp", "udp"):
            wanted = PROTOCOLS[kind]
            return [int(sock) for sock in self.sockets.values() if sock.sk_protocol == wanted]
        if kind == "bpf_map":
            return [m.address for c in self.collections for m in c.inner.values()]
        return []

    def _elements(self, kind: str, of: Any) -> Iterator[dict[str, Any]]:
        """The contexts of an iterator over a map's elements, the last without one."""
        if of is None:
            raise ProbeeError(f"iter/{kind} wants a map: machine.iterate(program, the_map)")
        m: Any = self.services.syscalls.find_map(self.map(of)._fd)  # type: ignore[attr-defined]
        if kind == "bpf_map_elem":
            found = m.each(0)
            if found is None:
                raise ProbeeError(f"the kernel has no iterator over the elements of {m.name!r}")
            places = [{"key": key, "value": value} for key, value in found]
        else:
            places = [{"sk": owner, "value": value} for owner, value in m.each_owner()]
        for place in places:
            yield {"map": m.address, **place}
        yield {"map": m.address}

    def _struct_ops(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        found = self._member(program)
        values = self._values(program.name, found, args, fields)
        for value in (*args, *fields.values()):
            if isinstance(value, Object):
                self.kernel.allow_writes(value)
        return self._finish(program, arguments(self.memory, values), wide=True)

    def _member(self, program: Program) -> list[tuple[str, int]] | None:
        """The parameters of the struct_ops member that a program implements."""
        for collection in self.collections:
            for name, members in collection.struct_ops.items():
                ops = collection.spec.maps[name].struct_ops
                for member, implementation in members.items():
                    if implementation != program.name or ops is None:
                        continue
                    id = self.btf.find(ops.type_name, STRUCT)
                    if id is None:
                        continue
                    field = self.kernel.field(id, member)
                    pointer = self.btf.type(self.btf.strip(field.type))
                    proto = self.btf.type(self.btf.strip(pointer.type))
                    if proto.kind == FUNC_PROTO:
                        return list(proto.params)
        return None

    def call(self, struct_ops: str, member: str, /, *args: Any, **fields: Any) -> Result:
        """Call a function of a struct_ops map: `m.call("my_cc", "cong_avoid", sock, 1, 2)`."""
        for collection in self.collections:
            if struct_ops in collection.struct_ops:
                name = collection.struct_ops[struct_ops].get(member)
                if name is None:
                    known = ", ".join(collection.struct_ops[struct_ops])
                    raise ProbeeError(f"{struct_ops} has no function {member}; it has {known}")
                return self._struct_ops(self.programs[name], args, dict(fields))
        raise ProbeeError(f"there is no struct_ops map {struct_ops!r}")

    def _syscall_program(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        """A program of type syscall: its context are bytes, which it may change."""
        data = bytes(args[0]) if args else b""
        region = self.memory.alloc(max(1, len(data)), "ctx", name="context")
        region.data[: len(data)] = data
        context = Context(region)
        try:
            result = Result(program.name, self.run(program, context))
            result.output = bytes(region.data[: len(data)])
        finally:
            context.free(self.memory)
        return result

    def _replacement(self, program: Program, args: tuple[Any, ...], fields: dict[str, Any]) -> Result:
        """A program in place of another one's function: as that program, or on its arguments."""
        if program.like:
            return self._builders()[program.like](program, args, fields)
        return self._finish(program, arguments(self.memory, self._values(program.target, None, args, fields)))
