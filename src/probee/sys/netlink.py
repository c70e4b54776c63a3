"""Route netlink: what network interfaces, queueing disciplines and filters there are, and XDP by name.

Thin: messages in, attributes out. A `Route` belongs to the network namespace it was opened in, wherever its
thread goes afterwards. Layouts and numbers are those of UAPI `linux/netlink.h` and `rtnetlink.h`. Failures
are `NetlinkError`, an `OSError`.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_NETLINK, SO_RCVTIMEO, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_ROUTE = 0
_SOL_NETLINK = 270
_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 11, 12

RTM_GETLINK, RTM_SETLINK = 18, 19
RTM_GETROUTE = 26
RTM_GETQDISC, RTM_GETTCLASS, RTM_GETTFILTER = 38, 42, 46
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
NLA_F_NESTED = 1 << 15
_NLA_TYPE_MASK = 0x3FFF

_HEADER = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_ERROR = Struct("=i")
_REPEATED = Struct("=iI")  # the error, and the length of the request
_SECONDS = Struct("@qq")
_ROOM = 1 << 16
_PATIENCE = 10  # seconds until a kernel that doesn't answer is given up


class NetlinkError(OSError):
    """The kernel refused a message. `explained` is its own text of why, "" if it gave none."""

    def __init__(self, number: int, explained: str = "") -> None:
        self.explained = explained
        super().__init__(number, explained or os.strerror(number))


def attributes(data: bytes | memoryview) -> dict[int, memoryview]:
    """The attributes in `data` by type; the last of each type. Raises NetlinkError if they are cut off."""
    view = memoryview(data)
    found: dict[int, memoryview] = {}
    while len(view) >= 4:
        length, kind = _ATTRIBUTE.unpack_from(view)
        if not 4 <= length <= len(view):
            raise NetlinkError(errno.EBADMSG)
        found[kind & _NLA_TYPE_MASK] = view[4:length]
        view = view[length + 3 & ~3 :]
    return found


def header(form: Struct, body: bytes) -> tuple[int, ...]:
    """The fields that a message's body starts with. Raises NetlinkError if it is too short."""
    if len(body) < form.size:
        raise NetlinkError(errno.EBADMSG)
    return form.unpack_from(body)


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded."""
    return (_ATTRIBUTE.pack(4 + len(data), kind) + data).ljust(4 + len(data) + 3 & ~3, b"\0")


def text(data: memoryview) -> str:
    """A string attribute."""
    return data.tobytes().rstrip(b"\0").decode(errors="replace")


def number(data: memoryview) -> int:
    """An unsigned attribute of any size, in the machine's byte order."""
    from sys import byteorder

    return int.from_bytes(data, byteorder)


class Route:
    """A netlink socket to the routing subsystem; a context manager."""

    __slots__ = ("_sequence", "_socket")

    def __init__(self) -> None:
        self._sequence = 0
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE)
        try:
            self._socket.setsockopt(SOL_SOCKET, SO_RCVTIMEO, _SECONDS.pack(_PATIENCE, 0))
            for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
                self._try_option(option)
            self._socket.bind((0, 0))
        except BaseException:
            self._socket.close()
            raise

    def _try_option(self, option: int) -> None:
        try:
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        except OSError:
            return  # older kernels explain and filter less

    def __enter__(self) -> Route:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, -1 when closed."""
        return self._socket.fileno()

    def request(self, kind: int, body: bytes, flags: int = NLM_F_ACK) -> list[bytes]:
        """Send one message and return the bodies of what comes back (nothing, for a mere change)."""
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, self._sequence, 0)
        self._socket.sendto(header + body, (0, 0))
        return list(self._answers(self._sequence, bool(flags & NLM_F_ACK)))

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All objects of a kind; again from the start if they changed in between."""
        while True:
            try:
                return self.request(kind, body, NLM_F_DUMP)
            except InterruptedError:
                continue

    def _answers(self, sequence: int, acknowledged: bool) -> Iterator[bytes]:
        interrupted = False
        while True:
            data = self._socket.recv(_ROOM)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, flags, answers, _ = _HEADER.unpack_from(data, at)
                if not _HEADER.size <= length <= len(data) - at:
                    raise NetlinkError(errno.EBADMSG)
                body = data[at + _HEADER.size : at + length]
                at += length + 3 & ~3
                if answers != sequence:
                    continue  # left over from a request that was given up
                interrupted |= bool(flags & 0x10)  # NLM_F_DUMP_INTR
                if kind == _NLMSG_ERROR:
                    _check(body, flags)
                    return
                if kind == _NLMSG_DONE:
                    if len(body) >= _ERROR.size:
                        _check(body, flags, done=True)
                    if interrupted:
                        raise InterruptedError
                    return
                yield body
                if not flags & 2 and not acknowledged:  # no NLM_F_MULTI: the only answer
                    return


def _check(body: bytes, flags: int, *, done: bool = False) -> None:
    """Raise what an error message says; it may say that all went well."""
    (code,) = header(_ERROR, body)
    if not code:
        return
    message = ""
    if flags & _NLM_F_ACK_TLVS:
        # An error repeats the request, or only its header, before it explains.
        skip = 4 if done else 4 + _HEADER.size
        if not done and not flags & _NLM_F_CAPPED:
            skip = 4 + (header(_REPEATED, body)[1] + 3 & ~3)
        found = attributes(body[skip:]).get(_NLMSGERR_ATTR_MSG)
        message = text(found) if found is not None else ""
    raise NetlinkError(-code if code < 0 else errno.EBADMSG, message)
