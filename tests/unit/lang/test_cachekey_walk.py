"""The cache key changes with everything that changes the object, and with nothing else."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import probee as bp
from probee.errors import CompileError
from probee.lang import cachekey, decl

TEXT = """
from __future__ import annotations
import helper
import probee as bp
from probee import u32, u64, Char
from helper import Pid, Color

LIMIT = 5
TABLE = (1, 2)
UNUSED = 1

class Event(bp.Struct):
    pid: u32
    comm: Char[16]

events = bp.RingBuf[Event](4096)
counts = bp.Hash[u32, u64](16)
idle = bp.Hash[u32, u64](16)
wanted = bp.Const[u32](0)
total = bp.Global[u64](0)

def scale(x):
    return x * helper.FACTOR

@bp.tracepoint("sched:sched_switch")
def on_switch(args):
    pid: Pid = args.next_pid  # the map `idle` is only talked about
    if pid in {"a", "b", "c", "d"}:
        return
    if pid > LIMIT and pid != wanted and pid != Color.RED and pid != TABLE[0]:
        counts[pid] += scale(1)
        total.value += 1
        with events.reserve() as e:
            e.pid = pid

def main():
    print(UNUSED)
"""
HELPER = """
import enum
from probee import u32
FACTOR = 3
OTHER = 1
Pid = u32
class Color(enum.IntEnum):
    RED = 1
    BLUE = 2
"""


class Project:
    """A program and a module it uses, on disk; `key` imports both anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.texts = {"prog": TEXT, "helper": HELPER}
        self.decls: list[object] = []

    def module(self, name: str) -> ModuleType:
        path = self.folder / f"{name}.py"
        path.write_text(self.texts[name])
        module = ModuleType(name)
        sys.modules[name] = module
        exec(compile(self.texts[name], str(path), "exec"), module.__dict__)
        return module

    def key(self, change=lambda prog, helper: None, **options: object) -> str:
        try:
            helper = self.module("helper")
            prog = self.module("prog")
            change(prog, helper)
            key, self.decls = cachekey.fingerprint(decl.programs_in(vars(prog)), **options)
            return key
        finally:
            sys.modules.pop("helper", None)
            sys.modules.pop("prog", None)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_same_program_same_key(project: Project) -> None:
    first = project.key()
    assert len(first) == 32
    assert int(first, 16)
    assert project.key() == first
    assert [d.name for d in project.decls] == ["wanted", "counts", "total", "events"]


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("prog", "pid > LIMIT", "pid >= LIMIT"),
        ("prog", "LIMIT = 5", "LIMIT = 6"),
        ("prog", "TABLE = (1, 2)", "TABLE = (3, 2)"),
        ("prog", "x * helper", "x + helper"),
        ("prog", "[u32, u64](16)\nidle", "[u32, u64](32)\nidle"),
        ("prog", "counts = bp.Hash", "counts = bp.LruHash"),
        ("prog", "Const[u32](0)", "Const[u32](1)"),
        ("prog", "Const[u32](0)", "Const[u64](0)"),
        ("prog", "Char[16]", "Char[8]"),
        ("prog", "sched_switch", "sched_waking"),
        ("prog", "\nLIMIT", "\n\nLIMIT"),
        ("prog", "def on_switch", "def on_swatch"),
        ("helper", "FACTOR = 3", "FACTOR = 4"),
        ("helper", "RED = 1", "RED = 3"),
        ("helper", "Pid = u32", "from probee import u64 as Pid"),
    ],
)
def test_what_changes_the_object_changes_the_key(project: Project, module: str, old: str, new: str) -> None:
    before = project.key()
    assert old in project.texts[module]
    project.texts[module] = project.texts[module].replace(old, new)
    assert project.key() != before


def test_what_does_not(project: Project) -> None:
    before = project.key()
    project.texts["helper"] = HELPER.replace("OTHER = 1", "OTHER = 2")
    assert project.key() == before

    def set_before_attach(prog: ModuleType, helper: ModuleType) -> None:
        prog.wanted.value = 99
        prog.UNUSED = 7

    assert project.key(set_before_attach) == before


def test_values_count_not_only_text(project: Project) -> None:
    before = project.key()

    def patched(prog: ModuleType, helper: ModuleType) -> None:
        helper.FACTOR = 77

    assert project.key(patched) != before

    def other_limit(prog: ModuleType, helper: ModuleType) -> None:
        prog.LIMIT = True

    assert project.key(other_limit) != before


