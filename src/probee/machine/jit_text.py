"""Programs as LLVM IR, for native code.

Registers are variables that LLVM's first passes turn into values. Each function of the program becomes
`{r0, stop} @f(state, r1, …, r5)`; `stop` is 1 when the program ended early, and what happened is in the
state. A pointer is an address of the machine's; `%mem` is where address 0 would be in this process.
"""

from __future__ import annotations

from .env import FRAME_SIZE, FRAME_STRIDE, MAY_GOTO_LIMIT
from .frames import Frames
from .jit_maps import lookup
from .jit_state import (
    ADDRESS,
    ARGS,
    BUDGET,
    CALL,
    ENTRY,
    LIMIT,
    MEM,
    PC,
    REGISTERS,
    RETURN,
    SLOW,
    SP,
    SPAN,
    STOP,
    STOP_FAULT,
    STOP_GOTOX,
    STOP_STACK,
    STOP_TRAP,
)
from .memory import BASE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .code import Code, Function
    from .maps import Layout
    from .ops import Op

_TYPES = {1: "i8", 2: "i16", 4: "i32", 8: "i64"}
_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "or": "or", "and": "and", "xor": "xor"}
_SHIFT = {"lsh": "shl", "rsh": "lshr", "arsh": "ashr"}
_RELATION = {
    "eq": "eq",
    "ne": "ne",
    "gt": "ugt",
    "ge": "uge",
    "lt": "ult",
    "le": "ule",
    "sgt": "sgt",
    "sge": "sge",
    "slt": "slt",
    "sle": "sle",
}
_ATOMIC = {"add": "add", "or": "or", "and": "and", "xor": "xor", "xchg": "xchg"}
_CALLS = frozenset({"helper", "local", "kfunc", "callx", "packet"})
_ENDS = frozenset({"exit", "ja", "jump", "may_goto", "gotox", "trap"})

_TAIL = """
declare i16 @llvm.bswap.i16(i16)
declare i32 @llvm.bswap.i32(i32)
declare i64 @llvm.bswap.i64(i64)
declare void @llvm.memset.inline.p0.i64(ptr, i8, i64 immarg, i1 immarg)
declare i1 @llvm.expect.i1(i1, i1)
attributes #0 = { nounwind "no-builtins" }
!0 = !{}
"""


def module_text(code: Code, *, checked: bool, budget: bool, layouts: Mapping[int, Layout]) -> str:
    """The module of a program. `checked` tests every access; `budget` counts instructions. `layouts` are
    those of maps, by their addresses.
    """
    soft = any(op.kind == "cast" for op in code.ops.values())  # pages of an arena may be absent
    parts = []
    called = {op.target for op in code.ops.values() if op.kind == "local"}
    by_address = {op.target for op in code.ops.values() if op.kind == "lddw"} | {0}
    if any(op.kind == "callx" for op in code.ops.values()):
        by_address |= called
    for function in code.functions:
        start = function.start
        writer = _FunctionText(code, function, layouts, direct=start not in called)
        writer.checked, writer.budget = checked or soft, budget
        parts.append(writer.text())
        if start in called and start in by_address:
            parts.append(_entry(start))
    parts.append(_TAIL)
    return "\n".join(parts)


def _entry(start: int) -> str:
    """What Python calls: arguments and r0 are in the state."""
    lines = [f"define i64 @e{start}(ptr %s) #0 {{"]
    for n in range(5):
        lines.append(f"  %p{n} = getelementptr i8, ptr %s, i64 {8 * (ENTRY + n)}")
        lines.append(f"  %a{n} = load i64, ptr %p{n}")
    args = ", ".join(f"i64 %a{n}" for n in range(5))
    lines += [
        f"  %pair = call {{i64, i64}} @f{start}(ptr %s, {args})",
        "  %r0 = extractvalue {i64, i64} %pair, 0",
        "  %stop = extractvalue {i64, i64} %pair, 1",
        f"  %ra = getelementptr i8, ptr %s, i64 {8 * RETURN}",
        "  store i64 %r0, ptr %ra",
        "  ret i64 %stop",
        "}",
    ]
    return "\n".join(lines)


