"""Loops, iterators, callbacks, subprograms, global functions, tail calls."""

from __future__ import annotations

import os

from selftest_ports import Live, Port, gives

import probee as bp
from probee import Char, i32, i64, u8, u32, u64

total = bp.Global[u64](0)
calls = bp.Global[u64](0)
counts = bp.Hash[u32, u64](64)
squares = bp.Array[u64](128)
jumps = bp.ProgArray(8)
jumps_inner = bp.ProgArray(8)


class Pair(bp.Struct):
    a: i32
    b: i32


class Big(bp.Struct):
    values: u8[256]


# ---- loops


@bp.raw_tracepoint("sys_enter")
def nested_loops(regs, number):
    result = 0
    for j in range(30):
        for i in range(j):
            if j & 1:
                result += 1
            else:
                result += i
    return result


@bp.raw_tracepoint("sys_enter")
def while_doubles(regs, number):
    i = 1
    rounds = 0
    while i < 1000:
        i = i * 2 if number & 1 else i + 40
        rounds += 1
    return rounds


@bp.raw_tracepoint("sys_enter")
def while_both_ends(regs, number):
    low = 0
    high = 60
    while low < high:
        low += 1 + (number & 3)
        high -= 1
    return low


@bp.raw_tracepoint("sys_enter")
def sum_of_array(regs, number):
    result = 0
    data = u32[8](1, 2, 3, 4, 5, 6, 7, 8)
    for i in range(8):
        result += data[i] * (1 + (number & 1))
    return result


@bp.raw_tracepoint("sys_enter")
def loop_with_break(regs, number):
    for i in range(200):
        if i * i > number:
            break
    else:
        return -1
    return i


@bp.raw_tracepoint("sys_enter")
def loops_in_functions(regs, number):
    result = 0
    for i in range(5):
        result += _sum_to(i + (number & 7))
    return result


def _sum_to(n: u64) -> u64:
    result = 0
    for i in range(n & 15):
        result += i
    return result


@bp.raw_tracepoint("sys_enter")
def many_rounds(regs, number):
    found = 0
    for i in range(1000):
        found += (i ^ number) & 1
    return found


@bp.raw_tracepoint("sys_enter")
def decimal_digits(regs, number):
    text = Char[16]("90210")
    value = 0
    for i in range(len(text)):
        value = value * 10 + (text[i] - 48)
    return value


# ---- bpf_loop and callbacks


@bp.raw_tracepoint("sys_enter")
def loop_callback(regs, number):
    result = 0

    def each(i):
        nonlocal result
        result += i
        return i >= 49

    done = bp.loop(number, each)
    total.value = result
    return done


@bp.raw_tracepoint("sys_enter")
def loop_callback_nested(regs, number):
    total.value = 0

    def inner(j):
        total.value += j

    def outer(i):
        bp.loop(i & 7, inner)

    bp.loop(number & 15, outer)
    return total.value


@bp.raw_tracepoint("sys_enter")
def loop_callback_too_many(regs, number):
    return bp.loop((1 << 24) + number, lambda i: 0)


@bp.raw_tracepoint("sys_enter")
def each_hash_element(regs, number):
    for i in range(5):
        counts[u32(i)] = i * 10
    most = 0
    sum = 0

    def visit(key, value):
        nonlocal most, sum
        sum += value
        if value > most:
            most = value

    seen = bp.for_each_map_elem(counts, visit)
    calls.value = seen
    total.value = most
    return sum


@bp.raw_tracepoint("sys_enter")
def each_array_element(regs, number):
    for i in range(128):
        squares[i] = i * i
    sum = 0

    def visit(key, value):
        nonlocal sum
        sum += value
        return key == 3

    bp.for_each_map_elem(squares, visit)
    return sum


@bp.raw_tracepoint("sys_enter")
def each_of_two_maps(regs, number):
    sum = 0

    def visit(key, value):
        nonlocal sum
        sum += key

    if number:
        bp.for_each_map_elem(counts, visit)
    else:
        bp.for_each_map_elem(squares, visit)
    return sum


# ---- open-coded iterators


@bp.raw_tracepoint("sys_enter")
def numbers_sum(regs, number):
    sum = 0
    for i in range(number):
        sum += i
    return sum


@bp.raw_tracepoint("sys_enter")
def numbers_from_below_zero(regs, number):
    sum = 0
    for i in range(i64(regs), i64(number)):
        sum += i
    return sum


@bp.raw_tracepoint("sys_enter")
def numbers_empty(regs, number):
    rounds = 0
    for _ in range(number, number & 1):
        rounds += 1
    return rounds


@bp.raw_tracepoint("sys_enter")
def numbers_nested(regs, number):
    rounds = 0
    for i in range(number):
        for j in range(number):
            if j > i:
                break
            rounds += 1
    return rounds


