"""Arenas, atomic operations, ordered accesses, exceptions, trees looked into, packets by dynptrs."""

from __future__ import annotations

import struct
import threading

from selftest_ports import Live, Port

import probee as bp
from probee import i64, u8, u32, u64

BUCKETS = 16


class Args(bp.Struct):
    a: u64
    b: u64
    c: u64


class Elem(bp.Struct):
    next: bp.ArenaPtr[Elem]
    value: u64


class Entry(bp.Struct):
    next: bp.ArenaPtr[Entry]
    key: u64
    value: u64


class Table(bp.Struct):
    heads: bp.ArenaPtr[Entry][BUCKETS]


class Key(bp.Struct):
    key: u64
    branch: bp.RbNode
    count: bp.Refcount


class Keys(bp.Struct):
    lock: bp.SpinLock
    tree: bp.RbRoot[Key, "branch"]  # noqa: F821, UP037


class Job(bp.Struct):
    key: u64
    link: bp.ListNode


class Jobs(bp.Struct):
    lock: bp.SpinLock
    jobs: bp.ListHead[Job, "link"]  # noqa: F821, UP037


class Asked(bp.Struct):
    work: bp.TaskWork
    done: u64
    by: u64


class Block(bp.Struct):
    data: u8[64]


class Ports(bp.Struct):
    source: bp.Bits[u32, 16]
    target: bp.Bits[u32, 16]


arena = bp.Arena(pages=1024)
head = bp.Global[bp.ArenaPtr[Elem]](arena=arena)
table = bp.Global[Table](arena=arena)
shared = bp.Global[u64](1, arena=arena)
ticket = bp.Global[u32](0, arena=arena)
serving = bp.Global[u32](0, arena=arena)
under_lock = bp.Global[u64](0, arena=arena)
wide = bp.Global[u64](0)
narrow = bp.Global[u32](0)
message = bp.Global[u64](0)
flag = bp.Global[u32](0)
keys = bp.Array[Keys](1)
jobs = bp.Array[Jobs](1)
asked = bp.Hash[u64, Asked](4)
blocks = bp.Array[Block](2)


# -- arenas


@bp.syscall
def list_in_arena(args: Args):
    """A list of args.a elements, one page for all."""
    elems = arena.alloc_pages(1, Elem)
    if elems is None:
        return 1
    for i in range(100):
        if i >= args.a:
            break
        elem = elems[i]
        elem.value = i
        elem.next = head.value
        head.value = elem
    return 0


@bp.syscall
def list_sum(args: Args):
    """The list is taken apart while it is summed up."""
    for _ in range(200):
        elem = head.value
        if elem is None:
            break
        args.b += elem.value
        head.value = elem.next
    return 0


@bp.syscall
def hash_table(args: Args):
    """Chains in the arena; the last value of a key counts."""
    entries = arena.alloc_pages(1, Entry)
    if entries is None:
        return 1
    for i in range(64):
        key = u64(i % 32)
        slot = key % BUCKETS
        found = table.value.heads[slot]
        for _ in range(8):
            if found is None or found.key == key:
                break
            found = found.next
        if found is None:
            found = entries[i]
            found.key = key
            found.next = table.value.heads[slot]
            table.value.heads[slot] = found
        found.value = i
    return 0


@bp.syscall
def pages_come_and_go(args: Args):
    """What was given back reads as 0, and comes again at the same address."""
    first = arena.alloc_pages(1, u32)
    if first is None:
        return 1
    first[0] = 1
    second = arena.alloc_pages(1, u32)
    if second is None:
        return 2
    second[0] = 2
    arena.free_pages(second, 1)
    if first[0] != 1 or second[0] != 0:
        return 3
    third = arena.alloc_pages(1, u32, second)
    if third != second or third[0] != 0:
        return 4
    arena.free_pages(third, 1)
    arena.free_pages(first, 1)
    return 0


@bp.syscall
def pages_in_a_row(args: Args):
    """Many pages at once, the last of them used."""
    many = arena.alloc_pages(args.a, u64)
    if many is None:
        return 1
    last = (args.a - 1) * 512
    many[last] = 7
    args.b = many[last]
    arena.free_pages(many, args.a)
    return i64(many[last])


