"""The programs of objects and of the six tools: our verdict is the running kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from c_objects import compile_file
from probee.cli.build import compile_file as compile_python
from probee.cli.verify import check
from probee.errors import ProbeeError, VerifierError
from probee.kernel.load import load
from probee.obj import read_object
from probee.obj.spec import ObjectSpec
from probee.tools import TOOLS
from probee.verifier.kernels import Rules
from probee.verifier.verdict import ACCEPT, REJECT

HERE = Path(__file__).parent
SOURCES = sorted(HERE.glob("corpus/*.bpf.c"))


def kernel_says(spec: ObjectSpec, name: str) -> tuple[str, str]:
    """("accept" or "reject", its words); ("", why) where the kernel's verifier didn't get to see it."""
    try:
        with load(spec, programs=[name]):
            return ACCEPT, ""
    except VerifierError as error:
        return REJECT, str(error)
    except ProbeeError as error:
        return "", str(error)


def compare(spec: ObjectSpec) -> int:
    """How many programs were compared; all have to agree."""
    compared = 0
    differing = []
    for result in check(spec, "live"):
        verdict, words = kernel_says(spec, result.name)
        if not verdict:
            continue
        compared += 1
        if result.verdict.verdict != verdict:
            differing.append(f"{result.name}: ours {result.verdict}; kernel {verdict} {words}")
    assert not differing, "\n".join(differing)
    return compared


@pytest.fixture(autouse=True)
def same_version() -> None:
    version = Rules("live").version
    if not version.startswith("6.18"):
        pytest.skip(f"our verdicts are Linux 6.18's; this is {version}")


@pytest.mark.root
@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name.removesuffix(".bpf.c"))
def test_objects(source: Path) -> None:
    compare(read_object(compile_file(source), source.name))


@pytest.mark.root
@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_tools(tool: str) -> None:
    assert compare(read_object(compile_python(tool), tool)) > 0
