"""A BTF cut down to what objects need answers their relocations as the kernel's whole one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from c_objects import compile_file
from probee.btf import kernel_btf
from probee.btf.core import Relocator
from probee.btf.min_core import min_core
from probee.btf.parser import Btf
from probee.errors import LoadError, Unsupported
from probee.kernel.load import load
from probee.obj import ObjectSpec, read_object

HERE = Path(__file__).parent
NAMES = ["core_bitfields", "core_enums", "core_fields", "core_poison", "core_questions", "core_sizes"]
NAMES += ["core_subprograms", "core_types", "flavours"]


def kernel() -> Btf:
    try:
        return kernel_btf()
    except Unsupported as missing:
        pytest.skip(str(missing))


def spec_of(name: str) -> ObjectSpec:
    return read_object(compile_file(HERE / f"c/{name}.bpf.c"), name)


def small_btf(spec: ObjectSpec) -> Btf:
    assert spec.btf is not None
    relocations = [r for program in spec.programs.values() for r in program.link().core]
    return Btf.parse(min_core(kernel(), [(spec.btf, relocations)]))


@pytest.mark.parametrize("name", NAMES)
def test_relocations_have_the_same_answers(name: str) -> None:
    spec = spec_of(name)
    assert spec.btf is not None
    small = small_btf(spec)
    assert len(small.raw) < 5000
    whole, cut = Relocator(spec.btf, kernel()), Relocator(spec.btf, small)
    count = 0
    for program in spec.programs.values():
        for relocation in program.link().core:
            if relocation.kind == 7:  # a type's id is another one, naturally
                continue
            answers = []
            for relocator in (whole, cut):
                try:
                    found = relocator.resolve(relocation)
                    answers.append((found.new_val, found.poison, found.bit_offset))
                except LoadError as ambiguous:
                    answers.append(str(ambiguous))
            assert answers[0] == answers[1], relocation
            count += 1
    assert count


@pytest.mark.root
@pytest.mark.parametrize("name", ["core_bitfields", "core_enums", "core_fields"])
def test_programs_load_with_it_to_the_same_tags(name: str) -> None:
    spec = spec_of(name)
    with load(spec) as whole, load(spec, core_btf=small_btf(spec)) as cut:
        assert {n: p.tag for n, p in whole.programs.items()} == {n: p.tag for n, p in cut.programs.items()}


def test_objects_without_relocations_need_nothing() -> None:
    spec = spec_of("plain")
    assert len(small_btf(spec)) == 1
