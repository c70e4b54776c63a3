"""Which instructions of a program bring something in from outside: those a recording has to keep.

A program that reads nothing from outside always does the same. What it reads comes by its context, by calls
of helpers and kernel functions, and by loads through kernel pointers. `find` lists the latter two.
"""

from __future__ import annotations

from typing import Any

from ..isa.helpers import PROTOTYPES
from ..isa.insn import CALL_IMM, DW, LD_IMM64, LDX, MEM, MEMSX, PSEUDO_KFUNC_CALL, Insn, decode
from ..isa.tables import HELPERS
from ..machine.contexts.rewrite import _CTX, _KERNEL, _Flow, btf_loads, pointer_fields
from ..obj import spec as kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..obj.spec import LinkedProgram, MapSpec

NAMES = {number: name for name, (number, _) in HELPERS.items()}
LONGEST = 4096  # bytes of one read that are kept
LONGEST_VALUE = 256  # of a map's value at a look-up

# Kinds of sites.
CALL, LOOKUP, LOAD, TAIL = "call", "lookup", "load", "tail"

# Helpers that the machine runs itself. They work on what the program already has, or have no result.
_OWN = {
    "loop", "for_each_map_elem", "spin_lock", "spin_unlock", "strtol", "strtoul", "strncmp", "csum_diff",
    "csum_level", "ringbuf_submit", "ringbuf_discard", "ringbuf_submit_dynptr", "ringbuf_discard_dynptr",
    "dynptr_from_mem", "dynptr_read", "dynptr_write", "dynptr_data", "timer_init", "timer_set_callback",
    "timer_start", "timer_cancel", "kptr_xchg", "user_ringbuf_drain", "ringbuf_query", "trace_printk",
    "trace_vprintk", "seq_printf", "seq_write", "seq_printf_btf",
}  # fmt: skip
# Helpers that the machine runs, too, but whose recorded result counts.
CHECKED = {
    "map_update_elem", "map_delete_elem", "map_push_elem", "map_pop_elem", "map_peek_elem",
    "ringbuf_output", "ringbuf_reserve", "ringbuf_reserve_dynptr", "perf_event_output",
}  # fmt: skip
LOCAL = "get_local_storage"  # whose object is the cgroup that the program runs for
LOOKUPS = {"map_lookup_elem", "map_lookup_percpu_elem"}
STORAGES = {"task_storage_get", "sk_storage_get", "inode_storage_get", "cgrp_storage_get", LOCAL}
# Kernel functions that the machine runs itself.
_OWN_KFUNCS = (
    "bpf_iter_num_", "bpf_rcu_read_", "bpf_preempt_", "bpf_local_irq_", "bpf_obj_", "bpf_list_",
    "bpf_rbtree_", "bpf_dynptr_", "bpf_refcount_", "bpf_percpu_obj_", "bpf_wq_", "bpf_throw",
    "bpf_cast_to_kern_ctx",
    "bpf_rdonly_cast", "bpf_res_spin_",
)  # fmt: skip
_PER_CPU = (5, 6, 10)  # map types


class Out:
    """Memory that a call fills: the register that points to it, and its size: `size` bytes, or as many as the
    register `size_in` says.
    """

    __slots__ = ("pointer", "size", "size_in")

    def __init__(self, pointer: int, size: int = 0, size_in: int = 0) -> None:
        self.pointer = pointer
        self.size = size
        self.size_in = size_in


class Site:
    """One such instruction: its slot, its kind (CALL, LOOKUP, LOAD, TAIL), the name of what is called.

    `out` is memory that is filled by a call. A LOOKUP's `out` is the value found.
    """

    __slots__ = ("kind", "name", "out", "slot")

    def __init__(self, slot: int, kind: str, name: str = "", out: Out | None = None) -> None:
        self.slot = slot
        self.kind = kind
        self.name = name
        self.out = out

    def __repr__(self) -> str:
        return f"Site({self.slot}, {self.kind!r}, {self.name!r})"


def own(name: str, kfunc: bool = False) -> bool:
    """Whether the machine's own answer to a call is the same as the kernel's."""
    if kfunc:
        return name.startswith(_OWN_KFUNCS)
    return name in _OWN


def out_of(name: str) -> Out | None:
    """The memory that a helper fills."""
    prototype = PROTOTYPES.get(name)
    if prototype is None:
        return None
    for number, kind in enumerate(prototype.args, 1):
        plain = kind.rstrip("?")
        if plain in ("uninit_mem", "write_mem"):
            return Out(number, size_in=number + 1)
        if plain.startswith(("uninit_mem[", "write_mem[")):
            return Out(number, size=int(plain.partition("[")[2].rstrip("]")))
    return None


def find(
    linked: LinkedProgram,
    insns: list[Insn],
    prog_type: int,
    maps: Mapping[str, MapSpec],
    *,
    loads: bool = True,
    opaque: bool = False,
    kfunc_results: Mapping[str, bool] | None = None,
) -> tuple[list[Site], list[str]]:
    """The sites of a linked program in the order of their slots, and what can't be kept, in words.

    `loads` is whether loads through kernel pointers count, `opaque` whether those from the context do: the
    kernel then shows programs something else than what lies in memory. `kfunc_results` tells of kernel
    functions whether they return something.
    """
    by_slot = {index: (kind, symbol) for index, kind, symbol, _ in linked.relocs}
    notes: list[str] = []
    found: list[Site] = []
    kernel = btf_loads(bytes(linked.insns), prog_type) if loads else set()
    if opaque and loads:
        kernel |= context_loads(bytes(linked.insns), prog_type)
    slot = 0
    while slot < len(insns):
        insn = insns[slot]
        if slot in kernel and insn.opcode & 7 == LDX and insn.opcode & 0xE0 in (MEM, MEMSX):
            found.append(Site(slot, LOAD))
        elif insn.opcode == CALL_IMM and not insn.src and insn.imm in NAMES:
            site = _helper(slot, NAMES[insn.imm], insns, by_slot, maps, notes)
            if site is not None:
                found.append(site)
        elif insn.opcode == CALL_IMM and insn.src == PSEUDO_KFUNC_CALL and slot in by_slot:
            name = by_slot[slot][1]
            if not own(name, True) and (kfunc_results or {}).get(name):
                found.append(Site(slot, CALL, name))
        slot += 2 if insn.opcode == LD_IMM64 else 1
    return found, list(dict.fromkeys(notes))


