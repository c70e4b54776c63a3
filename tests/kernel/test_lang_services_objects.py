"""Locks, timers, kernel pointers, lists and trees in the kernel: what they did is looked at."""

from __future__ import annotations

import os
import struct
import time

import pytest

import lang_module

pytestmark = pytest.mark.root

ABOVE = """
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

class Asked(bp.Struct):
    work: bp.TaskWork
    done: u64
    by: u64

class Kept(bp.Struct):
    task: bp.Kptr["task_struct"]

class Node(bp.Struct):
    key: u64
    link: bp.ListNode
    branch: bp.RbNode
    count: bp.Refcount

class Heads(bp.Struct):
    lock: bp.SpinLock
    items: bp.ListHead[Node, "link"]

class Trees(bp.Struct):
    lock: bp.SpinLock
    tree: bp.RbRoot[Node, "branch"]

class Stash(bp.Struct):
    node: bp.Kptr[Node]

locked = bp.Array[Locked](1)
hard = bp.Array[Hard](1)
ticking = bp.Array[Ticking](1)
working = bp.Array[Working](1)
asked = bp.Array[Asked](1)
kept = bp.Array[Kept](1)
heads = bp.Array[Heads](1)
trees = bp.Array[Trees](1)
stash = bp.Array[Stash](1)
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    with lang_module.builder(ktypes, tmp_path, hook="syscall", params="args: Args", above=ABOVE) as build:
        yield build


@pytest.fixture
def needs(ktypes):
    def needs(*names):
        missing = [n for n in names if ktypes.kfunc(n) is None]
        if missing:
            pytest.skip(f"this kernel has no function {missing[0]}")

    return needs


def run(made, a=0, b=0, c=0):
    out = made.collection.programs["program"].test_run(ctx=struct.pack("<QQQ", a, b, c))
    return struct.unpack("<QQQ", out.ctx)


def test_spin_lock(build):
    made = build(
        """
        v = locked.get(0)
        if v is None:
            return 1
        with v.lock:
            v.n += 2
            if args.a == 7:
                return 2
            v.last = args.a
        args.b = v.n
        """
    )
    assert run(made, a=1)[1] == 2
    assert run(made, a=7)[1] == 0
    assert run(made, a=9)[1] == 6


def test_resilient_spin_lock(build, needs):
    needs("bpf_res_spin_lock")
    made = build(
        """
        v = hard.get(0)
        if v is None:
            return 1
        with v.lock:
            v.n += 1
        args.b = v.n
        """
    )
    assert [run(made)[1], run(made)[1]] == [1, 2]


def test_timer(build):
    made = build(
        """
        def tick(key, value):
            value.ticks += 1

        v = ticking.get(0)
        if v is None:
            return 1
        v.timer.init(ticking)
        v.timer.set_callback(tick)
        args.a = v.timer.start(1000) == 0
        """
    )
    assert run(made)[0] == 1
    for _ in range(100):
        time.sleep(0.01)
        if made.maps["ticking"][0].ticks:
            break
    assert made.maps["ticking"][0].ticks == 1


def test_work_queue(build, needs):
    needs("bpf_wq_init", "bpf_wq_set_callback_impl")
    made = build(
        """
        def later(key, value):
            value.done += 1

        v = working.get(0)
        if v is None:
            return 1
        v.work.init(working)
        v.work.set_callback(later)
        args.a = v.work.start() == 0
        """
    )
    assert run(made)[0] == 1
    for _ in range(100):
        time.sleep(0.01)
        if made.maps["working"][0].done:
            break
    assert made.maps["working"][0].done == 1


@pytest.mark.parametrize("how", ["resume", "signal"])
def test_work_for_a_task(build, needs, how):
    needs(f"bpf_task_work_schedule_{how}_impl")
    made = build(
        f"""
        def later(key, value):
            value.done += 1
            value.by = bp.pid()

        v = asked.get(0)
        if v is None:
            return 1
        args.a = v.work.schedule_{how}(bp.current_task(), asked, later) == 0
        args.b = v.done
        """
    )
    assert run(made)[:2] == (1, 0)  # when this task has left the kernel, it is done
    entry = made.maps["asked"][0]
    assert (entry.done, entry.by) == (1, os.getpid())


def test_kernel_functions_and_what_they_give(build, needs):
    needs("bpf_task_from_pid", "bpf_task_acquire", "bpf_task_release")
    made = build(
        """
        args.b = 99
        with bp.kfunc.bpf_task_from_pid(i32(args.a)) as task:
            args.b = task.tgid
            if args.c == 1:
                return 5
            with bp.kfunc.bpf_task_acquire(task) as again:
                args.c = again.pid
        """
    )
    pid = os.getpid()
    assert run(made, a=pid) == (pid, pid, pid)
    assert run(made, a=pid, c=1) == (pid, pid, 1)
    assert run(made, a=(1 << 31) - 1)[1] == 99


def test_whether_a_kernel_function_is_there(build, needs):
    needs("bpf_task_from_pid")
    made = build(
        """
        args.a = 1
        if bp.kfunc_exists("bpf_of_no_kernel_at_all"):
            bp.kfunc.bpf_of_no_kernel_at_all()
            args.a = 2
        if bp.kfunc_exists("bpf_task_from_pid"):
            with bp.kfunc.bpf_task_from_pid(i32(args.c)) as task:
                args.b = task.pid
        """
    )
    assert run(made, c=os.getpid())[:2] == (1, os.getpid())


def test_a_task_kept_in_a_map(build, needs):
    needs("bpf_task_from_pid", "bpf_task_release")
    made = build(
        """
        v = kept.get(0)
        if v is None:
            return 1
        if args.a == 1:
            with bp.kfunc.bpf_task_from_pid(i32(args.b)) as task:
                v.task = task
        elif args.a == 2:
            with v.task.take() as task:
                args.c = task.pid
        elif args.a == 3:
            v.task = None
        else:
            with bp.rcu():
                seen = v.task
                if seen is not None:
                    args.c = seen.pid
        """
    )
    pid, other = os.getpid(), os.getppid()
    run(made, a=1, b=pid)
    assert run(made, a=4)[2] == pid
    run(made, a=1, b=other)
    assert run(made, a=4)[2] == other
    assert run(made, a=2)[2] == other
    assert run(made, a=2)[2] == 0
    run(made, a=1, b=pid)
    run(made, a=3)
    assert run(made, a=4)[2] == 0


def test_lists(build, needs):
    needs("bpf_obj_new_impl", "bpf_list_push_front_impl")
    made = build(
        """
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
                with v.lock:
                    v.items.push_front(node)
        elif args.a == 3:
            with bp.obj_new(Node) as node:
                args.c = 5
                if args.b == 7:
                    v.items.push_back(node)
        else:
            with v.items.pop_front() as node:
                args.c = node.key
        """
    )
    for n in (10, 20):
        run(made, a=1, b=n)
    run(made, a=2, b=30)
    assert run(made, a=3, b=1)[2] == 5
    assert [run(made, a=4)[2] for _ in range(4)] == [30, 10, 20, 0]


def test_trees(build, needs):
    needs("bpf_rbtree_add_impl", "bpf_refcount_acquire_impl")
    made = build(
        """
        def less(a, b):
            return a.key < b.key

        v = trees.get(0)
        if v is None:
            return 1
        if args.a == 1:
            with bp.obj_new(Node) as node:
                node.key = args.b
                with bp.refcount_acquire(node) as other:
                    v.tree.add(node, less)
                    args.c = other.key
        elif args.a == 2:
            with v.lock:
                first = v.tree.first()
                if first is not None:
                    v_key = first.key
                else:
                    v_key = 0
            args.c = v_key
        else:
            with v.tree.pop_first() as node:
                args.c = node.key
        """
    )
    assert [run(made, a=1, b=n)[2] for n in (20, 5, 10)] == [20, 5, 10]
    assert run(made, a=2)[2] == 5
    assert [run(made, a=3)[2] for _ in range(4)] == [5, 10, 20, 0]


def test_an_object_of_our_own_kept_in_a_map(build, needs):
    needs("bpf_obj_new_impl")
    made = build(
        """
        v = stash.get(0)
        if v is None:
            return 1
        if args.a == 1:
            with bp.obj_new(Node) as node:
                node.key = args.b
                with v.node.swap(node) as old:
                    args.c = old.key
        else:
            v.node = None
        """
    )
    assert run(made, a=1, b=3)[2] == 0
    assert run(made, a=1, b=4)[2] == 3
    run(made, a=2)
    assert run(made, a=1, b=5)[2] == 0
