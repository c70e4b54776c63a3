"""`probee prog dump`: the code of loaded programs."""

from __future__ import annotations

from typing import Any

from ..errors import ProbeeError
from ..sys.details import ProgDetails
from . import jited, seek, xlated
from .grammar import Words, Wrong
from .output import Output
from .prog_show import Scene, describe


def dump(words: Words, output: Output) -> int:
    what = words.take("xlated", "jited") or "xlated"
    handles = seek.programs(words)
    try:
        how = {"opcodes": False, "linum": False, "visual": False}
        path = ""
        while words:
            option = words.one_of("file", "opcodes", "linum", "visual")
            if option == "file":
                path = words.next("FILE")
            else:
                how[option] = True
        if how["visual"] and (what == "jited" or output.json):
            raise Wrong("a graph is of `dump xlated`, and has no JSON")
        if path and len(handles) > 1:
            raise ProbeeError(f"{len(handles)} programs match; a file takes one")
        if len(handles) == 1:
            _dump(handles[0], what, path, output, how)
        elif output.json:
            output.emit([_described(handle, what, how) for handle in handles])
        else:
            for n, handle in enumerate(handles):
                info = handle.program()
                print(f"{chr(10) if n else ''}program {info.id}  {seek.prog_name(handle, info)}  {info.tag}")
                _dump(handle, what, "", output, how)
    finally:
        for handle in handles:
            handle.close()
    return 0


def _code(handle: seek.Handle, what: str) -> ProgDetails:
    info = handle.program(*(xlated.WANTED if what == "xlated" else jited.WANTED))
    if not (info.xlated if what == "xlated" else info.jited):
        if what == "jited" and not info.jited_size:
            raise ProbeeError(f"program {info.id} is not JITed; see /proc/sys/net/core/bpf_jit_enable")
        raise ProbeeError(
            f"the kernel does not show the code of program {info.id}: that needs CAP_BPF and CAP_SYSLOG, "
            "and /proc/sys/kernel/kptr_restrict other than 2"
        )
    return info


def _dump(handle: seek.Handle, what: str, path: str, output: Output, how: dict[str, bool]) -> None:
    info = _code(handle, what)
    if path:
        data = info.xlated if what == "xlated" else info.jited
        with open(path, "wb") as file:
            file.write(data)
        output.done(f"{path}: {len(data)} bytes")
    elif what == "xlated":
        xlated.dump(info, output, Scene(output), **how)
    else:
        jited.dump(info, output, opcodes=how["opcodes"], linum=how["linum"])


def _described(handle: seek.Handle, what: str, how: dict[str, bool]) -> dict[str, Any]:
    """A program with its code, where several match."""
    info = _code(handle, what)
    facts = describe(handle, Scene(Output()))
    names = ("id", "type", "name", "tag", "gpl_compatible")
    head: dict[str, Any] = {name: facts[name] for name in names if name in facts}
    if what == "xlated":
        insns: Any = xlated.as_json(xlated.Listing(info), opcodes=how["opcodes"], linum=how["linum"])
    else:
        insns = jited.as_json(info, opcodes=how["opcodes"], linum=how["linum"])
    return {**head, "insns": insns}
