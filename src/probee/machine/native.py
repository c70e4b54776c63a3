"""Programs in native code: made by LLVM or taken from the cache, and run on a CPU.

Native code calls Python through one function of the CPU's state: for helpers, for accesses that are not
clearly right, and when its slice of instructions is used up. What Python raises there is kept, and ends the
program.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from hashlib import blake2b
from time import perf_counter_ns

from .. import __version__
from ..errors import ProbeeError, Unsupported
from . import jit_state as at
from .alu import U32, U64, signed
from .env import FRAME_STRIDE, MAX_FRAMES, MAX_TAIL_CALLS, Cpu
from .jit_link import Linked, Mapped, link
from .layouts import layouts_of
from .memory import BASE, Fault
from .step import READ_ONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import Any

    from .code import Code
    from .env import Env
    from .maps import Layout

SLICE = 50_000_000  # instructions between looks at signals: about 20 ms
MANY = 500  # runs of quickly made code before all passes are worth their time
_PIECE_NS = 5_000_000
_LONG = 10_000  # instructions that count as a run
FORMAT = 8  # of the code made here: a number of its own for each change of jit_text's output
_MOST, _MOST_BYTES = 2000, 64 << 20  # files in the cache
_TAIL_CALL = 12  # the helper's number
_ENTRY = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)
_REPEAT = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64)
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_int64)


def available() -> bool:
    """Whether native code is made for this system."""
    return os.name == "posix" and platform.machine() in ("x86_64", "AMD64") and sys.maxsize > 1 << 32


class NativeProgram:
    """A program's native code."""

    def __init__(self, linked: Linked, *, quick: bool = False) -> None:
        self.quick = quick  # made with few of LLVM's passes
        self.runs = 0
        self._mapped = Mapped(linked)
        self._entries: dict[int, Callable[[int], int]] = {}
        self.size = len(linked.code)

    def entry(self, start: int) -> Callable[[int], int]:
        """The function that starts at this slot; takes the state's address."""
        function = self._entries.get(start)
        if function is None:
            function = self._entries[start] = _ENTRY(self._mapped.entry(f"e{start}"))
        return function

    def address(self, start: int) -> int:
        """Where the function that starts at this slot is in this process."""
        return self._mapped.entry(f"e{start}")


def mode_of(cpu: Cpu, code: Code, engine: str) -> str:
    """Which native code a CPU needs: "checked", "verified", or "counted" (verified, with a budget).

    `engine` is one of the CPU's, or "jit": verified code if it is.

    Raises:
        ProbeeError: verified mode is asked for, and no verifier accepted the program.
    """
    if engine == "jit-verified" and not code.verified and not code.unverified:
        raise ProbeeError(
            f"{code.name or 'the program'} runs without checks only if the verifier accepted it: give "
            'Code(…, verified=True), or use the engine "jit-checked"'
        )
    if engine == "jit-checked" or not code.verified:
        return "checked"
    return "counted" if cpu.counted or _may_be_long(code) else "verified"


def _may_be_long(code: Code) -> bool:
    """Whether verified code may run so long that somebody may want to stop it.

    What the verifier walks through in full has a million instructions at most. More may run where may_goto
    ends a loop, and where a loop calls functions, which are verified by themselves.
    """
    kinds = {op.kind for op in code.ops.values()}
    loops = any(-1 < op.target <= op.pc for op in code.ops.values() if op.kind in ("ja", "jump"))
    return bool(kinds & {"may_goto", "gotox"}) or (loops and bool(kinds & {"local", "callx"}))


def native_of(code: Code, mode: str, env: Env, *, hot: bool = False) -> NativeProgram:
    """The native code of a program: as made before, from the cache, or by LLVM. `env` knows the maps. Code of
    `hot` programs is made with all of LLVM's passes.

    Raises:
        Unsupported: this is no system for it, or llvmlite is missing.
    """
    kept = mode if env.direct else f"{mode} calling"
    program: NativeProgram | None = code.native.get(kept)
    if program is None or (hot and program.quick):
        if not available():
            raise Unsupported("there is native code for x86-64 only; use the interpreter", feature="JIT")
        layouts = layouts_of(code, env)
        name = _file_name(code, mode, layouts)
        quick, linked = False, _from_cache(name)
        if linked is None and not hot:
            quick, linked = True, _from_cache(name + "q")
        if linked is None:
            linked = make(code, mode, layouts, quick=quick)
            _to_cache(name + "q" * quick, linked)
        program = code.native[kept] = NativeProgram(linked, quick=quick)
    return program


