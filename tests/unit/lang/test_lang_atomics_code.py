"""Which instructions atomic operations become."""

from __future__ import annotations

import struct

import pytest

import lang_module
from probee import lang
from probee.errors import CompileError
from probee.obj import read_object

# of struct bpf_insn: BPF_STX | BPF_ATOMIC | size, and the operation in imm
WIDE, NARROW, HALF, BYTE = 0xDB, 0xC3, 0xCB, 0xD3
FETCH = 1
ABOVE = """
class V(bp.Struct):
    b: u8
    h: u16

wide = bp.Global[u64](0)
narrow = bp.Global[u32](0)
v = bp.Global[V]()
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


class Old:
    """The types of a kernel without some functions and helpers."""

    def __init__(self, ktypes, *without):
        self._ktypes = ktypes
        self._without = without

    def __getattr__(self, name):
        return getattr(self._ktypes, name)

    def kfunc(self, name):
        return None if name in self._without else self._ktypes.kfunc(name)

    def has_helper(self, name):
        return name not in self._without and self._ktypes.has_helper(name)


def atomics(body, ktypes, tmp_path):
    """The atomic instructions of a program: (opcode, operation)."""
    module = lang_module.make(lang_module.program(body, above=ABOVE), tmp_path)
    spec = read_object(lang.compile([module.program], ktypes=ktypes), "m")
    code = b"".join(spec.code.values())
    found = [struct.unpack_from("<BBhi", code, at) for at in range(0, len(code), 8)]
    return [(op, imm) for op, _, _, imm in found if op & 0xE7 == 0xC3]


BODY = """
n = bp.atomic.add(wide.value, 3)
n += bp.atomic.sub(narrow.value, 3)
n += bp.atomic.or_(wide.value, 3)
n += bp.atomic.and_(narrow.value, 3)
n += bp.atomic.xor(wide.value, 3)
n += bp.atomic.exchange(wide.value, 3)
n += bp.atomic.compare_exchange(narrow.value, 3, 4)
n += bp.atomic.load(v.value.b)
n += bp.atomic.load(v.value.h)
bp.atomic.store(wide.value, 3)
bp.atomic.store(narrow.value, 3)
wide.value += 3
return n
"""


def test_instructions(ktypes, tmp_path):
    assert atomics(BODY, ktypes, tmp_path) == [
        (WIDE, 0x00 | FETCH),
        (NARROW, 0x00 | FETCH),
        (WIDE, 0x40 | FETCH),
        (NARROW, 0x50 | FETCH),
        (WIDE, 0xA0 | FETCH),
        (WIDE, 0xE0 | FETCH),
        (NARROW, 0xF0 | FETCH),
        (BYTE, 0x100),
        (HALF, 0x100),
        (WIDE, 0x110),
        (NARROW, 0x110),
        (WIDE, 0x00),
    ]


def test_kernels_without_ordered_loads_get_full_barriers(ktypes, tmp_path):
    old = Old(ktypes, "bpf_res_spin_lock")
    body = "bp.atomic.store(wide.value, 3)\nreturn bp.atomic.load(narrow.value)"
    assert atomics(body, old, tmp_path) == [(WIDE, 0xE0 | FETCH), (NARROW, 0xF0 | FETCH)]
    with pytest.raises(CompileError, match="for 32 and 64 bits only"):
        atomics("return bp.atomic.load(v.value.b)", old, tmp_path)


def test_kernels_before_5_12_are_named(ktypes, tmp_path):
    with pytest.raises(CompileError, match=r"no atomic operations with a result"):
        atomics("return bp.atomic.add(wide.value, 3)", Old(ktypes, "check_mtu"), tmp_path)
