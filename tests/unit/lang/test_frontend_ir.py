"""The IR the front end makes: nothing that the program did not ask for."""

from __future__ import annotations

from collections import Counter

import pytest

import lang_module
from probee.lang import ir
from probee.lang.types import I64, U64, Ptr, Space
from probee.lang.walk import reachable


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path):
    def build(body: str, **more) -> ir.Module:
        return lang_module.to_ir(lang_module.make(lang_module.program(body, **more), tmp_path), ktypes)

    return build


def main(module: ir.Module) -> ir.Function:
    return next(fn for fn in module.functions if fn.name == "program")


def ops(module: ir.Module, kind: type) -> list:
    return [op for block in reachable(main(module)) for op in block.ops if isinstance(op, kind)]


def helpers(module: ir.Module) -> Counter:
    return Counter(op.name for op in ops(module, ir.Helper))


def zeroed(module: ir.Module, local: str) -> int:
    """Bytes of a struct that are zeroed where it is made."""
    total = 0
    for block in reachable(main(module)):
        for op in block.ops:
            where = op.dst if isinstance(op, ir.Zero) else op.ptr if isinstance(op, ir.Store) else None
            base = where
            while isinstance(base, (ir.Offset, ir.Recast)):
                base = base.base if isinstance(base, ir.Offset) else base.value
            zero = isinstance(op, ir.Zero) or (isinstance(op, ir.Store) and isinstance(op.value, ir.Const))
            if zero and base is not where and isinstance(base, (ir.Local, ir.Helper)):
                name = base.name if isinstance(base, ir.Local) else "record"
                if name == local:
                    total += op.size if isinstance(op, ir.Zero) else op.value.type.size
    return total


def test_every_reachable_block_ends(build):
    module = build(
        """
        for i in range(number):
            if i == 3:
                break
        else:
            return 1
        while number > 0:
            number -= 3
        return 2
        """
    )
    for fn in module.functions:
        assert all(block.ended for block in reachable(fn))


def test_constants_leave_nothing(build):
    module = build("x = 3 * 4 + (1 << 5)\nif N == 11:\n    counts[1] = 2\nassert N == 10\nreturn 0")
    assert not ops(module, ir.Binary)
    assert not ops(module, ir.Branch)
    assert not module.maps


def test_unused_declarations_are_left_out(build):
    module = build("counts[1] = limit")
    assert [m.name for m in module.maps] == ["counts"]
    assert [g.name for g in module.globals] == ["limit"]


def test_a_key_is_stored_once(build):
    module = build(
        """
        k = bp.pid()
        counts[k] = 1
        if k in counts:
            del counts[k]
        points[k].x += 1
        """
    )
    keys = [op for op in ops(module, ir.Store) if isinstance(op.ptr, ir.Local) and op.ptr.name == "key k"]
    assert len(keys) == 1


def test_an_assigned_struct_is_not_zeroed(build):
    module = build("p = Point()\np.x = number\np.y = 2\npoints[1] = p")
    assert zeroed(module, "Point") == 0
    module = build("points[1] = Point(x=number)")
    assert zeroed(module, "Point") == 4


def test_padding_of_keys_is_zeroed(build):
    module = build("by_struct[Padded(a=1, b=2, c=number)] = 1")
    assert zeroed(module, "Padded") >= 6


def test_a_record_is_zeroed_where_a_way_leaves_it_unassigned(build):
    module = build("with rb2.reserve() as p:\n    p.x = number\n    p.y = 2")
    assert zeroed(module, "record") == 0
    module = build("with rb2.reserve() as p:\n    p.x = number\n    if number:\n        return\n    p.y = 2")
    assert zeroed(module, "record") == 4
    module = build(
        "with rb2.reserve() as p:\n    if number:\n        p.x = 1\n    else:\n        p.x = 2\n    p.y = 2"
    )
    assert zeroed(module, "record") == 0
    module = build("with rb2.reserve() as p:\n    for i in range(3):\n        p.x = 1\n    p.y = p.x")
    assert zeroed(module, "record") == 4


