"""What programs call: kernel helpers, and the language's own names.

Made by `python -m probee.lang.services.stub_helpers`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, NoReturn, TypeVar, overload

_T = TypeVar("_T")

def addr(*args: Any) -> Any:
    """A pointer to a member, which is not read."""

def arg(*args: Any) -> Any:
    """Argument n, from 0, of the function or probe that the program runs at."""

def bits(mask: Any) -> Iterator[int]:
    """`for bit in bp.bits(mask):` goes over the numbers of the bits that are set."""

def bounded(n: int) -> bool:
    """`while test and bp.bounded(n):` goes round at most n times."""

def can_loop() -> bool:
    """`while test and bp.can_loop():` goes round until the kernel has enough (Linux 6.9)."""

@overload
def cast(type: type[int], address: Any) -> Any: ...
@overload
def cast(type: type[_T], address: Any) -> _T: ...
@overload
def cast(type: Any, address: Any) -> Any:
    """A pointer to a kernel struct from an address: `cast("struct sock", args.skaddr)`."""

def cgroup() -> int:
    """Id of the current task's cgroup in the v2 hierarchy (Linux 4.18)."""

def comm() -> str:
    """Name of the current thread, at most 15 bytes."""

def container_of(*args: Any) -> Any:
    """The kernel struct that a member is in: `container_of(node, "task_struct", "tasks")`."""

def cpu() -> int:
    """Number of the CPU the program runs on."""

def css(*args: Any) -> Iterator[Any]:
    """`for css in bp.css(start):` goes through cgroups: "descendants", "post", "ancestors" (Linux 6.7)."""

def css_tasks(*args: Any) -> Iterator[Any]:
    """`for task in bp.css_tasks(css):` goes over the tasks of a cgroup (Linux 6.7)."""

def current_task() -> Any:
    """The current task; its fields are read through CO-RE."""

def curtask() -> Any:
    """The same as `current_task`: bpftrace's name."""

def deref(*args: Any) -> Any:
    """What a pointer points to."""

def dmabufs(*args: Any) -> Iterator[Any]:
    """`for buf in bp.dmabufs():` goes over the DMA buffers (Linux 6.17)."""

def dynptr(*args: Any) -> Any:
    """A view of memory or of a packet whose size is known at run time (5.19)."""

def enum_exists(enum: Any, enumerator: str) -> bool:
    """Does that kernel have the enumerator? (CO-RE)"""

def enum_value(enum: Any, enumerator: str) -> int:
    """The value of an enumerator in the kernel that the program is loaded into (CO-RE)."""

def field_size(struct: Any, field: str) -> int:
    """Size of a field in bytes: of kernel structs by CO-RE."""

def gid() -> int:
    """Real group id of the current task, in the initial user namespace."""

def irq_off() -> AbstractContextManager[None]:
    """`with bp.irq_off():` keeps interrupts off on this CPU (Linux 6.14)."""

def jump(programs: Any, index: int) -> None:
    """Go on in a program of a ProgArray: `tail_call` by another name."""

def kconfig(name: str, type: Any, *, default: int = ...) -> Any:
    """A value of the kernel's configuration, known when it is loaded: `bp.kconfig("CONFIG_HZ", u32)`."""

def kernel_str(address: Any) -> str:
    """The NUL-ended string at an address of kernel memory."""

def kernel_type_exists(name: str) -> bool:
    """Does the running kernel have this struct? A CO-RE check."""

def kernel_type_matches(struct: Any) -> bool:
    """Has the kernel a struct with such fields? (CO-RE)"""

def kfunc_exists(name: str) -> bool:
    """Has the kernel that the program is loaded into this function?"""

def kmem_caches(*args: Any) -> Iterator[Any]:
    """`for cache in bp.kmem_caches():` goes over the slab caches (Linux 6.13)."""

def kstack(stacks: Any, flags: int = 0) -> int:
    """Id of the kernel's stack in a StackTrace map; negative: an error."""

def ksym(*args: Any) -> Any:
    """A variable of the kernel by its name: `bp.ksym("runqueues")` (Linux 5.10)."""

def ksym_address(name: str) -> int:
    """Where the kernel's symbol of that name is (/proc/kallsyms)."""

def list_of(*args: Any) -> Iterator[Any]:
    """`for t in bp.list_of("task_struct", task.children, "sibling", 100):` goes along a kernel list."""

def nsecs() -> int:
    """Nanoseconds since boot, time in suspend not counted (CLOCK_MONOTONIC)."""

def obj_new(struct: type[_T]) -> AbstractContextManager[_T]:
    """`with bp.obj_new(Node) as node:` makes an object (Linux 6.2)."""

def offsetof(struct: Any, field: str) -> int:
    """Where a field is, in bytes; in kernel structs by CO-RE."""

def percpu_obj_new(struct: type[_T]) -> AbstractContextManager[_T]:
    """`with bp.percpu_obj_new(T) as p:`: an object for each CPU (Linux 6.6)."""

def pid() -> int:
    """Process id: what user space calls the pid, the kernel the thread group id."""

def preempt_off() -> AbstractContextManager[None]:
    """`with bp.preempt_off():` keeps the task on its CPU, undisturbed (Linux 6.10)."""

def printf(text: str) -> None:
    """Write a line to the trace pipe, as `print` does inside a program."""

def rand() -> int:
    """A pseudo-random number of 32 bits."""

def rcu() -> AbstractContextManager[None]:
    """`with bp.rcu():` keeps what RCU protects alive (Linux 6.2 where programs sleep)."""

def rdonly_cast(type: Any, address: Any) -> Any:
    """A pointer to a kernel struct, read directly: never written (Linux 6.2)."""

def refcount_acquire(object: _T) -> AbstractContextManager[_T]:
    """`with bp.refcount_acquire(node) as other:` owns it once more (6.4)."""

def reg(name: str) -> int:
    """A register in kprobes, uprobes and perf events: `reg("sp")`."""

def retval(*args: Any) -> Any:
    """What the function returned, in return probes and fexit."""

def sizeof(type_or_value: Any) -> int:
    """Size in bytes, known at compile time for declared types."""

def static(value: _T) -> _T:
    """The value of a Python expression, computed when the program is compiled."""

def tail_call(programs: Any, index: int) -> None:
    """Go on in a program of a ProgArray; falls through if the slot is empty."""

def tasks(*args: Any) -> Iterator[Any]:
    """`for task in bp.tasks():` goes over all processes (Linux 6.7)."""

def threads(task: Any = None) -> Iterator[Any]:
    """`for task in bp.threads(task):` goes over the threads of its process, or of all (Linux 6.7)."""

def throw(code: int = 0) -> NoReturn:
    """End the program from any depth; it returns the code (Linux 6.7)."""

def tid() -> int:
    """Thread id: what the kernel calls the pid."""

def type_id(type: Any) -> int:
    """The id of a kernel type in the running kernel's BTF, of yours in the object's (CO-RE)."""

def uid() -> int:
    """Real user id of the current task, in the initial user namespace."""

def user_str(address: Any) -> str:
    """The NUL-ended string at an address of user memory."""

def ustack(stacks: Any, flags: int = 0) -> int:
    """Id of the user's stack in a StackTrace map; negative: an error."""

def vmas(*args: Any) -> Iterator[Any]:
    """`for vma in bp.vmas(task):` goes over a memory map, from the address on (Linux 6.7)."""

class _Kfuncs(type):
    def __getattr__(cls, name: str) -> Any: ...

class kfunc(metaclass=_Kfuncs):
    """The kernel's own functions, by name."""

class atomic:
    """Atomic operations on numbers that others see: they give what was there before (Linux 5.12)."""

    @staticmethod
    def add(place: Any, value: Any) -> Any:
        """Add to a number; gives it as it was before (Linux 5.12)."""

    @staticmethod
    def and_(place: Any, value: Any) -> Any:
        """Keep bits of a number; gives it as it was before."""

    @staticmethod
    def compare_exchange(place: Any, expected: Any, value: Any) -> Any:
        """Write a number where the expected one is; gives what was there before."""

    @staticmethod
    def exchange(place: Any, value: Any) -> Any:
        """Write a number; gives what was there before."""

    @staticmethod
    def load(place: Any) -> Any:
        """Read a number; what follows is not done before it (acquire)."""

    @staticmethod
    def or_(place: Any, value: Any) -> Any:
        """Set bits of a number; gives it as it was before."""

    @staticmethod
    def store(place: Any, value: Any) -> None:
        """Write a number when all before is done (release)."""

    @staticmethod
    def sub(place: Any, value: Any) -> Any:
        """Subtract from a number; gives it as it was before."""

    @staticmethod
    def xor(place: Any, value: Any) -> Any:
        """Turn bits of a number over; gives it as it was before."""

