"""What a program may do by its purpose: one program's types, helpers, contexts and results on one kernel."""

from __future__ import annotations

from functools import cache

from probee.btf.kinds import DECL_TAG, STRUCT
from probee.btf.kinds import FUNC as BTF_FUNC
from probee.isa.helpers import BY_ID, Prototype
from probee.isa.helpers.programs import allowed, version
from probee.isa.insn import CALL, JMP, LD_IMM64
from probee.isa.tables import ATTACH_TYPES, PROG_TYPES
from probee.verifier import fields
from probee.verifier.errors import Reject, Unsupported
from probee.verifier.numbers import numbers_of
from probee.verifier.program import SLEEPABLE, STRICT_ALIGNMENT, TEST_STATE_FREQ
from probee.verifier.return_rules import return_rule
from probee.verifier.state import ALLOC, BASE, BTF_ID, MAP_VALUE, Reg, State
from probee.verifier.typed_context import Target, target_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.isa.insn import Insn
    from probee.verifier.calls import Arguments
    from probee.verifier.flowgraph import Graph
    from probee.verifier.functions import Parameter
    from probee.verifier.program import MapInfo, Program
    from probee.verifier.walk import Walk

_NAMES = {number: name for name, (number, _) in PROG_TYPES.items()}
_ATTACH = {number: name for name, (number, _) in ATTACH_TYPES.items()}
_PACKET_READERS = {"lwt_in", "lwt_out", "lwt_seg6local", "sk_reuseport", "flow_dissector", "cgroup_skb"}
_PACKET_WRITERS = {"sched_cls", "sched_act", "xdp", "lwt_xmit", "sk_skb", "sk_msg"}
# What attach type 0 stands for.
_DEFAULT_ATTACH = {
    "cgroup_skb": "cgroup_inet_ingress",
    "cgroup_sock": "cgroup_inet_sock_create",
    "tracing": "cgroup_inet_ingress",
    "lsm": "cgroup_inet_ingress",
}


