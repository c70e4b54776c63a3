"""What programs can't do: each case says where the error points, what it says, and what it advises."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lang_module
from probee.errors import CompileError

# body of a program; the text under the caret; words of the message; words of the advice
CASES = [
    # numbers
    ("x = 1.5", "1.5", "float", "scale"),
    ("x = 1j", "1j", "complex", "integers"),
    ("x = number / 2", "number / 2", "`/` gives a float", "`//`"),
    ("x = number\nx /= 2", "x /= 2", "`/` gives a float", "`//`"),
    ("x = number @ 2", "number @ 2", "matrix", ""),
    ("x = number ** number", "number ** number", "constant exponent", "1 << n"),
    ("x = 2 ** -1", "2 ** -1", "fraction", "integers"),
    ("x = 2 ** 65", "2 ** 65", "64 bits", ""),
    ("x = 7 // 0", "7 // 0", "division by zero", ""),
    ("x = number % 0", "number % 0", "division by zero", ""),
    ("x = number << 64", "number << 64", "shift by 64", "0 to 63"),
    ("x = number >> -1", "number >> -1", "shift by -1", "0 to 63"),
    ("x = 1 << 70", "1 << 70", "shift by 70", "0 to 63"),
    ("x = (1 << 63) * 2 + number", "(1 << 63) * 2", "does not fit into 64 bits", ""),
    ("x = float(number)", "float(number)", "float()", "floating point"),
    ("x = round(number)", "round(number)", "round()", "`//`"),
    ("x: float = number", "float", "floating point", "scaled"),
    ("x = Plain.ONE + number", "Plain.ONE + number", "not an integer", "IntEnum"),
    # values that are not there
    ("x = [1, 2]", "[1, 2]", "no lists", "array"),
    ("x = {1, 2}", "{1, 2}", "no sets", "Hash"),
    ("x = {1: 2}", "{1: 2}", "no dicts", "Hash"),
    ("x = [i for i in range(3)]", "[i for i in range(3)]", "no lists", "loop"),
    ("x = {i for i in range(3)}", "{i for i in range(3)}", "no sets", "loop"),
    ("x = {i: i for i in range(3)}", "{i: i for i in range(3)}", "no dicts", "loop"),
    ("x = sum(i for i in range(3))", "sum(i for i in range(3))", "sum()", "loop"),
    ("x = (i for i in range(3))", "(i for i in range(3))", "no generators", "loop"),
    ("x = NAMES[0:number]", "0:number", "sliced with constants", "index"),
    ("e = Exec()\nx = e.sizes[1:number]", "1:number", "must be known", "loop over it"),
    ("e = Exec()\nx = e.sizes[3:3]", "3:3", "empty", ""),
    ("e = Exec()\nx = e.comm[::2]", "2", "no step", "loop"),
    ("x = number[1:]", "1:", "can't be sliced", "text"),
    ("e = Exec()\nx = 3 in e.comm", "3 in e.comm", "only text can be in text", ""),
    ("x = ...", "...", "not a value", "pass"),
    ("x = (number, 1)", "x = (number, 1)", "tuple", "one local"),
    ("x = None", "x = None", "starts as None", "assign"),
    ("counts[1] = print(*NUMBERS)", "*NUMBERS", "can't unpack", "one by one"),
    ("x, *y = 1, 2, 3", "x, *y", "can't unpack", "one by one"),
    ("x, y = 1, 2, 3", "x, y", "3 values for 2 targets", ""),
    ("x, y = number", "x, y = number", "can't be unpacked", "tuples"),
    # statements
    ("try:\n    x = 1\nexcept OSError:\n    pass", None, "no exceptions", "if"),
    ("raise ValueError('no')", "raise ValueError('no')", "no exceptions", "return"),
    ("global N\nN = 3", "global N", "global", "bp.Global"),
    ("import os", "import os", "import", "top of the module"),
    ("from os import getpid", "from os import getpid", "import", "top of the module"),
    ("class Inner:\n    pass", None, "inside a program", "module"),
    ("with open('/tmp/x') as file:\n    pass", "open('/tmp/x')", "`with`", "reserve"),
    ("with counts.reserve() as e:\n    pass", "counts.reserve()", "no records", "ring buffers"),
    ("with rb.reserve():\n    pass", "rb.reserve()", "needs a name", "as e"),
    ("with rb.reserve(3) as e:\n    pass", "rb.reserve(3)", "no arguments", "type"),
    ("e = rb.reserve()", "rb.reserve()", "`with`", "with rb.reserve() as e"),
    ("del number", "number", "entries of maps only", "del m[key]"),
    ("assert number > 1, 'small'", "'small'", "what the program returns", "0"),
    ("assert N == 9, 'size'", "assert N == 9, 'size'", "does not hold: size", ""),
    ("number == 3", "number == 3", "not used", "`=`"),
    ("number", "number", "not used", "drop"),
    ("7", "7", "not used", "pass"),
    ("x: u32", "x: u32", "no value", "= 0"),
    ("x: Thing = 3", "Thing", "not a type", "u8"),
    ("x = 1\nx: u32 = 3", "x: u32 = 3", "another type", "first"),
    ("e = Exec()\ne.pid: u32 = 3", "e.pid: u32 = 3", "own name", "drop"),
    # loops
    ("for i in counts:\n    pass", "counts", "loop over a map", "Python"),
    ("for i in number:\n    pass", "number", "can't be looped over", "range"),
    ("for i in range(1, 9, number):\n    pass", "number", "step", ""),
    ("for i in range(1, 9, 0):\n    pass", "0", "must not be 0", ""),
    ("for i in range():\n    pass", "range()", "one to three", "stop"),
    ("for i, j in range(3):\n    pass", "i, j", "name", ""),
    ("x = range(number)", "range(number)", "run-time", "a <= x < b"),
    # names, attributes
    ("x = numbre", "numbre", "no name 'numbre'", "number"),
    ("x = pid()", "pid", "no name 'pid'", "bp.pid"),
    ("x = bp.ktime_get_nsec()", "bp.ktime_get_nsec", "no attribute", ""),
    ("x = os.nothing", "os.nothing", "no attribute", ""),
    ("x = Color.READ", "Color.READ", "no attribute", "RED"),
    ("x = thing.value", "thing.value", "not constants", "bp.Const"),
    ("x = Exec.pid", "Exec.pid", "field of every Exec", "value"),
    ("x = None.foo", "None.foo", "None has no attribute", ""),
    ("x = number.bits", "number.bits", "number has no attribute", ""),
    ("x = N.bits", "N.bits", "number has no attribute", ""),
    ("x = y\ny = 1", "y", "before it is assigned", "every path"),
    ("if number:\n    y = 1\nx = y", "y", "may be read before", "y = 0"),
    ("for i in range(number):\n    y = 1\nx = y", "y", "may be read before", "y = 0"),
    ("e = Exec()\ne.pdi = 1", "e.pdi", "no field 'pdi'", "pid"),
    ("e = Exec()\nx = e.commm", "e.commm", "no field 'commm'", "comm"),
    ("e = Exec(pidd=1)", "1", "no field 'pidd'", "pid"),
    ("e = Exec(1)", "1", "by name", "time_ns="),
    ("e = Exec(**TABLE)", "TABLE", "`**`", "one by one"),
    ("t = bp.current_task()\nx = t.real_parrent", "t.real_parrent", "no field 'real_parrent'", "real_parent"),
    ("t = bp.current_task()\nt.pid = 1", "t.pid", "can only be read", "map"),
    ("t = bp.current_task()\nt.comm[0] = 1", "t.comm[0]", "can only be read", "map"),
    ("t = bp.current_task()\nx = t + 1", "t + 1", "pointer can't be computed", "u64(p)"),
    ("t = bp.current_task()\nx = t < t", "t < t", "pointers can't be compared", "u64(p)"),
    ("t = bp.current_task()\nx = -t", "-t", "pointer can't be computed", "u64(p)"),
    ("limit.value = 3", "limit.value", "Const", "bp.Global"),
    ("name.value[0] = 3", "name.value[0]", "Const", "bp.Global"),
    ("total = 3", "total = 3", "Global total stays", "total.value"),
    ("x = total + 1", "total + 1", "Global, not its value", "total.value"),
    ("total.val = 1", "total.val", "no attribute", "total.value"),
    ("thing.x = 1", "thing.x", "Python object", "bp.Global"),
    ("bp.x = 1", "bp.x", "Python object", "bp.Global"),
    ("number.x = 1", "number.x", "no attribute", ""),
    # maps
    ("x = counts.get(1) + 1", "counts.get(1) + 1", "may be None", "default"),
    ("v = counts.get(1)\nx = v + 1", "v + 1", "v may be None", "if v is None"),
    ("v = counts.get(1)\nprint(f'{v}')", "v", "v may be None", "if v is None"),
    ("v = counts.get(1)\nif v is not None:\n    pass\nx = v + 1", "v + 1", "v may be None", ""),
    ("p = points.get(1)\nx = p.x", "p.x", "p may be None", "if p is None"),
    ("p = points.get(1)\np.x += 1", "p.x", "p may be None", "if p is None"),
    ("p = points.get(1)\nif p or number:\n    x = p.x", "p.x", "p may be None", ""),
    ("p = points[1]", "p = points[1]", "entry of points", "points.get(key)"),
    ("x = points.get(1, 0)", "points.get(1, 0)", "default for numbers", "is None"),
    ("x = counts.get()", "counts.get()", "takes 1 to 2 arguments, not 0", ""),
    ("x = counts.get(1, 2, 3)", "counts.get(1, 2, 3)", "takes 1 to 2 arguments, not 3", ""),
    ("x = counts.get(1, default=2)", "2", "by name", ""),
    ("x = counts.get(1, -1)", "counts.get(1, -1)", "default -1", "is None"),
    ("counts.clear()", "counts.clear", "no 'clear'", "get"),
    ("counts.gett(1)", "counts.gett", "no 'gett'", "get"),
    ("x = len(counts)", "len(counts)", "no length", "Python"),
    ("counts[1] = 'a'", "counts[1] = 'a'", "a number is needed", ""),
    ("counts['a'] = 1", "counts['a'] = 1", "a number is needed", ""),
    ("counts[1 << 40] = 1", "counts[1 << 40] = 1", "does not fit", ""),
    ("slots[8] = 1", "slots[8] = 1", "index 8 is outside", ""),
    ("del slots[1]", "slots[1]", "array", "= 0"),
    ("slots.pop(1)", "slots.pop(1)", "array", "= 0"),
    ("points[1] = 3", "points[1] = 3", "struct Point is needed", "Point("),
    ("by_struct[Point()] = 3", "by_struct[Point()] = 3", "struct Padded is needed", "Padded("),
    ("rb[1] = 3", "rb[1]", "ring buffer", "reserve"),
    ("x = stacks[1]", "stacks[1]", "stack trace", "kstack"),
    ("x = programs[1]", "programs[1]", "program array", "tail_call"),
    ("rb.output(Point())", "rb.output(Point())", "struct Exec is needed", "Exec("),
    ("rb.get(1)", "rb.get(1)", "no get", "output"),
    ("counts.output(1)", "counts.output(1)", "no output", "get"),
    ("x = bp.kstack(counts)", "bp.kstack(counts)", "StackTrace", "StackTrace("),
    ("bp.tail_call(counts, 1)", "bp.tail_call(counts, 1)", "ProgArray", "ProgArray("),
    ("if counts:\n    pass", "counts", "no truth value", "key in"),
    ("x = counts + 1", "counts + 1", "map counts", "counts[key]"),
    ("x = counts(1)", "counts(1)", "can't be called", "counts[key]"),
    ("points[1] += 1", "points[1] += 1", "needs a number", ""),
    ("x = number in counts.get", "number in counts.get", "`in` needs", ""),
    # text
    ("x = 'a' + number", "'a' + number", "joined with text", "f-string"),
    ("x = 'a' % number", "'a' % number", "text can't be computed", "print"),
    ("x = name.upper()", "name.upper", "no attribute", ""),
    ("e = Exec()\nx = e.comm.upper()", "e.comm.upper()", "no method upper", "startswith"),
    ("x = 'abc'.upper()", "'abc'.upper", "no method upper", "Python"),
    ("e = Exec()\ne.comm = number", "e.comm = number", "text is needed", "user_str"),
    ("e = Exec()\ne.comm = '01234567890123456'", "e.comm = '01234567890123456'", "does not fit", ""),
    ("e = Exec()\ne.comm = 'a\\0b'", "e.comm = 'a\\0b'", "NUL", ""),
    ("e = Exec()\nx = e.comm == 3", "e.comm == 3", "text can't be compared", ""),
    ("e = Exec()\nx = e.comm + 1", "e.comm + 1", "joined with text", "f-string"),
    ("x = 'abc'\nx = 'def'", "x = 'def'", "known at compile time", "another name"),
    ("x = Char[4]('abcdef')", "Char[4]('abcdef')", "does not fit", ""),
    ("x = bp.user_str(number)", "x = bp.user_str(number)", "size of x is not known", "Char[64]"),
    ("print(f'{bp.comm()!r}')", "bp.comm()", "!r", "kernel"),
    ("print(f'{number:.3f}')", "number", "can't be printed", "width"),
    ("print(f'{number:{number}}')", "number", "compile time", ""),
    ("print('ä')", "'ä'", "ASCII", ""),
    ("print(number, end='')", "''", "end", ""),
    ("print(number, file=os)", "os", "no file", "trace pipe"),
    # structs and arrays
    ("e = Exec()\nx = e + 1", "e + 1", "a number is needed", "fields"),
    ("e = Exec()\ne.at = 3", "e.at = 3", "can't hold", "Point("),
    ("e = Exec()\ne.pid = e.at", "e.pid = e.at", "a number is needed", "fields"),
    ("e = Exec()\nx = e == Point()", "e == Point()", "can't be compared with", "Exec("),
    ("e = Exec()\nx = e.sizes == (1, 2)", "e.sizes == (1, 2)", "never equal", ""),
    ("e = Exec()\nx = e.sizes[4]", "e.sizes[4]", "index 4 is outside", ""),
    ("e = Exec()\ne.sizes[-5] = 1", "e.sizes[-5]", "index -5 is outside", ""),
    ("e = Exec()\ne.sizes = (1, 2, 3, 4, 5)", "e.sizes = (1, 2, 3, 4, 5)", "5 elements do not fit", ""),
    ("e = Exec()\nx = e[0]", "e[0]", "can't be indexed", ""),
    ("x = number[0]", "number[0]", "can't be indexed", "& and >>"),
    ("x = NUMBERS[number]", "NUMBERS[number]", "constant only", "map"),
    ("x = NUMBERS[7]", "NUMBERS[7]", "no element 7", ""),
    ("x = TABLE[7]", "TABLE[7]", "no element 7", ""),
    ("x = 1\nx = Exec()", "x = Exec()", "was a number", "another local"),
    ("x = Exec()\nx = Point()", "x = Point()", "was a reference to struct Exec", "another local"),
    ("x = 1\nx = counts.get(1)", "x = counts.get(1)", "may be None", "default"),
    ("x = counts\nx = points", "x = points", "known at compile time", "another name"),
    ("x = Exec() if number else Point()", "Point()", "the other choice", ""),
    ("x = Thing()", "Thing()", "Python class", "bp.Struct"),
    ("number[0] = 1", "number[0]", "can't be assigned", ""),
    # calls
    ("x = time.time()", "time.time()", "time.time() is Python's", "bp.nsecs()"),
    ("x = os.getpid()", "os.getpid()", "getpid() is Python's", ""),
    ("x = os.path.join('a', 'b')", "os.path.join('a', 'b')", "is Python's", ""),
    ("x = struct.pack('I', 1)", "struct.pack('I', 1)", "is Python's", ""),
    ("x = isinstance(number, int)", "isinstance(number, int)", "isinstance()", "compiled"),
    ("x = getattr(number, 'x')", "getattr(number, 'x')", "getattr()", "dot"),
    ("x = N()", "N()", "can't be called", ""),
    ("x = number()", "number()", "can't be called", ""),
    ("x = os()", "os()", "can't be called", ""),
    ("x = bp.pid", None, "", ""),  # an alias: fine
    ("x = bp.pid + 1", "bp.pid + 1", "a number is needed", "bp.pid()"),
    ("x = bp.pid(1)", "bp.pid(1)", "takes 0 arguments, not 1", ""),
    ("x = abs()", "abs()", "takes 1 argument, not 0", ""),
    ("x = min(1)", "min(1)", "two values", "min(a, b)"),
    ("x = u32(1, 2)", "u32(1, 2)", "takes 1 argument, not 2", ""),
    ("x = u32(x=2)", "2", "by name", ""),
    ("x = helper(1)", "helper(1)", "needs b", "(a, b)"),
    ("x = helper(1, 2, 3)", "helper(1, 2, 3)", "takes 2 arguments, not 3", ""),
    ("x = helper(1, c=3)", "3", "no parameter 'c'", ""),
    ("x = helper(1, a=3)", "3", "gets a twice", ""),
    ("x = helper(1, Exec())", "e + b", "", ""),
    ("x = recursive(3)", "recursive(n - 1)", "calls itself", "loop"),
    ("x = other()", "other()", "program of its own", "plain function"),
    ("x = many(1, 2, 3, 4, 5, 6)", "many(1, 2, 3, 4, 5, 6)", "at most 5", "struct"),
    ("x = sometimes(number)", "return", "returns a number on some ways and nothing here", "number"),
    ("x = local_struct()", "e", "can't be returned", "caller"),
    ("x = variadic(1)", "variadic(1)", "variable number", "fixed"),
    ("x = typed(Exec())", "typed(Exec())", "a is a u32", ""),
    ("x = nothing_at_all() + 1", "nothing_at_all() + 1", "a number is needed", ""),
    ("x = annotated_none()", "return 1", "annotated to return None", "drop"),
    ("x = helper(points[1], 1)", "points[1]", "as a whole", "points.get"),
    ("bp.ringbuf_reserve(rb, 1, 1)", "bp.ringbuf_reserve(rb, 1, 1)", "not called directly", "with"),
    ("x = bp.cast(3, 4)", "3", "cast takes a type", "struct sock"),
    ("x = bp.cast('struct nonesuch', 4)", "'struct nonesuch'", "no struct nonesuch", ""),
    ("x = hasattr(number, 'x')", "hasattr(number, 'x')", "no fields", "pointer"),
    ("x = hasattr(bp.current_task(), number)", "number", "literal", "hasattr"),
    ("x = bp.sizeof(number)", "bp.sizeof(number)", "sizeof takes", ""),
    ("x = bp.kernel_type_exists(number)", "bp.kernel_type_exists(number)", "literal", ""),
    ("x = ord(number)", "ord(number)", "literal", "byte"),
    # comparisons
    ("x = number is 3", "number is 3", "None only", "`==`"),
    ("x = number is not 3", "number is not 3", "None only", "`!=`"),
    ("x = 1 < 'a'", "1 < 'a'", "can't compare", ""),
    ("x = number in 5", "number in 5", "`in` needs", ""),
    # match
    ("match number:\n    case {1: 2}:\n        pass", "{1: 2}", "mapping patterns", "numbers"),
    ("match number:\n    case limit.value:\n        pass", "limit.value", "constant", "guard"),
    ("match number:\n    case 1.5:\n        pass", "1.5", "float", "scale"),
]  # fmt: skip

ABOVE = """
def helper(a, b):
    e = a
    return e + b


