"""Every program of an object by itself: what the kernel says of each, with nothing attached.

What all of them need is made once. Where that fails (a map, a missing kernel symbol), it is the verdict on
all, as it is with libbpf; a program that is refused stops no other.
"""

from __future__ import annotations

from probee.errors import ProbeeError
from probee.isa.tables import PROG_TYPES, name_of
from probee.kernel.load import Loader
from probee.kernel.objects import open_object, types_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from typing import Any

    from probee.btf.parser import Btf
    from probee.kernel.objects import Source
    from probee.obj.spec import ProgramSpec


class Verdict:
    """What became of one program. `error` is None if it was loaded; then `tag` and `insns` are set.

    `insns` is the number of instructions handed to the kernel, subprograms included.
    """

    __slots__ = ("error", "insns", "log", "name", "section", "tag", "type")

    def __init__(self, spec: ProgramSpec) -> None:
        self.name = spec.name
        self.section = spec.section
        self.type = name_of(PROG_TYPES, spec.prog_type) if spec.prog_type else "unspec"
        self.tag = ""
        self.insns = 0
        self.log = ""
        self.error: Exception | None = None

    def __repr__(self) -> str:
        return f"<verdict on {self.name}: {self.error or self.tag}>"

    def as_dict(self) -> dict[str, Any]:
        """What `probee prog load --all -j` prints of it."""
        if self.error is None:
            return {
                "name": self.name,
                "section": self.section,
                "type": self.type,
                "tag": self.tag,
                "insns": self.insns,
            }
        return {
            "name": self.name,
            "section": self.section,
            "error": type(self.error).__name__,
            "message": str(self.error),
        }


def load_each(
    source: Source,
    *,
    btf: Btf | str | os.PathLike[str] | None = None,
    lenient: bool = False,
    sections: Mapping[str, str] | None = None,
    values: Mapping[str, Any] | None = None,
    kconfig: str = "",
    token: str | None = None,
) -> list[Verdict]:
    """Load each program of an object on its own terms, also those that are not loaded by themselves.

    Nothing stays loaded. Options are those of `probee.load`. Raises ObjectError for bytes that are no object,
    OSError for a file that can't be read.
    """
    spec = open_object(source, lenient=lenient, sections=sections)
    verdicts = [Verdict(program) for program in spec.programs.values()]
    try:
        loader = Loader(spec)
    except ProbeeError as error:  # the other byte order
        return _all_fail(verdicts, error)
    loader.core_btf = types_from(btf)
    loader.kconfig = kconfig
    loader.token_path = token
    loader.pin_root = None  # a look at an object leaves nothing behind
    try:
        try:
            loader.prepare(values or {})
        except (ProbeeError, OSError) as error:
            return _all_fail(verdicts, error)
        for verdict, program in zip(verdicts, spec.programs.values(), strict=True):
            try:
                with loader.load_program(program) as live:
                    verdict.tag = live.tag
                    verdict.insns = len(program.link().insns) // 8
            except (ProbeeError, OSError) as error:
                verdict.error = error
                verdict.log = getattr(error, "log", "")
    finally:
        loader.undo()
        loader.finish()
    return verdicts


def _all_fail(verdicts: list[Verdict], error: Exception) -> list[Verdict]:
    for verdict in verdicts:
        verdict.error = error
    return verdicts
