"""The language in the kernel: each feature runs, and its effect is looked at."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import lang_module
from probee import lang
from probee.kernel.load import Collection, load
from probee.lang import decl
from probee.obj import read_object

pytestmark = pytest.mark.root


class Run:
    """A loaded module; calling it runs its program once with two numbers as the hook's arguments."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.maps = collection.maps
        self.globals = collection.globals

    def __call__(self, a: int = 0, b: int = 0) -> int:
        ctx = struct.pack("<QQ", a & (1 << 64) - 1, b & (1 << 64) - 1)
        value = self.collection.programs["program"].test_run(ctx=ctx)[0]
        return value - (1 << 32) if value >> 31 else value


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.fixture
def build(ktypes, tmp_path) -> Iterator[Callable[..., Run]]:
    with ExitStack() as stack:

        def build(
            body: str, *, values: dict[str, bytes] | None = None, plain: bool = True, **more: Any
        ) -> Run:
            module = lang_module.make(lang_module.program(body, **more), tmp_path)
            data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes, merge_syscalls=not plain)
            return Run(stack.enter_context(load(read_object(data), values=values)))

        yield build


def test_result(build):
    assert build("return number * 2 + 1")(0, 20) == 41
    assert build("pass")() == 0
    assert build("return -1")() == -1


# -- maps


def test_hash_of_numbers(build):
    run = build(
        """
        counts[1] = 10
        counts[2] += 5
        counts[2] += 5
        counts[3] = counts[1] + counts[77]
        if 1 in counts and 78 not in counts:
            counts[4] = 1
        counts[5] = counts.get(1, 99)
        counts[6] = counts.get(79, 99)
        v = counts.get(1)
        if v is None:
            return 1
        w = counts.get(80)
        if w is not None:
            return 2
        counts[7] = v
        counts[8] = counts.pop(7, 0)
        counts[9] = counts.pop(7, 3)
        gone = counts.pop(8)
        if gone is None:
            return 3
        counts[10] = gone
        counts[11] = 1
        del counts[11]
        del counts[12]
        counts[13] = 7
        counts[13] -= 3
        counts[13] |= 0x10
        counts[13] ^= 0x1
        counts[13] &= 0x1F
        counts[13] *= 2
        counts[13] <<= 1
        return counts.delete(999)
        """
    )
    assert run() == -2  # ENOENT
    left = dict(run.maps["counts"].items())
    assert left == {
        1: 10,
        2: 10,
        3: 10,
        4: 1,
        5: 10,
        6: 99,
        9: 3,
        10: 10,
        13: (((7 - 3 | 0x10) ^ 1) & 0x1F) * 4,
    }


def test_hash_of_structs(build):
    run = build(
        """
        points[1] = Point(x=3, y=-4)
        points[1].x += 1
        points[2].y -= 1
        points[3].x = points[2].y * 10
        if p := points.get(1):
            p.y = -p.y
            p.x += 1
        q = points.get(99)
        if q is None:
            points[4] = Point(x=points[99].x + 1)
        elif q.x:
            return 1
        r = points.pop(3)
        if not r:
            return 2
        points[5] = r
        if (s := points.get(5)) and s.x == -10:
            points[6].x = s.x
        t = points.pop(3)
        if t:
            return 3
        return points[1].x
        """
    )
    assert run() == 5
    assert {k: (v.x, v.y) for k, v in run.maps["points"].items()} == {
        1: (5, 4), 2: (0, -1), 4: (1, 0), 5: (-10, 0), 6: (-10, 0),
    }  # fmt: skip


def test_nested_fields_and_arrays_in_map_values(build):
    run = build(
        """
        i = number
        execs_by_pid[1].at.x += 7
        execs_by_pid[1].sizes[2] += 5
        execs_by_pid[1].sizes[i] = 9
        execs_by_pid[1].sizes[i + 100] = 9
        execs_by_pid[1].comm = "abc"
        execs_by_pid[2].comm = execs_by_pid[1].comm
        if execs_by_pid[2].comm == "abc" and execs_by_pid[9].comm == "":
            execs_by_pid[2].pid = execs_by_pid[1].sizes[i] + execs_by_pid[1].sizes[i + 100]
        return execs_by_pid[1].at.x
        """
    )
    assert run(0, 3) == 7
    one, two = run.maps["execs_by_pid"][1], run.maps["execs_by_pid"][2]
    assert (one.at.x, tuple(one.sizes), one.comm) == (7, (0, 0, 5, 9), "abc")
    assert (two.comm, two.pid) == ("abc", 9)


