"""The reference: runs programs one instruction at a time, and lets others look on.

A debugger steps an `Execution` itself; coverage and recording put `Hooks` on the CPU and see every
instruction, in callbacks of helpers, too. All other engines have to agree with this one.
"""

from __future__ import annotations

from .alu import U32, U64, atomic, compare, compute, signed
from .env import MAX_TAIL_CALLS, MAY_GOTO_LIMIT, Cpu
from .memory import BASE, Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .code import Code
    from .ops import Op

TAIL_CALL = 12  # the number of bpf_tail_call
READ_ONLY = "r10 is read-only"


class Hooks:
    """What an onlooker overrides; the methods of this class do nothing."""

    def before(self, execution: Execution) -> None:
        """Before each instruction; `execution.frame` says where. May raise to stop the program."""

    def loading(self, execution: Execution, address: int, size: int) -> int | None:
        """Before a load. The number to take instead of what memory has, or None."""
        return None

    def loaded(self, execution: Execution, address: int, size: int, value: int) -> None:
        """After a load (of atomic operations, too), with its unsigned value."""

    def storing(self, execution: Execution, address: int, size: int, value: int) -> None:
        """Before a store, with the value in as many bytes as it has."""

    def branch(self, execution: Execution, op: Op, taken: bool) -> None:
        """At a conditional jump."""

    def calling(self, execution: Execution, op: Op, arguments: Sequence[int]) -> int | None:
        """Before a helper or kfunc is called. The number to take for its result instead of calling it, or
        None.
        """
        return None

    def called(self, execution: Execution, op: Op, result: int) -> None:
        """After a helper or kfunc, with r0."""

    def entered(self, execution: Execution) -> None:
        """A function was entered: `execution.frame` is its frame."""

    def left(self, execution: Execution, result: int) -> None:
        """A function is about to return `result`; `execution.frame` is still its frame."""


class Frame:
    """A function that runs: its `registers` (r0 to r10, unsigned; may be changed), and `pc`, the next
    slot.
    """

    __slots__ = ("code", "function", "gotos_left", "pc", "registers")

    def __init__(self, code: Code, start: int, stack: int, args: Sequence[int]) -> None:
        self.code = code
        self.function = code.function_at(start)
        self.pc = start
        self.gotos_left = MAY_GOTO_LIMIT
        self.registers = [0] * 11
        for n, value in enumerate(args[:5], 1):
            self.registers[n] = value & U64
        self.registers[10] = stack

    @property
    def line(self) -> str:
        """The source line of the next instruction, as "file:line"."""
        return self.code.line_of(self.pc)