@overload
def bind(addr: Any) -> int: ...
@overload
def bind(addr: Any, addr_len: int) -> int:
    """Binds the socket to a local address before it connects. Since Linux 4.17.

    C: `long bpf_bind(struct bpf_sock_addr *ctx, struct sockaddr *addr, int addr_len)`
    """

def bprm_opts_set(bprm: Any, flags: int = 0) -> int:
    """Sets options of the program that is being executed. Since Linux 5.11.

    C: `long bpf_bprm_opts_set(struct linux_binprm *bprm, u64 flags)`
    """

@overload
def btf_find_by_name_kind(name: Any, kind: int, flags: int = 0) -> int: ...
@overload
def btf_find_by_name_kind(name: Any, name_sz: int, kind: int, flags: int = 0) -> int:
    """The id of a type, and of its BTF object, by name. Since Linux 5.14.

    C: `long bpf_btf_find_by_name_kind(char *name, int name_sz, u32 kind, int flags)`
    """

def cgrp_storage_delete(map: Any, cgroup: Any) -> int:
    """Removes a cgroup's value from the map. Since Linux 6.2.

    C: `long bpf_cgrp_storage_delete(struct bpf_map *map, struct cgroup *cgroup)`
    """

def cgrp_storage_get(map: Any, cgroup: Any, value: Any, flags: int = 0) -> Any:
    """The value a cgroup has in the map; made if flags say so. Since Linux 6.2.

    C: `void *bpf_cgrp_storage_get(struct bpf_map *map, struct cgroup *cgroup, void *value, u64 flags)`
    """

def check_mtu(ifindex: int, mtu_len: Any, len_diff: int, flags: int = 0) -> int:
    """Whether the packet, changed by `len_diff` bytes, fits the device or route. Since Linux 5.12.

    C: `long bpf_check_mtu(void *ctx, u32 ifindex, u32 *mtu_len, s32 len_diff, u64 flags)`
    """

def clone_redirect(ifindex: int, flags: int = 0) -> int:
    """Sends a copy of the packet to another network device. Since Linux 4.2.

    C: `long bpf_clone_redirect(struct sk_buff *skb, u32 ifindex, u64 flags)`
    """

@overload
def copy_from_user(dst: Any, user_ptr: Any) -> int: ...
@overload
def copy_from_user(dst: Any, size: int, user_ptr: Any) -> int:
    """Copies from the current process's memory, waiting for pages that are not there. Since Linux 5.10.

    C: `long bpf_copy_from_user(void *dst, u32 size, const void *user_ptr)`
    """

@overload
def copy_from_user_task(dst: Any, user_ptr: Any, tsk: Any, flags: int = 0) -> int: ...
@overload
def copy_from_user_task(dst: Any, size: int, user_ptr: Any, tsk: Any, flags: int = 0) -> int:
    """Copies from another task's memory. Since Linux 5.18.

    C: `long bpf_copy_from_user_task(void *dst, u32 size, const void *user_ptr, struct task_struct *tsk, u64 flags)`
    """

@overload
def csum_diff(from_: Any, to: Any, seed: int) -> int: ...
@overload
def csum_diff(from_: Any, from_size: int, to: Any, to_size: int, seed: int) -> int:
    """The checksum's difference when bytes are replaced, taken out or put in. Since Linux 4.6.

    C: `s64 bpf_csum_diff(__be32 *from, u32 from_size, __be32 *to, u32 to_size, __wsum seed)`
    """

def csum_level(level: int) -> int:
    """Reads or changes how many layers of checksums the device has checked. Since Linux 5.8.

    C: `long bpf_csum_level(struct sk_buff *skb, u64 level)`
    """

def csum_update(csum: int) -> int:
    """Adds to the packet's whole checksum, where the device gave one. Since Linux 4.9.

    C: `s64 bpf_csum_update(struct sk_buff *skb, __wsum csum)`
    """

def current_task_under_cgroup(map: Any, index: int) -> int:
    """Whether the current task is in a cgroup of a cgroup array, or below it. Since Linux 4.9.

    C: `long bpf_current_task_under_cgroup(struct bpf_map *map, u32 index)`
    """

@overload
def d_path(path: Any, buf: Any) -> int: ...
@overload
def d_path(path: Any, buf: Any, sz: int) -> int:
    """Writes the full path of a file into a buffer. Since Linux 5.10.

    C: `long bpf_d_path(struct path *path, char *buf, u32 sz)`
    """

def dynptr_data(ptr: Any, offset: int, len: int) -> Any:
    """The address of bytes of a dynptr, NULL if they are not all in it. Since Linux 5.19.

    C: `void *bpf_dynptr_data(const struct bpf_dynptr *ptr, u32 offset, u32 len)`
    """

@overload
def dynptr_from_mem(data: Any, flags: int, ptr: Any) -> int: ...
@overload
def dynptr_from_mem(data: Any, size: int, flags: int, ptr: Any) -> int:
    """Makes a dynptr over memory of the program's. Since Linux 5.19.

    C: `long bpf_dynptr_from_mem(void *data, u32 size, u64 flags, struct bpf_dynptr *ptr)`
    """

@overload
def dynptr_read(dst: Any, src: Any, offset: int, flags: int = 0) -> int: ...
@overload
def dynptr_read(dst: Any, len: int, src: Any, offset: int, flags: int = 0) -> int:
    """Copies bytes out of a dynptr. Since Linux 5.19.

    C: `long bpf_dynptr_read(void *dst, u32 len, const struct bpf_dynptr *src, u32 offset, u64 flags)`
    """

@overload
def dynptr_write(dst: Any, offset: int, src: Any, flags: int = 0) -> int: ...
@overload
def dynptr_write(dst: Any, offset: int, src: Any, len: int, flags: int = 0) -> int:
    """Copies bytes into a dynptr. Since Linux 5.19.

    C: `long bpf_dynptr_write(const struct bpf_dynptr *dst, u32 offset, void *src, u32 len, u64 flags)`
    """

@overload
def fib_lookup(params: Any, flags: int = 0) -> int: ...
@overload
def fib_lookup(params: Any, plen: int, flags: int = 0) -> int:
    """Looks up the route and the neighbour for the addresses in `params`. Since Linux 4.18.

    C: `long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *params, int plen, u32 flags)`
    """

def find_vma(task: Any, addr: int, callback_fn: Any, flags: int = 0) -> int:
    """Calls a function with the memory area of a task that holds an address. Since Linux 5.17.

    C: `long bpf_find_vma(struct task_struct *task, u64 addr, void *callback_fn, void *callback_ctx, u64 flags)`
    """

def for_each_map_elem(map: Any, function: Any) -> int:
    """Calls a function for each element of a map; returns how many. Since Linux 5.13.

    C: `long bpf_for_each_map_elem(struct bpf_map *map, void *callback_fn, void *callback_ctx, u64 flags)`
    """

def get_attach_cookie() -> int:
    """The number that was given when the program was attached. Since Linux 5.15.

    C: `u64 bpf_get_attach_cookie(void *ctx)`
    """

@overload
def get_branch_snapshot(entries: Any, flags: int = 0) -> int: ...
@overload
def get_branch_snapshot(entries: Any, size: int, flags: int = 0) -> int:
    """Copies the CPU's last branches. Since Linux 5.16.

    C: `long bpf_get_branch_snapshot(void *entries, u32 size, u64 flags)`
    """

def get_cgroup_classid() -> int:
    """The net_cls class of the current task's cgroup (v1). Since Linux 4.3.

    C: `u32 bpf_get_cgroup_classid(struct sk_buff *skb)`
    """

def get_current_ancestor_cgroup_id(ancestor_level: int) -> int:
    """The id of the ancestor at a level of the current task's cgroup (v2). Since Linux 5.7.

    C: `u64 bpf_get_current_ancestor_cgroup_id(int ancestor_level)`
    """