def test_arrays(build):
    run = build(
        """
        slots[1] = 5
        slots[number] += 2
        slots[number + 100] += 2
        slots[number + 100] = 2
        percpu[1] += 3
        percpu[1] += 3
        v = slots.get(number)
        if v is not None:
            slots[3] = v
        if slots.get(number + 100) is None:
            slots[4] = 1
        slots[5] = slots[number + 100] + 11
        return 100 in slots
        """
    )
    assert run(0, 2) == 0
    assert list(run.maps["slots"].values())[:6] == [0, 5, 2, 2, 1, 11]
    assert sum(run.maps["percpu"][1]) == 6


def test_keys_of_padded_structs_and_text(build):
    run = build(
        """
        by_struct[Padded(a=1, b=2, c=3)] = 5
        key = Padded()
        key.c = 3
        key.b = 2
        key.a = 1
        by_struct[key] += 1
        key.b = number
        by_struct[key] = 9
        names[bp.comm()] += 1
        names["bash"] = 2
        who = bp.comm()
        names[who] += 1
        e = Exec(comm="zsh")
        names[e.comm] = 3
        """
    )
    run(0, 77)
    keys = {(k.a, k.b, k.c): v for k, v in run.maps["by_struct"].items()}
    assert keys == {(1, 2, 3): 6, (1, 77, 3): 9}
    comm = Path("/proc/self/comm").read_text().strip()
    assert dict(run.maps["names"].items()) == {comm: 2, "bash": 2, "zsh": 3}


def test_update_flags(build):
    run = build("counts[1] = 1\nreturn counts.update(1, 5, 1)")  # BPF_NOEXIST
    assert run() == -17
    run = build("return counts.update(1, 5, 0)")
    assert run() == 0
    assert run.maps["counts"][1] == 5


def test_keys_are_stored_again_when_their_variable_changes(build):
    run = build(
        """
        k = number
        counts[k] = 1
        counts[k] += 1
        for i in range(3):
            counts[k] += 10
            k += 1
            counts[k] += 100
        if number:
            k = 50
            counts[k] = 1
        counts[k] += 5
        """
    )
    run(0, 1)
    assert dict(run.maps["counts"].items()) == {1: 12, 2: 110, 3: 110, 4: 100, 50: 6}


# -- ring buffers


def test_record(build):
    run = build(
        """
        with rb.reserve() as e:
            e.pid = number
            if number == 1:
                e.kind = 9
                return 1
            if number == 2:
                e.comm = "two"
            e.at.y = -3
            e.sizes[1] = 4
        return 5
        """
    )
    ring = run.maps["rb"]
    noise = build("with rb.reserve() as e:\n    e.time_ns = -1\n    e.comm = 'xxxxxxxxxxxxxxxx'\n")
    noise()
    assert run(0, 1) == 1
    assert run(0, 2) == 5
    assert run(0, 3) == 5
    got = ring.consume()
    assert [(e.pid, e.kind, e.comm, e.at.x, e.at.y, tuple(e.sizes), e.time_ns) for e in got] == [
        (1, 9, "", 0, 0, (0, 0, 0, 0), 0),
        (2, 0, "two", 0, -3, (0, 4, 0, 0), 0),
        (3, 0, "", 0, -3, (0, 4, 0, 0), 0),
    ]


def test_unassigned_fields_are_zero_in_used_memory(build):
    run = build(
        """
        if number == 0:
            with rb.reserve() as e:
                e.time_ns = -1
                e.pid = -1
                e.kind = -1
                e.comm = "xxxxxxxxxxxxxxxx"
                e.at = Point(x=-1, y=-1)
                e.sizes = (1, 2, 3, 4)
        else:
            with rb.reserve() as e:
                if number == 1:
                    e.pid = 7
                e.at.x = e.kind + e.at.y
                e.kind = 3
        """
    )
    ring = run.maps["rb"]
    for _ in range(100):  # all of the buffer is used before
        run(0, 0)
        ring.consume()
    run(0, 1)
    run(0, 2)
    got = [(e.time_ns, e.pid, e.kind, e.comm, e.at.x, e.at.y, tuple(e.sizes)) for e in ring.consume()]
    assert got == [(0, 7, 3, "", 0, 0, (0, 0, 0, 0)), (0, 0, 3, "", 0, 0, (0, 0, 0, 0))]


