"""Which subprograms go into their callers, and which functions LLVM takes as having loops."""

from __future__ import annotations

import ir_samples as s

from probee.lang import inlining, ir
from probee.lang.builder import Builder
from probee.lang.inlining import LARGE
from probee.lang.walk import bodies_of


def function(name: str, operations: int = 1, *, inline: bool = True, section: str = "") -> ir.Function:
    """A function of a number and some operations."""
    x = ir.Param(0, "x", s.U64)
    fn = ir.Function(name, [x], s.U64, inline=inline, section=section)
    b = Builder(fn)
    value: ir.Value = x
    for _ in range(operations):
        value = b.arith("*", value, x)
    b.ret(value)
    return fn


def program(*calls: ir.Function, name: str = "prog") -> ir.Function:
    fn = ir.Function(name, [ir.Param(0, "ctx", s.U64)], s.U64, section="raw_tp/sys_enter")
    b = Builder(fn)
    for callee in calls:
        b.call(callee, b.const(7, s.U64))
    b.ret(b.const(0, s.U64))
    return fn


def plan(*functions: ir.Function) -> inlining.Plan:
    module = ir.Module("GPL")
    module.functions += functions
    return inlining.plan(bodies_of(module), 512)


def test_small_ones_are_put_into_all_callers() -> None:
    small = function("small", LARGE)
    assert plan(small, program(small, small, small)).inline == ["small"]


def test_large_ones_only_where_there_is_one_call() -> None:
    large = function("large", LARGE + 1)
    assert plan(large, program(large)).inline == ["large"]
    assert plan(large, program(large, large)).inline == []


def test_what_goes_into_a_function_counts() -> None:
    half = function("half", LARGE // 2 + 1)
    outer = ir.Function("outer", [ir.Param(0, "x", s.U64)], s.U64)
    b = Builder(outer)
    b.ret(b.arith("+", b.call(half, outer.params[0]), b.call(half, b.const(1, s.U64))))
    assert plan(half, outer, program(outer)).inline == ["half", "outer"]
    assert plan(half, outer, program(outer, outer)).inline == ["half"]


def test_what_has_to_stay_a_function_does() -> None:
    asked, visible = function("asked", inline=False), function("visible")
    visible.visible = True
    assert plan(asked, visible, program(asked, visible)).inline == []


def test_a_large_callback_with_one_call_is_not_doubled() -> None:
    large = function("large", LARGE + 1)
    fn = program(large)
    fn.blocks[0].ops.insert(0, ir.Helper(181, "loop", [ir.FunctionRef(large)]))
    fn.blocks[0].ops[0].loc = ir.Loc(1)
    assert plan(large, fn).inline == []


def test_loops_are_those_of_callers_too() -> None:
    looping = ir.Function("looping", [ir.Param(0, "x", s.U64)], s.U64)
    b = Builder(looping)
    again, end = b.new_block(), b.new_block()
    b.jump(again)
    b.at(again)
    b.branch(b.compare("==", b.helper("ktime_get_ns"), looping.params[0]), again, end)
    b.at(end)
    b.ret(looping.params[0])
    straight = function("straight")
    with_loop, without = program(looping, name="with_loop"), program(straight, name="without")
    assert plan(looping, straight, with_loop, without).loops == ["looping", "with_loop"]
    looping.inline = False
    assert plan(looping, with_loop).loops == ["looping"]


def test_large_copies_are_loops() -> None:
    fn = program()
    place = ir.Local("place", s.U64)
    for size, loops in ((512, []), (520, ["prog"])):
        zero = ir.Zero(place, size)
        zero.loc = ir.Loc(1)
        fn.blocks[0].ops[0:-1] = [zero]
        assert plan(fn).loops == loops
