"""Lists and trees looked into: the same in the kernel and in the machine."""

from __future__ import annotations

import pytest

import lang_module
import tree_programs as p
from services_module import attached


@pytest.fixture(scope="module", params=[pytest.param("kernel", marks=pytest.mark.root), "machine"])
def call(request):
    if request.param == "kernel" and lang_module.kernel_types().kfunc("bpf_rbtree_root") is None:
        pytest.skip("this kernel has no function bpf_rbtree_root (Linux 6.16)")
    with attached(p, request.param) as call:
        yield call


KEYS = (50, 20, 80, 10, 30, 70, 90, 60)


def test_a_tree_is_searched(call):
    for key in KEYS:
        assert call("put", key, 0, 0)[0] == 0
    for key in KEYS:
        assert call("hit", key, 0, 0) == [0, key, 1, 0]
    assert call("hit", 30, 0, 0)[2] == 2
    assert call("hit", 31, 0, 0)[2] == 0


def test_what_is_found_is_taken_out(call):
    assert call("take", 30, 0, 0) == [0, 30, 30, 2]
    assert call("take", 30, 0, 0) == [0, 30, 0, 0]
    assert call("take", 31, 0, 0) == [0, 31, 0, 0]
    assert call("hit", 30, 0, 0)[2] == 0
    for key in sorted(KEYS):
        assert call("take", key, 0, 0)[2] == (0 if key == 30 else key)


def test_the_ends_of_a_list(call):
    assert call("ends", 0, 0, 0) == [0, 0, 0, 0]
    for key in (7, 8, 9):
        call("push", key, 0, 0)
    assert call("ends", 0, 0, 0) == [0, 7, 9, 0]
    assert call("ends", 0, 0, 0) == [0, 107, 9, 0]


def test_objects_are_new_though_their_memory_was_used(call):
    assert call("used_again", 0, 0, 0) == [0, 0, 0, 4]