@bp.syscall
def more_than_there_is(args: Args):
    args.b = u64(arena.alloc_pages(args.a, u64) is None)
    return 0


@bp.syscall
def lock_in_arena(args: Args):
    """A lock of tickets, made of atomic operations."""
    mine = bp.atomic.add(ticket.value, 1)
    for _ in range(1000):
        if bp.atomic.load(serving.value) == mine:
            under_lock.value = under_lock.value * 2 + 1
            bp.atomic.store(serving.value, mine + 1)
            return 0
    return 1


# -- atomic operations


@bp.syscall
def atomic_add(args: Args):
    wide.value = 1
    narrow.value = 0xFFFF_FFFF
    args.a = bp.atomic.add(wide.value, 2) * 100 + wide.value
    args.b = bp.atomic.add(narrow.value, 2) + narrow.value
    return 0


@bp.syscall
def atomic_sub(args: Args):
    wide.value = 1
    args.a = bp.atomic.sub(wide.value, 2)
    args.b = wide.value
    return 0


@bp.syscall
def atomic_bits(args: Args):
    wide.value = 0x110
    args.a = bp.atomic.and_(wide.value, 0x011)
    args.b = bp.atomic.or_(wide.value, 0x003)
    args.c = bp.atomic.xor(wide.value, 0x0FF) << 16 | wide.value
    return 0


@bp.syscall
def atomic_exchange(args: Args):
    wide.value = 1
    narrow.value = 5
    args.a = bp.atomic.exchange(wide.value, 2) * 10 + wide.value
    args.b = bp.atomic.exchange(narrow.value, 6) * 10 + narrow.value
    return 0


@bp.syscall
def atomic_compare(args: Args):
    wide.value = 1
    args.a = bp.atomic.compare_exchange(wide.value, 0, 3) * 10 + wide.value
    args.b = bp.atomic.compare_exchange(wide.value, 1, 2) * 10 + wide.value
    narrow.value = 9
    args.c = bp.atomic.compare_exchange(narrow.value, 9, 0xFFFF_FFFF) * 10 + u64(narrow.value == 0xFFFF_FFFF)
    return 0


@bp.syscall
def arena_add(args: Args):
    args.a = bp.atomic.add(shared.value, 2)
    args.b = shared.value
    args.c = bp.atomic.sub(shared.value, 2)
    return 0


@bp.syscall
def arena_bits(args: Args):
    """Without their results: x86 has those in an arena through compare and exchange only."""
    shared.value = 0x110
    shared.value &= 0x011
    args.a = shared.value
    shared.value |= 0x003
    args.b = shared.value
    shared.value ^= 0x0FF
    args.c = shared.value
    shared.value = 1
    return 0


@bp.syscall
def arena_compare(args: Args):
    shared.value = 1
    args.a = bp.atomic.compare_exchange(shared.value, 0, 3)
    args.b = bp.atomic.compare_exchange(shared.value, 1, 2)
    args.c = bp.atomic.exchange(shared.value, 1)
    return 0


@bp.syscall
def arena_ordered(args: Args):
    bp.atomic.store(shared.value, args.a)
    args.b = bp.atomic.load(shared.value)
    bp.atomic.store(shared.value, 1)
    return 0


@bp.syscall
def store_then_flag(args: Args):
    """A message, and a flag that it is there."""
    message.value = args.a
    bp.atomic.store(flag.value, 1)
    return 0


@bp.syscall
def flag_then_load(args: Args):
    if bp.atomic.load(flag.value) == 0:
        return 1
    args.a = message.value
    return 0


# -- exceptions


def twice(n):
    if n >= 16:
        bp.throw(n)
    return n * 2


def three_times(n):
    return twice(n) + n


@bp.syscall
def throw_here(args: Args):
    if args.a:
        bp.throw(args.a)
    return 1


@bp.syscall
def throw_in_functions(args: Args):
    """From two calls deep, out of all of them."""
    args.b = three_times(args.a)
    return 5


@bp.syscall
def throw_nothing(args: Args):
    bp.throw()
    return 3