def recursive(n):
    return recursive(n - 1)


@bp.raw_tracepoint("sys_exit")
def other():
    pass


def many(a, b, c, d, e, f):
    return a + b + c + d + e + f


def sometimes(n):
    if n:
        return 1
    return


def local_struct():
    e = Exec()
    return e


def variadic(*args):
    return 1


def typed(a: u32):
    return a


def nothing_at_all():
    pass


def annotated_none() -> None:
    return 1
"""
FINE = {"x = bp.pid"}


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0].replace("\n", "; ")[:50])
def test_refused(case, ktypes, tmp_path):
    body, at, message, advice = case
    module = lang_module.make(lang_module.program(body, above=ABOVE), tmp_path)
    if body in FINE:
        lang_module.to_ir(module, ktypes)
        return
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    e = caught.value
    assert e.file == module.__file__
    lines = Path(e.file).read_text().split("\n")
    assert e.source == lines[e.line - 1]
    if at is not None and "\n" not in at:
        assert e.source[e.column : e.end_column] == at
    assert message in e.message
    assert advice in e.advice or advice in e.message
    shown = str(e)
    assert shown.startswith(f"{e.file}:{e.line}:{e.column + 1}: ")
    assert "^" in shown


def test_every_kind_of_syntax_is_known():
    """Each node type of Python's grammar is either compiled or has a message of its own."""
    from probee.lang import expr, stmt

    for base, modules in ((ast.stmt, stmt), (ast.expr, expr)):
        for kind in base.__subclasses__():
            if (
                kind.__name__ in ("FormattedValue", "TemplateStr", "Interpolation")
                or kind.__module__ != "ast"
            ):
                continue
            if getattr(kind, "__doc__", "") and kind.__name__ in (
                "Num",
                "Str",
                "Bytes",
                "NameConstant",
                "Ellipsis",
            ):
                continue
            assert kind in modules._HANDLERS or kind in modules._REFUSED, kind


