"""Integer programs in the kernel against CPython.

Expressions and small functions are written at random (Hypothesis chooses the seed), each twice: as the
language has it, and as Python over plain integers with the design's rules spelled out (64 bits, wrapping,
signed only if both sides are). Many of them go into one object; BPF_PROG_TEST_RUN runs it on several inputs.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import lang_module
from probee import lang
from probee.kernel.load import load
from probee.lang import decl
from probee.obj import read_object

pytestmark = pytest.mark.root

MASK = (1 << 64) - 1
WIDE = [
    (1 << 63) - 1,
    1 << 63,
    (1 << 32) - 1,
    1 << 32,
    1 << 31,
    MASK,
    MASK - 1,
    0,
    1,
    2,
    3,
    7,
    255,
    256,
    0x8000,
]
NAMES = {"a": "i64", "b": "u64", "c": "u32", "d": "i8", "e": "u16", "f": "i32"}


# -- the rules, over Python's integers


def U(x: int) -> int:
    return x & MASK


def S(x: int) -> int:
    x &= MASK
    return x - (1 << 64) if x >> 63 else x


def W(x: int, bits: int, signed: bool) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if signed and x >> (bits - 1) else x


def FD(a: int, b: int) -> int:
    return a // b if b else 0


def MD(a: int, b: int) -> int:
    return a % b if b else a


def SHL(a: int, n: int) -> int:
    return a << n if 0 <= n < 64 else 0


def SHR(a: int, n: int) -> int:
    return a >> n if 0 <= n < 64 else (-1 if a < 0 else 0)


RULES = {"U": U, "S": S, "W": W, "FD": FD, "MD": MD, "SHL": SHL, "SHR": SHR}


@dataclass(frozen=True)
class Expr:
    """`text` is the program's, `model` Python's; `kind`: S, U or B (i64, u64, bool); `value` a literal's."""

    text: str
    model: str
    kind: str
    value: int | None = None


def literal(value: int) -> Expr:
    shown = f"({value})" if value < 0 else str(value)
    return Expr(shown, shown, "S" if value < 1 << 63 else "U", value)


def meet(*kinds: str) -> str:
    """The kind that arithmetic on these happens in."""
    return "U" if "U" in kinds else "S"


def binary(op: str, x: Expr, y: Expr) -> Expr | None:
    text = f"({x.text} {op} {y.text})"
    if x.value is not None and y.value is not None:  # exact, as Python
        if (op in ("//", "%") and y.value == 0) or (op in ("<<", ">>") and not 0 <= y.value < 64):
            return None
        value = eval(f"({x.value}) {op} ({y.value})")
        if not -(1 << 63) <= value <= MASK:
            return None
        return Expr(text, f"({value})", "S" if value < 1 << 63 else "U", value)
    if op in ("<<", ">>"):
        if y.value is not None and not 0 <= y.value < 64:
            return None
        kind = meet(x.kind)
        fn = "SHL" if op == "<<" else "SHR"
        return Expr(text, f"{kind}({fn}({kind}({x.model}), {y.model}))", kind)
    if op in ("//", "%"):
        if y.value == 0:
            return None
        kind = meet(x.kind, y.kind)
        fn = "FD" if op == "//" else "MD"
        return Expr(text, f"{kind}({fn}({kind}({x.model}), {kind}({y.model})))", kind)
    if op in ("&", "|", "^") and x.kind == y.kind == "B":
        return Expr(text, f"({x.model} {op} {y.model})", "B")
    kind = meet(x.kind, y.kind)
    return Expr(text, f"{kind}({x.model} {op} {y.model})", kind)


OPERATORS = ["+", "-", "*", "//", "%", "&", "|", "^", "<<", ">>"]
CASTS = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"]


def leaf(rng: Random, names: dict[str, str]) -> Expr:
    if rng.random() < 0.6:
        name = rng.choice(list(names))
        return Expr(name, name, names[name])
    return literal(rng.choice([rng.randint(-130, 130), rng.choice(WIDE)]))