def test_record_in_a_loop(build):
    run = build(
        """
        for i in range(5):
            with rb2.reserve() as p:
                if i == 1:
                    continue
                p.x = i
                if i == 3:
                    break
        return i
        """
    )
    assert run() == 3
    assert [p.x for p in run.maps["rb2"].consume()] == [0, 0, 2, 3]


def test_full_ring_buffer_counts_drops(build):
    run = build(
        """
        done = 0
        for i in range(100):
            with rb.reserve() as e:
                e.pid = i
                done += 1
        failed = rb.output(Exec(pid=1))
        return done
        """
    )
    done = run()
    assert 0 < done < 100
    assert run.globals["__dropped_rb"] == 101 - done
    assert run.maps["rb"].dropped == 101 - done
    assert len(run.maps["rb"].consume()) == done


def test_output(build):
    run = build("e = Exec(pid=4)\ne.comm = bp.comm()\nreturn rb.output(e)")
    assert run() == 0
    (e,) = run.maps["rb"].consume()
    assert (e.pid, e.comm, e.time_ns) == (4, Path("/proc/self/comm").read_text().strip(), 0)


# -- text


def test_text(build):
    run = build(
        """
        e = Exec()
        e.comm = "hello"
        f = Exec(comm=e.comm)
        bits = 0
        if e.comm == "hello":
            bits |= 1
        if e.comm != "hell" and e.comm != "hello!" and not e.comm == "":
            bits |= 2
        if f.comm == e.comm:
            bits |= 4
        if e.comm.startswith("hel") and not e.comm.startswith("hal"):
            bits |= 8
        if e.comm[1] == ord("e") and e.comm[number] == ord("o") and e.comm[number + 90] == 0:
            bits |= 16
        if len(e.comm) == 5 and len("abc") == 3:
            bits |= 32
        e.comm = "x"
        if f.comm == "hello" and e.comm != f.comm:
            bits |= 64
        if e.comm in ("a", "x") and e.comm not in ("b", "c"):
            bits |= 128
        word = e.comm
        e.comm = "changed"
        if word == "x" and word:
            bits |= 256
        wide = Char[32]("hello")
        if wide == f.comm:
            bits |= 512
        wide = "hello, a longer text"
        if wide != f.comm and len(wide) == 20:
            bits |= 1024
        f.comm = "0123456789abcdef"
        if f.comm == "0123456789abcdef" and len(f.comm) == 16:
            bits |= 2048
        what = "read" if number else "write"
        if what == "read":
            bits |= 4096
        if name == "bash" and e.comm != name and name[0]:
            bits |= 8192
        e.comm = ""
        if not e.comm:
            bits |= 16384
        match f.comm:
            case "nothing":
                bits = 0
            case "0123456789abcdef" | "x":
                bits |= 32768
        return bits
        """
    )
    assert run(0, 4) == 0xFFFF


def test_comm_and_comparison_with_constant(build):
    comm = Path("/proc/self/comm").read_text().strip()
    run = build("return bp.comm() == name", values={"name": comm.encode().ljust(16, b"\0")})
    assert run() == 1
    assert build("return bp.comm() == name")() == 0
    assert build(f"return bp.comm() == {comm!r}")() == 1
    assert build(f"return bp.comm() == {comm[:-1]!r}")() == 0


def test_strings_of_kernel_and_user(build):
    import ctypes

    text = ctypes.create_string_buffer(b"in user memory")
    run = build(
        """
        task = bp.current_task()
        e = Exec(comm=bp.user_str(number))
        f = Exec(comm=task.comm)
        g = Exec(comm=bp.kernel_str(task.comm))
        rb.output(e)
        rb.output(f)
        rb.output(g)
        return len(bp.user_str(number))
        """
    )
    assert run(0, ctypes.addressof(text)) == 14
    comm = Path("/proc/self/comm").read_text().strip()
    assert [e.comm for e in run.maps["rb"].consume()] == ["in user memory", comm, comm]


# -- numbers and control flow


