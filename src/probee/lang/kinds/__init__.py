"""Kinds of programs: their decorators, contexts, results, and what their packets allow."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..decl import ProgramDecl
    from ..hooks import Hook
    from ..ktypes import KernelTypes


def hook_of(decl: ProgramDecl, ktypes: KernelTypes) -> Hook:
    """The hook of a declaration whose kind is in this package."""
    from . import network, struct_ops, table, tracing

    if decl.kind == "freplace":
        return (network.Replacement if decl.args[1] else network.FunctionReplacement)(decl, ktypes)
    if table.find(str(decl.args[0])) is not None:
        return network.NetHook(decl, ktypes)
    hooks: dict[str, type[Hook]] = {
        "fentry": tracing.FunctionHook,
        "fexit": tracing.FunctionHook,
        "fmod_ret": tracing.FunctionHook,
        "lsm": tracing.FunctionHook,
        "lsm_cgroup": tracing.FunctionHook,
        "iter": tracing.IterHook,
        "raw_tracepoint_writable": tracing.WritableHook,
        "netfilter": tracing.NetfilterHook,
        "struct_ops": struct_ops.StructOpsHook,
        "syscall": tracing.SyscallHook,
        "lirc_mode2": tracing.LircHook,
    }
    return hooks.get(decl.kind, tracing.KprobeHook)(decl, ktypes)