def get_current_cgroup_id() -> int:
    """The id of the current task's cgroup (v2). Since Linux 4.18.

    C: `u64 bpf_get_current_cgroup_id(void)`
    """

@overload
def get_current_comm(buf: Any) -> int: ...
@overload
def get_current_comm(buf: Any, size_of_buf: int) -> int:
    """Copies the current task's name; 16 bytes are always enough. Since Linux 4.2.

    C: `long bpf_get_current_comm(void *buf, u32 size_of_buf)`
    """

def get_current_pid_tgid() -> int:
    """The process id (upper 32 bits) and the thread id (lower 32 bits) of the current task. Since Linux 4.2.

    C: `u64 bpf_get_current_pid_tgid(void)`
    """

def get_current_task() -> int:
    """The address of the current task_struct, as a number. Since Linux 4.8.

    C: `u64 bpf_get_current_task(void)`
    """

def get_current_task_btf() -> Any:
    """The current task_struct, as a pointer that may be followed. Since Linux 5.11.

    C: `struct task_struct *bpf_get_current_task_btf(void)`
    """

def get_current_uid_gid() -> int:
    """The group id (upper 32 bits) and the user id (lower 32 bits) of the current task. Since Linux 4.2.

    C: `u64 bpf_get_current_uid_gid(void)`
    """

def get_func_arg(n: int, value: Any) -> int:
    """Copies an argument of the traced function. Since Linux 5.17.

    C: `long bpf_get_func_arg(void *ctx, u32 n, u64 *value)`
    """

def get_func_arg_cnt() -> int:
    """How many arguments the traced function has. Since Linux 5.17.

    C: `long bpf_get_func_arg_cnt(void *ctx)`
    """

def get_func_ip() -> int:
    """The address of the function that the program is attached to. Since Linux 5.15.

    C: `u64 bpf_get_func_ip(void *ctx)`
    """

def get_func_ret(value: Any) -> int:
    """Copies what the traced function returned. Since Linux 5.17.

    C: `long bpf_get_func_ret(void *ctx, u64 *value)`
    """

def get_hash_recalc() -> int:
    """The packet's hash, computed if it isn't known. Since Linux 4.8.

    C: `u32 bpf_get_hash_recalc(struct sk_buff *skb)`
    """

def get_listener_sock(sk: Any) -> Any:
    """The listening socket that belongs to a socket, NULL if there is none. Since Linux 5.1.

    C: `struct bpf_sock *bpf_get_listener_sock(struct bpf_sock *sk)`
    """

def get_local_storage(map: Any, flags: int = 0) -> Any:
    """The address of the value that the cgroup or its socket has in the map. Since Linux 4.19.

    C: `void *bpf_get_local_storage(void *map, u64 flags)`
    """

def get_netns_cookie() -> int:
    """A number that names the network namespace for as long as the machine is up. Since Linux 5.7.

    C: `u64 bpf_get_netns_cookie(void *ctx)`
    """

@overload
def get_ns_current_pid_tgid(dev: int, ino: int, nsdata: Any) -> int: ...
@overload
def get_ns_current_pid_tgid(dev: int, ino: int, nsdata: Any, size: int) -> int:
    """The current process and thread id as a pid namespace sees them. Since Linux 5.7.

    C: `long bpf_get_ns_current_pid_tgid(u64 dev, u64 ino, struct bpf_pidns_info *nsdata, u32 size)`
    """

def get_numa_node_id() -> int:
    """The NUMA node of the CPU that runs the program. Since Linux 4.10.

    C: `long bpf_get_numa_node_id(void)`
    """

def get_prandom_u32() -> int:
    """A pseudo-random number, for no secrets. Since Linux 4.1.

    C: `u32 bpf_get_prandom_u32(void)`
    """

def get_retval() -> int:
    """What the system call or hook returns as things stand. Since Linux 5.18.

    C: `int bpf_get_retval(void)`
    """

def get_route_realm() -> int:
    """The realm of the packet's route. Since Linux 4.4.

    C: `u32 bpf_get_route_realm(struct sk_buff *skb)`
    """

def get_smp_processor_id() -> int:
    """The number of the CPU that runs the program. Since Linux 4.1.

    C: `u32 bpf_get_smp_processor_id(void)`
    """

def get_socket_cookie() -> int:
    """A number that names the socket for as long as the machine is up. Since Linux 4.12.

    C: `u64 bpf_get_socket_cookie(void *ctx)`
    """

def get_socket_uid() -> int:
    """The user id of the packet's socket. Since Linux 4.12.

    C: `u32 bpf_get_socket_uid(struct sk_buff *skb)`
    """

@overload
def get_stack(buf: Any, flags: int = 0) -> int: ...
@overload
def get_stack(buf: Any, size: int, flags: int = 0) -> int:
    """Copies the kernel or user stack's addresses into a buffer; returns the bytes written. Since Linux 4.18.

    C: `long bpf_get_stack(void *ctx, void *buf, u32 size, u64 flags)`
    """

@overload
def get_task_stack(task: Any, buf: Any, flags: int = 0) -> int: ...
@overload
def get_task_stack(task: Any, buf: Any, size: int, flags: int = 0) -> int:
    """Copies a task's stack addresses into a buffer; returns the bytes written. Since Linux 5.9.

    C: `long bpf_get_task_stack(struct task_struct *task, void *buf, u32 size, u64 flags)`
    """

@overload
def getsockopt(level: int, optname: int, optval: Any) -> int: ...
@overload
def getsockopt(level: int, optname: int, optval: Any, optlen: int) -> int:
    """Reads an option of the socket. Since Linux 4.15.

    C: `long bpf_getsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)`
    """

@overload
def ima_file_hash(file: Any, dst: Any) -> int: ...
@overload
def ima_file_hash(file: Any, dst: Any, size: int) -> int:
    """The hash that IMA has of a file, computed if needed. Since Linux 5.18.

    C: `long bpf_ima_file_hash(struct file *file, void *dst, u32 size)`
    """

@overload
def ima_inode_hash(inode: Any, dst: Any) -> int: ...
@overload
def ima_inode_hash(inode: Any, dst: Any, size: int) -> int:
    """The hash that IMA has of an inode. Since Linux 5.11.

    C: `long bpf_ima_inode_hash(struct inode *inode, void *dst, u32 size)`
    """

def inode_storage_delete(map: Any, inode: Any) -> int:
    """Removes an inode's value from the map. Since Linux 5.10.

    C: `int bpf_inode_storage_delete(struct bpf_map *map, void *inode)`
    """

def inode_storage_get(map: Any, inode: Any, value: Any, flags: int = 0) -> Any:
    """The value an inode has in the map; made if flags say so. Since Linux 5.10.

    C: `void *bpf_inode_storage_get(struct bpf_map *map, void *inode, void *value, u64 flags)`
    """

def jiffies64() -> int:
    """The kernel's tick count. Since Linux 5.6.

    C: `u64 bpf_jiffies64(void)`
    """

@overload
def kallsyms_lookup_name(name: Any, flags: int, res: Any) -> int: ...
@overload
def kallsyms_lookup_name(name: Any, name_sz: int, flags: int, res: Any) -> int:
    """The address of a kernel symbol. Since Linux 5.17.

    C: `long bpf_kallsyms_lookup_name(const char *name, int name_sz, int flags, u64 *res)`
    """

def kptr_xchg(dst: Any, ptr: Any) -> AbstractContextManager[Any]:
    """Stores a kernel pointer in a map's value and returns the one that was there. Since Linux 5.19.

    C: `void *bpf_kptr_xchg(void *dst, void *ptr)`
    """

def ktime_get_boot_ns() -> int:
    """Nanoseconds since boot, with the time asleep. Since Linux 5.8.

    C: `u64 bpf_ktime_get_boot_ns(void)`
    """

def ktime_get_coarse_ns() -> int:
    """Nanoseconds since boot at the last tick: coarse and cheap. Since Linux 5.11.

    C: `u64 bpf_ktime_get_coarse_ns(void)`
    """

def ktime_get_ns() -> int:
    """Nanoseconds since boot, without the time asleep. Since Linux 4.1.

    C: `u64 bpf_ktime_get_ns(void)`
    """

def ktime_get_tai_ns() -> int:
    """Nanoseconds of International Atomic Time. Since Linux 6.1.

    C: `u64 bpf_ktime_get_tai_ns(void)`
    """

