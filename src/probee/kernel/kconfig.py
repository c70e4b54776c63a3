"""`__kconfig` values: the map `.kconfig` filled from the kernel's version, abilities and build configuration.

Imported only for objects that have such. The rules are libbpf's.
"""

from __future__ import annotations

import os

from probee.errors import LoadError, Unsupported
from probee.obj import kconfig as kinds
from probee.obj.spec import KCONFIG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import Btf
    from probee.obj.spec import ExternSpec, ObjectSpec

FILES = ("/boot/config-{release}", "/proc/config.gz")
_TRISTATE = {"n": 0, "y": 1, "m": 2}
_WRAPPERS = {"x86_64": "x64", "aarch64": "arm64", "s390x": "s390x", "riscv64": "riscv"}


def fill(spec: ObjectSpec, initial: dict[str, bytes | bytearray], extra: str = "") -> None:
    """Compute what the map `.kconfig` holds. `extra` are lines `CONFIG_X=y` that come before the kernel's.

    Raises LoadError for values that are missing or do not fit their type, Unsupported if the kernel does not
    tell its configuration.
    """
    wanted = [extern for extern in spec.externs.values() if extern.kind == KCONFIG]
    if not wanted:
        return
    assert spec.btf is not None
    content = bytearray(spec.maps[".kconfig"].value_size)
    given = _parse(extra)
    config: dict[str, str] | None = None
    for extern in wanted:
        name = extern.name
        if name.startswith("CONFIG_"):
            text = given.get(name, "")
            if not text:
                config = _kernel_config() if config is None else config
                text = config.get(name, "")
            if not text:
                if extern.weak:
                    continue
                raise LoadError(f"{spec.name} needs {name}, which is not set in this kernel")
            value = _value(spec.btf, extern, text, spec.endian)
        else:
            value = _number(spec.btf, extern, _virtual(spec, extern), spec.endian)
        content[extern.offset : extern.offset + len(value)] = value
    initial[".kconfig"] = content


def _virtual(spec: ObjectSpec, extern: ExternSpec) -> int:
    """A value that is no build option."""
    if extern.name == "LINUX_KERNEL_VERSION":
        return kernel_version(os.uname().release)
    if extern.name == "LINUX_HAS_BPF_COOKIE":
        from probee.kernel.features import have

        return int(have("bpf_cookie"))
    if extern.name == "LINUX_HAS_SYSCALL_WRAPPER":
        return int(_has_wrappers())
    if extern.name.startswith("LINUX_") and extern.weak:
        return 0
    raise LoadError(f"{spec.name} needs {extern.name}, which is neither an option nor known here")


def _has_wrappers() -> bool:
    """Whether system calls are behind functions with an architecture's prefix, `__x64_sys_bpf`."""
    prefix = _WRAPPERS.get(os.uname().machine)
    if prefix is None:
        return False
    from probee.symbols.kallsyms import KernelSymbols

    try:
        return bool(KernelSymbols.read().find(f"__{prefix}_sys_bpf"))
    except OSError:
        return False


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
    for path in FILES:
        try:
            with open(path.format(release=os.uname().release), "rb") as file:
                data = file.read()
        except OSError:
            continue
        if data[:2] == b"\x1f\x8b":
            import gzip

            data = gzip.decompress(data)
        return _parse(data.decode(errors="replace"))
    raise Unsupported(
        "the kernel's configuration is neither at /proc/config.gz nor in /boot",
        feature="CONFIG_IKCONFIG_PROC",
    )


def _parse(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name: value.strip() for name, _, value in pairs}


def _wrong(extern: ExternSpec, text: str, sort: str) -> LoadError:
    return LoadError(f"{extern.name} is {text} in this kernel, which is no value for a {sort} of the program")


def _value(btf: Btf, extern: ExternSpec, text: str, endian: str) -> bytes:
    sort, _ = kinds.kind(btf, extern.type_id)
    if text.startswith('"'):
        if sort != kinds.TEXT or len(text) < 2 or not text.endswith('"'):
            raise _wrong(extern, text, sort)
        return text[1:-1].encode()[: extern.size - 1].ljust(extern.size, b"\0")
    if text[0] in _TRISTATE:
        if sort == kinds.CHAR:
            return text[:1].encode()
        if sort == kinds.BOOL and text[0] != "m":
            return bytes([text[0] == "y"])
        if sort == kinds.TRISTATE:
            return _TRISTATE[text[0]].to_bytes(extern.size, "little" if endian == "little" else "big")
        raise _wrong(extern, text, sort)
    try:
        number = int(text, 0)
    except ValueError:
        raise LoadError(f"{extern.name} is {text!r} in this kernel, no number") from None
    if sort not in (kinds.NUMBER, kinds.CHAR):
        raise _wrong(extern, text, sort)
    return _number(btf, extern, number, endian)


def _number(btf: Btf, extern: ExternSpec, number: int, endian: str) -> bytes:
    sort, signed = kinds.kind(btf, extern.type_id)
    if sort not in (kinds.NUMBER, kinds.CHAR, kinds.BOOL):
        raise _wrong(extern, str(number), sort)
    bits = 1 if sort == kinds.BOOL else 8 * extern.size
    low, high = (-(1 << bits - 1), 1 << bits - 1) if signed and bits < 64 else (-(1 << 63), 1 << bits)
    if not (low if signed or bits == 64 else 0) <= number < high:
        raise LoadError(f"{extern.name} is {number} in this kernel, too large for {extern.size} bytes")
    return (number % (1 << 8 * extern.size)).to_bytes(extern.size, "little" if endian == "little" else "big")
