"""The tables against what this machine knows, and against each other."""

from __future__ import annotations

import inspect
import os
import re

import pytest

from probee.btf import kernel_btf
from probee.btf.kinds import ENUM
from probee.errors import ProbeeError
from probee.isa import sections
from probee.isa.sections import SECTIONS, match
from probee.isa.syscalls import SYSCALLS, number
from probee.isa.tables import ATTACH_TYPES, HELPERS, MAP_TYPES, PROG_TYPES, name_of

TABLES = {
    "bpf_prog_type": ("BPF_PROG_TYPE_", PROG_TYPES),
    "bpf_map_type": ("BPF_MAP_TYPE_", MAP_TYPES),
    "bpf_attach_type": ("BPF_", ATTACH_TYPES),
    "bpf_func_id": ("BPF_FUNC_", HELPERS),
}
ALIASES = ("deprecated", "unspec")


@pytest.mark.parametrize("enum", TABLES)
def test_numbers_are_this_kernels(enum: str) -> None:
    prefix, table = TABLES[enum]
    try:
        btf = kernel_btf()
    except ProbeeError as e:
        pytest.skip(f"no kernel BTF here: {e}")
    found = btf.find(enum, ENUM)
    if found is None:
        pytest.skip(f"this kernel's BTF has no enum {enum}")
    values = {
        n.removeprefix(prefix).lower(): v for n, v in btf.type(found).enumerators if n.startswith(prefix)
    }
    known = {n: v for n, v in values.items() if not n.endswith(ALIASES)}
    assert len(known) > 20
    # A newer kernel may know more than the table, an older one less; nobody may disagree.
    for name, value in known.items():
        if name in table:
            assert table[name][0] == value, name
    unknown = set(known) - set(table)
    assert all(known[n] > max(v for v, _ in table.values()) for n in unknown), unknown


@pytest.mark.parametrize("enum", TABLES)
def test_versions_look_like_versions_and_never_go_back(enum: str) -> None:
    table = TABLES[enum][1]
    versions = []
    for name, (_, since) in sorted(table.items(), key=lambda item: item[1][0]):
        assert re.fullmatch(r"[3-7]\.\d+", since), name
        major, minor = since.split(".")
        versions.append((int(major), int(minor)))
    assert versions == sorted(versions)  # the kernel only appends
    numbers = [n for n, _ in table.values()]
    assert len(set(numbers)) == len(numbers)


def test_name_of() -> None:
    assert name_of(MAP_TYPES, 27) == "ringbuf"
    assert name_of(HELPERS, 5) == "ktime_get_ns"
    assert name_of(HELPERS, 100_000) == ""


def test_sections_have_the_numbers_of_the_names_beside_them() -> None:
    source = inspect.getsource(sections)
    rows = re.findall(r'^    "(.*)": \((\d+), (\d+), .*\),  # (\w+)(?:, (\w+))?$', source, re.MULTILINE)
    assert len(rows) == len(SECTIONS)
    for name, program, attach, program_name, attach_name in rows:
        assert PROG_TYPES[program_name][0] == int(program), name
        assert (ATTACH_TYPES[attach_name][0] if attach_name else 0) == int(attach), name
        assert match(name) == (name, "")


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("tp/sched/sched_switch", ("tp", "sched/sched_switch")),
        ("?kprobe/do_exit", ("kprobe", "do_exit")),
        ("uprobe.s//bin/bash:readline", ("uprobe.s", "/bin/bash:readline")),
        ("cgroup/connect4", ("cgroup/connect4", "")),
        ("xdp/devmap", ("xdp/devmap", "")),
        ("xdp/nothing", None),
        ("socketry", None),
        ("/tp", None),
        ("", None),
    ],
)
def test_sections_by_name(section: str, expected: tuple[str, str] | None) -> None:
    assert match(section) == expected


def test_system_call_numbers() -> None:
    assert number("openat", "x86_64") == 257
    assert number("openat", "aarch64") == 56
    assert number("newstat", "x86_64") == number("stat", "x86_64") == 4
    assert number("open", "aarch64") is None
    assert number("openat", "pdp11") is None
    for table in SYSCALLS.values():
        assert len(set(table.values())) == len(table)


def test_every_system_call_tracepoint_has_a_number() -> None:
    events = "/sys/kernel/tracing/events/syscalls"
    arch = os.uname().machine
    try:
        names = os.listdir(events)
    except OSError:
        pytest.skip(f"{events} can't be read (needs root and tracefs)")
    if arch not in SYSCALLS:
        pytest.skip(f"no table of system calls for {arch}")
    calls = [n.removeprefix("sys_enter_") for n in names if n.startswith("sys_enter_")]
    assert len(calls) > 100
    unknown = [c for c in calls if number(c, arch) is None]
    # A kernel newer than the table may have a few more.
    assert len(unknown) <= 10, unknown
