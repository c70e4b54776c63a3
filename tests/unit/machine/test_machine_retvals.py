"""What the kernel's own verifier tests leave in r0, in all engines: the values that Linux confirmed.

Each of the two modes of native code takes half of the cases, both all with PROBEE_ALL_CASES=1.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import pytest

from probee.btf import Btf, kernel_btf
from probee.btf.shipped import shipped_btf
from probee.errors import Unsupported
from probee.isa.insn import encode
from probee.machine.cases import CaseRunner
from probee.machine.native import available
from probee.verifier.cases import POINTER_VALUE, Case, CaseFile

DATA = Path(__file__).resolve().parents[4] / "shared" / "data" / "verifier-cases.json.xz"
SLOTS = 2000  # more take Python and LLVM seconds; stepping takes them all

# Cases that can't be run, with what they lack.
_TREES = (
    "insert_and_remove_tree_true_list_true",
    "insert_and_remove_tree_false_list_true",
    "insert_and_remove_lf_tree_true_list_true",
    "insert_double___read_from_tree_and_del_root",
    "insert_double___read_from_list_and_del_head",
    "insert_rbtree_and_stash__del_tree_false",
)
_CHAIN = "linux-new/tailcall_bpf2bpf_hierarchy{0}.c#tailcall_bpf2bpf_hierarchy_{0}"
LACKING = {
    _CHAIN.format(2): "what program array jmp_table holds",
    _CHAIN.format(3): "what program array jmp_table0 holds",
    **{f"linux-new/refcounted_kptr.c#{name}": "types for what it allocates" for name in _TREES},
}
# These run millions of instructions: loops that only may_goto ends.
LONG = {"cond_break3", "cond_break4", "cond_break5", "ja_and_may_goto2", "ja_and_may_goto_subprog"}


@cache
def types() -> Btf:
    """Of the running kernel, if possible: the cases name kernel functions by numbers."""
    try:
        return kernel_btf()
    except (Unsupported, OSError):
        return shipped_btf()


def confirmed(case: Case) -> bool:
    """Whether Linux 6.18 gave what the case says."""
    told = case.live.get("run")
    return bool(case.runs) and "ok" in (told if isinstance(told, list) else [told])


@cache
def cases() -> list[Case]:
    """The cases with confirmed values, each program once."""
    if not DATA.exists():
        pytest.skip(f"there is no {DATA}, the cases of the kernel's verifier tests")
    found: dict[tuple[object, ...], Case] = {}
    for case in CaseFile(DATA.read_bytes(), types()).cases:
        if confirmed(case):
            program = case.program
            maps = tuple((place, info.name) for place, info in program.map_refs.items())
            found.setdefault((encode(program.insns), program.prog_type, maps, tuple(case.runs)), case)
    return list(found.values())


@pytest.mark.parametrize("engine", ["step", "interpreter", *(["jit", "verified"] if available() else [])])
def test_values_that_linux_confirmed(engine: str) -> None:
    native = engine in ("jit", "verified")
    chosen = cases()
    if native and not os.environ.get("PROBEE_ALL_CASES"):
        chosen = chosen[("jit", "verified").index(engine) :: 2]
    wrong, lacking, count = [], {}, 0
    with CaseRunner(engine, btf=types()) as runner:
        for case in chosen:
            if (engine != "step" and len(case.program.insns) > SLOTS) or (
                not native and case.id.partition("#")[2] in LONG
            ):
                continue
            try:
                found = runner.run(case, verified=True)
            except Unsupported as error:
                lacking[case.id] = error.feature
                continue
            expected = [value for _, value in case.runs]
            if any(one not in (value, POINTER_VALUE) for value, one in zip(found, expected, strict=True)):
                wrong.append((case.id, found, expected))
            count += 1
    assert not wrong
    assert lacking == {case.id: LACKING[case.id] for case in chosen if case.id in LACKING}
    assert count > (250 if native else 500)
