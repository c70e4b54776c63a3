"""Helpers of the machine, called by programs."""

from __future__ import annotations

import errno
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machine_asm import Asm
from probee.errors import ProbeeError, Unsupported
from probee.isa.tables import HELPERS
from probee.machine.contexts.base import arguments
from probee.machine.helpers.format import render
from probee.machine.helpers.table import all_helpers
from probee.machine.kfuncs import TABLE as KFUNCS
from probee.machine.memory import Fault

HASH, ARRAY, PROG_ARRAY, PERF, QUEUE, STACK_TRACE, CGROUP_ARRAY = 1, 2, 3, 4, 22, 7, 8
FORMATS = Asm()
RINGBUF, USER_RINGBUF, BLOOM, TASK_STORAGE, DEVMAP = 27, 31, 30, 29, 14


def load_map(fd: int, register: int = 1) -> str:
    return f"r{register} = map_fd({fd}, 0x0) ll\n"


def on_stack(offset: int, register: int) -> str:
    return f"r{register} = r10\nr{register} += {offset}\n"


def test_every_helper_of_the_table_is_one() -> None:
    assert set(all_helpers()) <= set(HELPERS)


def test_look_up_update_and_delete() -> None:
    m = Asm()
    fd = m.map(HASH, 4, 8, 2)
    text = (
        "*(u32 *)(r10 - 4) = 7\n*(u64 *)(r10 - 16) = 40\n"
        + load_map(fd)
        + on_stack(-4, 2)
        + on_stack(-16, 3)
        + "r4 = 0\ncall map_update_elem\n"
        + load_map(fd)
        + on_stack(-4, 2)
        + "call map_lookup_elem\nif r0 == 0 goto out\nr6 = *(u64 *)(r0 + 0)\nr6 += 2\n*(u64 *)(r0 + 0) = r6\n"
        + "r0 = r6\nout:\nexit\n"
    )
    assert m.run(text) == 42
    assert m.found(fd).sys_lookup((7).to_bytes(4, "little")) == (42).to_bytes(8, "little")
    delete = "*(u32 *)(r10 - 4) = 7\n" + load_map(fd) + on_stack(-4, 2) + "call map_delete_elem\nexit\n"
    assert m.run(delete) == 0
    assert m.run(delete) == -errno.ENOENT


def test_what_is_no_map_is_a_fault() -> None:
    m = Asm()
    with pytest.raises(Fault, match="no map"):
        m.run("r1 = 5\nr2 = r10\ncall map_lookup_elem\nexit\n")


def test_queues_and_bloom_filters() -> None:
    m = Asm()
    queue, bloom = m.map(QUEUE, 0, 8, 1), m.map(BLOOM, 0, 8, 10)
    push = (
        "*(u64 *)(r10 - 8) = 5\n" + load_map(queue) + on_stack(-8, 2) + "r3 = {}\ncall map_push_elem\nexit\n"
    )
    assert m.run(push.format(0)) == 0
    assert m.run(push.format(0)) == -errno.E2BIG
    assert m.run(push.format(2)) == 0
    pop = load_map(queue) + on_stack(-8, 2) + "call map_pop_elem\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nexit\n"
    assert m.run(pop) == 5
    assert m.run(pop) == -errno.ENOENT
    ask = "*(u64 *)(r10 - 8) = 9\n" + load_map(bloom) + on_stack(-8, 2) + "r3 = 0\ncall {}\nexit\n"
    assert m.run(ask.format("map_peek_elem")) == -errno.ENOENT
    assert m.run(ask.format("map_push_elem")) == 0
    assert m.run(ask.format("map_peek_elem")) == 0


