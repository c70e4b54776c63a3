"""Arguments of USDT probes: where each is at the probe's instruction, from the assembler's words for it.

The forms are those of SystemTap's `sys/sdt.h`: `SIZE@OPERAND`, SIZE in bytes and negative if signed, the
operand as the compiler writes it in assembly.
"""

from __future__ import annotations

import re

CONSTANT, REGISTER, MEMORY, INDEXED = "constant", "register", "memory", "indexed"
EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
SIZES = (1, 2, 4, 8)

_ARGUMENT = re.compile(r"\s*(?:(-?[0-9]{1,2})(f?)@)?([^\s\[(]*(?:\[[^\]]*\]|\([^)]*\))?\S*)")
_NUMBER = r"[-+]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})"
_X86_MEMORY = re.compile(r"([^()]*)\((%\w+)?\s*(?:,\s*(%\w+)\s*(?:,\s*([1248]))?)?\s*\)")
_X86_PLACE = re.compile(rf"({_NUMBER})?([-+]?[A-Za-z_.$][\w.$@]*)?({_NUMBER})?")
_ARM_MEMORY = re.compile(rf"\[\s*(\w+)\s*(?:,\s*(?:#?({_NUMBER})|(\w+)(?:,\s*lsl\s*#?([0-3]))?))?\s*\]")


class Argument:
    """Where an argument is. `kind` is one of the following; `text` is what the probe's note says.

    `CONSTANT`: its value is `value`. `REGISTER`: in `register`. `MEMORY`: at `register` + `offset`, or at the
    address of `symbol` + `offset` if `register` is the instruction pointer. `INDEXED`: at `register` +
    `index` * `scale` + `offset`. "": in no place that a program can read, for the reason that `why` gives.
    `size` is bytes.
    """

    __slots__ = (
        "index",
        "kind",
        "offset",
        "register",
        "scale",
        "signed",
        "size",
        "symbol",
        "text",
        "value",
        "why",
    )

    def __init__(self, text: str, size: int, signed: bool) -> None:
        self.text = text
        self.size = size
        self.signed = signed
        self.kind = ""
        self.why = ""
        self.register = ""
        self.index = ""
        self.scale = 1
        self.offset = 0
        self.value = 0
        self.symbol = ""

    def __repr__(self) -> str:
        return f"Argument({self.text!r}, {self.kind or self.why})"

    @property
    def type(self) -> str:
        """The type as probee names types: `i32`, `u64`."""
        return f"{'i' if self.signed else 'u'}{self.size * 8}"


def parse(text: str, machine: int, word: int = 8) -> list[Argument]:
    """The arguments of a note, for an ELF machine (EM_…) whose addresses are `word` bytes."""
    found = []
    at = 0
    text = text.strip()
    while at < len(text):
        match = _ARGUMENT.match(text, at)
        if match is None or match.end() == at:
            break
        at = match.end()
        size, floating, operand = match.groups()
        argument = Argument(match.group().strip(), abs(int(size or word)), (size or "").startswith("-"))
        found.append(argument)
        if floating:
            argument.why = "it is a floating-point number"
        elif argument.size not in SIZES:
            argument.why = f"it is {argument.size} bytes"
        elif machine in (EM_X86_64, EM_386):
            _x86(argument, operand)
        elif machine == EM_AARCH64:
            _arm(argument, operand)
        else:
            argument.why = f"arguments of machine {machine} are not known here"
        if not argument.kind and not argument.why:
            argument.why = f"{operand!r} is in no place that a program can read"
    return found


def _x86(argument: Argument, operand: str) -> None:
    """AT&T's syntax: `$5`, `%eax`, `-4(%rbp)`, `8(%rax,%rbx,4)`, `symbol+4(%rip)`."""
    if operand.startswith("$"):
        _constant(argument, operand[1:])
        return
    if operand.startswith("%"):
        if operand[1:] in X86_64:
            argument.kind, argument.register = REGISTER, operand[1:]
        return
    match = _X86_MEMORY.fullmatch(operand)
    place = _X86_PLACE.fullmatch(match.group(1)) if match else None
    if match is None or place is None:
        return
    _, base, index, scale = match.groups()
    before, symbol, behind = place.groups()
    registers = [register[1:] for register in (base, index) if register]
    if any(register not in X86_64 for register in registers):
        return
    argument.offset = _number(before or "0") + _number(behind or "0")
    argument.symbol = (symbol or "").lstrip("+")
    if argument.symbol.startswith("-") or bool(symbol) != (base in ("%rip", "%eip")):
        return
    if base and index:
        argument.kind, argument.register, argument.index = INDEXED, registers[0], registers[1]
        argument.scale = int(scale or "1")
    elif base or (index and scale in (None, "1")):
        argument.kind, argument.register = MEMORY, registers[0]


def _arm(argument: Argument, operand: str) -> None:
    """`5`, `x0`, `[sp, 8]`, `[x0, x1, lsl 3]`."""
    if operand in ("xzr", "wzr"):
        argument.kind = CONSTANT
    elif operand in AARCH64:
        argument.kind, argument.register = REGISTER, operand
    elif operand.startswith("["):
        match = _ARM_MEMORY.fullmatch(operand)
        if match is None:
            return
        base, offset, index, shift = match.groups()
        if base not in AARCH64 or (index and (index not in AARCH64 or index.startswith("w"))):
            return
        argument.register = base
        if index:
            argument.kind, argument.index, argument.scale = INDEXED, index, 1 << int(shift or "0")
        else:
            argument.kind, argument.offset = MEMORY, _number(offset or "0")
    else:
        _constant(argument, operand.removeprefix("#"))


def _constant(argument: Argument, text: str) -> None:
    if re.fullmatch(_NUMBER, text) and abs(_number(text)) < 1 << 64:
        argument.kind, argument.value = CONSTANT, _number(text)


def _number(text: str) -> int:
    return int(text, 16 if "x" in text.lower() else 10)


# ---- places of registers in struct pt_regs (asm/ptrace.h), bytes

_X86_ORDER = ["r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di"]
X86_64: dict[str, int] = {"rip": 128, "eip": 128, "rsp": 152, "esp": 152, "sp": 152, "spl": 152}
for _place, _name in enumerate(_X86_ORDER):
    if _name.startswith("r"):
        _names = [_name, _name + "d", _name + "w", _name + "b"]
    else:
        _names = ["r" + _name, "e" + _name, _name, _name[0] + "l" if _name.endswith("x") else _name + "l"]
    X86_64.update(dict.fromkeys(_names, _place * 8))
for _name in "abcd":
    X86_64[_name + "h"] = X86_64[_name + "l"] + 1  # the second byte of the register

AARCH64: dict[str, int] = {"sp": 248, "wsp": 248, "fp": 29 * 8, "lr": 30 * 8, "pc": 256}
for _place in range(31):
    AARCH64[f"x{_place}"] = AARCH64[f"w{_place}"] = _place * 8


def registers(machine: int) -> dict[str, int]:
    """Register names of an ELF machine, with their bytes in `struct pt_regs`."""
    return AARCH64 if machine == EM_AARCH64 else X86_64
