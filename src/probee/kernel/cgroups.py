"""Control groups, version 2: where they are mounted, and which programs are attached to them."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.sys.bpf import BPF_F_QUERY_EFFECTIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# The attach types of cgroups (numbers of enum bpf_attach_type) with their names, the long one and that of the
# section names, in the order in which they are shown.
HOOKS: dict[int, tuple[str, str]] = {
    0: ("cgroup_inet_ingress", "ingress"),
    1: ("cgroup_inet_egress", "egress"),
    2: ("cgroup_inet_sock_create", "sock_create"),
    34: ("cgroup_inet_sock_release", "sock_release"),
    8: ("cgroup_inet4_bind", "bind4"),
    9: ("cgroup_inet6_bind", "bind6"),
    12: ("cgroup_inet4_post_bind", "post_bind4"),
    13: ("cgroup_inet6_post_bind", "post_bind6"),
    10: ("cgroup_inet4_connect", "connect4"),
    11: ("cgroup_inet6_connect", "connect6"),
    49: ("cgroup_unix_connect", "connect_unix"),
    29: ("cgroup_inet4_getpeername", "getpeername4"),
    30: ("cgroup_inet6_getpeername", "getpeername6"),
    52: ("cgroup_unix_getpeername", "getpeername_unix"),
    31: ("cgroup_inet4_getsockname", "getsockname4"),
    32: ("cgroup_inet6_getsockname", "getsockname6"),
    53: ("cgroup_unix_getsockname", "getsockname_unix"),
    14: ("cgroup_udp4_sendmsg", "sendmsg4"),
    15: ("cgroup_udp6_sendmsg", "sendmsg6"),
    50: ("cgroup_unix_sendmsg", "sendmsg_unix"),
    19: ("cgroup_udp4_recvmsg", "recvmsg4"),
    20: ("cgroup_udp6_recvmsg", "recvmsg6"),
    51: ("cgroup_unix_recvmsg", "recvmsg_unix"),
    3: ("cgroup_sock_ops", "sock_ops"),
    6: ("cgroup_device", "device"),
    18: ("cgroup_sysctl", "sysctl"),
    21: ("cgroup_getsockopt", "getsockopt"),
    22: ("cgroup_setsockopt", "setsockopt"),
    43: ("lsm_cgroup", "lsm_cgroup"),
}
ALLOW_OVERRIDE, ALLOW_MULTI = 1, 2
MODES = {0: "exclusive", 1: "override", 2: "multi", 3: "override and multi"}


class CgroupProgram:
    """A program of a cgroup. `flags` are its attach flags: 0 where `effective` ones were asked for."""

    __slots__ = ("attach_type", "flags", "prog_id")

    def __init__(self, attach_type: int, prog_id: int, flags: int) -> None:
        self.attach_type = attach_type
        self.prog_id = prog_id
        self.flags = flags

    @property
    def hook(self) -> str:
        """The attach type's name."""
        return HOOKS[self.attach_type][0]


def mounts() -> list[str]:
    """Where cgroup2 file systems are mounted."""
    found = []
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            parts = line.split(" ")
            if len(parts) > 2 and parts[2] == "cgroup2":
                found.append(_unescape(parts[1]))
    return found


def _unescape(text: str) -> str:
    """A path of /proc/mounts, where blanks and the like are octal."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def open_cgroup(cgroup: str | os.PathLike[str] | int) -> int:
    """A descriptor of a cgroup, to be closed. `cgroup` is a folder, a path below the mount, or a descriptor.

    Raises `OSError`.
    """
    if isinstance(cgroup, int):
        return os.dup(cgroup)
    path = os.fspath(cgroup)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        if os.path.isabs(path):
            raise
        for root in mounts():
            try:
                return os.open(f"{root}/{path}", flags)
            except FileNotFoundError:
                continue
        raise


def attached(fd: int, *, effective: bool = False) -> list[CgroupProgram]:
    """The programs of a cgroup, in the order they run at each hook.

    With `effective` also those of its parents that run for it. Raises `OSError`: EBADF if it is no cgroup.
    """
    found = []
    known = False
    failure: OSError | None = None
    kernel = kernel_calls.kernel()
    for attach_type in HOOKS:
        try:
            query = kernel.prog_query(fd, attach_type, flags=BPF_F_QUERY_EFFECTIVE if effective else 0)
        except OSError as error:
            if error.errno != errno.EINVAL:  # else a hook that this kernel lacks
                failure = error
            continue
        known = True
        for at, id in enumerate(query.prog_ids):
            flags = query.prog_flags[at] if at < len(query.prog_flags) else 0
            found.append(CgroupProgram(attach_type, id, flags or (0 if effective else query.attach_flags)))
    if failure is not None and not known:
        raise failure
    return found


def tree(root: str, *, effective: bool = False) -> Iterator[tuple[str, list[CgroupProgram]]]:
    """Each cgroup below `root`, itself included, that has programs. One that goes meanwhile is left out."""
    pending = [root]
    while pending:
        path = pending.pop()
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            if path == root:
                raise
            continue
        try:
            programs = attached(fd, effective=effective)
            with os.scandir(fd) as entries:
                # In the order of the folder, depth first.
                inside = [f"{path.rstrip('/')}/{e.name}" for e in entries if e.is_dir(follow_symlinks=False)]
        finally:
            os.close(fd)
        if programs:
            yield path, programs
        pending += reversed(inside)
