"""Types, functions and hooks of kernel modules: their BTF is split, a continuation of the kernel's own.

Looked at for names that the kernel itself has not; live ones are in /sys/kernel/btf (Linux 5.11).
"""

from __future__ import annotations

import os

from ..btf import Btf
from ..errors import ObjectError
from .ktypes import KernelTypes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .types import Type

FOLDER = "/sys/kernel/btf"


class ModuleTypes(KernelTypes):
    """The types of one module; those that it shares with the kernel are the kernel's."""

    def __init__(self, btf: Btf, kernel: KernelTypes) -> None:
        super().__init__(btf, arch=kernel.arch, without=kernel.without)
        self.kernel = kernel

    def type(self, id: int) -> Type:
        return self.kernel.type(id) if id < self.btf.first_id else super().type(id)

    def own(self, name: str, *kinds: int) -> int | None:
        """The id of a type of the module's own; None if there is none."""
        return next((id for id in self.btf.find_all(name, *kinds) if id >= self.btf.first_id), None)


class Modules:
    """The modules of a kernel, parsed when one of them may have what is asked for."""

    def __init__(self, kernel: KernelTypes, given: Iterable[Btf] | None = None) -> None:
        self.kernel = kernel
        self._files: list[tuple[str, bytes]] | None = None if given is None else []
        self._types: dict[str, ModuleTypes] = {}
        for i, btf in enumerate(given or ()):
            self._types[f"given {i}"] = ModuleTypes(btf, kernel)

    def find(self, name: str, *kinds: int) -> tuple[ModuleTypes, int] | None:
        """The module with a type of this name and kind, and its id there."""
        for types in self._with(name):
            id = types.own(name, *kinds)
            if id is not None:
                return types, id
        return None

    def _with(self, name: str) -> Iterator[ModuleTypes]:
        if self._files is None:
            self._files = list(_read())
        yield from [t for label, t in self._types.items() if label.startswith("given ")]
        word = b"\0" + name.encode()
        for label, data in self._files:
            # strings that the kernel's BTF has are not in the module's
            if word not in data and not self.kernel.btf.mentions(name):
                continue
            if label not in self._types:
                try:
                    self._types[label] = ModuleTypes(Btf.parse(data, self.kernel.btf), self.kernel)
                except ObjectError:  # made for another kernel
                    continue
            yield self._types[label]


def _read() -> Iterator[tuple[str, bytes]]:
    """The BTF of all modules that are loaded: name and bytes."""
    try:
        names = sorted(os.listdir(FOLDER))
    except OSError:
        return
    for name in names:
        if name != "vmlinux":
            try:
                with open(f"{FOLDER}/{name}", "rb") as file:
                    yield name, file.read()
            except OSError:
                continue
