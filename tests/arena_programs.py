"""Programs that build a list, a hash table and a tree in an arena, and walk them."""

from __future__ import annotations

import probee as bp
from probee import Char, i64, u8, u16, u32, u64

BUCKETS = 8


class Item(bp.Struct):
    next: bp.ArenaPtr[Item]
    key: u64
    value: u64
    small: u8
    flags: bp.Bits[u32, 3]
    pair: u32[2]
    word: Char[12]


class Tree(bp.Struct):
    left: bp.ArenaPtr[Tree]
    right: bp.ArenaPtr[Tree]
    key: i64


class Args(bp.Struct):
    a: u64
    b: u64
    c: u64


class Kept(bp.Struct):
    where: bp.ArenaPtr[Item]
    count: u64


class Heads(bp.Struct):
    bucket: bp.ArenaPtr[Item][BUCKETS]


arena = bp.Arena(pages=64)
head = bp.Global[bp.ArenaPtr[Item]]()
root = bp.Global[bp.ArenaPtr[Tree]](arena=arena)
table = bp.Global[Heads](arena=arena)
used = bp.Global[u64](7, arena=arena)
kept = bp.Hash[u32, Kept](8)


@bp.syscall
def push(args: Args):
    """A list: args.a items, their values squares."""
    items = arena.alloc_pages(1, Item)
    if items is None:
        return -12
    for i in range(60):
        if i >= args.a:
            break
        item = items[i]
        item.key = i
        item.value = i * i
        item.small = 300
        item.flags = 5
        item.pair[1] = u32(i)
        item.word = "item"
        item.next = head.value
        head.value = item
        used.value += 1
    args.b = u64(items)
    return 0


def total(first):
    sum = u64(0)
    item = first
    for _ in range(100):
        if item is None:
            break
        sum += item.value + item.small + item.flags + item.pair[1]
        if item.word == "item":
            sum += 1000
        item = item.next
    return sum


@bp.syscall
def walk(args: Args):
    """The list, by a function of its own."""
    args.a = total(head.value)
    args.b = used.value
    return 0


@bp.syscall
def change(args: Args):
    """`+=` and assignments in the arena, a copy of a struct, a pointer in a map."""
    item = head.value
    if item is None:
        return 1
    item.value += 5
    item.word = bp.comm()
    copy = Item(item)
    item.pair[1] += 1
    item.pair[0] = copy.pair[1] + 1
    item.pair[1] = copy.pair[1]
    kept[1] = Kept(where=item, count=item.value)
    again = kept.get(1)
    if again is None:
        return 2
    again.where.key = 99
    same = bp.cast(bp.ArenaPtr[Item], u64(item))
    args.a = same.key
    args.b = u64(same == again.where)
    args.c = item.pair[0]
    return 0


@bp.syscall
def put(args: Args):
    """A hash table with chains."""
    items = arena.alloc_pages(1, Item)
    if items is None:
        return -12
    for i in range(40):
        item = items[i]
        item.key = args.a + i
        item.value = item.key * 3
        slot = item.key % BUCKETS
        item.next = table.value.bucket[slot]
        table.value.bucket[slot] = item
    return 0


@bp.syscall
def look(args: Args):
    item = table.value.bucket[args.a % BUCKETS]
    for _ in range(100):
        if item is None:
            return -2
        if item.key == args.a:
            args.b = item.value
            return 0
        item = item.next
    return -7


@bp.syscall
def grow(args: Args):
    """A tree of numbers, not balanced."""
    trees = arena.alloc_pages(1, Tree)
    if trees is None:
        return -12
    key = args.a
    for i in range(30):
        key = (key * 1103515245 + 12345) & 0xFFFF
        node = trees[i]
        node.key = i64(key) - 0x8000
        at = root.value
        if at is None:
            root.value = node
            continue
        for _ in range(40):
            if node.key < at.key:
                if at.left is None:
                    at.left = node
                    break
                at = at.left
            else:
                if at.right is None:
                    at.right = node
                    break
                at = at.right
    return 0


@bp.syscall
def smallest(args: Args):
    at = root.value
    if at is None:
        return 1
    for _ in range(64):
        if at.left is None:
            break
        at = at.left
    args.a = u64(at.key)
    return 0


@bp.syscall
def give_back(args: Args):
    """Memory that was given back reads as zero."""
    words = arena.alloc_pages(2, u64)
    if words is None:
        return -12
    words[600] = 0x1234
    args.a = words[600]
    arena.free_pages(words, 2)
    args.b = words[600]
    args.c = u64(arena.alloc_pages(2, u64, words) == words)
    return 0


@bp.syscall
def greedy(args: Args):
    args.a = u64(arena.alloc_pages(args.b, u16) is None)
    return 0


@bp.syscall
def one_by_one(args: Args):
    """Items and trees of shared pages."""
    for i in range(args.a):
        item = arena.new(Item)
        tree = arena.new(Tree)
        if item is None or tree is None:
            return -12
        item.key = 1000 + i
        item.next = head.value
        head.value = item
        tree.key = i
        args.c |= u64(tree) & 7 | u64(item) & 7
    args.b = u64(head.value)
    return 0


@bp.global_function
def next_key(item: bp.ArenaPtr[Item], more: u64) -> u64:
    if item is None:
        return 0
    item.value += 1
    return item.next.key + more


@bp.syscall
def global_call(args: Args):
    args.a = next_key(head.value, 5)
    args.b = next_key(None, 5)
    return 0