def test_callbacks_for_each_element_and_loops() -> None:
    m = Asm()
    fd = m.map(ARRAY, 4, 8, 10)
    for i in range(10):
        m.found(fd).update(i.to_bytes(4, "little"), i.to_bytes(8, "little"), 0, 0)
    text = (
        "*(u64 *)(r10 - 8) = 0\n"
        + load_map(fd)
        + "r2 = func(each) ll\n"
        + on_stack(-8, 3)
        + "r4 = 0\ncall for_each_map_elem\nr6 = *(u64 *)(r10 - 8)\nr6 *= 100\nr0 += r6\nexit\n"
        + "each:\nr1 = *(u32 *)(r2 + 0)\nr3 = *(u64 *)(r3 + 0)\nr5 = *(u64 *)(r4 + 0)\nr5 += r3\n"
        + "*(u64 *)(r4 + 0) = r5\nr0 = 0\nif r1 != 5 goto done\nr0 = 1\ndone:\nexit\n"
    )
    assert m.run(text) == 15 * 100 + 6
    loop = (
        "*(u64 *)(r10 - 8) = 0\nr1 = {}\nr2 = func(body) ll\n"
        + on_stack(-8, 3)
        + "r4 = {}\ncall loop\nexit\n"
        + "body:\nr0 = 0\nif r1 != 3 goto out\nr0 = 1\nout:\nexit\n"
    )
    assert m.run(loop.format(3, 0)) == 3
    assert m.run(loop.format(100, 0)) == 4
    assert m.run(loop.format(100, 1)) == -errno.EINVAL
    assert m.run(loop.format((8 << 20) + 1, 0)) == -errno.E2BIG


@pytest.mark.parametrize(
    ("helper", "kind", "good"),
    [
        ("probe_read_kernel", "kernel", True),
        ("probe_read_kernel", "user", False),
        ("probe_read_user", "user", True),
        ("probe_read_user", "kernel", False),
        ("probe_read", "user", True),
        ("copy_from_user", "user", True),
    ],
)
def test_reading_memory_that_may_not_be_there(helper: str, kind: str, good: bool) -> None:
    m = Asm()
    at = m.bytes(b"12345678", kind)
    text = (
        "*(u64 *)(r10 - 8) = -1\n"
        + on_stack(-8, 1)
        + f"r2 = 8\nr3 = {{:#x}} ll\ncall {helper}\nr6 = *(u64 *)(r10 - 8)\n"
        + "if r0 != 0 goto out\nr0 = r6\nout:\nexit\n"
    )
    assert m.run(text.format(at)) == (int.from_bytes(b"12345678", "little") if good else -errno.EFAULT)
    assert m.run(text.format(at + 1)) == -errno.EFAULT
    assert m.run(text.format(0)) == -errno.EFAULT
    zeroed = text.replace("if r0 != 0 goto out\n", "")
    assert m.run(zeroed.format(0)) == 0


def test_reading_text() -> None:
    m = Asm()
    at = m.bytes(b"hello\0world", "user")
    text = on_stack(-8, 1) + f"r2 = {{}}\nr3 = {at:#x} ll\ncall probe_read_user_str\nexit\n"
    assert m.run(text.format(8)) == 6
    assert m.run(text.format(3)) == 3
    assert m.run(text.format(0)) == 0
    assert m.run(text.replace("_user_str", "_kernel_str").format(8)) == -errno.EFAULT


def test_who_runs() -> None:
    m = Asm()
    task = m.services.tasks.new(8, tgid=7, comm="a-rather-long-name", uid=5, gid=6, cgroup="/a/b")
    m.cpu.task = task
    assert m.run("call get_current_pid_tgid\nexit\n") == 7 << 32 | 8
    assert m.run("call get_current_uid_gid\nexit\n") == 6 << 32 | 5
    assert m.run("call get_current_task\nexit\n") == task.address
    assert m.run("call get_current_cgroup_id\nexit\n") == task.cgroup.id
    above = m.services.tasks.cgroup("/a").id
    assert m.run("r1 = 1\ncall get_current_ancestor_cgroup_id\nexit\n") == above
    assert m.run("r1 = 9\ncall get_current_ancestor_cgroup_id\nexit\n") == 0
    comm = on_stack(-16, 1) + "r2 = 16\ncall get_current_comm\nr0 = *(u64 *)(r10 - 8)\nexit\n"
    assert m.run(comm).to_bytes(8, "little") == b"-long-n\0"
    task.namespaces[3, 4] = (1, 1)
    ids = "r1 = 3\nr2 = {}\n" + on_stack(-8, 3) + "r4 = 8\ncall get_ns_current_pid_tgid\nexit\n"
    assert m.run(ids.format(4)) == 0
    assert m.run(ids.format(5)) == -errno.EINVAL
    assert m.run("r1 = 9\ncall send_signal\nexit\n") == 0
    assert m.services.signals == [(9, task, False)]


