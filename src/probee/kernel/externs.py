"""What objects ask of the kernel by name: `__kconfig` values, kernel symbols, kfuncs.

Imported only for objects that have such.
"""

from __future__ import annotations

import gzip
import os
import struct

from probee.btf.kinds import ENUM, FUNC, INT, INT_BOOL, VAR
from probee.errors import LoadError, Unsupported
from probee.obj import spec as kinds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.btf.parser import Btf
    from probee.obj.spec import ExternSpec, LinkedProgram, ObjectSpec

_POISON_KFUNC = 2002000000  # where libbpf's numbers for calls of weak kfuncs that are not there begin
_PSEUDO_BTF_ID = 3
_TRISTATE = {"n": 0, "y": 1, "m": 2}


# ---- __kconfig


def fill_kconfig(spec: ObjectSpec, initial: dict[str, bytes | bytearray]) -> None:
    """Compute the content of the map `.kconfig`: the kernel's version and its build configuration."""
    wanted = [extern for extern in spec.externs.values() if extern.kind == kinds.KCONFIG]
    if not wanted:
        return
    assert spec.btf is not None
    content = bytearray(spec.maps[".kconfig"].value_size)
    config: dict[str, str] | None = None
    for extern in wanted:
        if extern.name == "LINUX_KERNEL_VERSION":
            text = str(kernel_version(os.uname().release))
        elif extern.name.startswith("LINUX_HAS_"):
            text = "1"  # BPF cookies and system call wrappers: every kernel we run on has them
        else:
            if config is None:
                config = _kernel_config()
            text = config.get(extern.name, "")
            if not text:
                if extern.weak:
                    continue
                raise LoadError(f"{spec.name} needs {extern.name}, which is not set in this kernel")
        value = _value(spec.btf, extern, text, spec.endian)
        content[extern.offset : extern.offset + len(value)] = value
    initial[".kconfig"] = content


def kernel_version(release: str) -> int:
    """KERNEL_VERSION(a, b, c) of a release such as `6.1.0-9-amd64`, as a number."""
    parts = []
    for part in release.split(".")[:3]:
        digits = ""
        for char in part:
            if not char.isdigit():
                break
            digits += char
        parts.append(int(digits or 0))
    major, minor, patch = (*parts, 0, 0, 0)[:3]
    return major << 16 | minor << 8 | min(patch, 255)


def _kernel_config() -> dict[str, str]:
    text = ""
    for path in ("/proc/config.gz", f"/boot/config-{os.uname().release}"):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except OSError:
            continue
        text = (gzip.decompress(data) if path.endswith(".gz") else data).decode(errors="replace")
        break
    else:
        raise Unsupported(
            "the kernel's configuration is neither at /proc/config.gz nor in /boot",
            feature="CONFIG_IKCONFIG_PROC",
        )
    pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name: value for name, _, value in pairs}


def _value(btf: Btf, extern: ExternSpec, text: str, endian: str) -> bytes:
    type = btf.type(btf.strip(extern.type_id))
    if text.startswith('"'):
        return text.strip('"').encode()[: extern.size - 1].ljust(extern.size, b"\0")
    if text in _TRISTATE:
        number = _TRISTATE[text]
        if type.kind == INT and type.size == 1 and not type.encoding & INT_BOOL:
            return text.encode()  # a char gets the letter
        if type.kind == INT and type.encoding & INT_BOOL:
            number = int(text == "y")
    else:
        try:
            number = int(text, 0)
        except ValueError:
            raise LoadError(f"{extern.name} is {text!r} in this kernel, no number") from None
    if type.kind not in (INT, ENUM):
        raise LoadError(f"{extern.name} is a number in this kernel, a {type.kind_name} in the program")
    if not -(1 << 8 * extern.size - 1) <= number < 1 << 8 * extern.size:
        raise LoadError(f"{extern.name} is {number} in this kernel, too large for {extern.size} bytes")
    return (number % (1 << 8 * extern.size)).to_bytes(extern.size, "little" if endian == "little" else "big")


# ---- kernel symbols


def relocate(
    linked: LinkedProgram,
    index: int,
    kind: int,
    extern: ExternSpec,
    spec: ObjectSpec,
    target: Callable[[], Btf],
) -> str:
    """Put a kernel symbol's address or BTF id into instruction `index`. `LoadError` if it is not there.

    Returns "" or, for the call of a weak kfunc that is not there, what is missing.
    """
    at = index * 8
    insns = linked.insns
    if kind == kinds.KSYM:
        address = _address(extern.essential_name)
        if address is None and not extern.weak:
            raise LoadError(f"this kernel has no symbol {extern.essential_name} (see /proc/kallsyms)")
        address = address or 0
        struct.pack_into("=I", insns, at + 4, address & 0xFFFFFFFF)
        struct.pack_into("=I", insns, at + 12, address >> 32)
        return ""
    wanted = VAR if kind == kinds.KSYM_TYPED else FUNC
    found = target().find(extern.essential_name, wanted)
    if found is None and not extern.weak:
        what = "variable" if wanted == VAR else "kfunc"
        raise LoadError(f"this kernel has no {what} {extern.essential_name} in its BTF")
    if kind == kinds.KFUNC:
        if found is None:
            _set_source(insns, at, 0, linked.endian)  # a call that must not be reached
            struct.pack_into("=hi", insns, at + 2, 0, _POISON_KFUNC + _number(spec, extern))
            return f"this kernel has no kfunc {extern.essential_name}"
        struct.pack_into("=hi", insns, at + 2, 0, found)
        return ""
    # A weak reference to what is not there is null: a plain wide immediate of zero.
    _set_source(insns, at, 0 if found is None else _PSEUDO_BTF_ID, linked.endian)
    struct.pack_into("=i", insns, at + 4, found or 0)
    struct.pack_into("=i", insns, at + 12, 0)
    return ""


def _number(spec: ObjectSpec, extern: ExternSpec) -> int:
    """The number libbpf gives an extern: configuration values come first, then the rest by name."""
    others = sorted(one.name for one in spec.externs.values() if one.kind != kinds.KCONFIG)
    return len(spec.externs) - len(others) + others.index(extern.name)


def _set_source(insns: bytearray, at: int, source: int, endian: str) -> None:
    registers = insns[at + 1]
    insns[at + 1] = registers & 0x0F | source << 4 if endian == "little" else registers & 0xF0 | source


def _address(name: str) -> int | None:
    """The address of a kernel symbol, `None` if there is none."""
    wanted = f" {name}\n"
    with open("/proc/kallsyms", encoding="utf-8", errors="replace") as file:
        for line in file:
            if wanted in line or f" {name}\t" in line:
                return int(line.split()[0], 16)
    return None
