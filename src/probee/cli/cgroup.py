"""`probee cgroup`: programs of control groups, as `bpftool cgroup`."""

from __future__ import annotations

import os
from typing import Any

from .. import sys as kernel_calls
from ..errors import ProbeeError
from ..kernel import cgroups
from ..kernel.program import Program
from ..sys import caps
from . import seek
from .grammar import Words, Wrong, command
from .output import Output

HELP = """
usage: probee cgroup show|list CGROUP [effective]
       probee cgroup tree [CGROUP] [effective]
       probee cgroup attach CGROUP ATTACH_TYPE PROG [multi | override]
       probee cgroup detach CGROUP ATTACH_TYPE PROG

The programs of a control group (version 2), of all below one, or of all there are. With `effective` also
those that its parents impose. What `attach` attaches stays until it is detached, or the group is gone.
Words and JSON (-j) are those of bpftool; words may be abbreviated.

  CGROUP       a folder, absolute or below the mount of cgroup2
  PROG         id N | name NAME | tag TAG | pinned PATH
  ATTACH_TYPE  {types}

examples:
  probee cgroup tree
  probee cgroup show system.slice effective
  probee cgroup attach system.slice egress name count_bytes multi
  probee cgroup detach system.slice egress name count_bytes
"""
_PREFIXABLE = {short: number for number, (_, short) in cgroups.HOOKS.items() if not short.endswith("unix")}


def main(argv: list[str]) -> int:
    verbs = {"show": show, "list": show, "tree": tree, "attach": attach, "detach": detach}
    return command("cgroup", verbs, HELP.format(types=_types()), argv)


def _types() -> str:
    lines, line = [], ""
    for name in (short for _, short in cgroups.HOOKS.values()):
        if len(line) + len(name) > 80:
            lines.append(line)
            line = ""
        line += name + " | "
    return ("\n" + " " * 15).join([*lines, line.removesuffix(" | ")])


class _Folder:
    """An open cgroup."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self.fd = cgroups.open_cgroup(path)
        except OSError as error:
            mounted = cgroups.mounts()
            where = f"cgroup2 is mounted at {mounted[0]}" if mounted else "no cgroup2 is mounted here"
            raise ProbeeError(f"can't open cgroup {path}: {error.strerror}; {where}") from None

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)


def show(words: Words, output: Output) -> int:
    path = words.next("CGROUP")
    effective = _effective(words)
    with _Folder(path) as folder:
        try:
            found = cgroups.attached(folder.fd, effective=effective)
        except OSError as error:
            raise _refused(path, error) from None
    facts = [_facts(one, effective) for one in found]
    if output.json:
        output.emit(facts)
        return 0
    output.table(_heads(effective), [_row(one) for one in facts], empty=f"{path} has no programs")
    return 0


def tree(words: Words, output: Output) -> int:
    root = "" if not words or words.peek() in "effective" else words.next("CGROUP")
    effective = _effective(words)
    if not root:
        mounted = cgroups.mounts()
        if not mounted:
            raise ProbeeError("cgroup2 is not mounted here")
        root = mounted[0]
    else:
        with _Folder(root) as folder:
            if not os.path.isdir(root):
                root = os.readlink(f"/proc/self/fd/{folder.fd}")
    try:
        found = [
            (path, [_facts(one, effective) for one in programs])
            for path, programs in cgroups.tree(root, effective=effective)
        ]
    except OSError as error:
        raise _refused(root, error) from None
    if output.json:
        output.emit([{"cgroup": path, "programs": facts} for path, facts in found])
        return 0
    rows = [(path if not at else "", *_row(one)) for path, facts in found for at, one in enumerate(facts)]
    output.table(("CGROUP", *_heads(effective)), rows, empty=f"no cgroup below {root} has programs")
    return 0


def _effective(words: Words) -> bool:
    effective = bool(words.take("effective"))
    words.end()
    return effective


def _refused(path: str, error: OSError) -> ProbeeError:
    if error.errno in (1, 13):
        return caps.denied(f"asking for the programs of {path}", caps.CAP_NET_ADMIN, error=error.errno)
    if error.errno == 9:
        return ProbeeError(f"{path} is no folder of a cgroup2 file system")
    return ProbeeError(f"can't ask for the programs of {path}: {os.strerror(error.errno or 0)}")


def _facts(one: cgroups.CgroupProgram, effective: bool) -> dict[str, Any]:
    """A program in bpftool's JSON."""
    facts: dict[str, Any] = {"id": one.prog_id, "attach_type": one.hook}
    if not effective:
        known = {0: "", cgroups.ALLOW_MULTI: "multi", cgroups.ALLOW_OVERRIDE: "override"}
        facts["attach_flags"] = known.get(one.flags, f"unknown({one.flags:x})")
    try:
        with seek.open_id(seek.PROGRAM, one.prog_id) as handle:
            info = handle.program()
            facts["name"] = seek.prog_name(handle, info)
    except ProbeeError:
        return facts  # it went meanwhile, or may not be opened
    target = ""  # as bpftool has it for programs without one
    if info.attach_btf_id:
        target = seek.btf_by_id(info.attach_btf_obj_id).type(info.attach_btf_id).name
    facts["attach_btf_name"] = target
    facts["attach_btf_obj_id"] = info.attach_btf_obj_id
    facts["attach_btf_id"] = info.attach_btf_id
    return facts


def _heads(effective: bool) -> tuple[str, ...]:
    return (">PROG", "ATTACH TYPE", "FLAGS", "NAME", "FUNCTION")


def _row(facts: dict[str, Any]) -> tuple[Any, ...]:
    return (
        facts["id"],
        facts["attach_type"],
        facts.get("attach_flags", ""),
        facts.get("name", ""),
        facts.get("attach_btf_name", ""),
    )


def _hook(words: Words) -> int:
    word = words.next("ATTACH_TYPE")
    for number, names in cgroups.HOOKS.items():
        if word in names:
            return number
    near = [number for short, number in _PREFIXABLE.items() if short.startswith(word)]
    if not near:
        raise Wrong(f"{word!r} is no attach type of cgroups")
    return near[0]


def attach(words: Words, output: Output) -> int:
    path = words.next("CGROUP")
    hook = _hook(words)
    with _Folder(path) as folder, seek.program(words) as handle:
        modes = set()
        while words:
            modes.add(words.one_of("multi", "override"))
        if len(modes) > 1:
            raise Wrong("multi or override, not both")
        mode = modes.pop() if modes else "exclusive"
        with Program.open(fd=handle.fd) as program:
            name = cgroups.HOOKS[hook][0]
            link = program.attach_cgroup(folder.fd, name, mode=mode, link=False)
            link.leave()  # type: ignore[attr-defined]
    output.done(f"attached to {name} of {path}")
    return 0


def detach(words: Words, output: Output) -> int:
    path = words.next("CGROUP")
    hook = _hook(words)
    name = cgroups.HOOKS[hook][0]
    with _Folder(path) as folder, seek.program(words) as handle:
        words.end()
        try:
            kernel_calls.kernel().prog_detach(folder.fd, handle.fd, hook)
        except OSError as error:
            if error.errno == 2:
                raise ProbeeError(f"the program is not attached, or by a link, to {name} of {path}") from None
            raise _refused(path, error) from None
    output.done(f"detached from {name} of {path}")
    return 0
