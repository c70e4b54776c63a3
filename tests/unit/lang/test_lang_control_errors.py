"""Control flow that programs can't have: where the error points, what it says, and what it advises."""

from __future__ import annotations

from pathlib import Path

import pytest

import lang_module
from probee.errors import CompileError

ABOVE = """
def recursive(x):
    return recursive(x - 1)

def two(x):
    if x:
        return x, 1
    return x

def three(x):
    return x, 1, 2

def six(a, b, c, d, e, f):
    return a + b + c + d + e + f

@bp.global_function
def plain(x):
    return x

@bp.global_function
def pointed(p: Point) -> u64:
    return p.x

@bp.global_function
def half(x: u64) -> u64:
    if x:
        return 1
"""

# body of a program; the text under the caret; words of the message; words of the advice
CASES = [
    # loops that never end
    ("while True:\n    pass", "True", "never ends", "break"),
    ("while 1:\n    total.value += 1", "1", "never ends", "range(n)"),
    ("x = 1\nwhile x > 0:\n    total.value += 1", "x > 0", "nothing in the loop changes x", "range(n)"),
    ("t = bp.current_task()\nwhile t:\n    t = t.real_parent", "t", "ends when t is NULL", "bp.bounded(64)"),
    (
        "t = bp.current_task()\nwhile t is not None:\n    t = t.real_parent",
        "t is not None",
        "can't see how often",
        "while t is not None and bp.bounded(64):",
    ),
    ("while number and bp.bounded():\n    pass", "bp.bounded()", "takes one number", "bp.bounded(100)"),
    ("while number and bp.bounded(0):\n    pass", "0", "a bound of 0 rounds", ""),
    ("while bp.bounded(3) and bp.bounded(4):\n    pass", "bp.bounded(4)", "one bound", "smaller"),
    ("x = bp.bounded(3)", "bp.bounded(3)", "can't stand here", "while"),
    # what a for goes over
    ("for x in 'abc':\n    pass", "'abc'", "text written down", "tuple"),
    ("for x in counts:\n    pass", "counts", "loop over a map", "for_each_map_elem(counts, visit)"),
    ("for x in map(abs, NUMBERS):\n    pass", "map(abs, NUMBERS)", "map()", "body"),
    ("for x in sorted(range(number)):\n    pass", "sorted(range(number))", "no sorting", "Python"),
    ("for x in bp.static(range(5000)):\n    pass", "bp.static(range(5000))", "compiled 5000 times", "range"),
    ("for x in enumerate(NUMBERS, number):\n    pass", "number", "start of enumerate()", ""),
    ("for x in zip(range(1, 3), range(3)):\n    pass", "zip(range(1, 3), range(3))", "from 0", "index"),
    ("e = Exec()\nfor x in e.sizes[::2]:\n    pass", "2", "no step", "range"),
    ("for t in bp.tasks(1):\n    pass", "bp.tasks(1)", "takes 0 arguments", ""),
    ("for t in bp.threads(number):\n    pass", "number", "pointer to struct task_struct", ""),
    (
        "t = bp.cast('struct task_struct', number)\nfor v in bp.vmas(t):\n    pass",
        "t",
        "does not trust",
        "bp.current_task()",
    ),
    ("for c in bp.css(bp.current_task()):\n    pass", "bp.current_task()", "cgroup_subsys_state", ""),
    (
        "t = bp.current_task()\nfor x in bp.list_of('task_struct', t.children, 'sibling', number):\n    pass",
        "number",
        "how many items",
        "100",
    ),
    (
        "t = bp.current_task()\nfor x in bp.list_of('task_struct', t.children, 'pid', 10):\n    pass",
        "'pid'",
        "no struct list_head",
        "",
    ),
    (
        "t = bp.current_task()\nfor x in bp.list_of('task_struct', t, 'sibling', 10):\n    pass",
        "t",
        "the head of a list",
        "",
    ),
    ("x = bp.tasks()", "bp.tasks()", "can't stand here", "for task in"),
    # with
    ("with open('x') as f:\n    pass", "open('x')", "can't stand in a `with`", "bp.rcu()"),
    ("with bp.rcu() as r:\n    pass", "r", "nothing here to be named", "with bp.rcu():"),
    ("with bp.rcu(1):\n    pass", "bp.rcu(1)", "no arguments", ""),
    ("with rb.reserve():\n    pass", "rb.reserve()", "needs a name", "as e"),
    ("with rb.reserve() as (a, b):\n    pass", "(a, b)", "one name", "as e"),
    ("with bp.rcu():\n    bp.jump(programs, 1)", "bp.jump(programs, 1)", "does not come back", "behind"),
    ("bp.rcu()", "bp.rcu()", "can't stand here", "with bp.rcu()"),
    # match
    ("match number:\n    case {1: 2}:\n        pass", "{1: 2}", "mapping patterns", "numbers"),
    ("match number:\n    case Thing():\n        pass", "Thing()", "no class to match", "struct"),
    ("match number:\n    case total.value:\n        pass", "total.value", "constant", "guard"),
    ("e = Exec()\nmatch e.at:\n    case Point(z=1):\n        pass", "Point(z=1)", "no field 'z'", ""),
    ("e = Exec()\nmatch e.at:\n    case Point(1, 2, 3):\n        pass", "Point(1, 2, 3)", "2 fields", ""),
    ("match (number, 1):\n    case (1, *rest):\n        pass", "*rest", "rest of a tuple", "*_"),
    ("match (number, regs):\n    case (1, x) | (x, 1):\n        pass", "(1, x)", "alternative", "case"),
    # functions inside programs
    ("def inner(x):\n    return inner(x)\ninner(1)", "inner(x)", "calls itself", "loop"),
    ("def inner(x=1):\n    return x\ninner()", None, "no defaults", "pass all"),
    ("@bp.static\ndef inner():\n    pass", "bp.static", "no decorators", ""),
    ("inner = 1\ndef inner():\n    pass", None, "a local already", "another name"),
    ("def inner():\n    return y\ninner()\ny = 1", "y", "before it is assigned", ""),
    ("def visit(i, j, k):\n    pass\nbp.loop(3, visit)", None, "other arguments", "visit(i)"),
    ("bp.loop(3, number)", "number", "a function is needed", "visit(i)"),
    ("bp.loop(3)", "bp.loop(3)", "two arguments", "loop(n, function)"),
    ("bp.loop(9000000, lambda i: 0)", "9000000", "at most 8388608", ""),
    ("bp.for_each_map_elem(3, lambda k, v: 0)", "3", "a map is needed", ""),
    ("bp.for_each_map_elem(rb, lambda k, v: 0)", "rb", "no entries", ""),
    ("nonlocal_ = 1\ndef f():\n    nonlocal_ = 2\n    return nonlocal_\nreturn f() + g", "g", "no name", ""),
    # subprograms
    ("return recursive(3)", None, "calls itself", "loop"),
    ("a, b = two(number)", None, "other ways return", "as many"),
    ("a, b = three(number)", "a, b", "3 values for 2 targets", ""),
    ("x = three(number)", "x = three(number)", "tuple", "one local"),
    ("return six(number, number, number, number, number, number)", None, "at most 5", "struct"),
    ("return plain(number)", None, "has no type", "annotate"),
    ("return pointed(None)", "None", "p can't be None", "| None"),
    ("return pointed(points.get(1))", "points.get(1)", "may be None", "is None"),
    ("return pointed(number)", "number", "p is a struct Point", ""),
    ("return half(number)", None, "nothing here", "return a number"),
    # static
    ("x = bp.static(number + 1)", "number", "run time only", "constants"),
    ("x = bp.static(total.value)", "total", "run time only", "constants"),
    ("x = bp.static(1 // 0)", "bp.static(1 // 0)", "ZeroDivisionError", ""),
    ("x = bp.static(os.getpid())", "os.getpid()", "something else the next time", "module"),
    ("x = bp.static(time.time())", "time.time()", "something else the next time", "module"),
    ("x = bp.static(1, 2)", "bp.static(1, 2)", "one expression", ""),
    ("x = number & 15\nassert x < 15, 'large'", "'large'", "what the program returns", "0"),
    # None
    ("p = points.get(1)\nreturn p.x", "p.x", "p may be None", "if p is None"),
    (
        "p = points.get(1)\nif number:\n    if p is None:\n        return 0\nreturn p.x",
        "p.x",
        "may be None",
        "",
    ),
    ("p = points.get(1)\nif p is None and number:\n    return 0\nreturn p.x", "p.x", "may be None", ""),
    (
        "v = counts.get(1)\nwhile number > 2:\n    number -= 1\nreturn v + 1",
        "v + 1",
        "v may be None",
        "is None",
    ),
]


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0].replace("\n", "; ")[:60])
def test_refused(case, ktypes, tmp_path):
    body, at, message, advice = case
    module = lang_module.make(lang_module.program(body, above=ABOVE), tmp_path)
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    e = caught.value
    assert e.source == Path(e.file).read_text().split("\n")[e.line - 1]
    if at is not None:
        assert e.source[e.column : e.end_column] == at
    assert message in e.message
    assert advice in e.advice or advice in e.message


NARROWED = [
    "p = points.get(1)\nif p is None:\n    return 0\nreturn p.x",
    "p = points.get(1)\nif not p:\n    return 0\nreturn p.x",
    "p = points.get(1)\nif p is not None and p.x > 3:\n    return p.y",
    "if (p := points.get(1)) is not None:\n    return p.x",
    "p = points.get(1)\nreturn p.x if p else 0",
    "p = points.get(1)\nif p is None or p.x == 0:\n    return 0\nreturn p.y",
    "p = points.get(1)\nwhile p is None and bp.bounded(3):\n    p = points.get(2)\nreturn p.x if p else 2",
    "v = counts.get(1)\nmatch v:\n    case None:\n        return 0\n    case x:\n        return v + 1",
    "p = points.get(1)\nfor i in range(3):\n    if p is None:\n        break\n    total.value += p.x",
]


@pytest.mark.parametrize("body", NARROWED, ids=lambda b: b.replace("\n", "; ")[:60])
def test_a_test_for_none_is_understood(body, ktypes, tmp_path):
    lang_module.to_ir(lang_module.make(lang_module.program(body), tmp_path), ktypes)