@bp.raw_tracepoint("sys_enter")
def numbers_into_an_array(regs, number):
    for i in range(number):
        squares[i] = i + 1
    sum = 0
    for i in range(128):
        sum += squares[i]
    return sum


@bp.raw_tracepoint("sys_enter")
def numbers_left_early(regs, number):
    for i in range(number):
        for j in range(number):
            if i * j == 42:
                return i * 100 + j
    return -1


@bp.raw_tracepoint("sys_enter")
def tasks_of_mine(regs, number):
    found = 0
    with bp.rcu():
        for task in bp.tasks():
            if task.tgid == number:
                found += 1
    return found


@bp.raw_tracepoint("sys_enter")
def areas_of_mine(regs, number):
    last = u64(0)
    rising = 1
    for vma in bp.vmas(bp.current_task()):
        if vma.vm_start < last:
            rising = 0
        last = vma.vm_end
    return rising if last else -1


@bp.raw_tracepoint("sys_enter")
def bits_of_a_mask(regs, number):
    sum = 0
    for bit in bp.bits(number):
        sum += bit
    return sum


@bp.raw_tracepoint("sys_enter")
def bounded_while(regs, number):
    n = number
    rounds = 0
    while n != 1 and bp.bounded(500):
        n = n * 3 + 1 if n & 1 else n >> 1
        rounds += 1
    return rounds


# ---- subprograms and global functions


def _scaled(a: u64, b: u64 = 3):
    return a * b


def _quotient(a: u64, b: u64):
    return a // b, a % b


@bp.raw_tracepoint("sys_enter")
def static_functions(regs, number):
    q, r = _quotient(_scaled(number), 10)
    return q * 100 + r


@bp.global_function
def deep_a(x: u64) -> u64:
    return deep_b(x + 1) * 2


@bp.global_function
def deep_b(x: u64) -> u64:
    return deep_c(x + 1) * 2


@bp.global_function
def deep_c(x: u64) -> u64:
    return x + 1


@bp.raw_tracepoint("sys_enter")
def global_chain(regs, number):
    return deep_a(number)


@bp.global_function
def fill(pair: Pair, x: i32) -> i32:
    pair.a += x
    pair.b = pair.a * 2
    return pair.b


@bp.raw_tracepoint("sys_enter")
def global_struct(regs, number):
    pair = Pair(a=3)
    fill(pair, i32(number))
    return pair.a * 100 + pair.b


@bp.global_function
def optional(pair: Pair | None) -> i32:
    if pair is None:
        return -5
    return pair.a


@bp.raw_tracepoint("sys_enter")
def global_optional(regs, number):
    pair = Pair(a=7)
    if number:
        return optional(pair)
    return optional(None)


@bp.global_function
def of_task(task: bp.kernel["task_struct"]) -> i32:  # noqa: F821, UP037
    return task.tgid


@bp.raw_tracepoint("sys_enter")
def global_trusted(regs, number):
    return of_task(bp.current_task())


@bp.global_function
def nothing(x: u64) -> None:
    calls.value = x + 1


@bp.raw_tracepoint("sys_enter")
def global_void(regs, number):
    nothing(number)
    return calls.value


@bp.global_function
def with_big(big: Big) -> u64:
    big.values[255] = 9
    return big.values[255] + big.values[0]


@bp.raw_tracepoint("sys_enter")
def global_stack_use(regs, number):
    big = Big()
    big.values[0] = u8(number)
    return with_big(big)


@bp.global_function
def global_loop(n: u64) -> u64:
    result = 0
    for i in range(n):
        result += squares_of(i)
    return result


def squares_of(i: u64) -> u64:
    return i * i


@bp.raw_tracepoint("sys_enter")
def global_with_loop(regs, number):
    return global_loop(number)


# ---- tail calls


@bp.raw_tracepoint("sys_enter")
def tail_zero(regs, number):
    return 100


@bp.raw_tracepoint("sys_enter")
def tail_one(regs, number):
    bp.jump(jumps, 0)
    return 1


@bp.raw_tracepoint("sys_enter")
def tail_entry(regs, number):
    match number:
        case 0:
            bp.jump(jumps, 0)
        case 1:
            bp.jump(jumps, 1)
        case _:
            bp.jump(jumps, 3)
    return 3


@bp.raw_tracepoint("sys_enter")
def tail_counted(regs, number):
    calls.value += 1
    bp.jump(jumps, 2)
    return 33


@bp.raw_tracepoint("sys_enter")
def tail_by_number(regs, number):
    bp.jump(jumps, number)
    return -1


def _jump_inside(n: u64):
    if n > 3:
        bp.jump(jumps_inner, 0)
    return n + 1


@bp.raw_tracepoint("sys_enter")
def tail_in_function(regs, number):
    return _jump_inside(number) * 2


@bp.raw_tracepoint("sys_enter")
def tail_inner_target(regs, number):
    return 77


