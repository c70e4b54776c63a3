"""Calls of kernel functions (kfuncs), typed by the kernel's BTF.

The names of parameters say more than their types: `__sz` is the size of the memory before, `__k` a constant,
`__nullable` may be None, `meta__ign` and `__prog` are not for programs. What BTF does not tell, the flags, is
in a table.
"""

from __future__ import annotations

import ast

from ...btf.kinds import DECL_TAG, FUNC
from ...isa.tables import PROG_TYPES
from ...verifier.kfunc_rules import KFUNCS, Kfunc, suffix
from .. import decl, diag, ir, mapops, subprograms, text
from ..builtins import KfuncName
from ..convert import constant, describe, number
from ..items import Context, Item, Num, Pointer, Py, Ref
from ..scope import Fn, is_none
from ..types import VOID, Array, Chars, Int, Ptr, Space, Special, Struct
from ..with_ import Held
from . import fields, helpers, owned
from . import memory as buffers
from .rules import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..ktypes import KernelTypes

CONTEXTS = {
    "__sk_buff",
    "xdp_md",
    "bpf_nf_ctx",
    "bpf_sock_addr",
    "bpf_sock_ops",
}
INSTEAD = {
    "bpf_rcu_read_lock": "write `with bp.rcu():`",
    "bpf_rcu_read_unlock": "write `with bp.rcu():`",
    "bpf_preempt_disable": "write `with bp.preempt_off():`",
    "bpf_preempt_enable": "write `with bp.preempt_off():`",
    "bpf_local_irq_save": "write `with bp.irq_off():`",
    "bpf_local_irq_restore": "write `with bp.irq_off():`",
    "bpf_throw": "write bp.throw(code)",
    "bpf_rdonly_cast": 'write bp.rdonly_cast("task_struct", p)',
    "bpf_obj_new_impl": "write `with bp.obj_new(Node) as node:`",
    "bpf_obj_drop_impl": "write `with bp.obj_new(Node) as node:`, which drops it",
    "bpf_percpu_obj_new_impl": "write `with bp.percpu_obj_new(Node) as node:`",
    "bpf_percpu_obj_drop_impl": "write `with bp.percpu_obj_new(Node) as node:`, which drops it",
    "bpf_refcount_acquire_impl": "write `with bp.refcount_acquire(node) as other:`",
    "bpf_list_push_front_impl": "write head.push_front(node)",
    "bpf_list_push_back_impl": "write head.push_back(node)",
    "bpf_list_pop_front": "write `with head.pop_front() as node:`",
    "bpf_list_pop_back": "write `with head.pop_back() as node:`",
    "bpf_rbtree_add_impl": "write tree.add(node, less)",
    "bpf_rbtree_remove": "write `with tree.pop_first() as node:` or `with tree.remove(find) as node:`",
    "bpf_rbtree_first": "write tree.first()",
    "bpf_rbtree_root": "write tree.root()",
    "bpf_rbtree_left": "write tree.left(node)",
    "bpf_rbtree_right": "write tree.right(node)",
    "bpf_list_front": "write head.front()",
    "bpf_list_back": "write head.back()",
    "bpf_arena_alloc_pages": "write arena.alloc_pages(count, Node)",
    "bpf_arena_free_pages": "write arena.free_pages(pointer, count)",
    "bpf_res_spin_lock": "write `with value.lock:`",
    "bpf_res_spin_unlock": "write `with value.lock:`",
    "bpf_wq_init": "write value.work.init(map)",
    "bpf_wq_set_callback_impl": "write value.work.set_callback(function)",
    "bpf_wq_start": "write value.work.start()",
    "bpf_task_work_schedule_resume_impl": "write value.work.schedule_resume(task, map, function)",
    "bpf_task_work_schedule_signal_impl": "write value.work.schedule_signal(task, map, function)",
}


def is_kfunc(ktypes: KernelTypes, name: str) -> bool:
    """May programs call this function of the kernel?"""
    if ktypes.kfunc(name) is None:
        return False
    own = ktypes.home(name, FUNC)
    return name in KFUNCS or own is None or name in tagged(own[0])


def tagged(ktypes: KernelTypes) -> set[str]:
    """The functions that the BTF of the kernel or a module marks as callable (Linux 6.10)."""
    btf = ktypes.btf
    found = (btf.type(btf.type(id).type) for id in btf.find_all("bpf_kfunc", DECL_TAG))
    return {t.name for t in found if t.kind == FUNC}


