"""Kernel structs as text: the machine's bpf_snprintf_btf writes what the kernel's does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from c_objects import compile_c
from probee.btf import kernel_btf
from probee.btf.kinds import STRUCT, UNION
from probee.kernel.load import load
from probee.machine.machine import Machine
from probee.obj import read_object

pytestmark = pytest.mark.root

TEXT = """
struct btf_ptr { void *ptr; u32 type_id, flags; };
static long (*snprintf_btf)(char *, u32, struct btf_ptr *, u32, u64) = (void *)149;
u32 type_id, size; u64 flags; long ret; char data[1024]; char out[32768];
SEC("raw_tp/sys_enter") int show(void *ctx) {
    struct btf_ptr p = {data, type_id, 0};
    ret = snprintf_btf(out, (size & 0x7fff) + 1, &p, sizeof p, flags);
    return 0;
}
char _license[] SEC("license") = "GPL";
"""
RAW_POINTERS, ZERO = 4, 8
SEED, TYPES = 5, 60


class Both:
    """The program in the kernel and in a machine."""

    def __init__(self, data: bytes) -> None:
        self.theirs = load(read_object(data, "show"))
        self.ours = Machine(read_object(data, "show"), btf=kernel_btf())
        _ = self.theirs.globals.ret  # opened here, for all tests

    def __call__(self, type_id: int, data: bytes, flags: int, size: int = 32767) -> tuple[int, bytes]:
        """The result and the text, the same from both."""
        found = []
        for where, run in (
            (self.theirs, lambda: self.theirs.programs["show"].test_run()),
            (self.ours, lambda: self.ours.fire("show")),
        ):
            values: Any = where.globals
            values.type_id, values.flags, values.size, values.data = type_id, flags, size, data
            run()
            out = values.out
            found.append((values.ret, out.encode() if isinstance(out, str) else bytes(out).split(b"\0")[0]))
        assert found[0] == found[1]
        return found[0]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    made = Both(compile_c(tmp_path_factory.mktemp("show"), TEXT, "show"))
    yield made
    made.ours.close()
    made.theirs.close()


def test_any_struct(both: Both) -> None:
    btf, chance = kernel_btf(), random.Random(SEED)
    ids = [
        i for i in range(1, len(btf)) if btf.type(i).kind in (STRUCT, UNION) and 0 < btf.type(i).size <= 1024
    ]
    for id in chance.sample(ids, TYPES):
        for data in (bytes(chance.choices(range(128), k=1024)), bytes(chance.choices((0, 0, 0, 65), k=1024))):
            both(id, data, RAW_POINTERS | chance.choice((0, 1, 2, 3, 8, 9, 10, 11)))


def test_texts_cut_short_and_flags_that_there_are_not(both: Both) -> None:
    path = kernel_btf().find("path", STRUCT)
    assert path is not None
    whole = both(path, bytes(1024), RAW_POINTERS | ZERO)
    assert whole[1].startswith(b"(struct path){\n .mnt = (struct vfsmount *)0x0000000000000000,\n")
    for size in (0, 1, 7, 40):
        assert both(path, bytes(1024), RAW_POINTERS | ZERO, size) == (whole[0], whole[1][:size])
    assert both(path, bytes(1024), 16)[0] == -22
    assert both(1 << 30, bytes(1024), 0)[0] < 0
