"""Socket filters and the choice among sockets that share a port: setsockopt(2)."""

from __future__ import annotations

import errno
import os
from _socket import SOL_SOCKET, socket

from probee.errors import AttachError
from probee.kernel.links.attached import Attachment
from probee.kernel.links.interfaces import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from probee.kernel.attach_base import Attachable
    from probee.kernel.program import Program

    class HasFileno(Protocol):
        def fileno(self) -> int: ...


# asm-generic/socket.h
_SO_DETACH_FILTER, _SO_LOCK_FILTER, _SO_ATTACH_BPF, _SO_ATTACH_REUSEPORT_EBPF, _SO_DETACH_REUSEPORT_BPF = (
    27,
    44,
    50,
    52,
    68,
)
_SO_REUSEPORT = 15
_SOCKET_FILTER, _SK_REUSEPORT = 1, 21  # enum bpf_prog_type


class SocketLink(Attachment):
    """A program on a socket: it goes with the socket, or when it is taken off.

    It doesn't keep the socket open.
    """

    __slots__ = ("_detach_option", "_inode", "_option", "_socket")

    what = "setsockopt(2)"

    def __init__(
        self, program: Attachable, hook: str, sock: HasFileno | int, option: int, detach_option: int
    ) -> None:
        super().__init__(hook, program)
        self._socket = sock
        self._option = option
        self._detach_option = detach_option
        fd = sock if isinstance(sock, int) else sock.fileno()
        try:
            self._inode = os.fstat(fd).st_ino
            _set(fd, option, program.fd)
        except OSError as error:
            self.leave()
            raise _explain(program, hook, fd, option, error) from None

    def _fd(self) -> int:
        """The socket's descriptor, if it is open and the same; -1 if not."""
        fd = self._socket if isinstance(self._socket, int) else self._socket.fileno()
        try:
            return fd if fd >= 0 and os.fstat(fd).st_ino == self._inode else -1
        except OSError:
            return -1

    def _change(self, program: Program) -> None:
        fd = self._fd()
        if fd < 0:
            raise AttachError(f"{self.hook}: the socket is closed", hook=self.hook, errno=errno.EBADF)
        try:
            _set(fd, self._option, program.fd)
        except OSError as error:
            raise _explain(program, self.hook, fd, self._option, error) from None

    def _take_off(self) -> None:
        fd = self._fd()
        if fd < 0:
            return
        try:
            _set(fd, self._detach_option, 0)
        except OSError as error:
            if error.errno != errno.ENOENT:  # else it has none any more
                raise refused(self.hook, error, "detaching from") from None


def attach(program: Attachable, sock: HasFileno | int) -> SocketLink:
    """`Program.attach_socket`."""
    return SocketLink(program, f"socket {_name(sock)}", sock, _SO_ATTACH_BPF, _SO_DETACH_FILTER)


def attach_reuseport(program: Attachable, sock: HasFileno | int) -> SocketLink:
    """`Program.attach_reuseport`."""
    hook = f"reuseport group of socket {_name(sock)}"
    return SocketLink(program, hook, sock, _SO_ATTACH_REUSEPORT_EBPF, _SO_DETACH_REUSEPORT_BPF)


def _name(sock: HasFileno | int) -> str:
    return str(sock if isinstance(sock, int) else sock.fileno())


def _set(fd: int, option: int, value: int) -> None:
    view = socket(fileno=os.dup(fd))
    try:
        view.setsockopt(SOL_SOCKET, option, value)
    finally:
        view.close()


def _explain(program: Attachable, hook: str, fd: int, option: int, error: OSError) -> Exception:
    number = error.errno or 0

    def failed(text: str) -> AttachError:
        return AttachError(f"can't attach to {hook}: {text}", hook=hook, errno=number)

    if number == errno.EBADF:
        return failed("the socket is closed")
    if number == errno.ENOTSOCK:
        return failed(f"descriptor {fd} is no socket")
    if number == errno.EPERM and _locked(fd):
        return failed("the socket's filter is locked (SO_LOCK_FILTER)")
    if option == _SO_ATTACH_BPF:
        if program.type != _SOCKET_FILTER:
            return failed(f"program {program.name} is not of type socket_filter (section socket)")
    elif program.type not in (_SOCKET_FILTER, _SK_REUSEPORT):
        return failed(f"program {program.name} is neither of type sk_reuseport nor socket_filter")
    elif number in (errno.EINVAL, errno.ENOENT, errno.EOPNOTSUPP) and not _shares_port(fd):
        return failed("the socket doesn't share its port: set SO_REUSEPORT before bind()")
    return refused(hook, error)


def _locked(fd: int) -> bool:
    return bool(_get(fd, _SO_LOCK_FILTER))


def _shares_port(fd: int) -> bool:
    return bool(_get(fd, _SO_REUSEPORT))


def _get(fd: int, option: int) -> int:
    view = socket(fileno=os.dup(fd))
    try:
        return view.getsockopt(SOL_SOCKET, option)
    except OSError:
        return 0
    finally:
        view.close()
