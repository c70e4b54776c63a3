"""Values of the kernel's configuration: `bp.kconfig("CONFIG_HZ", u32)`, filled in when the object is loaded.

The conventions are libbpf's: an external variable in the section `.kconfig`, constant to the verifier, which
leaves out the ways that it rules out.
"""

from __future__ import annotations

import ast

from .. import decl, ir
from ..convert import constant, describe
from ..items import Item, Num, Py, Ref
from ..scope import Fn
from ..types import BOOL, Chars, Int, Type

_OTHERS = ("LINUX_KERNEL_VERSION", "LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER")  # the loader's own


def value(f: Fn, node: ast.Call) -> Item:
    """A number, truth or text of the configuration."""
    name, given = _arguments(f, node)
    kind = _type(f, f.expr(node.args[1]), node.args[1])
    if given is not None and isinstance(kind, Chars):
        f.fail(node, "text has no default here: it is empty where the kernel has no such value", "drop it")
    if given is not None and kind == BOOL:
        f.fail(node, "what the kernel's configuration does not mention is off", "drop the default")
    default = constant(f.expr(given)) if given is not None else 0
    if default is None or isinstance(default, bool):
        f.fail(given, "the default is a number that is written down")
    known = f.unit.config.get(name)
    if known is None:
        weak = kind == BOOL or isinstance(kind, Chars) or given is not None
        known = f.unit.config[name] = ir.Ksym(name, kind, config=True, weak=weak)
    elif known.type != kind:
        f.fail(node.args[1], f"{name} is a {known.type!r} elsewhere in these programs", "give it one type")
    elif given is not None:
        known.weak = True
    ref = ir.KsymRef(known)
    if isinstance(kind, Chars):
        return Ref(ref)
    b = f.b
    found = b.load(ref)
    if not default:
        return Num(found if kind == BOOL else b.widen(found))
    wide = b.widen(found)
    return Num(b.select(b.truth(wide), wide, b.const(int(default), wide.type)))


def _arguments(f: Fn, node: ast.Call) -> tuple[str, ast.expr | None]:
    """The name, and the default if there is one."""
    form = 'bp.kconfig("CONFIG_HZ", u32)'
    words = {kw.arg: kw.value for kw in node.keywords}
    given = words.pop("default", None)
    if len(node.args) != 2 or words:
        f.fail(node, "kconfig takes a name and a type, and a default by its name", f"write {form}")
    name = f.expr(node.args[0])
    if not isinstance(name, Py) or not isinstance(name.obj, str):
        f.fail(node.args[0], "the name of a value is a literal", f"write {form}")
    if name.obj not in _OTHERS and not (name.obj.startswith("CONFIG_") and name.obj.isidentifier()):
        f.fail(
            node.args[0],
            f"{name.obj} is no value of the kernel's configuration",
            f"they begin with CONFIG_; there are also {', '.join(_OTHERS)}",
        )
    return name.obj, given


def _type(f: Fn, item: Item, node: ast.AST) -> Type:
    obj = item.obj if isinstance(item, Py) else None
    if obj is bool or obj is decl.bool_:
        return BOOL
    if obj is int:
        return Int(64, True)
    if isinstance(obj, decl.ScalarType):
        return Int(obj.bits, obj.signed)
    if isinstance(obj, decl.CharType):
        return Chars(obj.size)
    f.fail(
        node,
        f"{describe(item)} is no type of the kernel's configuration",
        "it has bool, integers, Char[n]; with u8, a y/m/n is the letter: `== ord('m')`",
    )
