"""The language as it compiles for kernels that lack something which this one has."""

from __future__ import annotations

import os

import pytest

import probee as bp
from probee import u32, u64
from probee.lang.ktypes import KernelTypes

pytestmark = pytest.mark.root

me = bp.Global[u32](0)
parents = bp.Hash[u32, u64](16)


@bp.tracepoint("syscalls:sys_enter_getppid")
def on_getppid(args):
    task = bp.current_task()
    if task.tgid == me.value:
        parents[task.real_parent.tgid] += 1


def test_the_current_task_before_linux_5_11(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def has_helper(ktypes: KernelTypes, name: str) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr(KernelTypes, "has_helper", has_helper)
    with bp.attach(on_getppid, cache=False):
        me.value = os.getpid()
        os.getppid()
        assert dict(parents.items()) == {os.getppid(): 1}
    assert "get_current_task_btf" in asked


def test_helpers_of_this_kernel() -> None:
    from probee.btf.live import kernel_btf

    ktypes = KernelTypes(kernel_btf())
    assert ktypes.has_helper("get_current_task")
    assert not ktypes.has_helper("no_such_helper")
