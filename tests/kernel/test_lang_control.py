"""Control flow in the kernel: each construct runs, and its effect is looked at."""

from __future__ import annotations

import os
import struct
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import lang_module
from probee import lang
from probee.isa.disasm import disassemble
from probee.kernel.load import Collection, load
from probee.lang import decl
from probee.obj import read_object

pytestmark = pytest.mark.root


class Run:
    """A loaded module; calling it runs its program once with two numbers as the hook's arguments."""

    def __init__(self, collection: Collection, data: bytes) -> None:
        self.collection = collection
        self.maps = collection.maps
        self.globals = collection.globals
        self.data = data

    def __call__(self, a: int = 0, b: int = 0, program: str = "program") -> int:
        ctx = struct.pack("<QQ", a & (1 << 64) - 1, b & (1 << 64) - 1)
        value = self.collection.programs[program].test_run(ctx=ctx)[0]
        return value - (1 << 32) if value >> 31 else value

    def text(self, program: str = "program") -> str:
        return "\n".join(disassemble(bytes(read_object(self.data).programs[program].link().insns)))


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path) -> Iterator[Callable[..., Run]]:
    with ExitStack() as stack:

        def build(body: str, **more: Any) -> Run:
            module = lang_module.make(lang_module.program(body, **more), tmp_path)
            data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes)
            return Run(stack.enter_context(load(read_object(data))), data)

        yield build


@pytest.fixture
def needs(ktypes) -> Callable[..., None]:
    def needs(*names: str) -> None:
        missing = [n for n in names if ktypes.kfunc(n) is None]
        if missing:
            pytest.skip(f"this kernel has no function {missing[0]}")

    return needs


# -- with

SECTIONS = [
    ("rcu", "bpf_rcu_read_lock"),
    ("preempt_off", "bpf_preempt_disable"),
    ("irq_off", "bpf_local_irq_save"),
]


@pytest.mark.parametrize(("name", "function"), SECTIONS)
def test_sections_are_left_on_every_way_out(build, needs, name, function):
    needs(function)
    run = build(
        f"""
        for i in range(3):
            with bp.{name}():
                if number == i:
                    return 10 + i
                if number == i + 10:
                    break
                if number == i + 20:
                    continue
                total.value += 1
        return 5
        """
    )
    assert [run(0, n) for n in (0, 2, 10, 12, 21, 99)] == [10, 12, 5, 5, 5, 5]
    assert run.globals.total == 0 + 2 + 0 + 2 + 2 + 3
    leaving = function.replace("lock", "unlock").replace("disable", "enable").replace("save", "restore")
    spec = read_object(run.data)
    assert {function, leaving} <= set(spec.externs)


def test_several_in_one_with(build, needs):
    needs("bpf_rcu_read_lock", "bpf_preempt_disable")
    run = build(
        """
        with bp.rcu(), bp.preempt_off(), rb.reserve() as e:
            e.pid = number
            if number > 5:
                return 1
        return 2
        """
    )
    assert [run(0, 3), run(0, 7)] == [2, 1]
    assert [e.pid for e in run.maps["rb"].consume()] == [3, 7]


# -- loops over numbers


def test_a_range_of_data_goes_round_as_often_as_it_says(build):
    """The verifier can't follow these rounds: the kernel's iterator counts, or a bounded loop."""
    run = build(
        """
        sum = 0
        for i in range(number):
            if i == 100000:
                break
            sum += i
        else:
            counts[1] += 1
        counts[2] = sum
        return 0
        """
    )
    for n in (0, 1, 5, 4000, 100_001):
        run.maps["counts"].clear()
        run(0, n)
        broke = n > 100_000
        assert dict(run.maps["counts"].items()) == {2: sum(range(min(n, 100_000)))} | (
            {} if broke else {1: 1}
        )


def test_ranges_of_data_with_steps_and_signs(build):
    run = build(
        """
        low = i64(regs)
        high = i64(number)
        signed_total.value = 0
        counts[0] = 0
        for i in range(low, high, 3):
            signed_total.value += i
            counts[0] += 1
        for i in range(high, low, -7):
            signed_total.value += i * 1000
            counts[0] += 1
        """,
        hook='raw_tracepoint("sys_exit")',
    )
    for low, high in ((-10, 10), (5, 5), (7, -3), (-1, 1000), (3, 4), (0, 299)):
        ctx = struct.pack("<qq", low, high)
        run.collection.programs["program"].test_run(ctx=ctx)
        up, down = range(low, high, 3), range(high, low, -7)
        assert run.globals.signed_total == sum(up) + 1000 * sum(down), (low, high)
        assert run.maps["counts"][0] == len(up) + len(down)


