"""`verify()`: what Linux's verifier will say of a program."""

from __future__ import annotations

import gc
import platform

from probee.errors import ObjectError
from probee.verifier import checks, flowgraph, functions, older_rules
from probee.verifier.context import Context
from probee.verifier.errors import Reject, Stop
from probee.verifier.flowgraph import Graph
from probee.verifier.steps import prepare
from probee.verifier.verdict import ACCEPT, REJECT, UNSUPPORTED, Verdict
from probee.verifier.walk import Walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.btf import Btf
    from probee.verifier.program import Program

NEWEST = "6.18"


def verify(
    program: Program, *, kernel: str = "live", kernel_btf: Btf | None = None, log_level: int = 0
) -> Verdict:
    """The verdict on `program`.

    Args:
        program: instructions, maps, types, purpose.
        kernel: the Linux version whose rules count ("5.10", "6.1", "6.12", "6.18"); "live" for the running
            one.
        kernel_btf: the kernel's BTF where the program needs it (kernel functions, typed arguments).
        log_level: 1 or 2 for `Verdict.log` in the form of the kernel's log.
    """
    # What is made lives until the end, so that collecting garbage on the way costs a third and finds nothing.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _verdict(program, kernel, kernel_btf, log_level)
    finally:
        if collects:
            gc.enable()


def _verdict(program: Program, kernel: str, kernel_btf: Btf | None, log_level: int) -> Verdict:
    graph = Graph(program.insns)
    walk: Walk | None = None
    try:
        context = Context(program, graph, _version(kernel), kernel_btf)
        older_rules.check_kind(context.kernel, context.kind, context.attach)
        flowgraph.find_subprograms(graph)
        context.learn_functions()
        context.find_exception_callback()
        flowgraph.check_subprograms(graph)
        functions.check_declared(context)
        checks.check_instructions(program, context.version)
        checks.check_maps(context)
        context.find_target()
        walk = Walk(context, graph)
        if log_level:
            from probee.verifier.log import Log

            walk.log = Log(walk, log_level)
        prepare(walk)
        functions.walk_all(walk)
        if context.uneliminated >= 0 and walk.seen_insns[context.uneliminated]:
            raise Reject("invalid kernel function call not eliminated in verifier pass", context.uneliminated)
        functions.check_removed(walk)
        verdict = Verdict(ACCEPT)
    except Stop as stop:
        index = stop.index if stop.index >= 0 or walk is None else walk.index
        last = stop.message.rpartition("\n")[2]
        verdict = Verdict(REJECT if isinstance(stop, Reject) else UNSUPPORTED, last, index)
        if walk is not None and walk.log is not None:
            walk.log.verdict(stop.message)
    except ObjectError as error:
        verdict = Verdict(UNSUPPORTED, f"types that can't be read: {error}")
    if walk is not None:
        verdict.insns_processed = walk.processed
        verdict.total_states = walk.total_states
        verdict.peak_states = walk.peak_states
        verdict.stack_depth = walk.stack_depth
        verdict.probe_loads = frozenset(walk.context.probe_loads)
        verdict.path = walk.log.branches() if walk.log is not None else walk.path()
        verdict.worst_path = walk.worst_path
        verdict.kept_log = walk.log
        walk.steps.clear()  # they refer to the walk
    return verdict


def _version(kernel: str) -> str:
    if kernel != "live":
        return kernel
    release = platform.release().split("-")[0].split(".")
    if len(release) >= 2 and release[0].isdigit() and release[1].isdigit():
        return f"{release[0]}.{release[1]}"
    return NEWEST