def l3_csum_replace(offset: int, from_: int, to: int, size: int) -> int:
    """Recomputes the IP checksum for a field that changed from `from` to `to`. Since Linux 4.1.

    C: `long bpf_l3_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 size)`
    """

def l4_csum_replace(offset: int, from_: int, to: int, flags: int = 0) -> int:
    """Recomputes the TCP or UDP checksum for a field that changed from `from` to `to`. Since Linux 4.1.

    C: `long bpf_l4_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags)`
    """

@overload
def load_hdr_opt(searchby_res: Any, flags: int = 0) -> int: ...
@overload
def load_hdr_opt(searchby_res: Any, len: int, flags: int = 0) -> int:
    """Reads an option of the TCP header. Since Linux 5.10.

    C: `long bpf_load_hdr_opt(struct bpf_sock_ops *skops, void *searchby_res, u32 len, u64 flags)`
    """

def loop(n: int, function: Any) -> int:
    """Calls a function up to `nr_loops` times, until it returns 1; returns how often. Since Linux 5.17.

    C: `long bpf_loop(u32 nr_loops, void *callback_fn, void *callback_ctx, u64 flags)`
    """

@overload
def lwt_push_encap(type: int, hdr: Any) -> int: ...
@overload
def lwt_push_encap(type: int, hdr: Any, len: int) -> int:
    """Puts an outer header around the packet. Since Linux 4.18.

    C: `long bpf_lwt_push_encap(struct sk_buff *skb, u32 type, void *hdr, u32 len)`
    """

@overload
def lwt_seg6_action(action: int, param: Any) -> int: ...
@overload
def lwt_seg6_action(action: int, param: Any, param_len: int) -> int:
    """Does one of the segment routing actions with the packet. Since Linux 4.18.

    C: `long bpf_lwt_seg6_action(struct sk_buff *skb, u32 action, void *param, u32 param_len)`
    """

def lwt_seg6_adjust_srh(offset: int, delta: int) -> int:
    """Changes the room for TLVs in the outermost segment routing header. Since Linux 4.18.

    C: `long bpf_lwt_seg6_adjust_srh(struct sk_buff *skb, u32 offset, s32 delta)`
    """

@overload
def lwt_seg6_store_bytes(offset: int, from_: Any) -> int: ...
@overload
def lwt_seg6_store_bytes(offset: int, from_: Any, len: int) -> int:
    """Writes to the flags, tag or TLVs of the outermost segment routing header. Since Linux 4.18.

    C: `long bpf_lwt_seg6_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len)`
    """

def map_delete_elem(map: Any, key: Any) -> int:
    """Removes a key; -2 (ENOENT) if it is not there. Since Linux 3.19.

    C: `long bpf_map_delete_elem(struct bpf_map *map, const void *key)`
    """

def map_lookup_elem(map: Any, key: Any) -> Any:
    """The address of a key's value in the map, NULL if the key is not there. Since Linux 3.19.

    C: `void *bpf_map_lookup_elem(struct bpf_map *map, const void *key)`
    """

def map_lookup_percpu_elem(map: Any, key: Any, cpu: int) -> Any:
    """The address of a key's value on a CPU, NULL if there is none. Since Linux 5.19.

    C: `void *bpf_map_lookup_percpu_elem(struct bpf_map *map, const void *key, u32 cpu)`
    """

def map_peek_elem(map: Any, value: Any) -> int:
    """Copies the next value of a queue or stack; for a bloom filter, whether it may hold the value. Since Linux 4.20.

    C: `long bpf_map_peek_elem(struct bpf_map *map, void *value)`
    """

def map_pop_elem(map: Any, value: Any) -> int:
    """Takes the next value out of a queue or stack. Since Linux 4.20.

    C: `long bpf_map_pop_elem(struct bpf_map *map, void *value)`
    """

def map_push_elem(map: Any, value: Any, flags: int = 0) -> int:
    """Puts a value into a queue, a stack or a bloom filter. Since Linux 4.20.

    C: `long bpf_map_push_elem(struct bpf_map *map, const void *value, u64 flags)`
    """

def map_update_elem(map: Any, key: Any, value: Any, flags: int = 0) -> int:
    """Sets a key's value; `flags` may ask for a new key (1) or an existing one (2) only. Since Linux 3.19.

    C: `long bpf_map_update_elem(struct bpf_map *map, const void *key, const void *value, u64 flags)`
    """

def msg_apply_bytes(bytes: int) -> int:
    """Lets the verdict stand for the next `bytes` bytes. Since Linux 4.17.

    C: `long bpf_msg_apply_bytes(struct sk_msg_buff *msg, u32 bytes)`
    """

def msg_cork_bytes(bytes: int) -> int:
    """Has the program called again when `bytes` bytes are there. Since Linux 4.17.

    C: `long bpf_msg_cork_bytes(struct sk_msg_buff *msg, u32 bytes)`
    """

def msg_pop_data(start: int, len: int, flags: int = 0) -> int:
    """Takes bytes out of the message. Since Linux 5.0.

    C: `long bpf_msg_pop_data(struct sk_msg_buff *msg, u32 start, u32 len, u64 flags)`
    """

def msg_pull_data(start: int, end: int, flags: int = 0) -> int:
    """Makes bytes of the message readable and writable in one piece. Since Linux 4.17.

    C: `long bpf_msg_pull_data(struct sk_msg_buff *msg, u32 start, u32 end, u64 flags)`
    """

def msg_push_data(start: int, len: int, flags: int = 0) -> int:
    """Makes room in the message. Since Linux 4.20.

    C: `long bpf_msg_push_data(struct sk_msg_buff *msg, u32 start, u32 len, u64 flags)`
    """

def msg_redirect_hash(map: Any, key: Any, flags: int = 0) -> int:
    """Asks for the message to go to a socket of a socket hash. Since Linux 4.18.

    C: `long bpf_msg_redirect_hash(struct sk_msg_buff *msg, struct bpf_map *map, void *key, u64 flags)`
    """

def msg_redirect_map(map: Any, key: int, flags: int = 0) -> int:
    """Asks for the message to go to a socket of a socket map. Since Linux 4.17.

    C: `long bpf_msg_redirect_map(struct sk_msg_buff *msg, struct bpf_map *map, u32 key, u64 flags)`
    """

def override_return(rc: int) -> int:
    """Makes the probed function return `rc` at once, if it allows that. Since Linux 4.16.

    C: `long bpf_override_return(struct pt_regs *regs, u64 rc)`
    """

def per_cpu_ptr(percpu_ptr: Any, cpu: int) -> Any:
    """The address of a kernel per-CPU variable on a CPU, NULL if there is no such CPU. Since Linux 5.10.

    C: `void *bpf_per_cpu_ptr(const void *percpu_ptr, u32 cpu)`
    """

@overload
def perf_event_output(map: Any, flags: int, data: Any) -> int: ...
@overload
def perf_event_output(map: Any, flags: int, data: Any, size: int) -> int:
    """Sends a record to a perf buffer. Since Linux 4.4.

    C: `long bpf_perf_event_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)`
    """

def perf_event_read(map: Any, flags: int = 0) -> int:
    """A perf counter's value; errors can't be told from values: see perf_event_read_value. Since Linux 4.3.

    C: `u64 bpf_perf_event_read(struct bpf_map *map, u64 flags)`
    """

@overload
def perf_event_read_value(map: Any, flags: int, buf: Any) -> int: ...
@overload
def perf_event_read_value(map: Any, flags: int, buf: Any, buf_size: int) -> int:
    """Reads a perf counter, with the time it was enabled and running. Since Linux 4.15.

    C: `long bpf_perf_event_read_value(struct bpf_map *map, u64 flags, struct bpf_perf_event_value *buf, u32 buf_size)`
    """

@overload
def perf_prog_read_value(buf: Any) -> int: ...
@overload
def perf_prog_read_value(buf: Any, buf_size: int) -> int:
    """Reads the counter of the event that runs the program. Since Linux 4.15.

    C: `long bpf_perf_prog_read_value(struct bpf_perf_event_data *ctx, struct bpf_perf_event_value *buf, u32 buf_size)`
    """

@overload
def probe_read(dst: Any, unsafe_ptr: Any) -> int: ...
@overload
def probe_read(dst: Any, size: int, unsafe_ptr: Any) -> int:
    """Copies from kernel or user memory; use the _kernel or _user form since 5.5. Since Linux 4.1.

    C: `long bpf_probe_read(void *dst, u32 size, const void *unsafe_ptr)`
    """