jumps[0] = tail_zero
jumps[1] = tail_one
jumps[2] = tail_counted
jumps_inner[0] = tail_inner_target


def _check_tail_count(live: Live, program: str) -> None:
    live.globals["calls"] = 0
    assert live.run(program) == 33
    assert live.globals["calls"] == 34


def _check_elements(live: Live, program: str) -> None:
    assert live.run(program) == 100
    assert live.globals["calls"] == 5
    assert live.globals["total"] == 40


def _check_mine(live: Live, program: str) -> None:
    assert live.run(program, 0, os.getpid()) == 1
    assert live.run(program, 0, 0x7FFFFFF) == 0


def _check_task(live: Live, program: str) -> None:
    assert live.run(program) == os.getpid()


def _check_loop(live: Live, program: str) -> None:
    assert live.run(program, 0, 10) == 10
    assert live.globals["total"] == 45
    assert live.run(program, 0, 1000) == 50
    assert live.globals["total"] == sum(range(50))


def _nested() -> int:
    return sum(1 if j & 1 else i for j in range(30) for i in range(j))


PORTS = [
    Port("loop1.c", nested_loops, gives((0, 0, _nested()))),
    Port("loop2.c", while_doubles, gives((0, 1, 10), (0, 0, 25))),
    Port("loop3.c", while_both_ends, gives((0, 0, 30), (0, 3, 48))),
    Port("loop4.c", sum_of_array, gives((0, 0, 36), (0, 1, 72))),
    Port("loop5.c", loop_with_break, gives((0, 80, 9), (0, 1 << 20, -1))),
    Port("test_verif_scale1.c", many_rounds, gives((0, 700, 500), (0, 1, 500))),
    Port("test_sysctl_loop1.c", decimal_digits, gives((0, 0, 90210))),
    Port("pyperf_subprogs.c", loops_in_functions, gives((0, 3, 3 + 6 + 10 + 15 + 21))),
    Port("bpf_loop.c", loop_callback, _check_loop),
    Port("bpf_loop.c/nested", loop_callback_nested, gives((0, 4, 0 + 0 + 1 + 3))),
    Port("bpf_loop.c/too many", loop_callback_too_many, gives((-7,))),
    Port("for_each_hash_map_elem.c", each_hash_element, _check_elements),
    Port("for_each_array_map_elem.c", each_array_element, gives((0, 0, 0 + 1 + 4 + 9))),
    Port("for_each_multi_maps.c", each_of_two_maps, gives((0, 0, sum(range(128))), (0, 1, 10))),
    Port("iters_num.c", numbers_sum, gives((0, 10, 45), (0, 0, 0), (0, 1000, 499500))),
    Port("iters_num.c/negative", numbers_from_below_zero, gives((-5, 3, -12), (3, -5, 0))),
    Port("iters_num.c/empty", numbers_empty, gives((0, 8, 0))),
    Port("iters.c/nested", numbers_nested, gives((0, 6, 21))),
    Port("iters.c/array fill", numbers_into_an_array, gives((0, 128, 128 * 129 // 2))),
    Port("iters_looping.c", numbers_left_early, gives((0, 50, 142), (0, 6, -1))),
    Port("iters_task.c", tasks_of_mine, _check_mine),
    Port("iters_task_vma.c", areas_of_mine, gives((1,))),
    Port("verifier_bits_iter.c", bits_of_a_mask, gives((0, 0b101101, 10), (0, 0, 0), (0, 1 << 63, 63))),
    Port("iters_state_safety.c", bounded_while, gives((0, 27, 111), (0, 1, 0))),
    Port("test_subprogs.c", static_functions, gives((0, 7, 201), (0, 10, 300))),
    Port("test_global_func1.c", global_chain, gives((0, 4, (4 + 3) * 4))),
    Port("test_global_func9.c", global_struct, gives((0, 4, 714))),
    Port("test_global_func_args.c", global_optional, gives((0, 1, 7), (0, 0, -5))),
    Port("verifier_global_ptr_args.c", global_trusted, _check_task),
    Port("test_global_func8.c", global_void, gives((0, 4, 5))),
    Port("test_global_func2.c", global_stack_use, gives((0, 5, 14))),
    Port("verifier_global_subprogs.c", global_with_loop, gives((0, 5, 30))),
    Port("tailcall1.c", tail_entry, gives((0, 0, 100), (0, 1, 100), (0, 3, 3))),
    Port("tailcall2.c", tail_one, gives((100,))),
    Port("tailcall3.c", tail_counted, _check_tail_count),
    Port("tailcall4.c", tail_by_number, gives((0, 0, 100), (0, 7, -1), (0, 1000, -1))),
    Port("tailcall_bpf2bpf1.c", tail_in_function, gives((0, 1, 4), (0, 9, 77))),
    Port("test_prog_array_init.c", tail_zero, gives((100,))),
]
