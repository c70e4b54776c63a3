"""`probee prog dump xlated`: instructions as the verifier left them, in the kernel's syntax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..btf.kinds import DATASEC
from ..isa.disasm import text_of
from ..isa.insn import (
    CALL_IMM,
    JMP,
    JMP32,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_MAP_FD,
    PSEUDO_MAP_IDX_VALUE,
    PSEUDO_MAP_VALUE,
    Insn,
    decode,
    wide_imm,
)
from ..isa.tables import HELPERS
from ..sys.details import ProgDetails
from .code import Debug, Source
from .kallsyms import KernelSymbols
from .output import Output, hex_list
from .prog_show import Scene
from .style import bold, dim

WANTED = ("xlated", "ksyms", "func_info", "line_info")
_MOV64_X = 0xBF
_COMMENT = 46
_HELPERS = {number: f"bpf_{name}" for name, (number, _) in HELPERS.items()}


class Listing:
    """The instructions of a program with what the numbers in them stand for."""

    def __init__(self, info: ProgDetails, scene: Scene | None = None) -> None:
        self.info = info
        self.debug = Debug(info)
        self.insns = decode(info.xlated)
        self.symbols = KernelSymbols()
        self.scene = scene

    def __iter__(self) -> Iterator[tuple[int, Insn]]:
        """Instructions with their index; the second slot of a wide one is not among them."""
        at = 0
        while at < len(self.insns):
            yield at, self.insns[at]
            at += 2 if self.insns[at].opcode == LD_IMM64 else 1

    def text(self, at: int) -> str:
        """An instruction in the kernel's syntax: `(85) call bpf_ktime_get_ns#5`."""
        insn = self.insns[at]
        return f"({insn.opcode:02x}) {self._words(at, insn)}"

    def _words(self, at: int, insn: Insn) -> str:
        if insn.opcode == CALL_IMM:
            return f"call {self._callee(insn)}"
        if insn.opcode == LD_IMM64:
            return f"r{insn.dst} = {self._wide(at, insn)}"
        if insn.opcode == _MOV64_X and insn.off == -1:  # what the verifier makes of per-CPU addresses
            return f"r{insn.dst} = &(void __percpu *)(r{insn.src})"
        return text_of(insn, dialect="kernel") or "???"

    def _callee(self, insn: Insn) -> str:
        ksyms = self.info.ksyms
        if insn.src == PSEUDO_CALL:
            # For JITed programs `imm` is the function's number, `off` the distance.
            if not ksyms:
                return f"pc{insn.imm:+d}"
            if not 0 <= insn.imm < len(ksyms):
                return f"pc{insn.off:+d}"
            address = ksyms[insn.imm]
            return f"pc{insn.off:+d}#{self.symbols.name(address) or f'{address:#x}'}"
        if not insn.src and insn.imm in _HELPERS:  # tail calls keep the helper's number
            return f"{_HELPERS[insn.imm]}#{insn.imm}"
        address = self.symbols.call_base + insn.imm
        name = self.symbols.name(address) if self.symbols.call_base else ""
        return f"{name or f'{address:#x}'}#{insn.imm}"

    def _wide(self, at: int, insn: Insn) -> str:
        second = self.insns[at + 1] if at + 1 < len(self.insns) else Insn(0, 0, 0, 0, 0)
        if insn.src == PSEUDO_MAP_FD:
            return f"map[id:{insn.imm}]"
        if insn.src == PSEUDO_MAP_VALUE:
            return f"map[id:{insn.imm}][0]+{second.imm}"
        if insn.src == PSEUDO_MAP_IDX_VALUE:
            return f"map[idx:{insn.imm}]+{second.imm}"
        if insn.src == PSEUDO_FUNC:
            return f"subprog[{insn.imm:+d}]"
        return f"{wide_imm(insn.imm, second.imm):#x}"

    def note(self, at: int) -> str:
        """What the instruction is about, for people: the map's name, where a jump goes."""
        insn = self.insns[at]
        if insn.opcode == LD_IMM64 and insn.src in (PSEUDO_MAP_FD, PSEUDO_MAP_VALUE) and self.scene:
            name = self.scene.map_name(insn.imm)
            return f"map {name}" if insn.src == PSEUDO_MAP_FD else self._variable(insn.imm, at, name)
        target = jump_target(at, insn)
        return "" if target is None else f"to {target}"

    def _variable(self, map_id: int, at: int, name: str) -> str:
        offset = self.insns[at + 1].imm
        btf = self.debug.btf
        if btf is not None:
            found = [t for t in btf.own_types() if t.kind == DATASEC and name.endswith(t.name)]
            for section in found:
                for var, start, size in section.vars:
                    if start <= offset < start + max(1, size):
                        inside = f"+{offset - start}" if offset > start else ""
                        return btf.type(var).name + inside
        return f"{name}+{offset}"


def jump_target(at: int, insn: Insn) -> int | None:
    """The instruction a jump goes to, None if it is no jump."""
    kind, op = insn.opcode & 7, insn.opcode & 0xF0
    if kind not in (JMP, JMP32) or op in (0x80, 0x90):
        return None
    return at + 1 + (insn.imm if kind == JMP32 and op == 0 else insn.off)