def make(
    code: Code, mode: str, layouts: Mapping[int, Layout] | None = None, *, quick: bool = False
) -> Linked:
    """Have LLVM make a program's native code; `quick`: with the passes that matter most only."""
    from .jit_compile import compile_object
    from .jit_text import module_text

    text = module_text(code, checked=mode == "checked", budget=mode != "verified", layouts=layouts or {})
    return link(compile_object(text, quick=quick))


# The cache

_host: list[str] = []


def _host_key() -> str:
    """What native code depends on beside the program: the processor, and how it was made."""
    if not _host:
        try:
            with open("/proc/cpuinfo", "rb", buffering=0) as file:
                lines = file.read(8192).split(b"\n\n")[0].splitlines()
            cpu = b"\n".join(
                li for li in lines if li.startswith((b"model", b"flags", b"vendor", b"cpu family"))
            )
        except OSError:
            cpu = platform.processor().encode()
        _host.append(blake2b(cpu + f"{__version__} {FORMAT}".encode(), digest_size=16).hexdigest())
    return _host[0]


def _file_name(code: Code, mode: str, layouts: Mapping[int, Layout]) -> str:
    from .jit_maps import describe

    maps = [(address, describe(layout)) for address, layout in layouts.items()]
    return blake2b(f"{code.key} {mode} {_host_key()} {maps}".encode(), digest_size=20).hexdigest()


def _from_cache(name: str) -> Linked | None:
    from .. import storage

    folder = storage.open_folder(storage.directory(), "native", create=False)
    if folder is None:
        return None
    try:
        found = storage.open_file(folder, name, _MOST_BYTES)
        if found is None:
            return None
        with open(found[0], "rb") as file:
            data = file.read()
    finally:
        os.close(folder)
    if blake2b(data[20:], digest_size=20).digest() != data[:20]:
        return None
    try:
        return Linked.unpack(data[20:])
    except ProbeeError:
        return None


def _to_cache(name: str, linked: Linked) -> None:
    from .. import storage

    folder = storage.open_folder(storage.directory(), "native", create=True)
    if folder is None:
        return
    try:
        data = linked.pack()
        if storage.write(folder, name, blake2b(data, digest_size=20).digest() + data):
            storage.prune(folder, _MOST, _MOST_BYTES)
    finally:
        os.close(folder)


# Running