@bp.tc
def throw_with_a_packet(packet):
    if len(packet) > 60:
        bp.throw(2)
    return 0


@bp.syscall
def assert_equal(args: Args):
    assert args.a == 4, 17  # noqa: RUF040
    return 0


@bp.syscall
def assert_range(args: Args):
    """What is asserted, the verifier knows."""
    at = args.a
    assert at < 64, 33  # noqa: RUF040
    block = blocks.get(0)
    assert block is not None
    block.data[at] = 1
    return 0


# -- types


@bp.tc
def kernel_buffer(packet):
    skb = bp.kfunc.bpf_cast_to_kern_ctx(packet)
    return i64(skb.len) - i64(len(packet))


@bp.syscall
def read_only_cast(args: Args):
    task = bp.rdonly_cast("task_struct", bp.get_current_task())
    args.a = u64(task.pid == bp.tid())
    args.b = u64(task.group_leader.tgid == bp.pid())
    return 0


@bp.syscall
def type_numbers(args: Args):
    args.a = bp.type_id("task_struct")
    args.b = bp.type_id(Block)
    args.c = bp.type_id("sock")
    return 0


@bp.syscall
def symbols(args: Args):
    """Where functions of the kernel are."""
    args.a = bp.ksym_address("schedule")
    args.b = bp.ksym_address("bpf_prog_load")
    return 0


# -- work for a task


@bp.syscall
def work_for_task(args: Args):
    asked[7] = Asked()
    entry = asked.get(7)
    if entry is None:
        return 1

    def later(key, value):
        value.done = key + 1
        value.by = bp.tid()

    return i64(entry.work.schedule_resume(bp.current_task(), asked, later))


# -- trees and lists


def smaller(a, b):
    return a.key < b.key


def wanted(tree, key):
    node = tree.root()
    for _ in range(16):
        if node is None:
            break
        if node.key == key:
            break
        node = tree.left(node) if key < node.key else tree.right(node)
    return node


@bp.syscall
def tree_search(args: Args):
    """Numbers 0 to 15 in a tree; args.a is taken out, args.b is only looked for."""
    k = keys.get(0)
    if k is None:
        return 1
    for i in range(16):
        with bp.obj_new(Key) as key:
            key.key = i
            k.tree.add(key, smaller)
    take = args.a
    look = args.b

    def found(tree):
        return wanted(tree, take)

    with k.tree.remove(found) as key:
        args.a = key.key + 100
    here = u64(0)
    with k.lock:
        node = wanted(k.tree, look)
        if node is not None:
            here = node.key + 200
    args.b = here
    left = u64(0)
    for _ in range(20):
        with k.tree.pop_first() as key:
            left += 1
    args.c = left
    return 0


@bp.syscall
def list_peek(args: Args):
    j = jobs.get(0)
    if j is None:
        return 1
    for i in range(4):
        with bp.obj_new(Job) as job:
            job.key = i + 1
            j.jobs.push_back(job)
    first = u64(0)
    last = u64(0)
    with j.lock:
        f = j.jobs.front()
        if f is not None:
            first = f.key
        b = j.jobs.back()
        if b is not None:
            last = b.key
    args.a = first
    args.b = last
    for _ in range(8):
        with j.jobs.pop_front() as job:
            args.c += job.key
    return 0


# -- dynptrs


@bp.syscall
def dynptr_fill(args: Args):
    one = blocks.get(0)
    two = blocks.get(1)
    if one is None or two is None:
        return 1
    d = bp.dynptr(one.data)
    e = bp.dynptr(two.data)
    if d.memset(0xAB, 8, 16) or e.memset(0, 0, 64):
        return 2
    if d.memset(1, 60, 5) == 0:
        return 3
    if e.copy(d, 16, 0, 8):
        return 4
    args.a = two.data[0]
    args.b = two.data[15]
    args.c = two.data[16]
    return 0


@bp.tc
def ports_in_tc(packet):
    """The ports exchanged, whatever way the packet lies."""
    d = bp.dynptr(packet)
    with d.edit(34, Ports) as ports:
        kept = ports.source
        ports.source = ports.target
        ports.target = kept
        return 0
    return 2