def opcodes_json(listing: Listing, at: int) -> dict[str, Any]:
    insn = listing.insns[at]
    raw = listing.info.xlated[at * 8 : at * 8 + (16 if insn.opcode == LD_IMM64 else 8)]
    return {
        "code": f"0x{insn.opcode:02x}",
        "src_reg": f"0x{insn.src:x}",
        "dst_reg": f"0x{insn.dst:x}",
        "off": hex_list(raw[2:4]),
        "imm": hex_list(raw[4:]),
    }


def as_json(listing: Listing, *, opcodes: bool, linum: bool) -> list[dict[str, Any]]:
    sources = listing.debug.at()
    out = []
    for at, _ in listing:
        facts: dict[str, Any] = {}
        if at in listing.debug.protos:
            facts["proto"] = listing.debug.protos[at]
        if at in sources:
            facts.update(sources[at].json(linum))
        facts["disasm"] = listing.text(at)
        if opcodes:
            facts["opcodes"] = opcodes_json(listing, at)
        out.append(facts)
    return out


def lines(listing: Listing, *, opcodes: bool, linum: bool) -> Iterator[str]:
    """The listing for people: a source line is printed where it changes."""
    sources = listing.debug.at()
    before: Source | None = None
    for at, insn in listing:
        if at in listing.debug.protos:
            yield bold(f"{listing.debug.protos[at]}:")
        here = sources.get(at)
        if here is not None and (linum or not here.same_line(before)):
            yield here.words(linum)
        before = here or before
        code = f"{at:4d}: {listing.text(at)}"
        note = listing.note(at)
        yield f"{code:<{_COMMENT}}{dim(f' ; {note}')}" if note else code
        if opcodes:
            raw = listing.info.xlated[at * 8 : at * 8 + (16 if insn.opcode == LD_IMM64 else 8)]
            yield f"       {raw[:8].hex(' ')}" + (f"  {raw[8:].hex(' ')}" if len(raw) > 8 else "")


# ---- the control flow graph, in Graphviz's language


def graph(listing: Listing, *, linum: bool, opcodes: bool) -> Iterator[str]:
    """A DOT graph of the basic blocks: `probee prog dump xlated id 7 visual | dot -Tsvg`."""
    sources = listing.debug.at()
    indices = [at for at, _ in listing]
    starts, edges = _blocks(listing, indices)
    yield 'digraph "DOT graph for eBPF program" {'
    yield "\tnode [shape=box, fontname=monospace];"
    for begin in sorted(starts):
        text = []
        if begin in listing.debug.protos:
            text.append(f"; {listing.debug.protos[begin]}")
        before: Source | None = None
        at = begin
        while True:
            here = sources.get(at)
            if here is not None and (before is None or here.line != before.line):
                place = f" [{here.file}:{here.line}:{here.column}]" if linum else ""
                text.append(f"; {here.text}{place}")
                before = here
            code = f"  {listing.info.xlated[at * 8 : at * 8 + 8].hex(' ')}" if opcodes else ""
            text.append(f"{at}: {listing.text(at)}{code}")
            following = at + (2 if listing.insns[at].opcode == LD_IMM64 else 1)
            if following in starts or following >= len(listing.insns):
                break
            at = following
        label = "".join(_escape(line) + "\\l" for line in text)
        yield f'\tb{begin} [label="{label}"];'
        for target, style in edges.get(at, ()):
            yield f"\tb{begin} -> b{target}{style};"
    yield "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _blocks(listing: Listing, indices: list[int]) -> tuple[set[int], dict[int, list[tuple[int, str]]]]:
    """Where basic blocks begin, and from each block's last instruction, where it goes."""
    valid = set(indices)
    starts = {0} | (set(listing.debug.protos) & valid)
    for at in indices:
        insn = listing.insns[at]
        target = jump_target(at, insn)
        if target is not None:
            starts |= {target, at + 1} & valid
        elif insn.opcode == 0x95:
            starts |= {at + 1} & valid
    edges: dict[int, list[tuple[int, str]]] = {}
    for at in indices:
        insn = listing.insns[at]
        target = jump_target(at, insn)
        following = at + (2 if insn.opcode == LD_IMM64 else 1)
        out = []
        always = insn.opcode in (0x05, 0x06)
        if target is not None and target in valid:
            out.append((target, "" if always else ' [label="yes"]'))
        falls = insn.opcode != 0x95 and not always and following in starts
        if falls and following not in listing.debug.protos:
            out.append((following, ' [label="no"]' if target is not None else ""))
        edges[at] = out
    return starts, edges


def dump(
    info: ProgDetails, output: Output, scene: Scene, *, opcodes: bool, linum: bool, visual: bool
) -> None:
    listing = Listing(info, scene)
    if output.json:
        output.emit(as_json(listing, opcodes=opcodes, linum=linum))
    elif visual:
        for line in graph(listing, linum=linum, opcodes=opcodes):
            print(line)
    else:
        for line in lines(listing, opcodes=opcodes, linum=linum):
            print(line)
