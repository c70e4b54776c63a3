"""LLVM in its child process: results, failures, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import ir_samples as s
import pytest

from probee import CompileError
from probee.lang import codegen, ir, llvm
from probee.lang.builder import Builder
from probee.lang.inlining import Plan

HEAD = 'target datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"\ntarget triple = "bpf"\n'
TINY = HEAD + 'define i32 @f(ptr %a) section "tp/x" {\n  ret i32 0\n}\n'
MANY_ARGS = (
    HEAD
    + """define i64 @f(i64 %a) !dbg !4 {
  %r = call i64 inttoptr (i64 6 to ptr)(i64 %a, i64 %a, i64 %a, i64 %a, i64 %a, i64 %a), !dbg !7
  ret i64 %r, !dbg !7
}
!llvm.dbg.cu = !{!0}
!llvm.module.flags = !{!2}
!0 = distinct !DICompileUnit(language: DW_LANG_C11, file: !1, emissionKind: FullDebug)
!1 = !DIFile(filename: "/home/prog.py", directory: "")
!2 = !{i32 2, !"Debug Info Version", i32 3}
!3 = !{}
!4 = distinct !DISubprogram(name: "f", scope: !1, file: !1, type: !5, unit: !0, spFlags: DISPFlagDefinition)
!5 = !DISubroutineType(types: !3)
!7 = !DILocation(line: 12, column: 9, scope: !4)
"""
)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def children() -> str:
    found = ""
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # that thread has just ended
            found += path.read_text()
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> object:
    before = descriptors()
    yield
    assert descriptors() == before
    deadline = time.monotonic() + 5
    while children() and time.monotonic() < deadline:  # the child's end is awaited in the background
        time.sleep(0.01)
    assert children() == ""


def test_object() -> None:
    assert codegen.compile_text(TINY).startswith(b"\x7fELF")


def test_started_before_there_is_a_module() -> None:
    with codegen.Compiler() as compiler:
        assert compiler.compile(TINY) == codegen.compile_text(TINY)


def test_unused() -> None:
    with codegen.Compiler():
        pass
    compiler = codegen.Compiler()
    compiler.close()
    compiler.close()


def test_closed_on_an_error_of_the_front_end() -> None:
    with pytest.raises(CompileError, match="front"), codegen.Compiler():
        raise CompileError("front")


def test_used_twice() -> None:
    with codegen.Compiler() as compiler:
        compiler.compile(TINY)
        with pytest.raises(ValueError, match="used or closed"):
            compiler.compile(TINY)


def test_error_of_the_back_end_has_its_place() -> None:
    with pytest.raises(CompileError) as caught:
        codegen.compile_text(MANY_ARGS)
    error = caught.value
    assert (error.file, error.line, error.column) == ("/home/prog.py", 12, 8)
    assert str(error).startswith("/home/prog.py:12:9: LLVM cannot compile f(): ")


def test_error_about_a_whole_function_has_its_line() -> None:
    body = "  %a = alloca [600 x i8]\n  %r = call i64 inttoptr (i64 6 to ptr)(ptr %a)\n  ret i64 %r\n"
    with codegen.Compiler() as compiler, pytest.raises(CompileError) as caught:
        compiler.compile(HEAD + "define i64 @big() {\n" + body + "}\n", {"big": ("prog.py", 7)})
    assert str(caught.value).startswith(
        "prog.py:7:1: LLVM cannot compile big(): Looks like the BPF stack limit"
    )
    assert "PerCpuArray" in caught.value.advice


def test_text_that_is_not_llvms() -> None:
    with pytest.raises(CompileError, match="expected"):
        codegen.compile_text(HEAD + "define nonsense")


def test_module_that_is_not_sound() -> None:
    with pytest.raises(CompileError, match="dominate"):
        codegen.compile_text(
            HEAD + "define i64 @f() {\n  %a = add i64 %b, 1\n  %b = add i64 %a, 1\n  ret i64 %b\n}\n"
        )


def test_child_that_is_killed() -> None:
    with codegen.Compiler() as compiler:
        os.kill(compiler._pid, signal.SIGKILL)
        with pytest.raises(CompileError, match="SIGKILL"):
            compiler.compile(TINY)


def test_large_module() -> None:
    body = "".join(f"  %v{i} = add i64 %v{i - 1}, {i}\n" for i in range(1, 8000))
    text = HEAD + f"define i64 @f(i64 %v0) {{\n{body}  ret i64 %v7999\n}}\n"
    assert len(text) > 1 << 17
    assert codegen.compile_text(text).startswith(b"\x7fELF")


def test_no_closed_form_of_a_sum() -> None:
    """Without --replexitval=never LLVM makes this a 65-bit product and ends with `__multi3`."""

    def body(b: Builder, m: ir.Module) -> None:
        total, i = b.local("total", s.U64), b.local("i", s.U64)
        n = b.helper("ktime_get_ns")
        b.write(total, b.const(0))
        b.write(i, b.const(0))
        head, inside, end = b.new_block(), b.new_block(), b.new_block()
        b.jump(head)
        b.at(head)
        b.branch(b.compare("<", b.read(i), n), inside, end)
        b.at(inside)
        b.write(total, b.arith("+", b.read(total), b.read(i)))
        b.write(i, b.arith("+", b.read(i), b.const(1)))
        b.jump(head)
        b.at(end)
        b.write(s.sink(m), b.read(total))

    assert "prog" in s.build(body).programs


def test_sigchld_ignored() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert codegen.compile_text(TINY).startswith(b"\x7fELF")
        with pytest.raises(CompileError):
            codegen.compile_text(MANY_ARGS)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_with_threads_there_is_no_warning() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert codegen.compile_text(TINY).startswith(b"\x7fELF")
    finally:
        stop.set()
        thread.join()


def test_llvm_is_not_loaded_here() -> None:
    code = f"from probee.lang import codegen\ncodegen.compile_text({TINY!r})\n"
    code += "print(open('/proc/self/maps').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "python" in done.stdout
    assert "libllvmlite" not in done.stdout


HANGS_AT_EXIT = """
import ctypes, os, sys
from probee import CompileError
from probee.lang import codegen
libc = ctypes.CDLL(None)
libc.on_exit(libc.pause, None)
try:
    codegen.compile_text(sys.stdin.read())
