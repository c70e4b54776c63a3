"""XDP: at the driver of a network interface, by a BPF link, or by route netlink where a link can't be."""

from __future__ import annotations

import errno
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, ProbeeError, Unsupported
from probee.kernel.links.attached import Attachment
from probee.kernel.links.base import Link
from probee.kernel.links.interfaces import programs, refused, resolve
from probee.kernel.links.namespaces import inside, open_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable
    from probee.kernel.program import Program

_XDP = 37  # enum bpf_attach_type
_XDP_TYPE = 6  # enum bpf_prog_type
_DEVMAP, _CPUMAP = 33, 35
_UPDATE_IF_NOEXIST, _REPLACE = 1, 16  # XDP_FLAGS_…
MODES = {"": 0, "generic": 2, "skb": 2, "native": 4, "driver": 4, "drv": 4, "offload": 8, "hw": 8}
_MODE_NAMES = {0: "", 2: "generic", 4: "native", 8: "offload"}
_IFLA_XDP, _FD, _FLAGS, _EXPECTED_FD = 43, 1, 3, 8
_IFINFO = Struct("=BxHiII")
_INT = Struct("=i")


def attach(
    program: Attachable,
    interface: str | int,
    *,
    mode: str = "",
    replace: Program | bool = False,
    link: bool | None = None,
) -> Link:
    """`Program.attach_xdp`."""
    index, name = resolve(interface)
    if mode not in MODES:
        raise AttachError(f"xdp mode {mode!r}: expected generic, native or offload", hook=f"xdp {name}")
    flags = MODES[mode]
    hook = f"xdp {name}{f' ({_MODE_NAMES[flags]})' if flags else ''}"
    if replace and link:
        raise AttachError(
            f"{hook}: a BPF link can't replace a program that is attached without one; leave out link=True",
            hook=hook,
        )
    if replace is False and link is not False:
        try:
            fd = kernel_calls.kernel().link_create(program.fd, index, _XDP, flags=flags)
        except OSError as error:
            # A kernel or driver without links takes netlink, and netlink explains what an errno doesn't.
            if link or error.errno in (errno.EPERM, errno.EACCES, errno.EBUSY, errno.EEXIST, errno.ENODEV):
                raise _explain(program, hook, index, flags, error) from None
        else:
            return Link(fd, hook)
    return NetlinkXdp(program, hook, index, flags, replace)


class NetlinkXdp(Attachment):
    """XDP attached by route netlink: it stays until it is taken off, or the interface goes."""

    __slots__ = ("_flags", "_index", "_namespace")

    what = "route netlink"
    since = "5.9"

    def __init__(
        self, program: Attachable, hook: str, index: int, flags: int, replace: Program | bool
    ) -> None:
        super().__init__(hook, program)
        self._index = index
        self._flags = flags
        try:
            self._namespace = open_namespace()
            self._own.append(self._namespace)
            if replace is True:
                _set(index, program.fd, flags)
            elif replace is False:
                _set(index, program.fd, flags | _UPDATE_IF_NOEXIST)
            else:
                _set(index, program.fd, flags | _REPLACE, replace.fd)
        except OSError as error:
            self.leave()
            raise _explain(program, hook, index, flags, error, replace) from None

    def _there(self) -> list[int]:
        from probee.kernel.network import xdp_of

        return [id for _, id in inside(self._namespace, lambda: xdp_of(self._index))]

    def _change(self, program: Program) -> None:
        flags = self._flags | _REPLACE
        try:
            inside(self._namespace, lambda: _set(self._index, program.fd, flags, self._program))
        except OSError as error:
            raise _explain(program, self.hook, self._index, self._flags, error, True) from None

    def _take_off(self) -> None:
        try:
            inside(self._namespace, lambda: _set(self._index, -1, self._flags | _REPLACE, self._program))
        except OSError as error:
            if error.errno not in (errno.ENODEV, errno.EEXIST):  # the interface, or the program, is gone
                raise refused(self.hook, error, "detaching from") from None


def detach(interface: str | int, mode: str = "") -> None:
    """Take whatever program was attached without a link off an interface (`bpftool net detach`)."""
    index, name = resolve(interface)
    hook = f"xdp {name}"
    try:
        _set(index, -1, MODES[mode])
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise AttachError(
                f"{hook}: {_there(index)} is attached by a BPF link, which only its owner can take off; "
                "see `probee link detach`",
                hook=hook,
                errno=errno.EBUSY,
            ) from None
        raise refused(hook, error, "detaching from") from None


def _set(index: int, fd: int, flags: int, expected: int | None = None) -> None:
    from probee.sys.netlink import NLA_F_NESTED, RTM_SETLINK, Route, attribute

    inner = attribute(_FD, _INT.pack(fd)) + attribute(_FLAGS, _INT.pack(flags))
    if expected is not None:
        inner += attribute(_EXPECTED_FD, _INT.pack(expected))
    with Route() as route:
        route.request(
            RTM_SETLINK, _IFINFO.pack(0, 0, index, 0, 0) + attribute(_IFLA_XDP | NLA_F_NESTED, inner)
        )


def _there(index: int) -> str:
    from probee.kernel.network import xdp_of

    try:
        return ", ".join(f"{programs([id])} ({mode})" for mode, id in xdp_of(index)) or "no program"
    except OSError:
        return "a program"


def _explain(
    program: Attachable, hook: str, index: int, flags: int, error: OSError, replace: Program | bool = False
) -> ProbeeError | AttachError | PermissionDenied | Unsupported:
    number = error.errno or 0

    def failed(text: str) -> AttachError:
        return AttachError(f"can't attach to {hook}: {text}", hook=hook, errno=number)

    if number in (errno.EBUSY, errno.EEXIST):
        there = _there(index)
        if replace is not False:
            if replace is not True and number == errno.EEXIST:
                return failed(f"the interface does not run program {replace.name}, it has {there}")
            return failed(f"{there} is attached by a BPF link; only the link's owner can change it")
        return failed(
            f"the interface runs {there} already; detach that first, or pass replace=True if it is "
            "attached without a link. An interface runs one XDP program, generic or native"
        )
    wanted = _expected(program)
    if wanted in (_DEVMAP, _CPUMAP):
        what = "devmap" if wanted == _DEVMAP else "cpumap"
        return failed(f"the program is for entries of a {what}: store it there instead")
    if program.type != _XDP_TYPE:
        return failed(f"program {program.name} is not of type xdp")
    explained = getattr(error, "explained", "")
    why = f" ({explained})" if explained else ""
    if number == errno.ERANGE or "mtu" in explained.lower():
        return failed(
            f"the MTU is too large for it{why}: make it smaller, or load the program with frags (xdp.frags)"
        )
    if number in (errno.EOPNOTSUPP, 524):
        if flags == MODES["offload"]:
            return failed(f"the network card can't run BPF itself{why}; use mode='native' or 'generic'")
        return failed(f"the driver has no native XDP{why}; use mode='generic'")
    return refused(hook, error)


def _expected(program: Attachable) -> int:
    """The attach type a program was loaded with, 0 if unknown."""
    return program.spec.attach_type if program.section else 0
