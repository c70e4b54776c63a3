"""Loops that the kernel counts: by its iterator, by the helper bpf_loop, by may_goto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lang_module
from probee.cli import verify
from probee.lang.ktypes import KernelTypes

pytestmark = pytest.mark.root

# what a kernel lacks that counts in this way, and what the program calls
WAYS = {"iterator": ((), "bpf_iter_num_new"), "bpf_loop": (("bpf_iter_num_new",), "program_round")}


@pytest.fixture(scope="module")
def btf() -> Any:
    return lang_module.kernel_types().btf


@pytest.fixture
def build(btf, tmp_path) -> Iterator[Callable[..., lang_module.Both]]:
    with lang_module.both(btf, tmp_path) as make:
        yield make


@pytest.fixture(params=list(WAYS))
def way(request, btf) -> tuple[tuple[str, ...], str]:
    found = WAYS[request.param]
    if request.param == "iterator" and KernelTypes(btf).kfunc(found[1]) is None:
        pytest.skip("this kernel has no function bpf_iter_num_new")
    return found


PLAIN = {
    "break and else": """
sum = 0
for i in range(number):
    if i == 5000:
        break
    if i % 3 == 0:
        continue
    sum += i
else:
    counts[1] = 7
counts[2] = sum
return sum & 0xFFFF
""",
    "out of two": """
for i in range(number, 0, -2):
    for j in range(i, number):
        if i * j == 42:
            counts[3] = i
            break
        if j > 20:
            return i
        counts[5] += 1
    else:
        counts[6] += i
        continue
    counts[7] += j
return -1
""",
    "numbers carried on": """
k = 0
for i in range(number):
    k, last = k + i, k
    for j in range(i & 7):
        if (k ^ j) & 3:
            counts[8] += k
            last += j
    counts[9] = last
return k & 0x7FFF
""",
}


COUNTED = """
n = 0
for i in range(200):
    if (i * number) % 7 > 3:
        n += 1
    if n > 50:
        break
    if n & 1 and i > 100:
        counts[n & 15] += i
counts[20] = n
return i
"""


def test_rounds_that_count_on_a_branch_are_not_followed_one_by_one(build, way):
    run = build(COUNTED, way[0])
    assert run.kernel.programs["program"].info().verified_insns < 100_000
    for n in (0, 1, 2, 3, 100):
        assert run(n) == lang_module.python(COUNTED, n), n


def test_the_kernels_that_have_only_bpf_loop_take_it(build):
    """By the rules of those kernels, which follow a round once."""
    without = WAYS["bpf_loop"][0]
    for body in (COUNTED, *PLAIN.values()):
        run = build(body, without)
        for kernel in ("5.17", "6.1"):
            (result,) = verify.check(run.spec, kernel)
            assert result.verdict.accepted, result.verdict.message
            assert result.verdict.insns_processed < 2000


@pytest.mark.parametrize("what", PLAIN)
def test_all_ways_out_of_a_loop_are_those_of_python(build, way, what):
    without, function = way
    run = build(PLAIN[what], without)
    assert function in {*run.spec.externs, *(fn.name for fn in run.spec.functions)}
    for n in (0, 1, 2, 3, 7, 8, 13, 14, 21, 30, 6000):
        assert run(n) == lang_module.python(PLAIN[what], n), n


def test_what_a_round_shares_with_the_code_around_it(build, way):
    """Structs, texts, entries of maps, records, functions with `nonlocal`."""
    run = build(
        """
        at = Point(x=1, y=2)
        word = Char[16]("a")
        entry = points.get(1)
        most = 0

        def larger(n: i64):
            nonlocal most
            if n > most:
                most = n
            return most

        for i in range(number):
            one = Exec(pid=i, at=at, comm=word)
            at.x += one.pid
            if one.comm == "a":
                word = "bb"
            if entry is not None:
                entry.y += 1
            found = counts.get(i)
            if found is not None:
                larger(found * 3)
            with rb2.reserve() as e:
                e.x = i
                if i == 4:
                    e.y = -1
                    break
                if i == 2:
                    continue
                e.y = larger(i)
        counts[50] = at.x
        counts[51] = most
        counts[52] = len(word)
        with rb2.reserve() as e:
            for i in range(number):
                e.y = i
                if i == 9:
                    return 9
            e.x = 77
        return 1
        """,
        way[0],
    )
    for where in (run.kernel, run.machine):
        where.maps["points"][1] = (0, 0)
    assert run(3) == (1, {50: 1 + 0 + 1 + 2, 51: 1, 52: 2})
    for where in (run.kernel, run.machine):
        got = [(r.x, r.y) for r in where.maps["rb2"].consume()]
        assert got == [(0, 0), (1, 1), (2, 0), (77, 2)]
        assert where.maps["points"][1].y == 3
    assert run(1000)[0] == 9
    got = [(r.x, r.y) for r in run.kernel.maps["rb2"].consume()]
    assert got[:5] == [(0, 0), (1, 1), (2, 0), (3, 3), (4, -1)]


def test_the_context_is_there_in_each_round(build, way):
    run = build(
        """
        sum = 0
        for i in range(skb.len):
            if i >= 30:
                break
            sum += skb.len
        counts[0] = sum
        return 0
        """,
        way[0],
        hook="tc",
        params="skb",
    )
    assert run.kernel.programs["program"].test_run(data=bytes(64))[0] == 0
    assert run.kernel.maps["counts"][0] == 30 * 64


def test_a_loop_until_the_kernel_has_enough(build, btf):
    if not KernelTypes(btf).has_may_goto():
        pytest.skip("this kernel has no may_goto")
    run = build(
        """
        steps = 0
        x = number
        while x != 1 and bp.can_loop():
            x = x // 2 if x % 2 == 0 else 3 * x + 1
            steps += 1
        counts[0] = steps
        k = 0
        while bp.can_loop():
            k += 1
            if k > 1000:
                break
            if k & 3:
                continue
            counts[1 + (k & 31)] += 1
        else:
            return 5
        return k
        """
    )

    def collatz(n: int) -> int:
        return 0 if n == 1 else 1 + collatz(n // 2 if n % 2 == 0 else 3 * n + 1)

    rest = {1 + k: len(range(k or 32, 1001, 32)) for k in range(0, 32, 4)}
    for n in (1, 27, 97, 871):
        assert run(n) == (1001, {0: collatz(n)} | rest)
    endless = build("n = 0\nwhile bp.can_loop():\n    n += 1\ncounts[0] = n")
    assert endless.kernel.programs["program"].test_run(ctx=bytes(16))[0] == 0
    assert endless.kernel.maps["counts"][0] >= 1 << 20
