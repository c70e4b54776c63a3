"""The maps of an object, created, found pinned or taken over, and filled: half of what `Loader` does."""

from __future__ import annotations

import errno
import os
import struct

from probee.errors import LoadError, ProbeeError
from probee.kernel.maps import Map
from probee.obj import spec as kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from probee.kernel.collection import Collection
    from probee.kernel.struct_ops import StructOpsMaps
    from probee.obj.spec import LinkedProgram, MapSpec, ObjectSpec, ProgramSpec
    from probee.sys.bpf import Kernel

_FIRST_KEY = bytes(4)
_PROG_ARRAY, _RINGBUF, _USER_RINGBUF = 3, 27, 31
_MAPS_OF_MAPS = (12, 13)
_IN_MAPS = (kinds.MAP_FD, kinds.MAP_VALUE, kinds.KCONFIG, kinds.JUMP_TABLE)
_DROPS = "__dropped_"


class MapLoader:
    """Makes the maps of `spec` into `collection`. What it needs besides is the loader's."""

    __slots__ = ()

    if TYPE_CHECKING:
        _classes: dict[str, type] | None
        _kernel: Kernel
        _rodata: list[int]
        btf_fd: int
        collection: Collection
        given: Mapping[str, Any]
        kconfig: str
        pin_root: str | None
        spec: ObjectSpec
        struct_ops: StructOpsMaps | None
        token_fd: int

        def _get_token(self) -> bool: ...

        def _prepare(self, spec: ProgramSpec) -> tuple[LinkedProgram, dict[int, str]]: ...

    def create_maps(self, values: Mapping[str, Any]) -> None:
        spec, collection = self.spec, self.collection
        codecs = None
        if spec.btf is not None and spec.maps:
            from probee.btf.values import Codecs

            codecs = collection._codecs = Codecs(spec.btf, self._classes)
        initial = self._initial(values, codecs)
        if ".kconfig" in spec.maps:
            from probee.kernel.kconfig import fill

            fill(spec, initial, self.kconfig)
        for name in self.given:
            if name not in spec.maps:
                raise LoadError(f"{spec.name} has no map {name!r}; it has {', '.join(spec.maps)}")
        for name, wanted in spec.maps.items():
            if not wanted.autocreate:
                continue
            content = initial.get(name)
            made, new = self._make_map(wanted, codecs)
            collection.maps[name] = made
            if wanted.arena_data:
                from probee.kernel.arena_data import place, write

                collection.arena_offset = place(made, len(wanted.arena_data))
                if new and content:
                    write(made, collection.arena_offset, content)
            elif new and content is not None:
                self._fill(made, wanted, content)
            if name.startswith(".rodata"):
                self._rodata.append(made.fd)
        self._fill_map_slots()
        self._count_drops()

    def _make_map(self, spec: MapSpec, codecs: Any) -> tuple[Any, bool]:
        """A map, and whether it is a new one: maps may be given by the caller, or found pinned."""
        if spec.name in self.given:
            from probee.kernel.pins import take_over

            return take_over(spec, self.given[spec.name], codecs), False
        if self.struct_ops is not None and spec.struct_ops is not None:
            return self.struct_ops.create(
                spec.name, lambda s, options: self._create(s, codecs, options)
            ), True
        if spec.pinning and self.pin_root is not None:
            return self._pinned(spec, codecs, self.pin_root)
        return self._create(spec, codecs), True

    def _pinned(self, spec: MapSpec, codecs: Any, root: str) -> tuple[Any, bool]:
        from probee.kernel import pins

        path = pins.path_of(spec, root)
        sized = _sized(spec)
        for _ in range(2):  # another process may pin the same map in between
            found = pins.find(sized, path, codecs, self._entries(sized))
            if found is not None:
                return found, False
            made = self._create(spec, codecs)
            try:
                if pins.keep(made, path):
                    self.collection._own_pins.append(path)
                    return made, True
            except BaseException:
                made.close()
                raise
            made.close()
        raise LoadError(f"the pin {path} of map {spec.name} comes and goes")

    def _entries(self, spec: MapSpec) -> int:
        """What max_entries will be, where the object leaves it to the machine; 0 where not."""
        perf_event_array = 4
        return 0 if spec.max_entries or spec.map_type != perf_event_array else self._kernel.possible_cpus()

    def _fill(self, made: Any, spec: MapSpec, content: bytes | bytearray) -> None:
        try:
            if any(content):
                self._kernel.map_update(made.fd, _FIRST_KEY, content)
            if spec.readonly:
                self._kernel.map_freeze(made.fd)
        except OSError as error:
            raise LoadError(
                f"can't fill {spec.name}: {os.strerror(error.errno or 0)}", errno=error.errno or 0
            ) from error

    def _count_drops(self) -> None:
        """Tell ring buffers which global the program counts its lost records in."""
        collection = self.collection
        for name, live in collection.maps.items():
            counter = _DROPS + name
            if counter in self.spec.globals and hasattr(live, "count_drops"):
                live.count_drops(lambda counter=counter: collection.globals[counter])

    def _initial(self, values: Mapping[str, Any], codecs: Any) -> dict[str, bytes | bytearray]:
        """What data maps hold at the start: the object's values, with those the caller gave."""
        initial: dict[str, bytes | bytearray] = {
            name: bytearray(spec.arena_data if spec.initial is None else spec.initial)
            for name, spec in self.spec.maps.items()
            if spec.initial is not None or spec.arena_data
        }
        for name, value in values.items():
            known = self.spec.globals.get(name)
            if known is None:
                raise LoadError(
                    f"{self.spec.name} has no global {name!r}; it has {', '.join(self.spec.globals)}"
                )
            if not isinstance(value, bytes) or (len(value) != known.size and codecs and known.type_id):
                if codecs is None or not known.type_id:
                    raise LoadError(f"global {name!r} has no type: give its {known.size} bytes")
                try:
                    value = codecs.get(known.type_id).pack(value)
                except (TypeError, ValueError, OverflowError) as wrong:
                    if not isinstance(value, bytes):
                        raise LoadError(f"global {name!r}: {wrong}") from None
            if len(value) != known.size:
                raise LoadError(f"global {name!r} is {known.size} bytes, not {len(value)}")
            content = initial[known.map]
            assert isinstance(content, bytearray)
            content[known.offset : known.offset + known.size] = value
        return initial

    def _create(self, spec: MapSpec, codecs: Any, options: dict[str, Any] | None = None) -> Any:
        spec = _sized(spec)
        options = dict(options or {})
        if spec.exclusive_to:
            options["exclusive_hash"] = self._hash_of(spec)
        inner = None
        if spec.inner is not None:
            inner = self._create(spec.inner, codecs)
        try:
            while True:
                if self.token_fd:
                    options["token_fd"] = self.token_fd
                try:
                    return Map.create(
                        spec,
                        self.spec.btf,
                        btf_fd=max(0, self.btf_fd),
                        inner_fd=inner.fd if inner else 0,
                        codecs=codecs,
                        options=options,
                    )
                except ProbeeError as error:
                    number = getattr(error, "errno", 0)
                    if number != errno.EPERM:
                        raise
                    if self._get_token():
                        continue
                    from probee.kernel.rejection import map_refused, raise_memlock

                    if raise_memlock():
                        continue
                    raise map_refused(spec) from None
        finally:
            if inner is not None:
                inner.close()

    def _hash_of(self, spec: MapSpec) -> bytes:
        """What the kernel knows the program by that alone may use a map: its code without places in maps."""
        from hashlib import sha256

        program = self.spec.programs.get(spec.exclusive_to)
        if program is None:
            raise LoadError(f"map {spec.name} is for program {spec.exclusive_to}, which does not exist")
        linked = self._prepare(program)[0]
        code = bytearray(linked.insns)
        for index, kind, _, _ in linked.relocs:
            if kind in _IN_MAPS:
                code[8 * index + 4 : 8 * index + 8] = code[8 * index + 12 : 8 * index + 16] = bytes(4)
        return sha256(code).digest()

    def _fill_map_slots(self) -> None:
        maps = self.collection.maps
        for name, spec in self.spec.maps.items():
            if spec.map_type in _MAPS_OF_MAPS and name in maps:
                for index, inside in spec.slots:
                    if inside in maps:
                        self._fill_slot(maps[name].fd, index, maps[inside].fd, name)

    def finish_maps(self) -> None:
        """Put programs into the maps that hold programs: program arrays and struct_ops."""
        collection = self.collection
        for name, spec in self.spec.maps.items():
            if spec.map_type == _PROG_ARRAY and name in collection.maps:
                for index, inside in spec.slots:
                    if inside in collection.programs:
                        fd = collection.programs[inside].fd
                        self._fill_slot(collection.maps[name].fd, index, fd, name)
        if self.struct_ops is not None:
            collection.struct_ops = self.struct_ops.finish(collection.maps, collection.programs)

    def _fill_slot(self, map_fd: int, index: int, fd: int, name: str) -> None:
        try:
            self._kernel.map_update(map_fd, struct.pack("=I", index), struct.pack("=I", fd))
        except OSError as error:
            raise LoadError(
                f"can't fill slot {index} of {name}: {os.strerror(error.errno or 0)}", errno=error.errno or 0
            ) from error


def _sized(spec: MapSpec) -> MapSpec:
    """The spec with a size the kernel takes: ring buffers are a power of two of pages, as libbpf has it."""
    if spec.map_type not in (_RINGBUF, _USER_RINGBUF) or not spec.max_entries:
        return spec
    from mmap import PAGESIZE

    size = PAGESIZE
    while size < spec.max_entries:
        size *= 2
    if size == spec.max_entries or size >= 1 << 32:
        return spec
    spec = spec.copy()
    spec.max_entries = size
    return spec
