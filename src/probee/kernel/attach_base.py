"""What the attach methods of `Program`, kept in one file for each family of hooks, know of a program."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from probee.obj.spec import ProgramSpec


class Attachable:
    """Base of the mixins `TracingHooks`, `UserHooks` and `NetworkHooks`.

    Each has, beside its typed methods, a table from the kind of section to the method that attaches it:
    `method(target, **options)`, where `target` is what follows the `/` in the section's name, or "".
    """

    __slots__ = ()

    if TYPE_CHECKING:
        maps: dict[str, Any]
        name: str
        type: int  # enum bpf_prog_type

        @property
        def fd(self) -> int: ...

        @property
        def id(self) -> int: ...

        @property
        def kind(self) -> str: ...

        @property
        def section(self) -> str: ...

        @property
        def spec(self) -> ProgramSpec: ...