def test_conditions(build):
    run = build(
        """
        a = number
        bits = 0
        if 1 < a < 10:
            bits |= 1
        if not (a < 3 or a > 8) and a != 7:
            bits |= 2
        b = a or 5
        c = a and 6
        d = 0 or a
        bits |= b << 8 | c << 16
        e = 1 if a > 3 else 2 if a > 2 else 3
        bits |= e << 4
        if (z := a * 2) > 9:
            bits |= 4
        f = z > 9
        g = not f
        if f == True and g is not None:
            bits |= 8
        return bits
        """
    )

    def expected(a: int) -> int:
        bits = 1 if 1 < a < 10 else 0
        bits |= 2 if not (a < 3 or a > 8) and a != 7 else 0
        bits |= (a or 5) << 8 | (a and 6) << 16
        bits |= (1 if a > 3 else 2 if a > 2 else 3) << 4
        return bits | (12 if a * 2 > 9 else 0)

    for a in (0, 1, 2, 3, 4, 5, 7, 9, 10, 50):
        assert run(0, a) == expected(a), a


def test_loops(build):
    run = build(
        """
        n = number
        total = 0
        for i in range(n):
            if i == 3:
                continue
            if i == 8:
                break
            total += i
        else:
            total += 1000
        for i in range(10, 0, -3):
            total += i
        for i in range(2, 9, 4):
            total += i
        k = 0
        while k < 5:
            k += 1
            if k == 2:
                continue
            if k == n:
                break
            total += 1
        else:
            total += 10000
        e = Exec()
        e.sizes = (1, 2, 3, 4)
        for size in e.sizes:
            total += size
        for p in NUMBERS:
            if p == 7:
                break
            total += p
        else:
            total += 100000
        for _ in range(0):
            total += 1
        for i in range(2):
            for j in range(3):
                if j == 2:
                    break
                total += 100
        return total
        """
    )

    def expected(n: int) -> int:
        total = 0
        for i in range(n):
            if i == 3:
                continue
            if i == 8:
                break
            total += i
        else:
            total += 1000
        total += 10 + 7 + 4 + 1 + 2 + 6
        k = 0
        while k < 5:
            k += 1
            if k == 2:
                continue
            if k == n:
                break
            total += 1
        else:
            total += 10000
        return total + 10 + 3 + 5 + 400

    for n in (0, 1, 3, 4, 5, 8, 9, 30):
        assert run(0, n) == expected(n), n


def test_match(build):
    run = build(
        """
        match number:
            case 0 | 1:
                return 10
            case Color.BLUE:
                return 20
            case N:
                return N
        """
    )
    assert [run(0, n) for n in (0, 1, 2, 3, 10)] == [10, 10, 20, 3, 10]
    run = build(
        """
        x = 0
        match number & 0xFF:
            case 1:
                x = 1
            case n if n > 100:
                x = n
            case -5 | 7:
                x = 7
            case _:
                x = 99
        return x
        """
    )
    assert [run(0, n) for n in (1, 2, 7, 101, 200)] == [1, 99, 7, 101, 200]


def test_numbers(build):
    run = build(
        """
        x: u8 = number
        y: i16 = number
        slots[0] = x
        slots[1] = y < 0
        slots[2] = u32(number) + i8(number)
        slots[3] = abs(y) + max(1, number, 7) + min(number, 9)
        slots[4] = 2 ** 40 + (1 << 3) + -1 ** 2
        slots[5] = number ** 3
        a, b = 1, 2
        a, b = b, a
        slots[6] = a * 10 + b
        c = d = 4
        slots[7] = int(True) + bool(number) + c + d + TABLE[2] + NUMBERS[1] + Color.RED + len(NAMES)
        return (number in NUMBERS) + (number in range(300, 310)) + (number in {1, 300})
        """
    )
    assert run(0, 300) == 2
    i8 = (300 + 128) % 256 - 128
    values = list(run.maps["slots"].values())
    assert values[:4] == [44, 0, 300 + i8, 300 + 300 + 9]
    assert values[4:] == [2**40 + 8 - 1, 300**3, 21, 1 + 1 + 8 + 20 + 5 + 1 + 2]


def test_constants_decide_at_compile_time(build):
    run = build(
        """
        assert bp.sizeof(Exec) == 56 and bp.sizeof(u32[4]) == 16
        assert N > 3, "N is too small"
        if N == 10 or nonsense:
            return 3
        return nonsense()
        """
    )
    assert run() == 3


