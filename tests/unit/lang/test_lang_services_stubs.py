"""What editors and type checkers are told: the names of the language, and the kernel's types."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lang_module
import probee
from probee.cli.main import main
from probee.errors import CompileError, ProbeeError
from probee.lang.services import stub_helpers, stub_kernel

REPO = Path(__file__).resolve().parents[3]
PROGRAM = """
from __future__ import annotations

from typing import Any

import probee as bp
from probee import u32, u64, vmlinux

counts = bp.Hash[u32, u64](64)


@bp.tp_btf("sched_switch")
def switch(preempt: Any, prev: vmlinux.task_struct, next: vmlinux.task_struct) -> None:
    parent = prev.real_parent
    counts[parent.tgid] += bp.ktime_get_ns()
    socket = bp.cast(vmlinux.sock, 4096)
    counts[1] = socket.sk_priority


@bp.tracepoint("sched:sched_process_exec")
def execute(args: vmlinux.events.sched_process_exec) -> None:
    counts[u32(args.pid)] = 1


@bp.raw_tracepoint("sys_enter")
def enter(regs: Any, number: Any) -> None:
    counts[0] = number
"""


@pytest.fixture(scope="module")
def ktypes():
    return lang_module.kernel_types()


def test_the_names_are_those_of_the_prototypes():
    made = stub_helpers.render()
    assert stub_helpers.FILE.read_text() == made, "run `python -m probee.lang.services.stub_helpers`"
    names = {n.name for n in ast.parse(made).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    for name in sorted(names - {"_Kfuncs"}):
        assert hasattr(probee, name), name
    tree = {n.name: n for n in ast.parse(made).body if isinstance(n, ast.FunctionDef)}
    doc = ast.get_docstring(tree["skb_store_bytes"])
    assert doc is not None
    assert "Since Linux 4.1." in doc
    assert "long bpf_skb_store_bytes(struct sk_buff *skb, u32 offset" in doc


def test_kernel_types_for_checkers(ktypes):
    text = stub_kernel.render(ktypes, ["task_struct"])
    classes = {n.name: n for n in ast.parse(text).body if isinstance(n, ast.ClassDef)}
    fields = {n.target.id: ast.unparse(n.annotation) for n in classes["task_struct"].body[1:]}
    assert fields["pid"] == "_int"
    assert fields["real_parent"] == "_task_struct"
    assert fields["comm"] == "_str"
    assert "mm_struct" in classes
    functions = {n.name for n in classes["kfunc"].body if isinstance(n, ast.FunctionDef)}
    assert "bpf_task_acquire" in functions or ktypes.kfunc("bpf_task_acquire") is None
    events = {n.name for n in classes["events"].body if isinstance(n, ast.ClassDef)}
    assert "sched_process_exec" in events
    with pytest.raises(CompileError, match="no struct of_no_kernel"):
        stub_kernel.render(ktypes, ["of_no_kernel"])


def test_annotations_may_name_kernel_types(ktypes, tmp_path):
    lang_module.to_ir(lang_module.make(PROGRAM, tmp_path), ktypes)
    wrong = PROGRAM.replace("prev: vmlinux.task_struct", "prev: vmlinux.sock")
    with pytest.raises(
        CompileError, match="prev is a pointer to struct task_struct at this hook, not a sock"
    ):
        lang_module.to_ir(lang_module.make(wrong, tmp_path), ktypes)


def test_the_command_writes_a_module(ktypes, tmp_path, capsys):
    folder = tmp_path / "typings"
    assert main(["stubs", "-o", str(folder), "task_struct"]) == 0
    assert "vmlinux.pyi" in capsys.readouterr().out
    spec = importlib.util.spec_from_file_location("vmlinux", folder / "vmlinux.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.task_struct.kernel_name == "task_struct"
    assert module.events.sched_switch.kernel_name == "trace_event_raw_sched_switch"
    (tmp_path / "file").write_text("")
    main_stubs = importlib.import_module("probee.cli.stubs").main
    with pytest.raises(ProbeeError, match="can't write"):
        main_stubs(["-o", str(tmp_path / "file" / "x")])


def test_type_checkers_understand_both(ktypes, tmp_path):
    """mypy, strict: hover and errors come from the same files. Programs leave their functions untyped."""
    pytest.importorskip("mypy")
    main(["stubs", "-o", str(tmp_path), "task_struct", "sock"])
    program = PROGRAM.replace(
        "from probee import u32, u64, vmlinux", "import vmlinux\nfrom probee import u32, u64"
    )
    good = program + "\n\ndef told(task: vmlinux.task_struct) -> int:\n    return task.real_parent.tgid\n"
    bad = good + "\n\nx: str = bp.ktime_get_ns()\ny: str = told.__name__ + bp.pid()\nbp.ktime_get_ns(1)\n"
    (tmp_path / "good.py").write_text(good)
    (tmp_path / "bad.py").write_text(bad)
    run = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file="]
    run += ["--allow-untyped-defs", "--allow-incomplete-defs"]
    run += ["--cache-dir", str(REPO / ".mypy_cache"), "good.py", "bad.py"]
    shown = re.findall(r"^```python\n(.*?)^```", (REPO / "README.md").read_text(), re.M | re.S)
    for i, program in enumerate(text for text in shown if "import probee" in text):
        (tmp_path / f"readme_{i}.py").write_text(program)
        run.append(f"readme_{i}.py")
    out = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    lines = [line for line in out.stdout.splitlines() if "error" in line]
    assert not [line for line in lines if not line.startswith("bad.py")], out.stdout
    assert len([line for line in lines if line.startswith("bad.py")]) == 3, out.stdout