@overload
def probe_read_kernel(dst: Any, unsafe_ptr: Any) -> int: ...
@overload
def probe_read_kernel(dst: Any, size: int, unsafe_ptr: Any) -> int:
    """Copies from kernel memory; -14 (EFAULT) and zeroes if it can't. Since Linux 5.5.

    C: `long bpf_probe_read_kernel(void *dst, u32 size, const void *unsafe_ptr)`
    """

@overload
def probe_read_kernel_str(dst: Any, unsafe_ptr: Any) -> int: ...
@overload
def probe_read_kernel_str(dst: Any, size: int, unsafe_ptr: Any) -> int:
    """Copies a string from kernel memory; returns its length with the zero. Since Linux 5.5.

    C: `long bpf_probe_read_kernel_str(void *dst, u32 size, const void *unsafe_ptr)`
    """

@overload
def probe_read_str(dst: Any, unsafe_ptr: Any) -> int: ...
@overload
def probe_read_str(dst: Any, size: int, unsafe_ptr: Any) -> int:
    """Copies a string from kernel or user memory; use the _kernel or _user form since 5.5. Since Linux 4.11.

    C: `long bpf_probe_read_str(void *dst, u32 size, const void *unsafe_ptr)`
    """

@overload
def probe_read_user(dst: Any, unsafe_ptr: Any) -> int: ...
@overload
def probe_read_user(dst: Any, size: int, unsafe_ptr: Any) -> int:
    """Copies from the current process's memory; -14 (EFAULT) and zeroes if it can't. Since Linux 5.5.

    C: `long bpf_probe_read_user(void *dst, u32 size, const void *unsafe_ptr)`
    """

@overload
def probe_read_user_str(dst: Any, unsafe_ptr: Any) -> int: ...
@overload
def probe_read_user_str(dst: Any, size: int, unsafe_ptr: Any) -> int:
    """Copies a string from the current process's memory; returns its length with the zero. Since Linux 5.5.

    C: `long bpf_probe_read_user_str(void *dst, u32 size, const void *unsafe_ptr)`
    """

@overload
def probe_write_user(dst: Any, src: Any) -> int: ...
@overload
def probe_write_user(dst: Any, src: Any, len: int) -> int:
    """Writes to the current process's memory. For experiments: the kernel warns of it. Since Linux 4.8.

    C: `long bpf_probe_write_user(void *dst, const void *src, u32 len)`
    """

def rc_keydown(protocol: int, scancode: int, toggle: int) -> int:
    """Reports a key of a remote control. Since Linux 4.18.

    C: `long bpf_rc_keydown(void *ctx, u32 protocol, u64 scancode, u32 toggle)`
    """

def rc_pointer_rel(rel_x: int, rel_y: int) -> int:
    """Reports a movement of a remote control's pointer. Since Linux 5.0.

    C: `long bpf_rc_pointer_rel(void *ctx, s32 rel_x, s32 rel_y)`
    """

def rc_repeat() -> int:
    """Reports that the remote control's last key is still down. Since Linux 4.18.

    C: `long bpf_rc_repeat(void *ctx)`
    """

@overload
def read_branch_records(buf: Any, flags: int = 0) -> int: ...
@overload
def read_branch_records(buf: Any, size: int, flags: int = 0) -> int:
    """Copies the CPU's branch records of the event. Since Linux 5.7.

    C: `long bpf_read_branch_records(struct bpf_perf_event_data *ctx, void *buf, u32 size, u64 flags)`
    """

def redirect(ifindex: int, flags: int = 0) -> int:
    """Asks for the packet to go to another device when the program returns its answer. Since Linux 4.4.

    C: `long bpf_redirect(u32 ifindex, u64 flags)`
    """

def redirect_map(map: Any, key: int, flags: int = 0) -> int:
    """Asks for the packet to go to a device, CPU or AF_XDP socket of a map. Since Linux 4.14.

    C: `long bpf_redirect_map(struct bpf_map *map, u64 key, u64 flags)`
    """

@overload
def redirect_neigh(ifindex: int, params: Any, flags: int = 0) -> int: ...
@overload
def redirect_neigh(ifindex: int, params: Any, plen: int, flags: int = 0) -> int:
    """Asks for the packet to go to another device, with the neighbour's link address filled in. Since Linux 5.10.

    C: `long bpf_redirect_neigh(u32 ifindex, struct bpf_redir_neigh *params, int plen, u64 flags)`
    """

def redirect_peer(ifindex: int, flags: int = 0) -> int:
    """Asks for the packet to go to the peer of a device in another network namespace. Since Linux 5.10.

    C: `long bpf_redirect_peer(u32 ifindex, u64 flags)`
    """

def reserve_hdr_opt(len: int, flags: int = 0) -> int:
    """Reserves room for options in the TCP header. Since Linux 5.10.

    C: `long bpf_reserve_hdr_opt(struct bpf_sock_ops *skops, u32 len, u64 flags)`
    """

def ringbuf_discard_dynptr(ptr: Any, flags: int = 0) -> None:
    """Throws a record reserved as a dynptr away. Since Linux 5.19.

    C: `void bpf_ringbuf_discard_dynptr(struct bpf_dynptr *ptr, u64 flags)`
    """

@overload
def ringbuf_output(ringbuf: Any, data: Any, flags: int = 0) -> int: ...
@overload
def ringbuf_output(ringbuf: Any, data: Any, size: int, flags: int = 0) -> int:
    """Copies a record into a ring buffer. Since Linux 5.8.

    C: `long bpf_ringbuf_output(void *ringbuf, void *data, u64 size, u64 flags)`
    """

def ringbuf_query(ringbuf: Any, flags: int = 0) -> int:
    """A ring buffer's size, the bytes waiting, or its positions. Since Linux 5.8.

    C: `u64 bpf_ringbuf_query(void *ringbuf, u64 flags)`
    """

def ringbuf_reserve(ringbuf: Any, size: int, flags: int = 0) -> AbstractContextManager[Any]:
    """Reserves a record in a ring buffer, NULL if it is full; submit or discard it. Since Linux 5.8.

    C: `void *bpf_ringbuf_reserve(void *ringbuf, u64 size, u64 flags)`
    """

def ringbuf_reserve_dynptr(ringbuf: Any, size: int, flags: int, ptr: Any) -> int:
    """Reserves a record of any size in a ring buffer; submit or discard it in any case. Since Linux 5.19.

    C: `long bpf_ringbuf_reserve_dynptr(void *ringbuf, u32 size, u64 flags, struct bpf_dynptr *ptr)`
    """

def ringbuf_submit_dynptr(ptr: Any, flags: int = 0) -> None:
    """Hands a record reserved as a dynptr to the reader. Since Linux 5.19.

    C: `void bpf_ringbuf_submit_dynptr(struct bpf_dynptr *ptr, u64 flags)`
    """

def send_signal(sig: int) -> int:
    """Sends a signal to the current process. Since Linux 5.3.

    C: `long bpf_send_signal(u32 sig)`
    """

def send_signal_thread(sig: int) -> int:
    """Sends a signal to the current thread. Since Linux 5.6.

    C: `long bpf_send_signal_thread(u32 sig)`
    """

@overload
def seq_printf(m: Any, fmt: Any, data: Any) -> int: ...
@overload
def seq_printf(m: Any, fmt: Any, fmt_size: int, data: Any, data_len: int) -> int:
    """Writes formatted text to the iterator's output. Since Linux 5.8.

    C: `long bpf_seq_printf(struct seq_file *m, const char *fmt, u32 fmt_size, const void *data, u32 data_len)`
    """

@overload
def seq_printf_btf(m: Any, ptr: Any, flags: int = 0) -> int: ...
@overload
def seq_printf_btf(m: Any, ptr: Any, ptr_size: int, flags: int = 0) -> int:
    """Writes a kernel object as text to the iterator's output, by its BTF type. Since Linux 5.10.

    C: `long bpf_seq_printf_btf(struct seq_file *m, struct btf_ptr *ptr, u32 ptr_size, u64 flags)`
    """

@overload
def seq_write(m: Any, data: Any) -> int: ...
@overload
def seq_write(m: Any, data: Any, len: int) -> int:
    """Writes bytes to the iterator's output. Since Linux 5.8.

    C: `long bpf_seq_write(struct seq_file *m, const void *data, u32 len)`
    """

