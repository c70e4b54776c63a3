"""What the engine asks of the rest of the machine, and the CPU that programs run on.

`Env` is the protocol: helpers and kfuncs by number, tail-call targets, packet bytes for LD_ABS and LD_IND. A
`Cpu` is one simulated CPU: its stack, its task, how programs are run on it (`engine`), and `call()`, with
which helpers call back into programs.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..errors import Unsupported
from .memory import Fault, Memory, Region

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .code import Code
    from .step import Execution, Hooks

U64 = (1 << 64) - 1

FRAME_SIZE = 512  # bytes of stack for each subprogram
FRAME_STRIDE = FRAME_SIZE + 64  # frames lie apart, so that one that runs over faults
MAX_FRAMES = 64  # of one CPU: 8 for a program, and those of callbacks within helpers
MAX_TAIL_CALLS = 33
MAY_GOTO_LIMIT = 8 << 20  # BPF_MAX_LOOPS: how often one may_goto's frame lets it go on
DEFAULT_BUDGET = 1_000_000_000  # instructions of one run

ENGINES = ("step", "interpret", "jit-checked", "jit-verified")


class Helper(Protocol):
    """A helper or kfunc: gets the CPU and r1 to r5 as unsigned 64-bit numbers, gives r0 (any int; it wraps).

    What it raises ends the program and reaches the caller of `Cpu.run` unchanged; a `Fault` gets the place of
    the call.
    """

    def __call__(self, cpu: Cpu, r1: int, r2: int, r3: int, r4: int, r5: int, /) -> int: ...


class Env(Protocol):
    """What programs can reach. The machine implements it; `BareEnv` has nothing but memory."""

    memory: Memory

    def helper(self, number: int) -> Helper:
        """The helper with this number. Raises Unsupported, with its name, if there is none."""
        ...

    def kfunc(self, number: int, module: int) -> Helper:
        """The kernel function with this BTF id (or the number its loader gave it). Raises Unsupported."""
        ...

    def tail_call(self, cpu: Cpu, map_address: int, index: int) -> Code | None:
        """The program in slot `index` of the program array at `map_address`; None if there is none."""
        ...

    def packet_load(self, cpu: Cpu, ctx: int, offset: int, size: int) -> int | None:
        """`size` bytes of the packet at `offset` (signed) as a number in network byte order, for LD_ABS and
        LD_IND; None, which ends the program with 0, if they are outside of it.
        """
        ...

    def code_at(self, address: int) -> Code | None:
        """The code that a code address belongs to, for callbacks of other programs than the running one."""
        ...

    def layout(self, map_address: int) -> Any:
        """How the map at this address lies in memory (`Map.layout()`), for look-ups in native code; None."""
        ...

    @property
    def direct(self) -> bool:
        """Whether look-ups need not be calls of the helper: nobody stands in for it or looks on."""
        ...


class BareEnv:
    """An environment of memory and given helpers only."""

    def __init__(self, memory: Memory | None = None, helpers: dict[int, Helper] | None = None) -> None:
        self.memory = memory or Memory()
        self.helpers = helpers or {}

    def helper(self, number: int) -> Helper:
        try:
            return self.helpers[number]
        except KeyError:
            raise Unsupported(f"there is no helper {number} here", feature=f"helper {number}") from None

    def kfunc(self, number: int, module: int) -> Helper:
        raise Unsupported(f"there is no kernel function {number} here", feature=f"kfunc {number}")

    def tail_call(self, cpu: Cpu, map_address: int, index: int) -> Code | None:
        return None

    def packet_load(self, cpu: Cpu, ctx: int, offset: int, size: int) -> int | None:
        raise Unsupported("there is no packet here", feature="LD_ABS")

    def code_at(self, address: int) -> Code | None:
        return None

    def layout(self, map_address: int) -> Any:
        return None

    @property
    def direct(self) -> bool:
        return True


class Cpu:
    """One simulated CPU. `number` is its id, `task` whatever the machine says runs on it.

    `engine` is how programs run: "step" (one instruction at a time, with `hooks`), "interpret" (translated to
    Python), "jit-checked", "jit-verified" (for code that a verifier accepted, or that
    says why not), or "auto": interpreted, and native code once a program is hot.
    `budget` is how many instructions one `run()` may take. `instructions` counts those of the last run in the
    engines that count: all but native code of verified programs, which counts if `counted` is set (or the
    program has loops by may_goto).
    """

    def __init__(
        self, env: Env, number: int = 0, *, engine: str = "auto", budget: int = DEFAULT_BUDGET
    ) -> None:
        self.env = env
        self.memory = env.memory
        self.number = number
        self.engine = engine
        self.budget = budget
        self.counted = False
        self.task: Any = None
        self.hooks: Hooks | None = None
        self.execution: Execution | None = None  # whose helper runs now, when stepping
        self.code: Code | None = None  # what runs now
        self.depth = 0  # stack frames in use
        self.left = budget  # instructions left of this run
        self.tail_calls = 0
        self.instructions = 0
        self.native: Any = None  # what native code needs of this CPU, made when first used
        frames = [
            self.memory.alloc(FRAME_SIZE, "stack", align=64, name=f"frame {n}") for n in range(MAX_FRAMES)
        ]
        self.frames: list[Region] = frames
        self.stack_base = frames[0].address + FRAME_SIZE  # r10 of the first frame

    def run(self, code: Code, *args: int) -> int:
        """Run a program from its first instruction with r1… = args; returns r0, unsigned.

        Raises:
            Fault: it did what it must not.
            Unsupported: it called what is not there.
        """
        from .engine import enter

        outer = self.code, self.left, self.tail_calls, self.depth
        if self.code is None:
            self.left = self.budget
        self.tail_calls = 0
        try:
            return enter(self, code, 0, args)
        finally:
            if outer[0] is None:
                self.instructions = self.budget - self.left
                self.left = outer[1]
            self.code, _, self.tail_calls, self.depth = outer

    def call(self, address: int, *args: int) -> int:
        """Call a subprogram by its code address, from within a helper (or a timer). Returns its r0.

        Raises:
            Fault: there is no code, or it did what it must not.
        """
        from .engine import enter

        code = self.code
        if code is None or code.index_of(address) < 0:
            code = self.env.code_at(address)
        index = code.index_of(address) if code is not None else -1
        if code is None or index < 0:
            raise Fault(f"{address:#x} is not the address of a function", address=address)
        outer = self.code, self.left, self.depth
        if self.code is None:
            self.left = self.budget
        try:
            return enter(self, code, index, args)
        finally:
            if outer[0] is None:
                self.instructions = self.budget - self.left
                self.left = outer[1]
            self.code, self.depth = outer[0], outer[2]

    def push_frame(self) -> int:
        """Take the next stack frame, all zero; returns its r10. Raises Fault when the stack is used up."""
        if self.depth >= MAX_FRAMES:
            raise Fault(f"more than {MAX_FRAMES} stack frames: functions call one another without end")
        frame = self.frames[self.depth]
        self.depth += 1
        frame.data[:] = _ZEROS
        return frame.address + FRAME_SIZE


_ZEROS = bytes(FRAME_SIZE)