def test_records_are_submitted_on_every_way(build):
    module = build(
        """
        for i in range(3):
            with rb2.reserve() as p:
                if i == 1:
                    continue
                if i == 2:
                    break
                if number:
                    return 1
        """
    )
    assert helpers(module) == {"ringbuf_reserve": 1, "ringbuf_submit": 4}
    assert [g.name for g in module.globals] == ["__dropped_rb2"]


def test_two_records_under_one_name(build):
    module = build("with rb.reserve() as e:\n    e.pid = 1\nwith rb2.reserve() as e:\n    e.x = 1")
    assert helpers(module) == {"ringbuf_reserve": 2, "ringbuf_submit": 2}


def test_atomics(build):
    module = build("counts[1] += 1\ntotal.value -= number\npercpu[1] += 1\nexecs_by_pid[1].kind += 1")
    assert [(op.op, op.value.type) for op in ops(module, ir.Atomic)] == [("add", U64), ("add", U64)]


def test_pointers_are_followed_by_loads_or_probes(build):
    module = build("return task.real_parent.tgid", hook='tp_btf("sched_wakeup")', params="task")
    assert not helpers(module)
    module = build("return task.real_parent.tgid", hook='raw_tracepoint("sched_wakeup")', params="task")
    assert helpers(module) == {"probe_read_kernel": 2}


def test_one_function_for_each_combination_of_types(build):
    above = "def f(a):\n    return a\n\n\ndef g(m, k):\n    m[k] = f(k)\n"
    module = build("f(number)\nf(bp.pid())\nf(3)\ng(counts, 1)\ng(slots, 1)", above=above)
    assert Counter(fn.name.partition("__")[0] for fn in module.functions) == {"f": 2, "g": 2, "program": 1}


def test_functions_take_only_what_is_known_at_run_time(build):
    above = "def f(m, k, text, by=2):\n    m[k] = by\n    return text == 'x'\n"
    module = build("f(counts, number, 'y')", above=above)
    (f,) = [fn for fn in module.functions if fn.name == "f"]
    assert [(p.name, p.type) for p in f.params] == [("k", I64), ("by", I64)]


def test_the_context_is_passed_where_it_is_needed(build):
    above = """
        def inner():
            return bp.kstack(stacks)

        def outer():
            return inner()

        def other():
            return 1
        """
    module = build("outer()\nother()", above=above)
    params = {fn.name: [p.name for p in fn.params] for fn in module.functions}
    assert params == {"inner": ["ctx"], "outer": ["ctx"], "other": [], "program": ["ctx"]}


def test_places_in_the_source(build):
    module = build("x = number + 1\n\ncounts[x] = (\n    number * 2\n)")
    lines = {
        type(op).__name__ + getattr(op, "op", getattr(op, "name", "")): op.loc.line
        for op in ops(module, ir.Op)
    }
    first = main(module).line
    assert lines["Binaryadd"] == first + 1
    assert lines["Binarymul"] == first + 4
    assert lines["Helpermap_update_elem"] == first + 3


def test_references_keep_their_space(build):
    module = build(
        "t = bp.current_task()\nc = t.real_parent.cred\nif p := points.get(1):\n    p.x = c.uid.val"
    )
    spaces = {op.type.space for op in ops(module, ir.FieldAddr) if isinstance(op.type, Ptr)}
    assert spaces == {Space.TRUSTED, Space.MAP}


def test_system_calls_share_a_program(ktypes, tmp_path):
    text = lang_module.program(
        "counts[args.fd] += 1",
        hook='tracepoint("syscalls:sys_enter_read")',
        params="args",
        above="@bp.tracepoint('syscalls:sys_enter_write')\ndef second(args):\n    counts[args.fd] += 1\n",
    )
    module = lang_module.make(text, tmp_path)
    merged = lang_module.to_ir(module, ktypes)
    assert [fn.section for fn in merged.functions if fn.section] == ["tp_btf/sys_enter"]
    plain = lang_module.to_ir(module, ktypes, merge_syscalls=False)
    assert len([fn.section for fn in plain.functions if fn.section]) == 2
