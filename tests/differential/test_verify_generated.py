"""Random programs: our verdicts against the running kernel's. Thousands: `generated_programs.py`."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

import pytest

from probee.isa.insn import Insn
from probee.verifier.kernels import Rules
from probee.verifier.program import Program
from probee.verifier.verdict import UNSUPPORTED

COUNT = 60


def module() -> ModuleType:
    path = os.path.join(os.path.dirname(__file__), "generated_programs.py")
    spec = importlib.util.spec_from_file_location("generated_programs", path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["generated_programs"] = made
    spec.loader.exec_module(made)
    return made


def test_the_same_seed_gives_the_same_program() -> None:
    generator = module()
    for seed in range(200):
        first, again = generator.Generator(seed).make(), generator.Generator(seed).make()
        assert first.insns == again.insns
        assert first.insns[-1] == Insn(0x95)
        assert set(first.map_refs) <= {at for at, insn in enumerate(first.insns) if insn.opcode == 0x18}


def test_taking_out_keeps_jumps_and_maps_right() -> None:
    generator = module()
    nop = generator.NOP
    insns = [
        Insn(0xB7),
        nop,
        Insn(0x15, 0, 0, 2, 0),
        nop,
        Insn(0xB7, 0, 0, 0, 1),
        Insn(0x18, 1, 1),
        Insn(0),
        Insn(0x95),
    ]
    info = generator.MAPS[0]
    packed = generator._packed(Program(insns, 1, map_refs={5: info}))
    assert packed.insns == [
        Insn(0xB7),
        Insn(0x15, 0, 0, 1, 0),
        Insn(0xB7, 0, 0, 0, 1),
        Insn(0x18, 1, 1),
        Insn(0),
        Insn(0x95),
    ]
    assert packed.map_refs == {3: info}


@pytest.mark.root
def test_verdicts_agree() -> None:
    version = Rules("live").version
    if not version.startswith("6.18"):
        pytest.skip(f"our verdicts are Linux 6.18's; this is {version}")
    outcome = module().run(COUNT, 1, quiet=True)
    different = {
        key for key in outcome.counts if len(set(key.split("/"))) > 1 and not key.endswith(UNSUPPORTED)
    }
    assert different == set(), "\n".join(outcome.texts)
    assert outcome.counts["accept/accept"] > COUNT // 5
    assert outcome.counts["reject/reject"] > COUNT // 5