def test_const_and_global(build):
    body = """
        total.value += 5
        total.value |= 2
        signed_total.value -= number
        current.value.x = 3
        current.value.y += 4
        if limit > 10 and limit.value != 12:
            return limit
        return total.value
        """
    run = build(body)
    assert run(0, 9) == 7
    assert run.globals["total"] == 7
    assert run.globals["signed_total"] == -9
    assert (run.globals["current"].x, run.globals["current"].y) == (3, 4)
    assert build(body, values={"limit": struct.pack("<I", 50)})() == 50


# -- subprograms


def test_subprograms(build):
    above = """
        def add(a, b=10, *, scale=1):
            return (a + b) * scale

        def narrow(a: u8) -> i8:
            return a + 1

        def bump(m, key, by):
            m[key] += by

        def fill(e, comm):
            e.comm = comm
            e.at.x = 5

        def find(key):
            p = points.get(key)
            if p is None:
                return
            return p

        def is_big(n):
            return n > 100

        def parent(task):
            return task.real_parent

        def same(e, text):
            return e.comm == text

        class Group:
            def double(n):
                return n * 2
        """
    run = build(
        """
        slots[0] = add(1) + add(1, 2) + add(b=1, a=2, scale=100)
        slots[1] = narrow(number) < 0
        bump(slots, 2, 7)
        bump(counts, 2, 8)
        e = Exec()
        fill(e, "filled")
        rb.output(e)
        points[4].x = 44
        if p := find(4):
            slots[3] = p.x
        if find(5) is None:
            slots[4] = 1
        slots[5] = is_big(number) + 2 * (not is_big(3))
        slots[6] = parent(bp.current_task()).tgid
        slots[7] = same(e, "filled") + 2 * same(e, e.comm) + 4 * same(e, "x") + Group.double(8)
        """,
        above=above,
    )
    run(0, 127 + 256)
    assert list(run.maps["slots"].values()) == [11 + 3 + 300, 1, 7, 44, 1, 3, os.getppid(), 19]
    assert run.maps["counts"][2] == 8
    (e,) = run.maps["rb"].consume()
    assert (e.comm, e.at.x) == ("filled", 5)


def test_subprogram_with_the_context(build):
    above = """
        def stack_of(n):
            return bp.kstack(stacks) if n else -1

        def path_of(args, e):
            e.comm = args.filename
            e.pid = args.pid
            return args.old_pid
        """
    run = build("return stack_of(number) >= 0", above=above)
    assert run(0, 1) == 1
    assert run(0, 0) == 0
    assert len(run.maps["stacks"]) == 1
    run = build(
        "with rb.reserve() as e:\n    e.sizes[0] = path_of(args, e)",
        above=above,
        hook='tracepoint("sched:sched_process_exec")',
        params="args",
    )
    with run.collection.programs["program"].attach():
        child = subprocess.run(["/bin/true"], check=True, stdout=subprocess.PIPE)
    assert child.returncode == 0
    assert "/bin/true" in [e.comm for e in run.maps["rb"].consume()]


def test_std_log2(build):
    run = build("return bp.log2(number) * 1000 + bp.log2_linear(number, 3)")
    from probee.lang.std import log2, log2_linear

    for n in (0, 1, 2, 3, 7, 8, 9, 100, 4096, 123456789, 2**62):
        assert run(0, n) == log2(n) * 1000 + log2_linear(n, 3), n


def test_tail_call(build):
    run = build(
        "counts[1] = 1\nbp.tail_call(programs, number)\ncounts[2] = 2\nreturn 7",
        above="""
        @bp.raw_tracepoint("sys_enter")
        def next_one():
            counts[3] = 3
            return 9
        """,
    )
    run.maps["programs"][1] = run.collection.programs["next_one"].fd
    assert run(0, 1) == 9
    assert dict(run.maps["counts"].items()) == {1: 1, 3: 3}
    assert run(0, 0) == 7
    assert dict(run.maps["counts"].items()) == {1: 1, 2: 2, 3: 3}


# -- the kernel's data


