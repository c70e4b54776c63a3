"""Linked lists and trees of a program's own objects.

Lists are linked in memory, as the kernel has them. The order of a tree's nodes is the machine's, and so is
its shape: the root is the first node, and each node's right child is the one after it.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ..memory import BASE
from .objects import free
from .table import kfunc

if TYPE_CHECKING:
    from ..cpus import MachineCpu

_LIST_OWNER, _TREE_OWNER = 16, 24  # where a node says what it is in


def _get(cpu: MachineCpu, address: int) -> int:
    start = address - BASE
    return int.from_bytes(cpu.memory.buffer[start : start + 8], "little")


def _set(cpu: MachineCpu, address: int, value: int) -> None:
    start = address - BASE
    cpu.memory.buffer[start : start + 8] = value.to_bytes(8, "little")


def _start(cpu: MachineCpu, head: int) -> None:
    """A list head of zeros is an empty list."""
    if not _get(cpu, head):
        _set(cpu, head, head)
        _set(cpu, head + 8, head)


def _insert(cpu: MachineCpu, head: int, node: int, offset: int, *, front: bool) -> int:
    if _get(cpu, node + _LIST_OWNER):
        free(cpu.machine, node - offset)
        return -errno.EINVAL
    _start(cpu, head)
    before = head if front else _get(cpu, head + 8)
    after = _get(cpu, before)
    _set(cpu, node, after)
    _set(cpu, node + 8, before)
    _set(cpu, before, node)
    _set(cpu, after + 8, node)
    _set(cpu, node + _LIST_OWNER, head)
    return 0


@kfunc("bpf_list_push_front_impl", "bpf_list_push_front")
def bpf_list_push_front(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _insert(cpu, r1, r2, r4, front=True)


@kfunc("bpf_list_push_back_impl", "bpf_list_push_back")
def bpf_list_push_back(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, *_: int) -> int:
    return _insert(cpu, r1, r2, r4, front=False)


def _take(cpu: MachineCpu, head: int, *, front: bool) -> int:
    node = _end(cpu, head, front=front)
    if node:
        after, before = _get(cpu, node), _get(cpu, node + 8)
        _set(cpu, before, after)
        _set(cpu, after + 8, before)
        for at in (0, 8, _LIST_OWNER):
            _set(cpu, node + at, 0)
    return node


def _end(cpu: MachineCpu, head: int, *, front: bool) -> int:
    _start(cpu, head)
    node = _get(cpu, head if front else head + 8)
    return 0 if node == head else node


@kfunc("bpf_list_pop_front")
def bpf_list_pop_front(cpu: MachineCpu, r1: int, *_: int) -> int:
    return _take(cpu, r1, front=True)


@kfunc("bpf_list_pop_back")
def bpf_list_pop_back(cpu: MachineCpu, r1: int, *_: int) -> int:
    return _take(cpu, r1, front=False)


@kfunc("bpf_list_front")
def bpf_list_front(cpu: MachineCpu, r1: int, *_: int) -> int:
    return _end(cpu, r1, front=True)


@kfunc("bpf_list_back")
def bpf_list_back(cpu: MachineCpu, r1: int, *_: int) -> int:
    return _end(cpu, r1, front=False)


@kfunc("bpf_rbtree_add_impl", "bpf_rbtree_add")
def bpf_rbtree_add(cpu: MachineCpu, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
    if _get(cpu, r2 + _TREE_OWNER):
        free(cpu.machine, r2 - r5)
        return -errno.EINVAL
    nodes = cpu.machine.trees.setdefault(r1, [])
    low, high = 0, len(nodes)
    while low < high:
        middle = (low + high) // 2
        if cpu.call(r3, r2, nodes[middle]) & 0xFF:
            high = middle
        else:
            low = middle + 1
    nodes.insert(low, r2)
    _set(cpu, r2 + _TREE_OWNER, r1)
    return 0


@kfunc("bpf_rbtree_remove")
def bpf_rbtree_remove(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    nodes = cpu.machine.trees.get(r1, [])
    if r2 not in nodes:
        return 0
    nodes.remove(r2)
    _set(cpu, r2 + _TREE_OWNER, 0)
    return r2


@kfunc("bpf_rbtree_first", "bpf_rbtree_root")
def bpf_rbtree_first(cpu: MachineCpu, r1: int, *_: int) -> int:
    nodes = cpu.machine.trees.get(r1)
    return nodes[0] if nodes else 0


@kfunc("bpf_rbtree_left")
def bpf_rbtree_left(cpu: MachineCpu, *_: int) -> int:
    return 0


@kfunc("bpf_rbtree_right")
def bpf_rbtree_right(cpu: MachineCpu, r1: int, r2: int, *_: int) -> int:
    nodes = cpu.machine.trees.get(r1, [])
    at = nodes.index(r2) + 1 if r2 in nodes else len(nodes)
    return nodes[at] if at < len(nodes) else 0
