"""Global variables of programs, over the fake kernel."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from probee.btf.build import BtfBuilder
from probee.errors import MapError
from probee.kernel import maps as m_
from probee.kernel.globals import Globals, close
from probee.kernel.maps import Map
from probee.obj import GlobalSpec, MapSpec, ObjectSpec
from probee.sys import use
from probee.sys.fake import FakeKernel


@pytest.fixture
def fake() -> Iterator[FakeKernel]:
    with use(FakeKernel()) as kernel:
        assert isinstance(kernel, FakeKernel)
        yield kernel
        assert not kernel.open


def program() -> ObjectSpec:
    b = BtfBuilder()
    u64 = b.int_("u64", 8)
    text = b.array(b.int_("char", 1, 1), 16)
    point = b.struct("P", 16, [("x", u64, 0), ("y", u64, 64)])
    s = ObjectSpec("test", "little")
    s.btf = b.btf()
    s.maps[".bss"] = MapSpec(
        ".bss", map_type=m_.ARRAY, key_size=4, value_size=48, max_entries=1, initial=bytes(48)
    )
    s.maps[".rodata"] = MapSpec(
        ".rodata", map_type=m_.ARRAY, key_size=4, value_size=8, max_entries=1, initial=b""
    )
    s.globals["total"] = GlobalSpec("total", ".bss", 0, 8, u64, False)
    s.globals["name"] = GlobalSpec("name", ".bss", 8, 16, text, False)
    s.globals["at"] = GlobalSpec("at", ".bss", 24, 16, point, False)
    s.globals["_hidden"] = GlobalSpec("_hidden", ".bss", 40, 8, u64, False)
    s.globals["limit"] = GlobalSpec("limit", ".rodata", 0, 4, 0, True)
    s.globals["spec"] = GlobalSpec("spec", ".rodata", 4, 4, 0, True)
    return s


@pytest.fixture
def live(fake: FakeKernel) -> Iterator[tuple[Globals, dict[str, Any]]]:
    s = program()
    maps = {name: Map.create(m, s.btf) for name, m in s.maps.items()}
    g = Globals(maps, s)
    yield g, maps
    close(g)
    for m in maps.values():
        m.close()


def test_variables_are_attributes(live: tuple[Globals, dict[str, Any]]) -> None:
    g, maps = live
    assert g.total == 0
    g.total = 5
    g.total += 2
    g.name = "bash"
    g.at = (1, 2)
    assert (g.total, g.name, g.at.y) == (7, "bash", 2)
    assert g["total"] == 7
    whole = maps[".bss"][0]
    assert whole[:8] == (7).to_bytes(8, "little")
    assert whole[8:13] == b"bash\0"
    assert list(g) == ["total", "name", "at", "_hidden", "limit", "spec"]
    assert len(g) == 6
    assert "total" in g
    assert "other" not in g
    assert "total" in dir(g)
    assert "total" in repr(g)
    with pytest.raises(OverflowError):
        g.total = 1 << 64


def test_unknown_names(live: tuple[Globals, dict[str, Any]]) -> None:
    g, _ = live
    with pytest.raises(AttributeError, match="no global 'totl'; it has total, name"):
        _ = g.totl
    with pytest.raises(AttributeError):
        g.totl = 1
    with pytest.raises(KeyError):
        _ = g["totl"]


def test_constants_are_read_only(live: tuple[Globals, dict[str, Any]], fake: FakeKernel) -> None:
    g, maps = live
    fake.map_update(maps[".rodata"].fd, bytes(4), b"\7\0\0\0\x08\0\0\0")
    maps[".rodata"].freeze()
    assert (g.limit, g.spec) == (7, 8)
    with pytest.raises(MapError, match="limit is a constant"):
        g.limit = 3


def test_kernels_that_do_not_map_them(live: tuple[Globals, dict[str, Any]], fake: FakeKernel) -> None:
    g, _ = live
    fake.refuse("mmap", errno.ENODEV)
    g.total = 9
    g.name = "x"
    assert (g.total, g.name) == (9, "x")
    assert len(fake.called("map_update")) == 2


def test_closed_maps(live: tuple[Globals, dict[str, Any]]) -> None:
    g, maps = live
    maps[".bss"].close()
    with pytest.raises(MapError, match="closed"):
        _ = g.total
