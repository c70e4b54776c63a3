"""Lists and trees: their roots and nodes as arguments, under the lock that guards them."""

from __future__ import annotations

from probee.verifier.btf_pointers import ids_match
from probee.verifier.errors import Reject
from probee.verifier.regions import FIELD_NAMES
from probee.verifier.state import ALLOC, BASE, BTF_ID, MAP_VALUE, NON_OWN_REF, Reg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.kfunc_arguments import Given
    from probee.verifier.walk import Walk


def root(w: Walk, given: Given, number: int, reg: Reg, kind: str) -> None:
    """The register points to a list's head or a tree's root whose lock is held.

    Raises:
        Reject: it doesn't, or it isn't.
    """
    word = FIELD_NAMES[kind]
    if reg.type != MAP_VALUE and reg.type != BTF_ID | ALLOC:
        raise Reject(f"arg#{number - 1} expected pointer to map value or allocated object")
    if reg.type == BTF_ID | ALLOC and not reg.ref:
        raise Reject("allocated object must be referenced")
    if reg.num.mask:
        raise Reject(f"R{number} doesn't have constant offset. {word} has to be at the constant offset")
    record = w.context.record_of(reg)
    at = reg.off + reg.num.smin
    field = record.at(at, kind)
    if field is None:
        raise Reject(f"{word} not found at offset={at}")
    what = reg.map if reg.type & BASE == MAP_VALUE else reg.btf
    state = w.state
    if not state.locks or state.lock_what is not what or state.lock_id != reg.id:
        lock = record.find("spin_lock") or record.find("res_spin_lock")
        before = "held lock and object are not in the same allocation\n" if state.locks else ""
        raise Reject(f"{before}bpf_spin_lock at off={lock.offset if lock else -22} must be held for {word}")
    given.root = field


def node(w: Walk, given: Given, number: int, reg: Reg, is_list: bool) -> None:
    """The register points to a node that may go where the function puts it.

    Raises:
        Reject: it doesn't.
    """
    name = given.name
    kind = "list_node" if is_list else "rb_node"
    if name in ("bpf_rbtree_remove", "bpf_rbtree_left", "bpf_rbtree_right"):
        if (
            reg.type & BASE != BTF_ID
            or not reg.type & ALLOC
            or (name == "bpf_rbtree_remove" and not _may_remove(w, reg))
        ):
            raise Reject(f"{name} can only take non-owning or refcounted bpf_rb_node pointer")
        if w.context.in_tree_callback(w):
            raise Reject(f"{name} not allowed in rbtree cb")
    else:
        if reg.type != BTF_ID | ALLOC:
            raise Reject(f"arg#{number - 1} expected pointer to allocated object")
        if not reg.ref:
            raise Reject("allocated object must be referenced")
    word = FIELD_NAMES[kind]
    if reg.num.mask:
        raise Reject(f"R{number} doesn't have constant offset. {word} has to be at the constant offset")
    at = reg.off + reg.num.smin
    record = w.context.record_of(reg.but(type=BTF_ID | ALLOC))
    if record.at(at, kind) is None:
        raise Reject(f"{word} not found at offset={at}")
    field = given.root
    assert field is not None
    assert field.btf is not None
    assert reg.btf is not None
    if not ids_match(reg.btf, reg.btf_id, 0, field.btf, field.btf_id, strict=True, flexible=False):
        have = reg.btf.type(reg.btf_id).name
        raise Reject(
            f"operation on {FIELD_NAMES[field.kind]} expects arg#1 {word} at offset={field.node_offset} "
            f"in struct {field.type_name}, but arg is at offset={at} in struct {have}"
        )
    if at != field.node_offset:
        raise Reject(
            f"arg#1 offset={at}, but expected {word} at offset={field.node_offset} "
            f"in struct {field.type_name}"
        )
    given.arg_btf, given.arg_btf_id = reg.btf, reg.btf_id


def _may_remove(w: Walk, reg: Reg) -> bool:
    """A node that isn't owned, or that is counted."""
    if reg.type & NON_OWN_REF and not reg.ref:
        return True
    return w.context.record_of(reg.but(type=BTF_ID | ALLOC)).has("refcount")
