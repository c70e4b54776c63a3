"""Mutated programs: whatever is changed in a valid one, the result is an object or a CompileError.

The changes are made on the syntax tree, so that the result is always Python: names, constants and operators
are exchanged, expressions and statements replaced by others of the same programs, arguments dropped or added.
Longer: `PROBEE_MUTATIONS=600 pytest <this file>` goes on for so many seconds.
"""

from __future__ import annotations

import ast
import copy
import os
import random
import sys
import time
import warnings
from pathlib import Path

import pytest

import lang_module
from probee.btf.choose import SHIPPED
from probee.errors import CompileError
from probee.lang import decl, legal, scratch
from probee.lang.frontend import compile_module
from probee.lang.ktypes import KernelTypes
from probee.lang.llvm import to_text

SECONDS = float(os.environ.get("PROBEE_MUTATIONS", "3"))
SEED = int(os.environ.get("PROBEE_SEED", "1"))
PRELUDE = (Path(__file__).parent / "wrong" / "prelude.py").read_text()

VALID = """
@bp.raw_tracepoint("sys_enter")
def maps(regs, number):
    v = counts.get(bp.pid())
    if v is None:
        counts[bp.pid()] = 1
        return
    counts[bp.pid()] += v >> 3
    p = points.get(u32(number))
    if p and p.x > 3:
        p.y -= p.x // 7
    points[1] = Point(x=1, y=-2)
    del counts[3]
    for i in range(8):
        slots[i] = slots[7 - i] ^ number
    x = queue.pop()
    total.value += x if x is not None else limit

@bp.tracepoint("sched:sched_process_exec")
def text(args):
    with events.reserve() as e:
        e.comm = bp.comm()
        e.pid = args.pid
        e.sizes[1] = len(e.comm) % 5
        if e.comm.startswith("py") or "sh" in e.comm:
            e.at.x = e.comm.find("a")
    names[f"{bp.comm()}:{args.pid}"] += 1
    print(f"{args.pid:>5} {args.filename}")

@bp.raw_tracepoint("sys_exit")
def control(regs, ret):
    n = 0
    while n < 20 and ret:
        n += 1
        if n & 1:
            continue
        if n == 17:
            break
    else:
        n = 3
    match (n, ret):
        case (0, _):
            return
        case (a, 1 | 2) if a > 3:
            n = a
        case _:
            pass
    best = 0

    def visit(key, value):
        nonlocal best
        if value > best:
            best = value

    bp.for_each_map_elem(counts, visit)
    a, b = best, double(n)
    here.value.x = add(a, b)
    for port in PORTS:
        total.value += port if ret in (1, 2, port) else -(-n)

@bp.tp_btf("sched_switch")
def kernel(preempt, before, after):
    task = bp.current_task()
    hops = 0
    while task.tgid > 1 and bp.bounded(10):
        task = task.real_parent
        hops += 1
    if hasattr(task, "mm") and task.mm is not None:
        slots[hops & 7] = task.mm.arg_start
    storage[bp.current_task()] += 1
    points[before.pid].y = i32(after.prio) if after else 0

@bp.xdp
def packets(pkt):
    eth, ip = pkt.read(Ethernet, IPv4, short=XDP.PASS)
    if eth.type != EtherType.IPV4:
        return XDP.PASS
    if udp := pkt.read(UDP):
        if udp.dst_port == 53 and ip.src == ipv4("10.0.0.1"):
            udp.dst_port = 54
            ip.update(ttl=ip.ttl - 1)
        counts[udp.src_port] += len(pkt)
    return XDP.PASS if not ip.fragment_offset else XDP.DROP
"""


