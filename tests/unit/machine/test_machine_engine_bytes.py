"""Any bytes are a program or an ObjectError; both byte orders; the plug-in of bpf_conformance."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probee.cli.main import main
from probee.errors import ObjectError, ProbeeError
from probee.isa import assemble
from probee.machine import BareEnv, Code, Cpu


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=80), st.sampled_from(["little", "big"]))
def test_garbage(data: bytes, endian: str) -> None:
    try:
        code = Code(data, endian=endian)
    except ObjectError:
        return
    outcomes: list[object] = []
    for engine in ("step", "interpret"):
        try:
            outcomes.append(Cpu(BareEnv(), engine=engine, budget=1000).run(code))
        except ProbeeError as error:
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


def test_big_endian_code() -> None:
    text = "r0 = 1\nr1 = 0x1122334455667788 ll\nr0 += r1\nif r0 != r1 goto +1\nr0 = 0\nexit"
    code = Code(assemble(text, endian="big"), endian="big")
    assert Cpu(BareEnv(), engine="step").run(code) == 0x1122334455667789


def test_verified_says_when_it_checks(capsys: pytest.CaptureFixture[str]) -> None:
    taken = assemble("r0 = *(u8 *)(r1 + 1)\nexit").hex()
    assert main(["conformance-plugin", "aa bb", "--verified", "--program", taken]) == 0
    assert capsys.readouterr() == ("bb\n", "")
    assert main(["conformance-plugin", "", "--verified", "--program", taken]) == 0  # the context is there
    assert capsys.readouterr() == ("0\n", "")
    refused = assemble("r0 = r2\nexit").hex()
    assert main(["conformance-plugin", "aa bb", "--verified", "--program", refused]) == 0
    found = capsys.readouterr()
    assert found.out == "2\n"
    assert "every access checked: the verifier says: R2 !read_ok" in found.err


@pytest.mark.parametrize("option", ["--interpreter", "--step", "--jit", "--verified"])
def test_conformance_plugin(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = assemble("r0 = *(u8 *)(r1 + 1)\nr0 += r2\nexit").hex(" ")
    assert main(["conformance-plugin", "aa bb cc", option, "--program", program]) == 0
    assert capsys.readouterr().out == "be\n"
    assert main(["conformance-plugin", "aa", option, "--program", "zz"]) == 1
    assert "hex" in capsys.readouterr().err