class Execution:
    """One run of a function, with the functions it calls. `frames` has the innermost frame last.

    `outer` is the execution whose helper called back, if any. `result` is r0 once the run is over, None
    before.
    """

    def __init__(
        self, cpu: Cpu, code: Code, start: int, args: Sequence[int], outer: Execution | None = None
    ) -> None:
        self.cpu = cpu
        self.memory = cpu.memory
        self.hooks = cpu.hooks
        self.outer = outer
        self.result: int | None = None
        self.op: Op = code.ops[start]
        cpu.code = code
        self.frames = [Frame(code, start, cpu.push_frame(), args)]
        if self.hooks is not None:
            self.hooks.entered(self)

    @property
    def frame(self) -> Frame:
        """The innermost frame."""
        return self.frames[-1]

    def run(self) -> int:
        """Run to the end; returns r0. Raises as `Cpu.run` does."""
        step = self.step
        while self.result is None:
            step()
        return self.result

    def step(self) -> bool:
        """Run one instruction. Whether there are more."""
        if self.result is not None:
            return False
        frame = self.frames[-1]
        if self.hooks is not None:
            self.hooks.before(self)
        cpu = self.cpu
        op = self.op = frame.code.ops[frame.pc]
        try:
            cpu.left -= 1
            if cpu.left < 0:
                raise Fault(f"still running after {cpu.budget} instructions")
            _DO[op.kind](self, frame, op)
        except Fault as fault:
            raise fault.at(
                frame.code.name,
                op.pc,
                frame.code.line_of(op.pc),
                {f"r{n}": value for n, value in enumerate(frame.registers)},
            ) from None
        return self.result is None

    # One method for each kind of operation

    def _alu(self, frame: Frame, op: Op) -> None:
        r = frame.registers
        operand = op.imm if op.src < 0 else r[op.src]
        r[op.dst] = compute(op.op, r[op.dst], operand, op.wide, op.off)
        frame.pc = op.next

    def _lddw(self, frame: Frame, op: Op) -> None:
        frame.registers[op.dst] = op.imm
        frame.pc = op.next

    def _cast(self, frame: Frame, op: Op) -> None:
        low = frame.registers[op.src] & U32
        frame.registers[op.dst] = BASE | low if low else 0
        frame.pc = op.next

    def _load(self, frame: Frame, op: Op) -> None:
        r = frame.registers
        value = self._read((r[op.src] + op.off) & U64, op.size, op.pc in frame.code.probe_loads)
        r[op.dst] = signed(value, op.size * 8) & U64 if op.signed else value
        frame.pc = op.next

    def _store(self, frame: Frame, op: Op) -> None:
        r = frame.registers
        value = op.imm if op.src < 0 else r[op.src]
        self._write((r[op.dst] + op.off) & U64, op.size, value)
        frame.pc = op.next

    def _atomic(self, frame: Frame, op: Op) -> None:
        r = frame.registers
        address = (r[op.dst] + op.off) & U64
        mask = (1 << 8 * op.size) - 1
        operand = r[op.src] & mask
        self._check_write(address, op.size)
        old = self._read(address, op.size, False)
        if op.op == "cmpxchg":
            # The kernel stores in any case: the old value, if it was another one.
            self._write(address, op.size, operand if old == r[0] & mask else old)
            r[0] = old
        else:
            self._write(address, op.size, atomic(op.op, old, operand, mask))
            if op.fetch:
                r[op.src] = old
        frame.pc = op.next

    def _ja(self, frame: Frame, op: Op) -> None:
        frame.pc = op.target

    def _jump(self, frame: Frame, op: Op) -> None:
        r = frame.registers
        taken = compare(op.op, r[op.dst], op.imm if op.src < 0 else r[op.src], op.wide)
        if self.hooks is not None:
            self.hooks.branch(self, op, taken)
        frame.pc = op.target if taken else op.next

    def _may_goto(self, frame: Frame, op: Op) -> None:
        over = not frame.gotos_left
        if self.hooks is not None:
            self.hooks.branch(self, op, over)
        if over:
            frame.pc = op.target
        else:
            frame.gotos_left -= 1
            frame.pc = op.next

    def _gotox(self, frame: Frame, op: Op) -> None:
        frame.pc = gotox_target(frame.code, frame.function.start, frame.registers[op.dst])

    def _helper(self, frame: Frame, op: Op) -> None:
        if op.imm == TAIL_CALL:
            self._tail_call(frame, op)
        else:
            self._call_out(frame, op, op.imm)

    def _kfunc(self, frame: Frame, op: Op) -> None:
        self._call_out(frame, op, -1)

    def _callx(self, frame: Frame, op: Op) -> None:
        value = frame.registers[op.dst]
        index = frame.code.index_of(value)
        if index >= 0:
            self._call(frame, op, index)
        else:
            self._call_out(frame, op, value & U32)

    def _local(self, frame: Frame, op: Op) -> None:
        self._call(frame, op, op.target)

    def _exit(self, frame: Frame, op: Op) -> None:
        self._return(frame, frame.registers[0])

    def _trap(self, frame: Frame, op: Op) -> None:
        raise Fault(READ_ONLY)

    def _packet(self, frame: Frame, op: Op) -> None:
        r = frame.registers
        offset = signed(op.imm + (r[op.src] if op.src >= 0 else 0), 32)
        value = self.cpu.env.packet_load(self.cpu, r[6], offset, op.size)
        if value is None:
            self._return(frame, 0)
            return
        r[0:6] = (value & U64, 0, 0, 0, 0, 0)
        frame.pc = op.next

    # Parts of them

    def _read(self, address: int, size: int, probe: bool) -> int:
        hooks = self.hooks
        if hooks is not None:
            given = hooks.loading(self, address, size)
            if given is not None:
                return given & ((1 << 8 * size) - 1)
        memory = self.memory
        if memory.permits(address, size):
            value = memory.load(address, size)
        elif probe or _in_arena(self.cpu, address):
            value = 0
        else:
            raise memory.fault(address, size)
        if hooks is not None:
            hooks.loaded(self, address, size, value)
        return value

    def _write(self, address: int, size: int, value: int) -> None:
        value &= (1 << 8 * size) - 1
        if self.hooks is not None:
            self.hooks.storing(self, address, size, value)
        if self._check_write(address, size):
            self.memory.store(address, size, value)

    def _check_write(self, address: int, size: int) -> bool:
        """Whether to store: not into pages of an arena that aren't there. Raises Fault."""
        memory = self.memory
        if memory.permits(address, size, write=True):
            return True
        if _in_arena(self.cpu, address):
            return False
        raise memory.fault(address, size, write=True)

    def _call_out(self, frame: Frame, op: Op, number: int) -> None:
        r = frame.registers
        cpu, hooks = self.cpu, self.hooks
        arguments = r[1:6]
        result = None if hooks is None else hooks.calling(self, op, arguments)
        if result is None:
            env = cpu.env
            function = env.kfunc(op.imm, op.off) if number < 0 else env.helper(number)
            inner, cpu.execution = cpu.execution, self
            try:
                result = function(cpu, r[1], r[2], r[3], r[4], r[5])
            finally:
                cpu.execution = inner
        r[0:6] = (result & U64, 0, 0, 0, 0, 0)
        if hooks is not None:
            hooks.called(self, op, r[0])
        frame.pc = op.next

    def _tail_call(self, frame: Frame, op: Op) -> None:
        r = frame.registers
        cpu = self.cpu
        target = cpu.env.tail_call(cpu, r[2], r[3] & U32) if cpu.tail_calls < MAX_TAIL_CALLS else None
        if target is None:
            r[0:6] = (0, 0, 0, 0, 0, 0)
            frame.pc = op.next
            return
        cpu.tail_calls += 1
        cpu.depth -= 1
        cpu.code = target
        self.frames[-1] = Frame(target, 0, cpu.push_frame(), r[1:2])
        if self.hooks is not None:
            self.hooks.entered(self)

    def _call(self, frame: Frame, op: Op, start: int) -> None:
        r = frame.registers
        self.frames.append(Frame(frame.code, start, self.cpu.push_frame(), r[1:6]))
        frame.pc = op.next
        if self.hooks is not None:
            self.hooks.entered(self)

    def _return(self, frame: Frame, value: int) -> None:
        if self.hooks is not None:
            self.hooks.left(self, value)
        self.frames.pop()
        self.cpu.depth -= 1
        if not self.frames:
            self.result = value
            self.frames.append(frame)  # where it ended, for whoever looks
            return
        caller = self.frames[-1]
        self.cpu.code = caller.code
        caller.registers[0:6] = (value, 0, 0, 0, 0, 0)


