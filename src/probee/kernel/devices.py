"""Where XDP programs redirect packets to: network devices and CPUs, with programs of their own if wanted."""

from __future__ import annotations

from struct import Struct

from ..btf.values import Codec
from .arrays import ByIndex
from .holders import descriptor
from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PLAIN, _WITH_PROGRAM = Struct("=I"), Struct("=Ii")  # struct bpf_devmap_val, struct bpf_cpumap_val
_WITH_ID = Struct("=II")


class Target(tuple):  # type: ignore[type-arg]
    """An entry: the device's index or the length of the CPU's queue, and the id of the program that runs
    there (0: none)."""

    __slots__ = ()

    def __new__(cls, number: int, program_id: int) -> Target:
        return super().__new__(cls, (number, program_id))

    @property
    def program_id(self) -> int:
        id: int = self[1]
        return id


class DeviceTarget(Target):
    """`ifindex` and `program_id`; `.name` is the interface's name now."""

    __slots__ = ()

    @property
    def ifindex(self) -> int:
        index: int = self[0]
        return index

    @property
    def name(self) -> str:
        """The interface's name in this network namespace. Raises OSError if it is gone."""
        from socket import if_indextoname

        return if_indextoname(self.ifindex)

    def __repr__(self) -> str:
        return f"DeviceTarget(ifindex={self[0]}, program_id={self[1]})"


class CpuTarget(Target):
    """`queue_size` in packets, and `program_id`."""

    __slots__ = ()

    @property
    def queue_size(self) -> int:
        size: int = self[0]
        return size

    def __repr__(self) -> str:
        return f"CpuTarget(queue_size={self[0]}, program_id={self[1]})"


class TargetCodec(Codec):
    """Writing takes a number (or an interface's name), or a pair of it and a program."""

    __slots__ = ("_made", "_names")

    def __init__(self, made: type[Target], size: int, order: str, *, names: bool) -> None:
        super().__init__(made.__name__, size, order, f"{size}s")
        self._made = made
        self._names = names

    def load(self, slot: bytes) -> Target:
        if len(slot) < _WITH_ID.size:
            return self._made(_PLAIN.unpack_from(slot)[0], 0)
        return self._made(*_WITH_ID.unpack_from(slot))

    def dump(self, value: Any) -> bytes:
        program = None
        if isinstance(value, tuple) and len(value) == 2:
            value, program = value
        if isinstance(value, str) and self._names:
            from socket import if_nametoindex

            try:
                value = if_nametoindex(value)
            except OSError:
                raise ValueError(f"there is no network interface {value!r}") from None
        if not isinstance(value, int) or not 0 <= value < 1 << 32:
            raise TypeError(f"{value!r} is not a value of type {self.name}")
        if self.size < _WITH_PROGRAM.size:
            if program is not None:
                raise ValueError("values of this map have 4 bytes, without room for a program: make them 8")
            return _PLAIN.pack(value)
        fd = -1 if program is None else descriptor(program)
        if fd is None:
            raise TypeError(f"{program!r} is no program and no descriptor of one")
        return _WITH_PROGRAM.pack(value, fd)

    def _dtype(self, np: Any) -> Any:
        fields = [("number", "=u4"), ("program_id", "=u4")]
        return np.dtype(fields[: self.size // 4])


class DevMap(ByIndex):
    """BPF_MAP_TYPE_DEVMAP (Linux 4.14): devices by index. Assign an interface's index or name, or a pair of
    that and an XDP program (attach type BPF_XDP_DEVMAP, Linux 5.8) that packets run through there."""

    __slots__ = ()

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self.value = TargetCodec(DeviceTarget, self.value_size, self.key.order, names=True)


class DevMapHash(KeyedMap):
    """BPF_MAP_TYPE_DEVMAP_HASH (Linux 5.4): devices by any number; else like `DevMap`."""

    __slots__ = ()

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self.value = TargetCodec(DeviceTarget, self.value_size, self.key.order, names=True)


class CpuMap(ByIndex):
    """BPF_MAP_TYPE_CPUMAP (Linux 4.15): CPUs by number. Assign the length of the queue in packets, or a pair
    of that and an XDP program (attach type BPF_XDP_CPUMAP, Linux 5.9) that runs there."""

    __slots__ = ()

    def __init__(self, fd: int, **facts: Any) -> None:
        super().__init__(fd, **facts)
        self.value = TargetCodec(CpuTarget, self.value_size, self.key.order, names=False)