def expression(rng: Random, names: dict[str, str], depth: int = 3) -> Expr:
    """An expression over variables, given with their kinds."""
    if depth == 0 or rng.random() < 0.2:
        return leaf(rng, names)

    def inner() -> Expr:
        return expression(rng, names, depth - 1)

    makers: list[Callable[[], Expr | None]] = [
        *[lambda: binary(rng.choice(OPERATORS), inner(), inner())] * 4,
        lambda: compare(rng.choice(["<", "<=", ">", ">=", "==", "!="]), inner(), inner()),
        lambda: chain(inner(), inner(), inner()),
        lambda: unary(rng.choice(["-", "~", "not "]), inner()),
        lambda: cast(rng.choice(CASTS), inner()),
        lambda: logic(rng.choice(["and", "or"]), inner(), inner()),
        lambda: choice(inner(), inner(), inner()),
        lambda: call(rng.choice(["min", "max"]), inner(), inner()),
        lambda: absolute(inner()),
    ]
    while (made := rng.choice(makers)()) is None:
        pass
    return made


def decided(x: Expr, y: Expr) -> bool:
    """The compiler knows how the two compare: what follows from that is an error there, not a result."""
    for one, other in ((x, y), (y, x)):
        if one.value is not None and (
            other.value is not None
            or (one.value < 0 and other.kind == "U")
            or (one.value >= 1 << 63 and other.kind != "U")
        ):
            return True
    return False


def compare(op: str, x: Expr, y: Expr) -> Expr | None:
    return None if decided(x, y) else Expr(f"({x.text} {op} {y.text})", f"({x.model} {op} {y.model})", "B")


def chain(x: Expr, y: Expr, z: Expr) -> Expr | None:
    if decided(x, y) or decided(y, z):
        return None
    return Expr(f"({x.text} <= {y.text} < {z.text})", f"({x.model} <= {y.model} < {z.model})", "B")


def unary(op: str, x: Expr) -> Expr | None:
    text = f"({op}{x.text})"
    if x.value is not None:
        value = -x.value if op == "-" else ~x.value
        if op == "not " or not value >= -(1 << 63):
            return None
        return Expr(text, f"({value})", "S" if value < 1 << 63 else "U", value)
    if op == "not ":
        return Expr(text, f"(not {x.model})", "B")
    kind = meet(x.kind)
    return Expr(text, f"{kind}({op}int({x.model}))", kind)


def cast(type: str, x: Expr) -> Expr | None:
    signed = type[0] == "i"
    if x.value is not None:
        return None
    return Expr(f"{type}({x.text})", f"W({x.model}, {type[1:]}, {signed})", "S" if signed else "U")


def joined(*parts: Expr) -> str:
    return "B" if all(p.kind == "B" for p in parts) else meet(*(p.kind for p in parts))


def convert(kind: str, model: str) -> str:
    return f"({model})" if kind == "B" else f"{kind}({model})"


def apart(*parts: Expr) -> bool:
    """A negative constant beside an unsigned number, which the language refuses or keeps as signed."""
    return any(p.value is not None and p.value < 0 for p in parts) and any(p.kind == "U" for p in parts)


def logic(op: str, x: Expr, y: Expr) -> Expr | None:
    kind = joined(x, y)
    if x.value is not None or apart(x, y):
        return None
    return Expr(f"({x.text} {op} {y.text})", convert(kind, f"{x.model} {op} {y.model}"), kind)


def choice(c: Expr, x: Expr, y: Expr) -> Expr | None:
    kind = joined(x, y)
    if c.value is not None or apart(x, y):
        return None
    return Expr(
        f"({x.text} if {c.text} else {y.text})", convert(kind, f"{x.model} if {c.model} else {y.model}"), kind
    )


def call(name: str, x: Expr, y: Expr) -> Expr | None:
    kind = meet(x.kind, y.kind)
    if decided(x, y) or apart(x, y):
        return None
    return Expr(f"{name}({x.text}, {y.text})", f"{kind}({name}({x.model}, {y.model}))", kind)


