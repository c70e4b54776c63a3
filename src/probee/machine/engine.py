"""Which engine runs a program: stepping, translation to Python, native code."""

from __future__ import annotations

from ..errors import ProbeeError
from .env import Cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .code import Code
    from .env import Env

HOT = 2_000_000  # instructions that a program takes in the interpreter before it gets native code
_RUN = 20  # instructions that a run counts for at least


def run(code: Code, env: Env, args: Sequence[int] = (), *, engine: str = "auto") -> int:
    """Run a program once on a CPU of its own; returns r0, unsigned. For many runs keep a `Cpu`."""
    return Cpu(env, engine=engine).run(code, *args)


def enter(cpu: Cpu, code: Code, start: int, args: Sequence[int]) -> int:
    """Run the function at slot `start` on a CPU, with its engine; returns r0."""
    if cpu.native is not None and cpu.native.level:
        found: int = cpu.native.nested(lambda: _enter(cpu, code, start, args))
        return found
    return _enter(cpu, code, start, args)


def _enter(cpu: Cpu, code: Code, start: int, args: Sequence[int]) -> int:
    engine = cpu.engine
    if engine == "step" or cpu.hooks is not None:
        from .step import execute

        return execute(cpu, code, start, args)
    if engine == "auto":
        return _choose(cpu, code, start, args)
    if engine == "interpret":
        from .interpret import execute as interpret

        return interpret(cpu, code, start, args)
    if engine in ("jit-checked", "jit-verified"):
        from .native import execute as native

        return native(cpu, code, start, args, engine)
    raise ProbeeError(f"there is no engine {engine!r}")


def _choose(cpu: Cpu, code: Code, start: int, args: Sequence[int]) -> int:
    """Native code for programs that are hot, where there is any; the interpreter otherwise."""
    if code.heat >= HOT:
        from .native import execute as native

        return native(cpu, code, start, args, "jit")
    from .interpret import execute as interpret

    before = cpu.left
    try:
        return interpret(cpu, code, start, args)
    finally:
        code.heat += before - cpu.left + _RUN
        if code.heat >= HOT and not _warm(cpu, code):
            code.heat = -(1 << 62)


def _warm(cpu: Cpu, code: Code) -> bool:
    """Have native code made. Whether there is any now."""
    from ..errors import Unsupported
    from .native import mode_of, native_of

    try:
        native_of(code, mode_of(cpu, code, "jit"), cpu.env, hot=True)
    except Unsupported:
        return False
    return True
