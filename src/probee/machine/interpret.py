"""The interpreter: programs translated to Python's source text, which CPython runs faster than any loop over
instructions.

Each function of a program becomes one Python function with the registers as local variables. Where a fault
happened is read from the traceback: each line of the text belongs to one instruction, and the registers are
that frame's variables. So the text itself does nothing for it.
"""

from __future__ import annotations

import itertools
import sys
from struct import Struct

from .alu import U32, U64, divide, modulo, swap
from .env import MAX_TAIL_CALLS, Cpu
from .layouts import layouts_of
from .memory import BASE, Fault, Memory
from .python_text import FunctionText
from .step import READ_ONLY, gotox_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType, TracebackType
    from typing import Any, Literal

    from .code import Code
    from .env import Env

_FORMATS: tuple[Literal["H"], Literal["I"], Literal["Q"]] = ("H", "I", "Q")
_serial = itertools.count()
_MOST_COMPILED = 256
_compiled: dict[str, tuple[CodeType, str]] = {}  # text -> code, and the file name it was compiled with


class Program:
    """A translated program, for one memory: `functions` maps the slots that functions start at to
    Python's.
    """

    def __init__(self, code: Code, env: Env) -> None:
        self.code = code
        self.memory = env.memory
        self.direct = env.direct
        self.file = f"<program {next(_serial)} {code.name}>"
        self.functions: dict[int, Callable[..., int]] = {}
        self.slots: list[int] = [-1]  # of the text's lines, counted from 1
        self.namespace = self._names()
        layouts = layouts_of(code, env)
        lines: list[str] = []
        for function in code.functions:
            text = FunctionText(code, function, layouts)
            for line, slot in text.lines:
                lines.append(line)
                self.slots.append(slot)
        self.text = "\n".join(lines)
        exec(self._compiled(), self.namespace)
        for function in code.functions:
            self.functions[function.start] = self.namespace[f"f{function.start}"]

    def _compiled(self) -> CodeType:
        """The text compiled; the same text, as of the same program in another machine, only once."""
        known = _compiled.get(self.text)
        if known is None:
            if len(_compiled) >= _MOST_COMPILED:
                _compiled.clear()
            made = compile(self.text, self.file, "exec", dont_inherit=True)
            known = _compiled[self.text] = made, self.file
        self.file = known[1]
        return known[0]

    def _names(self) -> dict[str, Any]:
        """What the text refers to, beside its own variables."""
        memory, code = self.memory, self.code
        halves, words, doubles = (memory.buffer.cast(f) for f in _FORMATS)

        def load(cpu: Cpu, i: int, size: int, probe: bool) -> int:
            address = (i + BASE) & U64
            if memory.permits(address, size):
                return memory.load(address, size)
            if probe or _in_arena(memory, address):
                return 0
            raise memory.fault(address, size)

        def unaligned(size: int, letter: str) -> Callable[[Cpu, int], int]:
            """Loads of a size from any address: those within whole granules without much ado."""
            unpack, shadow, whole, last = (
                Struct(f"<{letter}").unpack_from,
                memory.shadow,
                memory.buffer,
                size - 1,
            )

            def load_any(cpu: Cpu, i: int) -> int:
                if i > 0 and shadow[i >> 3] & 8 and shadow[(i + last) >> 3] & 15 > (i + last) & 7:
                    found: int = unpack(whole, i)[0]
                    return found
                return load(cpu, i, size, False)

            return load_any

        def store(cpu: Cpu, i: int, size: int, value: int) -> None:
            address = (i + BASE) & U64
            if memory.permits(address, size, write=True):
                memory.store(address, size, value)
            elif not _in_arena(memory, address):
                raise memory.fault(address, size, write=True)

        def fetch(cpu: Cpu, i: int, size: int) -> int:
            address = (i + BASE) & U64
            if not memory.permits(address, size, write=True) and not _in_arena(memory, address):
                raise memory.fault(address, size, write=True)
            return load(cpu, i, size, False)

        def over(cpu: Cpu) -> None:
            cpu.left = -1
            raise Fault(f"still running after {cpu.budget} instructions")

        def tail_call(cpu: Cpu, context: int, map_address: int, index: int) -> int | None:
            if cpu.tail_calls >= MAX_TAIL_CALLS:
                return None
            target = cpu.env.tail_call(cpu, map_address, index & U32)
            if target is None:
                return None
            cpu.tail_calls += 1
            cpu.depth -= 1
            cpu.code = target
            result = program_of(target, cpu.env).functions[0](cpu, context, 0, 0, 0, 0)
            cpu.code = code
            return result

        def callx(cpu: Cpu, value: int, r1: int, r2: int, r3: int, r4: int, r5: int) -> int:
            index = code.index_of(value)
            if index >= 0:
                return self.functions[index](cpu, r1, r2, r3, r4, r5)
            return cpu.env.helper(value & U32)(cpu, r1, r2, r3, r4, r5) & U64

        def gotox(function: int, address: int) -> int:
            return gotox_target(code, function, address)

        def trap() -> None:
            raise Fault(READ_ONLY)

        return {
            "B": memory.buffer,
            "H": halves,
            "I": words,
            "Q": doubles,
            "S": memory.shadow,
            "load": load,
            "load2": unaligned(2, "H"),
            "load4": unaligned(4, "I"),
            "load8": unaligned(8, "Q"),
            "store": store,
            "fetch": fetch,
            "over": over,
            "tail_call": tail_call,
            "callx": callx,
            "gotox": gotox,
            "trap": trap,
            "divide": divide,
            "modulo": modulo,
            "swap": swap,
        }

    def located(self, error: BaseException, trace: TracebackType | None) -> BaseException:
        """The error with the place where it happened, if it is a fault of this program."""
        frame, line, innermost = None, 0, False
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self.file:
                frame, line, innermost = trace.tb_frame, trace.tb_lineno, True
            else:
                innermost = False
            trace = trace.tb_next
        if frame is None:
            return error
        slot = self.slots[line]
        registers = {f"r{n}": frame.f_locals.get(f"r{n}", 0) for n in range(11)}
        if isinstance(error, IndexError) and innermost:
            op = self.code.ops[slot]
            write = op.kind in ("store", "release", "atomic")
            base = registers[f"r{op.dst if write else op.src}"]
            error = self.memory.fault((base + op.off) & U64, op.size, write=write)
        if isinstance(error, Fault):
            error.at(self.code.name, slot, self.code.line_of(slot), registers)
        return error