def set_hash(hash: int) -> int:
    """Sets the packet's hash. Since Linux 4.13.

    C: `long bpf_set_hash(struct sk_buff *skb, u32 hash)`
    """

def set_hash_invalid() -> int:
    """Forgets the packet's hash, so that it's computed again. Since Linux 4.9.

    C: `void bpf_set_hash_invalid(struct sk_buff *skb)`
    """

def set_retval(retval: int) -> int:
    """Sets what the system call or hook returns. Since Linux 5.18.

    C: `int bpf_set_retval(int retval)`
    """

@overload
def setsockopt(level: int, optname: int, optval: Any) -> int: ...
@overload
def setsockopt(level: int, optname: int, optval: Any, optlen: int) -> int:
    """Sets an option of the socket. Since Linux 4.13.

    C: `long bpf_setsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)`
    """

def sk_ancestor_cgroup_id(sk: Any, ancestor_level: int) -> int:
    """The id of the ancestor at a level of the cgroup (v2) of a socket. Since Linux 5.8.

    C: `u64 bpf_sk_ancestor_cgroup_id(void *sk, int ancestor_level)`
    """

def sk_assign(sk: Any, flags: int = 0) -> int:
    """Hands the packet to a socket. Since Linux 5.7.

    C: `long bpf_sk_assign(struct sk_buff *skb, void *sk, u64 flags)`
    """

def sk_cgroup_id(sk: Any) -> int:
    """The id of the cgroup (v2) of a socket. Since Linux 5.8.

    C: `u64 bpf_sk_cgroup_id(void *sk)`
    """

def sk_fullsock(sk: Any) -> Any:
    """The full socket of the packet's socket, NULL for a request or time-wait one. Since Linux 5.1.

    C: `struct bpf_sock *bpf_sk_fullsock(struct bpf_sock *sk)`
    """

@overload
def sk_lookup_tcp(tuple: Any, netns: int, flags: int = 0) -> AbstractContextManager[Any]: ...
@overload
def sk_lookup_tcp(tuple: Any, tuple_size: int, netns: int, flags: int = 0) -> AbstractContextManager[Any]:
    """Finds a TCP socket by addresses and ports; give it back with sk_release. Since Linux 4.20.

    C: `struct bpf_sock *bpf_sk_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)`
    """

@overload
def sk_lookup_udp(tuple: Any, netns: int, flags: int = 0) -> AbstractContextManager[Any]: ...
@overload
def sk_lookup_udp(tuple: Any, tuple_size: int, netns: int, flags: int = 0) -> AbstractContextManager[Any]:
    """Finds a UDP socket by addresses and ports; give it back with sk_release. Since Linux 4.20.

    C: `struct bpf_sock *bpf_sk_lookup_udp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)`
    """

def sk_redirect_hash(map: Any, key: Any, flags: int = 0) -> int:
    """Asks for the data to go to a socket of a socket hash. Since Linux 4.18.

    C: `long bpf_sk_redirect_hash(struct sk_buff *skb, struct bpf_map *map, void *key, u64 flags)`
    """

def sk_redirect_map(map: Any, key: int, flags: int = 0) -> int:
    """Asks for the data to go to a socket of a socket map. Since Linux 4.14.

    C: `long bpf_sk_redirect_map(struct sk_buff *skb, struct bpf_map *map, u32 key, u64 flags)`
    """

def sk_select_reuseport(map: Any, key: Any, flags: int = 0) -> int:
    """Picks the socket of a reuseport group that gets the packet. Since Linux 4.19.

    C: `long bpf_sk_select_reuseport(struct sk_reuseport_md *reuse, struct bpf_map *map, void *key, u64 flags)`
    """

def sk_storage_delete(map: Any, sk: Any) -> int:
    """Removes a socket's value from the map. Since Linux 5.2.

    C: `long bpf_sk_storage_delete(struct bpf_map *map, void *sk)`
    """

def sk_storage_get(map: Any, sk: Any, value: Any, flags: int = 0) -> Any:
    """The value a socket has in the map; made if flags say so. Since Linux 5.2.

    C: `void *bpf_sk_storage_get(struct bpf_map *map, void *sk, void *value, u64 flags)`
    """

def skb_adjust_room(len_diff: int, mode: int, flags: int = 0) -> int:
    """Grows or shrinks the packet between its headers. Since Linux 4.13.

    C: `long bpf_skb_adjust_room(struct sk_buff *skb, s32 len_diff, u32 mode, u64 flags)`
    """

def skb_ancestor_cgroup_id(ancestor_level: int) -> int:
    """The id of the ancestor at a level of the cgroup (v2) of the packet's socket. Since Linux 4.19.

    C: `u64 bpf_skb_ancestor_cgroup_id(struct sk_buff *skb, int ancestor_level)`
    """

def skb_cgroup_classid() -> int:
    """The net_cls class of the cgroup (v1) of the packet's socket. Since Linux 5.10.

    C: `u64 bpf_skb_cgroup_classid(struct sk_buff *skb)`
    """

def skb_cgroup_id() -> int:
    """The id of the cgroup (v2) of the packet's socket. Since Linux 4.18.

    C: `u64 bpf_skb_cgroup_id(struct sk_buff *skb)`
    """

def skb_change_head(len: int, flags: int = 0) -> int:
    """Makes room in front of the packet. Since Linux 4.10.

    C: `long bpf_skb_change_head(struct sk_buff *skb, u32 len, u64 flags)`
    """

def skb_change_proto(proto: int, flags: int = 0) -> int:
    """Turns an IPv4 packet into an IPv6 one or back, making room for the header. Since Linux 4.8.

    C: `long bpf_skb_change_proto(struct sk_buff *skb, __be16 proto, u64 flags)`
    """

def skb_change_tail(len: int, flags: int = 0) -> int:
    """Changes the packet's length at its end. Since Linux 4.9.

    C: `long bpf_skb_change_tail(struct sk_buff *skb, u32 len, u64 flags)`
    """

def skb_change_type(type: int) -> int:
    """Changes the packet's type (to this host, broadcast, …). Since Linux 4.8.

    C: `long bpf_skb_change_type(struct sk_buff *skb, u32 type)`
    """

def skb_ecn_set_ce() -> int:
    """Marks the packet as having met congestion, if its sender understands that. Since Linux 5.1.

    C: `long bpf_skb_ecn_set_ce(struct sk_buff *skb)`
    """

@overload
def skb_get_tunnel_key(key: Any, flags: int = 0) -> int: ...
@overload
def skb_get_tunnel_key(key: Any, size: int, flags: int = 0) -> int:
    """Reads the tunnel the packet came by. Since Linux 4.3.

    C: `long bpf_skb_get_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)`
    """

@overload
def skb_get_tunnel_opt(opt: Any) -> int: ...
@overload
def skb_get_tunnel_opt(opt: Any, size: int) -> int:
    """Reads the options of the tunnel the packet came by. Since Linux 4.6.

    C: `long bpf_skb_get_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)`
    """

@overload
def skb_get_xfrm_state(index: int, state: Any, flags: int = 0) -> int: ...
@overload
def skb_get_xfrm_state(index: int, state: Any, size: int, flags: int = 0) -> int:
    """Reads one of the IPsec states of the packet. Since Linux 4.18.

    C: `long bpf_skb_get_xfrm_state(struct sk_buff *skb, u32 index, struct bpf_xfrm_state *state, u32 size, u64 flags)`
    """

@overload
def skb_load_bytes(offset: int, to: Any) -> int: ...
@overload
def skb_load_bytes(offset: int, to: Any, len: int) -> int:
    """Copies bytes out of a packet. Since Linux 4.5.

    C: `long bpf_skb_load_bytes(const void *skb, u32 offset, void *to, u32 len)`
    """

@overload
def skb_load_bytes_relative(offset: int, to: Any, start_header: int) -> int: ...
@overload
def skb_load_bytes_relative(offset: int, to: Any, len: int, start_header: int) -> int:
    """Copies bytes out of a packet, counted from its MAC or network header. Since Linux 4.18.

    C: `long bpf_skb_load_bytes_relative(const void *skb, u32 offset, void *to, u32 len, u32 start_header)`
    """

