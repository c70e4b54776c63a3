"""Which engine runs a program: stepping, translation to Python, native code."""

from __future__ import annotations

from ..errors import ProbeeError
from .env import Cpu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .code import Code
    from .env import Env


def run(code: Code, env: Env, args: Sequence[int] = (), *, engine: str = "auto") -> int:
    """Run a program once on a CPU of its own; returns r0, unsigned. For many runs keep a `Cpu`."""
    return Cpu(env, engine=engine).run(code, *args)


def enter(cpu: Cpu, code: Code, start: int, args: Sequence[int]) -> int:
    """Run the function at slot `start` on a CPU, with its engine; returns r0."""
    engine = cpu.engine
    if engine == "step" or cpu.hooks is not None:
        from .step import execute

        return execute(cpu, code, start, args)
    if engine in ("interpret", "auto"):
        from .interpret import execute as interpret

        return interpret(cpu, code, start, args)
    raise ProbeeError(f"there is no engine {engine!r}")
