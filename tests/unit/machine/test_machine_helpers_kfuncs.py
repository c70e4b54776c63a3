"""Kernel functions of the machine, called by programs."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from machine_asm import Asm
from probee.btf.build import BtfBuilder
from probee.errors import ProbeeError, Unsupported
from probee.machine.code import Code
from probee.machine.kfuncs import TABLE
from probee.machine.memory import Fault

ARRAY, ARENA = 2, 33
NUMBERS = {name: 1000 + i for i, name in enumerate(sorted(TABLE))}


class Kfuncs(Asm):
    """Assembly with kernel functions by name."""

    def __init__(self, cpus: int = 1) -> None:
        super().__init__(cpus)
        for name, number in NUMBERS.items():
            self.services.kfunc_names[number, 0] = name

    def code(self, text: str) -> Code:
        for name in sorted(NUMBERS, key=len, reverse=True):
            text = text.replace(f"call {name}\n", f"call kfunc({NUMBERS[name]})\n")
        return super().code(text)


def test_counting() -> None:
    m = Kfuncs()
    text = (
        "r1 = r10\nr1 += -8\nr2 = {}\nr3 = {}\ncall bpf_iter_num_new\nr7 = r0\nr6 = 0\n"
        "again:\nr1 = r10\nr1 += -8\ncall bpf_iter_num_next\nif r0 == 0 goto out\n"
        "r1 = *(u32 *)(r0 + 0)\nr6 += r1\ngoto again\n"
        "out:\nr1 = r10\nr1 += -8\ncall bpf_iter_num_destroy\nr0 = r7\n"
        "if r7 != 0 goto end\nr0 = r6\nend:\nexit\n"
    )
    assert m.run(text.format(2, 6)) == 2 + 3 + 4 + 5
    assert m.run(text.format(3, 3)) == 0
    assert m.run(text.format(6, 2)) == -errno.EINVAL
    assert m.run(text.format(0, 9_000_000)) == -errno.E2BIG


def test_bits() -> None:
    m = Kfuncs()
    words = m.bytes((1 << 3 | 1 << 70).to_bytes(16, "little"))
    text = (
        f"r1 = r10\nr1 += -16\nr2 = {words:#x} ll\nr3 = 2\ncall bpf_iter_bits_new\nr6 = 0\n"
        "again:\nr1 = r10\nr1 += -16\ncall bpf_iter_bits_next\nif r0 == 0 goto out\n"
        "r1 = *(u32 *)(r0 + 0)\nr6 *= 100\nr6 += r1\ngoto again\n"
        "out:\nr1 = r10\nr1 += -16\ncall bpf_iter_bits_destroy\nr0 = r6\nexit\n"
    )
    assert m.run(text) == 370


def test_tasks() -> None:
    m = Kfuncs()
    for pid, tgid in ((5, 5), (6, 5), (9, 9)):
        m.services.tasks.new(pid, tgid=tgid)
    text = (
        "r1 = r10\nr1 += -16\nr2 = 0\nr3 = {}\ncall bpf_iter_task_new\nr6 = 0\n"
        "again:\nr1 = r10\nr1 += -16\ncall bpf_iter_task_next\nif r0 == 0 goto out\nr6 += 1\ngoto again\n"
        "out:\nr1 = r10\nr1 += -16\ncall bpf_iter_task_destroy\nr0 = r6\nexit\n"
    )
    assert [m.run(text.format(kind)) for kind in (0, 1)] == [2, 3]
    task = m.services.tasks.by_pid[9]
    assert m.run("r1 = 9\ncall bpf_task_from_pid\nexit\n") == task.address
    assert m.run("r1 = 77\ncall bpf_task_from_pid\nexit\n") == 0


def objects(m: Asm, text: str) -> Code:
    """A program whose BTF has THING, `struct thing { long n; bpf_list_node l; bpf_rb_node r; }`, and COUNTED,
    the same with a bpf_refcount."""
    b = BtfBuilder()
    u64, u32 = b.int_("long", 8, 1), b.int_("unsigned int", 4, 0)
    node = b.struct("bpf_list_node", 24, [("a", u64, 0)])
    rb = b.struct("bpf_rb_node", 32, [("a", u64, 0)])
    count = b.struct("bpf_refcount", 4, [("v", u32, 0)])
    members = [("n", u64, 0), ("l", node, 64), ("r", rb, 256)]
    thing = b.struct("thing", 64, members)
    counted = b.struct("counted", 72, [*members, ("c", count, 512)])
    text = text.replace("THING", str(thing)).replace("COUNTED", str(counted))
    code = m.code(text)
    m.services.types_of[code.base] = b.btf()
    return code


NEW = "r1 = THING\nr2 = 0\ncall bpf_obj_new_impl\n"


def test_objects_are_made_and_dropped() -> None:
    m = Kfuncs()
    code = objects(
        m, NEW + "r6 = r0\n*(u64 *)(r6 + 0) = 5\nr1 = r6\nr2 = 0\ncall bpf_obj_drop_impl\nr0 = r6\nexit\n"
    )
    address = m.run(code)
    with pytest.raises(Fault, match="freed"):
        m.memory.load(address, 8)
    with pytest.raises(Unsupported, match="BTF"):
        m.run("r1 = 4\nr2 = 0\ncall bpf_obj_new_impl\nexit\n")


def test_references_are_counted() -> None:
    m = Kfuncs()
    drop = "r1 = r6\nr2 = 0\ncall bpf_obj_drop_impl\n"
    start = NEW.replace("THING", "COUNTED") + "r6 = r0\nr1 = r6\nr2 = 0\ncall bpf_refcount_acquire_impl\n"
    live = m.run(objects(m, start + drop + "r0 = r6\nexit\n"))
    assert m.memory.load(live, 8) == 0
    gone = m.run(objects(m, start + drop + drop + "r0 = r6\nexit\n"))
    with pytest.raises(Fault, match="freed"):
        m.memory.load(gone, 8)


def test_lists_in_both_directions() -> None:
    m = Kfuncs()
    head = m.bytes(bytes(16))

    def push(n: int, end: str) -> str:
        return (
            NEW
            + f"*(u64 *)(r0 + 0) = {n}\nr2 = r0\nr2 += 8\nr1 = {head:#x} ll\nr3 = 0\nr4 = 8\n"
            + f"call bpf_list_push_{end}_impl\n"
        )

    def pop(end: str) -> str:
        return f"r1 = {head:#x} ll\ncall bpf_list_pop_{end}\nr7 *= 10\nr1 = *(u64 *)(r0 - 8)\nr7 += r1\n"

    text = "r7 = 0\n" + push(2, "back") + push(3, "back") + push(1, "front")
    text += pop("front") + pop("back") + pop("front") + "r0 = r7\nexit\n"
    assert m.run(objects(m, text)) == 132
    assert m.run(f"r1 = {head:#x} ll\ncall bpf_list_pop_front\nexit\n") == 0


def test_trees_are_in_order() -> None:
    m = Kfuncs()
    root = m.bytes(bytes(16))
    text = "r7 = 0\n"
    for n in (5, 1, 9, 3):
        text += (
            NEW
            + f"*(u64 *)(r0 + 0) = {n}\nr2 = r0\nr2 += 32\nr1 = {root:#x} ll\nr3 = func(less) ll\n"
            + "r4 = 0\nr5 = 32\n"
            + "call bpf_rbtree_add_impl\n"
        )
    for _ in range(4):
        text += (
            f"r1 = {root:#x} ll\ncall bpf_rbtree_first\nr2 = r0\nr1 = {root:#x} ll\ncall bpf_rbtree_remove\n"
            "r7 *= 10\nr1 = *(u64 *)(r0 - 32)\nr7 += r1\n"
        )
    text += "r0 = r7\nexit\nless:\nr3 = *(u64 *)(r1 - 32)\nr4 = *(u64 *)(r2 - 32)\nr0 = 0\n"
    text += "if r3 >= r4 goto no\nr0 = 1\nno:\nexit\n"
    assert m.run(objects(m, text)) == 1359
    assert m.run(f"r1 = {root:#x} ll\ncall bpf_rbtree_first\nexit\n") == 0


def test_slices_of_packets() -> None:
    m = Kfuncs()
    context = m.packet(bytes(range(64)), linear=20)
    text = (
        "r6 = r1\nr2 = 0\nr3 = r10\nr3 += -16\ncall bpf_dynptr_from_skb\n"
        "r1 = r10\nr1 += -16\nr2 = {}\n{}r4 = 4\ncall bpf_dynptr_slice\nif r0 == 0 goto out\n"
        "r0 = *(u8 *)(r0 + 0)\nout:\nexit\n"
    )
    buffer = "r3 = r10\nr3 += -24\n"
    assert m.run(text.format(10, "r3 = 0\n"), context=context) == 10
    assert m.run(text.format(30, "r3 = 0\n"), context=context) == 0
    assert m.run(text.format(30, buffer), context=context) == 30
    assert m.run(text.format(61, buffer), context=context) == 0


def test_dynptrs_are_adjusted_and_copied() -> None:
    m = Kfuncs()
    context = m.packet(bytes(range(64)))
    start = "r2 = 0\nr3 = r10\nr3 += -16\ncall bpf_dynptr_from_skb\n"
    adjust = "r1 = r10\nr1 += -16\nr2 = {}\nr3 = {}\ncall bpf_dynptr_adjust\nif r0 != 0 goto out\n"
    size = "r1 = r10\nr1 += -16\ncall bpf_dynptr_size\nout:\nexit\n"
    assert m.run(start + adjust.format(10, 30) + size, context=context) == 20
    assert m.run(start + adjust.format(10, 65) + size, context=context) == -errno.ERANGE
    assert m.run(start + adjust.format(30, 10) + size, context=context) == -errno.EINVAL
    null = (
        "*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -16\ncall bpf_dynptr_is_null\nexit\n"
    )
    assert m.run(null) == 1


@pytest.mark.parametrize(
    ("name", "args", "result"),
    [
        ("bpf_strcmp", (b"ab", b"ab"), 0),
        ("bpf_strcmp", (b"ab", b"b"), -1),
        ("bpf_strstr", (b"hello", b"lo"), 3),
        ("bpf_strstr", (b"hello", b"x"), -errno.ENOENT),
        ("bpf_strspn", (b"aabc", b"ab"), 3),
        ("bpf_strcspn", (b"aabc", b"c"), 3),
        ("bpf_strchr", (b"abc", ord("c")), 2),
        ("bpf_strchr", (b"abc", 0), 3),
        ("bpf_strrchr", (b"abca", ord("a")), 3),
        ("bpf_strchrnul", (b"abc", ord("x")), 3),
        ("bpf_strlen", (b"abc",), 3),
        ("bpf_strnlen", (b"abc", 2), 2),
        ("bpf_strlen", (0,), -errno.EFAULT),
    ],
)
def test_text(name: str, args: tuple[Any, ...], result: int) -> None:
    m = Kfuncs()
    numbers = [m.bytes(arg + b"\0") if isinstance(arg, bytes) else arg for arg in args]
    lines = "".join(f"r{i} = {number:#x} ll\n" for i, number in enumerate(numbers, 1))
    assert m.run(f"{lines}call {name}\nexit\n") == result


def test_arena_pages() -> None:
    m = Kfuncs()
    fd = m.map(ARENA, 0, 0, 4, flags=1 << 10)
    text = (
        f"r1 = map_fd({fd}, 0x0) ll\nr2 = 0\nr3 = 2\nr4 = -1\nr5 = 0\ncall bpf_arena_alloc_pages\n"
        "if r0 == 0 goto out\n*(u64 *)(r0 + 4096) = 7\nout:\nexit\n"
    )
    first, second = m.run(text), m.run(text)
    assert second == first + 8192
    assert m.run(text) == 0


def test_sections_have_to_be_closed() -> None:
    m = Kfuncs()
    assert m.run("call bpf_rcu_read_lock\ncall bpf_rcu_read_unlock\nr0 = 0\nexit\n") == 0
    with pytest.raises(ProbeeError, match="still holds rcu"):
        m.run("call bpf_rcu_read_lock\nr0 = 0\nexit\n")
    with pytest.raises(Fault, match="without"):
        m.run("call bpf_preempt_enable\nr0 = 0\nexit\n")


def test_throwing_ends_the_program() -> None:
    m = Kfuncs()
    assert m.run("r1 = 33\ncall bpf_throw\nr0 = 1\nexit\n") == 33


def test_resilient_locks_tell_of_deadlocks() -> None:
    m = Kfuncs()
    lock = m.bytes(bytes(8))
    take = f"r1 = {lock:#x} ll\ncall bpf_res_spin_lock\n"
    give = f"r1 = {lock:#x} ll\ncall bpf_res_spin_unlock\n"
    assert m.run(take + take + "r6 = r0\n" + give + "r0 = r6\nexit\n") == -errno.EDEADLK
    assert m.run(take + give + take + "r6 = r0\n" + give + "r0 = r6\nexit\n") == 0


def test_an_unset_kernel_function_says_how_to_set_it() -> None:
    m = Kfuncs()
    m.services.kfunc_names[5, 0] = "bpf_crypto_encrypt"
    with pytest.raises(Unsupported, match=r"machine\.helper\('bpf_crypto_encrypt'"):
        m.run("call kfunc(5)\nexit\n")
    m.services.mock("bpf_crypto_encrypt", lambda *_: 4)
    assert m.run("call kfunc(5)\nexit\n") == 4