def test_the_current_task_in_a_cgroup() -> None:
    m = Asm()
    fd = m.map(CGROUP_ARRAY, 4, 4, 2)
    m.cpu.task = m.services.tasks.new(8, cgroup="/a/b")
    text = load_map(fd) + "r2 = {}\ncall current_task_under_cgroup\nexit\n"
    assert m.run(text.format(0)) == -errno.EAGAIN
    assert m.run(text.format(2)) == -errno.E2BIG
    m.found(fd).put(0, m.services.tasks.cgroup("/a"))  # type: ignore[attr-defined]
    m.found(fd).put(1, m.services.tasks.cgroup("/x"))  # type: ignore[attr-defined]
    assert m.run(text.format(0)) == 1
    assert m.run(text.format(1)) == 0


def test_printing() -> None:
    m = Asm()
    fmt = m.bytes(b"%s is %d, %pI4\0")
    name, ip = m.bytes(b"it\0"), m.bytes(bytes((10, 0, 0, 1)))
    text = (
        f"r1 = {fmt:#x} ll\nr2 = 16\nr3 = {name:#x} ll\nr4 = -5\nr5 = {ip:#x} ll\ncall trace_printk\nexit\n"
    )
    assert m.run(text.replace("r2 = 16", "r2 = 15")) == len("it is -5, 10.0.0.1")
    assert m.services.printed == ["it is -5, 10.0.0.1"]
    assert m.run(text.replace("r2 = 16", "r2 = 3")) == -errno.EINVAL


def test_symbols_and_addresses_in_formats() -> None:
    m = Asm()
    m.services.symbols["do_it"] = 0xFFFF000000001000
    six = m.bytes(bytes(range(16)))
    out = render(m.cpu, b"%ps %pS %pi4 %pI6 %px", [0xFFFF000000001010] * 2 + [six, six, 0x10])
    assert out == (
        b"do_it do_it+0x10 000.001.002.003 0001:0203:0405:0607:0809:0a0b:0c0d:0e0f 0000000000000010"
    )
    assert render(m.cpu, b"%pks|%pus", [m.bytes(b"k\0"), m.bytes(b"u\0", "user")]) == b"k|u"


def test_the_output_of_iterators() -> None:
    m = Asm()
    at = m.bytes(b"ab%d\0")
    text = (
        f"*(u64 *)(r10 - 8) = 4\nr1 = 99\nr2 = {at:#x} ll\nr3 = 5\n"
        + on_stack(-8, 4)
        + "r5 = 8\ncall seq_printf\nexit\n"
    )
    assert m.run(text) == 0
    assert m.run(f"r1 = 99\nr2 = {at:#x} ll\nr3 = 2\ncall seq_write\nexit\n") == 0
    assert m.services.sequences[99] == b"ab4ab"


def test_ring_buffers() -> None:
    m = Asm()
    fd = m.map(RINGBUF, 0, 0, 4096)
    text = (
        load_map(fd)
        + "r2 = 8\nr3 = 0\ncall ringbuf_reserve\nif r0 == 0 goto out\n*(u64 *)(r0 + 0) = 77\n"
        + "r1 = r0\nr2 = 0\n"
        + "call {}\nout:\nr0 = 0\nexit\n"
    )
    m.run(text.format("ringbuf_submit"))
    m.run(text.format("ringbuf_discard"))
    ring: Any = m.found(fd)
    assert ring.records() == [(77).to_bytes(8, "little")]
    with pytest.raises(Fault, match="no record"):
        m.run("r1 = 5\nr2 = 0\ncall ringbuf_submit\nexit\n")
    query = load_map(fd) + "r2 = 1\ncall ringbuf_query\nexit\n"
    assert m.run(query) == 4096