@overload
def skb_output(ctx: Any, map: Any, flags: int, data: Any) -> int: ...
@overload
def skb_output(ctx: Any, map: Any, flags: int, data: Any, size: int) -> int:
    """Sends a record to a perf buffer, with the packet's bytes behind it. Since Linux 5.5.

    C: `long bpf_skb_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)`
    """

def skb_pull_data(len: int) -> int:
    """Makes the packet's first `len` bytes readable and writable in one piece. Since Linux 4.9.

    C: `long bpf_skb_pull_data(struct sk_buff *skb, u32 len)`
    """

def skb_set_tstamp(tstamp: int, tstamp_type: int) -> int:
    """Sets the packet's time stamp and its kind. Since Linux 5.18.

    C: `long bpf_skb_set_tstamp(struct sk_buff *skb, u64 tstamp, u32 tstamp_type)`
    """

@overload
def skb_set_tunnel_key(key: Any, flags: int = 0) -> int: ...
@overload
def skb_set_tunnel_key(key: Any, size: int, flags: int = 0) -> int:
    """Sets the tunnel the packet leaves by. Since Linux 4.3.

    C: `long bpf_skb_set_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)`
    """

@overload
def skb_set_tunnel_opt(opt: Any) -> int: ...
@overload
def skb_set_tunnel_opt(opt: Any, size: int) -> int:
    """Sets the options of the tunnel the packet leaves by. Since Linux 4.6.

    C: `long bpf_skb_set_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)`
    """

@overload
def skb_store_bytes(offset: int, from_: Any, flags: int = 0) -> int: ...
@overload
def skb_store_bytes(offset: int, from_: Any, len: int, flags: int = 0) -> int:
    """Writes bytes into a packet, with its checksum if flags say so. Since Linux 4.1.

    C: `long bpf_skb_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags)`
    """

def skb_under_cgroup(map: Any, index: int) -> int:
    """Whether the packet's socket belongs to a cgroup of a cgroup array, or below it. Since Linux 4.8.

    C: `long bpf_skb_under_cgroup(struct sk_buff *skb, struct bpf_map *map, u32 index)`
    """

def skb_vlan_pop() -> int:
    """Takes the VLAN tag off the packet. Since Linux 4.3.

    C: `long bpf_skb_vlan_pop(struct sk_buff *skb)`
    """

def skb_vlan_push(vlan_proto: int, vlan_tci: int) -> int:
    """Adds a VLAN tag to the packet. Since Linux 4.3.

    C: `long bpf_skb_vlan_push(struct sk_buff *skb, __be16 vlan_proto, u16 vlan_tci)`
    """

@overload
def skc_lookup_tcp(tuple: Any, netns: int, flags: int = 0) -> AbstractContextManager[Any]: ...
@overload
def skc_lookup_tcp(tuple: Any, tuple_size: int, netns: int, flags: int = 0) -> AbstractContextManager[Any]:
    """Finds a TCP socket, request and time-wait ones too; give it back with sk_release. Since Linux 5.2.

    C: `struct bpf_sock *bpf_skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)`
    """

def skc_to_mptcp_sock(sk: Any) -> Any:
    """The socket as an mptcp_sock, NULL if it is none. Since Linux 5.19.

    C: `struct mptcp_sock *bpf_skc_to_mptcp_sock(void *sk)`
    """

def skc_to_tcp6_sock(sk: Any) -> Any:
    """The socket as a tcp6_sock, NULL if it is none. Since Linux 5.9.

    C: `struct tcp6_sock *bpf_skc_to_tcp6_sock(void *sk)`
    """

def skc_to_tcp_request_sock(sk: Any) -> Any:
    """The socket as a tcp_request_sock, NULL if it is none. Since Linux 5.9.

    C: `struct tcp_request_sock *bpf_skc_to_tcp_request_sock(void *sk)`
    """

def skc_to_tcp_sock(sk: Any) -> Any:
    """The socket as a tcp_sock, NULL if it is none. Since Linux 5.9.

    C: `struct tcp_sock *bpf_skc_to_tcp_sock(void *sk)`
    """

def skc_to_tcp_timewait_sock(sk: Any) -> Any:
    """The socket as a tcp_timewait_sock, NULL if it is none. Since Linux 5.9.

    C: `struct tcp_timewait_sock *bpf_skc_to_tcp_timewait_sock(void *sk)`
    """

def skc_to_udp6_sock(sk: Any) -> Any:
    """The socket as a udp6_sock, NULL if it is none. Since Linux 5.9.

    C: `struct udp6_sock *bpf_skc_to_udp6_sock(void *sk)`
    """

def skc_to_unix_sock(sk: Any) -> Any:
    """The socket as a unix_sock, NULL if it is none. Since Linux 5.16.

    C: `struct unix_sock *bpf_skc_to_unix_sock(void *sk)`
    """

@overload
def snprintf(str: Any, fmt: Any, data: Any) -> int: ...
@overload
def snprintf(str: Any, str_size: int, fmt: Any, data: Any, data_len: int) -> int:
    """Writes formatted text into a buffer; returns the length with the zero. Since Linux 5.13.

    C: `long bpf_snprintf(char *str, u32 str_size, const char *fmt, u64 *data, u32 data_len)`
    """

@overload
def snprintf_btf(str: Any, ptr: Any, flags: int = 0) -> int: ...
@overload
def snprintf_btf(str: Any, str_size: int, ptr: Any, btf_ptr_size: int, flags: int = 0) -> int:
    """Writes a kernel object as text, by its BTF type. Since Linux 5.10.

    C: `long bpf_snprintf_btf(char *str, u32 str_size, struct btf_ptr *ptr, u32 btf_ptr_size, u64 flags)`
    """

def sock_from_file(file: Any) -> Any:
    """The socket of a file, NULL if it is none. Since Linux 5.11.

    C: `struct socket *bpf_sock_from_file(struct file *file)`
    """

def sock_hash_update(map: Any, key: Any, flags: int = 0) -> int:
    """Puts the socket into a socket hash. Since Linux 4.18.

    C: `long bpf_sock_hash_update(struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags)`
    """

def sock_map_update(map: Any, key: Any, flags: int = 0) -> int:
    """Puts the socket into a socket map. Since Linux 4.14.

    C: `long bpf_sock_map_update(struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags)`
    """

def sock_ops_cb_flags_set(argval: int) -> int:
    """Says which events of the TCP connection the program wants to be called for. Since Linux 4.16.

    C: `long bpf_sock_ops_cb_flags_set(struct bpf_sock_ops *bpf_sock, int argval)`
    """

@overload
def store_hdr_opt(from_: Any, flags: int = 0) -> int: ...
@overload
def store_hdr_opt(from_: Any, len: int, flags: int = 0) -> int:
    """Writes an option of the TCP header, in room that was reserved. Since Linux 5.10.

    C: `long bpf_store_hdr_opt(struct bpf_sock_ops *skops, const void *from, u32 len, u64 flags)`
    """

@overload
def strncmp(s1: Any, s2: Any) -> int: ...
@overload
def strncmp(s1: Any, s1_sz: int, s2: Any) -> int:
    """Compares text with a constant string. Since Linux 5.17.

    C: `long bpf_strncmp(const char *s1, u32 s1_sz, const char *s2)`
    """

@overload
def strtol(buf: Any, flags: int, res: Any) -> int: ...
@overload
def strtol(buf: Any, buf_len: int, flags: int, res: Any) -> int:
    """Reads a signed number from text; returns how many characters it has. Since Linux 5.2.

    C: `long bpf_strtol(const char *buf, size_t buf_len, u64 flags, long *res)`
    """

@overload
def strtoul(buf: Any, flags: int, res: Any) -> int: ...
@overload
def strtoul(buf: Any, buf_len: int, flags: int, res: Any) -> int:
    """Reads an unsigned number from text; returns how many characters it has. Since Linux 5.2.

    C: `long bpf_strtoul(const char *buf, size_t buf_len, u64 flags, unsigned long *res)`
    """

@overload
def sys_bpf(cmd: int, attr: Any) -> int: ...
@overload
def sys_bpf(cmd: int, attr: Any, attr_size: int) -> int:
    """Runs a bpf(2) command. Since Linux 5.14.

    C: `long bpf_sys_bpf(u32 cmd, void *attr, u32 attr_size)`
    """

