"""Tasks and cgroups of the machine: what the helpers about the current task tell."""

from __future__ import annotations

from itertools import count
from typing import Any

from .kernel_memory import Kernel, KernelError
from .memory import Memory

COMM = 16  # bytes of a task's name, with its zero


class Cgroup:
    """A cgroup by its path. `id` is what bpf_get_current_cgroup_id gives, `level` 0 for the root."""

    def __init__(self, owner: Tasks, path: str, id: int, parent: Cgroup | None) -> None:
        self._owner = owner
        self.path = path
        self.id = id
        self.parent = parent
        self.level: int = 0 if parent is None else parent.level + 1
        self.classid = 0
        self._address = 0

    def ancestor(self, level: int) -> Cgroup | None:
        """The ancestor at a level, itself at its own; None below."""
        at: Cgroup | None = self
        while at is not None and at.level > level:
            at = at.parent
        return at if at is not None and at.level == level else None

    def under(self, other: Cgroup) -> bool:
        return self.ancestor(other.level) is other

    @property
    def address(self) -> int:
        """Of its `struct cgroup`, or of a handle where the machine's BTF has no such type."""
        if not self._address:
            fields = {"level": self.level}
            self._address = self._owner.make("cgroup", self, fields)
            above = self.parent.address if self.parent is not None else 0
            self._owner.try_set(
                self._address, "cgroup", {"kn": {"id": self.id}, "self.cgroup": self._address}
            )
            self._owner.try_set(self._address, "cgroup", {"self.parent": above})
        return self._address


class Task:
    """A task: `pid` is the thread's number, `tgid` the process's. `object` is its `task_struct`, made when a
    program first asks for the address."""

    def __init__(self, owner: Tasks, pid: int, **facts: Any) -> None:
        self._owner = owner
        self.pid = pid
        self.tgid: int = facts.pop("tgid", None) or pid
        comm = facts.pop("comm", "task")
        self.comm: bytes = (comm.encode() if isinstance(comm, str) else bytes(comm))[: COMM - 1]
        self.uid: int = facts.pop("uid", 0)
        self.gid: int = facts.pop("gid", 0)
        self.parent: Task | None = facts.pop("parent", None)
        cgroup = facts.pop("cgroup", "/")
        self.cgroup: Cgroup = owner.cgroup(cgroup) if isinstance(cgroup, str) else cgroup
        # PID namespaces it is in, but for the first: (device, inode) -> (pid, tgid) there
        self.namespaces: dict[tuple[int, int], tuple[int, int]] = facts.pop("namespaces", {})
        self.stack: list[int] = facts.pop("stack", [])
        self.user_stack: list[int] = facts.pop("user_stack", [])
        self.areas: list[tuple[int, int, int]] = []  # of memory: start, end, address of the vm_area_struct
        self.object: Any = facts.pop("object", None)
        self._address = int(self.object) if self.object is not None else 0
        if facts:
            raise TypeError(f"a task has no {', '.join(facts)}")

    @property
    def address(self) -> int:
        if not self._address:
            owner = self._owner
            fields: dict[str, Any] = {"pid": self.pid, "tgid": self.tgid, "comm": self.comm.decode("latin1")}
            self._address = owner.make("task_struct", self, fields)
            self.object = owner.objects.get(self._address)
            me = self._address
            parent = self.parent.address if self.parent is not None else me
            leader = owner.by_pid.get(self.tgid, self)
            owner.try_set(me, "task_struct", {"real_parent": parent, "parent": parent})
            if leader is not self:
                owner.try_set(me, "task_struct", {"group_leader": leader.address})
            else:
                owner.try_set(me, "task_struct", {"group_leader": me})
            ids = {"uid": {"val": self.uid}, "euid": {"val": self.uid}}
            ids |= {"gid": {"val": self.gid}, "egid": {"val": self.gid}}
            owner.try_set(me, "task_struct", {"cred": ids})
            owner.try_set(me, "task_struct", {"real_cred": self.object.cred if self.object else 0})
        return self._address

    def __repr__(self) -> str:
        return f"<Task {self.pid} {self.comm.decode(errors='replace')!r}>"


class Tasks:
    """All tasks and cgroups of a machine. `kernel` makes their structs; without it they are handles."""

    def __init__(self, memory: Memory, kernel: Kernel | None = None) -> None:
        self.memory = memory
        self.kernel = kernel
        self.by_pid: dict[int, Task] = {}
        self.objects: dict[int, Any] = {}
        self._by_address: dict[int, Any] = {}
        self._cgroups: dict[str, Cgroup] = {}
        self._cgroup_ids = count(1)
        self.root = self.cgroup("/")
        self.idle = self.new(0, comm="swapper/0", tgid=0)

    def new(self, pid: int, **facts: Any) -> Task:
        """A task; facts are `tgid`, `comm`, `uid`, `gid`, `parent`, `cgroup` (path), `namespaces`, `stack`,
        `user_stack`, `object` (a `task_struct` made before)."""
        made = self.by_pid[pid] = Task(self, pid, **facts)
        if made.object is not None:
            self._by_address[made.address] = made
        return made

    def cgroup(self, path: str) -> Cgroup:
        """The cgroup at a path, which comes into being with those above it."""
        path = "/" + path.strip("/")
        found = self._cgroups.get(path)
        if found is None:
            above = path.rpartition("/")[0] or "/"
            parent = self.cgroup(above) if path != "/" else None
            found = self._cgroups[path] = Cgroup(self, path, next(self._cgroup_ids), parent)
        return found

    @property
    def cgroups(self) -> list[Cgroup]:
        """All cgroups, in the order they came into being."""
        return list(self._cgroups.values())

    def cgroup_by_id(self, id: int) -> Cgroup | None:
        return next((c for c in self._cgroups.values() if c.id == id), None)

    def at(self, address: int) -> Any:
        """The task or cgroup whose struct lies at an address; None."""
        return self._by_address.get(address)

    def task_at(self, address: int) -> Task | None:
        found = self._by_address.get(address)
        return found if isinstance(found, Task) else None

    def cgroup_at(self, address: int) -> Cgroup | None:
        found = self._by_address.get(address)
        return found if isinstance(found, Cgroup) else None

    def make(self, type: str, item: Any, fields: dict[str, Any]) -> int:
        """The address of a struct for an item, or of a handle."""
        address = 0
        if self.kernel is not None:
            try:
                made = self.kernel.new(type, **fields)
            except KernelError:
                pass
            else:
                address = int(made)
                self.objects[address] = made
        if not address:
            address = self.memory.alloc(8, "handle", name=type).address
        self._by_address[address] = item
        return address

    def try_set(self, address: int, type: str, fields: dict[str, Any]) -> None:
        """Set fields that the machine's BTF may lack."""
        found = self.objects.get(address)
        if found is None:
            return
        for name, value in fields.items():
            try:
                found[name] = value
            except KernelError:
                continue