def program_of(code: Code, env: Env) -> Program:
    """The translation of a program, made when first needed."""
    program: Program | None = code.interpreted
    if program is None or program.memory is not env.memory or program.direct is not env.direct:
        program = code.interpreted = Program(code, env)
    return program


def execute(cpu: Cpu, code: Code, start: int, args: Sequence[int]) -> int:
    """Run a function in the interpreter; returns r0."""
    program = program_of(code, cpu.env)
    cpu.code = code
    padded = (*(value & U64 for value in args[:5]), 0, 0, 0, 0, 0)[:5]
    try:
        return program.functions[start](cpu, *padded)
    except (Fault, IndexError) as error:
        found: BaseException = error
        trace = error.__traceback__
    # A tail call has left other programs' frames in the traceback; each knows its own.
    for other in _programs_in(trace, program):
        found = other.located(found, trace)
        if isinstance(found, Fault) and found.index >= 0:
            break
    raise found.with_traceback(None if isinstance(found, Fault) else trace)


def _programs_in(trace: TracebackType | None, program: Program) -> list[Program]:
    found = [program]
    while trace is not None:
        code = trace.tb_frame.f_locals.get("target") if trace.tb_frame.f_code.co_name == "tail_call" else None
        if code is not None and code.interpreted is not None:
            found.insert(0, code.interpreted)
        trace = trace.tb_next
    return found


def _in_arena(memory: Memory, address: int) -> bool:
    region = memory.find(address)
    return region is not None and region.kind == "arena"


def available() -> bool:
    """Whether this system can: memory is looked at in the machine's own byte order."""
    return sys.byteorder == "little"
