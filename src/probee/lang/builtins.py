"""The names that mean something inside programs only.

The compiler knows them by identity (`name_of`); calling one from Python raises ProbeeError. Every kernel
helper is an attribute by its name without `bpf_`: `ktime_get_ns`, `probe_read_kernel`… They take what the
kernel's take, pointers included; a helper the kernel lacks is reported when the program is loaded.
"""

from __future__ import annotations

from ..errors import ProbeeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Builtin:
    # A name of the language. `name` is how it is written after `bp.`, `form` the parameters it takes.
    # A comment, since the docstring is that of each object.

    __slots__ = ("__doc__", "form", "name")

    def __init__(self, name: str, form: str, doc: str) -> None:
        self.name = name
        self.form = form
        self.__doc__ = doc

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ProbeeError(f"bp.{self.name}() works only inside a program that runs in the kernel")

    def __repr__(self) -> str:
        return f"<probee builtin {self.name}{self.form}>"


class Helper(Builtin):
    # A kernel helper. `id` is its number in linux/bpf.h, `since` the Linux version that brought it.

    __slots__ = ("__doc__", "id", "since")

    def __init__(self, name: str, id: int, since: str) -> None:
        super().__init__(name, "(…)", f"Kernel helper bpf_{name}, number {id} (Linux {since}).")
        self.id = id
        self.since = since


def name_of(obj: object) -> str | None:
    """The name of a builtin or helper, None for any other object."""
    return obj.name if isinstance(obj, Builtin) else None


pid = Builtin(
    "pid", "() -> u64", "Process id: what user space calls the pid, the kernel the thread group id."
)
tid = Builtin("tid", "() -> u64", "Thread id: what the kernel calls the pid.")
uid = Builtin("uid", "() -> u64", "Real user id of the current task, in the initial user namespace.")
gid = Builtin("gid", "() -> u64", "Real group id of the current task, in the initial user namespace.")
comm = Builtin("comm", "() -> Char[16]", "Name of the current thread, at most 15 bytes.")
nsecs = Builtin(
    "nsecs", "() -> u64", "Nanoseconds since boot, time in suspend not counted (CLOCK_MONOTONIC)."
)
cpu = Builtin("cpu", "() -> u64", "Number of the CPU the program runs on.")
rand = Builtin("rand", "() -> u64", "A pseudo-random number of 32 bits.")
cgroup = Builtin("cgroup", "() -> u64", "Id of the current task's cgroup in the v2 hierarchy (Linux 4.18).")
current_task = Builtin(
    "current_task", "() -> task_struct", "The current task; its fields are read through CO-RE."
)
curtask = Builtin("curtask", "() -> task_struct", "The same as `current_task`: bpftrace's name.")
kstack = Builtin(
    "kstack", "(stacks, flags=0) -> i64", "Id of the kernel's stack in a StackTrace map; negative: an error."
)
ustack = Builtin(
    "ustack", "(stacks, flags=0) -> i64", "Id of the user's stack in a StackTrace map; negative: an error."
)
kernel_str = Builtin(
    "kernel_str", "(address) -> text", "The NUL-ended string at an address of kernel memory."
)
user_str = Builtin("user_str", "(address) -> text", "The NUL-ended string at an address of user memory.")
tail_call = Builtin(
    "tail_call", "(programs, index)", "Go on in a program of a ProgArray; falls through if the slot is empty."
)
cast = Builtin(
    "cast",
    "(type, address)",
    'A pointer to a kernel struct from an address: `cast("struct sock", args.skaddr)`.',
)
sizeof = Builtin(
    "sizeof", "(type or value) -> int", "Size in bytes, known at compile time for declared types."
)
kernel_type_exists = Builtin(
    "kernel_type_exists", "(name) -> bool", "Does the running kernel have this struct? A CO-RE check."
)
enum_value = Builtin(
    "enum_value",
    "(enum, enumerator) -> u64",
    "The value of an enumerator in the kernel that the program is loaded into (CO-RE).",
)
enum_exists = Builtin(
    "enum_exists", "(enum, enumerator) -> bool", "Does that kernel have the enumerator? (CO-RE)"
)
offsetof = Builtin(
    "offsetof", "(struct, field) -> u64", "Where a field is, in bytes; in kernel structs by CO-RE."
)
field_size = Builtin(
    "field_size", "(struct, field) -> u64", "Size of a field in bytes: of kernel structs by CO-RE."
)
kernel_type_matches = Builtin(
    "kernel_type_matches",
    "(struct) -> bool",
    "Has the kernel a struct with such fields? (CO-RE)",
)
container_of = Builtin(
    "container_of",
    "(pointer, struct, member)",
    'The kernel struct that a member is in: `container_of(node, "task_struct", "tasks")`.',
)
addr = Builtin("addr", "(struct.field)", "A pointer to a member, which is not read.")
deref = Builtin("deref", "(pointer)", "What a pointer points to.")
printf = Builtin("printf", "(f-string)", "Write a line to the trace pipe, as `print` does inside a program.")