def test_ring_buffer_dynptrs() -> None:
    m = Asm()
    fd = m.map(RINGBUF, 0, 0, 4096)
    text = (
        load_map(fd)
        + "r2 = {size} ll\nr3 = 0\n"
        + on_stack(-16, 4)
        + "call ringbuf_reserve_dynptr\nr6 = r0\n*(u64 *)(r10 - 24) = 513\n"
        + on_stack(-16, 1)
        + "r2 = 2\n"
        + on_stack(-24, 3)
        + "r4 = 2\nr5 = 0\ncall dynptr_write\nr7 = r0\n"
        + on_stack(-16, 1)
        + "r2 = 0\ncall ringbuf_submit_dynptr\nr0 = r7\nexit\n"
    )
    assert m.run(text.format(size=4)) == 0
    assert m.run(text.format(size=3)) == -errno.E2BIG
    assert m.run(text.format(size=9999)) == -errno.EINVAL
    ring: Any = m.found(fd)
    assert ring.records() == [b"\0\0\1\2", b"\0\0\0"]


def test_draining_a_user_ring_buffer() -> None:
    m = Asm()
    fd = m.map(USER_RINGBUF, 0, 0, 4096)
    ring: Any = m.found(fd)
    for i in range(5):
        ring.send(bytes([i]) * 4)
    text = (
        "*(u64 *)(r10 - 8) = 0\n"
        + load_map(fd)
        + "r2 = func(each) ll\n"
        + on_stack(-8, 3)
        + "r4 = 0\ncall user_ringbuf_drain\nr1 = *(u64 *)(r10 - 8)\nr1 *= 100\nr0 += r1\nexit\n"
        + "each:\nr6 = r2\nr2 = 0\nr3 = 1\ncall dynptr_data\nif r0 == 0 goto out\nr1 = *(u8 *)(r0 + 0)\n"
        + "r2 = *(u64 *)(r6 + 0)\nr2 += r1\n*(u64 *)(r6 + 0) = r2\nr0 = 0\n"
        + "if r1 != 3 goto out\nr0 = 1\nout:\nexit\n"
    )
    assert m.run(text) == (0 + 1 + 2 + 3) * 100 + 4
    assert m.run(text) == 4 * 100 + 1
    assert m.run(text) == 0


def test_perf_output_adds_the_packet() -> None:
    m = Asm()
    fd = m.map(PERF, 4, 4, 1)
    context = m.packet(bytes(range(20)))
    text = (
        "*(u64 *)(r10 - 8) = 1\n"
        + load_map(fd, 2)
        + "r3 = {:#x} ll\n"
        + on_stack(-8, 4)
        + "r5 = 4\ncall perf_event_output\nexit\n"
    )
    assert m.run(text.format(4 << 32 | 0xFFFFFFFF), context=context) == 0
    assert m.run(text.format(21 << 32 | 0xFFFFFFFF), context=context) == -errno.EFAULT
    events: Any = m.found(fd)
    assert events.take() == [(0, b"\1\0\0\0\0\1\2\3\0\0\0\0")]


def test_stacks_and_cookies() -> None:
    m = Asm()
    fd = m.map(STACK_TRACE, 4, 8 * 8, 16)
    context = m.context()
    context.stack, context.user_stack, context.cookie = [1, 2, 3], [7], 99
    id = m.run(load_map(fd, 2) + "r3 = 0\ncall get_stackid\nexit\n", context=context)
    assert m.found(fd).sys_lookup(id.to_bytes(4, "little"))[:24] == bytes(
        [1, *bytes(7), 2, *bytes(7), 3, *bytes(7)]
    )
    take = on_stack(-32, 2) + "r3 = 32\nr4 = {}\ncall get_stack\nexit\n"
    assert m.run(take.format(0), context=context) == 24
    assert m.run(take.format(1), context=context) == 16
    assert m.run(take.format(0x100), context=context) == 8
    assert m.run(take.format(3), context=context) == -errno.EFAULT
    assert m.run(take.format(0x1000), context=context) == -errno.EINVAL
    assert m.run("call get_attach_cookie\nexit\n", context=context) == 99


