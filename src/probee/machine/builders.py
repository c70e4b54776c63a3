"""Ready-made kernel objects: tasks, files, sockets, network devices, block requests."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from ..errors import ProbeeError
from .core import Core
from .kernel_memory import Object

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "icmpv6": 58, "raw": 255, "sctp": 132}
SOCK_TYPES = {"tcp": 1, "udp": 2, "icmp": 3, "icmpv6": 3, "raw": 3, "sctp": 5}
TCP_STATES = (
    "",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
)  # include/net/tcp_states.h


def port_be(port: int) -> int:
    """A port as it stands in memory in network order, read as a little-endian number."""
    return int.from_bytes(port.to_bytes(2, "big"), "little")


def ip4_be(address: str) -> int:
    """An IPv4 address as it stands in memory, read as a little-endian number."""
    return int.from_bytes(ip_address(address).packed, "little")


def ip6_words(address: str) -> list[int]:
    """An IPv6 address as four such numbers."""
    packed = ip_address(address).packed
    return [int.from_bytes(packed[i : i + 4], "little") for i in range(0, 16, 4)]


class Builders(Core):
    """What `Machine` has of these."""

    # ---- tasks

    def task(
        self,
        pid: int,
        comm: str = "",
        *,
        tgid: int = 0,
        ppid: int = 0,
        parent: Object | None = None,
        uid: int = 0,
        gid: int = 0,
        args: Sequence[str] = (),
        cgroup: str = "/",
        stack: Sequence[int] = (),
        user_stack: Sequence[int] = (),
        **fields: Any,
    ) -> Object:
        """A `task_struct`, with credentials, parent, process leader, memory map and namespaces.

        `pid` is the thread's number, `tgid` the process's (the same by default). `ppid` makes a parent with
        that number unless `parent` is given; without either it is the idle task, 0. `args` are the program's
        arguments in user memory. `stack` and `user_stack` are the addresses that bpf_get_stack sees. Other
        fields go by name.
        """
        kernel, tgid = self.kernel, tgid or pid
        if parent is None and ppid:
            known = self.services.tasks.by_pid.get(ppid)
            parent = known.object if known is not None and known.object is not None else None
            if parent is None:
                parent = self.task(ppid, "init" if ppid == 1 else "parent")
        made = kernel.new("task_struct", pid=pid, tgid=tgid, comm=comm)
        idle = self._shared_object("task_struct", comm="swapper/0")
        made.real_parent = made.parent = parent if parent is not None else idle
        leader = made
        if tgid != pid:
            known = self.services.tasks.by_pid.get(tgid)
            leader = known.object if known is not None and known.object is not None else made
        made.group_leader = leader
        ids = {name: {"val": uid} for name in ("uid", "euid", "suid", "fsuid")}
        ids |= {name: {"val": gid} for name in ("gid", "egid", "sgid", "fsgid")}
        self._try(made, "cred", ids)
        self._try(made, "real_cred", made.cred)
        self._try(made, "nsproxy", self._nsproxy())
        numbers = [{"nr": tgid, "ns": self._shared_object("pid_namespace", level=0)}]
        self._try(made, "thread_pid", {"level": 0, "numbers": numbers})
        self._try(made, "signal", {})
        self._try(made, "files", {})
        if pid:
            self._try(made, "mm", {})
            if made.mm is not None:
                text = b"".join(word.encode() + b"\0" for word in args)
                start = self.user.place(text) if text else 0
                made.mm.arg_start, made.mm.arg_end = start, start + len(text)
        for name, value in fields.items():
            made[name] = value
        facts = {"tgid": tgid, "comm": comm, "uid": uid, "gid": gid, "cgroup": cgroup, "object": made}
        record = self.services.tasks.new(pid, **facts, stack=list(stack), user_stack=list(user_stack))
        if parent is not None:
            record.parent = self.services.tasks.task_at(int(parent))
        return made

    def _try(self, made: Object, name: str, value: Any) -> None:
        """Set a field that the machine's BTF may lack, or may have only the name of."""
        try:
            made[name] = value
        except (AttributeError, TypeError):
            return

    def _shared_object(self, type: str, **fields: Any) -> Object:
        """One object of a type for all: the first namespaces, the root file system."""
        found = self._shared.get(type)
        if found is None:
            found = self._shared[type] = self.kernel.new(type)
            for name, value in fields.items():
                self._try(found, name, value)
        return found

    def _nsproxy(self) -> Object:
        # The inode numbers of a system's first namespaces (linux/proc_ns.h).
        first = {"uts": 0xEFFFFFFE, "ipc": 0xEFFFFFFF, "mnt": 0xF0000000, "net": 0xF0000001}
        made = self._shared_object("nsproxy")
        if not self._shared.get("filled"):
            self._shared["filled"] = made
            self._try(made, "uts_ns", self._namespace("uts_namespace", first["uts"]))
            self._try(made, "ipc_ns", self._namespace("ipc_namespace", first["ipc"]))
            self._try(made, "mnt_ns", self._namespace("mnt_namespace", first["mnt"]))
            self._try(made, "net_ns", self._namespace("net", first["net"]))
            pids = self._namespace("pid_namespace", 0xEFFFFFFC)
            self._try(made, "pid_ns_for_children", pids)
        return made

    def _namespace(self, type: str, number: int) -> Object:
        made = self._shared_object(type)
        self._try(made, "ns.inum", number)
        return made

    def cgroup(self, path: str) -> Object:
        """The `struct cgroup` at a path, which comes into being with those above it; `id` is at `kn.id`."""
        made = self.services.tasks.cgroup(path)
        return self.kernel.at(made.address, "cgroup")

    def vma(
        self, task: Object, start: int, size: int = 4096, *, file: Object | None = None, flags: int = 0
    ) -> Object:
        """A memory area of a task: a `vm_area_struct`, which bpf_find_vma and iterators find.

        `start` and `size` are in bytes, `flags` VM_… (1 read, 2 write, 4 execute).
        """
        record = self.services.tasks.task_at(int(task))
        if record is None:
            raise ProbeeError("give a task of machine.task(…)")
        made = self.kernel.new("vm_area_struct", vm_start=start, vm_end=start + size)
        self._try(made, "vm_flags", flags)
        self._try(made, "vm_mm", task.mm)
        if file is not None:
            self._try(made, "vm_file", file)
        record.areas.append((start, start + size, int(made)))
        return made

    # ---- files

    def inode(
        self, number: int = 1, *, mode: int = stat.S_IFREG | 0o644, uid: int = 0, size: int = 0, **fields: Any
    ) -> Object:
        """An `inode` with its super block."""
        made = self.kernel.new("inode", i_ino=number, i_mode=mode, i_size=size)
        self._try(made, "i_uid", {"val": uid})
        self._try(made, "i_sb", self._shared_object("super_block", s_dev=0x800001, s_magic=0xEF53))
        self._try(made, "__i_nlink", 1)
        for name, value in fields.items():
            made[name] = value
        return made

    def dentry(self, path: str, inode: Object | None = None) -> Object:
        """A `dentry` for the last part of a path, with those above it up to the root."""
        kernel = self.kernel
        root = self._shared.get("/")
        if root is None:
            root = self._shared["/"] = kernel.new("dentry")
            root.d_parent = root
            root.d_inode = self.inode(2, mode=stat.S_IFDIR | 0o755)
            root["d_name.name"], root["d_name.len"] = "/", 1
        made, at = root, ""
        parts = [part for part in path.split("/") if part]
        for i, part in enumerate(parts):
            at += "/" + part
            found = self._shared.get(at) if i + 1 < len(parts) else None
            if found is None:
                found = kernel.new("dentry")
                found.d_parent = made
                found["d_name.name"], found["d_name.len"] = part, len(part.encode())
                self._try(found, "d_sb", made.d_inode.i_sb)
                if i + 1 < len(parts):
                    self._shared[at] = found
                    found.d_inode = self.inode(2 + len(self._shared), mode=stat.S_IFDIR | 0o755)
            made = found
        if inode is not None or made.d_inode is None:
            made.d_inode = inode if inode is not None else self.inode(2 + len(self._shared))
        return made

    def file(
        self, path: str, *, flags: int = 0, mode: int = 1, inode: Object | None = None, **fields: Any
    ) -> Object:
        """A `file` that is open: `flags` are O_…, `mode` FMODE_… (1 read, 2 write)."""
        dentry = self.dentry(path, inode)
        mount = self._shared_object("vfsmount", mnt_root=self._shared["/"])
        made = self.kernel.new("file", f_flags=flags, f_mode=mode)
        made["f_path.dentry"], made["f_path.mnt"] = dentry, mount
        made.f_inode = dentry.d_inode
        for name, value in fields.items():
            made[name] = value
        absolute = "/" + path.lstrip("/")
        self.paths[int(made)] = self.paths[int(dentry)] = absolute
        self.paths[int(made.f_path)] = absolute
        return made

    # ---- network

    def net_device(self, name: str, index: int = 2, *, mtu: int = 1500, **fields: Any) -> Object:
        """A `net_device`. Its `mtu` is also what bpf_check_mtu goes by."""
        self.services.mtus[index] = mtu
        return self.kernel.new("net_device", name=name, ifindex=index, mtu=mtu, **fields)

    def route(
        self, to: str, ifindex: int, *, via: str = "", dmac: str = "", smac: str = "", mtu: int = 1500
    ) -> None:
        """A route that bpf_fib_lookup finds: `to` is a network, the longest prefix wins.

        `via` is the gateway's address, `dmac` its link layer's ("02:00:00:00:00:01"): without it, the helper
        says that there is no neighbour. `smac` is that of the interface.
        """
        told = {"to": to, "ifindex": ifindex, "via": via, "dmac": dmac, "mtu": mtu}
        self.services.routes.append({**told, **({"smac": smac} if smac else {})})

    def sock(
        self,
        protocol: str = "tcp",
        *,
        local: tuple[str, int] = ("0.0.0.0", 0),
        remote: tuple[str, int] | None = None,
        state: str | int = 0,
        uid: int = 0,
        mark: int = 0,
        **fields: Any,
    ) -> Object:
        """A socket of the kernel (`tcp_sock`, `udp_sock`, else `sock`); `struct sock` is its beginning.

        Addresses are (IP address, port). `state` is a name such as "ESTABLISHED", or a number. Other fields
        go by their path in `struct sock`, as `__sk_common.skc_bound_dev_if`.
        """
        if protocol not in PROTOCOLS:
            raise ProbeeError(f"unknown protocol {protocol!r}; there are {', '.join(PROTOCOLS)}")
        kernel = self.kernel
        inside = kernel.new({"tcp": "tcp_sock", "udp": "udp_sock"}.get(protocol, "sock"))
        made = kernel.at(int(inside), "sock")
        ipv6 = ip_address(local[0]).version == 6
        common = made["__sk_common"]
        common.skc_family = AF_INET6 if ipv6 else AF_INET
        number = TCP_STATES.index(state) if isinstance(state, str) else state
        if not number and protocol == "tcp":
            number = TCP_STATES.index("ESTABLISHED" if remote else "CLOSE")
        common.skc_state = number
        common.skc_num = local[1]
        self._put_address(common, "skc_rcv_saddr", "skc_v6_rcv_saddr", local[0])
        if remote is not None:
            common.skc_dport = port_be(remote[1])
            self._put_address(common, "skc_daddr", "skc_v6_daddr", remote[0])
        self._try(common, "skc_net", {"net": self._namespace("net", 0xF0000001)})
        self._try(made, "sk_protocol", PROTOCOLS[protocol])
        self._try(made, "sk_type", SOCK_TYPES[protocol])
        self._try(made, "sk_uid", {"val": uid})
        self._try(made, "sk_mark", mark)
        for name, value in fields.items():
            made[name] = value
        self.sockets[int(made)] = made
        return made

    def _put_address(self, common: Object, four: str, six: str, address: str) -> None:
        parsed = ip_address(address)
        if parsed.version == 4:
            common[four] = ip4_be(address)
        else:
            self._try(common, six, parsed.packed)

    def sockaddr(self, address: str, port: int = 0) -> int:
        """The address in user memory of a `sockaddr_in`, `sockaddr_in6`, or for a path `sockaddr_un`."""
        if "/" in address or not address:
            return self.user.place(AF_UNIX.to_bytes(2, "little") + address.encode() + b"\0")
        parsed = ip_address(address)
        wire = port.to_bytes(2, "big")
        if parsed.version == 4:
            return self.user.place(AF_INET.to_bytes(2, "little") + wire + parsed.packed + bytes(8))
        return self.user.place(AF_INET6.to_bytes(2, "little") + wire + bytes(4) + parsed.packed + bytes(4))

    # ---- block devices

    def request(
        self,
        operation: int = 0,
        *,
        sector: int = 0,
        size: int = 4096,
        disk: str = "sda",
        major: int = 8,
        minor: int = 0,
        **fields: Any,
    ) -> Object:
        """A `request` of a block device: `operation` is REQ_OP_… (0 read, 1 write) with its flags."""
        key = f"disk {disk}"
        queue = self._shared.get(key)
        if queue is None:
            gendisk = self.kernel.new("gendisk", disk_name=disk, major=major, first_minor=minor)
            queue = self._shared[key] = self.kernel.new("request_queue")
            self._try(queue, "disk", gendisk)
        made = self.kernel.new("request", q=queue, cmd_flags=operation)
        self._try(made, "__data_len", size)
        self._try(made, "__sector", sector)
        for name, value in fields.items():
            made[name] = value
        return made
