"""Several onlookers on one CPU."""

from __future__ import annotations

from collections.abc import Sequence

from ..machine.env import Cpu
from ..machine.ops import Op
from ..machine.step import Execution, Hooks


class Several(Hooks):
    """Hands everything to each of `hooks`; the first number given instead of a load or a call counts."""

    def __init__(self, hooks: list[Hooks]) -> None:
        self.hooks = hooks

    def before(self, execution: Execution) -> None:
        for one in self.hooks:
            one.before(execution)

    def loading(self, execution: Execution, address: int, size: int) -> int | None:
        for one in self.hooks:
            given = one.loading(execution, address, size)
            if given is not None:
                return given
        return None

    def loaded(self, execution: Execution, address: int, size: int, value: int) -> None:
        for one in self.hooks:
            one.loaded(execution, address, size, value)

    def storing(self, execution: Execution, address: int, size: int, value: int) -> None:
        for one in self.hooks:
            one.storing(execution, address, size, value)

    def branch(self, execution: Execution, op: Op, taken: bool) -> None:
        for one in self.hooks:
            one.branch(execution, op, taken)

    def calling(self, execution: Execution, op: Op, arguments: Sequence[int]) -> int | None:
        result = None
        for one in self.hooks:
            given = one.calling(execution, op, arguments)
            result = given if result is None else result
        return result

    def called(self, execution: Execution, op: Op, result: int) -> None:
        for one in self.hooks:
            one.called(execution, op, result)

    def entered(self, execution: Execution) -> None:
        for one in self.hooks:
            one.entered(execution)

    def left(self, execution: Execution, result: int) -> None:
        for one in self.hooks:
            one.left(execution, result)


def add(cpu: Cpu, hooks: Hooks) -> None:
    """Let one more look on."""
    have = cpu.hooks
    if have is None:
        cpu.hooks = hooks
    elif isinstance(have, Several):
        have.hooks.append(hooks)
    else:
        cpu.hooks = Several([have, hooks])


def remove(cpu: Cpu, hooks: Hooks) -> None:
    """Let one look on no more."""
    have = cpu.hooks
    if have is hooks:
        cpu.hooks = None
    elif isinstance(have, Several) and hooks in have.hooks:
        have.hooks.remove(hooks)
        if len(have.hooks) == 1:
            cpu.hooks = have.hooks[0]
