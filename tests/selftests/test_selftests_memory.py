"""Ports of the selftests of arenas, atomic operations, exceptions, trees looked into, dynptrs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selftest_ports import Live, Port, loaded, table

import lang_module

pytestmark = pytest.mark.root
FAMILY = "family_memory"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    kernel = lang_module.kernel_types()
    for needed in ("bpf_task_work_schedule_resume_impl", "bpf_dynptr_memset", "bpf_rbtree_root", "bpf_throw"):
        if kernel.kfunc(needed) is None:
            pytest.skip(f"this kernel has no function {needed}")
    with loaded(FAMILY) as family:
        yield family


@table(FAMILY)
def test_port(live: Live, port: Port) -> None:
    port.check(live, port.name)
