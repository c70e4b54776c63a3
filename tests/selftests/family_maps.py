"""Maps of all kinds, and helpers that tell about the task and the machine."""

from __future__ import annotations

import os

from selftest_ports import Live, Port, gives

import probee as bp
from probee import Char, maps, u8, u32, u64


class Key(bp.Struct):
    a: u32
    b: u8
    name: Char[8]


class Large(bp.Struct):
    words: u64[32]


class Count(bp.Struct):
    packets: u64
    bytes: u64


class Prefix(bp.Struct):
    prefixlen: u32
    address: u8[4]


by_number = bp.Hash[u32, u64](16)
by_struct = bp.Hash[Key, Count](16)
by_large = bp.Hash[Large, u32](4)
slots = bp.Array[u64](8)
structs = bp.Array[Count](4)
each_cpu = bp.PerCpuArray[u64](4)
each_cpu_hash = bp.PerCpuHash[u32, u64](16)
recent = bp.LruHash[u32, u64](64)
recent_cpu = bp.LruPerCpuHash[u32, u64](64)
routes = bp.LpmTrie[Prefix, u32](16)
queue = bp.Queue[u32](4)
stack = bp.Stack[u32](4)
pairs = bp.Queue[Count](4)
bloom = bp.BloomFilter[u32](128)
inner_array = bp.Array[u64](4)
inner_hash = bp.Hash[u32, u64](8)
by_slot = bp.ArrayOfMaps[inner_array](4)
by_name = bp.HashOfMaps[u32, inner_hash](4)
no_prealloc = bp.Hash[u32, u64](16, flags=1)
stacks = bp.StackTrace(64)
total = bp.Global[u64](0)


@bp.raw_tracepoint("sys_enter")
def hash_of_numbers(regs, number):
    key = u32(number)
    if key in by_number:
        return -1
    by_number[key] = 5
    by_number[key] += 3
    v = by_number.get(key)
    if v is None:
        return -2
    del by_number[key]
    return v * 10 + int(key in by_number)


@bp.raw_tracepoint("sys_enter")
def hash_flags(regs, number):
    key = u32(number)
    del by_number[key]
    missing = by_number.update(key, 1, 2)
    made = by_number.update(key, 1, 1)
    again = by_number.update(key, 2, 1)
    del by_number[key]
    return int(missing < 0) + int(made == 0) * 2 + int(again < 0) * 4


@bp.raw_tracepoint("sys_enter")
def hash_of_structs(regs, number):
    key = Key(a=number, b=2, name="abc")
    by_struct[key] = Count(packets=1, bytes=100)
    v = by_struct.get(key)
    if v is None:
        return -1
    v.packets += 1
    v.bytes += number
    key.name = "abd"
    if key in by_struct:
        return -2
    key.name = "abc"
    return by_struct[key].packets * 1000 + by_struct[key].bytes


@bp.raw_tracepoint("sys_enter")
def large_keys(regs, number):
    key = Large()
    key.words[31] = number
    by_large[key] = 21
    key.words[31] += 1
    missed = int(key in by_large)
    key.words[31] -= 1
    found = by_large[key]
    del by_large[key]
    return found * 2 + missed


@bp.raw_tracepoint("sys_enter")
def taken_out(regs, number):
    by_number[77] = number
    v = by_number.pop(77)
    if v is None:
        return -1
    return v + int(by_number.pop(77) is None)


@bp.raw_tracepoint("sys_enter")
def array_slots(regs, number):
    slots[number] = 5
    slots[number] += 2
    return slots[number]


@bp.raw_tracepoint("sys_enter")
def array_of_structs(regs, number):
    s = structs.get(u32(number))
    if s is None:
        return -1
    s.packets = number
    s.bytes = s.packets * 10
    return structs[number].bytes


@bp.raw_tracepoint("sys_enter")
def per_cpu_array(regs, number):
    each_cpu[1] = 3
    each_cpu[1] += number
    v = each_cpu.get(1, cpu=bp.cpu())
    if v is None:
        return -1
    return v