def test_redirects_are_noted() -> None:
    m = Asm()
    fd = m.map(DEVMAP, 4, 4, 4)
    m.found(fd).sys_update(bytes(4), (9).to_bytes(4, "little"))
    context = m.packet(bytes(64), xdp=True)
    text = load_map(fd) + "r2 = {}\nr3 = {}\ncall redirect_map\nexit\n"
    assert m.run(text.format(0, 2), context=context) == 4
    assert context.facts["redirect"]["ifindex"] == 9
    assert m.run(text.format(1, 2), context=context) == 2
    assert m.run(text.format(1, 128), context=context) == 0
    assert m.run("r1 = 5\nr2 = 0\ncall redirect\nexit\n", context=context) == 4
    assert context.facts["redirect"] == {"ifindex": 5, "ingress": False}
    skb = m.packet(bytes(64))
    assert m.run("r1 = 5\nr2 = 1\ncall redirect\nexit\n", context=skb) == 7
    assert m.run("r2 = 6\nr3 = 0\ncall clone_redirect\nexit\n", context=skb) == 0
    assert skb.facts["clones"] == [{"ifindex": 6, "ingress": False, "data": bytes(64)}]


def test_routes() -> None:
    m = Asm()
    m.services.routes.append({"to": "10.0.0.0/8", "ifindex": 3, "dmac": "01:02:03:04:05:06"})
    m.services.routes.append({"to": "10.1.0.0/16", "ifindex": 4})
    params = bytearray(64)
    params[0] = 2
    region = m.memory.alloc(64, "stack")
    text = f"r2 = {region.address:#x} ll\nr3 = 64\nr4 = 0\ncall fib_lookup\nexit\n"
    context = m.packet(bytes(64))
    for target, result, index in (((10, 2, 3, 4), 0, 3), ((10, 1, 3, 4), 7, 4), ((11, 1, 3, 4), 4, 0)):
        params[32:36] = bytes(target)
        region.data[:] = params
        assert m.run(text, context=context) == result
        assert region.data[8] == index
    assert m.run(text.replace("64\nr4", "60\nr4"), context=context) == -errno.EINVAL


def test_sockets_are_found_and_given_back() -> None:
    m = Asm()
    listening = m.services.sockets.new("tcp", local="0.0.0.0", local_port=80, mark=3)
    bound = m.services.sockets.new("tcp", local="10.0.0.1", local_port=80)
    open_ = m.services.sockets.new(
        "tcp", local="10.0.0.1", local_port=80, remote="10.0.0.9", remote_port=5000, tcp={"snd_cwnd": 11}
    )
    text = (
        "*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\n{}"
        + on_stack(-16, 2)
        + "r1 = r6\nr3 = 12\nr4 = -1\nr5 = 0\ncall sk_lookup_tcp\nexit\n"
    )

    def tuple_of(source: bytes, target: bytes, port: int) -> str:
        raw = source + target + port.to_bytes(2, "big") + (80).to_bytes(2, "big")
        lines = [
            f"*(u32 *)(r10 - {16 - i}) = {int.from_bytes(raw[i : i + 4], 'little')}\n" for i in (0, 4, 8)
        ]
        return "r6 = r1\n" + "".join(lines)

    context = m.packet(bytes(64))
    mine, other = bytes((10, 0, 0, 9)), bytes((10, 0, 0, 1))
    assert m.run(text.format(tuple_of(mine, other, 5000)), context=context) == open_.address
    assert m.run(text.format(tuple_of(mine, other, 5001)), context=context) == bound.address
    assert m.run(text.format(tuple_of(mine, mine, 5001)), context=context) == listening.address
    assert open_.references == 1
    m.run(f"r1 = {open_.address:#x} ll\ncall sk_release\nr0 = 0\nexit\n")
    assert open_.references == 0
    cwnd = f"r1 = {open_.address:#x} ll\ncall tcp_sock\nr0 = *(u32 *)(r0 + 0)\nexit\n"
    assert m.run(cwnd) == 11
    assert m.memory.load(listening.address + 16, 4) == 3
    assert m.memory.load(open_.address + 44, 4) == 80
    assert m.memory.read(open_.address + 48, 2) == (5000).to_bytes(2, "big")


