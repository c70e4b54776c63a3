"""Hooks of a control group (version 2): packets, sockets, addresses, options, sysctls, devices."""

from __future__ import annotations

import errno
import os

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, Unsupported
from probee.kernel import cgroups
from probee.kernel.links.anchors import BPF_F_ID, BPF_F_LINK, BPF_F_REPLACE, Place, explain, place
from probee.kernel.links.attached import Attachment
from probee.kernel.links.base import Link
from probee.kernel.links.interfaces import programs, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable
    from probee.kernel.links.anchors import Anchor
    from probee.kernel.program import Program

_PREORDER = 64  # BPF_F_PREORDER
_MODES = {"exclusive": 0, "override": cgroups.ALLOW_OVERRIDE, "multi": cgroups.ALLOW_MULTI}
# enum bpf_prog_type -> the attach types of that type, the one of programs that don't say first
_OF_TYPE = {
    8: (0, 1),
    9: (2, 34, 12, 13),
    13: (3,),
    15: (6,),
    18: (8, 9, 10, 11, 49, 14, 15, 50, 19, 20, 51, 29, 30, 52, 31, 32, 53),
    23: (18,),
    25: (21, 22),
    29: (43,),
}
_MOST = 64


def attach(
    program: Attachable,
    cgroup: str | os.PathLike[str] | int,
    hook: str = "",
    *,
    before: Anchor = None,
    after: Anchor = None,
    first: bool = False,
    last: bool = False,
    revision: int = 0,
    preorder: bool = False,
    mode: str = "multi",
    replace: Program | None = None,
    link: bool = True,
) -> Link:
    """`Program.attach_cgroup`."""
    attach_type = _attach_type(program, hook)
    if cgroup == "":
        raise AttachError("say which cgroup to attach to, by its folder", hook="cgroup")
    path = f"descriptor {cgroup}" if isinstance(cgroup, int) else os.fspath(cgroup)
    name = f"{cgroups.HOOKS[attach_type][0]} of cgroup {path}"
    if mode not in _MODES:
        raise AttachError(f"{name}: the mode is multi, override or exclusive", hook=name)
    if link and (mode != "multi" or replace is not None):
        raise AttachError(
            f"{name}: links are always multi, and are replaced by their update(); for other modes, and for "
            "replace, pass link=False",
            hook=name,
        )
    where = place(name, before, after, first, last, revision)
    if preorder:
        where.flags |= _PREORDER
    try:
        fd = cgroups.open_cgroup(cgroup)
    except OSError as error:
        raise _not_a_cgroup(name, path, error) from None
    try:
        if not link:
            return CgroupAttachment(program, name, fd, attach_type, where, _MODES[mode], replace)
        where = _among_links(where, fd, attach_type)
        extra = where.extra if where else b""
        made = kernel_calls.kernel().link_create(program.fd, fd, attach_type, flags=where.flags, extra=extra)
        return Link(made, name)
    except OSError as error:
        raise _explain(program, name, path, fd, attach_type, _MODES[mode], where, replace, error) from None
    finally:
        os.close(fd)


class CgroupAttachment(Attachment):
    """A program of a cgroup without a link: it stays until it is taken off, or the cgroup goes."""

    __slots__ = ("_attach_type", "_cgroup", "_mode")

    what = "BPF_PROG_ATTACH"
    since = "5.7"

    def __init__(
        self,
        program: Attachable,
        hook: str,
        cgroup_fd: int,
        attach_type: int,
        where: Place,
        mode: int,
        replace: Program | None,
    ) -> None:
        super().__init__(hook, program)
        self._attach_type = attach_type
        self._mode = mode
        try:
            self._cgroup = self._keep(cgroup_fd)
            self._kernel.prog_attach(
                cgroup_fd,
                program.fd,
                attach_type,
                flags=mode | where.flags | (BPF_F_REPLACE if replace is not None else 0),
                replace_fd=replace.fd if replace is not None else 0,
                relative=where.relative,
                revision=where.revision,
            )
        except BaseException:
            self.leave()
            raise

    def _there(self) -> list[int]:
        return self._kernel.prog_query(self._cgroup, self._attach_type).prog_ids

    def _change(self, program: Program) -> None:
        multi = self._mode == cgroups.ALLOW_MULTI
        try:
            self._kernel.prog_attach(
                self._cgroup,
                program.fd,
                self._attach_type,
                flags=self._mode | (BPF_F_REPLACE if multi else 0),
                replace_fd=self._program if multi else 0,
            )
        except OSError as error:
            raise refused(self.hook, error) from None

    def _take_off(self) -> None:
        try:
            self._kernel.prog_detach(self._cgroup, self._program, self._attach_type)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # another is there, or the cgroup is gone
                raise refused(self.hook, error, "detaching from") from None