def sys_close(fd: int) -> int:
    """Closes a file descriptor. Since Linux 5.14.

    C: `long bpf_sys_close(u32 fd)`
    """

@overload
def sysctl_get_current_value(buf: Any) -> int: ...
@overload
def sysctl_get_current_value(buf: Any, buf_len: int) -> int:
    """Copies the present value of the sysctl as text. Since Linux 5.2.

    C: `long bpf_sysctl_get_current_value(struct bpf_sysctl *ctx, char *buf, size_t buf_len)`
    """

@overload
def sysctl_get_name(buf: Any, flags: int = 0) -> int: ...
@overload
def sysctl_get_name(buf: Any, buf_len: int, flags: int = 0) -> int:
    """Copies the name of the sysctl. Since Linux 5.2.

    C: `long bpf_sysctl_get_name(struct bpf_sysctl *ctx, char *buf, size_t buf_len, u64 flags)`
    """

@overload
def sysctl_get_new_value(buf: Any) -> int: ...
@overload
def sysctl_get_new_value(buf: Any, buf_len: int) -> int:
    """Copies the value that is about to be written to the sysctl. Since Linux 5.2.

    C: `long bpf_sysctl_get_new_value(struct bpf_sysctl *ctx, char *buf, size_t buf_len)`
    """

@overload
def sysctl_set_new_value(buf: Any) -> int: ...
@overload
def sysctl_set_new_value(buf: Any, buf_len: int) -> int:
    """Replaces the value that is about to be written to the sysctl. Since Linux 5.2.

    C: `long bpf_sysctl_set_new_value(struct bpf_sysctl *ctx, const char *buf, size_t buf_len)`
    """

def task_pt_regs(task: Any) -> Any:
    """The user registers of a task. Since Linux 5.15.

    C: `long bpf_task_pt_regs(struct task_struct *task)`
    """

def task_storage_delete(map: Any, task: Any) -> int:
    """Removes a task's value from the map. Since Linux 5.11.

    C: `long bpf_task_storage_delete(struct bpf_map *map, struct task_struct *task)`
    """

def task_storage_get(map: Any, task: Any, value: Any, flags: int = 0) -> Any:
    """The value a task has in the map; made if flags say so. Since Linux 5.11.

    C: `void *bpf_task_storage_get(struct bpf_map *map, struct task_struct *task, void *value, u64 flags)`
    """

@overload
def tcp_check_syncookie(sk: Any, iph: Any, th: Any) -> int: ...
@overload
def tcp_check_syncookie(sk: Any, iph: Any, iph_len: int, th: Any, th_len: int) -> int:
    """Whether the packet carries a valid SYN cookie of the listening socket. Since Linux 5.2.

    C: `long bpf_tcp_check_syncookie(void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len)`
    """

@overload
def tcp_gen_syncookie(sk: Any, iph: Any, th: Any) -> int: ...
@overload
def tcp_gen_syncookie(sk: Any, iph: Any, iph_len: int, th: Any, th_len: int) -> int:
    """Makes a SYN cookie for the SYN packet of a listening socket. Since Linux 5.4.

    C: `s64 bpf_tcp_gen_syncookie(void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len)`
    """

def tcp_raw_check_syncookie_ipv4(iph: Any, th: Any) -> int:
    """Whether IPv4 and TCP headers carry a valid SYN cookie. Since Linux 6.0.

    C: `long bpf_tcp_raw_check_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th)`
    """

def tcp_raw_check_syncookie_ipv6(iph: Any, th: Any) -> int:
    """Whether IPv6 and TCP headers carry a valid SYN cookie. Since Linux 6.0.

    C: `long bpf_tcp_raw_check_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th)`
    """

@overload
def tcp_raw_gen_syncookie_ipv4(iph: Any, th: Any) -> int: ...
@overload
def tcp_raw_gen_syncookie_ipv4(iph: Any, th: Any, th_len: int) -> int:
    """Makes a SYN cookie from IPv4 and TCP headers, without a socket. Since Linux 6.0.

    C: `s64 bpf_tcp_raw_gen_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th, u32 th_len)`
    """

@overload
def tcp_raw_gen_syncookie_ipv6(iph: Any, th: Any) -> int: ...
@overload
def tcp_raw_gen_syncookie_ipv6(iph: Any, th: Any, th_len: int) -> int:
    """Makes a SYN cookie from IPv6 and TCP headers, without a socket. Since Linux 6.0.

    C: `s64 bpf_tcp_raw_gen_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th, u32 th_len)`
    """

def tcp_send_ack(tp: Any, rcv_nxt: int) -> int:
    """Sends a TCP acknowledgement. Since Linux 5.6.

    C: `long bpf_tcp_send_ack(void *tp, u32 rcv_nxt)`
    """

def tcp_sock(sk: Any) -> Any:
    """The TCP fields of a socket, NULL if it is none. Since Linux 5.1.

    C: `struct bpf_tcp_sock *bpf_tcp_sock(struct bpf_sock *sk)`
    """

def this_cpu_ptr(percpu_ptr: Any) -> Any:
    """The address of a kernel per-CPU variable on this CPU. Since Linux 5.10.

    C: `void *bpf_this_cpu_ptr(const void *percpu_ptr)`
    """

def timer_cancel(timer: Any) -> int:
    """Stops a timer and waits for its function to end. Since Linux 5.15.

    C: `long bpf_timer_cancel(struct bpf_timer *timer)`
    """

def timer_init(timer: Any, map: Any, flags: int = 0) -> int:
    """Makes a timer in a map's value ready for use. Since Linux 5.15.

    C: `long bpf_timer_init(struct bpf_timer *timer, struct bpf_map *map, u64 flags)`
    """

def timer_set_callback(timer: Any, callback_fn: Any) -> int:
    """Says which function a timer calls. Since Linux 5.15.

    C: `long bpf_timer_set_callback(struct bpf_timer *timer, void *callback_fn)`
    """

def timer_start(timer: Any, nsecs: int, flags: int = 0) -> int:
    """Starts a timer; it fires once, after `nsecs` nanoseconds. Since Linux 5.15.

    C: `long bpf_timer_start(struct bpf_timer *timer, u64 nsecs, u64 flags)`
    """

def user_ringbuf_drain(map: Any, callback_fn: Any, flags: int = 0) -> int:
    """Calls a function for each record that user space put into a user ring buffer. Since Linux 6.1.

    C: `long bpf_user_ringbuf_drain(struct bpf_map *map, void *callback_fn, void *ctx, u64 flags)`
    """

def xdp_adjust_head(delta: int) -> int:
    """Moves the beginning of the packet by `delta` bytes. Since Linux 4.10.

    C: `long bpf_xdp_adjust_head(struct xdp_buff *xdp_md, int delta)`
    """

def xdp_adjust_meta(delta: int) -> int:
    """Moves the beginning of the metadata in front of the packet. Since Linux 4.15.

    C: `long bpf_xdp_adjust_meta(struct xdp_buff *xdp_md, int delta)`
    """

def xdp_adjust_tail(delta: int) -> int:
    """Moves the end of the packet by `delta` bytes. Since Linux 4.18.

    C: `long bpf_xdp_adjust_tail(struct xdp_buff *xdp_md, int delta)`
    """

def xdp_get_buff_len() -> int:
    """The length of the packet with all its fragments. Since Linux 5.18.

    C: `u64 bpf_xdp_get_buff_len(struct xdp_buff *xdp_md)`
    """

@overload
def xdp_load_bytes(offset: int, buf: Any) -> int: ...
@overload
def xdp_load_bytes(offset: int, buf: Any, len: int) -> int:
    """Copies bytes out of a packet, from its fragments too. Since Linux 5.18.

    C: `long bpf_xdp_load_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)`
    """

@overload
def xdp_output(ctx: Any, map: Any, flags: int, data: Any) -> int: ...
@overload
def xdp_output(ctx: Any, map: Any, flags: int, data: Any, size: int) -> int:
    """Sends a record to a perf buffer, with the packet's bytes behind it. Since Linux 5.7.

    C: `long bpf_xdp_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)`
    """

@overload
def xdp_store_bytes(offset: int, buf: Any) -> int: ...
@overload
def xdp_store_bytes(offset: int, buf: Any, len: int) -> int:
    """Writes bytes into a packet, into its fragments too. Since Linux 5.18.

    C: `long bpf_xdp_store_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)`
    """