def test_tail_calls() -> None:
    m = Asm()
    fd = m.map(PROG_ARRAY, 4, 4, 2)
    programs: Any = m.found(fd)
    programs.put(1, m.code("r0 = 42\nexit\n"))
    text = "r6 = r1\n" + load_map(fd, 2) + "r1 = r6\nr3 = {}\ncall tail_call\nr0 = 5\nexit\n"
    assert m.run(text.format(1)) == 42
    assert m.run(text.format(0)) == 5
    assert m.run(text.format(9)) == 5


def test_mocks_and_records() -> None:
    m = Asm()
    with pytest.raises(Unsupported, match=r"machine\.helper\('lwt_seg6_action'"):
        m.run("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\ncall lwt_seg6_action\nexit\n")
    seen: list[tuple[int, ...]] = []

    def stands_in(*args: int) -> None:
        seen.append(args)

    m.services.mock("lwt_seg6_action", stands_in)
    calls = m.services.record()
    assert m.run("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\ncall lwt_seg6_action\nexit\n") == 0
    assert seen == [(1, 2, 3, 4)]
    m.services.mock("bpf_ktime_get_ns", lambda: 12)
    assert m.run("call ktime_get_ns\nexit\n") == 12
    assert [(call.name, call.args, call.result) for call in calls] == [
        ("lwt_seg6_action", (1, 2, 3, 4), 0),
        ("ktime_get_ns", (), 12),
    ]
    m.services.mock("ktime_get_ns", None)
    m.services.record(False)
    assert m.run("call ktime_get_ns\nexit\n") == m.services.clock.now
    assert len(calls) == 2


def test_randomness_is_seeded() -> None:
    text = "call get_prandom_u32\nexit\n"
    first = [Asm(seed=3).run(text) for _ in range(2)]
    assert first[0] == first[1] != Asm(seed=4).run(text)


def test_a_lock_held_at_the_end_is_an_error() -> None:
    m = Asm()
    lock = m.bytes(bytes(4))
    with pytest.raises(ProbeeError, match="still holds a lock"):
        m.run(f"r1 = {lock:#x} ll\ncall spin_lock\nr0 = 0\nexit\n")


def test_symbols_btf_and_system_calls() -> None:
    m = Asm()
    m.services.symbols["jiffies"] = 0x1234
    name = m.bytes(b"jiffies\0")
    text = f"r1 = {name:#x} ll\nr2 = 8\nr3 = 0\n" + on_stack(-8, 4)
    text += "call kallsyms_lookup_name\nif r0 != 0 goto out\nr0 = *(u64 *)(r10 - 8)\nout:\nexit\n"
    assert m.run(text) == 0x1234
    del m.services.symbols["jiffies"]
    assert m.run(text) == -errno.ENOENT
    fd = m.map(HASH, 4, 8, 4)
    key, value = m.bytes((1).to_bytes(4, "little")), m.bytes((5).to_bytes(8, "little"))
    attr = m.bytes(b"".join(n.to_bytes(8, "little") for n in (fd, key, value, 0)))
    call = "r1 = {}\n" + f"r2 = {attr:#x} ll\nr3 = 32\ncall sys_bpf\nexit\n"
    assert m.run(call.format(1)) == -errno.ENOENT
    assert m.run(call.format(2)) == 0
    assert m.found(fd).sys_lookup((1).to_bytes(4, "little")) == (5).to_bytes(8, "little")
    assert m.run(call.format(99)) == -errno.EINVAL


def test_storage_of_the_current_task() -> None:
    m = Asm()
    fd = m.typed(TASK_STORAGE, "u64", 0, 1, key="i32")
    m.cpu.task = m.services.tasks.new(8)
    text = (
        "call get_current_task_btf\nr2 = r0\n"
        + load_map(fd)
        + "r3 = 0\nr4 = {}\ncall task_storage_get\nif r0 == 0 goto out\nr1 = *(u64 *)(r0 + 0)\nr1 += 1\n"
        + "*(u64 *)(r0 + 0) = r1\nr0 = r1\nout:\nexit\n"
    )
    assert m.run(text.format(0)) == 0
    assert m.run(text.format(1)) == 1
    assert m.run(text.format(0)) == 2


