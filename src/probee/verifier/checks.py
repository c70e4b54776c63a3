"""What is checked of each instruction by itself, before anything else."""

from __future__ import annotations

from probee.isa.insn import (
    ALU,
    ALU64,
    ATOMIC,
    CALL,
    EXIT,
    JA,
    JCOND,
    JMP,
    JMP32,
    LD,
    LD_IMM64,
    LDX,
    PSEUDO_FUNC,
    ST,
    STX,
    X,
)
from probee.verifier.errors import Reject
from probee.verifier.older_rules import unknown_opcodes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.isa.insn import Insn
    from probee.verifier.context import Context
    from probee.verifier.program import Program

MAX_INSNS = 1_000_000
_MAP_SOURCES = (1, 2, 5, 6)
_DIRECT = {2, 33, 31}  # maps whose values have an address: array, arena, and what Linux adds
_MEM, _SX = 0x60, 0x80


def known_opcode(opcode: int) -> bool:
    """Whether there is an instruction with this opcode."""
    kind, op = opcode & 7, opcode & 0xF0
    mode, size = opcode & 0xE0, opcode & 0x18
    if kind in (ALU, ALU64):
        if op == 0x80:
            return not opcode & X
        if op == 0xD0:
            return kind == ALU or not opcode & X
        return op <= 0xC0
    if kind == JMP:
        if op in (CALL, EXIT, JA, JCOND):
            return not opcode & X
        return op <= 0xD0
    if kind == JMP32:
        return (op == JA and not opcode & X) or (0x10 <= op <= 0xD0 and op not in (CALL, EXIT))
    if kind == LDX:
        return mode == _MEM or (mode == _SX and size != 0x18)
    if kind == ST:
        return mode == _MEM
    if kind == STX:
        return mode in (_MEM, ATOMIC)
    return opcode == LD_IMM64 or (mode in (0x20, 0x40) and size != 0x18)


_KNOWN = frozenset(opcode for opcode in range(256) if known_opcode(opcode))


def check_instructions(program: Program, version: tuple[int, ...]) -> None:
    """Opcodes, wide immediates, references to maps.

    Raises:
        Reject: an instruction isn't one.
    """
    insns = program.insns
    count = len(insns)
    later = unknown_opcodes(version)
    modes = (_MEM, _SX) if version >= (6, 6) else (_MEM,)
    if not 0 < count <= MAX_INSNS:
        raise Reject("")
    index = 0
    while index < count:
        insn = insns[index]
        opcode = insn.opcode
        if opcode == LD_IMM64:
            _wide(program, index, insn)
            index += 2
            continue
        if opcode & 7 == LDX and (opcode & 0xE0 not in modes or insn.imm):
            raise Reject("BPF_LDX uses reserved fields", index)
        if opcode & 7 == STX and insn.imm and version < (5, 12):
            raise Reject("BPF_STX uses reserved fields", index)
        if opcode not in _KNOWN or opcode in later:
            raise Reject(f"unknown opcode {opcode:02x}", index)
        index += 1


def _wide(program: Program, index: int, insn: Insn) -> None:
    insns = program.insns
    if index + 1 >= len(insns):
        raise Reject("invalid bpf_ld_imm64 insn", index)
    second = insns[index + 1]
    if second.opcode or second.dst or second.src or second.off:
        raise Reject("invalid bpf_ld_imm64 insn", index)
    if insn.src == 0 or insn.src in (3, PSEUDO_FUNC):
        return
    if insn.src not in _MAP_SOURCES or (insn.src in (1, 5) and second.imm):
        raise Reject("unrecognized bpf_ld_imm64 insn", index)
    info = program.map_refs.get(index)
    if info is None:
        raise Reject(f"fd {insn.imm} is not pointing to valid bpf_map", index)
    if insn.src in (2, 6):
        offset = second.imm & 0xFFFFFFFF
        if offset >= 1 << 29:
            raise Reject(f"direct value offset of {offset} is not allowed", index)
        if info.type not in _DIRECT:
            raise Reject("no direct value access support for this map type", index)
        if info.type == 2 and info.max_entries != 1:
            raise Reject(
                f"invalid access to map value pointer, value_size={info.value_size} off={offset}", index
            )
        if info.type == 2 and offset >= info.value_size:
            raise Reject(
                f"invalid access to map value pointer, value_size={info.value_size} off={offset}", index
            )


_TRACING = {"kprobe", "tracepoint", "perf_event", "raw_tracepoint", "raw_tracepoint_writable"}
_SLEEPABLE_MAPS = {1, 2, 5, 6, 9, 10, 12, 13, 22, 23, 24, 27, 28, 29, 31, 32, 33, 34}


def check_maps(context: Context) -> None:
    """Maps with special fields aren't for all programs, nor all maps for sleepable ones.

    Raises:
        Reject: the program can't have one of its maps.
    """
    tracing = context.kind in _TRACING
    for index, info in sorted(context.program.map_refs.items()):
        record = context.record(info)
        if record.has("list_head", "rb_root") and tracing:
            raise Reject("tracing progs cannot use bpf_{list_head,rb_root} yet", index)
        if record.has("spin_lock", "res_spin_lock"):
            if context.kind == "socket_filter":
                raise Reject("socket filter progs cannot use bpf_spin_lock yet", index)
            if tracing:
                raise Reject("tracing progs cannot use bpf_spin_lock yet", index)
        if record.has("timer") and tracing:
            raise Reject("tracing progs cannot use bpf_timer yet", index)
        if record.has("wq") and tracing:
            raise Reject("tracing progs cannot use bpf_wq yet", index)
        if context.sleepable and info.type not in _SLEEPABLE_MAPS:
            raise Reject("Sleepable programs can only use array, hash, ringbuf and local storage maps", index)


__all__ = ["LD", "check_instructions", "known_opcode"]
