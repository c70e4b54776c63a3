"""How a kernel version computes with numbers: one `Numbers` for each generation of rules.

What Linux 6.18 does is in `scalars`, `arithmetic` and `branches`; what differed before is in `older_numbers`.
"""

from __future__ import annotations

from functools import cache

from probee.verifier import arithmetic, branches, scalars
from probee.verifier.branches import Sides
from probee.verifier.scalars import Num

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Numbers:
    """The operations of one generation.

    `apply(op, is32, a, b)`, `taken(op, is32, a, b)` and `sides(op, is32, a, b)` are as in `arithmetic` and
    `branches`, `sync` and `truncate` as in `scalars`, `add_fields` is a sum whose bounds don't inform each
    other yet. `swaps`: swapped bytes are followed. `negates`: what is negated is. `forks`: 0 or -1 is walked
    as both. `sane`: bounds that contradict each other are given up.
    """

    __slots__ = (
        "add_fields",
        "apply",
        "forks",
        "negates",
        "sane",
        "sides",
        "swaps",
        "sync",
        "taken",
        "truncate",
    )

    def __init__(self) -> None:
        self.apply: Callable[[int, bool, Num, Num], Num] = arithmetic.apply
        self.add_fields: Callable[[Num, Num], tuple[int, ...]] = arithmetic.add_fields
        self.taken: Callable[[int, bool, Num, Num], int] = branches.taken
        self.sides: Callable[[int, bool, Num, Num], Sides] = branches.sides
        self.sync: Callable[..., Num] = scalars.sync
        self.truncate: Callable[[Num, int], Num] = scalars.truncate
        self.swaps = True
        self.negates = True
        self.forks = True
        self.sane = True


NEWEST = Numbers()


@cache
def _older(generation: str) -> Numbers:
    from probee.verifier import older_numbers

    made = Numbers()
    made.swaps = made.negates = False
    older_numbers.fill(made, generation)
    return made


def numbers_of(version: tuple[int, ...]) -> Numbers:
    """Those of Linux `version`, such as (6, 1)."""
    if version >= (6, 17):
        return NEWEST
    if version >= (6, 8):
        return _older("6.12")
    return _older("5.10" if version < (5, 14) else "6.1")
