"""A program made ready to run: its operations, its functions, and where in the source they are."""

from __future__ import annotations

from bisect import bisect_right
from hashlib import blake2b

from ..errors import ObjectError
from ..isa.insn import Insn, decode, encode
from .ops import Op, decode_op

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .ops import Resolve

CODE_BASE = 0x2000_0000_0000


class Function:
    """A program's main function or one of its subprograms: the slots `start` to `end`, those after excluded.

    `ops` are its reachable operations by slot; `leaders` are the slots at which its blocks begin, in order.
    """

    __slots__ = ("end", "leaders", "number", "ops", "start", "uses_gotox")

    def __init__(self, number: int, start: int, end: int) -> None:
        self.number = number
        self.start = start
        self.end = end
        self.ops: dict[int, Op] = {}
        self.leaders: list[int] = []
        self.uses_gotox = False


class Code:
    """A program ready to run.

    `instructions` is code as bytes, or slots. `resolve` gives the 64 bits of wide immediates that refer to
    maps, variables and kernel symbols: called with the slot, the kind (`src`, UAPI's BPF_PSEUDO_…) and both
    immediates. `lines` maps slots to "file:line"; a line goes on until the next one. `base` is the address of
    slot 0 in the space of code addresses: programs that call one another back need different ones.
    `probe_loads` are the slots of loads through BTF pointers, as the verifier tells: those read 0 where
    there is no memory, as in the kernel, and are checked in verified mode, too. `jump_targets` are the slots
    that `gotox` may lead to, if any are known. `verified` says that a verifier accepted the program,
    `unverified` why none did, for code that shall run with checks where verified mode is asked for.

    Raises:
        ObjectError: these are no instructions, or a jump leads out of a function or into the middle of one.
    """

    def __init__(
        self,
        instructions: bytes | bytearray | memoryview | Sequence[Insn],
        *,
        name: str = "",
        endian: str = "little",
        resolve: Resolve | None = None,
        lines: Mapping[int, str] | None = None,
        base: int = CODE_BASE,
        probe_loads: Iterable[int] = (),
        jump_targets: Iterable[int] = (),
        verified: bool = False,
        unverified: str = "",
    ) -> None:
        if isinstance(instructions, (bytes, bytearray, memoryview)):
            self.insns: Sequence[Insn] = decode(instructions, endian)
        else:
            self.insns = instructions
        if not self.insns:
            raise ObjectError(f"{name or 'the program'} has no instructions")
        self.name = name
        self.base = base
        self.verified = verified
        self.unverified = unverified
        self.probe_loads = frozenset(probe_loads)
        self.lines = dict(lines or {})
        self._line_starts = sorted(self.lines)
        self._jump_targets = frozenset(jump_targets)
        self.ops = self._decode(resolve)
        self.functions: list[Function] = []
        self._function_at: dict[int, Function] = {}
        self._split()
        self.heat = 0  # instructions run by the interpreter
        self.interpreted: Any = None  # made by the interpreter and the JIT when first needed
        self.native: dict[str, Any] = {}
        self._key = ""

    @property
    def key(self) -> str:
        """A hash of all that native code is made from."""
        if not self._key:
            h = blake2b(digest_size=20)
            h.update(encode(self.insns))
            wide = [(op.pc, op.imm) for op in self.ops.values() if op.kind == "lddw"]
            h.update(repr((self.base, wide, sorted(self.probe_loads), sorted(self._jump_targets))).encode())
            self._key = h.hexdigest()
        return self._key

    def index_of(self, address: int) -> int:
        """The slot of a function's code address; -1 if no function of this code starts there."""
        index, rest = divmod(address - self.base, 8)
        return index if not rest and index in self._function_at else -1

    def slot_of(self, address: int) -> int:
        """The slot of any operation's code address, as `gotox` takes them; -1 if there is none."""
        index, rest = divmod(address - self.base, 8)
        return index if not rest and index in self.ops else -1

    def function_at(self, start: int) -> Function:
        """The function that starts at this slot."""
        return self._function_at[start]

    def line_of(self, index: int) -> str:
        """The source line of a slot as "file:line", "" if unknown."""
        at = bisect_right(self._line_starts, index) - 1
        return self.lines[self._line_starts[at]] if at >= 0 else ""

    # Inside

    def _decode(self, resolve: Resolve | None) -> dict[int, Op]:
        """All operations by slot. What can't be reached may be anything."""
        ops: dict[int, Op] = {}
        waiting = [0]
        while waiting:
            pc = waiting.pop()
            while pc not in ops:
                if not 0 <= pc < len(self.insns):
                    raise ObjectError(f"{self.name or 'the program'} runs out of its end at slot {pc}")
                op = ops[pc] = decode_op(self.insns, pc, self.base, resolve)
                if op.target >= 0 or op.kind in ("ja", "jump", "may_goto", "local"):
                    if not 0 <= op.target < len(self.insns):
                        raise ObjectError(f"instruction {pc} leads to slot {op.target}, out of the program")
                    waiting.append(op.target)
                if op.kind == "gotox":
                    waiting += self._jump_targets or self._indirect(ops)
                if op.kind in ("exit", "ja", "gotox", "trap"):
                    break
                pc = op.next
        second = {op.pc + 1 for op in ops.values() if op.kind == "lddw"}
        for pc in sorted(second & ops.keys()):
            raise ObjectError(f"instruction {pc}: a jump leads into the middle of a wide immediate")
        return dict(sorted(ops.items()))

    def _indirect(self, ops: Mapping[int, Op]) -> list[int]:
        """Where `gotox` may lead when nobody says: to any whole instruction."""
        out, pc = [], 0
        while pc < len(self.insns):
            out.append(pc)
            pc += 2 if self.insns[pc].is_wide else 1
        return out

    def _split(self) -> None:
        starts = {0} | {
            op.target for op in self.ops.values() if op.kind in ("local", "lddw") and op.target >= 0
        }
        ordered = sorted(starts)
        for number, start in enumerate(ordered):
            end = ordered[number + 1] if number + 1 < len(ordered) else len(self.insns)
            function = Function(number, start, end)
            self.functions.append(function)
            self._function_at[start] = function
        for pc, op in self.ops.items():
            function = self.functions[bisect_right(ordered, pc) - 1]
            function.ops[pc] = op
        for function in self.functions:
            self._blocks(function)

    def _blocks(self, function: Function) -> None:
        leaders = {function.start}
        for op in function.ops.values():
            if op.kind in ("ja", "jump", "may_goto"):
                leaders.add(op.target)
                if not function.start <= op.target < function.end:
                    raise ObjectError(f"instruction {op.pc} jumps out of its function, to slot {op.target}")
            if op.kind == "gotox":
                function.uses_gotox = True
            if op.kind in ("jump", "may_goto"):
                leaders.add(op.next)
            if op.kind not in ("exit", "ja", "gotox") and op.next >= function.end:
                raise ObjectError(f"instruction {op.pc} runs out of the end of its function")
        if function.uses_gotox:
            targets = self._jump_targets or function.ops.keys()
            leaders |= {pc for pc in targets if function.start <= pc < function.end}
        function.leaders = sorted(leaders)
