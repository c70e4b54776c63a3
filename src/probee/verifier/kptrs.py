"""Kernel pointers in map values, per-CPU variables of the kernel."""

from __future__ import annotations

from probee.btf.kinds import FUNC, STRUCT, UNION, VAR
from probee.verifier import fields
from probee.verifier.btf_pointers import ids_match
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.precision import mark_precise
from probee.verifier.regions import check_offset
from probee.verifier.state import (
    ALLOC,
    BASE,
    BTF_ID,
    MAYBE_NULL,
    MEM,
    NON_OWN_REF,
    PERCPU,
    RCU,
    RDONLY,
    TRUSTED,
    UNTRUSTED,
    Reg,
    pointer,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.isa.insn import Insn
    from probee.verifier.calls import Arguments
    from probee.verifier.context import Context
    from probee.verifier.fields import Field
    from probee.verifier.walk import Walk

_RCU_PROTECTED = {"prog_test_ref_kfunc", "cgroup", "bpf_cpumask", "task_struct", "bpf_crypto_ctx"}


def resolve(context: Context, field: Field) -> tuple[Btf, int]:
    """The type that the field points to: the kernel's own where it has it by that name."""
    assert field.btf is not None
    kernel = context.kernel_btf
    if kernel is not None:
        id = kernel.find(field.type_name, STRUCT)
        if id is not None:
            return kernel, id
    return field.btf, field.btf_id


def access(w: Walk, reg: Reg, field: Field, *, write: bool, value: int, imm: int | None) -> Reg | None:
    """A load or store of the field.

    Raises:
        Reject: Linux doesn't allow it.
    """
    if write and field.kind in ("kptr_ref", "kptr_percpu"):
        raise Reject("store to referenced kptr disallowed")
    if write and field.kind == "uptr":
        raise Reject("store to uptr disallowed")
    btf, id = resolve(w.context, field)
    if not write:
        if field.kind == "uptr":
            return pointer(MEM | MAYBE_NULL, size=btf.size_of(id), id=w.new_id())
        flags = MAYBE_NULL
        kernel = btf is w.context.kernel_btf
        safe = field.kind == "kptr_percpu" or (
            field.kind == "kptr_ref" and (not kernel or field.type_name in _RCU_PROTECTED)
        )
        if safe and w.in_rcu:
            flags |= RCU
            if field.kind == "kptr_percpu":
                flags |= PERCPU
            elif not kernel:
                flags |= ALLOC
                if fields.record_of(btf, id).has("list_node", "rb_node"):
                    flags |= NON_OWN_REF
        else:
            flags |= UNTRUSTED
        return pointer(BTF_ID | flags, btf=btf, btf_id=id, id=w.new_id())
    if value >= 0:
        stored = w.regs[value]
        if stored.type == 1 and not stored.num.mask and not stored.num.value:
            mark_precise(w, value)
            return None
        check_match(w, field, stored, value)
    elif imm:
        raise Reject(f"BPF_ST imm must be 0 when storing to kptr at off={field.offset}")
    elif imm is None:
        raise Reject("kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST")
    return None


def check_match(w: Walk, field: Field | None, reg: Reg, number: int) -> None:
    """The pointer may be stored in the field.

    Raises:
        Reject: it is of another type.
    """
    assert field is not None
    btf, id = resolve(w.context, field)
    kernel = reg.btf is w.context.kernel_btf
    allowed = MAYBE_NULL | (TRUSTED | RCU if kernel else ALLOC)
    if kernel and field.kind == "kptr_unref":
        allowed |= UNTRUSTED
    if not kernel and field.kind == "kptr_percpu":
        allowed |= PERCPU
    flags = reg.type & ~BASE
    good = reg.type & BASE == BTF_ID and not flags & ~allowed
    name = ""
    if good and reg.btf is not None:
        if (field.kind == "kptr_percpu") != bool(reg.type & PERCPU):
            good = False
        else:
            name = reg.btf.type(reg.btf_id).name
            check_offset(reg, number, fixed_allowed=True)
            good = ids_match(
                reg.btf,
                reg.btf_id,
                reg.off,
                btf,
                id,
                strict=field.kind != "kptr_unref",
                flexible=not reg.type & ALLOC,
            )
    if good:
        return
    other = f" or untrusted_ptr_{field.type_name}" if field.kind == "kptr_unref" else ""
    raise Reject(
        f"invalid kptr access, R{number} type={type_name(reg.type)}{name} "
        f"expected=ptr_{field.type_name}{other}"
    )


def check_destination(w: Walk, number: int, reg: Reg, args: Arguments) -> None:
    """Where kptr_xchg puts a pointer."""
    record = w.context.record_of(reg)
    if reg.num.mask:
        raise Reject(f"R{number} doesn't have constant offset. kptr has to be at the constant offset")
    if not record.fields:
        name = reg.map.name if reg.map is not None else ""
        raise Reject(f"map '{name}' has no valid kptr" if reg.map is not None else "R1 has no valid kptr")
    at = reg.off + reg.num.smin
    field = record.at(at, "kptr")
    if field is None:
        raise Reject(f"off={at} doesn't point to kptr")
    if field.kind not in ("kptr_ref", "kptr_percpu"):
        raise Reject(f"off={at} kptr isn't referenced kptr")
    args.field = field


def taken(context: Context, field: Field | None, null: int) -> Reg:
    """What kptr_xchg gives back."""
    assert field is not None
    btf, id = resolve(context, field)
    type = BTF_ID | null
    if btf is not context.kernel_btf:
        type |= ALLOC
        if field.kind == "kptr_percpu":
            type |= PERCPU
    return pointer(type, btf=btf, btf_id=id)


def percpu_result(context: Context, args: Arguments, null: int, percpu: bool) -> Reg:
    """What per_cpu_ptr gives: the variable on one CPU."""
    from probee.btf import Btf

    btf = args.ret_btf
    assert isinstance(btf, Btf)
    id = fields.skip(btf, args.ret_btf_id)
    if btf.type(id).kind in (STRUCT, UNION):
        if percpu:
            return pointer(BTF_ID | ALLOC | RCU | null, btf=btf, btf_id=id)
        trusted = TRUSTED if args.name in ("per_cpu_ptr", "this_cpu_ptr") else 0
        return pointer(BTF_ID | trusted | null, btf=btf, btf_id=id)
    return pointer(MEM | RDONLY | null, size=btf.size_of(id))


def of_variable(context: Context, insn: Insn, second: Insn) -> Reg:
    """What a reference to a variable of the kernel gives."""
    btf = context.kernel_btf
    if btf is None or second.imm:
        raise Unsupported("variables of the kernel's modules")
    type = btf.type(insn.imm)
    if type.kind == FUNC:
        return pointer(MEM | RDONLY, size=0)
    if type.kind != VAR:
        raise Reject(f"pseudo btf_id {insn.imm} in ldimm64 isn't KIND_VAR or KIND_FUNC")
    id = fields.skip(btf, type.type)
    percpu = _is_percpu(btf, insn.imm)
    if percpu:
        return pointer(BTF_ID | PERCPU, btf=btf, btf_id=type.type)
    if btf.type(id).kind in (STRUCT, UNION):
        return pointer(BTF_ID, btf=btf, btf_id=id)
    return pointer(MEM | RDONLY, size=btf.size_of(id))


def _is_percpu(btf: Btf, id: int) -> bool:
    section = btf.find(".data..percpu", 15)
    return section is not None and any(item[0] == id for item in btf.type(section).vars)
