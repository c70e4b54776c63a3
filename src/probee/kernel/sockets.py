"""Maps that hold sockets: written as sockets (anything with `fileno()`) or descriptors, read as cookies."""

from __future__ import annotations

import errno

from ..errors import MapError
from .holders import Holder, Unreadable
from .maps import KeyedMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_ENTRIES_THAT_CAN_BE_READ = 8  # bytes of a value: only then the kernel gives the cookie


class _Sockets(Holder):
    """Reading gives the socket's cookie (SO_COOKIE), if the map has values of 8 bytes."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        if self.value_size < _ENTRIES_THAT_CAN_BE_READ:
            raise self.failed(OSError(errno.ENOSPC, ""), "read")
        return KeyedMap.__iter__(self)

    def failed(self, error: OSError, doing: str) -> MapError:
        if error.errno == errno.ENOSPC and doing == "read":
            return MapError(
                f"can't read {self._called()}: the kernel gives the cookies of sockets only where values "
                "have 8 bytes: declare them u64",
                errno=errno.ENOSPC,
            )
        return super().failed(error, doing)


class SockMap(_Sockets):
    """BPF_MAP_TYPE_SOCKMAP (Linux 4.14): sockets by index, for `bpf_msg_redirect_map` and the like."""

    __slots__ = ()


class SockHash(_Sockets):
    """BPF_MAP_TYPE_SOCKHASH (Linux 4.18): sockets by key. Keys can be listed whatever the values."""

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        from .batch import walk_keys

        try:
            for raw in walk_keys(self):
                yield self.key.unpack(raw)
        except OSError as e:
            raise self.failed(e, "read") from e

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ReuseportSockArray(_Sockets):
    """BPF_MAP_TYPE_REUSEPORT_SOCKARRAY (Linux 4.19): sockets of a SO_REUSEPORT group by index."""

    __slots__ = ()


class XskMap(Unreadable):
    """BPF_MAP_TYPE_XSKMAP (Linux 4.18): AF_XDP sockets by index, for `bpf_redirect_map`.

    The kernel does not tell user space what is in it.
    """

    __slots__ = ()
