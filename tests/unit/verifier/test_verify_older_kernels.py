"""Our verdicts for Linux 5.10, 6.1 and 6.12 are those that these kernels gave, on the cases of the kernel's
selftests. What they gave is in `tests/verifier_cases/older_kernels.json.xz`; what differs is listed there,
with reasons.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest

from probee.btf import kernel_btf
from probee.errors import ProbeeError
from probee.verifier.cases import CaseFile
from probee.verifier.kernels import Rules
from probee.verifier.verify import verify

TESTS = Path(__file__).resolve().parents[2]
CASES = TESTS.parent.parent / "shared" / "data" / "verifier-cases.json.xz"
SAID = json.loads(lzma.decompress((TESTS / "verifier_cases" / "older_kernels.json.xz").read_bytes()))
LISTED = json.loads((TESTS / "verifier_cases" / "older_differences.json").read_text("utf-8"))
KERNELS = tuple(SAID["kernels"])
WORDS = {"a": "accept", "r": "reject"}
LONGEST = 30_000  # instructions processed; three cases walk further


@pytest.mark.skipif(not CASES.exists(), reason="no verifier cases in ../shared/data")
@pytest.mark.parametrize("kernel", KERNELS)
def test_agreement(kernel: str) -> None:
    if not Rules("live").version.startswith("6.18"):
        pytest.skip("the kernel's structs are read from the running kernel, and the list is for 6.18's")
    try:
        btf = kernel_btf()
    except (OSError, ProbeeError) as error:
        pytest.skip(f"no BTF of the kernel: {error}")
    at = KERNELS.index(kernel)
    differing: dict[str, str] = {}
    asked = 0
    for case in CaseFile(CASES.read_bytes(), btf).cases:
        said = WORDS.get(SAID["verdicts"].get(case.id, "---")[at])
        if said is None or case.problem or case.live.get("insns_processed", 0) > LONGEST:
            continue
        asked += 1
        verdict = verify(case.program, kernel=kernel, kernel_btf=btf)
        if verdict.verdict != said:
            differing[case.id] = f"{verdict}, not {said}"
    assert asked > 1600
    assert set(differing) == set(LISTED[kernel]), "\n".join(
        f"{name}: {differing.get(name, 'agrees now')}"
        for name in sorted(set(differing) ^ set(LISTED[kernel]))
    )
    assert len(differing) <= asked * 0.03


def test_every_difference_has_its_reason() -> None:
    for kernel in KERNELS:
        assert all(len(reason) > 30 for reason in LISTED[kernel].values())
