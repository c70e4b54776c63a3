"""Who runs, from the task: ids, parents, user, namespaces, memory and time."""

import probee as bp
from probee import Char, u32, u64


class Who(bp.Struct):
    start: u64
    start_leader: u64
    pages: u64
    faults: u64
    tgid: u32
    parent: u32
    grandparent: u32
    uid: u32
    pid_namespace: u32
    net_namespace: u32
    level: u32
    policy: u32
    comm: Char[16]


seen = bp.Array[Who](1)


@bp.raw_tracepoint("sys_enter")
def on_enter():
    task = bp.current_task()
    w = seen.get(0)
    if w is None:
        return
    parent = task.real_parent
    w.tgid = task.tgid
    w.parent = parent.tgid
    w.grandparent = parent.real_parent.tgid
    w.comm = parent.comm
    w.uid = task.cred.uid.val
    w.pid_namespace = task.nsproxy.pid_ns_for_children.ns.inum
    w.net_namespace = task.nsproxy.net_ns.ns.inum
    w.level = task.thread_pid.level
    w.start = task.start_time
    w.start_leader = task.group_leader.start_time
    w.pages = task.mm.total_vm
    w.faults = task.signal.min_flt + task.min_flt
    w.policy = task.policy
