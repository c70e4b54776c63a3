"""Drives LLVM, in a child process: its BPF back end ends the process on errors, and it starts while we work.

The library is llvmlite's, through the few of its C functions needed here: importing `llvmlite.binding` costs
several times what loading the library costs. The parent never loads it.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import sys

from ..errors import CompileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from .inlining import Plan

_LENGTH = 8  # of the number before a message
_SPEED = 2  # -O2
# A handler of the parent's for these, faulthandler's for one, has nothing to do in the child.
_SIGKILL = 9  # the module `signal` takes its time to import, too
_DEADLY = (2, 4, 6, 7, 8, 11)  # SIGINT, SIGILL, SIGABRT, SIGBUS, SIGFPE, SIGSEGV (asm-generic/signal.h)
_OPTIONS = (
    # Rewriting loop results as closed forms makes a sum over range(n) a 65-bit product: BPF has none.
    b"--replexitval=never",
    b"--disable-auto-upgrade-debug-info",  # it verifies the module, as we do afterwards
    # what changes no instruction of the programs in bench/codegen, but takes its time
    b"--disable-constant-hoisting",
    b"--disable-early-taildup",
    b"--disable-expand-reductions",
    b"--disable-mergeicmps",
    b"--disable-partial-libcall-inlining",
    b"--disable-post-ra",
    b"--disable-postra-machine-licm",
    b"--disable-postra-machine-sink",
    b"--disable-tail-duplicate",
)
_INLINE = b"alwaysinline", len("alwaysinline")
_IN_ORDER = (b"--pre-RA-sched=source",)  # of what is not optimised


def library() -> str:
    """The path of llvmlite's library. CompileError if it is not installed."""
    for finder in sys.meta_path:  # importlib.util.find_spec() in short: that module takes 2 ms to import
        spec = finder.find_spec("llvmlite", None)
        for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
            path = os.path.join(folder, "binding", "libllvmlite.so")
            if os.path.exists(path):
                return path
    raise CompileError(
        "llvmlite is not installed: there is no LLVM to compile with", advice="pip install llvmlite"
    )


