"""Arguments of kernel functions: what BTF and the parameters' names ask for, and whether the registers are
that.
"""

from __future__ import annotations

from probee.btf.kinds import ENUMS, FLOAT, INT, PTR, STRUCT, UNION
from probee.verifier import calls, context_rules, dynptrs, fields, irq_flags, iterators, locks, special
from probee.verifier.btf_pointers import ids_match, is_scalar_struct, is_trusted
from probee.verifier.errors import Reject
from probee.verifier.functions import check_block
from probee.verifier.kfunc_rules import Kfunc
from probee.verifier.precision import mark_precise
from probee.verifier.state import (
    ALLOC,
    BASE,
    BTF_ID,
    CTX,
    FUNC,
    MAP_PTR,
    MAP_VALUE,
    MAYBE_NULL,
    NON_OWN_REF,
    PERCPU,
    RCU,
    SCALAR,
    SOCK_COMMON,
    SOCKET,
    STACK,
    TCP_SOCK,
    TRUSTED,
    UNTRUSTED,
    USER,
    XDP_SOCK,
    Reg,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf, BtfType
    from probee.verifier.fields import Field
    from probee.verifier.program import MapInfo
    from probee.verifier.walk import Walk

# Registers that stand for structs of the kernel though they aren't BTF pointers.
AS_STRUCT = {SOCKET: "sock", SOCK_COMMON: "sock_common", TCP_SOCK: "tcp_sock", MAP_PTR: "bpf_map"}
_UNSAFE = MAYBE_NULL | UNTRUSTED | USER | PERCPU | RCU
_LIST_NODE = {"bpf_list_push_front_impl", "bpf_list_push_back_impl"}


class Given:
    """What the arguments of one call turned out to be."""

    __slots__ = (
        "arg_btf",
        "arg_btf_id",
        "btf",
        "constant",
        "dynptr",
        "dynptr_id",
        "dynptr_kind",
        "found_constant",
        "func",
        "iterator",
        "iterator_flags",
        "map",
        "name",
        "owning",
        "ref",
        "release",
        "result_readonly",
        "result_size",
        "root",
        "rules",
        "uid",
    )

    def __init__(self, name: str, rules: Kfunc, btf: Btf) -> None:
        self.name = name
        self.rules = rules
        self.btf = btf
        self.constant = 0
        self.found_constant = False
        self.dynptr: Reg | None = None
        self.dynptr_id = 0
        self.dynptr_kind = ""
        self.func = -1
        self.iterator: tuple[int, int] | None = None
        self.iterator_flags = 0
        self.map: MapInfo | None = None
        self.uid = 0
        self.owning = False
        self.ref = 0
        self.release = 0
        self.result_size = 0
        self.result_readonly = False
        self.root: Field | None = None
        self.arg_btf: Btf | None = None
        self.arg_btf_id = 0


def check_arguments(w: Walk, given: Given, params: tuple[tuple[str, int], ...]) -> None:
    """All parameters in turn.

    Raises:
        Reject: a register isn't what its parameter asks for.
    """
    rules = given.rules
    plan = w.kfunc_params.get(given.name)
    if plan is None:
        plan = w.kfunc_params[given.name] = _plan(given.btf, params)
    skip = False
    for at, name, type, nullable, target, target_id in plan:
        if skip:
            skip = False
            continue
        number = at + 1
        reg = w.regs[number]
        if type.kind != PTR:
            if type.kind != INT and type.kind not in ENUMS and type.kind != FLOAT:
                raise Reject(f"Unrecognized arg#{at} type {type.kind_name.upper()}")
            _number(w, given, number, reg, name)
            continue
        null = bool(reg.type & MAYBE_NULL) or calls.is_null(reg)
        if null and (rules.trusted_args or rules.rcu) and not nullable:
            raise Reject(f"Possibly NULL pointer passed to trusted arg{at}")
        if reg.ref:
            given.ref = reg.ref
            if rules.release:
                given.release = number
        if _pointer(w, given, at, reg, name, target, target_id, params):
            skip = True
    if rules.release and not given.release:
        raise Reject(f"release kernel function {given.name} expects refcounted PTR_TO_BTF_ID")


# Of each parameter that counts: its number, name and type, whether it may be NULL, what it points to and the
# id of that.
Plan = list[tuple[int, str, "BtfType", bool, "BtfType | None", int]]


def _plan(btf: Btf, params: tuple[tuple[str, int], ...]) -> Plan:
    found: Plan = []
    for at, (name, type_id) in enumerate(params):
        if name.endswith(("__ign", "__prog")):
            continue
        type = btf.type(fields.skip(btf, type_id))
        target_id = fields.skip(btf, type.type) if type.kind == PTR and type.type else 0
        target = btf.type(target_id) if target_id else None
        found.append((at, name, type, _nullable(name), target, target_id))
    return found


def _nullable(name: str) -> bool:
    return "__nullable" in name or name.endswith("__opt")


def _number(w: Walk, given: Given, number: int, reg: Reg, name: str) -> None:
    if reg.type != SCALAR:
        raise Reject(f"R{number} is not a scalar")
    if name.endswith("__k"):
        if reg.num.mask:
            raise Reject(f"R{number} must be a known constant")
        mark_precise(w, number)
        given.constant, given.found_constant = reg.num.value, True
    elif name in ("rdonly_buf_size", "rdwr_buf_size"):
        if reg.num.mask:
            raise Reject(f"R{number} is not a const")
        given.result_size = reg.num.value
        given.result_readonly = name == "rdonly_buf_size"
        mark_precise(w, number)


def _is_size(name: str) -> bool:
    return name.endswith(("__sz", "__szk"))


def _pointer(
    w: Walk,
    given: Given,
    at: int,
    reg: Reg,
    name: str,
    target: BtfType | None,
    target_id: int,
    params: tuple[tuple[str, int], ...],
) -> bool:
    """One pointer argument. Whether the next parameter (its size) is dealt with too."""
    number, kfunc, rules = at + 1, given.name, given.rules
    struct = target.name if target is not None and target.kind in (STRUCT, UNION) else ""
    release = rules.release and bool(reg.ref)
    context_struct = context_rules.CONTEXTS.get(w.context.kind, "")
    takes_ctx = kfunc == "bpf_cast_to_kern_ctx" or (
        bool(struct) and struct == context_struct and kfunc not in ("",)
    )
    if takes_ctx:
        calls.check_argument_offset(w, number, release=release)
        if reg.type != CTX:
            raise Reject(f"arg#{at} expected pointer to ctx, but got {type_name(reg.type)}")
        return False
    if "__nullable" in name and calls.is_null(reg):
        return False
    if name.endswith("__alloc"):
        _trusted(given, reg, number)
        calls.check_argument_offset(w, number, release=release)
        _allocated(given, reg, at)
        return False
    if name.endswith("__refcounted_kptr"):
        calls.check_argument_offset(w, number, release=release)
        if not reg.type & ALLOC or reg.type & BASE != BTF_ID:
            raise Reject(f"arg#{at} is neither owning or non-owning ref")
        given.owning = not reg.type & NON_OWN_REF and bool(reg.ref)
        if not w.context.record_of(reg).has("refcount"):
            raise Reject(f"arg#{at} doesn't point to a type with bpf_refcount field")
        given.arg_btf, given.arg_btf_id = reg.btf, reg.btf_id
        return False
    if struct == "bpf_dynptr" or struct == "bpf_dynptr_kern":
        calls.check_argument_offset(w, number, release=release)
        _dynptr(w, given, number, reg, name)
        return False
    if (rules.iter and at == 0) or name.endswith("__iter"):
        calls.check_argument_offset(w, number, release=release)
        iterators.check(w, given, number, reg, target_id)
        return False
    if struct in ("bpf_list_head", "bpf_rb_root"):
        calls.check_argument_offset(w, number, release=release)
        locks.root(w, given, number, reg, "list_head" if struct == "bpf_list_head" else "rb_root")
        return False
    if struct in ("bpf_list_node", "bpf_rb_node"):
        calls.check_argument_offset(w, number, release=release)
        locks.node(w, given, number, reg, struct == "bpf_list_node")
        return False
    if name.endswith(("__const_str", "__str")):
        calls.check_argument_offset(w, number)
        if reg.type != MAP_VALUE:
            raise Reject(f"arg#{at} doesn't point to a const string")
        dynptrs.check_string(w, number, reg)
        return False
    if name.endswith("__map"):
        return _map(w, given, at, reg)
    if struct == "bpf_wq" or struct == "bpf_timer" or struct == "bpf_task_work":
        if reg.type != MAP_VALUE:
            raise Reject(f"arg#{at} doesn't point to a map value")
        kind = struct[4:]
        special.timer(w, number, reg, None, kind)
        given.map, given.uid = reg.map, reg.uid
        return False
    if name.endswith("__irq_flag"):
        calls.check_argument_offset(w, number, release=release)
        irq_flags.check(w, kfunc, number, reg)
        return False
    if struct == "bpf_res_spin_lock":
        calls.check_argument_offset(w, number, release=release)
        if w.context.in_tree_callback(w):
            raise Reject("can't res_spin_{lock,unlock} in rbtree cb")
        if reg.type not in (MAP_VALUE, BTF_ID | ALLOC):
            raise Reject(f"arg#{at} doesn't point to map value or allocated object")
        special.spin_lock(w, number, reg, lock="unlock" not in kfunc, res=True, irq="irq" in kfunc)
        return False
    base = reg.type & BASE
    if base in (BTF_ID, XDP_SOCK) or base in AS_STRUCT:
        if not struct:
            kind = target.kind_name.upper() if target is not None else "VOID"
            label = target.name if target is not None else ""
            raise Reject(f"kernel function {kfunc} args#{at} pointer type {kind} {label} is not supported")
        _trusted(given, reg, number)
        calls.check_argument_offset(w, number, release=release)
        _struct(w, given, at, reg, struct, target_id)
        return False
    if target is not None and target.kind == 13:
        if reg.type != FUNC:
            raise Reject(f"arg{at} expected pointer to func")
        assert reg.detail is not None
        given.func = int(str(reg.detail[0]))
        return False
    return _memory(w, given, at, reg, name, target, target_id, params)


def _trusted(given: Given, reg: Reg, number: int) -> None:
    rules = given.rules
    if not (rules.trusted_args or rules.rcu) or is_trusted(reg):
        return
    if not rules.rcu:
        raise Reject(f"R{number} must be referenced or trusted")
    if not reg.type & RCU:
        raise Reject(f"R{number} must be a rcu pointer")


def _allocated(given: Given, reg: Reg, at: int) -> None:
    if reg.type == BTF_ID | ALLOC:
        if given.name != "bpf_obj_drop_impl":
            raise Reject(f"arg#{at} expected for bpf_obj_drop_impl()")
    elif reg.type == BTF_ID | ALLOC | PERCPU:
        if given.name != "bpf_percpu_obj_drop_impl":
            raise Reject(f"arg#{at} expected for bpf_percpu_obj_drop_impl()")
    else:
        raise Reject(f"arg#{at} expected pointer to allocated object")
    if not reg.ref:
        raise Reject("allocated object must be referenced")
    given.arg_btf, given.arg_btf_id = reg.btf, reg.btf_id


def _dynptr(w: Walk, given: Given, number: int, reg: Reg, name: str) -> None:
    kfunc = given.name
    if name.endswith("__uninit"):
        kind = ""
        clone = None
        if kfunc == "bpf_dynptr_clone":
            kind, clone = given.dynptr_kind, given.dynptr
        elif kfunc.startswith("bpf_dynptr_from_"):
            kind = {"bpf_dynptr_from_skb_meta": "skb_meta"}.get(kfunc, kfunc.rpartition("_")[2])
        dynptrs.check_argument(w, number, reg, f"uninit_dynptr:{kind}", clone=clone)
        return
    dynptrs.check_argument(w, number, reg, "dynptr")
    main = dynptrs.main_of(w, reg)
    assert main is not None
    assert main.detail is not None
    given.dynptr, given.dynptr_id, given.dynptr_kind = main, main.id, str(main.detail[0])


def _map(w: Walk, given: Given, at: int, reg: Reg) -> bool:
    number = at + 1
    base = reg.type & BASE
    if reg.map is None and base != BTF_ID:
        raise Reject(f"pointer in R{number} isn't map pointer")
    if (
        given.map is not None
        and reg.map is not None
        and w.context.record(reg.map).has("wq", "task_work")
        and (given.map is not reg.map or given.uid != reg.uid)
    ):
        raise Reject(
            f"workqueue pointer in R1 map_uid={given.uid} doesn't match map pointer in R2 map_uid={reg.uid}"
        )
    _trusted(given, reg, number)
    calls.check_argument_offset(w, number)
    if base == BTF_ID or base in AS_STRUCT:
        _, id = w.context.kernel_type("bpf_map")
        _struct(w, given, at, reg, "bpf_map", id)
    else:
        raise Reject(f"pointer in R{number} isn't map pointer")
    given.map, given.uid = reg.map, reg.uid
    return False


def _struct(w: Walk, given: Given, at: int, reg: Reg, struct: str, target_id: int) -> None:
    context, btf, number = w.context, given.btf, at + 1
    base = reg.type & BASE
    if base == BTF_ID and reg.type & _UNSAFE and not reg.type & RCU:
        trusted = reg.type & (TRUSTED | ALLOC | NON_OWN_REF)
        raise Reject(f"arg#{at} is {type_name(reg.type)} expected {type_name(base | trusted)} or socket")
    if base == BTF_ID:
        assert reg.btf is not None
        have_btf, have_id = reg.btf, reg.btf_id
    else:
        have_btf, have_id = context.kernel_type(AS_STRUCT[base])
    have = have_btf.type(fields.skip(have_btf, have_id))
    strict = given.rules.release and bool(reg.ref)
    if have.name.startswith(struct + "___") or struct.startswith(have.name + "___"):
        strict = True
    same = ids_match(have_btf, have_id, reg.off, btf, target_id, strict=strict, flexible=not reg.type & ALLOC)
    if not same and (struct, have.name) not in (("__sk_buff", "sk_buff"), ("xdp_md", "xdp_buff")):
        raise Reject(
            f"kernel function {given.name} args#{at} expected pointer to STRUCT {struct} but R{number} "
            f"has a pointer to {have.kind_name.upper()} {have.name}"
        )


def _memory(
    w: Walk,
    given: Given,
    at: int,
    reg: Reg,
    name: str,
    target: BtfType | None,
    target_id: int,
    params: tuple[tuple[str, int], ...],
) -> bool:
    btf, number = given.btf, at + 1
    sized = at + 1 < len(params) and _is_size(params[at + 1][0]) and w.regs[number + 1].type == SCALAR
    plain = target is not None and (target.kind == INT or target.kind in ENUMS)
    plain = plain or (target is not None and is_scalar_struct(btf, target_id))
    if not plain and not (sized and target is None):
        kind = target.kind_name.upper() if target is not None else "VOID"
        label = target.name if target is not None else ""
        word = "void, " if sized else ""
        raise Reject(
            f"arg#{at} pointer type {kind} {label} must point to {word}scalar, or struct with scalar"
        )
    calls.check_argument_offset(w, number)
    if not sized:
        check_block(w, number, btf.size_of(target_id))
        return False
    size_name = params[at + 1][0]
    if not (calls.is_null(reg) and name.endswith("__opt")):
        try:
            calls.check_kfunc_size(w, number + 1)
        except Reject as reject:
            raise Reject(
                f"{reject.message}\narg#{at} arg#{at + 1} memory, len pair leads to invalid memory access"
            ) from None
    if size_name.endswith("__szk"):
        size = w.regs[number + 1]
        if size.num.mask:
            raise Reject(f"R{number + 1} must be a known constant")
        given.constant, given.found_constant = size.num.value, True
    return True


__all__ = ["STACK", "Given", "check_arguments"]