@bp.raw_tracepoint("sys_enter")
def per_cpu_hash(regs, number):
    each_cpu_hash[9] = number
    each_cpu_hash[9] += 1
    if each_cpu_hash.get(9, cpu=4096) is not None:
        return -1
    return each_cpu_hash[9]


@bp.raw_tracepoint("sys_enter")
def least_recent(regs, number):
    for i in range(number):
        recent[u32(i)] = i
    total.value = 0
    for i in range(number):
        if u32(i) in recent:
            total.value += 1
    return int(0 < total.value <= 64)


@bp.raw_tracepoint("sys_enter")
def least_recent_per_cpu(regs, number):
    recent_cpu[1] = number
    recent_cpu[1] += 1
    return recent_cpu[1]


@bp.raw_tracepoint("sys_enter")
def longest_prefix(regs, number):
    net = Prefix(prefixlen=8, address=(10, 0, 0, 0))
    routes[net] = 1
    net.prefixlen = 24
    net.address = (10, 1, 2, 0)
    routes[net] = 2
    near = Prefix(prefixlen=32, address=(10, 1, 2, 77))
    far = Prefix(prefixlen=32, address=(10, 9, 9, 9))
    none = Prefix(prefixlen=32, address=(11, 0, 0, 1))
    return routes[near] * 100 + routes[far] * 10 + int(none in routes)


@bp.raw_tracepoint("sys_enter")
def first_in_first_out(regs, number):
    for i in range(6):
        if queue.push(u32(i + number)) < 0:
            break
    result = 0
    while bp.bounded(8):
        v = queue.pop()
        if v is None:
            break
        result = result * 10 + v
    return result


@bp.raw_tracepoint("sys_enter")
def last_in_first_out(regs, number):
    for i in range(6):
        if stack.push(u32(i + number)) < 0:
            break
    top = stack.peek()
    result = 0
    for _ in range(4):
        v = stack.pop()
        if v is not None:
            result = result * 10 + v
    return result if top is not None and stack.pop() is None else -1


@bp.raw_tracepoint("sys_enter")
def queue_pushes_out(regs, number):
    for i in range(6):
        pairs.push(Count(packets=i, bytes=number), 2)
    first = pairs.pop()
    if first is None:
        return -1
    return first.packets * 10 + first.bytes


@bp.raw_tracepoint("sys_enter")
def bloom_filter(regs, number):
    bloom.add(u32(number))
    return int(u32(number) in bloom) * 10 + int(u32(number + 1_000_000) in bloom)


@bp.raw_tracepoint("sys_enter")
def array_of_maps(regs, number):
    m = by_slot.get(u32(number))
    if m is None:
        return -1
    m[2] += 5
    return m[2]


@bp.raw_tracepoint("sys_enter")
def hash_of_maps(regs, number):
    m = by_name.get(u32(number))
    if m is None:
        return -1
    m[1] = 4
    m[2] += m[1] * 2
    return m[2] + int(9 in m)


@bp.raw_tracepoint("sys_enter")
def without_preallocation(regs, number):
    for i in range(number):
        no_prealloc[u32(i)] = i
    total.value = 0
    for i in range(number):
        if u32(i) in no_prealloc:
            total.value += 1
            del no_prealloc[u32(i)]
    return total.value


@bp.raw_tracepoint("sys_enter")
def key_not_found(regs, number):
    v = by_number.get(12345)
    return 1 if v is None else v


@bp.raw_tracepoint("sys_enter")
def update_in_place(regs, number):
    structs[3] = Count(packets=1, bytes=1)
    s = structs.get(3)
    if s is None:
        return -1
    for i in range(number & 31):
        s.packets += i
        s.bytes ^= i
    return s.packets


@bp.raw_tracepoint("sys_enter")
def stack_ids(regs, number):
    return int(bp.kstack(stacks) >= 0)


@bp.raw_tracepoint("sys_enter")
def stack_frames(regs, number):
    frames = u64[16]()
    size = bp.get_stack(frames, 0)
    return int(size > 0 and frames[0] != 0)


@bp.raw_tracepoint("sys_enter")
def who(regs, number):
    total.value = bp.uid() + bp.gid()
    return bp.pid() if bp.tid() else -1