except CompileError as error:
    os.write(1, str(error).encode())
    os._exit(0)
"""


def test_what_other_libraries_do_at_exit_is_not_done_in_the_child() -> None:
    command = [sys.executable, "-c", HANGS_AT_EXIT]
    done = subprocess.run(command, input=MANY_ARGS.encode(), capture_output=True, timeout=30)
    assert done.stdout.startswith(b"/home/prog.py:12:9: LLVM cannot compile f()")


PUBLIC = """
import sys
from llvmlite import binding
for option in OPTIONS:
    binding.set_option("probee", option)
binding.initialize_all_targets()
binding.initialize_all_asmprinters()
target = binding.Target.from_triple("bpf")
machine = target.create_target_machine(cpu="v3", opt=2, codemodel="default")
module = binding.parse_assembly(sys.stdin.read())
def builder(level):
    return binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(level))
first = binding.create_new_module_pass_manager()
first.add_sroa_pass()
first.add_simplify_cfg_pass()
first.run(module, builder(0))
always = builder(0)
always.getModulePassManager().run(module, always)
module.get_function("small").add_function_attribute("alwaysinline")
inline = binding.create_new_module_pass_manager()
inline.add_always_inliner_pass()
inline.add_global_dead_code_eliminate_pass()
inline.run(module, builder(0))
for function in module.functions:
    passes = builder(2 if function.name == "prog" else 1)
    passes.getFunctionPassManager().run(function, passes)
sys.stdout.buffer.write(machine.emit_object(module))
"""


def test_same_object_as_by_llvmlites_public_interface() -> None:
    task = s.task_struct()
    x = ir.Param(0, "x", s.U64)
    small = ir.Function("small", [x], s.U64)
    inner = Builder(small)
    inner.ret(inner.arith("//", x, inner.const(10)))

    def body(b: Builder, m: ir.Module) -> None:
        m.functions.append(small)
        m.maps.append(s.hash_map())
        key = b.local("key", s.U32)
        b.write(key, b.read(s.at(b, s.current(b, task), "real_parent", "tgid")))
        again, end = b.new_block(), b.new_block()
        b.jump(again)
        b.at(again)
        b.helper("map_lookup_elem", ir.MapRef(m.maps[0]), key)
        b.write(key, b.call(small, b.read(key)))
        b.branch(b.compare("!=", b.read(key), b.const(0)), again, end)
        b.at(end)
        b.write(s.sink(m), b.read(key))

    text = llvm.to_text(s.module(body))
    code = f"OPTIONS = {[o.decode() for o in codegen._OPTIONS]}{PUBLIC}"
    public = subprocess.run(
        [sys.executable, "-c", code], input=text.encode(), capture_output=True, check=True
    )
    with codegen.Compiler() as compiler:
        assert compiler.compile(text, plan=Plan(["small"], ["prog"])) == public.stdout
