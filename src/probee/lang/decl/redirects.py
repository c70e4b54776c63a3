"""Declared maps that packets and sockets are sent to, and arrays of kernel objects."""

from __future__ import annotations

from .maps import MapDecl
from .types import u32, u64

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .types import DeclType


class _Indexed(MapDecl):
    """By number, filled from Python."""

    __slots__ = ()
    _takes = ()

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key = self.value = u32


class _WithProgram(_Indexed):
    """Values have room for a program that runs there: in Python a pair, `ports[1] = ("eth0", program)`."""

    __slots__ = ()

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u32, u64


class DevMap(_WithProgram):
    """BPF_MAP_TYPE_DEVMAP (Linux 4.14): network devices by index, for `ports.redirect(i)` in XDP.

    With a device goes the program that sends there, `@bp.xdp(at="devmap")` (5.8).
    """

    __slots__ = ()
    kind = 14
    _example = "write for example DevMap(64)"


class DevMapHash(_WithProgram):
    """BPF_MAP_TYPE_DEVMAP_HASH (Linux 5.4): network devices by any number, for `ports.redirect(n)` in XDP."""

    __slots__ = ()
    kind = 25
    _example = "write for example DevMapHash(64)"


class CpuMap(_WithProgram):
    """BPF_MAP_TYPE_CPUMAP (Linux 4.15): CPUs with the length of their queues, for `cpus.redirect(i)`.

    With a CPU goes the program that runs there, `@bp.xdp(at="cpumap")` (5.9).
    """

    __slots__ = ()
    kind = 16
    _example = "write for example CpuMap(64)"


class XskMap(_Indexed):
    """BPF_MAP_TYPE_XSKMAP (Linux 4.18): AF_XDP sockets by receive queue, for `sockets.redirect(i)`."""

    __slots__ = ()
    kind = 17
    _example = "write for example XskMap(64)"


class SockMap(_Indexed):
    """BPF_MAP_TYPE_SOCKMAP (Linux 4.14): sockets by index; `sockets.redirect(i)` sends data to one."""

    __slots__ = ()
    kind = 15
    _example = "write for example SockMap(64)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u32, u64


class SockHash(MapDecl):
    """BPF_MAP_TYPE_SOCKHASH (Linux 4.18): sockets by a key of yours; `sockets.redirect(key)` sends to one."""

    __slots__ = ()
    kind = 18
    _takes = ("key",)
    _example = "write for example SockHash[Flow](1024)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = of[0], u64


class ReuseportArray(_Indexed):
    """BPF_MAP_TYPE_REUSEPORT_SOCKARRAY (Linux 4.19): sockets of one port, for `sockets.select(i)`."""

    __slots__ = ()
    kind = 20
    _example = "write for example ReuseportArray(16)"

    def _types(self, of: tuple[DeclType, ...]) -> None:
        self.key, self.value = u32, u64


class CgroupArray(_Indexed):
    """BPF_MAP_TYPE_CGROUP_ARRAY (Linux 4.8): cgroups by index, for `groups.has_current(i)`."""

    __slots__ = ()
    kind = 8
    _example = "write for example CgroupArray(4)"
