"""Programs of a sockmap or sockhash: verdicts on what the sockets in it send and receive, and the parser."""

from __future__ import annotations

import errno

from probee import sys as kernel_calls
from probee.errors import AttachError, Unsupported
from probee.kernel.links.attached import Attachment
from probee.kernel.links.base import Link
from probee.kernel.links.interfaces import programs, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from probee.kernel.attach_base import Attachable
    from probee.kernel.program import Program

    class HasFd(Protocol):
        @property
        def fd(self) -> int: ...


# enum bpf_attach_type, by the words of the section names
HOOKS = {"stream_parser": 4, "stream_verdict": 5, "msg_verdict": 7, "verdict": 38}
_NAMES = {number: name for name, number in HOOKS.items()}
_SK_SKB, _SK_MSG = 14, 16  # enum bpf_prog_type
_SOCKMAPS = (15, 18)  # enum bpf_map_type: sockmap, sockhash


def attach(program: Attachable, map: HasFd | int, hook: str = "", *, link: bool | None = None) -> Link:
    """`Program.attach_sockmap`."""
    attach_type = _attach_type(program, hook)
    fd = map if isinstance(map, int) else map.fd
    name = getattr(map, "name", "") or f"descriptor {fd}"
    place = f"{_NAMES[attach_type]} of {name}"
    kernel = kernel_calls.kernel()
    try:
        if kernel.map_info(fd).type not in _SOCKMAPS:
            raise AttachError(f"{place}: {name} is neither a sockmap nor a sockhash", hook=place)
        if link is not False:
            try:
                return Link(kernel.link_create(program.fd, fd, attach_type), place)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
                if link:
                    raise Unsupported(
                        f"{place}: this kernel has no links for sockmaps",
                        feature="sockmap link",
                        since="6.10",
                    ) from None
        return SockmapProgram(program, place, fd, attach_type)
    except OSError as error:
        raise _explain(program, place, fd, attach_type, error) from None


def _attach_type(program: Attachable, hook: str) -> int:
    if program.type not in (_SK_SKB, _SK_MSG):
        raise AttachError(f"program {program.name} is neither of type sk_skb nor sk_msg", hook="sockmap")
    if hook:
        if hook not in HOOKS or (program.type == _SK_MSG) != (hook == "msg_verdict"):
            raise AttachError(
                f"sockmap hook {hook!r}: expected stream_parser, stream_verdict or verdict for programs of "
                "type sk_skb, msg_verdict for sk_msg",
                hook="sockmap",
            )
        return HOOKS[hook]
    if program.type == _SK_MSG:
        return HOOKS["msg_verdict"]
    known = program.spec.attach_type if program.section else 0
    if known not in _NAMES:
        raise AttachError(
            f"program {program.name}: section {program.section or 'unknown'!r} doesn't say which hook of the "
            "sockmap; pass hook='stream_parser', 'stream_verdict' or 'verdict'",
            hook="sockmap",
        )
    return known


class SockmapProgram(Attachment):
    """A program of a sockmap without a link: it goes with the map, or when it is taken off."""

    __slots__ = ("_attach_type", "_map")

    what = "BPF_PROG_ATTACH"
    since = "6.10"

    def __init__(self, program: Attachable, hook: str, map_fd: int, attach_type: int) -> None:
        super().__init__(hook, program)
        self._attach_type = attach_type
        try:
            self._map = self._keep(map_fd)
            there = self._there()
            if there:
                # The kernel would replace it without a word.
                raise AttachError(
                    f"can't attach to {hook}: {programs(there)} is there already",
                    hook=hook,
                    errno=errno.EEXIST,
                )
            self._kernel.prog_attach(map_fd, program.fd, attach_type)
        except BaseException:
            self.leave()
            raise

    def _there(self) -> list[int]:
        return _programs(self._map, self._attach_type)

    def _change(self, program: Program) -> None:
        try:
            self._kernel.prog_attach(self._map, program.fd, self._attach_type)
        except OSError as error:
            raise _explain(program, self.hook, self._map, self._attach_type, error) from None

    def _take_off(self) -> None:
        try:
            self._kernel.prog_detach(self._map, self._program, self._attach_type)
        except OSError as error:
            if error.errno != errno.ENOENT:  # another program is there now
                raise refused(self.hook, error, "detaching from") from None


def _programs(map_fd: int, attach_type: int) -> list[int]:
    try:
        return kernel_calls.kernel().prog_query(map_fd, attach_type).prog_ids
    except OSError:
        return []  # kernels before 5.15 can't tell


def _explain(program: Attachable, place: str, fd: int, attach_type: int, error: OSError) -> Exception:
    number = error.errno or 0

    def failed(text: str) -> AttachError:
        return AttachError(f"can't attach to {place}: {text}", hook=place, errno=number)

    if number == errno.EBUSY:
        there = _programs(fd, attach_type)
        what = programs(there) if there else "a program, or one that excludes it,"
        return failed(f"{what} is attached already (verdict and stream_verdict exclude each other)")
    if number == errno.EINVAL and _NAMES[attach_type] == "verdict":
        return Unsupported(
            f"{place}: this kernel has no sk_skb/verdict", feature="sk_skb_verdict", since="5.13"
        )
    if number == errno.EOPNOTSUPP and _NAMES[attach_type] == "stream_parser":
        return Unsupported(
            f"{place}: this kernel lacks CONFIG_BPF_STREAM_PARSER",
            feature="CONFIG_BPF_STREAM_PARSER",
            since="4.14",
        )
    return refused(place, error)
