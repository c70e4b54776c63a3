"""Locks, timers, kptrs, lists, trees, dynptrs, kernel functions, helpers: programs called by hand."""

from __future__ import annotations

import ctypes
import os
import time

from selftest_ports import Live, Port

import probee as bp
from probee import Char, i32, i64, u8, u32, u64


class Args(bp.Struct):
    a: u64
    b: u64
    c: u64


class Locked(bp.Struct):
    lock: bp.SpinLock
    n: u64
    last: u64


class Hard(bp.Struct):
    lock: bp.ResSpinLock
    n: u64


class Ticking(bp.Struct):
    timer: bp.Timer
    ticks: u64


class Working(bp.Struct):
    work: bp.WorkQueue
    done: u64


class KeptTask(bp.Struct):
    task: bp.Kptr["task_struct"]  # noqa: F821, UP037


class Node(bp.Struct):
    key: u64
    link: bp.ListNode
    branch: bp.RbNode
    count: bp.Refcount


class Heads(bp.Struct):
    lock: bp.SpinLock
    items: bp.ListHead[Node, "link"]  # noqa: F821, UP037


class Trees(bp.Struct):
    lock: bp.SpinLock
    tree: bp.RbRoot[Node, "branch"]  # noqa: F821, UP037


class Stash(bp.Struct):
    node: bp.Kptr[Node]


class Head(bp.Struct):
    x: u32
    y: u32


class Block(bp.Struct):
    data: u8[64]


class Record(bp.Struct):
    number: u64
    kind: u64


locked = bp.Array[Locked](1)
locked_hash = bp.Hash[u32, Locked](8)
hard = bp.Array[Hard](1)
ticking = bp.Array[Ticking](2)
working = bp.Array[Working](1)
kept = bp.Array[KeptTask](1)
heads = bp.Array[Heads](1)
trees = bp.Array[Trees](1)
stash = bp.Array[Stash](1)
blocks = bp.Array[Block](1)
orders = bp.UserRingBuf[Record](4096)
records = bp.RingBuf[Record](4096)
plain = bp.Hash[u32, u64](16)


@bp.syscall
def spin_lock(args: Args):
    v = locked.get(0)
    if v is None:
        return 1
    with v.lock:
        v.n += args.a
        v.last = v.n
        if args.b:
            return 2
    args.c = v.last


@bp.syscall
def spin_lock_in_hash(args: Args):
    locked_hash[u32(args.a)] = Locked(n=5)
    v = locked_hash.get(u32(args.a))
    if v is None:
        return 1
    with v.lock:
        v.n += 1
    args.c = v.n


@bp.syscall
def resilient_lock(args: Args):
    v = hard.get(0)
    if v is None:
        return 1
    with v.lock:
        v.n += 1
    args.c = v.n


@bp.syscall
def timer_once(args: Args):
    def tick(key, value):
        value.ticks += 1

    v = ticking.get(0)
    if v is None:
        return 1
    v.timer.init(ticking)
    v.timer.set_callback(tick)
    args.c = v.timer.start(1000) == 0


@bp.syscall
def timer_again(args: Args):
    def tick(key, value):
        value.ticks += 1
        if value.ticks < 3:
            value.timer.start(1000)

    v = ticking.get(1)
    if v is None:
        return 1
    v.timer.init(ticking)
    v.timer.set_callback(tick)
    args.c = v.timer.start(1000) == 0


@bp.syscall
def work_queue(args: Args):
    def later(key, value):
        value.done += 1

    v = working.get(0)
    if v is None:
        return 1
    v.work.init(working)
    v.work.set_callback(later)
    args.c = v.work.start() == 0


@bp.syscall
def task_by_number(args: Args):
    with bp.kfunc.bpf_task_from_pid(i32(args.a)) as task, bp.kfunc.bpf_task_acquire(task) as again:
        args.c = again.tgid


@bp.syscall
def weak_functions(args: Args):
    args.c = 1
    if bp.kfunc_exists("bpf_of_no_kernel"):
        bp.kfunc.bpf_of_no_kernel()
        args.c = 0
    if bp.kfunc_exists("bpf_task_from_pid"):
        args.c += 1


@bp.syscall
def task_kept(args: Args):
    v = kept.get(0)
    if v is None:
        return 1
    with bp.kfunc.bpf_task_from_pid(i32(args.a)) as task:
        v.task = task
    with bp.rcu():
        seen = v.task
        if seen is not None:
            args.b = seen.pid
    with v.task.take() as task:
        args.c = task.pid


@bp.syscall
def list_both_ends(args: Args):
    v = heads.get(0)
    if v is None:
        return 1
    if args.a == 1:
        with bp.obj_new(Node) as node:
            node.key = args.b
            v.items.push_back(node)
    elif args.a == 2:
        with bp.obj_new(Node) as node:
            node.key = args.b
            v.items.push_front(node)
    else:
        with v.items.pop_front() as node:
            args.c = node.key


@bp.syscall
def list_from_behind(args: Args):
    v = heads.get(0)
    if v is None:
        return 1
    with v.items.pop_back() as node:
        args.c = node.key