class State:
    """What native code needs of a CPU, and what Python does when it calls."""

    def __init__(self, cpu: Cpu) -> None:
        self.cpu = cpu
        self._array = (ctypes.c_uint64 * at.WORDS)()
        self.address = ctypes.addressof(self._array)
        view = memoryview(self._array).cast("B")
        self.words = view.cast("Q")
        self.signed = view.cast("q")
        self.reserve = 0  # instructions left beyond the slice
        self.level = 0  # how many native programs are running, one in a helper of another
        self.error: BaseException | None = None
        self.error_slot = -1
        self._callbacks: list[tuple[Any, Any, int]] = []
        memory = cpu.memory
        self.words[at.MEM] = (memory.native - BASE) & U64
        self.words[at.SHADOW] = (memory.native_shadow - (BASE >> 3)) & U64
        self.words[at.SIZE] = memory.size
        self.words[at.NUMBER] = cpu.number
        shared = _runtime()
        self.words[at.SLOW], self.words[at.SPAN] = shared.entry("slow"), shared.entry("span")
        self.words[at.LIMIT] = cpu.stack_base + FRAME_STRIDE * (MAX_FRAMES - 1)

    def enter(self, code: Code, start: int, args: Sequence[int], mode: str, times: int = 0) -> int:
        """Run a function; returns r0. `times` runs the main function that often."""
        cpu, words = self.cpu, self.words
        program = native_of(code, mode, cpu.env, hot=bool(times))
        program.runs += 1
        if program.quick and program.runs > MANY:
            program = native_of(code, mode, cpu.env, hot=True)
        cpu.code = code
        words[at.SP] = cpu.stack_base + FRAME_STRIDE * cpu.depth
        words[at.STOP] = words[at.RETURN] = 0
        for n in range(5):
            words[at.ENTRY + n] = args[n] & U64 if n < len(args) else 0
        self._take_slice(cpu.left)
        words[at.CALL] = self._callback()
        self.level += 1
        try:
            if times:
                stop = self._repeat(program.address(start), times)
            else:
                stop = program.entry(start)(self.address)
        finally:
            self.level -= 1
        before, cpu.left = cpu.left, self.reserve + self.signed[at.BUDGET]
        program.runs += (before - cpu.left) // _LONG
        if stop:
            raise self._stopped(code)
        if cpu.left < 0 and mode != "verified":
            raise Fault(f"still running after {cpu.budget} instructions").at(code.name, start, "", {})
        return words[at.RETURN]

    def _repeat(self, function: int, times: int) -> int:
        """Run a function many times, in pieces of about 10 ms: between them Python sees to its signals."""
        repeater, piece = _repeater(), 64
        while times:
            piece = min(piece, times)
            began = perf_counter_ns()
            stop = repeater(self.address, function, piece)
            if stop:
                return stop
            times -= piece
            if perf_counter_ns() - began < _PIECE_NS:
                piece *= 2
        return 0

    def nested(self, run: Callable[[], int]) -> int:
        """Run something else on this CPU while native code waits for a helper."""
        cpu, words = self.cpu, self.words
        kept = words[at.SP], words[at.CALL]
        cpu.left = self.reserve + self.signed[at.BUDGET]
        cpu.depth = (words[at.SP] - cpu.stack_base) // FRAME_STRIDE
        try:
            return run()
        finally:
            words[at.SP], words[at.CALL] = kept
            words[at.STOP] = words[at.RETURN] = 0
            self._take_slice(cpu.left)

    def _take_slice(self, left: int) -> None:
        now = min(left, SLICE)
        self.reserve = left - now
        self.signed[at.BUDGET] = now

    def _callback(self) -> int:
        """The address of the function that calls Python, for this level."""
        if len(self._callbacks) <= self.level:
            # A generator, so that an exception of a signal's handler is raised inside of its `try`.
            served = self._serve()
            next(served)
            function = _CALLBACK(served.send)
            address = ctypes.cast(function, ctypes.c_void_p).value or 0
            self._callbacks.append((served, function, address))
        return self._callbacks[self.level][2]

    def _serve(self) -> Generator[int, int, None]:
        result = 0
        while True:
            try:
                slot = -1
                slot = yield result
                result = self._asked(slot)
            except GeneratorExit:
                return
            except BaseException as error:
                self.error, self.error_slot = error, slot
                self.words[at.STOP] = at.STOP_ERROR
                result = 0

    def _asked(self, slot: int) -> int:
        """What native code asks for at a slot (negative: not a call of the program's). The answer for it."""
        if slot < 0:
            return self._more() if slot == -1 else self._allowed()
        cpu, words = self.cpu, self.words
        code = cpu.code
        assert code is not None
        op = code.ops[slot]
        kind = op.kind
        if kind == "helper":
            if op.imm == _TAIL_CALL:
                return self._tail_call(code)
            function = cpu.env.helper(op.imm)
        elif kind == "kfunc":
            function = cpu.env.kfunc(op.imm, op.off)
        elif kind == "packet":
            offset = signed(words[at.ARGS + 1], 32)
            value = cpu.env.packet_load(cpu, words[at.ARGS], offset, op.size)
            if value is None:
                words[at.RETURN] = 1
                return 0
            return value & U64
        else:
            target = words[at.ADDRESS]
            arguments = words[at.ARGS : at.ARGS + 5].tolist()
            if code.index_of(target) >= 0:
                return cpu.call(target, *arguments)
            function = cpu.env.helper(target & U32)
        a = at.ARGS
        return function(cpu, words[a], words[a + 1], words[a + 2], words[a + 3], words[a + 4]) & U64

    def _more(self) -> int:
        left = self.reserve + self.signed[at.BUDGET]
        if left < 0:
            raise Fault(f"still running after {self.cpu.budget} instructions")
        self._take_slice(left)
        return 0

    def _allowed(self) -> int:
        """Whether an access that failed native code's test is allowed: 0 no, 1 yes, 2 it has no effect."""
        words, cpu = self.words, self.cpu
        address, size, write = words[at.ARGS], words[at.ARGS + 1], bool(words[at.ARGS + 2])
        if cpu.memory.permits(address, size, write=write):
            return 1
        assert cpu.code is not None
        if words[at.PC] in cpu.code.probe_loads:
            return 2
        region = cpu.memory.find(address)
        return 2 if region is not None and region.kind == "arena" else 0

    def _tail_call(self, code: Code) -> int:
        cpu, words = self.cpu, self.words
        context, table, index = words[at.ARGS], words[at.ARGS + 1], words[at.ARGS + 2]
        if cpu.tail_calls >= MAX_TAIL_CALLS:
            return 0
        target = cpu.env.tail_call(cpu, table, index & U32)
        if target is None:
            return 0
        cpu.tail_calls += 1
        from .engine import enter

        words[at.SP] -= FRAME_STRIDE  # the target takes this function's frame
        try:
            result = enter(cpu, target, 0, (context,))
        finally:
            words[at.SP] += FRAME_STRIDE
            cpu.code = code
        words[at.RETURN] = 1
        return result

    def _stopped(self, code: Code) -> BaseException:
        """The exception for what ended the program."""
        words, memory = self.words, self.cpu.memory
        reason, slot = words[at.STOP], words[at.PC]
        words[at.STOP] = 0
        error, self.error = self.error, None
        if error is not None:
            if self.error_slot >= 0:
                slot = self.error_slot
            if not isinstance(error, Fault):
                return error
            fault = error
        elif reason == at.STOP_STACK:
            fault = Fault(f"more than {MAX_FRAMES} stack frames: functions call one another without end")
        elif reason == at.STOP_GOTOX:
            address = words[at.ADDRESS]
            fault = Fault(f"gotox to {address:#x}, which is no instruction of this function", address=address)
        elif reason == at.STOP_TRAP:
            fault = Fault(READ_ONLY)
        else:
            op = code.ops[slot]
            write = op.kind in ("store", "release", "atomic")
            fault = memory.fault(words[at.ADDRESS], op.size, write=write)
        return fault.at(code.name, slot, code.line_of(slot), self._registers(code, slot))

    def _registers(self, code: Code, slot: int) -> dict[str, int]:
        from .frames import Frames

        for function in code.functions:
            if function.start <= slot < function.end:
                frames = Frames(function)
                live = sorted(frames.live_at(slot) - ({10} if frames.private else set()))
                return {f"r{n}": self.words[at.REGISTERS + n] for n in live}
        return {}


