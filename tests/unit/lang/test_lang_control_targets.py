"""How loops are compiled for kernels that have less, and what is known of numbers."""

from __future__ import annotations

import pytest

import lang_module
from probee.errors import CompileError
from probee.lang import bounds, ir
from probee.lang.types import I64, U8, U64, Int
from probee.lang.walk import reachable


class Old:
    """The running kernel's types without its functions of these names."""

    def __init__(self, inner, *missing):
        self.inner = inner
        self.missing = missing

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def kfunc(self, name):
        return None if name.startswith(self.missing) else self.inner.kfunc(name)

    def has_helper(self, name):
        return name not in self.missing and self.inner.has_helper(name)

    def counts_rounds(self):
        return "loop" not in self.missing and self.inner.counts_rounds()

    def has_may_goto(self):
        return "may_goto" not in self.missing and self.inner.has_may_goto()


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


def called(body, ktypes, tmp_path):
    """The names of the kernel functions and helpers that a program calls."""
    module = lang_module.to_ir(lang_module.make(lang_module.program(body), tmp_path), ktypes)
    ops = [op for fn in module.functions for block in reachable(fn) for op in block.ops]
    return {
        op.extern.name if isinstance(op, ir.Kfunc) else op.name
        for op in ops
        if isinstance(op, (ir.Kfunc, ir.Helper))
    }


LOOP = "for i in range(number):\n    total.value += i"


def test_a_kernel_without_iterators_counts_by_a_helper_or_not_at_all(ktypes, tmp_path):
    assert called(LOOP, Old(ktypes, "bpf_iter_num"), tmp_path) == {"loop"}
    assert not called(LOOP, Old(ktypes, "bpf_iter_num", "loop"), tmp_path)
    bits = "for bit in bp.bits(number):\n    total.value += bit"
    assert not called(bits, Old(ktypes, "bpf_iter_bits", "bpf_iter_num"), tmp_path)


def test_rcu_is_there_anyway_where_a_program_cant_sleep(ktypes, tmp_path):
    body = "with bp.rcu():\n    total.value += 1"
    assert not called(body, Old(ktypes, "bpf_rcu_read"), tmp_path)


MISSING = [
    ("for t in bp.tasks():\n    pass", "bpf_iter_task", "can't loop over tasks", "6.7"),
    ("for c in bp.kmem_caches():\n    pass", "bpf_iter_kmem_cache", "can't loop over slab caches", "6.13"),
    ("with bp.preempt_off():\n    pass", "bpf_preempt", "no function bpf_preempt_disable", "6.10"),
    ("with bp.irq_off():\n    pass", "bpf_local_irq", "no function bpf_local_irq_save", "6.14"),
    ("bp.loop(3, lambda i: 0)", "loop", "no helper bpf_loop", "5.17"),
    (
        "while bp.can_loop():\n    pass",
        "may_goto",
        "has no may_goto, which came with Linux 6.9",
        "bounded(1000)",
    ),
]


@pytest.mark.parametrize(("body", "lacks", "message", "advice"), MISSING, ids=lambda x: x[:20])
def test_what_the_kernel_lacks_is_said(ktypes, tmp_path, body, lacks, message, advice):
    with pytest.raises(CompileError) as caught:
        called(body, Old(ktypes, lacks), tmp_path)
    assert message in caught.value.message
    assert advice in caught.value.advice


def number(low: int, high: int, kind: Int = I64) -> tuple[ir.Value, dict[ir.Value, tuple[int, int]]]:
    value = ir.Load(ir.Local("x", kind))
    return value, {value: (low, high)}


@pytest.mark.parametrize(
    "op", ["add", "sub", "mul", "and", "or", "xor", "udiv", "urem", "lshr", "ashr", "shl"]
)
def test_intervals_hold_all_results(op):
    """Every result of two small intervals is in the interval that is told of it."""
    plain = {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "and": lambda x, y: x & y,
        "or": lambda x, y: x | y,
        "xor": lambda x, y: x ^ y,
        "udiv": lambda x, y: (x & U) // (y & U) if y else 0,
        "urem": lambda x, y: (x & U) % (y & U) if y else x,
        "lshr": lambda x, y: (x & U) >> y if 0 <= y < 64 else 0,
        "ashr": lambda x, y: x >> y if 0 <= y < 64 else 0,
        "shl": lambda x, y: x << y if 0 <= y < 64 else 0,
    }
    U = (1 << 64) - 1
    for a, b in [
        ((-3, 4), (-2, 3)),
        ((0, 5), (1, 3)),
        ((2, 9), (0, 4)),
        ((-8, -5), (2, 2)),
        ((4, 4), (3, 3)),
    ]:
        x, known = number(*a)
        y, more = number(*b)
        low, high = bounds.interval(ir.Binary(op, x, y), known | more)
        for i in range(a[0], a[1] + 1):
            for j in range(b[0], b[1] + 1):
                if op in ("lshr", "ashr", "shl") and not 0 <= j < 64:
                    continue
                result = plain[op](i, j) & U
                result -= (result >> 63) << 64
                assert low <= result <= high, (op, i, j)


def test_intervals_of_conversions():
    x, known = number(-1, 300)
    cut = ir.Cast(x, U8)
    assert bounds.interval(cut, known) == (0, 255)
    y, known = number(3, 200)
    assert bounds.interval(ir.Cast(ir.Cast(y, U8), U64), known) == (3, 200)