@bp.syscall
def tree_in_order(args: Args):
    def less(a, b):
        return a.key < b.key

    v = trees.get(0)
    if v is None:
        return 1
    if args.a:
        with bp.obj_new(Node) as node:
            node.key = args.a
            v.tree.add(node, less)
    else:
        with v.tree.pop_first() as node:
            args.c = node.key


@bp.syscall
def counted_object(args: Args):
    def less(a, b):
        return a.key < b.key

    v = trees.get(0)
    if v is None:
        return 1
    with bp.obj_new(Node) as node:
        node.key = args.a
        with bp.refcount_acquire(node) as other:
            v.tree.add(node, less)
            args.c = other.key


@bp.syscall
def object_stashed(args: Args):
    v = stash.get(0)
    if v is None:
        return 1
    with bp.obj_new(Node) as node:
        node.key = args.a
        with v.node.swap(node) as old:
            args.c = old.key


@bp.syscall
def dynptr_of_a_map(args: Args):
    v = blocks.get(0)
    if v is None:
        return 1
    d = bp.dynptr(v.data)
    d.write(Head(x=5, y=6), args.a)
    head = d.load(args.a, Head)
    if head is None:
        args.c = 99
        return 0
    args.c = head.x * 10 + head.y


@bp.syscall
def dynptr_moved(args: Args):
    v = blocks.get(0)
    if v is None:
        return 1
    d = bp.dynptr(v.data)
    d.adjust(60, 64)
    args.a = d.size()
    copy = Head()
    args.c = d.read(copy) < 0


@bp.syscall
def dynptr_of_a_record(args: Args):
    with records.reserve_dynptr(16) as d:
        d.write(args.a)
        if args.b:
            records.discard()


@bp.syscall
def records_submitted(args: Args):
    with records.reserve() as r:
        r.number = args.a
        r.kind = 7
    args.c = records.query(0)


@bp.syscall
def records_output(args: Args):
    args.c = records.output(Record(number=args.a, kind=8)) == 0


@bp.syscall
def records_of_users(args: Args):
    sum = 0

    def take(order):
        nonlocal sum
        o = order.load(0, Record)
        if o is not None:
            sum += o.number

    args.a = bp.user_ringbuf_drain(orders, take)
    args.c = sum


@bp.syscall
def area_found(args: Args):
    low = 0

    def look(task, vma):
        nonlocal low
        low = vma.vm_start

    args.b = bp.find_vma(bp.current_task(), args.a, look) == 0
    args.c = low


@bp.syscall
def user_memory(args: Args):
    into = Char[16]("")
    if bp.copy_from_user(into, args.a) == 0:
        args.c = into == "from user space"
    else:
        args.c = 99


@bp.syscall
def preemption_off(args: Args):
    with bp.preempt_off():
        args.a = bp.cpu()
        args.b = bp.cpu()
    args.c = args.a == args.b


@bp.syscall
def read_side(args: Args):
    with bp.rcu():
        task = bp.current_task()
        args.c = task.real_parent.tgid


@bp.syscall
def text_to_number(args: Args):
    text = Char[16]("-123")
    value = i64(0)
    used = bp.strtol(text, 0, value)
    args.c = u64(value + 200)
    args.a = u64(used)


@bp.syscall
def task_typed(args: Args):
    task = bp.get_current_task_btf()
    args.c = task.tgid
    args.a = bp.task_pt_regs(task).ip > 4096


@bp.syscall
def clocks(args: Args):
    before = bp.ktime_get_ns()
    args.a = bp.ktime_get_boot_ns() >= before
    args.b = before <= bp.ktime_get_ns()
    args.c = bp.ktime_get_tai_ns() > before


@bp.syscall
def map_helpers(args: Args):
    bp.map_update_elem(plain, 7, args.a, flags=0)
    bp.map_update_elem(plain, 8, args.a, flags=0)
    bp.map_delete_elem(plain, 8)
    found = plain.get(7)
    if found is None or plain.get(8) is not None:
        return 1
    args.c = found


def _twice(live: Live, program: str) -> None:
    first = live.call(program, 3, 0, 0)[1][2]
    assert live.call(program, 3, 1, 0)[0] == 2
    assert live.call(program, 4, 0, 0)[1][2] == first + 7


def _becomes(*cases: tuple[tuple[int, int, int], int]):
    def check(live: Live, program: str) -> None:
        for arguments, want in cases:
            assert live.call(program, *arguments)[1][2] == want

    return check


def _eventually(name: str, key: int, field: str, want: int):
    def check(live: Live, program: str) -> None:
        assert live.call(program, 0, 0, 0)[1][2] == 1
        for _ in range(200):
            if getattr(live.maps[name][key], field) >= want:
                break
            time.sleep(0.005)
        assert getattr(live.maps[name][key], field) == want

    return check


def _mine(live: Live, program: str) -> None:
    assert live.call(program, os.getpid(), 0, 0)[1][2] == os.getpid()


def _parent(live: Live, program: str) -> None:
    assert live.call(program, 0, 0, 0)[1][2] == os.getppid()