def test_options_and_versions_count(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {project.key(), project.key(merge_syscalls=True), project.key(merge_syscalls=False)}
    assert len(keys) == 3
    for name, fake in (
        ("_toolchain", lambda: ["lang/decl.py 1 2"]),
        ("_kernel", lambda: [b"another kernel"]),
        ("FORMAT", 99),
    ):
        with monkeypatch.context() as m:
            m.setattr(cachekey, name, fake)
            keys.add(project.key())
    assert len(keys) == 6


def test_toolchain_and_kernel_facts() -> None:
    lines = cachekey._toolchain()
    assert any(line.startswith("lang/llvm.py ") for line in lines)
    assert any(line.startswith("isa/tables.py ") for line in lines)
    assert "site-packages" in lines[-1]  # LLVM's library
    assert os.uname().release in cachekey._kernel()[0].decode()


def test_closures_count() -> None:
    def make(limit: int, table: bp.Hash) -> bp.tracepoint:
        @bp.tracepoint("sched:sched_switch")
        def prog(args):
            if args.next_pid > limit:
                table[1] = 2

        return prog

    m = bp.Hash[bp.u32, bp.u64](4)
    one, decls = cachekey.fingerprint([make(1, m)])
    assert [d.name for d in decls] == ["table"]
    assert cachekey.fingerprint([make(1, m)])[0] == one
    assert cachekey.fingerprint([make(2, m)])[0] != one
    assert cachekey.fingerprint([make(1, bp.Hash[bp.u32, bp.u64](5))])[0] != one


def test_names_are_unique_and_ascii() -> None:
    def program(größe, prog_map):
        @bp.tracepoint("sched:sched_switch")
        def prog(args):
            größe[1] = prog_map[1]

        return prog

    a, b = bp.Hash[bp.u32, bp.u64](4), bp.Hash[bp.u32, bp.u64](4)
    b.name = "gr__e"
    _, decls = cachekey.fingerprint([program(a, b)])
    assert sorted(d.name for d in decls) == ["gr__e", "gr__e_2"]

    @bp.tracepoint("sched:sched_switch")
    def runs(args):
        a[1] = 2

    a.name = "runs"
    _, decls = cachekey.fingerprint([runs])
    assert [d.name for d in decls] == ["runs_2"]


def test_recursion_and_cycles_end() -> None:
    class Tree:
        pass

    Tree.root = Tree
    loop: list[object] = []
    loop.append(loop)

    def again(n):
        return again(n - 1)

    @bp.tracepoint("sched:sched_switch")
    def prog(args):
        return again(Tree.root.root) + loop[0]

    assert cachekey.fingerprint([prog])[0]


class Level(enum.Enum):
    LOW = 1


def test_enum_by_member_and_global_member() -> None:
    def key() -> str:
        @bp.tracepoint("sched:sched_switch")
        def prog(args):
            return Level.LOW.value

        return cachekey.fingerprint([prog])[0]

    global Level
    before, old = key(), Level
    try:
        Level = enum.Enum("Level", {"LOW": 2})
        assert key() != before
    finally:
        Level = old
    assert key() == before


def test_enum_member_as_constant() -> None:
    def key(level: enum.Enum) -> str:
        @bp.tracepoint("sched:sched_switch")
        def prog(args):
            return level.value

        return cachekey.fingerprint([prog])[0]

    def level(value: int) -> enum.Enum:
        return enum.Enum("Level", {"LOW": value}).LOW

    assert key(level(1)) == key(level(1)) != key(level(2))


def test_two_structs_of_one_name() -> None:
    def make(n: int) -> bp.RingBuf:
        cls = type(bp.Struct)("Event", (bp.Struct,), {"__annotations__": {"x": bp.u8[n]}})
        return bp.RingBuf[cls](4096)

    def program(a, b):
        @bp.tracepoint("sched:sched_switch")
        def prog(args):
            a.output(b)

        return prog

    assert cachekey.fingerprint([program(make(1), make(1))])
    with pytest.raises(CompileError, match="two different structs are named Event"):
        cachekey.fingerprint([program(make(1), make(2))])


def test_it_is_the_same_in_another_process(project: Project) -> None:
    """Hash seeds must not show."""
    key = project.key()
    text = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import prog; from probee.lang import cachekey, decl\n"
        "print(cachekey.fingerprint(decl.programs_in(vars(prog)))[0])"
    )
    for seed in ("1", "2", "3"):
        run = subprocess.run(
            [sys.executable, "-c", text, str(project.folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.strip() == key


def test_key_of_code_without_a_file() -> None:
    def key(text: str) -> str:
        space: dict[str, object] = {"bp": bp}
        exec(compile(text, "<nowhere>", "exec"), space)
        return cachekey.fingerprint([space["f"]])[0]

    text = "@bp.tracepoint('a:b')\ndef f(args):\n  return {}"
    assert key(text.format(1)) == key(text.format(1)) != key(text.format(2))