def test_current_task(build):
    run = build(
        """
        task = bp.current_task()
        slots[0] = task.tgid
        slots[1] = task.real_parent.tgid
        slots[2] = task.mm.arg_start
        slots[3] = task.cred.uid.val
        slots[4] = task.nsproxy.uts_ns.ns.inum
        slots[5] = bp.pid() == task.tgid and bp.tid() == task.pid
        slots[6] = task.real_parent.real_parent.pid
        slots[7] = task.thread_pid.numbers[0].nr
        e = Exec(comm=task.group_leader.comm, pid=bp.uid())
        rb.output(e)
        if task.mm and task.real_parent is not None and task != task.real_parent:
            return u64(task) == u64(bp.curtask())
        """
    )
    assert run() == 1
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    parent = Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()
    values = list(run.maps["slots"].values())
    assert values[:4] == [os.getpid(), os.getppid(), int(stat[45]), os.getuid()]
    assert values[4] == int(os.readlink("/proc/self/ns/uts").strip("uts:[]"))
    assert values[5:] == [1, int(parent[1]), os.getpid()]
    (e,) = run.maps["rb"].consume()
    assert (e.comm, e.pid) == (Path("/proc/self/comm").read_text().strip(), os.getuid())


def test_existence_checks(build):
    run = build(
        """
        task = bp.current_task()
        bits = 0
        if hasattr(task, "real_parent"):
            bits |= 1
        if hasattr(task, "never_was_there"):
            bits |= task.never_was_there
        if hasattr(task.mm, "arg_start"):
            bits |= 4
        if bp.kernel_type_exists("struct task_struct"):
            bits |= 8
        if bp.kernel_type_exists("struct never_was_there"):
            bits |= 16
        if bp.sizeof("struct task_struct") > 1000 and bp.sizeof(task) == bp.sizeof("struct task_struct"):
            bits |= 32
        if hasattr(Exec(), "pid") and not hasattr(Exec(), "nope"):
            bits |= 64
        p = bp.cast("struct task_struct", u64(task))
        if p.tgid == task.tgid:
            bits |= 128
        return bits
        """
    )
    assert run() == 1 | 4 | 8 | 32 | 64 | 128


def test_helpers_by_name(build):
    import ctypes

    data = ctypes.create_string_buffer(struct.pack("<I", 0xABCD))
    run = build(
        """
        e = Exec()
        failed = bp.probe_read_user(e.sizes, 4, number)
        slots[0] = e.sizes[0]
        slots[1] = bp.ktime_get_ns()
        slots[2] = bp.get_smp_processor_id() == bp.cpu()
        slots[3] = bp.get_current_pid_tgid() >> 32
        slots[4] = bp.get_current_uid_gid() & 0xFFFFFFFF
        slots[5] = bp.gid()
        slots[6] = bp.rand() < 2 ** 32
        p = Point()
        bp.probe_read_kernel(p, bp.sizeof(p), bp.current_task().comm)
        slots[7] = p.x
        if v := bp.map_lookup_elem(points, e.at.x):
            return v.x
        return failed
        """
    )
    before = time.monotonic_ns()
    assert run(0, ctypes.addressof(data)) == 0
    values = list(run.maps["slots"].values())
    assert values[0] == 0xABCD
    assert before < values[1] < time.monotonic_ns()
    assert values[2:7] == [1, os.getpid(), os.getuid(), os.getgid(), 1]
    comm = Path("/proc/self/comm").read_text().strip().encode().ljust(16, b"\0")
    assert values[7] == struct.unpack("<i", comm[:4])[0]


def test_kernel_arrays_and_pointers(build):
    run = build(
        """
        task = bp.current_task()
        bits = 0
        for i in range(4):
            if task.comm[i]:
                bits |= 1 << i
        k = number
        if task.comm[k] == task.comm[0]:
            bits |= 256
        if task.comm[k + 1000] == 0:
            bits |= 512
        return bits
        """
    )
    assert run(0, 0) & 0xF00 == 0x300


def test_print(build):
    mark = f"probee-{os.getpid()}"
    run = build(
        f"""
        print(f"{mark} {{number}} {{number:x}} {{u64(number):#x}} 100%")
        print("{mark}", number, bp.comm(), "end")
        e = Exec(comm="a text", pid=5)
        print(f"{mark} {{e.comm}}|{{e.comm:>8}}|{{e.comm:8}}|{{e.pid:<4}}|{{e.pid:04d}}|{{N}}|{{limit}}")
        bp.printf(f"{mark} {{bp.current_task().comm}} {{number:+d}} {{number > 3}}")
        print("{mark} plain")
        """
    )
    end = time.monotonic() + 5
    while time.monotonic() < end:  # whoever else reads the trace pipe takes lines away
        run(0, 26)
        seen = Path("/sys/kernel/tracing/trace").read_text(errors="replace")
        if seen.count(mark) >= 5:
            break
    comm = Path("/proc/self/comm").read_text().strip()
    lines = [mark + line.split(mark, 1)[1] for line in seen.splitlines() if mark in line]
    assert lines[-5:] == [
        f"{mark} 26 1a 0x1a 100%",
        f"{mark} 26 {comm} end",
        f"{mark} a text|  a text|a text  |5   |0005|10|7",
        f"{mark} {comm} +26 1",
        f"{mark} plain",
    ]