rcu = Builtin(
    "rcu",
    "()",
    "`with bp.rcu():` keeps what RCU protects alive (Linux 6.2 where programs sleep).",
)
preempt_off = Builtin(
    "preempt_off", "()", "`with bp.preempt_off():` keeps the task on its CPU, undisturbed (Linux 6.10)."
)
irq_off = Builtin("irq_off", "()", "`with bp.irq_off():` keeps interrupts off on this CPU (Linux 6.14).")

bounded = Builtin("bounded", "(n)", "`while test and bp.bounded(n):` goes round at most n times.")
can_loop = Builtin(
    "can_loop", "()", "`while test and bp.can_loop():` goes round until the kernel has enough (Linux 6.9)."
)
tasks = Builtin("tasks", "()", "`for task in bp.tasks():` goes over all processes (Linux 6.7).")
threads = Builtin(
    "threads",
    "(task=None)",
    "`for task in bp.threads(task):` goes over the threads of its process, or of all (Linux 6.7).",
)
vmas = Builtin(
    "vmas",
    "(task, address=0)",
    "`for vma in bp.vmas(task):` goes over a memory map, from the address on (Linux 6.7).",
)
css = Builtin(
    "css",
    '(start, order="descendants")',
    '`for css in bp.css(start):` goes through cgroups: "descendants", "post", "ancestors" (Linux 6.7).',
)
css_tasks = Builtin(
    "css_tasks",
    "(css, flags=0)",
    "`for task in bp.css_tasks(css):` goes over the tasks of a cgroup (Linux 6.7).",
)
bits = Builtin(
    "bits", "(number or array)", "`for bit in bp.bits(mask):` goes over the numbers of the bits that are set."
)
dmabufs = Builtin("dmabufs", "()", "`for buf in bp.dmabufs():` goes over the DMA buffers (Linux 6.17).")
kmem_caches = Builtin(
    "kmem_caches", "()", "`for cache in bp.kmem_caches():` goes over the slab caches (Linux 6.13)."
)
list_of = Builtin(
    "list_of",
    "(type, head, member, most)",
    '`for t in bp.list_of("task_struct", task.children, "sibling", 100):` goes along a kernel list.',
)

jump = Builtin("jump", "(programs, index)", "Go on in a program of a ProgArray: `tail_call` by another name.")


arg = Builtin("arg", "(n)", "Argument n, from 0, of the function or probe that the program runs at.")
retval = Builtin("retval", "() -> i64", "What the function returned, in return probes and fexit.")
reg = Builtin("reg", "(name) -> u64", 'A register in kprobes, uprobes and perf events: `reg("sp")`.')


class Static(Builtin):
    # In Python it is what it is given, so that functions run there as well.

    __slots__ = ("__doc__",)

    def __call__(self, value: Any) -> Any:
        return value