class _FunctionText:
    checked = True
    budget = True

    def __init__(
        self, code: Code, function: Function, layouts: Mapping[int, Layout], *, direct: bool
    ) -> None:
        self.direct = direct  # called by Python only: takes its arguments from the state
        self.code = code
        self.function = function
        self.frames = Frames(function, layouts)
        self.lines: list[str] = []
        self.serial = 0
        self.ret_stopped = "ret i64 1" if direct else "ret {i64, i64} {i64 0, i64 1}"
        self.leaders = set(function.leaders)
        self.has_calls = self.frames.calls
        self.private = self.frames.private

    # Text

    def put(self, text: str) -> None:
        self.lines.append("  " + text)

    def new(self, text: str) -> str:
        """Put an instruction that gives a value; returns the value's name."""
        self.serial += 1
        name = f"%v{self.serial}"
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, stem: str) -> str:
        self.serial += 1
        return f"{stem}{self.serial}"

    def place(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def get(self, register: int) -> str:
        return self.new(f"load i64, ptr %r{register}")

    def set(self, register: int, value: str) -> None:
        self.put(f"store i64 {value}, ptr %r{register}")

    def low(self, value: str) -> str:
        return self.new(f"trunc i64 {value} to i32")

    def field(self, index: int) -> str:
        return self.new(f"getelementptr i8, ptr %s, i64 {8 * index}")

    def field_value(self, index: int, kind: str = "i64") -> str:
        return self.new(f"load {kind}, ptr {self.field(index)}")

    def text(self) -> str:
        start = self.function.start
        args = ", ".join(f"i64 %a{n}" for n in range(1, 6))
        if self.direct:
            self.lines.append(f"define i64 @e{start}(ptr %s) #0 {{")
        else:
            self.lines.append(f"define internal {{i64, i64}} @f{start}(ptr %s, {args}) #0 {{")
        self.place("entry")
        if self.direct:
            for n in range(1, 6):
                self.put(f"%a{n} = load i64, ptr {self.field(ENTRY + n - 1)}")
        self._prologue()
        order = self.function.leaders
        self.put(f"br label %b{start}")
        for leader in order:
            self._block(leader)
        self.place("stopped")
        self._restore_stack()
        self.put(self.ret_stopped)
        self.lines.append("}")
        return "\n".join(self.lines)

    def _prologue(self) -> None:
        for n in range(11):
            self.put(f"%r{n} = alloca i64")
        self.put("%left = alloca i64")
        self.put("%gotos = alloca i64")
        for n in range(11):
            if n != 10:
                self.set(n, f"%a{n}" if 1 <= n <= 5 else "0")
        self.put(f"store i64 {MAY_GOTO_LIMIT}, ptr %gotos")
        if self.budget:
            self.put(f"store i64 {self.field_value(BUDGET)}, ptr %left")
        at = self.field(MEM)
        self.put(f"%mem = load ptr, ptr {at}, !invariant.load !0")
        for register, write in self._spans():
            self.put(f"%low{register}{write} = alloca i64")
            self.put(f"%limit{register}{write} = alloca i64")
            self.put(f"store i64 0, ptr %low{register}{write}")
        self._forget()
        frames = self.frames
        if self.has_calls or (frames.used and not self.private):
            at = self.field(SP)
            self.put(f"%sp = load i64, ptr {at}")
            self.set(10, "%sp")
            full = self.new(f"icmp ugt i64 %sp, {self.field_value(LIMIT)}")
            over, fine = self.label("over"), self.label("fine")
            self.put(f"br i1 {full}, label %{over}, label %{fine}")
            self.place(over)
            self._stop(STOP_STACK, self.function.start)
            self.put(self.ret_stopped)
            self.place(fine)
            if self.has_calls:
                self.put(f"store i64 {self.new(f'add i64 %sp, {FRAME_STRIDE}')}, ptr {self.field(SP)}")
        else:
            self.set(10, "0")
        if self.private:
            self.put(f"%frame = alloca [{FRAME_SIZE} x i8], align 64")
        elif frames.used:
            self.put(f"%frame_end = getelementptr i8, ptr %mem, i64 {self.get(10)}")
            self.put(f"%frame = getelementptr i8, ptr %frame_end, i64 -{FRAME_SIZE}")
        if frames.cleared:
            low = self.new(f"getelementptr i8, ptr %frame, i64 {FRAME_SIZE - frames.cleared}")
            align = 8 if frames.cleared % 8 == 0 else 1
            self.put(
                f"call void @llvm.memset.inline.p0.i64(ptr align {align} {low}, i8 0, "
                f"i64 {frames.cleared}, i1 false)"
            )

    def _restore_stack(self) -> None:
        if self.has_calls:
            self.put(f"store i64 %sp, ptr {self.field(SP)}")

    def _stop(self, reason: int, slot: int) -> None:
        self.put(f"store i64 {reason}, ptr {self.field(STOP)}")
        self.put(f"store i64 {slot}, ptr {self.field(PC)}")

    def _save_registers(self, slot: int) -> None:
        for n in sorted(self.frames.live_at(slot)):
            if n != 10 or not self.private:
                self.put(f"store i64 {self.get(n)}, ptr {self.field(REGISTERS + n)}")

    # Blocks

    def _block(self, leader: int) -> None:
        self.place(f"b{leader}")
        ops: list[Op] = []
        pc = leader
        while True:
            op = self.function.ops[pc]
            ops.append(op)
            pc = op.next
            if op.kind in _ENDS or pc in self.leaders:
                break
        self._count(len(ops))
        for op in ops:
            if op.kind not in _ENDS:
                self._plain(op)
        last = ops[-1]
        if last.kind == "exit":
            self._exit(self.get(0))
        elif last.kind == "ja":
            self._goto(last.target, leader, last.pc)
        elif last.kind == "jump":
            self._jump(last, leader)
        elif last.kind == "may_goto":
            self._may_goto(last, leader)
        elif last.kind == "gotox":
            self._gotox(last)
        elif last.kind == "trap":
            self._stop(STOP_TRAP, last.pc)
            self._save_registers(last.pc)
            self.put("br label %stopped")
        else:
            self._goto(last.next, leader, last.pc)

    def _count(self, instructions: int) -> None:
        if self.budget:
            left = self.new("load i64, ptr %left")
            self.put(f"store i64 {self.new(f'sub i64 {left}, {instructions}')}, ptr %left")

    def _exit(self, value: str) -> None:
        if self.budget:
            self.put(f"store i64 {self.new('load i64, ptr %left')}, ptr {self.field(BUDGET)}")
        self._restore_stack()
        if self.direct:
            self.put(f"store i64 {value}, ptr {self.field(RETURN)}")
            self.put("ret i64 0")
            return
        pair = self.new(f"insertvalue {{i64, i64}} {{i64 0, i64 0}}, i64 {value}, 0")
        self.put(f"ret {{i64, i64}} {pair}")

    def _goto(self, target: int, leader: int, slot: int) -> None:
        self.put(f"br label %{self._way(target, leader, slot)}")
        self._back(target, leader, slot)

    def _way(self, target: int, leader: int, slot: int) -> str:
        """The label to branch to: on ways back one that looks at the budget."""
        return f"b{target}" if target > leader or not self.budget else f"back{slot}to{target}"

    def _back(self, target: int, leader: int, slot: int) -> None:
        """The way back to `target`, if it goes back."""
        if target > leader or not self.budget:
            return
        self.place(f"back{slot}to{target}")
        self._within_budget(slot, f"more{slot}to{target}", f"b{target}")

    def _within_budget(self, slot: int, more: str, on: str) -> None:
        """Go on at label `on`, by way of `more` if no instruction is left."""
        left = self.new("load i64, ptr %left")
        over = self.new(f"icmp slt i64 {left}, 0")
        self._unlikely(over, more, on)
        self.place(more)
        self._refill(slot, left)
        self.put(f"br label %{on}")

    def _refill(self, slot: int, left: str) -> None:
        """Ask for more instructions, which lets Python see to its signals as well."""
        self.put(f"store i64 {left}, ptr {self.field(BUDGET)}")
        self.put(f"store i64 {slot}, ptr {self.field(PC)}")
        call = self.field_value(CALL, "ptr")
        self.put(f"call i64 {call}(i64 -1)")
        self._check_stop(slot)
        self.put(f"store i64 {self.field_value(BUDGET)}, ptr %left")

    def _check_stop(self, slot: int) -> None:
        stop = self.field_value(STOP)
        bad = self.new(f"icmp ne i64 {stop}, 0")
        stopping, on = self.label("stopping"), self.label("on")
        self._unlikely(bad, stopping, on)
        self.place(stopping)
        self._save_registers(slot)
        self.put("br label %stopped")
        self.place(on)

    def _unlikely(self, test: str, yes: str, no: str) -> None:
        expected = self.new(f"call i1 @llvm.expect.i1(i1 {test}, i1 false)")
        self.put(f"br i1 {expected}, label %{yes}, label %{no}")

    def _jump(self, op: Op, leader: int) -> None:
        a = self.get(op.dst)
        b = str(op.imm) if op.src < 0 else self.get(op.src)
        kind = "i64"
        if not op.wide:
            a, kind = self.low(a), "i32"
            b = b if op.src < 0 else self.low(b)
        if op.op == "set":
            test = self.new(f"icmp ne {kind} {self.new(f'and {kind} {a}, {b}')}, 0")
        else:
            test = self.new(f"icmp {_RELATION[op.op]} {kind} {a}, {b}")
        yes, no = self._way(op.target, leader, op.pc), self._way(op.next, leader, op.pc)
        self.put(f"br i1 {test}, label %{yes}, label %{no}")
        self._back(op.target, leader, op.pc)
        if op.next != op.target:
            self._back(op.next, leader, op.pc)

    def _may_goto(self, op: Op, leader: int) -> None:
        left = self.new("load i64, ptr %gotos")
        over, on = self.new(f"icmp eq i64 {left}, 0"), self.label("on")
        self.put(f"br i1 {over}, label %{self._way(op.target, leader, op.pc)}, label %{on}")
        self._back(op.target, leader, op.pc)
        self.place(on)
        self.put(f"store i64 {self.new(f'sub i64 {left}, 1')}, ptr %gotos")
        self._goto(op.next, leader, op.pc)

    def _gotox(self, op: Op) -> None:
        value = self.get(op.dst)
        if self.budget:
            on = self.label("on")
            self._within_budget(op.pc, self.label("more"), on)
            self.place(on)
        wrong = self.label("wrong")
        cases = " ".join(f"i64 {self.code.base + 8 * n}, label %b{n}" for n in self.function.leaders)
        self.put(f"switch i64 {value}, label %{wrong} [{cases}]")
        self.place(wrong)
        self._stop(STOP_GOTOX, op.pc)
        self.put(f"store i64 {value}, ptr {self.field(ADDRESS)}")
        self._save_registers(op.pc)
        self.put("br label %stopped")

    # Operations

    def _plain(self, op: Op) -> None:
        kind = op.kind
        if kind == "alu":
            self._alu(op)
        elif kind == "lddw":
            self.set(op.dst, str(op.imm))
        elif kind == "cast":
            low = self.new(f"and i64 {self.get(op.src)}, 4294967295")
            null = self.new(f"icmp eq i64 {low}, 0")
            full = self.new(f"or i64 {low}, {BASE}")
            self.set(op.dst, self.new(f"select i1 {null}, i64 0, i64 {full}"))
        elif kind in ("load", "acquire"):
            self._load(op)
        elif kind in ("store", "release"):
            self._store(op)
        elif kind == "atomic":
            self._atomic(op)
        elif kind == "local":
            self._local(op)
        else:
            self._call_out(op)

    def _alu(self, op: Op) -> None:
        name = op.op
        if name in ("le", "be", "bswap"):
            self._swap(op)
            return
        kind, bits = ("i64", 64) if op.wide else ("i32", 32)
        if name == "mov" and op.src < 0:
            self.set(op.dst, str(op.imm))
            return
        a = ""
        if name not in ("mov", "movsx"):
            a = self.get(op.dst)
            a = a if op.wide else self.low(a)
        b = str(op.imm) if op.src < 0 else self.get(op.src)
        if op.src >= 0 and not op.wide:
            b = self.low(b)
        if name == "mov":
            value = b
        elif name == "movsx":
            cut = self.new(f"trunc {kind} {b} to i{op.off}")
            value = self.new(f"sext i{op.off} {cut} to {kind}")
        elif name == "neg":
            value = self.new(f"sub {kind} 0, {a}")
        elif name in _BINARY:
            value = self.new(f"{_BINARY[name]} {kind} {a}, {b}")
        elif name in _SHIFT:
            count = str(op.imm & (bits - 1)) if op.src < 0 else self.new(f"and {kind} {b}, {bits - 1}")
            value = self.new(f"{_SHIFT[name]} {kind} {a}, {count}")
        else:
            value = self._division(name, kind, a, b, op.imm if op.src < 0 else -1)
        self.set(op.dst, value if op.wide else self.new(f"zext i32 {value} to i64"))

    def _division(self, name: str, kind: str, a: str, b: str, constant: int) -> str:
        """`constant` is the divisor, or -1 if it is not known."""
        signed = name[0] == "s"
        divides = name.endswith("div")
        operation = ("s" if signed else "u") + ("div" if divides else "rem")
        if constant == 0:
            return "0" if divides else a
        everything = (1 << int(kind[1:])) - 1
        if constant > 0 and not (signed and constant == everything):
            return self.new(f"{operation} {kind} {a}, {b}")
        zero = self.new(f"icmp eq {kind} {b}, 0")
        unsafe, minus = zero, ""
        if signed:
            minus = self.new(f"icmp eq {kind} {b}, -1")
            unsafe = self.new(f"or i1 {zero}, {minus}")
        divisor = self.new(f"select i1 {unsafe}, {kind} 1, {kind} {b}")
        value = self.new(f"{operation} {kind} {a}, {divisor}")
        if signed:
            instead = self.new(f"sub {kind} 0, {a}") if divides else "0"
            value = self.new(f"select i1 {minus}, {kind} {instead}, {kind} {value}")
        return self.new(f"select i1 {zero}, {kind} {'0' if divides else a}, {kind} {value}")

    def _swap(self, op: Op) -> None:
        a = self.get(op.dst)
        bits = op.imm
        if bits == 64:
            if op.op != "le":
                a = self.new(f"call i64 @llvm.bswap.i64(i64 {a})")
            self.set(op.dst, a)
            return
        cut = self.new(f"trunc i64 {a} to i{bits}")
        if op.op != "le":
            cut = self.new(f"call i{bits} @llvm.bswap.i{bits}(i{bits} {cut})")
        self.set(op.dst, self.new(f"zext i{bits} {cut} to i64"))

    # Memory

    def _pointer(self, op: Op, register: int, *, write: bool, soft: str = "") -> str:
        """The native address of an access, after the test that it is allowed. Where it reads 0 or writes
        nothing instead, it goes on at the label `soft`.
        """
        frame_offset = self.frames.offset(op.pc, register)
        if frame_offset is not None:
            at = frame_offset + op.off
            if -FRAME_SIZE <= at <= -op.size:
                return self.new(f"getelementptr i8, ptr %frame, i64 {FRAME_SIZE + at}")
        address = self.get(register)
        if op.off:
            address = self.new(f"add i64 {address}, {op.off}")
        if self.checked or op.pc in self.code.probe_loads:
            self._check(op, address, register=register, write=write, soft=soft)
        return self.new(f"getelementptr i8, ptr %mem, i64 {address}")

    def _spans(self) -> list[tuple[int, int]]:
        """The registers that accesses go by, and whether they write: each keeps in mind where it may."""
        if not (self.checked or self.code.probe_loads):
            return []
        found = set()
        for op in self.function.ops.values():
            if op.kind in ("load", "acquire"):
                found.add((op.src, 0))
            elif op.kind in ("store", "release", "atomic"):
                found.add((op.dst, 1))
        return sorted(found)

    def _forget(self) -> None:
        """What was allowed may not be after a call."""
        for register, write in self._spans():
            self.put(f"store i64 0, ptr %limit{register}{write}")

    def _check(self, op: Op, address: str, *, register: int, write: bool, soft: str) -> None:
        name = f"{register}{int(write)}"
        low = self.new(f"load i64, ptr %low{name}")
        limit = self.new(f"load i64, ptr %limit{name}")
        distance = self.new(f"sub i64 {address}, {low}")
        inside = self.new(f"icmp ult i64 {distance}, {limit}")
        inside = self.new(f"call i1 @llvm.expect.i1(i1 {inside}, i1 true)")
        slow, fine = self.label("slow"), self.label("fine")
        self.put(f"br i1 {inside}, label %{fine}, label %{slow}")
        self.place(slow)
        self.put(f"store i64 {op.pc}, ptr {self.field(PC)}")
        arguments = f"ptr %s, i64 {address}, i64 {op.size}, i64 {int(write)}"
        triple = self.new(f"call {{i64, i64, i64}} {self.field_value(SPAN, 'ptr')}({arguments})")
        answer, low, limit = (self.new(f"extractvalue {{i64, i64, i64}} {triple}, {n}") for n in range(3))
        self.put(f"store i64 {low}, ptr %low{name}")
        self.put(f"store i64 {limit}, ptr %limit{name}")
        bad = self.label("bad")
        self.put(f"switch i64 {answer}, label %{bad} [i64 1, label %{fine} i64 2, label %{soft}]")
        self.place(bad)
        self._stop(STOP_FAULT, op.pc)
        self.put(f"store i64 {address}, ptr {self.field(ADDRESS)}")
        self._save_registers(op.pc)
        self.put("br label %stopped")
        self.place(fine)

    def _load(self, op: Op) -> None:
        kind = _TYPES[op.size]
        soft, done = self.label("soft"), self.label("done")
        lines = len(self.lines)
        pointer = self._pointer(op, op.src, write=False, soft=soft)
        used = any(f"label %{soft}]" in line for line in self.lines[lines:])
        order = " atomic" if op.kind == "acquire" else ""
        tail = f" acquire, align {op.size}" if op.kind == "acquire" else ", align 1"
        value = self.new(f"load{order} {kind}, ptr {pointer}{tail}")
        if op.size < 8:
            value = self.new(f"{'sext' if op.signed else 'zext'} {kind} {value} to i64")
        self.set(op.dst, value)
        if used:
            self.put(f"br label %{done}")
            self.place(soft)
            self.set(op.dst, "0")
            self.put(f"br label %{done}")
            self.place(done)

    def _store(self, op: Op) -> None:
        kind = _TYPES[op.size]
        done = self.label("done")
        lines = len(self.lines)
        pointer = self._pointer(op, op.dst, write=True, soft=done)
        used = any(f"label %{done}]" in line for line in self.lines[lines:])
        value = str(op.imm)
        if op.src >= 0:
            value = self.get(op.src)
            if op.size < 8:
                value = self.new(f"trunc i64 {value} to {kind}")
        order = " atomic" if op.kind == "release" else ""
        tail = f" release, align {op.size}" if op.kind == "release" else ", align 1"
        self.put(f"store{order} {kind} {value}, ptr {pointer}{tail}")
        if used:
            self.put(f"br label %{done}")
            self.place(done)

    def _atomic(self, op: Op) -> None:
        kind = _TYPES[op.size]
        soft, done = self.label("soft"), self.label("done")
        lines = len(self.lines)
        pointer = self._pointer(op, op.dst, write=True, soft=soft)
        used = any(f"label %{soft}]" in line for line in self.lines[lines:])
        operand = self.get(op.src)
        if op.size == 4:
            operand = self.low(operand)
        target = op.src if op.fetch else -1
        if op.op == "cmpxchg":
            target = 0
            expected = self.get(0)
            if op.size == 4:
                expected = self.low(expected)
            pair = self.new(f"cmpxchg ptr {pointer}, {kind} {expected}, {kind} {operand} seq_cst seq_cst")
            old = self.new(f"extractvalue {{{kind}, i1}} {pair}, 0")
        else:
            old = self.new(f"atomicrmw {_ATOMIC[op.op]} ptr {pointer}, {kind} {operand} seq_cst")
        if target >= 0:
            self.set(target, self.new(f"zext i32 {old} to i64") if op.size == 4 else old)
        if used:
            self.put(f"br label %{done}")
            self.place(soft)
            if target >= 0:
                self.set(target, "0")
            self.put(f"br label %{done}")
            self.place(done)

    # Calls

    def _before_call(self, op: Op) -> None:
        if self.budget and not self.frames.key_in_frame(op.pc):
            on = self.label("on")
            self._within_budget(op.pc, self.label("more"), on)
            self.place(on)
            self.put(f"store i64 {self.new('load i64, ptr %left')}, ptr {self.field(BUDGET)}")

    def _after_call(self, value: str) -> None:
        if self.budget:
            self.put(f"store i64 {self.field_value(BUDGET)}, ptr %left")
        self._result(value)
        self._forget()

    def _result(self, value: str) -> None:
        self.set(0, value)
        for n in range(1, 6):
            self.set(n, "0")

    def _local(self, op: Op) -> None:
        self._before_call(op)
        args = ", ".join(f"i64 {self.get(n)}" for n in range(1, 6))
        pair = self.new(f"call {{i64, i64}} @f{op.target}(ptr %s, {args})")
        stop = self.new(f"extractvalue {{i64, i64}} {pair}, 1")
        stopped = self.new(f"icmp ne i64 {stop}, 0")
        on = self.label("on")
        self._unlikely(stopped, "stopped", on)
        self.place(on)
        self._after_call(self.new(f"extractvalue {{i64, i64}} {pair}, 0"))

    def _call_out(self, op: Op) -> None:
        self._before_call(op)
        layout = self.frames.lookups.get(op.pc)
        if layout is not None:
            self._lookup(op, layout)
            return
        self._call_python(op)

    def _lookup(self, op: Op, layout: Layout) -> None:
        """A look-up that native code does; Python does it where the key may not be read."""
        place = self.frames.offset(op.pc, 2)
        if self.frames.key_in_frame(op.pc):
            key = self.new(f"getelementptr i8, ptr %frame, i64 {FRAME_SIZE + (place or 0)}")
            self._result(lookup(self, layout, key))
            return
        address = self.get(2)
        key = self.new(f"getelementptr i8, ptr %mem, i64 {address}")
        if not self.checked:
            self._result(lookup(self, layout, key))
            return
        good, bad, done = self.label("good"), self.label("bad"), self.label("done")
        slow = self.field_value(SLOW, "ptr")
        answer = self.new(f"call i64 {slow}(ptr %s, i64 {address}, i64 {layout.key_size}, i64 0)")
        self.put(f"br i1 {self.new(f'icmp eq i64 {answer}, 1')}, label %{good}, label %{bad}")
        self.place(bad)
        self._call_python(op)
        self.put(f"br label %{done}")
        self.place(good)
        self._result(lookup(self, layout, key))
        self.put(f"br label %{done}")
        self.place(done)

    def _call_python(self, op: Op) -> None:
        """Call Python: the slot says what; r1 to r5 (or what else it needs) are in the state."""
        arguments = [self.get(n) for n in range(1, 6)]
        if op.kind == "packet":
            offset = str(op.imm)
            if op.src >= 0:
                offset = self.new(f"add i64 {self.get(op.src)}, {op.imm}")
            arguments[:2] = [self.get(6), offset]
        for n, value in enumerate(arguments):
            self.put(f"store i64 {value}, ptr {self.field(ARGS + n)}")
        if op.kind == "callx":
            self.put(f"store i64 {self.get(op.dst)}, ptr {self.field(ADDRESS)}")
        call = self.field_value(CALL, "ptr")
        result = self.new(f"call i64 {call}(i64 {op.pc})")
        self._check_stop(op.pc)
        if op.kind == "packet" or (op.kind == "helper" and op.imm == 12):
            # A tail call that was made, a byte that the packet lacks: this function is over.
            leaves = self.field(RETURN)
            flag = self.new(f"load i64, ptr {leaves}")
            over = self.new(f"icmp ne i64 {flag}, 0")
            leaving, on = self.label("leaving"), self.label("on")
            self.put(f"br i1 {over}, label %{leaving}, label %{on}")
            self.place(leaving)
            self.put(f"store i64 0, ptr {leaves}")
            if self.budget:
                self.put(f"store i64 {self.field_value(BUDGET)}, ptr %left")
            self._exit(result)
            self.place(on)
        self._after_call(result)
