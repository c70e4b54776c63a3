"""Agreement with a kernel's verdicts on the cases of its own selftests."""

from __future__ import annotations

from pathlib import Path

import pytest

from probee.btf import kernel_btf
from probee.errors import ProbeeError
from probee.verifier.cases import CaseFile
from probee.verifier.verify import verify

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "verifier-cases.json.xz"
SAMPLE = 9  # each ninth case: the whole file takes a minute or more


@pytest.mark.skipif(not CASES.exists(), reason="no verifier cases in ../shared/data")
def test_agreement() -> None:
    try:
        btf = kernel_btf()
    except (OSError, ProbeeError) as error:
        pytest.skip(f"no BTF of the kernel: {error}")
    asked = agreed = 0
    differing: list[str] = []
    for case in CaseFile(CASES.read_bytes(), btf).cases[::SAMPLE]:
        if case.problem or case.live.get("env"):
            continue  # what that kernel couldn't say, or the file doesn't tell enough of
        asked += 1
        verdict = verify(case.program, kernel="6.18", kernel_btf=btf)
        if verdict.verdict == case.live["verdict"]:
            agreed += 1
        else:
            differing.append(f"{case.id}: {verdict}, not {case.live['verdict']}")
    assert asked > 150
    assert agreed >= asked * 0.98, "\n".join(differing)