def _list(live: Live, program: str) -> None:
    for way, key in ((1, 10), (1, 20), (2, 30), (1, 40)):
        live.call(program, way, key, 0)
    assert [live.call(program, 0, 0, 0)[1][2] for _ in range(2)] == [30, 10]
    assert live.call("list_from_behind", 0, 0, 0)[1][2] == 40
    assert [live.call(program, 0, 0, 0)[1][2] for _ in range(2)] == [20, 0]


def _list_end(live: Live, program: str) -> None:
    live.call("list_both_ends", 1, 5, 0)
    assert [live.call(program, 0, 0, 0)[1][2] for _ in range(2)] == [5, 0]


def _tree(live: Live, program: str) -> None:
    while live.call(program, 0, 0, 0)[1][2]:
        pass
    for key in (30, 10, 20):
        live.call(program, key, 0, 0)
    assert [live.call(program, 0, 0, 0)[1][2] for _ in range(4)] == [10, 20, 30, 0]


def _dynptr_record(live: Live, program: str) -> None:
    list(live.maps["records"].consume())
    for arguments in ((41, 0, 0), (42, 1, 0), (43, 0, 0)):
        live.call(program, *arguments)
    assert [r.number for r in live.maps["records"].consume()] == [41, 43]


def _records(live: Live, program: str) -> None:
    list(live.maps["records"].consume())
    live.call(program, 5, 0, 0)
    live.call("records_output", 6, 0, 0)
    assert [(r.number, r.kind) for r in live.maps["records"].consume()] == [(5, 7), (6, 8)]


def _user_records(live: Live, program: str) -> None:
    ring = live.maps["orders"].of("Record")
    for n in (3, 4):
        ring.send((n, 0))
    assert live.call(program, 0, 0, 0)[1] == [2, 0, 7]


def _area(live: Live, program: str) -> None:
    here = ctypes.addressof(ctypes.create_string_buffer(100))
    _, found, start = live.call(program, here, 0, 0)[1]
    assert found == 1
    assert 0 < start <= here


def _user_memory(live: Live, program: str) -> None:
    text = ctypes.create_string_buffer(b"from user space")
    assert live.call(program, ctypes.addressof(text), 0, 0)[1][2] == 1
    assert live.call(program, 8, 0, 0)[1][2] == 99


def _clocks(live: Live, program: str) -> None:
    assert live.call(program, 0, 0, 0)[1] == [1, 1, 1]


def prepare(live: Live) -> None:
    """Map the rings' memory, which the family keeps."""
    list(live.maps["records"].consume())
    live.maps["orders"].of("Record").send((0, 0))
    live.call("records_of_users", 0, 0, 0)


PORTS = [
    Port("test_spin_lock.c", spin_lock, _twice),
    Port("test_map_lock.c", spin_lock_in_hash, _becomes(((1, 0, 0), 6), ((1, 0, 0), 6))),
    Port("res_spin_lock.c", resilient_lock, _becomes(((0, 0, 0), 1), ((0, 0, 0), 2))),
    Port("timer.c", timer_once, _eventually("ticking", 0, "ticks", 1)),
    Port("timer_mim.c", timer_again, _eventually("ticking", 1, "ticks", 3)),
    Port("wq.c", work_queue, _eventually("working", 0, "done", 1)),
    Port("task_kfunc_success.c", task_by_number, _mine),
    Port("test_ksyms_weak.c", weak_functions, _becomes(((0, 0, 0), 2))),
    Port("map_kptr.c", task_kept, _mine),
    Port("linked_list.c", list_both_ends, _list),
    Port("linked_list.c/pop_back", list_from_behind, _list_end),
    Port("rbtree.c", tree_in_order, _tree),
    Port("refcounted_kptr.c", counted_object, _becomes(((8, 0, 0), 8))),
    Port("local_kptr_stash.c", object_stashed, _becomes(((3, 0, 0), 0), ((4, 0, 0), 3))),
    Port("dynptr_success.c", dynptr_of_a_map, _becomes(((8, 0, 0), 56), ((60, 0, 0), 99))),
    Port("dynptr_success.c/adjust", dynptr_moved, _becomes(((0, 0, 0), 1))),
    Port("dynptr_success.c/ringbuf", dynptr_of_a_record, _dynptr_record),
    Port("test_ringbuf.c", records_submitted, _records),
    Port("user_ringbuf_success.c", records_of_users, _user_records),
    Port("find_vma.c", area_found, _area),
    Port("test_attach_probe.c/copy_from_user", user_memory, _user_memory),
    Port("preempt_lock.c", preemption_off, _becomes(((0, 0, 0), 1))),
    Port("rcu_read_lock.c", read_side, _parent),
    Port("test_sysctl_prog.c/strtol", text_to_number, _becomes(((0, 0, 0), 77))),
    Port("test_task_pt_regs.c", task_typed, _mine),
    Port("test_time_tai.c", clocks, _clocks),
    Port("test_map_ops.c", map_helpers, _becomes(((9, 0, 0), 9))),
]