def test_a_return_out_of_nested_loops_releases_every_iterator(build, needs):
    needs("bpf_iter_num_new")
    run = build(
        """
        found = 0
        for i in range(number):
            for j in range(number):
                if i * j == 42:
                    return i
                if j > i:
                    break
                found += 1
            else:
                continue
            total.value += 1
        return -1
        """
    )
    assert [run(0, n) for n in (3, 20)] == [-1, 6]
    assert {"bpf_iter_num_new", "bpf_iter_num_next", "bpf_iter_num_destroy"} <= set(
        read_object(run.data).externs
    )


@pytest.mark.parametrize(
    ("limit", "iterates"),
    [
        ("range(number & 15)", False),
        ("range(min(number, 100))", False),
        ("range(200)", False),
        ("range(n)", False),
        ("range(u64(number) % 50, 60)", False),
        ("range(u8(number))", False),
        ("range(number)", True),
        ("range(100000)", True),
        ("range(number & 0xFFFFFF)", True),
    ],
)
def test_only_what_the_verifier_cant_follow_is_iterated(ktypes, tmp_path, needs, limit, iterates):
    needs("bpf_iter_num_new")
    body = f"n = number\nif n > 12:\n    n = 12\nfor i in {limit}:\n    counts[i] += 1"
    module = lang_module.make(lang_module.program(body), tmp_path)
    spec = read_object(lang.compile(decl.programs_in(vars(module)), ktypes=ktypes))
    assert ("bpf_iter_num_new" in spec.externs) == iterates


def test_a_loop_variable_has_the_sign_of_its_own_loop(build):
    run = build(
        """
        for i in range(number, number + 2):
            total.value += i
        for i in range(-3, 0):
            signed_total.value += i // 2
        if i < 0:
            return i
        return 7
        """
    )
    assert run(0, 1 << 63) == -1
    assert run.globals.total == ((1 << 64) + 1) % (1 << 64)
    assert run.globals.signed_total == -2 - 1 - 1


def test_sequences(build):
    run = build(
        """
        e = Exec(sizes=(10, 20, 30, 40), comm="abc")
        sum = 0
        for i, x in enumerate(e.sizes):
            sum += i * x
        counts[1] = sum
        sum = 0
        for i, x in enumerate(e.sizes, start=1):
            sum += i * x
        counts[2] = sum
        order = 0
        for x in reversed(e.sizes):
            order = order * 100 + x
        counts[3] = order
        order = 0
        for i in reversed(range(1, 5)):
            order = order * 10 + i
        counts[4] = order
        order = 0
        for i in reversed(range(number)):
            order = order * 10 + i
        counts[5] = order
        order = 0
        for x in e.sizes[1:3]:
            order = order * 100 + x
        counts[6] = order
        order = 0
        for x in e.sizes[:number]:
            order = order * 100 + x
        counts[7] = order
        order = 0
        for x in e.sizes[i64(number) - 5:]:
            order = order * 100 + x
        counts[8] = order
        order = 0
        for a, b in zip(e.sizes, range(100)):
            order = order * 1000 + a + b
        counts[9] = order
        order = 0
        for a, b in zip(e.sizes, NUMBERS):
            order = order * 1000 + a * b
        counts[10] = order
        order = 0
        for c in Color:
            order = order * 10 + c
        counts[11] = order
        order = 0
        for i, (a, b) in enumerate(((1, 2), (3, 4))):
            order = order * 1000 + i * 100 + a * 10 + b
        counts[12] = order
        for c in e.comm:
            counts[13] += c
        """
    )
    run(0, 3)
    sizes = (10, 20, 30, 40)
    assert dict(run.maps["counts"].items()) == {
        1: 200,
        2: 300,
        3: 40302010,
        4: 4321,
        5: 210,
        6: 2030,
        7: 102030,
        8: 3040,
        9: 10021032043,
        10: 30 * 10**6 + 100 * 1000 + 210,
        11: 12,
        12: 12 * 1000 + 134,
        13: sum(b"abc"),
    }
    for n in (0, 1, 9):
        run(0, n)
        both = [0, 0]
        for x in sizes[:n]:
            both[0] = both[0] * 100 + x
        for x in sizes[n - 5 :]:
            both[1] = both[1] * 100 + x
        assert [run.maps["counts"][7], run.maps["counts"][8]] == both


def test_a_large_array_is_gone_through(build):
    run = build(
        """
        for x in table.value:
            total.value += x
        """,
        above="table = bp.Global[u32[20000]]()",
    )
    run.globals.table = range(20000)
    run()
    assert run.globals.total == sum(range(20000))