def checked(f: Fn, name: str, node: ast.AST) -> tuple[ir.Extern, Kfunc]:
    ktypes = f.unit.ktypes
    extern = ktypes.kfunc(name)
    rules = KFUNCS.get(name)
    if extern is None or not is_kfunc(ktypes, name):
        near = diag.nearest(name, sorted({*KFUNCS, *tagged(ktypes)}))
        word = "no kernel function" if extern is None else "a function that programs can't call:"
        known = f"Linux {rules.since} has it" if rules is not None else near
        f.fail(node, f"this kernel has {word} {name}", known or "`probee stubs` writes down all it has")
    if rules is None:
        rules = Kfunc(name, "", frozenset(PROG_TYPES), "")
    kind = kind_of(f.program)
    if kind.prog_type and kind.prog_type != "ext" and kind.prog_type not in rules.programs:
        shown = ", ".join(sorted(rules.programs)[:8])
        f.fail(node, f"{kind.prog_type} programs can't call {name}", f"programs that can: {shown}")
    if rules.sleepable and kind.prog_type and not kind.sleepable:
        f.fail(node, f"{name} may sleep, and this program may not", "syscall programs may")
    return extern, rules


def exists(f: Fn, node: ast.Call) -> Item:
    """`bp.kfunc_exists("name")`: decided here for a kernel without it, else when the program is loaded."""
    from ..calls import arguments

    (item,) = arguments(f, node, 'kfunc_exists("name")', 1, 1)
    if not isinstance(item, Py) or not isinstance(item.obj, str):
        f.fail(node, "the function's name is a literal", 'write bp.kfunc_exists("bpf_task_acquire")')
    extern = f.unit.ktypes.kfunc(item.obj)
    if extern is None:
        return Py(False)
    extern.weak = True
    return Num(f.b.truth(ir.ExternRef(extern)))


def call(f: Fn, kfunc: KfuncName, node: ast.Call) -> Item:
    """`bp.kfunc.NAME(…)` as an expression."""
    name = kfunc.name
    if name in INSTEAD or name.startswith("bpf_iter_"):
        advice = INSTEAD.get(name, "loop with `for … in bp.tasks()` and the like")
        f.fail(node, f"{name} is not called directly", advice)
    extern, rules = checked(f, name, node)
    if rules.acquire:
        f.fail(
            node,
            f"what {name} gives has to be released",
            f"write `with bp.kfunc.{name}(…) as found:`; the body is skipped where there is none",
        )
    values = lower(f, extern, rules, node)
    return _result(f, extern, rules, values)


def hold(f: Fn, kfunc: KfuncName, node: ast.Call) -> Held:
    """`with bp.kfunc.NAME(…) as x:` for what has to be released."""
    name = kfunc.name
    if name in INSTEAD:
        f.fail(node, f"{name} is not called directly", INSTEAD[name])
    extern, rules = checked(f, name, node)
    if not rules.acquire:
        f.fail(node, f"what {name} gives has not to be released", f"write x = bp.kfunc.{name}(…)")
    kind = extern.ret
    assert isinstance(kind, Ptr)
    free = releaser(f, kind, node)
    values = lower(f, extern, rules, node)
    value = f.b.kfunc(extern, *values, type=Ptr(kind.to, Space.TRUSTED, True))
    return owned.hold(f, value, free, f"what {name} gave")


def releaser(f: Fn, kind: Ptr, node: ast.AST) -> Callable[[ir.Value], Any]:
    """The function that releases a kernel object."""
    assert isinstance(kind.to, Struct)
    for name, rules in KFUNCS.items():
        if not rules.release or name in INSTEAD:
            continue
        extern = f.unit.ktypes.kfunc(name)
        if extern is None or not extern.params:
            continue
        first = extern.params[0][1]
        if isinstance(first, Ptr) and isinstance(first.to, Struct) and first.to.name == kind.to.name:
            return lambda value: f.b.kfunc(extern, value)
    f.fail(node, f"this kernel has no function that releases a {kind.to!r}")


def lower(f: Fn, extern: ir.Extern, rules: Kfunc, node: ast.Call) -> list[ir.Value]:
    """The values of a call."""
    name, params = extern.name, extern.params
    for kw in node.keywords:
        f.fail(kw.value, f"{name} takes no argument by name", form(extern))
    for arg in node.args:
        if isinstance(arg, ast.Starred):
            f.fail(arg, "`*` can't unpack here", "write the arguments one by one")
    own = [i for i, (word, _) in enumerate(params) if not implicit(word)]
    short = [i for i in own if not _is_size(params[i][0])]
    items = [f.expr(arg) for arg in node.args]
    if len(items) == len(short):
        order = short
    elif len(items) == len(own):
        order = own
    else:
        plural = "" if len(short) == 1 else "s"
        f.fail(node, f"{name} takes {len(short)} argument{plural}, not {len(items)}", form(extern))
    given = dict(zip(order, zip(items, node.args, strict=True), strict=True))
    values: list[ir.Value] = []
    filled = 0
    for i, (word, kind) in enumerate(params):
        if i not in own:
            values.append(f.b.const(0) if isinstance(kind, Int) else ir.Const(kind, 0))
        elif i not in given:
            values.append(f.b.const(filled))
        else:
            item, where = given[i]
            what = f"{word} of {name}"
            sized = i + 1 < len(params) and _is_size(params[i + 1][0])
            value, filled = _argument(f, rules, word, kind, item, where, what, sized)
            values.append(value)
    return values


def implicit(word: str) -> bool:
    """Whether the verifier fills a parameter in. Others with `__ign` it only does not look at."""
    return word == "meta__ign" or word.endswith("__prog")