def test_async_and_yield(ktypes, tmp_path):
    for body, message in (("yield number", "can't yield"), ("yield from ()", "can't yield")):
        module = lang_module.make(lang_module.program(body), tmp_path)
        with pytest.raises(CompileError, match=message):
            lang_module.to_ir(module, ktypes)


def test_nonlocal(ktypes, tmp_path):
    text = lang_module.PRELUDE + (
        "\ndef outer():\n    n = 1\n    @bp.raw_tracepoint('sys_enter')\n    def program():\n"
        "        nonlocal n\n        n = 2\n    return program\nprogram = outer()\n"
    )
    with pytest.raises(CompileError, match="nonlocal"):
        lang_module.to_ir(lang_module.make(text, tmp_path), ktypes)


def test_parameters(ktypes, tmp_path):
    cases = [
        ("*args", "plain names"),
        ("regs, number=3", "no defaults"),
        ("*, regs", "plain names"),
        ("a, b, c", "gives 2 parameters, not 3"),
        ("regs: u32", "drop the annotation"),
        ("regs: Exec", "comes from the hook"),
    ]
    for params, message in cases:
        module = lang_module.make(lang_module.program("pass", params=params), tmp_path)
        with pytest.raises(CompileError) as caught:
            lang_module.to_ir(module, ktypes)
        assert message in str(caught.value)
        assert caught.value.line > 0


def test_unknown_hook_points_at_the_decorator(ktypes, tmp_path):
    module = lang_module.make(
        lang_module.program("pass", hook='raw_tracepoint("sys_entr")', params=""), tmp_path
    )
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    e = caught.value
    assert e.source[e.column : e.end_column] == 'bp.raw_tracepoint("sys_entr")'
    assert "sys_enter" in e.advice


def test_error_inside_a_subprogram_points_there(ktypes, tmp_path):
    above = "def f(x):\n    return x.nope\n"
    module = lang_module.make(lang_module.program("return f(1)", above=above), tmp_path)
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    assert caught.value.source.strip() == "return x.nope"


def test_columns_count_characters(ktypes, tmp_path):
    module = lang_module.make(lang_module.program("x = ('äöü', numbre)"), tmp_path)
    with pytest.raises(CompileError) as caught:
        lang_module.to_ir(module, ktypes)
    e = caught.value
    assert e.source[e.column : e.end_column] == "numbre"
