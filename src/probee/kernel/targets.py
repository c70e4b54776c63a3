"""BTF targets: which function, tracepoint or hook a program is verified against.

It is one of the kernel (`fentry/do_exit`), of a module (`fentry/nf_tables:nft_do_chain`, or without the
module's name), or a function of another BPF program.
"""

from __future__ import annotations

import errno

from probee.btf.kinds import FUNC, TYPEDEF
from probee.errors import AttachError, LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.btf.parser import Btf
    from probee.kernel.modules import Modules
    from probee.obj.spec import ProgramSpec
    from probee.sys.bpf import ProgAttr

# enum bpf_attach_type -> what the kernel's BTF calls its targets.
_RAW_TP, _LSM_MAC, _ITER, _LSM_CGROUP = 23, 27, 28, 43
_PREFIXES = {
    _RAW_TP: ("btf_trace_", TYPEDEF),
    _LSM_MAC: ("bpf_lsm_", FUNC),
    _LSM_CGROUP: ("bpf_lsm_", FUNC),
    _ITER: ("bpf_iter_", FUNC),
}
_EXT = 28  # enum bpf_prog_type


def aim(attr: ProgAttr, spec: ProgramSpec, target: Callable[[], Btf], modules: Modules) -> None:
    """Set the target of a program that is loaded for one.

    Raises `LoadError` if the program does not say what to attach to, `AttachError` with the nearest names if
    there is no such tracepoint or function.
    """
    if not spec.attach_to:
        raise LoadError(
            f"section {spec.section!r} of program {spec.name} does not say what to attach to: set attach_to"
        )
    if spec.target is not None or spec.prog_type == _EXT:
        if spec.target is None:
            raise LoadError(
                f"program {spec.name} needs a BPF program to attach to; set its target to a loaded program"
            )
        attr.attach_prog_fd = spec.target if isinstance(spec.target, int) else spec.target.fd
        attr.attach_btf_id = _function_of(attr.attach_prog_fd, spec)
        return
    attr.attach_btf_id, attr.attach_btf_obj_fd = _in_kernel(spec, target, modules)


def _in_kernel(spec: ProgramSpec, target: Callable[[], Btf], modules: Modules) -> tuple[int, int]:
    """(id, descriptor of the module's BTF or 0) of the target."""
    prefix, kind = _PREFIXES.get(spec.attach_type, ("", FUNC))
    module, colon, name = spec.attach_to.partition(":")
    if not colon:
        module, name = "", spec.attach_to
    if module in ("", "vmlinux"):
        found = target().find(prefix + name, kind)
        if found is not None:
            return found, 0
    for one in modules:
        if module in ("", one.name):
            found = one.find(prefix + name, kind)
            if found is not None:
                return found, one.fd
    hook = f"{spec.section_kind} {spec.attach_to}"
    if module not in ("", "vmlinux"):
        what = f"has no {name} in its BTF" if modules.named(module) else "is not loaded, or has no BTF"
        raise AttachError(f"{hook}: module {module} {what}", hook=hook, errno=errno.ENOENT)
    if spec.attach_type == _RAW_TP:
        from probee.kernel.links.raw_tp import unknown

        raise unknown(hook, name)
    from probee.kernel.links.functions import not_in_btf

    raise not_in_btf(hook, name, prefix, target())


def module_of(spec: ProgramSpec, modules: Modules) -> int:
    """The descriptor of the module's BTF that a program for many functions names (`MODULE:PATTERN`), or 0."""
    name, colon, _ = spec.attach_to.partition(":")
    if not colon:
        return 0
    found = modules.named(name)
    if found is None:
        raise LoadError(f"program {spec.name}: there is no module {name} with BTF")
    return found.fd


def _function_of(prog_fd: int, spec: ProgramSpec) -> int:
    """The id of the function `spec` is for, in the BTF of a loaded BPF program."""
    from probee import sys as kernel_calls
    from probee.btf.parser import Btf
    from probee.sys.bpf import BTF_GET_FD_BY_ID
    from probee.sys.details import btf_details

    kernel = kernel_calls.kernel()
    facts = kernel.prog_info(prog_fd)
    if not facts.btf_id:
        raise LoadError(f"program {spec.name}: its target {facts.name} has no BTF")
    fd = kernel.fd_by_id(BTF_GET_FD_BY_ID, facts.btf_id)
    try:
        btf = Btf.parse(btf_details(kernel, fd, data=True).data)
    finally:
        kernel.close(fd)
    found = btf.find(spec.attach_to, FUNC)
    if found is None:
        raise LoadError(f"program {spec.name}: its target {facts.name} has no function {spec.attach_to}")
    return found