class Context:
    """One program on one kernel. `kernel` is a version, "6.18"."""

    def __init__(self, program: Program, graph: Graph, kernel: str, kernel_btf: Btf | None) -> None:
        self.program = program
        self.graph = graph
        self.kernel = kernel
        self.version = version(kernel)
        self.numbers = numbers_of(self.version)
        self.old_stack = self.version < (6, 8)
        self.kernel_btf = kernel_btf
        self.kind = _NAMES.get(program.prog_type, "")
        self.attach = _ATTACH.get(program.attach_type, "")
        if not program.attach_type:
            self.attach = _DEFAULT_ATTACH.get(self.kind, "")
        self.sleepable = bool(program.flags & SLEEPABLE)
        self.strict_alignment = bool(program.flags & STRICT_ALIGNMENT)
        self.test_state_freq = bool(program.flags & TEST_STATE_FREQ)
        self.arena = any(info.type == 33 for info in program.map_refs.values())
        self.flow_keys_size = 56
        self.cpus = _cpus()
        self.called: set[int] = set()
        self.loop_states: tuple[State, State] | None = None
        self.functions: dict[int, int] = {}
        self.parameters: dict[int, list[Parameter]] = {}
        self.effects: dict[int, tuple[bool, bool]] = {}
        self.exception_callback = -1
        self.async_callbacks: set[int] = set()
        self._safe: dict[tuple[str, str], str] = {}
        self._records: dict[int, fields.Record] = {}
        self.target: Target | None = None
        self.returns_pointer = False
        self.uneliminated = -1
        self._lines: dict[int, str] | None = None
        self.probe_loads: set[int] = set()

    def find_target(self) -> None:
        """What a typed program is attached to.

        Raises:
            Reject: it can't be attached there.
        """
        program = self.program
        if self.kind not in ("tracing", "lsm", "struct_ops") or self.kernel_btf is None:
            return
        found = target_of(program, self.kernel_btf)
        if isinstance(found, str):
            raise Reject(found, 0)
        self.target = found

    def learn_functions(self) -> None:
        """Which function of the program's types each subprogram is."""
        program = self.program
        if program.func_info and program.btf is not None:
            by_start = dict(program.func_info)
            self.functions = {
                number: by_start[sub.start]
                for number, sub in enumerate(self.graph.subprogs)
                if sub.start in by_start
            }

    def source_at(self, index: int) -> str:
        """The line of source that begins at an instruction, as the kernel's log shows it; "" for none."""
        if self._lines is None:
            self._lines = {
                at: f"; {source.strip()} @ {file.rpartition('/')[2]}:{line}"
                for at, file, line, _, source in self.program.lines
            }
        return self._lines.get(index, "")

    def at_least(self, *numbers: int) -> bool:
        return self.version >= numbers

    # Functions of the program

    def is_global(self, subprog: int) -> bool:
        btf, id = self.program.btf, self.functions.get(subprog)
        if btf is None or id is None:
            return False
        type = btf.type(id)
        return type.kind == BTF_FUNC and type.linkage == 1

    def name_of(self, subprog: int) -> str:
        btf, id = self.program.btf, self.functions.get(subprog)
        return btf.type(id).name if btf is not None and id is not None else ""

    def might_sleep(self, subprog: int) -> bool:
        from probee.verifier import functions

        return functions.effects_of(self, subprog)[1]

    def changes_packet(self, subprog: int) -> bool:
        from probee.verifier import functions

        return functions.effects_of(self, subprog)[0]

    def check_static_call(self, w: Walk, callee: int) -> None:
        """Static functions are walked with what they're given: nothing to check."""

    def check_callback(self, w: Walk, callee: int) -> None:
        """Callbacks are walked too."""

    def check_global_call(self, w: Walk, callee: int) -> None:
        from probee.verifier import functions

        functions.check_call(w, callee)

    def is_fastcall(self, insn: Insn) -> bool:
        return False

    # Helpers

    def knows_helper(self, proto: Prototype) -> bool:
        return version(proto.since) <= self.version

    def may_call(self, proto: Prototype) -> bool:
        ops = self.program.target.partition(".")[0] if self.kind == "struct_ops" else ""
        return allowed(proto.name, self.kind, self.attach, kernel=self.kernel, struct_ops=ops)

    def prototype(self, proto: Prototype) -> Prototype:
        return proto.for_program(self.kind, self.attach, sleepable=self.sleepable)

    def may_touch_packet(self, w: Walk, *, write: bool, proto: Prototype | None = None) -> bool:
        kind = self.kind
        if kind in _PACKET_READERS:
            if write:
                return False
            kind = "sched_cls"
        if kind in _PACKET_WRITERS:
            return proto is None or proto.packet
        return kind == "cgroup_sockopt"

    def may_update_sockmap(self, name: str) -> bool:
        if name == "map_delete_elem" and self.kind == "sock_ops":
            return True
        if name == "map_update_elem" and self.kind == "sock_ops":
            return False
        if self.kind == "tracing":
            return self.attach == "trace_iter"
        return self.kind in {
            "socket_filter",
            "sched_cls",
            "sched_act",
            "xdp",
            "sk_reuseport",
            "flow_dissector",
            "sk_lookup",
        }

    # Kernel functions

    def is_iter_next(self, index: int) -> bool:
        from probee.verifier import kfuncs

        return kfuncs.is_iter_next(self, index)

    def callback_kfunc(self, index: int) -> str:
        from probee.verifier import kfuncs

        return kfuncs.callback_kind(self, index)

    def is_throw(self, index: int) -> bool:
        from probee.verifier import kfuncs

        return kfuncs.name_of(self, index) == "bpf_throw"

    def kfunc_effects(self, index: int) -> tuple[bool, bool]:
        from probee.verifier import kfuncs

        return kfuncs.effects(self, index)

    def kfunc_under_lock(self, index: int) -> bool:
        from probee.verifier import kfuncs

        return kfuncs.allowed_under_lock(self, index)

    def call_registers(self, insn: Insn) -> int:
        """Bits of the registers that a call reads."""
        if insn.src == 0:
            proto = BY_ID.get(insn.imm)
            if proto is not None:
                return (1 << len(self.prototype(proto).args) + 1) - 2
        return 0x3E

    def checks_recursion(self) -> bool:
        """Whether the kernel keeps the program from running inside itself (so that its stack may be
        private).
        """
        if self.kind == "tracing":
            return self.attach != "trace_iter"
        if self.kind == "lsm":
            return self.attach != "lsm_cgroup"
        return False

    # Records of special fields

    def record(self, info: MapInfo) -> fields.Record:
        """The special fields of a map's values."""
        held = info.record
        if not isinstance(held, tuple) or held[0] != self.version:
            held = info.record = (
                self.version,
                fields.record_of(info.btf, info.value_type, self.version),
            )
        record = held[1]
        assert isinstance(record, fields.Record)
        return record

    def record_of(self, reg: Reg) -> fields.Record:
        """The special fields of what the pointer points to."""
        if reg.type == MAP_VALUE and reg.map is not None:
            return self.record(reg.map)
        if reg.type & BASE == BTF_ID and reg.type & ALLOC and reg.btf is not None:
            known = self._records.get(reg.btf_id)
            if known is None:
                known = self._records[reg.btf_id] = fields.record_of(reg.btf, reg.btf_id, self.version)
            return known
        return fields.NOTHING

    def safe_field(self, btf: Btf, struct: str, field: str) -> str:
        """How far the pointer in a field is as good as the one to its struct: "trusted", "rcu" (inside an RCU
        section), either with "_or_null", or "". The kernel lists such fields in structs of its BTF.
        """
        known = self._safe.get((struct, field))
        if known is None:
            known = ""
            for kind in ("trusted", "trusted_or_null", "rcu", "rcu_or_null"):
                id = btf.find(f"{struct}__safe_{kind}", STRUCT)
                if id is not None and any(member.name == field for member in btf.type(id).members):
                    known = kind
                    break
            self._safe[struct, field] = known
        return known

    def kernel_type(self, name: str) -> tuple[Btf, int]:
        """A struct of the kernel.

        Raises:
            Unsupported: the kernel's BTF isn't there or doesn't have it.
        """
        if self.kernel_btf is None:
            raise Unsupported(f"the kernel's struct {name} without its BTF")
        id = self.kernel_btf.find(name, STRUCT)
        if id is None:
            raise Unsupported(f"a struct {name} that the kernel's BTF hasn't got")
        return self.kernel_btf, id

    # Memory

    @property
    def ctx_is_memory(self) -> bool:
        return self.kind == "syscall"

    def ctx_access(self, w: Walk, reg: Reg, off: int, size: int, *, write: bool, signed: bool) -> Reg | None:
        from probee.verifier import contexts

        return contexts.access(self, w, reg, off, size, write=write, signed=signed)

    def sock_access(self, base: int, off: int, size: int) -> bool:
        from probee.verifier import contexts

        return contexts.sock_access(self, base, off, size)

    def btf_access(
        self, w: Walk, reg: Reg, number: int, off: int, size: int, *, write: bool, dst: int, value: int
    ) -> Reg | None:
        from probee.verifier import btf_pointers

        return btf_pointers.access(w, reg, number, off, size, write=write, dst=dst, value=value)

    def map_pointer_access(
        self, w: Walk, reg: Reg, number: int, off: int, size: int, *, write: bool, dst: int
    ) -> Reg | None:
        from probee.verifier import btf_pointers

        return btf_pointers.map_access(w, reg, number, off, size, write=write, dst=dst)

    def check_btf_type(self, reg: Reg, number: int, wanted: str, *, strict: bool) -> None:
        from probee.verifier import btf_pointers

        btf, id = self.kernel_type(wanted)
        if not btf_pointers.matches(reg, btf, id, strict=strict):
            have = reg.btf.type(reg.btf_id).name if reg.btf is not None else "?"
            raise Reject(f"R{number} is of type {have} but {wanted} is expected")

    def trust_may_differ(self, index: int, before: int, now: int) -> bool:
        """Loads through BTF pointers of one type, trusted on one path and not on another."""
        insn = self.program.insns[index]
        return insn.opcode & 7 == 1

    def kptr_access(
        self, w: Walk, reg: Reg, field: fields.Field, *, write: bool, value: int, imm: int | None
    ) -> Reg | None:
        from probee.verifier import kptrs

        return kptrs.access(w, reg, field, write=write, value=value, imm=imm)

    def kptr_match(self, w: Walk, field: fields.Field | None, reg: Reg, number: int) -> None:
        from probee.verifier import kptrs

        kptrs.check_match(w, field, reg, number)

    def kptr_destination(self, w: Walk, number: int, reg: Reg, args: Arguments) -> None:
        from probee.verifier import kptrs

        kptrs.check_destination(w, number, reg, args)

    def xchg_result(self, field: fields.Field | None, null: int) -> Reg:
        from probee.verifier import kptrs

        return kptrs.taken(self, field, null)

    def percpu_result(self, w: Walk, args: Arguments, null: int, percpu: bool) -> Reg:
        from probee.verifier import kptrs

        return kptrs.percpu_result(self, args, null, percpu)

    def in_tree_callback(self, w: Walk) -> bool:
        insns = self.program.insns
        for frame in w.state.frames[1:]:
            if frame.in_callback:
                call = insns[frame.callsite]
                if call.opcode == JMP | CALL and call.src == 2:
                    return True
        return False

    # Results

    def retval_range(self) -> tuple[int, int] | None:
        """The range of the traced LSM hook's result, where it is known."""
        if self.kind != "lsm" or self.attach != "lsm_mac":
            return None
        hook = self.target.name if self.target is not None else ""
        rule = return_rule(self.kind, self.attach, hook=hook, kernel=self.kernel)
        return (rule.low, rule.high) if rule.checked else None

    def check_set_retval(self) -> None:
        """Only LSM programs of void hooks mustn't; these can't be told from here."""

    def check_get_func_ip(self) -> None:
        if self.kind == "tracing" and self.attach not in ("trace_fentry", "trace_fexit", "modify_return"):
            raise Reject(
                "func bpf_get_func_ip#173 supported only for fentry/fexit/fsession/fmod_ret programs"
            )

    def find_exception_callback(self) -> None:
        """The function that the tag `exception_callback:NAME` on the main function names.

        Raises:
            Reject: there are several, or none of that name.
        """
        btf, main = self.program.btf, self.functions.get(0)
        if btf is None or main is None or not self.at_least(6, 7):
            return
        names = [
            tag.name.partition(":")[2]
            for tag in btf.own_types(DECL_TAG)
            if tag.type == main and tag.name.startswith("exception_callback:")
        ]
        if len(names) > 1:
            raise Reject("multiple exception callback tags for main subprog", 0)
        for name in names:
            for number, id in self.functions.items():
                if btf.type(id).name == name:
                    if not self.is_global(number):
                        raise Reject(f"exception callback '{name}' must be a global function", 0)
                    self.exception_callback = number
                    sub = self.graph.subprogs[number]
                    sub.is_callback = sub.is_exception_callback = True
                    self.async_callbacks.add(number)
                    return
            raise Reject(f"exception callback '{name}' could not be found in BTF", 0)

    def check_return(self, w: Walk) -> None:
        """The result at the program's (or a function's) end."""
        from probee.verifier import results

        results.check(self, w)


@cache
def _cpus() -> int:
    import os

    try:
        with open("/sys/devices/system/cpu/possible") as file:
            last = file.read().strip().rpartition("-")[2].rpartition(",")[2]
            return int(last) + 1
    except (OSError, ValueError):
        return os.cpu_count() or 1


__all__ = ["LD_IMM64", "Context"]
