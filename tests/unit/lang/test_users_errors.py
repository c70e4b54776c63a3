"""Mistakes of people who come from Python or C: what the compiler says, and where."""

from __future__ import annotations

import pytest

import lang_module
from probee.errors import CompileError


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


ALIAS = "in the same place"
# body, the text that the caret is under, a part of the message, a part of the advice
CASES = [
    ("x = number\n++x\nreturn x", "++x", "not used", "x += 1"),
    ("e = Exec()\n--e.pid", "--e.pid", "not used", "e.pid -= 1"),
    ("counts[1]", "counts[1]", "not used", "drop"),
    ("x = 1\nx, 2", "x, 2", "not used", "drop"),
    ("number", "number", "not used", "drop"),
    ("bp.comm", "bp.comm", "not used", "()"),
    ("total = 3", "total = 3", "local total", "total.value = "),
    ("total += 3", "total", "a local here", "total.value"),
    ("counts = 1 if counts else 2", "counts", "a local here", "counts[key]"),
    ("x = 1 if number else 'a'", "1", "the text 'a'", ""),
    ("x = number and 'a'", "number", "the text 'a'", ""),
    ("e = Exec()\ne.sizes = (number, 2, 3, 4, 5)", "e.sizes = (number, 2, 3, 4, 5)", "5 elements", ""),
    ("e = Exec()\ne.sizes = [1, 2]", "[1, 2]", "no lists", "a tuple"),
    ("with rb.reserve() as e:\n    e.pid = 1\ne.pid = 2", "e", "`with` that has ended", "inside"),
    (
        "while number:\n    with rb.reserve() as e:\n        break\nelse:\n    return 1\nreturn e.pid",
        "e",
        "`with` that has ended",
        "inside",
    ),
    (
        "for m in (counts, slots):\n    if number in m:\n        break\nreturn m[1]",
        "m",
        "which of the loop's constants",
        "inside the loop",
    ),
    (
        "for t in ('ab', 'abc'):\n    if number:\n        break\nreturn len(t)",
        "t",
        "which of the loop's constants",
        "inside the loop",
    ),
    (
        "old = Point(x=1)\nfor i in range(3):\n    new = Point(x=old.x + i)\n    old = new",
        "old = new",
        ALIAS,
        "old = Point(",
    ),
    (
        "new = Point(x=1)\nfor i in range(3):\n    old = new\n    new = Point(x=i)\n    counts[i] = old.x",
        "old = new",
        ALIAS,
        "old = Point(",
    ),
    (
        "p = Point(x=1)\ni = 0\nwhile i < 3:\n    q = Point(x=i)\n    p = q if q.x > p.x else p\n    i += 1",
        "p = q if q.x > p.x else p",
        ALIAS,
        "p = Point(",
    ),
    (
        "p = points.pop(1)\nif p is None:\n    return 1\nfor i in range(3):\n    q = points.pop(i)\n"
        "    if q is None:\n        return 1\n    counts[i] = p.x\n    p = q",
        "p = q",
        ALIAS,
        "p = Point(",
    ),
    ("if points[1]:\n    return 1", "points[1]", "true even when it is missing", "in points"),
    (
        "return not execs_by_pid[1].at",
        "execs_by_pid[1].at",
        "true even when it is missing",
        "in execs_by_pid",
    ),
    ("e = Exec()\ne.comm = bp.comm() if number else 'a'", "bp.comm()", "texts in different places", "`if`"),
    ("m = counts if number else slots\nm[1] = 1", "counts", "can't be chosen at run time", "`if`"),
    ("x = -1 if number else bp.nsecs()\nreturn x", "-1", "one type can't hold both", "i64("),
    ("return min(-1, bp.nsecs())", "min(-1, bp.nsecs())", "one type can't hold both", "i64("),
    ("bp.printf('%d', number)", "'%d'", "no % formats", "f-string"),
    ("x, p = 1, points[1]", "x, p = 1, points[1]", "can't be kept in a local", "points.get(key)"),
    (
        "p = points.get(1)\nif p is None:\n    return 1\nfor i in range(3):\n    counts[i] = p.x\n"
        "    p = points.get(i)",
        "p.x",
        "may be None",
        "test it first",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=[c[0].replace("\n", "; ")[:60] for c in CASES])
def test_mistake(case, ktypes, tmp_path):
    body, at, message, advice = case
    module = lang_module.make(lang_module.program(body), tmp_path)
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    e = caught.value
    assert message in e.message
    assert advice in e.advice
    assert e.source[e.column : e.end_column] == at


RETURNS = [
    ("p = Point(x=x)\n    q = p\n    return q", "return q"),
    ("with rb2.reserve() as e:\n        return e", "return e"),
    ("p = points.pop(x)\n    if p is None:\n        return None\n    return p", "return p"),
]


@pytest.mark.parametrize("case", RETURNS, ids=[c[1] for c in RETURNS])
def test_what_ends_with_the_function_is_not_returned(case, ktypes, tmp_path):
    body, at = case
    above = f"def make(x):\n    {body}\n"
    module = lang_module.make(
        lang_module.program("p = make(number)\nreturn p is None", above=above), tmp_path
    )
    with pytest.raises(CompileError, match="can't be returned: it ends with the function") as caught:
        lang_module.to_ir(module, ktypes)
    assert caught.value.source.strip() == at


def test_numbers_print_as_their_repr(ktypes, tmp_path):
    module = lang_module.make(lang_module.program('print(f"{number=} {number!s} {bp.comm()!s}")'), tmp_path)
    texts = [op for f in lang_module.to_ir(module, ktypes).functions for b in f.blocks for op in b.ops]
    formats = [a.var.init for op in texts for a in getattr(op, "args", []) if hasattr(a, "var")]
    assert b"number=%lld %lld %s\0" in formats


def test_a_function_with_the_name_of_a_section(ktypes, tmp_path):
    """An object file has room for one of them: the other would be left out."""
    from probee import lang
    from probee.lang import decl

    text = lang_module.program("pass").replace("def program", "def license")
    with pytest.raises(CompileError, match="function license has the name of the licence") as caught:
        lang.compile(decl.programs_in(vars(lang_module.make(text, tmp_path))), ktypes=ktypes)
    assert caught.value.line


def test_names_beyond_ascii(ktypes, tmp_path):
    """Locals and functions may have them; a field's name goes into the object, where only ASCII may stand."""
    from probee import lang
    from probee.lang import decl

    above = "def größe(länge):\n    return länge + 1\n"
    module = lang_module.make(lang_module.program("return größe(number)", above=above), tmp_path)
    assert lang.compile(decl.programs_in(vars(module)), ktypes=ktypes)
    with pytest.raises(CompileError, match=r"Größe\.länge: a field's name is ASCII") as caught:
        lang_module.make("import probee as bp\nclass Größe(bp.Struct):\n    länge: bp.u32\n", tmp_path)
    assert caught.value.line == 2