def _attach_type(program: Attachable, hook: str) -> int:
    """The attach type that `hook` names, or that the program was made for."""
    fitting = _OF_TYPE.get(program.type)
    if fitting is None:
        raise AttachError(
            f"program {program.name} is of a type that no cgroup runs", hook=f"cgroup {hook}".strip()
        )
    if not hook:
        known = program.spec.attach_type if program.section else 0
        if known in fitting and (known or program.kind == "cgroup_skb/ingress"):
            return known
        if len(fitting) == 1 or program.type == 9:
            return fitting[0]
        raise AttachError(
            f"program {program.name}: section {program.section or 'unknown'!r} doesn't say which hook of the "
            f"cgroup; pass hook= one of {', '.join(cgroups.HOOKS[number][1] for number in fitting)}",
            hook="cgroup",
        )
    for number in fitting:
        if hook in cgroups.HOOKS[number]:
            return number
    names = ", ".join(cgroups.HOOKS[number][1] for number in fitting)
    raise AttachError(
        f"program {program.name} has no cgroup hook {hook!r}; programs of its type have {names}",
        hook=f"cgroup {hook}",
    )


def _not_a_cgroup(hook: str, path: str, error: OSError) -> AttachError | PermissionDenied | Unsupported:
    number = error.errno or 0
    if number in (errno.ENOENT, errno.ENOTDIR, errno.EBADF):
        mounted = cgroups.mounts()
        where = f"cgroup2 is mounted at {mounted[0]}" if mounted else "no cgroup2 is mounted here"
        why = {
            errno.ENOENT: "there is no such folder",
            errno.ENOTDIR: "that is no folder",
        }.get(number, "that is no folder of a cgroup2 file system")
        return AttachError(f"can't attach to {path}: {why}; {where}", hook=hook, errno=number)
    return refused(hook, error)


def _explain(
    program: Attachable,
    hook: str,
    path: str,
    fd: int,
    attach_type: int,
    mode: int,
    where: Place,
    replace: Program | None,
    error: OSError,
) -> Exception:
    number = error.errno or 0

    def failed(text: str) -> AttachError:
        return AttachError(f"can't attach to {hook}: {text}", hook=hook, errno=number)

    try:
        here = kernel_calls.kernel().prog_query(fd, attach_type)
    except OSError as problem:
        if problem.errno == errno.EBADF:
            return _not_a_cgroup(hook, path, problem)
        if problem.errno == errno.EINVAL:
            from probee.isa.tables import ATTACH_TYPES

            feature = cgroups.HOOKS[attach_type][0]
            return Unsupported(
                f"{hook}: this kernel has no such hook", feature=feature, since=ATTACH_TYPES[feature][1]
            )
        return refused(hook, error)
    if number == errno.EPERM:
        conflict = _conflict(fd, here.prog_ids, here.attach_flags, mode, attach_type)
        if conflict:
            return failed(conflict)
    if number == errno.ENOENT and replace is not None:
        return failed(f"program {replace.name} is not attached there")
    if number == errno.EINVAL and program.id in here.prog_ids:
        return failed("the program is attached there already")
    if number == errno.E2BIG and len(here.prog_ids) >= _MOST:
        return failed(f"no room for another program; it has {len(here.prog_ids)}")
    if number == errno.EINVAL and where.relative and here.revision:
        return failed(
            "links go before and after links, and programs without a link before and after such programs"
        )
    if number in (errno.EINVAL, errno.E2BIG) and where and not here.revision:
        since = "6.15" if where.flags == _PREORDER and not where.revision else "6.17"
        return Unsupported(
            f"{hook}: this kernel can't order the programs of a cgroup", feature="cgroup mprog", since=since
        )
    if where:
        return explain(hook, error, fd, attach_type, where)
    return refused(hook, error)


def _among_links(where: Place, fd: int, attach_type: int) -> Place:
    """The place by the link of the program that was named: a cgroup orders links among links only."""
    if not where.relative or where.flags & BPF_F_LINK:
        return where
    kernel = kernel_calls.kernel()
    wanted = where.relative if where.flags & BPF_F_ID else kernel.prog_info(where.relative).id
    found = _link_of(wanted, os.fstat(fd).st_ino, attach_type)
    if not found:
        return where
    return Place(where.flags | BPF_F_ID | BPF_F_LINK, found, where.revision)


def _link_of(prog_id: int, cgroup_id: int, attach_type: int) -> int:
    """The id of the link that runs a program at a hook of a cgroup; 0 if none is to be seen."""
    from probee.kernel.link_info import CgroupLink
    from probee.kernel.links.every import each

    wanted = (prog_id, cgroup_id, attach_type)
    try:
        for link in each():
            if isinstance(link, CgroupLink) and (link.prog_id, link.cgroup_id, link.attach_type) == wanted:
                return int(link.id)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
    return 0


def _conflict(fd: int, here: list[int], flags: int, mode: int, attach_type: int) -> str:
    """What the modes of programs forbid, "" if nothing."""
    if here and flags & 3 != mode:
        return (
            f"{programs(here)} is attached there in mode {cgroups.MODES[flags & 3]}, "
            f"which admits no other in mode {cgroups.MODES[mode]}"
        )
    folder = os.readlink(f"/proc/self/fd/{fd}")
    while (folder := os.path.dirname(folder)) != "/":
        try:
            above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            break
        try:
            query = kernel_calls.kernel().prog_query(above, attach_type)
        except OSError:
            break  # out of the file system
        finally:
            os.close(above)
        if query.prog_ids:
            if query.attach_flags & 3:
                break
            return (
                f"{programs(query.prog_ids)} is attached to its parent {folder} in mode exclusive, "
                "which admits none below"
            )
    return ""
