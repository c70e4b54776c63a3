"""Maps with one value for each possible CPU: an entry is a list, one item for each."""

from __future__ import annotations

import errno

from ..errors import Unsupported
from .arrays import Indexed
from .maps import BPF_ANY, BPF_F_ALL_CPUS, BPF_F_CPU, MISSING_FEATURE, KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    import numpy as np

    Base = KeyedMap
else:
    Base = object


class PerCpu(Base):
    """Reads and writes lists of values, item i that of CPU i. `cpus` is the number of possible CPUs.

    NumPy arrays of one value for each CPU can be assigned, too; `array(key)` reads one.
    """

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
        if getattr(value, "ndim", None):  # a NumPy array
            value = value.tolist()
        if not isinstance(value, list):
            raise TypeError(
                f"a per-CPU entry is a list: write [{value!r}] * {self.name}.cpus to set all CPUs"
            )
        if len(value) != self.cpus:
            raise ValueError(f"an entry of {self.name} has {self.cpus} values, not {len(value)}")
        pad = bytes(-self.value_size & 7)
        return b"".join([self.value.pack(v) + pad for v in value])

    def array(self, key: Any) -> np.ndarray[Any, Any]:
        """The values of a key as a NumPy array, one for each CPU. Raises KeyError."""
        import numpy as np

        raw = self._look(key)
        if raw is None:
            raise KeyError(key)
        item = {"names": ["v"], "formats": [self.value_dtype()], "offsets": [0], "itemsize": self.slot}
        found: np.ndarray[Any, Any] = np.frombuffer(raw, np.dtype(item))["v"].copy()  # type: ignore[call-overload]
        return found

    def on_cpu(self, key: Any, cpu: int) -> Any:
        """The value of one CPU. Raises KeyError, and IndexError for a CPU that there is not."""
        if not 0 <= cpu < self.cpus:
            raise IndexError(f"there are {self.cpus} CPUs, and no CPU {cpu}")
        return self[key][cpu]

    def put_on_cpu(self, key: Any, cpu: int, value: Any, flags: int = BPF_ANY) -> None:
        """Set the value of one CPU and leave those of the others (BPF_F_CPU, Linux 7.0; else Unsupported)."""
        if not 0 <= cpu < self.cpus:
            raise IndexError(f"there are {self.cpus} CPUs, and no CPU {cpu}")
        raw = self.value.pack(value).ljust(self.slot, b"\0")
        try:
            self._kernel.map_update(self._fd, self.pack_key(key), raw, flags | BPF_F_CPU | cpu << 32)
        except OSError as e:
            if e.errno in MISSING_FEATURE:
                raise Unsupported(
                    "this kernel can't write one CPU's value alone: assign a list for all",
                    feature="BPF_F_CPU",
                    since="7.0",
                ) from None
            raise self.failed(e, "write") from e

    def put_everywhere(self, key: Any, value: Any, flags: int = BPF_ANY) -> None:
        """Set the same value for all CPUs, at once on Linux 7.0 (BPF_F_ALL_CPUS)."""
        raw = self.value.pack(value).ljust(self.slot, b"\0")
        packed = self.pack_key(key)
        try:
            # The kernel looks at one value; one that does not know the flag refuses it before it reads any.
            self._kernel.map_update(self._fd, packed, raw * self.cpus, flags | BPF_F_ALL_CPUS)
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise self.failed(e, "write") from e
            self.put(key, [value] * self.cpus, flags)

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
