"""`@bp.global_function`: a function that the kernel verifies on its own, once, whoever calls it."""

from __future__ import annotations

from .refuse import refuse, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class GlobalFunction:
    """A function with a body of its own in the object (Linux 5.6). In Python it is called as it is.

    Its parameters are annotated: integers; structs and texts, which are passed by reference; the kernel's own
    structs, `bp.kernel["task_struct"]` (Linux 6.8). With `| None` the caller may pass None. It returns a
    number, or nothing.
    """

    __slots__ = ("__name__", "fn")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.__name__ = getattr(fn, "__name__", "")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<global function {self.__name__}>"


def global_function(fn: Callable[..., Any]) -> GlobalFunction:
    """Let the kernel verify this function on its own, and once, instead of at each call."""
    if not hasattr(fn, "__code__"):
        raise refuse(
            f"@global_function stands on a function, not on {shown(fn)}", "put it directly over a `def`"
        )
    return GlobalFunction(fn)
