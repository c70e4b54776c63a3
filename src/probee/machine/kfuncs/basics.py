"""Kernel functions about sections, locks, work, tasks, cgroups, arenas, casts."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from ..cpus import Thrown, Waiting
from ..helpers.locks import acquire, release
from ..helpers.system import path_text
from ..maps.arena import Arena
from ..maps.fields import WORKQUEUE
from ..maps.hashes import HashBase
from ..memory import Fault
from .table import kfunc

if TYPE_CHECKING:
    from ..contexts.base import Context
    from ..cpus import MachineCpu
    from ..kernel_memory import Kernel, Object

_U32 = 0xFFFFFFFF


def _signed(value: int) -> int:
    value &= _U32
    return value - (1 << 32) if value >> 31 else value


def _section(enter: str, leave: str, attribute: str) -> None:
    """A pair of functions that nest."""

    @kfunc(enter)
    def begin(cpu: MachineCpu, *_: int) -> int:
        setattr(cpu, attribute, getattr(cpu, attribute) + 1)
        return 0

    @kfunc(leave)
    def end(cpu: MachineCpu, *_: int) -> int:
        depth = getattr(cpu, attribute)
        if not depth:
            raise Fault(f"{leave} without {enter}")
        setattr(cpu, attribute, depth - 1)
        return 0


_section("bpf_rcu_read_lock", "bpf_rcu_read_unlock", "rcu")
_section("bpf_preempt_disable", "bpf_preempt_enable", "preempt")


@kfunc("bpf_local_irq_save")
def bpf_local_irq_save(cpu: MachineCpu, r1: int, *_: int) -> int:
    cpu.memory.store(r1, 8, len(cpu.irq))
    cpu.irq.append(r1)
    return 0


@kfunc("bpf_local_irq_restore")
def bpf_local_irq_restore(cpu: MachineCpu, r1: int, *_: int) -> int:
    if not cpu.irq or cpu.irq[-1] != r1:
        raise Fault("bpf_local_irq_restore of another state than the one saved last", address=r1)
    cpu.irq.pop()
    return 0


@kfunc("bpf_res_spin_lock")
def bpf_res_spin_lock(cpu: MachineCpu, r1: int, *_: int) -> int:
    """-EDEADLK for a lock this CPU holds; one of another CPU is waited for, or -ETIMEDOUT if that does not
    run."""
    holder = acquire(cpu, r1)
    if holder is None:
        return 0
    if holder == cpu.number:
        return -errno.EDEADLK
    if cpu.parallel:
        raise Waiting(r1, holder)
    return -errno.ETIMEDOUT


@kfunc("bpf_res_spin_unlock")
def bpf_res_spin_unlock(cpu: MachineCpu, r1: int, *_: int) -> int:
    if not release(cpu, r1):
        raise Fault(f"the lock at {r1:#x} is not held by CPU {cpu.number}", address=r1)
    return 0


@kfunc("bpf_res_spin_lock_irqsave")
def bpf_res_spin_lock_irqsave(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    result: int = bpf_res_spin_lock(cpu, r1)
    if not result:
        bpf_local_irq_save(cpu, r2)
    return result


@kfunc("bpf_res_spin_unlock_irqrestore")
def bpf_res_spin_unlock_irqrestore(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    bpf_res_spin_unlock(cpu, r1)
    bpf_local_irq_restore(cpu, r2)
    return 0


@kfunc("bpf_throw")
def bpf_throw(cpu: MachineCpu, r1: int, *_: int) -> int:
    raise Thrown(r1)


# Work.


@kfunc("bpf_wq_init")
def bpf_wq_init(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return cpu.machine.timers.init(r1, cpu.machine.map_at(r2), r3 & _U32, WORKQUEUE)


@kfunc("bpf_wq_set_callback_impl", "bpf_wq_set_callback")
def bpf_wq_set_callback(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return -errno.EINVAL if r3 & _U32 else cpu.machine.timers.set_callback(r1, r2)


@kfunc("bpf_wq_start")
def bpf_wq_start(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    return -errno.EINVAL if r2 & _U32 else cpu.machine.timers.queue(r1, cpu.number)


# Casts.


@kfunc("bpf_cast_to_kern_ctx")
def bpf_cast_to_kern_ctx(cpu: MachineCpu, r1: int, *_: int) -> int:
    """The kernel's struct behind a context is its fact `kernel`; of a packet it is made when it is asked for;
    else it is the context itself."""
    context = cpu.machine.contexts.get(r1)
    if context is None:
        return r1
    if "kernel" not in context.facts and context.packet is not None and cpu.machine.kernel is not None:
        made = _packet_object(cpu.machine.kernel, context)
        region = cpu.memory.find(int(made))
        if region is not None:
            context.extra.append(region)
        return int(made)
    return int(context.facts.get("kernel", r1))


def _packet_object(kernel: Kernel, context: Context) -> Object:
    """The kernel's buffer of a packet as it is now."""
    packet, fields = context.packet, context.fields
    assert packet is not None
    assert fields is not None
    first = packet.data - packet.headroom
    end = packet.data_end
    if context.region.name == "xdp_md":
        return kernel.new(
            "xdp_buff", data=packet.data, data_end=end, data_meta=packet.data_meta, data_hard_start=first
        )
    linear = end - packet.data
    same = ("mark", "priority", "protocol", "hash", "queue_mapping")
    return kernel.new(
        "sk_buff",
        len=packet.length,
        data_len=packet.length - linear,
        head=first,
        data=packet.data,
        tail=end - first,
        **{name: fields[name] for name in same},
    )