# -- while


def test_while_with_a_bound(build):
    run = build(
        """
        x = number
        while x != 1 and bp.bounded(1000):
            x = x // 2 if x % 2 == 0 else 3 * x + 1
            total.value += 1
        else:
            return 1
        return 0
        """
    )

    def collatz(n: int) -> int:
        steps = 0
        while n != 1 and steps < 1000:
            n = n // 2 if n % 2 == 0 else 3 * n + 1
            steps += 1
        return steps

    for n in (1, 2, 27, 97, 871):
        run.globals.total = 0
        run(0, n)
        assert run.globals.total == collatz(n), n
    run.globals.total = 0
    run(0, 0)
    assert run.globals.total == 1000


def test_a_walk_along_pointers(build):
    run = build(
        """
        task = bp.current_task()
        while task.tgid != 1 and bp.bounded(64):
            total.value += 1
            task = task.real_parent
        return task.tgid
        """
    )
    assert run() == 1
    assert run.globals.total > 0


# -- the kernel's iterators


def test_tasks_and_threads(build, needs):
    import threading

    needs("bpf_iter_task_new")
    run = build(
        """
        with bp.rcu():
            for task in bp.tasks():
                if task.tgid == number:
                    counts[1] += 1
                    for thread in bp.threads(bp.current_task()):
                        if thread.pid == 0:
                            return 1
                        counts[2] += 1
                    break
            for thread in bp.threads():
                if thread.tgid == number:
                    counts[3] += 1
        """
    )
    stop = threading.Event()
    workers = [threading.Thread(target=stop.wait) for _ in range(3)]
    for w in workers:
        w.start()
    try:
        run(0, os.getpid())
        threads = len(os.listdir("/proc/self/task"))
    finally:
        stop.set()
        for w in workers:
            w.join()
    assert dict(run.maps["counts"].items()) == {1: 1, 2: threads, 3: threads}


def test_memory_areas(build, needs):
    needs("bpf_iter_task_vma_new")
    run = build(
        """
        for vma in bp.vmas(bp.current_task()):
            counts[1] += 1
            if vma.vm_start > vma.vm_end:
                return 1
        """
    )
    run()
    with open("/proc/self/maps") as f:
        lines = [x for x in f if "vsyscall" not in x]
    assert abs(run.maps["counts"][1] - len(lines)) <= 4


def test_bits(build):
    run = build(
        """
        for bit in bp.bits(number):
            counts[bit] += 1
            if bit == 40:
                break
        """
    )
    for n in (0, 1, 0b101101, (1 << 63) | 2, (1 << 40) | (1 << 50) | 1):
        run.maps["counts"].clear()
        run(0, n)
        want = {i: 1 for i in range(64) if n >> i & 1}
        if 40 in want:
            want = {i: 1 for i in want if i <= 40}
        assert dict(run.maps["counts"].items()) == want


def test_bits_of_an_array(build, needs):
    needs("bpf_iter_bits_new")
    run = build(
        """
        w = Words(words=(number, 5))
        for bit in bp.bits(w.words):
            counts[bit] += 1
        """,
        above="class Words(bp.Struct):\n    words: u64[2]",
    )
    run(0, 3)
    assert sorted(run.maps["counts"].keys()) == [0, 1, 64, 66]


def test_the_cgroups_above_one(ktypes, tmp_path, needs):
    """The cgroup is an argument of the hook: the verifier trusts it."""
    needs("bpf_iter_css_new")
    body = """
    for css in bp.css(cgrp.self, "ancestors"):
        total.value += 1
    for css in bp.css(cgrp.self, "descendants"):
        counts[css.cgroup.level] += 1
    """
    text = lang_module.program(body, hook='tp_btf("cgroup_mkdir")', params="cgrp, path")
    data = lang.compile(decl.programs_in(vars(lang_module.make(text, tmp_path))), ktypes=ktypes)
    with open("/proc/mounts") as f:
        (top, *_) = [x.split()[1] for x in f if x.split()[2] == "cgroup2"] or [""]
    if not top:
        pytest.skip("no cgroup2 file system is mounted")
    folder = Path(top) / f"probee-{os.getpid()}"
    with load(read_object(data)) as c, c.programs["program"].attach():
        try:
            folder.mkdir()
        except OSError as e:
            pytest.skip(f"no cgroup can be made here: {e.strerror}")
        folder.rmdir()
        assert c.globals.total == 2  # itself and the root
        assert dict(c.maps["counts"].items()) == {1: 1}