static = Static(
    "static", "(expression)", "The value of a Python expression, computed when the program is compiled."
)


class KfuncName:
    """A function of the kernel by its name: `bp.kfunc.bpf_task_acquire`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ProbeeError(f"bp.kfunc.{self.name}() works only inside a program that runs in the kernel")


class _Kfuncs(type):
    def __getattr__(cls, name: str) -> KfuncName:
        if name[:2] == "__":
            raise AttributeError(name)
        return KfuncName(name)


class kfunc(metaclass=_Kfuncs):
    """The kernel's own functions that programs may call, by name: `bp.kfunc.bpf_task_acquire(task)`.

    What there is depends on the kernel; `probee stubs` writes it down with types.
    """


kfunc_exists = Builtin(
    "kfunc_exists", "(name) -> bool", "Has the kernel that the program is loaded into this function?"
)

obj_new = Builtin("obj_new", "(struct)", "`with bp.obj_new(Node) as node:` makes an object (Linux 6.2).")
percpu_obj_new = Builtin(
    "percpu_obj_new", "(struct)", "`with bp.percpu_obj_new(T) as p:`: an object for each CPU (Linux 6.6)."
)
refcount_acquire = Builtin(
    "refcount_acquire", "(object)", "`with bp.refcount_acquire(node) as other:` owns it once more (6.4)."
)
dynptr = Builtin(
    "dynptr", "(memory or packet)", "A view of memory or of a packet whose size is known at run time (5.19)."
)


class atomic:
    """Atomic operations on numbers that others see: they give what was there before (Linux 5.12).

    The first argument is a place: `total.value`, a field of a map's value or of an arena, `m[key]`.
    """

    add = Builtin("atomic.add", "(place, value)", "Add to a number; gives it as it was before (Linux 5.12).")
    sub = Builtin("atomic.sub", "(place, value)", "Subtract from a number; gives it as it was before.")
    or_ = Builtin("atomic.or_", "(place, value)", "Set bits of a number; gives it as it was before.")
    and_ = Builtin("atomic.and_", "(place, value)", "Keep bits of a number; gives it as it was before.")
    xor = Builtin("atomic.xor", "(place, value)", "Turn bits of a number over; gives it as it was before.")
    exchange = Builtin("atomic.exchange", "(place, value)", "Write a number; gives what was there before.")
    compare_exchange = Builtin(
        "atomic.compare_exchange",
        "(place, expected, value)",
        "Write a number where the expected one is; gives what was there before.",
    )
    load = Builtin("atomic.load", "(place)", "Read a number; what follows is not done before it (acquire).")
    store = Builtin("atomic.store", "(place, value)", "Write a number when all before is done (release).")


throw = Builtin("throw", "(code=0)", "End the program from any depth; it returns the code (Linux 6.7).")
type_id = Builtin(
    "type_id",
    "(type)",
    "The id of a kernel type in the running kernel's BTF, of yours in the object's (CO-RE).",
)
rdonly_cast = Builtin(
    "rdonly_cast",
    "(type, address)",
    "A pointer to a kernel struct, read directly: never written (Linux 6.2).",
)
kconfig = Builtin(
    "kconfig",
    "(name, type, default=…)",
    'A value of the kernel\'s configuration, known when it is loaded: `bp.kconfig("CONFIG_HZ", u32)`.',
)
ksym = Builtin("ksym", "(name)", 'A variable of the kernel by its name: `bp.ksym("runqueues")` (Linux 5.10).')

ksym_address = Builtin(
    "ksym_address", "(name) -> u64", "Where the kernel's symbol of that name is (/proc/kallsyms)."
)

_helpers: dict[str, Helper] = {}


def __getattr__(name: str) -> Helper:
    """A kernel helper by name."""
    if name not in _helpers:
        from ..isa.tables import HELPERS

        if name not in HELPERS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        id, since = HELPERS[name]
        _helpers[name] = Helper(name, id, since)
    return _helpers[name]
