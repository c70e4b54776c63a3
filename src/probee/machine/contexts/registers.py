"""`struct pt_regs` as kprobes, uprobes, USDT and perf events see it, by the calling convention."""

from __future__ import annotations

from typing import Any

from ...errors import ProbeeError

# Where the registers are in what user space sees of pt_regs (UAPI asm/ptrace.h), in bytes.
X86_64 = {
    name: 8 * i
    for i, name in enumerate(
        [
            "r15",
            "r14",
            "r13",
            "r12",
            "bp",
            "bx",
            "r11",
            "r10",
            "r9",
            "r8",
            "ax",
            "cx",
            "dx",
            "si",
            "di",
            "orig_ax",
            "ip",
            "cs",
            "flags",
            "sp",
            "ss",
        ]
    )
}
AARCH64 = {**{f"x{i}": 8 * i for i in range(31)}, "sp": 248, "pc": 256, "pstate": 264}
SIZES = {"x86_64": 168, "aarch64": 272}
REGISTERS = {"x86_64": X86_64, "aarch64": AARCH64}
ARGUMENTS = {
    "x86_64": ("di", "si", "dx", "cx", "r8", "r9"),
    "aarch64": tuple(f"x{i}" for i in range(8)),
}
SYSCALL = {
    "x86_64": ("di", "si", "dx", "r10", "r8", "r9"),
    "aarch64": tuple(f"x{i}" for i in range(6)),
}
RESULT = {"x86_64": "ax", "aarch64": "x0"}
POINTER = {"x86_64": "ip", "aarch64": "pc"}


def fill(
    arch: str, args: list[int], *, result: int | None = None, ip: int = 0, sp: int = 0, **registers: int
) -> bytes:
    """The bytes of pt_regs with arguments, result, and further registers by name.

    Raises ProbeeError for registers that the architecture does not have, or too many arguments.
    """
    if arch not in REGISTERS:
        raise ProbeeError(f"the registers of {arch} are unknown; known are {', '.join(REGISTERS)}")
    places, names = REGISTERS[arch], ARGUMENTS[arch]
    if len(args) > len(names):
        raise ProbeeError(
            f"{arch} passes {len(names)} arguments in registers, not {len(args)}; others are on the stack"
        )
    values: dict[str, int] = dict(zip(names, args, strict=False))
    if result is not None:
        values[RESULT[arch]] = result
    if ip:
        values[POINTER[arch]] = ip
    if sp:
        values["sp"] = sp
    values.update(registers)
    out = bytearray(SIZES[arch])
    for name, value in values.items():
        if name not in places:
            raise ProbeeError(f"{arch} has no register {name!r}; it has {', '.join(places)}")
        at = places[name]
        out[at : at + 8] = (number(value) & (1 << 64) - 1).to_bytes(8, "little")
    return bytes(out)


def number(value: Any) -> int:
    """A register's value of a number or an object (its address)."""
    if value is None:
        return 0
    if isinstance(value, float) or not hasattr(value, "__index__"):
        raise TypeError(f"{value!r} is neither a number nor an object in the machine's memory")
    return int(value.__index__())