@bp.raw_tracepoint("sys_enter")
def cgroup_of_mine(regs, number):
    return int(bp.cgroup() != 0) + int(bp.get_current_ancestor_cgroup_id(0) != 0)


@bp.raw_tracepoint("sys_enter")
def random_numbers(regs, number):
    differing = 0
    first = bp.rand()
    for _ in range(4):
        if bp.rand() != first:
            differing += 1
    return int(differing > 0)


@bp.raw_tracepoint("sys_enter")
def compare_names(regs, number):
    name = bp.comm()
    return int(bp.strncmp(name, "python") != 77) + int(bp.jiffies64() > 0)


def _slot(live: Live, program: str) -> None:
    assert live.run(program, 0, 1) == -1
    with maps.create("array", key="u32", value="u64", entries=4) as one:
        live.maps["by_slot"][1] = one
        assert live.run(program, 0, 1) == 5
        assert live.run(program, 0, 1) == 10
        assert one[2] == 10
        del live.maps["by_slot"][1]


def _name(live: Live, program: str) -> None:
    assert live.run(program, 0, 7) == -1
    with maps.create("hash", key="u32", value="u64", entries=8) as two:
        live.maps["by_name"][7] = two
        assert live.run(program, 0, 7) == 8
        assert two.snapshot() == {1: 4, 2: 8}
        del live.maps["by_name"][7]


def _mine(live: Live, program: str) -> None:
    assert live.run(program) == os.getpid()
    assert live.globals["total"] == os.getuid() + os.getgid()


PORTS = [
    Port("htab_update.c", hash_of_numbers, gives((0, 1, 80), (0, 2, 80))),
    Port("htab_reuse.c", hash_flags, gives((0, 3, 7))),
    Port("test_btf_newkv.c", hash_of_structs, gives((0, 4, 2104))),
    Port("test_hash_large_key.c", large_keys, gives((0, 5, 42))),
    Port("test_lookup_and_delete.c", taken_out, gives((0, 5, 6))),
    Port("bpf_hashmap_lookup.c", key_not_found, gives((0, 0, 1))),
    Port("test_map_init.c", array_slots, gives((0, 1, 7), (0, 100, 0))),
    Port("normal_map_btf.c", array_of_structs, gives((0, 3, 30), (0, 4, -1))),
    Port("test_map_lookup_percpu_elem.c", per_cpu_array, gives((0, 4, 7))),
    Port("map_percpu_stats.c", per_cpu_hash, gives((0, 4, 5))),
    Port("lru_bug.c", least_recent, gives((0, 200, 1))),
    Port("lru_bug.c/per CPU", least_recent_per_cpu, gives((0, 6, 7))),
    Port("map_ptr_kern.c/lpm_trie", longest_prefix, gives((0, 0, 210))),
    Port("test_queue_map.c", first_in_first_out, gives((0, 1, 1234))),
    Port("test_stack_map.c", last_in_first_out, gives((0, 1, 4321))),
    Port("test_queue_stack_map.h/BPF_EXIST", queue_pushes_out, gives((0, 3, 23))),
    Port("bloom_filter_map.c", bloom_filter, gives((0, 77, 10))),
    Port("test_map_in_map.c", array_of_maps, _slot),
    Port("test_btf_map_in_map.c", hash_of_maps, _name),
    Port("test_bpf_ma.c", without_preallocation, gives((0, 40, 16))),
    Port("test_mmap.c/update in place", update_in_place, gives((0, 5, 11))),
    Port("test_stacktrace_map.c", stack_ids, gives((0, 0, 1))),
    Port("test_get_stack_rawtp.c", stack_frames, gives((0, 0, 1))),
    Port("test_ns_current_pid_tgid.c", who, _mine),
    Port("get_cgroup_id_kern.c", cgroup_of_mine, gives((0, 0, 2))),
    Port("test_enable_stats.c/random", random_numbers, gives((0, 0, 1))),
    Port("strncmp_bench.c", compare_names, gives((0, 0, 2))),
]