@bp.xdp
def ports_in_xdp(packet):
    d = bp.dynptr(packet)
    if d.size() < 38 or d.is_rdonly():
        return 1
    with d.edit(34, Ports) as ports:
        kept = ports.source
        ports.source = ports.target
        ports.target = kept
    return 3


@bp.tc
def options_by_dynptr(packet):
    """The length of the option with the number 9, behind 54 bytes of headers."""
    d = bp.dynptr(packet)
    at = u64(54)
    for _ in range(8):
        option = d.slice(at, 2)
        if option is None:
            return 0
        if option[0] == 9:
            return i64(option[1])
        if option[0] == 1:
            at += 1
        elif option[1] < 2:
            return 1
        else:
            at += option[1]
    return 1


# -- checks

WORD = (1 << 64) - 1


def _is(numbers, result=0, then=None):
    """Numbers given, the result, and the numbers afterwards."""

    def check(live: Live, program: str) -> None:
        got, after = live.call(program, *numbers)
        assert (got if got < 1 << 31 else got - (1 << 32)) == result
        assert after == list(then if then is not None else numbers)

    return check


def _each(*checks):
    def check(live: Live, program: str) -> None:
        for one in checks:
            one(live, program)

    return check


def _elements(live: Live) -> list[int]:
    elem = live.maps["arena"].at(live.globals["head"], Elem)
    found = []
    while elem is not None:
        found.append(elem.value)
        elem = elem.next
    return found


def _list(live: Live, program: str) -> None:
    assert live.call(program, 10, 0, 0)[0] == 0
    assert _elements(live) == list(range(9, -1, -1))


def _sum(live: Live, program: str) -> None:
    live.call("list_in_arena", 5, 0, 0)
    total = sum(_elements(live))
    assert live.call(program, 0, 0, 0)[1] == [0, total, 0]
    assert _elements(live) == []


def _table(live: Live, program: str) -> None:
    assert live.call(program, 0, 0, 0)[0] == 0
    found = {}
    for entry in live.globals["table"].heads:
        at = live.maps["arena"].at(entry, Entry)
        while at is not None:
            found[at.key] = at.value
            at = at.next
    assert found == {key: key + 32 for key in range(32)}


def _locked(live: Live, program: str) -> None:
    for _ in range(3):
        assert live.call(program, 0, 0, 0)[0] == 0
    assert live.globals["under_lock"] == 7


def _handed_over(live: Live, program: str) -> None:
    live.globals["flag"] = 0
    assert live.call("flag_then_load", 0, 0, 0)[0] == 1
    live.call("store_then_flag", 123, 0, 0)
    assert live.call("flag_then_load", 0, 0, 0) == (0, [123, 0, 0])


def _types(live: Live, program: str) -> None:
    from probee.btf import kernel_btf
    from probee.btf.kinds import STRUCT

    kernel = kernel_btf()
    _, (task, own, sock) = live.call(program, 0, 0, 0)
    assert (task, sock) == (kernel.find("task_struct", STRUCT), kernel.find("sock", STRUCT))
    assert own == live.collection.spec.btf.find("Block", STRUCT)


def _symbols(live: Live, program: str) -> None:
    with open("/proc/kallsyms") as lines:
        known = {name: int(at, 16) for at, _, name, *_ in map(str.split, lines)}
    assert live.call(program, 0, 0, 0)[1][:2] == [known["schedule"], known["bpf_prog_load"]]


def _worked(live: Live, program: str) -> None:
    assert live.call(program, 0, 0, 0)[0] == 0
    entry = live.maps["asked"][7]
    assert (entry.done, entry.by) == (8, threading.get_native_id())


HEADERS = struct.pack("!6s6sH", b"\1" * 6, b"\2" * 6, 0x0800) + bytes(20)
UDP = HEADERS + struct.pack("!HHHH", 1111, 53, 8, 0) + bytes(30)
SWAPPED = HEADERS + struct.pack("!HHHH", 53, 1111, 8, 0) + bytes(30)


def _packet(data: bytes, result: int, after: bytes | None = None):
    def check(live: Live, program: str) -> None:
        got, packet = live.packet(program, data)
        assert got == result
        assert packet == (data if after is None else after)

    return check


