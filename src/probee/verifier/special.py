"""Helper arguments that point to something special: locks, timers, dynptrs, constant strings, kernel
pointers.
"""

from __future__ import annotations

from probee.verifier import dynptrs
from probee.verifier.errors import Reject
from probee.verifier.precision import mark_precise
from probee.verifier.scalars import const
from probee.verifier.state import (
    ALLOC,
    BASE,
    BTF_ID,
    MAP_VALUE,
    NON_OWN_REF,
    REF_LOCK,
    REF_RES_LOCK,
    UNKNOWN_REG,
    Reg,
    scalar,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.calls import Arguments
    from probee.verifier.walk import Walk


def check(w: Walk, number: int, reg: Reg, key: str, kind: str, args: Arguments) -> None:
    """What an argument of a special kind has to be like, and what passing it does.

    Raises:
        Reject: it isn't so.
    """
    if key == "spin_lock":
        if w.context.in_tree_callback(w):
            raise Reject("can't spin_{lock,unlock} in rbtree cb")
        spin_lock(w, number, reg, lock=args.name == "spin_lock")
    elif key == "timer":
        timer(w, number, reg, args, "timer")
    elif key.startswith("dynptr"):
        dynptrs.check_argument(w, number, reg, kind)
    elif key == "const_str":
        dynptrs.check_string(w, number, reg)
    elif key == "kptr_xchg_dest":
        w.context.kptr_destination(w, number, reg, args)


def _lock_of(reg: Reg) -> object:
    return reg.map if reg.type & BASE == MAP_VALUE else reg.btf


def spin_lock(w: Walk, number: int, reg: Reg, *, lock: bool, res: bool = False, irq: bool = False) -> None:
    """Takes or gives back the lock that the pointer points to."""
    word = "bpf_res_spin" if res else "bpf_spin"
    field_kind = "res_spin_lock" if res else "spin_lock"
    if reg.num.mask:
        raise Reject(f"R{number} doesn't have constant offset. {word}_lock has to be at the constant offset")
    record = w.context.record_of(reg)
    if reg.type & BASE == MAP_VALUE:
        assert reg.map is not None
        if reg.map.btf is None:
            raise Reject(f"map '{reg.map.name}' has to have BTF in order to use {word}_lock")
    field = record.find(field_kind)
    if field is None:
        kind = "map" if reg.type & BASE == MAP_VALUE else "local"
        name = reg.map.name if reg.map is not None else "kptr"
        raise Reject(f"{kind} '{name}' has no valid {word}_lock")
    if field.offset != reg.num.smin + reg.off:
        raise Reject(
            f"off {reg.num.smin + reg.off} doesn't point to 'struct {word}_lock' that is at {field.offset}"
        )
    state = w.state
    what = _lock_of(reg)
    if lock:
        if not res and any(item[0] == REF_LOCK for item in state.held):
            raise Reject("Locking two bpf_spin_locks are not allowed")
        if res and state.locks:
            for item in state.held:
                if item[3] is what and item[1] == reg.id and item[0] in (8, 16):
                    raise Reject("Acquiring the same lock again, AA deadlock detected")
        kind_bit = (16 if irq else REF_RES_LOCK) if res else REF_LOCK
        state.held = (*state.held, (kind_bit, reg.id, w.index, what))
        state.locks += 1
        state.lock_id, state.lock_what = reg.id, what
        return
    if not state.locks:
        raise Reject(f"{word}_unlock without taking a lock")
    kind_bit = (16 if irq else REF_RES_LOCK) if res else REF_LOCK
    for at in range(len(state.held) - 1, -1, -1):
        item = state.held[at]
        if item[0] == kind_bit and item[1] == reg.id and item[3] is what:
            if res and (state.lock_id != reg.id or state.lock_what is not what):
                raise Reject(f"{word}_unlock cannot be out of order")
            state.held = state.held[:at] + state.held[at + 1 :]
            break
    else:
        raise Reject(f"{word}_unlock of different lock")
    state.locks -= 1
    state.lock_id, state.lock_what = 0, None
    for item in reversed(state.held):
        if item[0] in (4, 8, 16):
            state.lock_id, state.lock_what = item[1], item[3]
            break
    invalidate_non_owning(w)


def invalidate_non_owning(w: Walk) -> None:
    """Pointers into a list or tree that aren't owned are only good while the lock is held."""
    w.replace(w.state, lambda reg: UNKNOWN_REG if reg.type & NON_OWN_REF else None)


def timer(w: Walk, number: int, reg: Reg, args: Arguments | None, kind: str) -> None:
    """A timer (or work) that lies in a map's value."""
    word = {"timer": "bpf_timer", "wq": "bpf_wq", "task_work": "bpf_task_work"}[kind]
    info = reg.map
    if reg.num.mask:
        raise Reject(f"R{number} doesn't have constant offset. {word} has to be at the constant offset")
    assert info is not None
    if info.btf is None:
        raise Reject(f"map '{info.name}' has to have BTF in order to use {word}")
    field = w.context.record(info).find(kind)
    if field is None:
        raise Reject(f"map '{info.name}' has no valid {word}")
    if field.offset != reg.num.smin + reg.off:
        raise Reject(
            f"off {reg.num.smin + reg.off} doesn't point to 'struct {word}' that is at {field.offset}"
        )
    if args is not None:
        args.map, args.uid = info, reg.uid


__all__ = ["ALLOC", "BTF_ID", "check", "const", "mark_precise", "scalar"]
