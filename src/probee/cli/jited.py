"""`probee prog dump jited`: a program's machine code, disassembled by capstone where that is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from ..errors import ProbeeError
from ..sys.details import ProgDetails
from .code import Debug, Source
from .kallsyms import KernelSymbols
from .output import Output, hex_list
from .style import bold, dim

WANTED = ("jited", "ksyms", "func_lens", "func_info", "line_info", "jited_lines")
_MACHINES = {
    "x86_64": ("CS_ARCH_X86", "CS_MODE_64"),
    "aarch64": ("CS_ARCH_ARM64", "CS_MODE_ARM"),
    "riscv64": ("CS_ARCH_RISCV", "CS_MODE_RISCV64"),
    "ppc64le": ("CS_ARCH_PPC", "CS_MODE_64"),
    "s390x": ("CS_ARCH_SYSZ", "CS_MODE_BIG_ENDIAN"),
}


class Function:
    """The machine code of one function: where it runs, its C declaration, its symbol."""

    __slots__ = ("address", "code", "name", "proto")

    def __init__(self, address: int, code: bytes, name: str, proto: str) -> None:
        self.address = address
        self.code = code
        self.name = name
        self.proto = proto


def functions(info: ProgDetails, debug: Debug) -> list[Function]:
    symbols = KernelSymbols() if info.ksyms else None
    protos = [debug.protos.get(at, "") for at, _ in info.func_info]
    lengths = info.func_lens or [len(info.jited)]
    found = []
    start = 0
    for n, length in enumerate(lengths):
        address = info.ksyms[n] if n < len(info.ksyms) else 0
        name = (symbols.name(address) if symbols else "") or (f"{address:#018x}" if address else "unknown")
        code = info.jited[start : start + length]
        found.append(Function(address, code, name, protos[n] if n < len(protos) else ""))
        start += length
    return found


def disassembler() -> Any:
    """Capstone for this machine. Raises ProbeeError, with what to do, if there is none."""
    machine = os.uname().machine
    try:
        import capstone
    except ImportError:
        raise ProbeeError(
            "disassembling machine code needs capstone: pip install 'probee[jit]'; "
            "or `… dump jited PROG file FILE` for the bytes"
        ) from None
    if machine not in _MACHINES:
        raise ProbeeError(f"capstone is not set up for {machine} here; take the bytes with `file FILE`")
    arch, mode = _MACHINES[machine]
    engine = capstone.Cs(getattr(capstone, arch), getattr(capstone, mode))
    engine.skipdata = True
    if arch == "CS_ARCH_X86":
        engine.syntax = capstone.CS_OPT_SYNTAX_ATT
    return engine


def _instructions(engine: Any, function: Function) -> Iterator[tuple[int, str, str, bytes]]:
    for insn in engine.disasm(function.code, function.address):
        yield insn.address - function.address, insn.mnemonic, insn.op_str, bytes(insn.bytes)


def _operands(text: str) -> list[str | None]:
    """`%rax, 8(%rbx, %rcx)` as two operands."""
    out, depth, word = [], 0, ""
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            out.append(word.strip())
            word = ""
        else:
            word += c
    if word.strip():
        out.append(word.strip())
    return list(out) or [None]


def _sources(info: ProgDetails, debug: Debug) -> dict[int, Source]:
    """Source lines by address."""
    pairs = zip(info.jited_lines, debug.lines, strict=False)
    return {address: source for address, (_, source) in pairs if address}


def dump(info: ProgDetails, output: Output, *, opcodes: bool, linum: bool) -> None:
    if output.json:
        output.emit(as_json(info, opcodes=opcodes, linum=linum))
        return
    engine = disassembler()
    debug = Debug(info)
    sources = _sources(info, debug)
    symbols = KernelSymbols()
    for n, function in enumerate(functions(info, debug)):
        if n:
            print()
        for line in _lines(engine, function, sources, symbols, opcodes, linum):
            print(line)


def as_json(info: ProgDetails, *, opcodes: bool, linum: bool) -> list[dict[str, Any]]:
    engine = disassembler()
    debug = Debug(info)
    sources = _sources(info, debug)
    return [_json(engine, f, sources, opcodes, linum) for f in functions(info, debug)]


def _json(
    engine: Any, function: Function, sources: dict[int, Source], opcodes: bool, linum: bool
) -> dict[str, Any]:
    insns = []
    for pc, operation, text, raw in _instructions(engine, function):
        facts: dict[str, Any] = {}
        source = sources.get(function.address + pc) if function.address else None
        if source is not None:
            facts.update(source.json(linum))
        facts["pc"] = f"0x{pc:x}"
        facts["operation"] = operation
        facts["operands"] = _operands(text)
        if opcodes:
            facts["opcodes"] = hex_list(raw)
        insns.append(facts)
    out: dict[str, Any] = {"proto": function.proto} if function.proto else {}
    return {**out, "name": function.name, "insns": insns}


def _lines(
    engine: Any,
    function: Function,
    sources: dict[int, Source],
    symbols: KernelSymbols,
    opcodes: bool,
    linum: bool,
) -> Iterator[str]:
    if function.proto:
        yield bold(f"{function.proto}:")
    yield f"{function.name}:"
    before: Source | None = None
    for pc, operation, text, raw in _instructions(engine, function):
        here = sources.get(function.address + pc) if function.address else None
        if here is not None and (linum or not here.same_line(before)):
            yield here.words(linum)
        before = here or before
        line = f"{pc:4x}:  {operation:<8} {text}".rstrip()
        note = ""
        if operation.startswith(("call", "j", "b")) and text.startswith("0x"):
            inside = int(text, 16) - function.address
            if 0 <= inside < len(function.code):
                note = f"to {inside:x}"
            elif function.address:
                note = symbols.near(int(text, 16))
        yield f"{line:<46}{dim(f' ; {note}')}" if note else line
        if opcodes:
            yield f"       {raw.hex(' ')}"