def absolute(x: Expr) -> Expr | None:
    kind = meet(x.kind)
    return None if x.value is not None else Expr(f"abs({x.text})", f"{kind}(abs({x.model}))", kind)


# -- functions

KINDS = {n: "S" if t[0] == "i" else "U" for n, t in NAMES.items()}


@dataclass(frozen=True)
class Body:
    text: str
    model: str


def function(rng: Random, name: str) -> Body:
    """A function of the inputs with locals, branches and loops."""
    params = ", ".join(f"{n}: {t}" for n, t in list(NAMES.items())[:5])
    kinds = {n: KINDS[n] for n in list(NAMES)[:5]}
    text, model = [f"def {name}({params}):"], [f"def {name}({', '.join(kinds)}):"]

    def assign(var: str, value: Expr, indent: str) -> None:
        kind = kinds[var]
        text.append(f"{indent}{var} = {value.text}")
        model.append(f"{indent}{var} = {kind}({value.model})")

    for var in ("x", "y"):
        first = expression(rng, kinds, 2)
        kinds[var] = meet(first.kind)
        assign(var, first, "    ")

    def update(indent: str) -> None:
        var, value = rng.choice(["x", "y"]), expression(rng, kinds, 2)
        op = rng.choice(["", "+", "-", "*", "^", "|", "&"])
        if not op:
            assign(var, value, indent)
            return
        changed = binary(op, Expr(var, var, kinds[var]), value)
        assert changed is not None
        text.append(f"{indent}{var} {op}= {value.text}")
        model.append(f"{indent}{var} = {kinds[var]}({changed.model})")

    def line(indent: str, both: str) -> None:
        text.append(indent + both)
        model.append(indent + both)

    def test(indent: str, word: str) -> None:
        cond = expression(rng, kinds, 2)
        text.append(f"{indent}{word} {cond.text}:")
        model.append(f"{indent}{word} {cond.model}:")

    for part in rng.choices(["if", "for", "for run", "while", "update"], k=rng.randint(1, 3)):
        one, two = "    ", "        "
        if part == "update":
            update(one)
        elif part == "if":
            test(one, "if")
            update(two)
            test(one, "elif")
            update(two)
            line(one, "else:")
            update(two)
        elif part == "while":
            line(one, "k = 0")
            line(one, "while k < 3:")
            line(two, "k += 1")
            test(two, "if")
            line(two, "    continue")
            update(two)
            line(one, "else:")
            update(two)
        else:
            bound = "4" if part == "for" else "(c & 3)"
            line(one, f"for i in range({bound}):")
            kinds["i"] = "S"  # it is counted from a number that is not negative
            update(two)
            test(two, "if")
            line(two, rng.choice(["    break", "    continue"]))
            update(two)
            del kinds["i"]
    result = expression(rng, kinds, 2)
    text.append(f"    return {result.text}")
    model.append(f"    return {result.model}")
    return Body("\n".join(text), "\n".join(model))


# -- the machine


def inputs_of(rng: Random) -> list[tuple[int, ...]]:
    return [tuple(rng.choice([rng.getrandbits(64), rng.choice(WIDE)]) for _ in NAMES) for _ in range(6)]


HEAD = """\
import probee as bp
from probee import i8, i16, i32, i64, u8, u16, u32, u64

given = bp.Global[u64[8]]()
out = bp.Global[u64]()

"""


