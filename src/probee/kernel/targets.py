"""BTF targets: which function, tracepoint or hook of the kernel a program is verified against."""

from __future__ import annotations

import errno

from probee.btf.kinds import FUNC, TYPEDEF
from probee.errors import AttachError, LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf.parser import Btf
    from probee.obj.spec import ProgramSpec

# Kind of section -> what the kernel's BTF calls its targets.
_PREFIXES = {
    "tp_btf": ("btf_trace_", TYPEDEF),
    "lsm": ("bpf_lsm_", FUNC),
    "lsm.s": ("bpf_lsm_", FUNC),
    "lsm_cgroup": ("bpf_lsm_", FUNC),
    "iter": ("bpf_iter_", FUNC),
    "iter.s": ("bpf_iter_", FUNC),
}


def attach_btf_id(spec: ProgramSpec, target: Btf) -> int:
    """The id, in the kernel's BTF, of what a program of this section attaches to.

    Raises `AttachError` with the nearest names if the kernel has no such tracepoint or function.
    """
    if not spec.attach_to:
        raise LoadError(f"section {spec.section!r} of program {spec.name} does not say what to attach to")
    prefix, kind = _PREFIXES.get(spec.section_kind, ("", FUNC))
    found = target.find(prefix + spec.attach_to, kind)
    if found is not None:
        return found
    hook = f"{spec.section_kind} {spec.attach_to}"
    if spec.section_kind == "tp_btf":
        from probee.kernel.links.raw_tp import unknown

        raise unknown(hook, spec.attach_to)
    raise AttachError(f"this kernel has no {hook} (not in its BTF)", hook=hook, errno=errno.ENOENT)
