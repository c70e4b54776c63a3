"""Whose kernel types to compile against: a file's, the running kernel's, or those that come with probee."""

from __future__ import annotations

import os
import sys

from probee.btf.kinds import STRUCT
from probee.btf.live import kernel_btf, open_btf
from probee.btf.parser import Btf
from probee.errors import ObjectError, ProbeeError, Unsupported

VARIABLE = "PROBEE_BTF"  # "shipped", or the path of a BTF file: instead of the running kernel's
SHIPPED, LIVE = "shipped", "live"


def choose(what: str | os.PathLike[str] | Btf | None = None) -> tuple[Btf, str]:
    """Kernel types, and a word that tells these from others: "live" for the running kernel's.

    `what` is a path, "shipped", or types; without it the variable PROBEE_BTF says it, and without that it is
    the running kernel's if they can be read, else those that come with probee. Raises ProbeeError for a file
    that can't be read or is no BTF.
    """
    if isinstance(what, Btf):
        return what, f"object {len(what)} {id(what)}"
    wanted = os.fspath(what) if what is not None else os.environ.get(VARIABLE, "")
    if wanted == SHIPPED or (not wanted and sys.platform != "linux"):
        return _shipped(), SHIPPED
    if wanted:
        try:
            found = open_btf(wanted)
            stat = os.stat(wanted)
        except (OSError, ObjectError) as error:
            raise ProbeeError(f"can't take kernel types from {wanted}: {error}") from None
        return found, f"{os.path.abspath(wanted)} {stat.st_size} {stat.st_mtime_ns}"
    try:
        return kernel_btf(), LIVE
    except (Unsupported, ObjectError, OSError):
        return _shipped(), SHIPPED


def _shipped() -> Btf:
    from probee.btf.shipped import shipped_btf

    return shipped_btf()


def arch_of(btf: Btf) -> str:
    """The architecture whose registers its `struct pt_regs` holds, "" if there is none."""
    id = btf.find("pt_regs", STRUCT)
    if id is None:
        return ""
    names = {m.name for m in btf.type(id).members}
    return "x86_64" if "orig_ax" in names else "aarch64" if "user_regs" in names or "sp" in names else ""


__all__ = ["LIVE", "SHIPPED", "VARIABLE", "arch_of", "choose"]