def run(
    functions: str, exprs: list[str], inputs: list[tuple[int, ...]], path: Any, ktypes: Any
) -> list[list[int]]:
    """The values for each input. A run computes one expression, lest the verifier multiply their ways."""
    reads = [f"    {n} = {t}(given.value[{i}])" for i, (n, t) in enumerate(NAMES.items())]
    cases = [f"        case {i}:\n            out.value = {e}" for i, e in enumerate(exprs)]
    body = "\n".join([*reads, "    match which:", *cases])
    text = f'{HEAD}\n{functions}\n\n@bp.raw_tracepoint("sys_enter")\ndef program(regs, which):\n{body}\n'
    module = lang_module.make(text, path)
    data = lang.compile(decl.programs_in(vars(module)), ktypes=ktypes)
    results = []
    with load(read_object(data)) as c:
        for values in inputs:
            c.globals.given = (*values, 0, 0)
            results.append([])
            for i in range(len(exprs)):
                c.programs["program"].test_run(ctx=struct.pack("<2Q", 0, i))
                results[-1].append(c.globals.out)
    return results


def arguments(values: tuple[int, ...]) -> dict[str, int]:
    return {n: W(v, int(t[1:]), t[0] == "i") for (n, t), v in zip(NAMES.items(), values, strict=True)}


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


QUICK = settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # a failure names one expression: nothing to shrink
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@QUICK
@given(st.integers(0, 1 << 32))
def test_expressions(ktypes, tmp_path, seed):
    rng = Random(seed)
    exprs, inputs = [expression(rng, KINDS) for _ in range(32)], inputs_of(rng)
    got = run("", [e.text for e in exprs], inputs, tmp_path, ktypes)
    for values, row in zip(inputs, got, strict=True):
        names = arguments(values)
        for e, seen in zip(exprs, row, strict=True):
            assert seen == eval(e.model, dict(RULES), dict(names)) & MASK, (e.text, names)


@QUICK
@given(st.integers(0, 1 << 32))
def test_functions(ktypes, tmp_path, seed):
    rng = Random(seed)
    bodies, inputs = [function(rng, f"f{i}") for i in range(6)], inputs_of(rng)
    text = "\n\n\n".join(b.text for b in bodies)
    got = run(text, [f"f{i}(a, b, c, d, e)" for i in range(len(bodies))], inputs, tmp_path, ktypes)
    space: dict[str, Any] = dict(RULES)
    exec("\n\n\n".join(b.model for b in bodies), space)
    for values, row in zip(inputs, got, strict=True):
        names = arguments(values)
        del names["f"]
        for i, b in enumerate(bodies):
            assert row[i] == space[f"f{i}"](**names) & MASK, (b.text, names)


def test_rules_by_example(ktypes, tmp_path):
    """Each rule of the design, on values where it shows."""
    cases = [
        ("a + 1", (1 << 63) - 1, 0, 1 << 63),  # wraps
        ("a // 3", -7, 0, -3),  # floors
        ("a % 3", -7, 0, 2),
        ("a // -3", 7, 0, -3),
        ("a % -3", 7, 0, -2),
        ("a // b", -8, 2, (MASK - 7) // 2),  # unsigned, since one side is
        ("a < b", -1, 1, 1),  # by value
        ("b > a", -1, 0, 1),
        ("a == b", -1, MASK, 0),
        ("u32(a)", -1, 0, 0xFFFFFFFF),
        ("i8(b)", 0, 200, 200 - 256),
        ("a >> 1", -5, 0, -3),
        ("b >> 1", 0, MASK, MASK >> 1),
        ("a or 5", 0, 0, 5),
        ("a and 5", 3, 0, 5),
        ("(a < 3) + (b < 3)", 0, 0, 2),
        ("a // (b * 0)", 7, 1, 0),
        ("a % (b * 0)", 7, 1, 7),
        ("a << b", 1, 64, 0),
        ("a >> b", -1, 100, -1),
        ("-a", -(1 << 63), 0, -(1 << 63)),
        ("abs(a)", -5, 0, 5),
        ("a ** 3", -3, 0, -27),
        ("0xFFFFFFFFFFFFFFFF + a", 1, 0, 0),
    ]
    inputs = [(a & MASK, b, 0, 0, 0, 0) for _, a, b, _ in cases]
    got = run("", [text for text, *_ in cases], inputs, tmp_path, ktypes)
    for i, (text, _, _, want) in enumerate(cases):
        assert got[i][i] == want & MASK, text
