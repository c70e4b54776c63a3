"""`__kconfig` values in a machine: those given, and what can be known of a kernel that isn't there."""

from __future__ import annotations

from ..btf.shipped import RELEASE
from ..errors import LoadError
from ..kernel.kconfig import _number, _parse, _value, kernel_version
from ..obj.spec import KCONFIG, ExternSpec, ObjectSpec

# What distributions' kernels have in common (their /boot/config).
USUAL = {
    "CONFIG_HZ": "250",
    "CONFIG_BPF": "y",
    "CONFIG_BPF_SYSCALL": "y",
    "CONFIG_BPF_JIT": "y",
    "CONFIG_SMP": "y",
    "CONFIG_64BIT": "y",
    "CONFIG_NET": "y",
    "CONFIG_INET": "y",
    "CONFIG_CGROUPS": "y",
    "CONFIG_DEBUG_INFO_BTF": "y",
}


def fill(spec: ObjectSpec, given: str) -> bytearray:
    """What the map `.kconfig` holds. `given` are lines `CONFIG_X=y`.

    Raises LoadError for values that are needed and not known.
    """
    assert spec.btf is not None
    content = bytearray(spec.maps[".kconfig"].value_size)
    config = {**USUAL, **_parse(given)}
    for extern in spec.externs.values():
        if extern.kind != KCONFIG:
            continue
        if extern.name.startswith("CONFIG_"):
            text = config.get(extern.name)
            if text is None:
                if extern.weak:
                    continue
                raise LoadError(
                    f"{spec.name} needs {extern.name}; say what it is: Machine(…, kconfig='{extern.name}=y')"
                )
            value = _value(spec.btf, extern, text, spec.endian)
        else:
            value = _number(spec.btf, extern, _virtual(spec, extern), spec.endian)
        content[extern.offset : extern.offset + len(value)] = value
    return content


def _virtual(spec: ObjectSpec, extern: ExternSpec) -> int:
    if extern.name == "LINUX_KERNEL_VERSION":
        return kernel_version(RELEASE)
    if extern.name in ("LINUX_HAS_BPF_COOKIE", "LINUX_HAS_SYSCALL_WRAPPER"):
        return 1
    if extern.weak:
        return 0
    raise LoadError(f"{spec.name} needs {extern.name}, which is neither an option nor known here")
