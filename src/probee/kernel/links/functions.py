"""Kernel functions that can't be probed: why, and which ones were perhaps meant. Imported only then."""

from __future__ import annotations

import errno

from probee.errors import AttachError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import Btf
    from probee.kernel.links.kprobe import Place
    from probee.symbols.kallsyms import KernelSymbols

_LENGTHS = 4  # names that differ by more characters in length are not near
_CANDIDATES = 4000
_PADDING = "__pfx_"  # symbols of the bytes before functions


def _symbols() -> KernelSymbols | None:
    from probee.symbols.kallsyms import KernelSymbols

    try:
        return KernelSymbols.read()
    except OSError:
        return None


def near(name: str, symbols: KernelSymbols) -> list[str]:
    """Up to three functions that `name` could have meant: what the compiler or a wrapper made of it, then
    typos.
    """
    for pattern in (f"{name}.*", f"__*_{name}"):
        variants = {s.name for s in symbols.matching(pattern) if not s.name.startswith(_PADDING)}
        if variants:
            return sorted(variants, key=lambda n: (len(n), n))[:3]
    import difflib

    found: set[str] = set()
    for start in (3, 2, 1):
        shape = {s.name for s in symbols.matching(f"{name[:start]}*") if not s.name.startswith(_PADDING)}
        found = {n for n in shape if abs(len(n) - len(name)) <= _LENGTHS and "." not in n}
        best = difflib.get_close_matches(name, sorted(found)[:_CANDIDATES], 3, 0.7)
        if best:
            return best
    return sorted({s.name for s in symbols.matching(f"*{name}*") if "." not in s.name}, key=len)[:3]


def address_in_module(place: Place) -> int:
    """Where the place's function is, by the kernel's symbol table; 0 if it does not say."""
    symbols = _symbols()
    if symbols is None:
        return 0
    module = "" if place.module == "vmlinux" else place.module
    return next((s.address for s in symbols.find(place.name, module) if s.is_function), 0)


def unknown(hook: str, name: str, symbols: KernelSymbols, number: int = errno.ENOENT) -> AttachError:
    """The error for a function that the kernel doesn't have."""
    names = near(name, symbols)
    hint = f"; did you mean {' or '.join(names)}?" if names else "; see /proc/kallsyms"
    return AttachError(f"{hook}: this kernel has no function {name}{hint}", hook=hook, errno=number)


def not_probed(hook: str, place: Place, error: OSError) -> AttachError | None:
    """The cause of a refused kprobe, if it can be found out; None leaves it to the number."""
    from probee.symbols.ftrace import blacklisted

    number = error.errno or 0
    symbols = _symbols() if place.name and number not in (errno.EPERM, errno.EACCES) else None
    if symbols is None:
        return None
    module = None if not place.module else "" if place.module == "vmlinux" else place.module
    found = [s for s in symbols.find(place.name, module) if s.is_function]
    if not found and module:
        if module not in symbols.modules():
            return AttachError(f"{hook}: module {module} is not loaded", hook=hook, errno=number)
        elsewhere = sorted({s.module or "vmlinux" for s in symbols.find(place.name)})
        if elsewhere:
            return AttachError(
                f"{hook}: {place.name} is not in module {module} but in {', '.join(elsewhere)}",
                hook=hook,
                errno=number,
            )
    if not found:
        return unknown(hook, place.name, symbols, number)
    if number == errno.EADDRNOTAVAIL or (len(found) > 1 and number == errno.EINVAL):
        places = ", ".join(f"{s.address:#x}{f' [{s.module}]' if s.module else ''}" for s in found[:4])
        return AttachError(
            f"{hook}: there are {len(found)} functions {place.name} (at {places}); name one by its address",
            hook=hook,
            errno=number,
        )
    if blacklisted(place.name):
        return AttachError(
            f"{hook}: {place.name} is on the kernel's list of functions that must not be probed "
            "(/sys/kernel/debug/kprobes/blacklist)",
            hook=hook,
            errno=number,
        )
    if number in (errno.EILSEQ, errno.EINVAL, errno.ERANGE) and place.offset:
        return AttachError(
            f"{hook}: no instruction starts there, or it is outside of the function", hook=hook, errno=number
        )
    return None


def untraceable(hook: str, name: str, number: int) -> AttachError:
    """The error for a function that ftrace has not on its list."""
    symbols = _symbols()
    if symbols is not None and not any(s.is_function for s in symbols.find(name)):
        return unknown(hook, name, symbols, number)
    return AttachError(
        f"{hook}: {name} can't be traced: it is marked notrace, or was inlined everywhere "
        "(not in available_filter_functions)",
        hook=hook,
        errno=number,
    )


def not_in_btf(hook: str, name: str, prefix: str, btf: Btf) -> AttachError:
    """The error for a target of fentry and its kin, of LSM (`prefix` "bpf_lsm_") or of an iterator
    ("bpf_iter_").
    """
    number = errno.ENOENT
    if prefix:
        from probee.btf.kinds import FUNC
        from probee.sys.tracefs import nearest

        known = [t.name.removeprefix(prefix) for t in btf.own_types(FUNC) if t.name.startswith(prefix)]
        names = nearest(name, known)
        hint = f"; did you mean {' or '.join(names)}?" if names else ""
        return AttachError(f"this kernel has no {hook} (not in its BTF){hint}", hook=hook, errno=number)
    symbols = _symbols()
    if symbols is None:
        return AttachError(f"this kernel has no {hook} (not in its BTF)", hook=hook, errno=number)
    if any(s.is_function for s in symbols.find(name)):
        return AttachError(
            f"{hook}: the kernel has {name}, but no BTF of it (the compiler changed it, or it is assembly); "
            "a kprobe may do",
            hook=hook,
            errno=number,
        )
    return unknown(hook, name, symbols, number)