def _is_size(word: str) -> bool:
    return word.endswith(("__sz", "__szk"))


def form(extern: ir.Extern) -> str:
    """How a kernel function is called."""
    words = [w for w, _ in extern.params if not implicit(w)]
    parts = [f"[{w.partition('__')[0]}]" if _is_size(w) else w.partition("__")[0] or w for w in words]
    return f"write bp.kfunc.{extern.name}({', '.join(parts)})"


def _argument(
    f: Fn,
    rules: Kfunc,
    word: str,
    kind: object,
    item: Item,
    node: ast.expr,
    what: str,
    sized: bool,
) -> tuple[ir.Value, int]:
    ending = suffix(word)
    if isinstance(kind, Int):
        if word.endswith(("__k", "__szk")) and constant(item) is None:
            f.fail(node, f"{what} is a constant, and this is {describe(item)}", "write a number")
        return number(f, item, node), 0
    assert isinstance(kind, Ptr)
    if is_none(item) and ending in ("__nullable", "__opt"):
        return ir.Const(kind, 0), 0
    if ending in ("__str", "__const_str"):
        if not isinstance(item, Py) or not isinstance(item.obj, (str, bytes)):
            buffer = buffers.readable(f, item, node, what)
            return buffer.place, 0
        return f.b.string(text.encode(f, item.obj, node)), 0
    if ending == "__map":
        if not isinstance(item, Py) or not isinstance(item.obj, decl.MapDecl):
            f.fail(node, f"{what} is a map, and this is {describe(item)}", "name one of the module's")
        return mapops.handle(f, item.obj), 0
    if rules.release and owned.name_of(f, item):
        return owned.give(f, item, node, rules.name), 0
    to = kind.to
    if isinstance(to, Struct) and to.name == "bpf_dynptr":
        return fields.argument(f, "dynptr", item, node, what), 0
    if isinstance(item, Context) or (isinstance(to, Struct) and to.name in CONTEXTS):
        if not isinstance(item, Context):
            f.fail(node, f"{what} is the program's argument, and this is {describe(item)}", "pass that")
        ctx = subprograms.context(f, node, what)
        if isinstance(to, Struct) and to.name in _KERN.values():
            return f.kfunc(node, "6.2", "bpf_cast_to_kern_ctx", ctx, type=Ptr(to, Space.TRUSTED)), 0
        return ctx, 0
    if fields.special(item):
        assert isinstance(item, Ref)
        return item.ptr, 0
    if isinstance(to, Struct) and to.core and not sized and not _own_memory(item):
        name = to.name.partition("___")[0]
        return helpers.trusted(f, item, name, node, what), 0
    if isinstance(to, (Int, Array, Chars)) or sized or _own_memory(item):
        plain = isinstance(item, Num) and item.origin is not None
        buffer = (buffers.writable if plain else buffers.readable)(f, item, node, what)
        if isinstance(to, Int) and 0 < buffer.size < to.size:
            f.fail(node, f"{what} needs {to.size} bytes, and this has {buffer.size}")
        return buffer.place, buffer.size
    return helpers.address(f, item, node, what), 0


def _own_memory(item: Item) -> bool:
    """Memory of the program: a struct or array of its own."""
    if isinstance(item, (Ref, Pointer)):
        kind = item.ptr.type if isinstance(item, Ref) else item.v.type
        assert isinstance(kind, Ptr)
        return kind.space in (Space.STACK, Space.MAP, Space.GLOBAL, Space.RECORD) and not (
            isinstance(kind.to, Special) or (isinstance(kind.to, Struct) and kind.to.core)
        )
    return False


# What the kernel has of a context, by what programs see.
_KERN = {
    "__sk_buff": "sk_buff",
    "xdp_md": "xdp_buff",
    "bpf_sock_addr": "bpf_sock_addr_kern",
    "bpf_sock_ops": "bpf_sock_ops_kern",
    "bpf_sockopt": "bpf_sockopt_kern",
    "bpf_sysctl": "bpf_sysctl_kern",
}


def _result(f: Fn, extern: ir.Extern, rules: Kfunc, values: list[ir.Value]) -> Item:
    kind = extern.ret
    if kind is VOID:
        f.b.kfunc(extern, *values)
        return Py(None)
    if isinstance(kind, Int):
        return Num(f.b.widen(f.b.kfunc(extern, *values)))
    assert isinstance(kind, Ptr)
    to = kind.to
    if extern.name == "bpf_cast_to_kern_ctx" and f.ctx is not None and isinstance(f.ctx.type, Ptr):
        of = f.ctx.type.to
        found = f.unit.ktypes.find(f"struct {_KERN.get(getattr(of, 'name', ''), '')}")
        to = found if found is not None else to
    value = f.b.kfunc(extern, *values, type=Ptr(to, Space.TRUSTED, rules.ret_null))
    if rules.ret_null:
        return Ref(value, maybe=f"bp.kfunc.{extern.name}(…)")
    return Pointer(value)
