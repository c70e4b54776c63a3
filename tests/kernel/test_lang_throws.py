"""Exceptions, asserts at run time, types by their numbers: the same in the kernel and in the machine."""

from __future__ import annotations

import os

import pytest

import lang_module
import throw_programs as p
from services_module import attached


@pytest.fixture(scope="module", params=[pytest.param("kernel", marks=pytest.mark.root), "machine"])
def call(request):
    if request.param == "kernel" and lang_module.kernel_types().kfunc("bpf_throw") is None:
        pytest.skip("this kernel has no function bpf_throw (Linux 6.7)")
    with attached(p, request.param) as call:
        call.target = request.param
        yield call


def test_a_throw_ends_all_frames(call):
    p.reached.value = 0
    assert call("thrown", 4, 0, 0) == [7, 4, 9, 0]
    assert p.reached.value == 101
    assert call("thrown", 11, 0, 0) == [33, 11, 0, 0]
    assert p.reached.value == 102
    assert call("thrown", 5, 0, 0) == [0, 5, 11, 0]


def test_asserts(call):
    p.counts[3] = 12
    assert call("asserted", 3, 1, 9)[0] == 12
    assert call("asserted", 8, 1, 9)[0] == 44
    assert call("asserted", 3, 0, 9)[0] == 0
    assert call("asserted", 4, 1, 9)[0] == 9


def test_types(call):
    result, kernel, own, pid = call("ids", 0, 0, 0)
    assert result == 1
    assert own > 0
    if call.target == "kernel":
        from probee.btf import kernel_btf
        from probee.btf.kinds import STRUCT

        assert kernel == kernel_btf().find("task_struct", STRUCT)
        assert pid == os.getpid()
