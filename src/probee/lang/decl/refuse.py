"""How a declaration is refused: at the line of the user that makes it."""

from __future__ import annotations

import sys

from ...errors import CompileError, ProbeeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType


class NotAttached(ProbeeError, AttributeError):
    """A map or global was used from Python while no session holds it."""


def user_frame() -> FrameType:
    """The innermost frame outside probee: the line that declares something."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _own(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame


def _own(module: str) -> bool:
    """The protocols' headers are declared as users declare theirs."""
    return module.startswith("probee.lang") and module != "probee.lang.packets.protocols"


def shown(obj: object) -> str:
    """What stands where something else should, without its address."""
    if isinstance(obj, type):
        return f"the class {obj.__name__}"
    name = getattr(obj, "__name__", "")
    return f"the function {name}" if callable(obj) and name else repr(obj)


def refuse(message: str, advice: str = "") -> CompileError:
    """The error for a declaration, pointing at the line of the user that makes it."""
    import linecache

    frame = user_frame()
    file, line = frame.f_code.co_filename, frame.f_lineno
    text = linecache.getline(file, line, frame.f_globals)
    column = len(text) - len(text.lstrip())
    return CompileError(
        message,
        file=file,
        line=line,
        column=column,
        end_column=len(text.rstrip()),
        source=text,
        advice=advice,
    )
