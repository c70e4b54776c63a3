"""The BTF of loaded kernel modules (Linux 5.11), each split on the kernel's own.

Imported only for objects that name something the kernel itself has not got.
"""

from __future__ import annotations

import errno
import struct

from probee import sys as kernel_calls
from probee.sys.bpf import BTF_GET_FD_BY_ID, BTF_GET_NEXT_ID

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probee.btf.parser import Btf

_ENOTSUPP = 524  # the kernel's own; user space has no name for it


class Module:
    """A module with BTF. `fd` is of its BTF object; `index` its place in a program's `fd_array`, 0: none."""

    __slots__ = ("_base", "_btf", "_raw", "fd", "index", "name")

    def __init__(self, name: str, fd: int, base: Callable[[], Btf]) -> None:
        self.name = name
        self.fd = fd
        self.index = 0
        self._base = base
        self._raw = b""
        self._btf: Btf | None = None

    def _read(self) -> bytes:
        if not self._raw:
            from probee.sys.details import btf_details

            self._raw = btf_details(kernel_calls.kernel(), self.fd, data=True).data
        return self._raw

    def mentions(self, name: str) -> bool:
        """Whether the module may have a type of this name: a look at the bytes, cheaper than to parse it.

        Strings that the kernel's BTF has are not in the module's.
        """
        data, text = self._read(), name.encode()
        head, place = struct.unpack_from("=I8xI", data, 4)
        start = head + place
        if data.find(b"\0" + text, start) >= 0 or data.startswith(text, start):
            return True
        return self._base().mentions(name)

    @property
    def btf(self) -> Btf:
        """The module's types, with the kernel's as their base."""
        if self._btf is None:
            from probee.btf.parser import Btf

            self._btf = Btf.parse(self._read(), self._base())
        return self._btf

    def find(self, name: str, *kinds: int) -> int | None:
        """The id of a type of the module's own (not the kernel's) with this name and kind."""
        if not self.mentions(name):
            return None
        btf = self.btf
        for id in btf.find_all(name, *kinds):
            if id >= btf.first_id:
                return id
        return None


class Modules:
    """All modules with BTF, in the order they were loaded; asked for once. Close it to let go of them."""

    __slots__ = ("_base", "_found")

    def __init__(self, base: Callable[[], Btf]) -> None:
        self._base = base
        self._found: list[Module] | None = None

    def __iter__(self) -> Iterator[Module]:
        if self._found is None:
            self._found = []
            self._list(self._found)
        return iter(self._found)

    def _list(self, out: list[Module]) -> None:
        from probee.sys.details import btf_details

        kernel = kernel_calls.kernel()
        id: int | None = 0
        while True:
            try:
                id = kernel.next_id(BTF_GET_NEXT_ID, id or 0)
                if id is None:
                    return
                fd = kernel.fd_by_id(BTF_GET_FD_BY_ID, id)
            except OSError as error:
                if error.errno == errno.ENOENT:  # unloaded meanwhile
                    continue
                if error.errno in (errno.EPERM, errno.EINVAL, _ENOTSUPP):  # not allowed, or too old for it
                    return
                raise
            try:
                facts = btf_details(kernel, fd)
            except OSError:  # before modules had BTF, it had no name to tell
                kernel.close(fd)
                return
            if facts.kernel and facts.name != "vmlinux":
                out.append(Module(facts.name, fd, self._base))
            else:
                kernel.close(fd)

    def btfs(self, name: str) -> Iterator[Btf]:
        """The types of the modules that may have one of this name, for CO-RE."""
        return (module.btf for module in self if module.mentions(name))

    def find(self, name: str, *kinds: int) -> tuple[Module, int] | None:
        """The first module that has a type of this name and kind, and its id there."""
        for module in self:
            id = module.find(name, *kinds)
            if id is not None:
                return module, id
        return None

    def named(self, name: str) -> Module | None:
        for module in self:
            if module.name == name:
                return module
        return None

    def close(self) -> None:
        """Give up the descriptors. Programs that use a module's types keep it by themselves."""
        kernel = kernel_calls.kernel()
        for module in self._found or ():
            kernel.close(module.fd)
        self._found = []