def execute(cpu: Cpu, code: Code, start: int, args: Sequence[int], engine: str) -> int:
    """Run a function in native code; returns r0."""
    return state_of(cpu).enter(code, start, args, mode_of(cpu, code, engine))


def state_of(cpu: Cpu) -> State:
    """The CPU's state, made when first needed."""
    state: State | None = cpu.native
    if state is None:
        state = cpu.native = State(cpu)
    return state


def repeat(cpu: Cpu, code: Code, args: Sequence[int], times: int) -> int:
    """Run a program `times` times in native code, with no Python between the runs; returns the last r0.

    The budget is that of all runs together.
    """
    state = state_of(cpu)
    cpu.left = cpu.budget
    try:
        return state.enter(code, 0, args, mode_of(cpu, code, cpu.engine), times)
    finally:
        cpu.code = None


_shared: list[Mapped] = []


def _runtime() -> Mapped:
    """The code that all programs share."""
    if not _shared:
        if not available():
            raise Unsupported("there is native code for x86-64 only; use the interpreter", feature="JIT")
        name = blake2b(f"runtime {_host_key()}".encode(), digest_size=20).hexdigest()
        linked = _from_cache(name)
        if linked is None:
            from .jit_compile import compile_object
            from .jit_runtime import RUNTIME

            linked = link(compile_object(RUNTIME))
            _to_cache(name, linked)
        _shared.append(Mapped(linked))
    return _shared[0]


def _repeater() -> Callable[[int, int, int], int]:
    return _REPEAT(_runtime().entry("repeat"))
