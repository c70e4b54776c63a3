"""Steps of calls to kernel functions."""

from __future__ import annotations

from probee.verifier.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from probee.isa.insn import Insn
    from probee.verifier.context import Context
    from probee.verifier.walk import Walk

    Step = Callable[[], int]


def name_of(context: Context, index: int) -> str:
    """The function's name, "" where it isn't known."""
    return context.program.kfuncs.get(index, "")


def is_iter_next(context: Context, index: int) -> bool:
    name = name_of(context, index)
    return name.startswith("bpf_iter_") and name.endswith("_next")


def callback_kind(context: Context, index: int) -> str:
    """Whether the function calls back, and when: "sync", "async" or ""."""
    name = name_of(context, index)
    if name in ("bpf_rbtree_add_impl", "bpf_rbtree_add"):
        return "sync"
    if name.startswith(("bpf_wq_set_callback", "bpf_task_work_schedule")):
        return "async"
    return ""


def effects(context: Context, index: int) -> tuple[bool, bool]:
    """(may move the packet, may sleep)."""
    return False, False


def allowed_under_lock(context: Context, index: int) -> bool:
    return False


def make(w: Walk, index: int, insn: Insn) -> Step:
    def step() -> int:
        raise Unsupported(f"kernel function {name_of(w.context, index) or insn.imm}")

    return step