@given(st.binary(max_size=30) | st.text("%dlxuspiIKBc0123456789-+ .", max_size=20).map(str.encode))
def test_any_format_is_printed_or_refused(fmt: bytes) -> None:
    found = render(FORMATS.cpu, fmt, [1 << 63, 0, 5])
    assert isinstance(found, bytes) or found == -errno.EINVAL


def test_tunnels_are_noted_and_told() -> None:
    m = Asm()
    context = m.packet(bytes(64))
    text = "*(u64 *)(r10 - 8) = 77\n" + on_stack(-8, 2) + "r3 = 8\nr4 = 0\ncall skb_set_tunnel_key\nexit\n"
    assert m.run(text, context=context) == 0
    assert context.facts["tunnel"] == (77).to_bytes(8, "little")
    get = on_stack(-8, 2) + "r3 = 8\nr4 = 0\ncall skb_get_tunnel_key\nr0 = *(u64 *)(r10 - 8)\nexit\n"
    assert m.run(get, context=context) == 77
    assert m.run(text.replace("r3 = 8", "r3 = 7"), context=context) == -errno.EINVAL


def test_a_program_that_fails_gives_its_locks_back() -> None:
    m = Asm()
    lock = m.bytes(bytes(8))
    with pytest.raises(Fault):
        m.run(f"r1 = {lock:#x} ll\ncall spin_lock\nr1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit\n")
    assert (
        m.run(f"r6 = {lock:#x} ll\nr1 = r6\ncall spin_lock\nr1 = r6\ncall spin_unlock\nr0 = 3\nexit\n") == 3
    )


def test_sysctl_texts() -> None:
    m = Asm()
    context = m.context()
    context.facts = {"name": "net/ipv4/tcp_mem", "current": "1 2", "new": "3"}
    name = on_stack(-16, 2) + "r3 = 16\nr4 = {}\ncall sysctl_get_name\nexit\n"
    assert m.run(name.format(0), context=context) == -errno.E2BIG
    assert m.run(name.format(1), context=context) == len("tcp_mem")
    new = "*(u64 *)(r10 - 16) = 0x39\n" + on_stack(-16, 2) + "r3 = 1\ncall sysctl_set_new_value\nexit\n"
    assert m.run(new, context=context) == 0
    assert context.facts["new"] == "9"


def test_arguments_of_functions() -> None:
    m = Asm()
    context = arguments(m.memory, [5, 6], extra=(7,), ip=0x1234)
    take = "r6 = r1\n*(u64 *)(r10 - 8) = 99\n{}if r0 != 0 goto out\nr0 = *(u64 *)(r10 - 8)\nout:\nexit\n"
    get = "r2 = {}\n" + on_stack(-8, 3) + "call get_func_arg\n"
    assert m.run(take.format(get.format(1)), context=context) == 6
    assert m.run(take.format(get.format(2)), context=context) == -errno.EINVAL
    assert m.run(take.format(on_stack(-8, 2) + "call get_func_ret\n"), context=context) == 7
    assert m.run("call get_func_arg_cnt\nexit\n", context=context) == 2
    assert m.run("call get_func_ip\nexit\n", context=context) == 0x1234


def test_the_page_tells_the_truth_about_helpers() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "testing.md").read_text()
    section = page.partition("## What helpers know")[2].partition("\n## ")[0]
    table, _, text = section.partition("\n\nKernel functions")
    told = {word for row in table.splitlines() if row.startswith("| `") for word in _words(row.split("|")[1])}
    assert told <= set(all_helpers())
    kernel_functions, _, rest = text.partition("The machine has no ")
    assert {word for word in _words(kernel_functions) if word.startswith("bpf_")} <= set(KFUNCS)
    without = set(_words(rest.partition(", and no other")[0]))
    assert without == set(HELPERS) - set(all_helpers()) - {"tail_call"}  # which the engines do
    assert not {word for word in _words(rest.partition("`m.helper")[0]) if word in KFUNCS}


def _words(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)
