"""Programs that look into lists and trees, and take out what they find there."""

from __future__ import annotations

import probee as bp
from probee import u8, u16, u32, u64


class Args(bp.Struct):
    a: u64
    b: u64
    c: u64


class Node(bp.Struct):
    key: u64
    hits: u64
    branch: bp.RbNode


class Trees(bp.Struct):
    lock: bp.SpinLock
    tree: bp.RbRoot[Node, "branch"]  # noqa: F821, UP037


class Job(bp.Struct):
    key: u64
    link: bp.ListNode


class Queue(bp.Struct):
    lock: bp.SpinLock
    jobs: bp.ListHead[Job, "link"]  # noqa: F821, UP037


trees = bp.Array[Trees](1)
queues = bp.Array[Queue](1)


def before(a, b):
    return a.key < b.key


@bp.syscall
def put(args: Args):
    t = trees.get(0)
    if t is None:
        return 1
    with bp.obj_new(Node) as node:
        node.key = args.a
        t.tree.add(node, before)
    return 0


def search(tree, key):
    """The node with a key."""
    node = tree.root()
    for _ in range(32):
        if node is None:
            break
        if key == node.key:
            break
        if key < node.key:
            node = tree.left(node)
        else:
            node = tree.right(node)
    return node


@bp.syscall
def hit(args: Args):
    """Change a node where it is."""
    t = trees.get(0)
    if t is None:
        return 1
    key = args.a
    found = u64(0)
    with t.lock:
        node = search(t.tree, key)
        if node is not None and node.key == key:
            node.hits += 1
            found = node.hits
    args.b = found
    return 0


@bp.syscall
def take(args: Args):
    """Take the node with a key out."""
    t = trees.get(0)
    if t is None:
        return 1
    key = args.a

    def find(tree):
        node = search(tree, key)
        if node is not None and node.key != key:
            return None
        return node

    with t.tree.remove(find) as node:
        args.b = node.key
        args.c = node.hits
    return 0


@bp.syscall
def push(args: Args):
    q = queues.get(0)
    if q is None:
        return 1
    with bp.obj_new(Job) as job:
        job.key = args.a
        q.jobs.push_back(job)
    return 0


@bp.syscall
def ends(args: Args):
    q = queues.get(0)
    if q is None:
        return 1
    first = u64(0)
    last = u64(0)
    with q.lock:
        f = q.jobs.front()
        if f is not None:
            first = f.key
            f.key += 100
        b = q.jobs.back()
        if b is not None:
            last = b.key
    args.a = first
    args.b = last
    return 0


class Mixed(bp.Struct):
    first: u64
    a: u32
    b: u32
    c: u8
    d: u16
    bits: bp.Bits[u32, 3]
    name: bp.Char[6]
    branch: bp.RbNode
    numbers: u16[5]
    last: u64


class Mixes(bp.Struct):
    lock: bp.SpinLock
    tree: bp.RbRoot[Mixed, "branch"]  # noqa: F821, UP037


mixes = bp.Array[Mixes](1)


@bp.syscall
def used_again(args: Args):
    mix = mixes.get(0)
    if mix is None:
        return 1
    for _ in range(4):
        with bp.obj_new(Mixed) as it:
            args.a |= it.first | u64(it.a) | u64(it.b) | u64(it.c) | u64(it.d) | u64(it.bits)
            args.b |= u64(it.numbers[0]) | u64(it.numbers[4]) | u64(it.name[5]) | it.last
            it.first = it.last = 0xFFFFFFFFFFFFFFFF
            it.a = 1
            it.b = 2
            it.c = 3
            it.d = 4
            it.numbers[4] = 5
            it.name = "stale"
            args.c += 1
    return 0