def gotox_target(code: Code, function: int, address: int) -> int:
    """The slot that `gotox` goes to. Raises Fault if it is not one of the function that starts at
    `function`.
    """
    slot = code.slot_of(address)
    here = code.function_at(function)
    if slot < 0 or not here.start <= slot < here.end:
        raise Fault(f"gotox to {address:#x}, which is no instruction of this function", address=address)
    return slot


def _in_arena(cpu: Cpu, address: int) -> bool:
    """Loads from pages that an arena lacks give 0 and stores do nothing, as in the kernel."""
    region = cpu.memory.find(address)
    return region is not None and region.kind == "arena"


_DO = {
    "alu": Execution._alu,
    "lddw": Execution._lddw,
    "cast": Execution._cast,
    "load": Execution._load,
    "acquire": Execution._load,
    "store": Execution._store,
    "release": Execution._store,
    "atomic": Execution._atomic,
    "ja": Execution._ja,
    "jump": Execution._jump,
    "may_goto": Execution._may_goto,
    "gotox": Execution._gotox,
    "helper": Execution._helper,
    "kfunc": Execution._kfunc,
    "callx": Execution._callx,
    "local": Execution._local,
    "exit": Execution._exit,
    "packet": Execution._packet,
    "trap": Execution._trap,
}


def execute(cpu: Cpu, code: Code, start: int, args: Sequence[int]) -> int:
    """Run a function by stepping; returns r0."""
    return Execution(cpu, code, start, args, cpu.execution).run()