class Compiler:
    """One child with LLVM in it, for one module.

    The child starts at once and loads LLVM while the caller still makes the module. A context manager;
    closing it unused is fine.
    """

    def __init__(self, cpu: str = "v3", *, optimise: bool = True) -> None:
        path = library()
        self._pid = 0
        self._status: int | None = None
        self._fds: list[int] = []
        try:
            job, self._job = self._pipe()
            self._result, result = self._pipe()
            self._errors = os.memfd_create("llvm-stderr")
            self._fds.append(self._errors)
            self._pid = _fork()
            if self._pid == 0:
                others = self._job, self._result
                _child(path, cpu, _SPEED if optimise else 0, job, result, self._errors, others)
            self._shut(job)
            self._shut(result)
        except OSError as error:
            self.close()
            raise CompileError(f"cannot start a process to compile in: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def _pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self._fds += ends
        return ends

    def _shut(self, fd: int) -> None:
        if fd in self._fds:
            self._fds.remove(fd)
            os.close(fd)

    def compile(
        self, text: str, places: dict[str, tuple[str, int]] | None = None, plan: Plan | None = None
    ) -> bytes:
        """The object of a module in LLVM's language. Once only.

        `places` are files and lines of functions, for errors that LLVM itself cannot place; `plan` tells how
        to optimise them.
        """
        if self._job not in self._fds:
            raise ValueError("this compiler was used or closed")
        named = (plan.inline, plan.loops) if plan is not None else ((), ())
        parts = [text.encode(), *(" ".join(names).encode() for names in named)]
        try:
            _write_all(self._job, b"".join(len(p).to_bytes(_LENGTH, "little") + p for p in parts))
            self._shut(self._job)
        except BrokenPipeError:
            pass  # the child is gone: what it said follows
        size = int.from_bytes(_read_exactly(self._result, _LENGTH), "little")
        made = _read_exactly(self._result, size)
        if size and len(made) == size:
            self._leave()
            return made
        self._wait()
        said = os.pread(self._errors, 1 << 20, 0).decode("utf-8", "replace")
        status = self._status
        self.close()
        raise _error(said, status, places or {})

    def _wait(self) -> None:
        if self._pid:
            try:
                self._status = os.waitpid(self._pid, 0)[1]
            except ChildProcessError:  # SIGCHLD is ignored: the kernel took the status
                self._status = None
            self._pid = 0

    def _leave(self) -> None:
        """Let go of a child that is done: taking LLVM down costs it 3 ms more, and nobody need wait."""
        pid, self._pid = self._pid, 0
        try:
            _thread.start_new_thread(_reap, (pid,))
        except RuntimeError:  # no more threads
            _reap(pid)
        self.close()

    def close(self) -> None:
        """Idempotent. A child still at work is ended."""
        if self._pid and self._fds:
            unused = self._job in self._fds
            for fd in list(self._fds):
                self._shut(fd)
            if unused:
                os.kill(self._pid, _SIGKILL)
        for fd in list(self._fds):
            self._shut(fd)
        self._wait()

    def __enter__(self) -> Compiler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def compile_text(text: str, cpu: str = "v3") -> bytes:
    """The object of a module in LLVM's language."""
    with Compiler(cpu) as compiler:
        return compiler.compile(text)


def _reap(pid: int) -> None:
    try:  # noqa: SIM105 (contextlib takes its time to import)
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # SIGCHLD is ignored: nothing to take


def _fork() -> int:
    # Python 3.12 warns of forks while threads run, for what a child may find locked. This child imports
    # nothing and takes no lock of Python's: it calls into LLVM and ends.
    if sys.version_info < (3, 12):
        return os.fork()
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read_exactly(fd: int, size: int) -> bytes:
    """`size` bytes, or fewer at the end of the stream."""
    parts = []
    while size > 0 and (part := os.read(fd, min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _read_part(fd: int) -> bytes | None:
    """A part of a message, None where the stream ended before."""
    length = _read_exactly(fd, _LENGTH)
    size = int.from_bytes(length, "little")
    part = _read_exactly(fd, size)
    return part if len(length) == _LENGTH and len(part) == size else None


def _child(
    path: str, cpu: str, level: int, job: int, result: int, errors: int, others: tuple[int, ...]
) -> None:
    """What the child does; it never returns."""
    code = 1
    try:
        libc = ctypes.CDLL(None)
        for number in _DEADLY:
            libc.signal(number, None)
        for fd in others:
            os.close(fd)
        os.dup2(errors, 2)
        llvm = _Llvm(path, cpu, _OPTIONS if level else (*_OPTIONS, *_IN_ORDER))
        # On an error LLVM calls exit(), and what other libraries of the parent want done at exit, such as
        # joining threads that are not here, might never end: leave first.
        libc.on_exit(libc._exit, None)
        text, inline, loops = (_read_part(job) for _ in range(3))
        if text is not None and inline is not None and loops is not None:
            made = llvm.compile(text, level, inline.split(), loops.split())
            _write_all(result, len(made).to_bytes(_LENGTH, "little") + made)
        code = 0
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(code)


class _Llvm:
    """The BPF target of LLVM."""

    def __init__(self, path: str, cpu: str, options: tuple[bytes, ...] = _OPTIONS) -> None:
        self._library = ctypes.CDLL(path)
        set_option = self._function("SetCommandLine", None, ctypes.c_char_p, ctypes.c_char_p)
        for option in options:
            set_option(b"probee", option)
        for part in ("TargetInfos", "Targets", "TargetMCs", "AsmPrinters"):
            self._function(f"InitializeAll{part}", None)()
        pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
        self._said = ctypes.c_char_p()
        find = self._function("GetTargetFromTriple", pointer, text, pointer)
        target = self._need(find(b"bpf", ctypes.byref(self._said)))
        make = self._function(
            "CreateTargetMachine",
            pointer,
            pointer,
            text,
            text,
            text,
            number,
            text,
            text,
            number,
            number,
            text,
        )
        self._machine = self._need(
            make(target, b"bpf", cpu.encode(), b"", _SPEED, b"default", b"default", 0, 0, b"")
        )
        self._context = self._need(self._function("ContextCreate", pointer)())

    def _function(self, name: str, result: Any, *args: Any) -> Any:
        function = self._library[f"LLVMPY_{name}"]
        function.restype = result
        function.argtypes = list(args)
        return function

    def _need(self, ref: int | None) -> int:
        if not ref:
            raise RuntimeError((self._said.value or b"LLVM gave nothing").decode("utf-8", "replace"))
        return ref

    def compile(self, text: bytes, level: int, inline: list[bytes], loops: list[bytes]) -> bytes:
        """Parse, optimise (BPF's own passes included), and make an object."""
        module = self._parse(text)
        self._optimise(module, level, inline, loops)
        return self._emit(module)

    def _parse(self, text: bytes) -> int:
        pointer = ctypes.c_void_p
        said = ctypes.byref(self._said)
        parse = self._function("ParseAssembly", pointer, pointer, ctypes.c_char_p, pointer)
        module = self._need(parse(self._context, text, said))
        if self._function("VerifyModule", ctypes.c_bool, pointer, pointer)(module, said):
            self._need(None)
        return module

    def _emit(self, module: int) -> bytes:
        pointer, number = ctypes.c_void_p, ctypes.c_int
        emit = self._function("TargetMachineEmitToMemory", pointer, pointer, pointer, number, pointer)
        buffer = self._need(emit(self._machine, module, 1, ctypes.byref(self._said)))
        start = self._function("GetBufferStart", pointer, pointer)(buffer)
        size = self._function("GetBufferSize", ctypes.c_size_t, pointer)(buffer)
        return ctypes.string_at(start, size)

    def _optimise(self, module: int, level: int, inline: list[bytes], loops: list[bytes]) -> None:
        """What clang -O2 does, less what is done there over and over; see docs/decisions.md.

        The order is clang's: BPF's own passes come before functions are put into their callers.
        """
        if level:
            self._run(module, "SROAPass", "SimplifyCFGPass")
        self._run_default(module)
        if not level:
            return
        pointer, number, text = ctypes.c_void_p, ctypes.c_uint, ctypes.c_char_p
        find = self._function("GetNamedFunction", pointer, pointer, text)
        kind = self._function("GetEnumAttributeKindForName", number, text, ctypes.c_size_t)(*_INLINE)
        mark = self._function("AddFunctionAttr", None, pointer, number)
        for name in inline:
            mark(self._need(find(module, name)), kind)
        self._run(module, "AlwaysInlinerPass", "GlobalDCEPass")
        looping = {find(module, name) for name in loops}
        build = self._function("buildFunctionSimplificationPipeline", pointer, pointer, ctypes.c_int)
        run = self._function("RunNewFunctionPassManager", None, pointer, pointer, pointer)
        next_of = self._function("FunctionsIterNext", pointer, pointer)
        functions = self._function("ModuleFunctionsIter", pointer, pointer)(module)
        while function := next_of(functions):  # declarations are left alone
            passes = self._passes()
            run(build(passes, level if function in looping else 1), function, passes)

    def _passes(self) -> int:
        """A pass builder: each is for one run."""
        pointer = ctypes.c_void_p
        tuning = self._function("CreatePipelineTuningOptions", pointer)()
        build = self._function("CreatePassBuilder", pointer, pointer, pointer)
        return self._need(build(self._machine, tuning))

    def _run_default(self, module: int) -> None:
        """Run what is always done: the passes BPF cannot do without."""
        pointer = ctypes.c_void_p
        passes = self._passes()
        build = self._function("buildPerModuleDefaultPipeline", pointer, pointer, ctypes.c_int)
        run = self._function("RunNewModulePassManager", None, pointer, pointer, pointer)
        run(build(passes, 0), module, passes)

    def _run(self, module: int, *names: str) -> None:
        """Run passes over the module."""
        pointer = ctypes.c_void_p
        manager = self._function("CreateNewModulePassManager", pointer)()
        for name in names:
            self._function(f"module_Add{name}", None, pointer)(manager)
        self._function("RunNewModulePassManager", None, pointer, pointer, pointer)(
            manager, module, self._passes()
        )


# What to write instead of that of which LLVM says this
_ADVICE = {
    "stack limit": "keep large values in a PerCpuArray of one element, or fill a ring buffer record in place",
    "signed division": "convert to an unsigned type first",
    "stack arguments": "pass a struct that holds them",
    "__multi3": "keep products within 64 bits",
    "memset": "zero a fixed number of bytes",
    "memcpy": "copy a fixed number of bytes",
}


def _error(said: str, status: int | None, places: dict[str, tuple[str, int]]) -> CompileError:
    """What LLVM said, as an error; about code it says `error: FILE:LINE:COLUMN: in function NAME …`."""
    lines = [line for line in said.splitlines() if line.strip()]
    for line in lines:
        _, found, rest = line.partition("error: ")
        place, sep, message = rest.partition(": in function ")
        if not found or not sep:
            continue
        file, row, column = _place(place)
        name, _, message = message.partition(" ")
        message = message.rpartition("): ")[2] or message
        if not row:  # it is about the function as a whole
            (file, row), column = places.get(name, ("", 0)), 0
        advice = next((a for words, a in _ADVICE.items() if words in message), "")
        message = f"LLVM cannot compile {name}(): {message.strip()}"
        return CompileError(message, file=file, line=row, column=max(0, column - 1), advice=advice)
    if not lines and status is not None and os.WIFSIGNALED(status):
        import signal

        lines = [f"LLVM was ended by {signal.Signals(os.WTERMSIG(status)).name}"]
    return CompileError("LLVM cannot compile this: " + ("; ".join(lines[:8]) or "it gave no reason"))


def _place(text: str) -> tuple[str, int, int]:
    parts = text.rsplit(":", 2)
    if len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
        return parts[0], int(parts[1]), int(parts[2])
    return "", 0, 0