def test_a_kernel_list(build):
    import subprocess

    run = build(
        """
        task = bp.current_task()
        for child in bp.list_of("task_struct", task.children, "sibling", 100):
            counts[child.tgid] = child.real_parent.tgid
            total.value += 1
            if total.value == number:
                break
        """
    )
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    try:
        run(0, 1000)
        seen = dict(run.maps["counts"].items())
        assert {c.pid: os.getpid() for c in children}.items() <= seen.items()
        run.maps["counts"].clear()
        run.globals.total = 0
        run(0, 1)
        assert len(run.maps["counts"]) == 1
    finally:
        for c in children:
            c.kill()
            c.wait()


# -- match

MATCHES = """
match number:
    case 1 | 2 as small:
        return small * 10
    case n if n > 1000:
        return 1000
    case Color.BLUE:
        return 2
    case 7:
        pass
    case int(x) if x == 8:
        return -8
    case _:
        x = 3
        match (number, i64(regs)):
            case (5, 0):
                return 50
            case (5, y) if y > 3:
                return 51
            case (5 | 6, _):
                return 52
            case _:
                return x
return 70
"""


def test_match_numbers_and_tuples(build):
    run = build(MATCHES, hook='raw_tracepoint("sys_exit")')
    space = lang_module.PRELUDE.partition("counts =")[0]
    code = space + "def model(regs, number):\n    i64 = int\n" + textwrap.indent(MATCHES, "    ")
    names: dict[str, Any] = {}
    exec(code, names)
    for regs in (0, 3, 4):
        for number in (0, 1, 2, 3, 5, 6, 7, 8, 9, 2000):
            ctx = struct.pack("<qq", regs, number)
            value = run.collection.programs["program"].test_run(ctx=ctx)[0]
            assert value - (value >> 31 << 32) == names["model"](regs, number), (regs, number)


def test_match_structs_texts_and_none(build):
    run = build(
        """
        e = Exec(pid=number, comm="bash", at=Point(x=3, y=number))
        match e.at:
            case Point(x=3, y=4):
                counts[1] = 34
            case Point(x=3, y=y) if y > 10:
                counts[1] = y
            case Padded():
                counts[1] = 1
            case Point(x, 5 | 6):
                counts[1] = x + 100
            case _:
                counts[1] = 999
        match e.comm:
            case "sh" | "dash":
                counts[2] = 1
            case "bash":
                counts[2] = 2
        p = points.get(number)
        match p:
            case None:
                counts[3] = 1
            case Point(x=1):
                counts[3] = 2
            case q:
                counts[3] = q.x
        match e.sizes:
            case [0, *_]:
                counts[4] = 1
        """
    )
    run.maps["points"].update({4: {"x": 1, "y": 1}, 5: {"x": 77, "y": 1}})
    seen = []
    for n in (4, 11, 5, 9):
        run(0, n)
        seen.append([run.maps["counts"].get(i) for i in (1, 2, 3, 4)])
    assert seen == [[34, 2, 2, 1], [11, 2, 1, 1], [103, 2, 77, 1], [999, 2, 1, 1]]


# -- what is known when the program is compiled


def test_static(build):
    run = build(
        """
        if bp.static(sys.maxsize < 5 or DEBUG):
            this_is_never(compiled)
        for i in bp.static(range(3)):
            counts[i] = bp.static([x * x for x in SQUARES])[2]
        mask = bp.static(sum(1 << b for b in BITS))
        for name, value in bp.static(tuple(TABLES.items())):
            counts[value] = len(name)
        assert mask == 0b10110
        n = number & 7
        assert n < 8, "the compiler can tell"
        return bp.static(biggest(4, 9)) + mask
        """,
        above="""
        import sys
        DEBUG = False
        SQUARES = (1, 5, 7)
        BITS = {1, 2, 4}
        TABLES = {"one": 11, "three": 13}

        def biggest(a, b):
            return max([a, b])
        """,
    )
    assert run() == 9 + 0b10110
    assert dict(run.maps["counts"].items()) == {0: 49, 1: 49, 2: 49, 11: 3, 13: 5}


def test_jump(build):
    run = build(
        """
        total.value += 1
        bp.jump(programs, number)
        total.value += 10
        """,
        above="""
        @bp.raw_tracepoint("sys_enter")
        def second(regs, number):
            total.value += 100
        """,
    )
    run.maps["programs"][1] = run.collection.programs["second"]
    run(0, 1)
    assert run.globals.total == 101
    run(0, 2)
    assert run.globals.total == 112
