"""Maps with one value for each possible CPU: an entry is a list, one item for each."""

from __future__ import annotations

from .arrays import Indexed
from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Base = KeyedMap
else:
    Base = object


class PerCpu(Base):
    """Reads and writes lists of values, item i that of CPU i. `cpus` is the number of possible CPUs."""

    __slots__ = ()
    cpus: int
    slot: int  # bytes of one value as system calls carry it: padded to 8

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self.cpus = self._kernel.possible_cpus()
        self.slot = self.value_size + 7 & ~7
        self.span = self.slot * self.cpus

    def load(self, raw: bytes) -> list[Any]:
        return self.value.unpack_many(raw, self.cpus, stride=self.slot)

    def load_many(self, values: memoryview, count: int) -> Iterable[Any]:
        cpus = self.cpus
        flat = self.value.unpack_many(values, count * cpus, stride=self.slot)
        return [flat[i : i + cpus] for i in range(0, count * cpus, cpus)]

    def dump(self, value: Any) -> bytes:
        if not isinstance(value, list):
            raise TypeError(
                f"a per-CPU entry is a list: write [{value!r}] * {self.name}.cpus to set all CPUs"
            )
        if len(value) != self.cpus:
            raise ValueError(f"an entry of {self.name} has {self.cpus} values, not {len(value)}")
        pad = bytes(-self.value_size & 7)
        return b"".join([self.value.pack(v) + pad for v in value])

    def sum(self, key: Any) -> Any:
        """The sum over all CPUs. Raises KeyError, and TypeError for values that are no numbers."""
        return sum(self[key])

    def sums(self) -> dict[Any, Any]:
        """All entries, each as the sum over all CPUs."""
        return {key: sum(values) for key, values in self.items()}


class PerCpuHash(PerCpu, KeyedMap):
    """BPF_MAP_TYPE_PERCPU_HASH."""

    __slots__ = ("cpus", "slot")


class LruPerCpuHash(PerCpu, KeyedMap):
    """BPF_MAP_TYPE_LRU_PERCPU_HASH."""

    __slots__ = ("cpus", "slot")


class PerCpuArray(PerCpu, Indexed):
    """BPF_MAP_TYPE_PERCPU_ARRAY."""

    __slots__ = ("cpus", "slot")