@kfunc("bpf_rdonly_cast")
def bpf_rdonly_cast(cpu: MachineCpu, r1: int, *_: int) -> int:
    return r1


# Tasks and cgroups.


@kfunc("bpf_task_from_pid", "bpf_task_from_vpid")
def bpf_task_from_pid(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.machine.tasks.by_pid.get(_signed(r1))
    return 0 if found is None else found.address


@kfunc("bpf_task_acquire", "bpf_cgroup_acquire")
def bpf_acquire(cpu: MachineCpu, r1: int, *_: int) -> int:
    return r1


@kfunc("bpf_task_release", "bpf_cgroup_release", "bpf_put_file", "bpf_put_cgroup")
def bpf_release(cpu: MachineCpu, *_: int) -> int:
    return 0


@kfunc("bpf_cgroup_from_id")
def bpf_cgroup_from_id(cpu: MachineCpu, r1: int, *_: int) -> int:
    found = cpu.machine.tasks.cgroup_by_id(r1)
    return 0 if found is None else found.address


@kfunc("bpf_cgroup_ancestor")
def bpf_cgroup_ancestor(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    found = cpu.machine.tasks.cgroup_at(r1)
    level = _signed(r2)
    above = None if found is None or level < 0 else found.ancestor(level)
    return 0 if above is None else above.address


@kfunc("bpf_task_under_cgroup")
def bpf_task_under_cgroup(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    task, cgroup = cpu.machine.tasks.task_at(r1), cpu.machine.tasks.cgroup_at(r2)
    return int(task is not None and cgroup is not None and task.cgroup.under(cgroup))


@kfunc("bpf_send_signal_task")
def bpf_send_signal_task(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    process = 1  # PIDTYPE_TGID
    task = cpu.machine.tasks.task_at(r1)
    if task is None or r3 > process or _signed(r2) > 64:
        return -errno.EINVAL
    cpu.machine.signals.append((_signed(r2), task, r3 != process))
    return 0


@kfunc("bpf_get_task_exe_file")
def bpf_get_task_exe_file(cpu: MachineCpu, r1: int, *_: int) -> int:
    """The `struct file` that a test gave the task, as `task.exe_file`."""
    return int(getattr(cpu.machine.tasks.task_at(r1), "exe_file", 0))


@kfunc("bpf_path_d_path")
def bpf_path_d_path(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    size = r3 & _U32
    text = path_text(cpu, r1)
    if not size or text is None:
        return -errno.EINVAL
    raw = text.encode() + b"\0"
    if len(raw) > size:
        return -errno.ENAMETOOLONG
    cpu.memory.write(r2, raw)
    return len(raw)


# Maps.


def _arena(cpu: MachineCpu, address: int) -> Arena:
    m: Any = cpu.machine.map_at(address)
    if not isinstance(m, Arena):
        raise Fault(f"map {m.name!r} is no arena", address=address)
    return m


@kfunc("bpf_arena_alloc_pages")
def bpf_arena_alloc_pages(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    return 0 if r5 else _arena(cpu, r1).alloc(r2, r3 & _U32)


@kfunc("bpf_arena_free_pages")
def bpf_arena_free_pages(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    if r2:
        _arena(cpu, r1).free(r2, r3 & _U32)
    return 0


@kfunc("bpf_arena_reserve_pages")
def bpf_arena_reserve_pages(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    return _arena(cpu, r1).reserve(r2, r3 & _U32)


@kfunc("bpf_map_sum_elem_count")
def bpf_map_sum_elem_count(cpu: MachineCpu, r1: int, *_: int) -> int:
    m = cpu.machine.map_at(r1)
    return len(m) if isinstance(m, HashBase) else 0


# What a packet's driver tells: the context's facts.


@kfunc("bpf_xdp_metadata_rx_timestamp")
def bpf_xdp_metadata_rx_timestamp(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    found = cpu.machine.context_at(cpu, r1).facts.get("rx_timestamp")
    if found is None:
        return -errno.ENODATA
    cpu.memory.store(r2, 8, found)
    return 0


@kfunc("bpf_xdp_metadata_rx_hash")
def bpf_xdp_metadata_rx_hash(cpu: MachineCpu, r1: int, r2: int, r3: int, *_: int) -> int:
    found = cpu.machine.context_at(cpu, r1).facts.get("rx_hash")
    if found is None:
        return -errno.ENODATA
    cpu.memory.store(r2, 4, found[0])
    cpu.memory.store(r3, 4, found[1])
    return 0


@kfunc("bpf_session_is_return")
def bpf_session_is_return(cpu: MachineCpu, *_: int) -> int:
    return int(cpu.context is not None and bool(cpu.context.facts.get("is_return")))


@kfunc("bpf_session_cookie")
def bpf_session_cookie(cpu: MachineCpu, *_: int) -> int:
    """Eight bytes that live from a call to its return: the fact `session`, a region of memory."""
    region = cpu.context.facts.get("session") if cpu.context is not None else None
    return 0 if region is None else int(region.address)
