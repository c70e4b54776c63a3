"""Wrong calls of the kernel's services: where the error points, what it says, and what it advises."""

from __future__ import annotations

from pathlib import Path

import pytest

import lang_module
from probee.errors import CompileError

ABOVE = """
class Locked(bp.Struct):
    lock: bp.SpinLock
    n: u64

class Ticking(bp.Struct):
    timer: bp.Timer

class Kept(bp.Struct):
    task: bp.Kptr["task_struct"]

class Node(bp.Struct):
    key: u64
    link: bp.ListNode

class Heads(bp.Struct):
    lock: bp.SpinLock
    items: bp.ListHead[Node, "link"]

class Bare(bp.Struct):
    items: bp.ListHead[Node, "link"]

locked = bp.Array[Locked](1)
ticking = bp.Array[Ticking](1)
kept = bp.Array[Kept](1)
heads = bp.Array[Heads](1)
bare = bp.Array[Bare](1)

def tick(key, value):
    pass
"""

TAKE = "v = {0}.get(0)\nif v is None:\n    return\n"
MAPS = ("locked", "ticking", "kept", "heads", "bare")
LOCKED, TICKING, KEPT, HEADS, BARE = (TAKE.format(m) for m in MAPS)

# body of a program; the text under the caret; words of the message; words of the advice
CASES = [
    # helpers
    ("bp.ktime_get_ns(1)", "bp.ktime_get_ns(1)", "takes 0 arguments, not 1", "bp.ktime_get_ns()"),
    ("bp.probe_read_kernel(number)", None, "takes 2 or 3 arguments, not 1", "(dst, [size], unsafe_ptr)"),
    ("bp.probe_read_kernel(5, 8, number)", "5", "memory to write to", "u64(0)"),
    ("x: u32 = 0\nbp.strtol('1', 0, x)", "x", "needs 8 bytes, and this has 4", "u64(0)"),
    ("x = u64(0)\nbp.probe_read_kernel(x, 9, number)", "9", "the memory before has 8", ""),
    ("bp.map_update_elem(number, 1, 2)", "number", "map of bpf_map_update_elem is a map", "declares"),
    ("bp.map_update_elem(counts, 1, 2, flagz=1)", "1", "no parameter 'flagz'", "flags"),
    ("bp.map_update_elem(points, 1, 2)", "2", "struct Point", "fields"),
    ("x = bp.map_lookup_elem(points, 1)\nreturn x.x", "x.x", "x may be None", "is None"),
    ("bp.task_pt_regs(number)", "number", "pointer to struct task_struct", "bp.current_task()"),
    ("p = bp.cast('struct task_struct', number)\nbp.task_pt_regs(p)", "p", "vouches for", "a hook"),
    ("bp.strncmp('abc', number)", "number", "text known when", "literal"),
    ("bp.skb_load_bytes(0, points, 4)", None, "raw_tracepoint programs can't call", "sched_cls"),
    ("x = u64(0)\nbp.copy_from_user(x, number)", None, "may sleep", "sleepable=True"),
    ("bp.spin_lock(number)", "bp.spin_lock(number)", "not called directly", "with value.lock"),
    ("bp.ringbuf_reserve(rb, 8, 0)", None, "not called directly", "reserve() as e"),
    ("bp.kptr_xchg(number, None)", None, "has to be released", ""),
    ("with bp.ktime_get_ns() as x:\n    pass", "bp.ktime_get_ns()", "has not to be released", "x ="),
    ("bp.find_vma(bp.current_task(), 0, number)", "number", "a function is needed", "look(task, vma)"),
    # kernel functions
    ("bp.kfunc.bpf_of_no_kernel(1)", None, "no kernel function bpf_of_no_kernel", "probee stubs"),
    ("bp.kfunc.vfs_read(1)", None, "can't call: vfs_read", ""),
    ("bp.kfunc.bpf_rcu_read_lock()", None, "not called directly", "with bp.rcu()"),
    ("bp.kfunc.bpf_task_from_pid(1)", None, "raw_tracepoint programs can't call", "lsm"),
    ("bp.kfunc_exists(number)", "bp.kfunc_exists(number)", "a literal", "bpf_task_acquire"),
    # locks
    (LOCKED + "with v.lock:\n    bp.ktime_get_ns()", None, "while v.lock is held", "call it before"),
    (LOCKED + "with v.lock:\n    v.n = counts[1]", None, "bpf_map_lookup_elem can't", "in a local"),
    (LOCKED + "with v.lock:\n    with v.lock:\n        pass", "v.lock", "v.lock is held here", "leave"),
    (LOCKED + "with v.n:\n    pass", "v.n", "can't stand in a `with`", "bp.rcu()"),
    (LOCKED + "v.lock.take()", "v.lock.take()", "a lock has no take", "with value.lock"),
    (LOCKED + "v.lock = 1", None, "bpf_spin_lock", ""),
    ("bp.map_update_elem(locked, 0, locked[0])", None, "field lock belongs to the kernel", "get(key)"),
    ("locked[0] = Locked(n=1)", None, "field lock belongs to the kernel", "assign its other"),
    (LOCKED + "x = Locked(v)", None, "field lock belongs to the kernel", ""),
    # timers
    (TICKING + "v.timer.start()", "v.timer.start()", "takes 1 to 2", ""),
    (TICKING + "v.timer.init(number)", "number", "the map that it is in", "t.init(map)"),
    (TICKING + "v.timer.set_callback(3)", "3", "a function is needed", "tick(key, value)"),
    (TICKING + "v.timer.stop()", "v.timer.stop()", "a timer has no stop", "cancel"),
    # what maps own
    (KEPT + "v.task = bp.current_task()", None, "takes what this program owns", "with"),
    (KEPT + "v.task = number", None, "owns a struct task_struct", "None"),
    (KEPT + "v.task.take()", "v.task.take()", "has to be released", "with"),
    (KEPT + "return v.task.pid", "v.task.pid", "may be None", ""),
    # objects
    ("x = bp.obj_new(Node)", "bp.obj_new(Node)", "can't stand here", "with bp.obj_new"),
    ("with bp.obj_new(number) as n:\n    pass", "number", "takes a struct of yours", "Node"),
    ("with bp.refcount_acquire(number) as n:\n    pass", "number", "several owners", "bp.Refcount"),
    (HEADS + "v.items.push_back(number)", "number", "objects of struct Node", ""),
    (HEADS + "v.items.pop_front()", "v.items.pop_front()", "has to be released", "with"),
    (
        HEADS + "with v.lock:\n    with v.items.pop_front() as n:\n        pass",
        "v.items.pop_front()",
        "while v.lock is held",
        "outside",
    ),
    (
        HEADS + "with bp.obj_new(Node) as n:\n    v.items.push_back(n)\n    return n.key",
        "n",
        "was given to",
        "before",
    ),
    (
        BARE + "with bp.obj_new(Node) as n:\n    v.items.push_back(n)",
        "v.items.push_back(n)",
        "guarded by a lock in the same struct",
        "bp.SpinLock",
    ),
    # dynptrs, variables
    ("d = bp.dynptr(number)", "number", "not in a map", ""),
    ("rb.reserve_dynptr(8)", "rb.reserve_dynptr(8)", "stands in a `with`", "as d"),
    ("bp.dynptr_data(number, 0, 8)", "number", "a dynptr, and this is", "bp.dynptr"),
    ("bp.ksym('of_no_kernel')", None, "no variable of_no_kernel", ""),
]


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.mark.parametrize(("body", "under", "message", "advice"), CASES, ids=range(len(CASES)))
def test_wrong_calls(body: str, under: str | None, message: str, advice: str, ktypes, tmp_path: Path) -> None:
    module = lang_module.make(lang_module.program(body, above=ABOVE), tmp_path)
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    e = caught.value
    assert message in e.message, str(e)
    assert advice in e.advice, str(e)
    if under is not None:
        assert e.source[e.column : e.end_column] == under, str(e)


def test_wrong_fields(tmp_path: Path) -> None:
    for text, message in (
        ("class A(bp.Struct):\n    l: bp.ListHead[Point, 'x']", "no field 'x' that is a ListNode"),
        ("class A(bp.Struct):\n    l: bp.RbRoot[Point]", "takes the struct of its objects"),
        ("class A(bp.Struct):\n    l: bp.Kptr[3]", "takes a struct of the kernel"),
        ("t = bp.Timer()", "a Timer is a field"),
    ):
        with pytest.raises(CompileError, match=message):
            lang_module.make(lang_module.program("pass", above=text), tmp_path)


def test_values_in_python(tmp_path: Path) -> None:
    module = lang_module.make(lang_module.program("pass", above=ABOVE), tmp_path)
    value = module.Heads()
    assert value.items is None
    assert len(value._packed()) == 24
    with pytest.raises(TypeError, match="belongs to the kernel"):
        module.Kept(task=1)