class Mutator(ast.NodeTransformer):
    """Changes a node here and there."""

    def __init__(self, rng: random.Random, pool: list[ast.expr], lines: list[ast.stmt], at: int) -> None:
        self.rng = rng
        self.pool = pool
        self.lines = lines
        self.left = at

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, (ast.expr, ast.stmt)) and not isinstance(node, ast.FunctionDef):
            self.left -= 1
            if self.left == 0:
                return self.change(node)
        if isinstance(node, ast.FunctionDef):
            node.body = [self.visit(x) for x in node.body]
            return node
        return self.generic_visit(node)

    def change(self, node: ast.AST) -> ast.AST:
        rng = self.rng
        if isinstance(node, ast.stmt):
            new = copy.deepcopy(rng.choice(self.lines))
            if rng.random() < 0.3:
                return ast.If(test=copy.deepcopy(rng.choice(self.pool)), body=[node], orelse=[new])
            return new
        kind = rng.randrange(7)
        if kind == 0 and isinstance(node, ast.BinOp):
            node.op = rng.choice(
                [ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.LShift, ast.Pow]
            )()
            return node
        if kind == 1 and isinstance(node, ast.Compare):
            node.ops[0] = rng.choice([ast.Eq, ast.Lt, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.GtE])()
            return node
        if kind == 2 and isinstance(node, ast.Call):
            if node.args and rng.random() < 0.5:
                node.args.pop()
            else:
                node.args.append(copy.deepcopy(rng.choice(self.pool)))
            return node
        context = getattr(node, "ctx", None)
        if context is not None and not isinstance(context, ast.Load):
            return node
        if kind == 3:
            values = [0, -1, 1 << 63, 1 << 64, 1.5, "a", "", b"x", None, True, ..., 3j, "x" * 300]
            return ast.Constant(rng.choice(values))
        inner = copy.deepcopy(rng.choice(self.pool))
        if kind == 4:
            made = [
                ast.UnaryOp(rng.choice([ast.Not, ast.USub, ast.Invert])(), inner),
                ast.Tuple([node, inner], ast.Load()),
                ast.List([node, inner], ast.Load()),
                ast.Subscript(node, inner, ast.Load()),
                ast.Subscript(node, ast.Slice(inner, None, None), ast.Load()),
                ast.Attribute(node, rng.choice(["x", "pid", "value", "get", "comm", "upper"]), ast.Load()),
                ast.Call(node, [inner], []),
                ast.IfExp(inner, node, copy.deepcopy(rng.choice(self.pool))),
                ast.BoolOp(rng.choice([ast.And, ast.Or])(), [node, inner]),
                ast.BinOp(node, rng.choice([ast.Add, ast.Mult, ast.RShift])(), inner),
                ast.Compare(node, [rng.choice([ast.Lt, ast.Eq, ast.In, ast.Is])()], [inner]),
                ast.JoinedStr([ast.FormattedValue(node, rng.choice([-1, 114, 115]), None)]),
                ast.NamedExpr(ast.Name("fresh", ast.Store()), node),
                ast.Starred(node, ast.Load()),
                ast.Lambda(ast.arguments([], [], None, [], [], None, []), node),
            ]
            return rng.choice(made)
        return inner


def material() -> tuple[list[ast.FunctionDef], list[ast.expr], list[ast.stmt]]:
    functions = [f for f in ast.parse(VALID).body if isinstance(f, ast.FunctionDef)]
    pool: list[ast.expr] = []
    lines: list[ast.stmt] = []
    for f in functions:
        for node in ast.walk(f):
            if isinstance(node, ast.expr) and isinstance(getattr(node, "ctx", ast.Load()), ast.Load):
                if not any(isinstance(x, (ast.Slice, ast.FormattedValue)) for x in [node]):
                    pool.append(node)
            elif isinstance(node, ast.stmt) and not isinstance(node, (ast.Nonlocal, ast.FunctionDef)):
                lines.append(node)
    return functions, pool, lines


def mutant(rng: random.Random) -> str:
    """The text of one program with one to three changes; "" if it is no Python any more."""
    functions, pool, lines = material()
    f = rng.choice(functions)
    size = sum(isinstance(n, (ast.expr, ast.stmt)) for n in ast.walk(f))
    for _ in range(rng.choice([1, 1, 2, 3])):
        f = Mutator(rng, pool, lines, rng.randrange(1, size)).visit(f)
    try:
        text = ast.unparse(ast.fix_missing_locations(f))
        compile(text, "mutant", "exec")
    except (SyntaxError, ValueError, TypeError, AttributeError):
        return ""
    return text


def attempt(text: str, ktypes: KernelTypes, folder: Path) -> bool:
    """Whether the program is one of the language."""
    try:
        module = lang_module.make("from wrong_prelude import *\n\n" + text + "\n", folder)
        made = compile_module(decl.programs_in(vars(module)), ktypes=ktypes)
        scratch.place(made, legal.MAX_STACK)
        legal.check(made)
        to_text(made)
    except CompileError as e:
        return not e.message
    return True


@pytest.mark.timeout(max(120, 2 * int(SECONDS)))
def test_mutants(tmp_path):
    ktypes = KernelTypes.usual(SHIPPED)
    sys.modules["wrong_prelude"] = lang_module.make(PRELUDE, tmp_path)
    rng = random.Random(SEED)
    end = time.process_time() + SECONDS
    failures: list[str] = []
    done = compiled = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while time.process_time() < end and len(failures) < 20:
                text = mutant(rng)
                if not text:
                    continue
                done += 1
                try:
                    compiled += attempt(text, ktypes, tmp_path)
                except Exception as e:
                    failures.append(f"{type(e).__name__}: {e}\n{text}")
    finally:
        del sys.modules["wrong_prelude"]
    print(f"{done} mutants, {compiled} of them are programs")
    assert not failures, "\n\n".join(failures)
    assert done > 5