# -- hooks


def test_tracepoint_arguments(build):
    run = build(
        """
        if bp.pid() != limit:
            return
        with rb.reserve() as e:
            e.comm = bp.user_str(args.filename) if False else args.filename
            e.pid = args.flags
            e.kind = args.dfd
        """,
        hook='tracepoint("syscalls:sys_enter_openat")',
        params="args",
        values={"limit": struct.pack("<I", os.getpid())},
    )
    with run.collection.programs["program"].attach():
        os.close(os.open("/dev/null", os.O_WRONLY))
    opened = [(e.comm, e.pid & 3, e.kind) for e in run.maps["rb"].consume()]
    assert ("/dev/null", os.O_WRONLY, 0x9C) in opened  # AT_FDCWD is -100


def test_merged_system_calls(build):
    above = """
        @bp.tracepoint("syscalls:sys_exit_openat")
        def leave(args):
            if bp.pid() == limit:
                slots[1] += 1
                slots[2] = args.ret
        """
    run = build(
        "if bp.pid() == limit:\n    slots[0] += 1\n    slots[3] = args.mode",
        above=above,
        hook='tracepoint("syscalls:sys_enter_openat")',
        params="args",
        values={"limit": struct.pack("<I", os.getpid())},
        plain=False,
    )
    assert sorted(p.spec.section for p in run.collection.programs.values()) == [
        "tp_btf/sys_enter",
        "tp_btf/sys_exit",
    ]
    with ExitStack() as stack:
        for p in run.collection.programs.values():
            stack.enter_context(p.attach())
        fd = os.open("/dev/null", os.O_RDONLY, 0o123)
        os.close(fd)
    values = list(run.maps["slots"].values())
    assert values[0] == values[1] >= 1
    assert values[2] == fd


def test_merged_program_that_needs_its_context_stays_alone(build):
    run = build(
        "if bp.pid() == limit:\n    slots[0] = bp.ustack(stacks)\n    slots[1] = 1",
        hook='tracepoint("syscalls:sys_enter_openat")',
        params="args",
        values={"limit": struct.pack("<I", os.getpid())},
        plain=False,
    )
    assert [p.spec.section for p in run.collection.programs.values()] == ["tp/syscalls/sys_enter_openat"]
    with run.collection.programs["program"].attach():
        os.close(os.open("/dev/null", os.O_RDONLY))
    assert run.maps["slots"][1] == 1


def test_tp_btf_with_trusted_arguments(build):
    run = build(
        "if task.tgid == limit:\n    slots[0] = task.real_parent.tgid\n    names[task.comm] += 1",
        hook='tp_btf("sched_wakeup")',
        params="task",
        values={"limit": struct.pack("<I", os.getpid())},
    )
    with run.collection.programs["program"].attach():
        deadline = time.monotonic() + 5
        while not run.maps["slots"][0] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert run.maps["slots"][0] == os.getppid()
    assert Path("/proc/self/comm").read_text().strip() in dict(run.maps["names"].items())


def test_where_functions_may_stand(ktypes, tmp_path):
    text = (
        lang_module.PRELUDE
        + """
from probee import comm, pid, raw_tracepoint


class Group:
    @raw_tracepoint("sys_enter")
    def in_class():
        counts[1] = pid()


def outer(key):
    inside = bp.Hash[u32, u64](8)
    step = 5

    @raw_tracepoint("sys_enter")
    def in_function():
        counts[key] = step
        inside[1] = 1

    return in_function


two = outer(2)
"""
    )
    module = lang_module.make(text, tmp_path)
    data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes)
    with load(read_object(data)) as c:
        for p in c.programs.values():
            p.test_run(ctx=bytes(16))
        assert dict(c.maps["counts"].items()) == {1: os.getpid(), 2: 5}
        assert c.maps["inside"][1] == 1
