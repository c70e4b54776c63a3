"""Methods of the kernel's own fields, and what of them stands in a `with`."""

from __future__ import annotations

import ast

from .. import builtins
from ..convert import describe, refuse_maybe
from ..decl import redirects
from ..items import Item, Kept, Method, Py, Ref
from ..scope import Fn
from ..types import Special
from ..with_ import Held
from . import dynptrs, helpers_held, kfuncs, kptrs, locks, objects, timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[Fn, Ref, ast.Call], Item]
    Hold = Callable[[Fn, Ref, ast.Call], Held]

_CALLS: dict[str, dict[str, Call]] = {
    "bpf_timer": timers.METHODS,
    "bpf_wq": timers.WORK,
    "bpf_task_work": timers.TASK,
    "bpf_list_head": objects.LIST,
    "bpf_rb_root": objects.TREE,
    "bpf_dynptr": dynptrs.METHODS,
}
_HELD: dict[str, dict[str, Hold]] = {
    "bpf_list_head": objects.LIST_HELD,
    "bpf_rb_root": objects.TREE_HELD,
    "bpf_dynptr": dynptrs.HELD,
}
_WHAT = {
    "bpf_timer": "a timer",
    "bpf_wq": "a work queue",
    "bpf_task_work": "work for a task",
    "bpf_list_head": "a list",
    "bpf_rb_root": "a tree",
    "bpf_dynptr": "a dynptr",
    "bpf_spin_lock": "a lock",
    "bpf_res_spin_lock": "a lock",
    "bpf_refcount": "a count of owners",
    "bpf_list_node": "a link of a list",
    "bpf_rb_node": "a link of a tree",
}


def call(f: Fn, of: Ref, name: str, node: ast.Call) -> Item:
    """A method as an expression."""
    if isinstance(of, Kept):
        f.fail(node, f"{name}() gives what has to be released", f"write `with ….{name}(…) as found:`")
    assert isinstance(of.type, Special)
    word = of.type.name
    handler = _CALLS.get(word, {}).get(name)
    if handler is not None:
        return handler(f, of, node)
    if name in _HELD.get(word, {}):
        what = "gives may have to be written back" if name == "edit" else "takes out has to be released"
        f.fail(
            node,
            f"what {name}() {what}",
            f"write `with ….{name}(…) as found:`; the body is skipped where there is none",
        )
    _unknown(f, word, name, node)
    raise AssertionError


def _unknown(f: Fn, word: str, name: str, node: ast.AST) -> None:
    known = [*_CALLS.get(word, {}), *_HELD.get(word, {})]
    if known:
        advice = f"it has {', '.join(known)}"
    else:
        advice = "write `with value.lock:`" if "lock" in word else "only the kernel touches it"
    f.fail(node, f"{_WHAT.get(word, 'this field')} has no {name}", advice)


def hold(f: Fn, callee: Item, node: ast.Call) -> Held | None:
    """What a call at the head of a `with` takes, if it is one of the kernel's services."""
    if isinstance(callee, Py):
        if isinstance(callee.obj, builtins.KfuncName):
            return kfuncs.hold(f, callee.obj, node)
        if isinstance(callee.obj, builtins.Helper):
            return helpers_held.hold(f, callee.obj, node)
        name = builtins.name_of(callee.obj)
        if name in objects.HELD:
            return objects.HELD[name](f, node)
        return None
    if isinstance(callee, Method):
        if callee.name == "get" and isinstance(callee.of, Py):
            m = callee.of.obj
            if isinstance(m, (redirects.SockMap, redirects.SockHash)):
                return helpers_held.hold_socket(f, m, node)
        if isinstance(callee.of, Kept):
            return kptrs.hold(f, callee.of, callee.name, node)
        if callee.name == "reserve_dynptr":
            return dynptrs.reserve(f, callee.of, node)
        if isinstance(callee.of, Ref) and isinstance(callee.of.type, Special):
            word = callee.of.type.name
            handler = _HELD.get(word, {}).get(callee.name)
            if handler is None:
                _unknown(f, word, callee.name, node)
                raise AssertionError
            return handler(f, callee.of, node)
    return None


def lock(f: Fn, item: Item, node: ast.expr) -> Held | None:
    """`with value.lock:`."""
    if isinstance(item, Ref) and isinstance(item.type, Special) and item.type.name in locks.LOCKS:
        refuse_maybe(f, item, node)
        return locks.hold(f, item, node)
    if isinstance(item, Ref) and isinstance(item.type, Special):
        f.fail(node, f"{describe(item)} is no lock", "a field `bp.SpinLock` is one")
    return None
