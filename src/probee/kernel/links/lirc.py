"""Infrared receivers: a program that decodes what /dev/lircN sees."""

from __future__ import annotations

import errno
import os

from probee.errors import AttachError
from probee.kernel.links.attached import Attachment
from probee.kernel.links.interfaces import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable

_LIRC_MODE2 = 16  # enum bpf_attach_type


class LircProgram(Attachment):
    """A decoder of an infrared receiver: it stays until it is taken off, or the device goes."""

    __slots__ = ("_device",)

    what = "BPF_PROG_ATTACH"

    def __init__(self, program: Attachable, device: str | os.PathLike[str]) -> None:
        hook = f"lirc device {os.fspath(device)}"
        super().__init__(hook, program)
        try:
            self._device = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
            self._own.append(self._device)
            self._kernel.prog_attach(self._device, program.fd, _LIRC_MODE2)
        except OSError as error:
            self.leave()
            raise _explain(hook, error) from None

    def _take_off(self) -> None:
        try:
            self._kernel.prog_detach(self._device, self._program, _LIRC_MODE2)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise refused(self.hook, error, "detaching from") from None


def _explain(hook: str, error: OSError) -> Exception:
    number = error.errno or 0
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        known = sorted(name for name in os.listdir("/dev") if name.startswith("lirc"))
        there = f"there are {', '.join(known)}" if known else "this machine has no infrared receiver"
        return AttachError(f"there is no {hook}; {there}", hook=hook, errno=number)
    if number == errno.EINVAL:
        return AttachError(
            f"can't attach to {hook}: it is no infrared receiver with raw signals (mode2), or the kernel "
            "lacks CONFIG_BPF_LIRC_MODE2",
            hook=hook,
            errno=number,
        )
    if number == errno.EEXIST:
        return AttachError(f"the program is attached to {hook} already", hook=hook, errno=number)
    return refused(hook, error)


def attach(program: Attachable, device: str | os.PathLike[str] = "/dev/lirc0") -> LircProgram:
    """`Program.attach_lirc`."""
    return LircProgram(program, device)
