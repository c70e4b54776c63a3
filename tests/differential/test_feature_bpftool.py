"""`probee feature -j` against `bpftool feature probe -j`: the same answers, field by field."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from probee.isa.tables import HELPERS, PROG_TYPES
from probee.kernel.features import ask
from probee.kernel.features.attempt import EXIT, ZERO, insn, verdict

pytestmark = pytest.mark.root

# bpftool asks for tracing, LSM and replacing programs by attaching them to type 1 of the kernel's BTF, with
# fentry's attach type for tracing. We ask for it by tp_btf, which a kernel that refuses fentry to all may
# well take.
BY_TARGET = {"tracing": "fentry", "ext": "freplace", "lsm": "lsm"}


def run(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    if shutil.which("bpftool") is None:
        pytest.skip("needs bpftool")
    return run("bpftool", "feature", "probe", "-j")


@pytest.fixture(scope="module")
def ours() -> dict[str, Any]:
    return run(sys.executable, "-m", "probee", "feature", "probe", "-j")


def test_sections_are_in_bpftools_order(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert list(ours)[: len(theirs)] == list(theirs)


def test_system(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert theirs["syscall_config"] == ours["syscall_config"]
    here = ours["system_config"]
    assert {name: here[name] for name in theirs["system_config"]} == theirs["system_config"]
    assert list(here)[: len(theirs["system_config"])] == list(theirs["system_config"])


def test_program_types(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for name, have in theirs["program_types"].items():
        kind = name.removeprefix("have_").removesuffix("_prog_type")
        if kind in BY_TARGET and ask(BY_TARGET[kind]).reason == "policy":
            assert not have
            continue
        assert ours["program_types"][name] == have, name


def test_map_types(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for name, have in theirs["map_types"].items():
        assert ours["map_types"][name] == have, name


def test_miscellaneous(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    for name, have in theirs["misc"].items():
        assert ours["misc"][name] == have, name


def _version() -> tuple[int, ...]:
    text = subprocess.run(["bpftool", "version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"libbpf v(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def test_helpers_of_each_program_type(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    """All of them, but for what an old bpftool can't know:

    - helpers younger than bpftool, and those of types that it does not ask (tracing, struct_ops, ext, lsm);
    - since Linux 6.13 a helper that a type may not call is refused in other words than "unknown func". libbpf
      before 1.6 does not know them, and takes each helper for available. There the kernel is asked again.
    """
    every = {name for names in theirs["helpers"].values() for name in names}
    newest = max((HELPERS[name.removeprefix("bpf_")][0] for name in every), default=0)
    for kind, theirs_ in theirs["helpers"].items():
        program = kind.removesuffix("_available_helpers")
        if program in ("tracing", "struct_ops", "ext", "lsm"):
            assert theirs_ == []
            continue
        known = [n for n in ours["helpers"][kind] if HELPERS[n.removeprefix("bpf_")][0] <= newest]
        assert not set(known) - set(theirs_), kind
        extra = set(theirs_) - set(known)
        if extra and _version() < (1, 6):
            extra = {name for name in extra if not _refused(program, name)}
        assert not extra, kind


def _refused(program: str, name: str) -> bool:
    number = HELPERS[name.removeprefix("bpf_")][0]
    attach = {"cgroup_sock_addr": 10, "cgroup_sockopt": 21, "sk_lookup": 36}.get(program, 0)
    code = insn(0x85, imm=number) + ZERO + EXIT
    flags = 16 if program == "syscall" else 0
    error, log = verdict(PROG_TYPES[program][0], code, attach=attach, flags=flags)
    return error == 22 and "program of this type cannot use helper" in log


def test_macros_name_the_same_things(theirs: dict[str, Any]) -> None:
    def names(*command: str) -> set[str]:
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        lines = re.findall(r"^#define (\w+(?:_TYPE|_SYSCALL|_LIMIT|_LOOPS|_EXTENSION))$", text, re.M)
        return set(lines)

    refused = {f"{kind.upper()}_PROG_TYPE" for kind, name in BY_TARGET.items() if not ask(name)}
    mine = names(sys.executable, "-m", "probee", "feature", "probe", "macros")
    for name in names("bpftool", "feature", "probe", "macros"):
        if name.removeprefix("NO_").removeprefix("HAVE_") not in refused:
            assert name in mine
