"""Modules with BTF against the fake kernel: which are kept, what is parsed, what is closed."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from probee.btf import Btf, BtfBuilder
from probee.btf.kinds import FUNC, STRUCT
from probee.kernel.modules import Modules
from probee.sys import details, use
from probee.sys.details import BtfDetails
from probee.sys.fake import FakeKernel

NAMES = {1: ("vmlinux", True), 2: ("", False), 3: ("first", True), 4: ("second", True)}


class Machine(FakeKernel):
    """A kernel with four BTF objects, two of them modules'. `read` are those whose types were read."""

    def __init__(self) -> None:
        super().__init__()
        builder = BtfBuilder()
        number = builder.int_("int", 4)
        builder.struct("shared", 4, [("common", number, 0)])
        self.base = builder.btf()
        self.read: list[str] = []
        self.denied = 0

    def next_id(self, command: int, id: int) -> int | None:
        if self.denied:
            raise OSError(self.denied, "no")
        return id + 1 if id < 4 else None

    def fd_by_id(self, command: int, id: int) -> int:
        return self._new("btf", number=id)

    def types(self, name: str) -> bytes:
        builder = BtfBuilder(self.base)
        builder.struct(f"{name}_type", 8, [("x", 1, 0)])
        builder.struct("common", 8, [("x", 1, 0)])  # a name that is among the kernel's strings
        return builder.build()


def about(kernel: Machine, fd: int, *, data: bool = False) -> BtfDetails:
    name, of_kernel = NAMES[kernel.open[fd].facts["number"]]
    if data:
        kernel.read.append(name)
    return BtfDetails(0, 0, name, of_kernel, kernel.types(name) if data else b"")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    monkeypatch.setattr(details, "btf_details", about)
    with use(Machine()) as kernel:
        assert isinstance(kernel, Machine)
        yield kernel
        assert kernel.open == {}, "something was left open"


def test_only_modules_are_kept(machine: Machine) -> None:
    modules = Modules(lambda: machine.base)
    assert [module.name for module in modules] == ["first", "second"]
    assert [module.name for module in modules] == ["first", "second"]  # asked for once
    assert len(machine.open) == 2
    assert modules.named("second") is not None
    assert modules.named("vmlinux") is None
    modules.close()
    modules.close()


def test_types_are_found_where_they_are(machine: Machine) -> None:
    modules = Modules(lambda: machine.base)
    found = modules.find("second_type", STRUCT)
    assert found is not None
    module, id = found
    assert (module.name, module.btf.type(id).name) == ("second", "second_type")
    assert modules.find("second_type", FUNC) is None
    assert modules.find("shared", STRUCT) is None  # the kernel's own
    common = modules.find("common", STRUCT)
    assert common is not None
    assert common[0].name == "first"
    assert modules.find("nowhere", STRUCT) is None
    modules.close()


def test_only_what_mentions_a_name_is_parsed(machine: Machine) -> None:
    modules = Modules(lambda: machine.base)
    (types,) = modules.btfs("second_type")
    assert isinstance(types, Btf)
    assert [module._btf is not None for module in modules] == [False, True]
    assert len(list(modules.btfs("common"))) == 2
    assert machine.read == ["first", "second"]  # each once
    modules.close()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EINVAL])
def test_without_privileges_or_on_old_kernels_there_are_none(machine: Machine, number: int) -> None:
    machine.denied = number
    assert list(Modules(lambda: machine.base)) == []


def test_kernels_whose_btf_has_no_names(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **more: object) -> None:
        raise OSError(errno.EINVAL, "no")

    monkeypatch.setattr(details, "btf_details", refuse)
    assert list(Modules(lambda: machine.base)) == []
