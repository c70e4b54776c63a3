"""Who may call what: the type of the program that is being compiled, and the kernel's rules for it."""

from __future__ import annotations

from ...isa.helpers import programs
from ...isa.sections import SECTIONS, SLEEPABLE, match
from ...isa.tables import ATTACH_TYPES, PROG_TYPES, name_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast

    from ...isa.helpers import Prototype
    from ..decl import ProgramDecl
    from ..scope import Fn

_PLAIN = {
    "tracepoint": "tp",
    "raw_tracepoint": "raw_tp",
    "tp_btf": "tp_btf",
    "perf_event": "perf_event",
    "uprobe": "uprobe",
    "uretprobe": "uretprobe",
}


class Kind:
    """A program's type and attach type by their names in `isa.tables`, "" where unknown; does it sleep?"""

    __slots__ = ("attach_type", "prog_type", "sleepable", "struct_ops")

    def __init__(self, prog_type: str, attach_type: str, sleepable: bool, struct_ops: str = "") -> None:
        self.prog_type = prog_type
        self.attach_type = attach_type
        self.sleepable = sleepable
        self.struct_ops = struct_ops


def kind_of(p: ProgramDecl | None) -> Kind:
    """The kind of a program; unknown for what is compiled without one."""
    if p is None:
        return Kind("", "", False)
    section = _PLAIN.get(p.kind, "")
    if not section and p.args and isinstance(p.args[0], str):
        section = p.args[0]
    if p.kind == "freplace":
        section = str(p.args[1] or "") if len(p.args) > 1 else ""
    found = match(section) or match(section + "/")
    if found is None:
        return Kind("", "", False)
    type, attach, flags = SECTIONS[found[0]]
    prog_type = name_of(PROG_TYPES, type)
    attach_type = name_of(ATTACH_TYPES, attach) if attach or prog_type == "cgroup_skb" else ""
    sleepable = bool(flags & SLEEPABLE) or prog_type == "syscall"
    struct = str(p.args[1]) if prog_type == "struct_ops" and len(p.args) > 1 else ""
    return Kind(prog_type, attach_type, sleepable, struct)


def check_helper(f: Fn, proto: Prototype, node: ast.AST) -> Prototype:
    """Refuse a helper that this kind of program can't call; gives the prototype as such programs see it."""
    name = proto.name
    if not f.unit.ktypes.has_helper(name):
        f.fail(node, f"this kernel has no helper bpf_{name}", f"it came with Linux {proto.since}")
    kind = kind_of(f.program)
    if not kind.prog_type or kind.prog_type == "ext":
        return proto
    if kind.prog_type == "struct_ops" and not programs.callers(name):
        return proto
    first = programs.since(name, kind.prog_type, kind.attach_type, struct_ops=kind.struct_ops)
    if not first:
        others = [c for c in programs.callers(name) if c != kind.prog_type]
        where = kind.prog_type
        if kind.attach_type and programs.since(name, kind.prog_type):
            where = f"{kind.prog_type} ({kind.attach_type})"
        shown = ", ".join(others[:8]) + (", …" if len(others) > 8 else "")
        f.fail(
            node,
            f"{where} programs can't call bpf_{name}",
            f"programs that can: {shown}" if shown else "no kind of program calls it directly",
        )
    proto = proto.for_program(kind.prog_type, kind.attach_type, sleepable=kind.sleepable)
    if proto.sleeps and not kind.sleepable:
        f.fail(
            node,
            f"bpf_{name} may sleep, and this program may not",
            "sleepable=True makes fentry, fexit, fmod_ret, LSM, iterators, USDT and uprobes by pattern "
            "sleepable; syscall programs are",
        )
    return proto
