"""`probee verify` and `probee verify-cases`: verdicts, exit codes, JSON, and files that are none."""

from __future__ import annotations

import contextlib
import json
import lzma
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.cli.main import main
from probee.cli.verify_live import last_words
from probee.errors import ProbeeError
from probee.isa.asm import assemble
from probee.isa.insn import decode
from probee.verifier.cases import CaseFile
from probee.verifier.explain_verdict import executed

ACCEPTED = assemble("r0 = 0\nexit")
REFUSED = assemble("r0 = r5\nexit")


def cases() -> dict[str, object]:
    def case(name: str, code: bytes, verdict: str, **more: object) -> dict[str, object]:
        return {
            "id": f"own/{name}",
            "file": "own.c",
            "insns": code.hex(),
            "prog_type_nr": 1,
            "expected": verdict,
            "live": {"verdict": verdict, "message": more.pop("message", None), "insns_processed": 2},
            "fixups": {},
            **more,
        }

    return {
        "meta": {},
        "tests": [
            case("good", ACCEPTED, "accept"),
            case("bad", REFUSED, "reject", message="R5 !read_ok"),
            {**case("elsewhere", REFUSED, "accept"), "live": {"verdict": "accept", "env": "not here"}},
        ],
    }


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "cases.json.xz"
    path.write_bytes(lzma.compress(json.dumps(cases()).encode()))
    return str(path)


def test_a_line_for_each_case(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-cases", file, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["verdict"] for line in lines] == ["accept", "reject", "reject"]
    assert lines[1]["message"] == "R5 !read_ok"
    assert set(lines[0]) == {"id", "verdict", "message", "insns_processed", "retval"}
    assert lines[0]["insns_processed"] == 2


def test_comparing(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-cases", file, "--compare"]) == 0
    told = capsys.readouterr().out
    assert "2 of 2 verdicts agree (100.00 %)" in told
    assert "accepted though the kernel refuses: 0" in told


def test_a_difference_is_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = cases()
    tests = content["tests"]
    assert isinstance(tests, list)
    tests[0]["live"] = {"verdict": "reject", "message": "no"}
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(content))
    assert main(["verify-cases", str(path), "--compare"]) == 1
    assert "accepted though the kernel refuses: 1" in capsys.readouterr().out
    assert main(["verify-cases", str(path), "--only", "bad", "--compare"]) == 0


def test_a_table_by_family(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-cases", file]) == 0
    assert "own.c" in capsys.readouterr().out


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProbeeError):
        CaseFile(data).cases  # noqa: B018


@given(
    st.dictionaries(
        st.sampled_from(
            ["insns", "fixups", "maps", "map_refs", "flags", "func_info", "btf_types", "retval", "id"]
        ),
        st.one_of(
            st.none(), st.integers(-9, 9), st.text(max_size=8), st.lists(st.integers(0, 3), max_size=3)
        ),
    )
)
def test_any_case_is_read_or_refused(case: dict[str, object]) -> None:
    with contextlib.suppress(ProbeeError):
        CaseFile(json.dumps([case]).encode()).cases  # noqa: B018


def test_files_that_are_no_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "none.json"
    path.write_text("{}")
    assert main(["verify-cases", str(path)]) == 1
    assert "no list of cases" in capsys.readouterr().err
    assert main(["verify-cases", str(tmp_path / "nowhere")]) == 1


def test_other_kernels_are_refused(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", file, "--kernel", "4.4"]) == 1
    assert "5.10" in capsys.readouterr().err


def test_the_last_words_of_a_log() -> None:
    log = "0: R1=ctx() R10=fp0\n0: (bf) r0 = r5\nR5 !read_ok\nprocessed 1 insns (limit 1000000)\n"
    assert last_words(log) == "R5 !read_ok"
    assert last_words("infinite loop detected at insn 1\ncur state: R0=0\nold state: R0=0\n").startswith(
        "infinite"
    )
    assert last_words("") == ""


def test_the_way_is_found_again() -> None:
    insns = decode(assemble("if r1 == 0 goto out\nr0 = 1\nr0 = 2\nout:\nexit"))
    assert [at for at, _ in executed(insns, [(0, True)], 3)] == [0, 3]
    assert [at for at, _ in executed(insns, [(0, False)], 2)] == [0, 1, 2]
    called = decode(assemble("call below\nexit\nbelow:\nr0 = 0\nexit"))
    assert executed(called, [], 1) == [(0, 0), (2, 1), (3, 1), (1, 0)]
