"""One function of a program as Python's source text, for the interpreter.

Blocks that one block leads to are put inside it; the others are arms of a loop over `b`, the number of the
next block. A block that leads to itself gets a loop of its own, so inner loops run without a look at `b`.
"""

from __future__ import annotations

from .alu import U32, U64
from .env import FRAME_SIZE, MAY_GOTO_LIMIT
from .frames import Frames
from .memory import BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .code import Code, Function
    from .maps import Layout
    from .ops import Op

_S64, _S32 = 1 << 63, 1 << 31
_M, _W = hex(U64), hex(U32)
_DEEP = 60  # levels of indentation; Python has 100
_COPY = 12  # operations: blocks as small as that are put wherever they are needed
_COPIES = 400  # lines: but not in texts as long as that
_VIEW = {2: ("H", 1), 4: ("I", 2), 8: ("Q", 3)}
_SYMBOL = {"add": "+", "sub": "-", "mul": "*", "or": "|", "and": "&", "xor": "^"}
_RELATION = {"eq": "==", "ne": "!=", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_ARRAYS = frozenset({"array", "percpu_array"})
_ENDS = frozenset({"exit", "ja", "jump", "may_goto", "gotox", "trap"})
_CLEAR = "r1 = r2 = r3 = r4 = r5 = 0"


class _TooDeep(Exception):
    """More levels of indentation than Python takes, unless the block `leader` gets an arm of its own."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        super().__init__(leader)


class FunctionText:
    """`lines` are the text's lines, each with the slot of the instruction it belongs to. `layouts` are those
    of the maps that the text may look up in by itself.
    """

    def __init__(self, code: Code, function: Function, layouts: Mapping[int, Layout]) -> None:
        self.code = code
        self.function = function
        arrays = {address: layout for address, layout in layouts.items() if layout.kind in _ARRAYS}
        self.frames = Frames(function, arrays) if arrays else None
        self.lines: list[tuple[str, int]] = []
        self.blocks = {leader: self._block(leader) for leader in function.leaders}
        self.heads = self._heads()
        while True:
            self.numbers = {leader: n for n, leader in enumerate(self._order())}
            self.in_loop = -1  # the block whose own loop is being written
            try:
                self._write()
                return
            except _TooDeep as deep:
                self.heads.add(deep.leader)
                self.lines.clear()

    # Blocks

    def _block(self, leader: int) -> list[Op]:
        ops, pc, leaders = [], leader, set(self.function.leaders)
        while True:
            op = self.function.ops[pc]
            ops.append(op)
            pc = op.next
            if op.kind in _ENDS or pc in leaders:
                return ops

    def _successors(self, leader: int) -> list[int]:
        op = self.blocks[leader][-1]
        if op.kind in ("exit", "trap"):
            return []
        if op.kind == "ja":
            return [op.target]
        if op.kind in ("jump", "may_goto"):
            return [op.target, op.next]
        if op.kind == "gotox":
            return list(self.function.leaders)
        return [op.next]

    def _heads(self) -> set[int]:
        """Blocks that more than one leads to, those that end loops, and the first."""
        before: dict[int, int] = {self.function.start: 1}
        self.loops: set[int] = set()
        for leader in self.blocks:
            for target in self._successors(leader):
                before[target] = before.get(target, 0) + 1
                if target <= leader:
                    self.loops.add(target)
        if self.function.uses_gotox:
            return set(self.blocks)
        return {leader for leader, count in before.items() if count > 1} | {self.function.start} | self.loops

    def _order(self) -> list[int]:
        """Heads, those in most loops first: their arms are found soonest."""
        spans = [
            (target, leader)
            for leader in self.blocks
            for target in self._successors(leader)
            if target <= leader
        ]
        depth = {head: sum(first <= head <= last for first, last in spans) for head in self.heads}
        return sorted(self.heads, key=lambda head: (-depth[head], head))

    # Writing

    def _put(self, level: int, text: str, slot: int) -> None:
        self.lines.append(("    " * level + text, slot))

    def _write(self) -> None:
        start = self.function.start
        self._put(0, f"def f{start}(cpu, r1, r2, r3, r4, r5):", start)
        self._put(1, "r0 = r6 = r7 = r8 = r9 = 0", start)
        self._put(1, "left = cpu.left", start)
        self._put(1, "r10 = cpu.push_frame()", start)
        kinds = {op.kind for op in self.function.ops.values()}
        if kinds & {"load", "store", "acquire", "release"} or self.frames is not None:
            self._put(1, f"p = r10 - {BASE:#x}", start)
            self._put(1, "p8 = p >> 3", start)
        if "helper" in kinds:
            self._put(1, "helper = cpu.env.helper", start)
        if "may_goto" in kinds:
            self._put(1, f"gotos = {MAY_GOTO_LIMIT}", start)
        heads = list(self.numbers)
        if len(heads) == 1:
            if start in self.loops:
                self._loop(1, start)
            else:
                self._tree(1, start, 0)
            return
        self._put(1, f"b = {self.numbers[start]}", start)
        self._put(1, "while True:", start)
        self._arms(2, heads)

    def _arms(self, level: int, heads: list[int]) -> None:
        """A choice among heads: the first few by comparison, more by halves."""
        if len(heads) <= 4:
            for n, head in enumerate(heads):
                last = n == len(heads) - 1
                word = "if" if n == 0 else "elif"
                if last and n:
                    self._put(level, "else:", head)
                elif last:
                    self._arm(level, head)
                    return
                else:
                    self._put(level, f"{word} b == {self.numbers[head]}:", head)
                self._arm(level + 1, head)
            return
        half = max(2, len(heads) // 2)
        self._put(level, f"if b < {self.numbers[heads[half]]}:", heads[0])
        self._arms(level + 1, heads[:half])
        self._put(level, "else:", heads[half])
        self._arms(level + 1, heads[half:])

    def _arm(self, level: int, head: int) -> None:
        if head in self.loops and self._reaches_itself(head):
            self._loop(level, head)
        else:
            self._tree(level, head, 0)

    def _loop(self, level: int, head: int) -> None:
        self._put(level, "while True:", head)
        self.in_loop = head
        self._tree(level + 1, head, 0)
        self.in_loop = -1

    def _reaches_itself(self, head: int) -> bool:
        """Whether the blocks put inside this one lead back to it."""
        waiting, seen = [head], {head}
        while waiting:
            for target in self._successors(waiting.pop()):
                if target == head:
                    return True
                if target not in seen and (target not in self.heads or self._small(target)):
                    seen.add(target)
                    waiting.append(target)
        return False

    def _small(self, leader: int) -> bool:
        return leader not in self.loops and len(self.blocks[leader]) <= _COPY and len(self.lines) < _COPIES

    def _tree(self, level: int, leader: int, count: int) -> None:
        """A block and those inside it. `count` instructions before it are not yet taken from `left`."""
        while True:
            ops = self.blocks[leader]
            for n, op in enumerate(ops, 1):
                if self._look_up(level, op):
                    continue
                if op.kind in ("helper", "local", "kfunc", "callx", "packet"):
                    self._call(level, op, count + n)
                    count = -n
                elif op.kind not in _ENDS:
                    self._plain(level, op)
            count += len(ops)
            last = ops[-1]
            following = self._end(level, last, count, leader)
            if following < 0 or self._left(level, following, count, leader, last.pc):
                return
            leader = following

    def _end(self, level: int, op: Op, count: int, leader: int) -> int:
        """The end of a block; returns the block that the text goes on with, -1 if there is none."""
        if op.kind == "exit":
            self._return(level, op, count, "r0")
            return -1
        if op.kind == "trap":
            self._put(level, f"cpu.left = left - {count}", op.pc)
            self._put(level, "return trap()", op.pc)
            return -1
        if op.kind == "gotox":
            self._put(level, f"left -= {count}", op.pc)
            self._put(level, "if left < 0: over(cpu)", op.pc)
            self._put(level, f"b = gotox({self.function.start}, r{op.dst})", op.pc)
            self._put(level, f"b = {self.numbers!r}[b]", op.pc)
            self._put(level, "break" if self.in_loop >= 0 else "continue", op.pc)
            return -1
        if op.kind == "ja":
            return op.target
        if op.kind == "may_goto":
            self._put(level, "if not gotos:", op.pc)
            self._branch(level + 1, op.target, count, leader, op.pc)
            self._put(level, "gotos -= 1", op.pc)
        elif op.kind == "jump":
            self._put(level, f"if {condition(op)}:", op.pc)
            self._branch(level + 1, op.target, count, leader, op.pc)
        return op.next

    def _branch(self, level: int, target: int, count: int, leader: int, slot: int) -> None:
        if not self._left(level, target, count, leader, slot):
            self._tree(level, target, count)

    def _left(self, level: int, target: int, count: int, leader: int, slot: int) -> bool:
        """Whether the way to `target` leaves this place of the text; else its text comes here."""
        if target == self.in_loop:
            self._take(level, count, slot, check=True)
            self._put(level, "continue", slot)
            return True
        if level > _DEEP and target not in self.heads:
            raise _TooDeep(target)
        if target in self.heads and (level > _DEEP or not self._small(target)):
            self._take(level, count, slot, check=target <= leader)
            self._put(level, f"b = {self.numbers[target]}", slot)
            self._put(level, "break" if self.in_loop >= 0 else "continue", slot)
            return True
        return False

    def _take(self, level: int, count: int, slot: int, *, check: bool) -> None:
        if count:
            self._put(level, f"left -= {count}", slot)
        if check:
            self._put(level, "if left < 0: over(cpu)", slot)

    def _return(self, level: int, op: Op, count: int, value: str) -> None:
        self._put(level, f"cpu.left = left - {count}", op.pc)
        self._put(level, "if cpu.left < 0: over(cpu)", op.pc)
        self._put(level, "cpu.depth -= 1", op.pc)
        self._put(level, f"return {value}", op.pc)

    def _look_up(self, level: int, op: Op) -> bool:
        """Write a look-up in an array, of a key in the stack frame, without a call. Whether it is one."""
        frames = self.frames
        if frames is None or not frames.key_in_frame(op.pc):
            return False
        place = frames.offset(op.pc, 2)
        if place is None or place % 4:
            return False
        layout = frames.lookups[op.pc]
        address = f"{layout.elements:#x} + k * {layout.stride}"
        if layout.cpu_stride:
            address += f" + cpu.number * {layout.cpu_stride}"
        self._put(level, f"k = I[(p >> 2) - {-place >> 2}]", op.pc)
        self._put(level, f"r0 = {address} if k < {layout.max_entries} else 0", op.pc)
        self._put(level, _CLEAR, op.pc)
        return True

    def _call(self, level: int, op: Op, count: int) -> None:
        self._put(level, f"cpu.left = left - {count}", op.pc)
        self._put(level, "if cpu.left < 0: over(cpu)", op.pc)
        args = "cpu, r1, r2, r3, r4, r5"
        if op.kind == "helper" and op.imm == 12:
            self._put(level, "r0 = tail_call(cpu, r1, r2, r3)", op.pc)
            self._put(level, "if r0 is not None: return r0", op.pc)
            self._put(level, "r0 = 0", op.pc)
        elif op.kind == "helper":
            self._put(level, f"r0 = helper({op.imm})({args}) & {_M}", op.pc)
        elif op.kind == "kfunc":
            self._put(level, f"r0 = cpu.env.kfunc({op.imm}, {op.off})({args}) & {_M}", op.pc)
        elif op.kind == "local":
            self._put(level, f"r0 = f{op.target}({args})", op.pc)
        elif op.kind == "callx":
            self._put(level, f"r0 = callx(cpu, r{op.dst}, r1, r2, r3, r4, r5)", op.pc)
        else:
            offset = f"{op.imm}" if op.src < 0 else f"(r{op.src} + {op.imm})"
            offset = f"(({offset} & {_W}) ^ {_S32:#x}) - {_S32:#x}"
            self._put(level, f"r0 = cpu.env.packet_load(cpu, r6, {offset}, {op.size})", op.pc)
            self._put(level, "if r0 is None:", op.pc)
            self._put(level + 1, "cpu.depth -= 1", op.pc)
            self._put(level + 1, "return 0", op.pc)
            self._put(level, f"r0 &= {_M}", op.pc)
        self._put(level, f"left = cpu.left; {_CLEAR}", op.pc)

    # Operations without calls or jumps

    def _plain(self, level: int, op: Op) -> None:
        if op.kind == "alu":
            self._put(level, f"r{op.dst} = {arithmetic(op)}", op.pc)
        elif op.kind == "lddw":
            self._put(level, f"r{op.dst} = {op.imm:#x}", op.pc)
        elif op.kind == "cast":
            low = f"(r{op.src} & {_W})"
            self._put(level, f"r{op.dst} = {BASE:#x} | {low} if {low} else 0", op.pc)
        elif op.kind in ("load", "acquire"):
            self._load(level, op)
        elif op.kind in ("store", "release"):
            self._store(level, op)
        else:
            self._atomic(level, op)

    def _load(self, level: int, op: Op) -> None:
        target = f"r{op.dst} = "
        probe = op.pc in self.code.probe_loads
        if op.src == 10 and self._framed(op):
            value = self._slot(op)
        elif probe:
            value = f"load(cpu, r{op.src} - {BASE - op.off:#x}, {op.size}, True)"
        else:
            self._put(level, f"i = r{op.src} - {BASE - op.off:#x}", op.pc)
            if op.size == 1:
                test, value = "S[i >> 3] & 15 > i & 7 and i > 0", "B[i]"
            else:
                view, shift = _VIEW[op.size]
                test, value = f"S[i >> 3] & 8 and not i & {op.size - 1} and i > 0", f"{view}[i >> {shift}]"
            slow = f"load{op.size}(cpu, i)" if op.size > 1 else "load(cpu, i, 1, False)"
            value = f"{value} if {test} else {slow}"
        if op.signed:
            half = 1 << (8 * op.size - 1)
            value = f"((({value}) ^ {half:#x}) - {half:#x}) & {_M}"
        self._put(level, target + value, op.pc)

    def _store(self, level: int, op: Op) -> None:
        value = hex(op.imm) if op.src < 0 else f"r{op.src}"
        if op.src >= 0 and op.size < 8:
            value += f" & {(1 << 8 * op.size) - 1:#x}"
        if op.dst == 10 and self._framed(op):
            self._put(level, f"{self._slot(op)} = {value}", op.pc)
            return
        self._put(level, f"i = r{op.dst} - {BASE - op.off:#x}", op.pc)
        if op.size == 1:
            test, place = "S[i >> 3] >> 4 > i & 7 and i > 0", "B[i]"
        else:
            view, shift = _VIEW[op.size]
            test, place = f"S[i >> 3] > 127 and not i & {op.size - 1} and i > 0", f"{view}[i >> {shift}]"
        self._put(level, f"if {test}: {place} = {value}", op.pc)
        self._put(level, f"else: store(cpu, i, {op.size}, {value})", op.pc)

    def _framed(self, op: Op) -> bool:
        """Whether an access by r10 is within the frame, and aligned."""
        return -FRAME_SIZE <= op.off <= -op.size and op.off % op.size == 0

    def _slot(self, op: Op) -> str:
        if op.size == 1:
            return f"B[p + {op.off}]"
        if op.size == 8:
            return f"Q[p8 - {-op.off >> 3}]"
        view, shift = _VIEW[op.size]
        return f"{view}[(p >> {shift}) - {-op.off >> shift}]"

    def _atomic(self, level: int, op: Op) -> None:
        mask = hex((1 << 8 * op.size) - 1)
        self._put(level, f"i = r{op.dst} - {BASE - op.off:#x}", op.pc)
        self._put(level, f"old = fetch(cpu, i, {op.size})", op.pc)
        if op.op == "cmpxchg":
            text = f"store(cpu, i, {op.size}, r{op.src} & {mask} if old == r0 & {mask} else old)"
            self._put(level, text, op.pc)
            self._put(level, "r0 = old", op.pc)
            return
        new = f"r{op.src}" if op.op == "xchg" else f"(old {_SYMBOL[op.op]} r{op.src})"
        self._put(level, f"store(cpu, i, {op.size}, {new} & {mask})", op.pc)
        if op.fetch:
            self._put(level, f"r{op.src} = old", op.pc)


def arithmetic(op: Op) -> str:
    """The expression of an operation's result."""
    name, wide, d = op.op, op.wide, f"r{op.dst}"
    mask, bits, sign = (_M, 64, _S64) if wide else (_W, 32, _S32)
    if name in ("le", "be", "bswap"):
        low = f"{d} & {(1 << op.imm) - 1:#x}"
        return low if name == "le" else f"swap({d}, {op.imm})"
    by_register = op.src >= 0
    # Operands as 64 bits hold; where only their low half counts, they are cut first.
    s = f"r{op.src}" if by_register else hex(op.imm)
    a = d if wide else f"({d} & {_W})"
    b = s if wide or not by_register else f"({s} & {_W})"
    if name == "mov":
        return b
    if name == "movsx":
        half = 1 << (op.off - 1)
        return f"((({s} & {2 * half - 1:#x}) ^ {half:#x}) - {half:#x}) & {mask}"
    if name == "neg":
        return f"-{d} & {mask}"
    if name in ("add", "sub", "mul"):
        if not by_register and op.imm & sign and name != "mul":  # small numbers are quicker than large ones
            return f"({d} {'-' if name == 'add' else '+'} {(-op.imm) & (U64 if wide else U32)}) & {mask}"
        return f"({d} {_SYMBOL[name]} {s}) & {mask}"
    if name in ("or", "xor"):
        return f"{d} {_SYMBOL[name]} {s}" if wide else f"({d} {_SYMBOL[name]} {s}) & {_W}"
    if name == "and":
        return f"{d} & {s}" if wide or not by_register else f"{d} & {s} & {_W}"
    if name in ("div", "mod"):
        sign_text, zero = ("//", "0") if name == "div" else ("%", a)
        if not by_register:
            return f"{a} {sign_text} {s}" if op.imm else zero
        return f"{a} {sign_text} {b} if {b} else {zero}"
    if name in ("sdiv", "smod"):
        return f"{'divide' if name == 'sdiv' else 'modulo'}({a}, {b}, {bits})"
    count = str(op.imm & (bits - 1)) if not by_register else f"({s} & {bits - 1})"
    if name == "lsh":
        return f"({d} << {count}) & {mask}"
    if name == "rsh":
        return f"{a} >> {count}"
    return f"((({a}) ^ {sign:#x}) - {sign:#x} >> {count}) & {mask}"


def condition(op: Op) -> str:
    """The expression of a conditional jump's condition."""
    by_register = op.src >= 0
    a = f"r{op.dst}" if op.wide else f"(r{op.dst} & {_W})"
    b = hex(op.imm) if not by_register else (f"r{op.src}" if op.wide else f"(r{op.src} & {_W})")
    if op.op == "set":
        return f"{a} & {b}"
    if op.op[0] == "s":
        # With the sign bit flipped, unsigned order is the signed one.
        sign = _S64 if op.wide else _S32
        b = hex(op.imm ^ sign) if not by_register else f"({b} ^ {sign:#x})"
        return f"({a} ^ {sign:#x}) {_RELATION[op.op[1:]]} {b}"
    return f"{a} {_RELATION[op.op]} {b}"