PORTS = [
    Port("arena_list.c", list_in_arena, _list),
    Port("arena_list.c/del", list_sum, _sum),
    Port("arena_htab.c", hash_table, _table),
    Port("verifier_arena.c/basic_alloc1", pages_come_and_go, _is((0, 0, 0))),
    Port("verifier_arena.c/basic_alloc2", more_than_there_is, _is((2000, 0, 0), 0, (2000, 1, 0))),
    Port("verifier_arena_large.c", pages_in_a_row, _is((900, 0, 0), 0, (900, 7, 0))),
    Port("arena_spin_lock.c", lock_in_arena, _locked),
    Port("atomics.c/add", atomic_add, _is((0, 0, 0), 0, (103, (1 << 32) - 1 + 1, 0))),
    Port("atomics.c/sub", atomic_sub, _is((0, 0, 0), 0, (1, WORD, 0))),
    Port("atomics.c/and_or_xor", atomic_bits, _is((0, 0, 0), 0, (0x110, 0x010, 0x01300EC))),
    Port("atomics.c/xchg", atomic_exchange, _is((0, 0, 0), 0, (12, 56, 0))),
    Port("atomics.c/cmpxchg", atomic_compare, _is((0, 0, 0), 0, (11, 12, 91))),
    Port("arena_atomics.c/add", arena_add, _is((0, 0, 0), 0, (1, 3, 3))),
    Port("arena_atomics.c/and_or_xor", arena_bits, _is((0, 0, 0), 0, (0x010, 0x013, 0x0EC))),
    Port("arena_atomics.c/cmpxchg", arena_compare, _is((0, 0, 0), 0, (1, 1, 2))),
    Port("arena_atomics.c/load_acquire", arena_ordered, _is((77, 0, 0), 0, (77, 77, 0))),
    Port("verifier_store_release.c", store_then_flag, _is((9, 0, 0))),
    Port("verifier_load_acquire.c", flag_then_load, _handed_over),
    Port("exceptions.c", throw_here, _each(_is((0, 0, 0), 1), _is((64, 0, 0), 64))),
    Port(
        "exceptions.c/subprog",
        throw_in_functions,
        _each(_is((15, 0, 0), 5, (15, 45, 0)), _is((16, 0, 0), 16)),
    ),
    Port("exceptions.c/default", throw_nothing, _is((0, 0, 0), 0)),
    Port("exceptions.c/tc", throw_with_a_packet, _each(_packet(UDP, 2), _packet(UDP[:50], 0))),
    Port("exceptions_assert.c", assert_equal, _each(_is((4, 0, 0), 0), _is((5, 0, 0), 17))),
    Port("exceptions_assert.c/range", assert_range, _each(_is((63, 0, 0), 0), _is((64, 0, 0), 33))),
    Port("type_cast.c", kernel_buffer, _packet(UDP, 0)),
    Port("type_cast.c/rdonly", read_only_cast, _is((0, 0, 0), 0, (1, 1, 0))),
    Port("test_core_reloc_type_id.c", type_numbers, _types),
    Port("test_ksyms.c", symbols, _symbols),
    Port("task_work.c", work_for_task, _worked),
    Port(
        "rbtree_search.c",
        tree_search,
        _each(_is((7, 3, 0), 0, (107, 203, 15)), _is((3, 20, 0), 0, (103, 0, 15))),
    ),
    Port("linked_list_peek.c", list_peek, _is((0, 0, 0), 0, (1, 4, 10))),
    Port("dynptr_success.c/memset", dynptr_fill, _is((0, 0, 0), 0, (0xAB, 0xAB, 0))),
    Port("dynptr_success.c/skb", ports_in_tc, _packet(UDP, 0, SWAPPED)),
    Port("test_xdp_dynptr.c", ports_in_xdp, _packet(UDP, 3, SWAPPED)),
    Port(
        "test_parse_tcp_hdr_opt_dynptr.c",
        options_by_dynptr,
        _packet(HEADERS + bytes(20) + bytes((1, 1, 2, 4, 5, 6, 9, 6, 0, 0, 0, 0)) + bytes(8), 6),
    ),
]
