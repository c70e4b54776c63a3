"""Agreement with a kernel's verdicts on the cases of its own selftests: all of them, but for those that walk
a very long way. What differs is listed in `tests/verifier_cases/differences.json`, with reasons.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from probee.btf import kernel_btf
from probee.errors import ProbeeError
from probee.verifier.cases import CaseFile
from probee.verifier.verdict import UNSUPPORTED, Verdict
from probee.verifier.verify import verify

TESTS = Path(__file__).resolve().parents[2]
CASES = TESTS.parent.parent / "shared" / "data" / "verifier-cases.json.xz"
LISTED = json.loads((TESTS / "verifier_cases" / "differences.json").read_text("utf-8"))
LONGEST = 30_000  # instructions processed; three cases walk further


@pytest.mark.skipif(not CASES.exists(), reason="no verifier cases in ../shared/data")
def test_agreement() -> None:
    try:
        btf = kernel_btf()
    except (OSError, ProbeeError) as error:
        pytest.skip(f"no BTF of the kernel: {error}")
    differing: dict[str, str] = {}
    dangerous: list[str] = []
    asked = 0
    for case in CaseFile(CASES.read_bytes(), btf).cases:
        if case.live.get("insns_processed", 0) > LONGEST:
            continue
        asked += 1
        if case.problem:
            verdict = Verdict(UNSUPPORTED, case.problem)
        else:
            verdict = verify(case.program, kernel="6.18", kernel_btf=btf)
        if verdict.verdict == case.live["verdict"]:
            continue
        differing[case.id] = f"{verdict}, not {case.live['verdict']}"
        if verdict.accepted and not case.live.get("env"):
            dangerous.append(case.id)
    assert asked > 1700
    assert not dangerous, f"accepted, though the kernel refuses: {dangerous}"
    listed = {*LISTED["differences"], *LISTED["no_verdict"]["cases"]}
    assert set(differing) == listed, "\n".join(
        f"{name}: {differing.get(name, 'agrees now')}" for name in sorted(set(differing) ^ listed)
    )
    assert len(differing) <= asked * 0.02


def test_every_difference_has_its_reason() -> None:
    assert all(len(reason) > 20 for reason in LISTED["differences"].values())
    assert len(LISTED["no_verdict"]["reason"]) > 20