class _Packets(_Flow):
    """Follows the pointers to packets and to sockets, too, as if they were a traced kernel's."""

    def __init__(self, insns: list[Insn], prog_type: int) -> None:
        super().__init__(insns, kernel=True)
        self.fields = pointer_fields(prog_type)

    def _step(self, pc: int, function: int, state: Any, slots: Any) -> Any:
        insn = self.insns[pc]
        if insn.opcode == CALL_IMM and not insn.src and _gives_object(insn.imm):
            (_, _, after, kept), *more = super()._step(pc, function, state, slots)
            return [(pc + 1, function, ((_KERNEL, 0, 0), *after[1:]), kept), *more]
        held = None
        if insn.opcode in (LDX | MEM, LDX | MEM | DW):
            base = state[insn.src]
            shown = insn.opcode & DW == DW or (base or ("", 0, 0))[2] + insn.off in self.fields
            if base is not None and base[0] == _CTX and shown:  # packets take 4 bytes, sockets 8
                held = (_KERNEL, 0, 0)
        elif insn.opcode == 0x0F and state[insn.dst] is None and (state[insn.src] or ("",))[0] == _KERNEL:
            held = state[insn.src]  # a number that a pointer is added to
        if held is None:
            return super()._step(pc, function, state, slots)
        return [(pc + 1, function, (*state[: insn.dst], held, *state[insn.dst + 1 :]), slots)]


def _gives_object(number: int) -> bool:
    """Whether a helper returns a pointer to an object of the kernel's."""
    prototype = PROTOTYPES.get(NAMES.get(number, ""))
    return prototype is not None and prototype.ret.rstrip("?") in ("sock", "sock_common", "tcp_sock")


def context_loads(code: bytes, prog_type: int) -> set[int]:
    """The loads from a context that is not what it seems, and from the packet behind it."""
    insns = decode(code)
    flow = _Packets(insns, prog_type)
    flow.run()
    found = set()
    for index, insn in enumerate(insns):
        if insn.opcode & 7 == LDX and insn.opcode & 0xE0 in (MEM, MEMSX):
            base = flow.base(index)
            if base is not None and base[0] in (_CTX, _KERNEL):
                found.add(index)
    return found


def _helper(
    slot: int,
    name: str,
    insns: list[Insn],
    by_slot: Mapping[int, tuple[int, str]],
    maps: Mapping[str, MapSpec],
    notes: list[str],
) -> Site | None:
    if name == "tail_call":
        return Site(slot, TAIL, name)
    if own(name):
        if name.startswith("timer_set") or name == "user_ringbuf_drain":
            notes.append(f"what {name} calls back is not recorded")
        return None
    prototype = PROTOTYPES[name]
    if name in LOOKUPS or name in STORAGES:
        spec = _map_before(slot, insns, by_slot, maps)
        out = None
        if spec is not None and spec.map_type not in _PER_CPU and spec.inner is None:
            if spec.value_size <= LONGEST_VALUE:
                out = Out(0, size=spec.value_size)
            elif not spec.name.startswith("."):
                notes.append(f"values of {spec.name} are too long to be recorded at each look-up")
        return Site(slot, LOOKUP, name, out)
    if name in ("map_pop_elem", "map_peek_elem"):
        spec = _map_before(slot, insns, by_slot, maps)
        out = Out(2, size=spec.value_size) if spec is not None and spec.value_size <= LONGEST else None
        return Site(slot, CALL, name, out)
    out = out_of(name)
    if prototype.ret == "void" and out is None:
        return None
    return Site(slot, CALL, name, out)


def _map_before(
    slot: int, insns: list[Insn], by_slot: Mapping[int, tuple[int, str]], maps: Mapping[str, MapSpec]
) -> MapSpec | None:
    """The map that r1 holds at a call, where the code just before says it."""
    for at in range(slot - 1, max(-1, slot - 24), -1):
        insn = insns[at]
        kind = insn.opcode & 7
        if kind in (5, 6):
            return None
        if insn.dst != 1 or kind in (2, 3):
            continue
        if insn.opcode == LD_IMM64:
            found = by_slot.get(at)
            return maps.get(found[1]) if found is not None and found[0] == kinds.MAP_FD else None
        if insn.opcode == 0:  # the second half of a wide immediate
            continue
        return None
    return None


def as_plain(sites: list[Site]) -> list[list[Any]]:
    """Sites as a recording's file keeps them."""
    return [
        [s.slot, s.kind, s.name, *([s.out.pointer, s.out.size, s.out.size_in] if s.out else [])]
        for s in sites
    ]


def from_plain(plain: list[list[Any]]) -> list[Site]:
    """The inverse of `as_plain`."""
    return [Site(p[0], p[1], p[2], Out(*p[3:6]) if len(p) > 3 else None) for p in plain]
