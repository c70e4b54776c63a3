"""What older kernels don't know or refuse: instructions, edges of the flow graph, fields of map values."""

from __future__ import annotations

from functools import cache

from probee.isa.helpers.programs import version as version_of
from probee.isa.insn import CALL, EXIT, JA, JMP, JMP32, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC
from probee.isa.tables import ATTACH_TYPES, PROG_TYPES
from probee.verifier.errors import Reject

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.verifier.flowgraph import Graph

# Opcodes and the first kernel that has them.
_OPCODES = {
    0x06: (6, 1),  # gotol: 6.6, and stable versions of 6.1
    0xD7: (6, 6),  # bswap
    0xE5: (6, 9),  # may_goto
    0xCB: (6, 15),  # atomics of 16 and 8 bits: acquiring loads, releasing stores
    0xD3: (6, 15),
}
# Types of programs for which loading looks at the type of attachment.
_CHECKED = {"cgroup_skb", "cgroup_sock", "cgroup_sock_addr", "cgroup_sockopt", "sk_lookup"}
# Special fields and the first kernel that has them.
_FIELDS = {
    "timer": (5, 15),
    "kptr_unref": (5, 19),
    "kptr_ref": (5, 19),
    "list_head": (6, 1),
    "list_node": (6, 2),
    "rb_root": (6, 3),
    "rb_node": (6, 3),
    "refcount": (6, 5),
    "kptr_percpu": (6, 7),
    "wq": (6, 10),
    "uptr": (6, 13),
    "res_spin_lock": (6, 15),
    "task_work": (6, 18),
}


@cache
def unknown_opcodes(version: tuple[int, ...]) -> frozenset[int]:
    """The opcodes that Linux `version` doesn't know yet."""
    return frozenset(opcode for opcode, first in _OPCODES.items() if version < first)


def has_field(version: tuple[int, ...], kind: str) -> bool:
    """Whether a special field of this kind is one for Linux `version`."""
    return version >= _FIELDS.get(kind, (0,))


def kptr_kind(version: tuple[int, ...], tag: str) -> str:
    """The kind of field that a type tag on a pointer makes it ("" for none): the names changed in 6.4."""
    if version >= (6, 4):
        return {
            "kptr_untrusted": "kptr_unref",
            "kptr": "kptr_ref",
            "percpu_kptr": "kptr_percpu",
            "uptr": "uptr",
        }.get(tag, "")
    return {"kptr": "kptr_unref", "kptr_ref": "kptr_ref"}.get(tag, "")


def check_kind(kernel: str, kind: str, attach: str) -> None:
    """The kernel has this type of program and of attachment.

    Raises:
        Reject: it hasn't.
    """
    for names, name in ((PROG_TYPES, kind), (ATTACH_TYPES, attach if kind in _CHECKED else "")):
        if name in names and version_of(kernel) < version_of(names[name][1]):
            raise Reject("Invalid argument", 0)


def check_back_edges(graph: Graph) -> None:
    """Before 6.8 only jumps may lead back: not an instruction that is followed by one on the way to it.

    Raises:
        Reject: such an edge.
    """
    count = graph.count
    open_, closed = 1, 2
    state = [0] * count
    stack: list[tuple[int, list[tuple[int, bool]]]] = [(0, _edges(graph, 0))]
    state[0] = open_
    while stack:
        index, edges = stack[-1]
        if not edges:
            state[index] = closed
            stack.pop()
            continue
        to, may_loop = edges.pop(0)
        if not 0 <= to < count:
            continue
        if not state[to]:
            state[to] = open_
            stack.append((to, _edges(graph, to)))
        elif state[to] == open_ and not may_loop:
            raise Reject(f"back-edge from insn {index} to {to}", index)


def _edges(graph: Graph, index: int) -> list[tuple[int, bool]]:
    """Where an instruction leads, in the order it is followed, and whether that may be back."""
    insn = graph.insns[index]
    kind, op = insn.opcode & 7, insn.opcode & 0xF0
    if insn.opcode == LD_IMM64:
        after = [(index + 2, False)]
        return [*after, (index + 1 + insn.imm, True)] if insn.src == PSEUDO_FUNC else after
    if kind not in (JMP, JMP32):
        return [(index + 1, False)]
    if op == EXIT:
        return []
    if op == CALL:
        after = [(index + 1, False)]
        return [*after, (index + 1 + insn.imm, False)] if insn.src == PSEUDO_CALL else after
    if op == JA:
        return [(index + 1 + (insn.off if kind == JMP else insn.imm), True)]
    return [(index + 1, True), (index + 1 + insn.off, True)]
