"""Rewriting a program so that it also writes down what comes in from outside.

At each site a few instructions are added that append a record to a ring in an array map: a place is taken
by an atomic addition, so no locks are needed. Registers that hold something there are kept on the stack,
below what the program itself uses. A number on the main function's stack says which invocation it is, 0 if it
is not recorded; functions that are called find it by their CPU.
"""

from __future__ import annotations

from ..errors import ProbeeError
from ..isa.helpers import PROTOTYPES
from ..isa.insn import (
    CALL,
    CALL_IMM,
    EXIT,
    EXIT_INSN,
    JA,
    JMP,
    JMP32,
    LD_IMM64,
    PSEUDO_CALL,
    PSEUDO_FUNC,
    PSEUDO_MAP_VALUE,
    Insn,
    decode,
    encode,
)
from ..machine.code import Code
from ..machine.frames import Frames, writes
from . import layout as at
from .sites import LOAD, LONGEST, LOOKUP, NAMES, TAIL, Out, Site

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..machine.code import Function
    from ..obj.spec import LinkedProgram

_STACK = 512
_PROBE_READ_KERNEL, _GET_CPU, _GET_THREAD, _GET_TIME = 113, 8, 14, 5
_ADD_FETCH = 0x01
_W, _DW = 0x00, 0x18
_JEQ, _JGT, _JLE, _JLE_REGISTER = 0x15, 0x25, 0xB5, 0xBD

Data = tuple[int, int, int]  # a data map: descriptor, offset in the record, size


class TooLong(ProbeeError):
    """There is no room to instrument a program: its stack is full, or its jumps would be too long."""


class Plan:
    """What the instrumented program needs to know of its surroundings.

    `fd` is the ring's map, `size` the ring's size. `program` is the program's number in the recording,
    `context` how many bytes of its context are kept, `threads` whether it may ask which thread runs. `data`
    are maps of variables: (descriptor, bytes), kept when an invocation begins. `cpus` is the number of CPUs.
    `ends` is whether the program, whose result nobody needs, does nothing once recording is over.
    """

    def __init__(
        self,
        fd: int,
        size: int,
        *,
        program: int,
        context: int,
        threads: bool,
        data: list[tuple[int, int]],
        cpus: int,
        ends: bool = False,
    ) -> None:
        self.fd = fd
        self.size = size
        self.program = program
        self.context = context
        self.threads = threads
        self.data = data
        self.cpus = min(cpus, at.MOST_CPUS)
        self.ends = ends


def rewrite(linked: LinkedProgram, sites: list[Site], plan: Plan) -> dict[int, int]:
    """Instrument a linked program in place. Returns where each of its slots went.

    Raises TooLong.
    """
    return _Rewriter(linked, sites, plan).run()


def _given(function: Function, frames: Frames) -> dict[int, set[int]]:
    """The registers that hold something before each operation, whichever way led there."""
    entry = {1, 10} if not function.start else {10}
    found = {function.start: entry}
    waiting = [function.start]
    while waiting:
        slot = waiting.pop()
        op = function.ops[slot]
        after = found[slot] | writes(op)
        if op.kind in ("helper", "kfunc", "local", "callx", "packet"):
            after = found[slot] - {0, 1, 2, 3, 4, 5}
            if op.kind == "packet" or (op.kind == "helper" and _returns(op.imm)):
                after.add(0)
        for target in frames.successors(op):
            known = found.get(target)
            both = after if known is None else known & after
            if both != known:
                found[target] = both
                waiting.append(target)
    return found


def _returns(helper: int) -> bool:
    prototype = PROTOTYPES.get(NAMES.get(helper, ""))
    return prototype is not None and prototype.ret != "void"


# ---- instructions in short


def _load(dst: int, src: int, off: int, size: int = _DW) -> Insn:
    return Insn(0x61 | size, dst, src, off)


def _store(dst: int, off: int, src: int, size: int = _DW) -> Insn:
    return Insn(0x63 | size, dst, src, off)


def _store_number(dst: int, off: int, imm: int, size: int = _DW) -> Insn:
    return Insn(0x62 | size, dst, 0, off, imm)


def _move(dst: int, src: int) -> Insn:
    return Insn(0xBF, dst, src)


def _set(dst: int, imm: int) -> Insn:
    return Insn(0xB7, dst, 0, 0, imm)


def _alu(operation: int, dst: int, imm: int) -> Insn:
    return Insn(0x07 | operation, dst, 0, 0, imm)


def _alu_register(operation: int, dst: int, src: int) -> Insn:
    return Insn(0x0F | operation, dst, src)


def _fetch_add(dst: int, off: int, src: int) -> Insn:
    return Insn(0xDB, dst, src, off, _ADD_FETCH)


def _call(helper: int) -> Insn:
    return Insn(CALL_IMM, 0, 0, 0, helper)


_ADD, _SUB, _OR, _AND, _LSH = 0x00, 0x10, 0x40, 0x50, 0x60


class _Frame:
    """The stack below what a function uses. Slots are offsets from r10."""

    def __init__(self, depth: int, main: bool) -> None:
        self.main = main
        self.id = -(depth + 8)
        self.before = -(depth + 16)  # main: what this CPU ran before
        self.spare = [-(depth + 24 + 8 * n) for n in range(6)]
        self.depth = depth

    def slots(self, count: int) -> list[int]:
        """So many slots; raises TooLong if there is no room."""
        if -self.spare[count - 1] > _STACK if count else -self.before > _STACK:
            raise TooLong(f"its functions use {self.depth} bytes of the stack: there is no room to record")
        return self.spare[:count]


class _Rewriter:
    def __init__(self, linked: LinkedProgram, sites: list[Site], plan: Plan) -> None:
        self.linked = linked
        self.plan = plan
        self.insns = decode(linked.insns)
        self.sites = {site.slot: (number, site) for number, site in enumerate(sites)}
        self.starts = sorted({0, *(start for start, _ in linked.functions)})
        self.out: list[Insn] = []
        self.place: dict[int, int] = {}  # where jumps to a slot lead
        self.own: dict[int, int] = {}  # where the slot's own instruction is
        self.frames = {start: _Frame(self._depth(start), start == 0) for start in self.starts}
        self.nested = any(self._start(site.slot) for site in sites)
        self.live: dict[int, frozenset[int]] = {}
        self.given: dict[int, set[int]] = {}
        self._know()

    def run(self) -> dict[int, int]:
        frame = self.frames[0]
        frame.slots(2 if self.nested else 1)
        self._begin(frame)
        slot = 0
        while slot < len(self.insns):
            self._slot(slot)
            slot += 2 if self.insns[slot].opcode == LD_IMM64 else 1
        self._jumps()
        self._tables()
        return self.own

    # ---- what is known of the program

    def _start(self, slot: int) -> int:
        """The first slot of the function that a slot is in."""
        return max(start for start in self.starts if start <= slot)

    def _depth(self, start: int) -> int:
        """How much of its frame a function may use, from above."""
        end = min((s for s in self.starts if s > start), default=len(self.insns))
        lowest = 0
        for insn in self.insns[start:end]:
            kind = insn.opcode & 7
            if (kind == 1 and insn.src == 10) or (kind in (2, 3) and insn.dst == 10):
                lowest = min(lowest, insn.off)
            elif insn.opcode == 0x07 and -_STACK <= insn.imm < 0:
                lowest = min(lowest, insn.imm)
        return -lowest + 7 & ~7

    def _know(self) -> None:
        """For each load that is a site: the registers needed after it, and those that surely hold something.

        A register may be needed on one way only, and hold nothing on another: such are left alone.
        """
        wanted = {slot for slot, (_, site) in self.sites.items() if site.kind == LOAD}
        if not wanted:
            return
        code = Code(list(self.insns), resolve=lambda *_: 0)
        for function in code.functions:
            here = wanted & function.ops.keys()
            if not here:
                continue
            frames = Frames(function)
            given = _given(function, frames)
            for slot in here:
                self.live[slot] = frames.live_at(slot + 1)
                self.given[slot] = given[slot] | {self.insns[slot].dst}

    # ---- the new program

    def _slot(self, slot: int) -> None:
        insn = self.insns[slot]
        number, site = self.sites.get(slot, (-1, None))
        frame = self.frames[self._start(slot)]
        self.place[slot] = len(self.out)
        if site is not None and site.kind == TAIL:
            self._tail(number, frame)
        elif site is not None and site.out is not None and site.out.pointer:
            self._keep_arguments(site.out, frame)
        elif insn.opcode == EXIT_INSN and frame.main:
            self._end(frame)
        self.own[slot] = len(self.out)
        self.out.append(insn)
        if insn.opcode == LD_IMM64:
            self.out.append(self.insns[slot + 1])
        if site is None or site.kind == TAIL:
            return
        if site.kind == LOAD:
            self._after_load(slot, number, insn.dst, frame)
        else:
            self._after_call(number, site, frame)

    def _map(self, dst: int, offset: int, fd: int = 0) -> list[Insn]:
        return [Insn(LD_IMM64, dst, PSEUDO_MAP_VALUE, 0, fd or self.plan.fd), Insn(0, 0, 0, 0, offset)]

    def _take(self, place: int, length: int) -> list[Insn]:
        """A place in the ring: `place` gets its address, `length` holds its length in bytes and is lost."""
        return [
            *self._map(place, at.WRITTEN),
            _fetch_add(place, 0, length),
            _alu(_AND, length, self.plan.size - 1),
            *self._map(place, at.BUFFER),
            _alu_register(_ADD, place, length),
        ]

    def _begin(self, frame: _Frame) -> None:
        """The start of the program: whether this invocation is recorded, and its first record."""
        plan, out = self.plan, self.out
        words = (
            at.BEGIN_HEAD + (plan.context + 7 & ~7) + sum(8 + (size + 7 & ~7) for _, size in plan.data)
        ) // 8
        if 8 * words > at.SLACK:
            raise TooLong(f"its context and variables take {8 * words} bytes, which is too much to record")
        out += [_move(6, 1), *self._map(7, 0), _set(8, 0)]
        out += [_load(2, 7, at.WRITTEN), _load(3, 7, at.CONSUMED), _alu_register(_SUB, 2, 3)]
        check = len(out)
        out += [Insn(_JGT, 2, 0, 0, plan.size - plan.size // 4)]
        out += [_set(8, 1), _fetch_add(7, at.NEXT_ID, 8), _load(2, 7, at.LAST_ID)]
        out += [Insn(_JLE_REGISTER, 8, 2, 2)]
        skip = []
        if plan.ends:
            out += [_set(0, 0), Insn(EXIT_INSN)]
        else:
            out += [_set(8, 0), Insn(JMP | JA, 0, 0, 0)]
            skip.append(len(out) - 1)
        out += [_call(_GET_CPU), _move(9, 0)]
        if plan.threads:
            out += [_call(_GET_THREAD), _store(10, frame.spare[0], 0)]
        out += [_set(2, 8 * words), *self._take(3, 2), _move(1, 3)]
        out += [_store_number(1, 8, plan.program, _W), _store(1, 12, 9, _W), _store_number(1, 24, 0)]
        if plan.threads:
            out += [_load(2, 10, frame.spare[0]), _store(1, 24, 2)]
        out += [_move(9, 1), _call(_GET_TIME), _store(9, 16, 0)]
        offset = at.BEGIN_HEAD
        if plan.context:
            out += [
                _move(1, 9),
                _alu(_ADD, 1, offset),
                _set(2, plan.context),
                _move(3, 6),
                _call(_PROBE_READ_KERNEL),
            ]
            offset += plan.context + 7 & ~7
        for fd, size in plan.data:
            out += [_move(1, 9), _alu(_ADD, 1, offset + 8), _set(2, size), *self._map(3, 0, fd)]
            out += [_call(_PROBE_READ_KERNEL), _store_number(9, offset, size)]
            offset += 8 + (size + 7 & ~7)
        out += [_store(9, 4, 8, _W), self._commit(9, at.BEGIN, words), Insn(JMP | JA, 0, 0, 0)]
        skip.append(len(out) - 1)
        out[check].off = len(out) - check - 1
        out += [_set(1, 1), Insn(0xDB, 7, 1, at.DROPPED, 0)]
        for jump in skip:
            out[jump].off = len(out) - jump - 1
        out.append(_store(10, frame.id, 8))
        if self.nested:
            out += [
                _call(_GET_CPU),
                Insn(_JGT, 0, 0, 6, plan.cpus - 1),
                _alu(_LSH, 0, 3),
                _alu_register(_ADD, 7, 0),
            ]
            out += [_load(1, 7, at.RUNNING), _store(10, frame.before, 1), _store(7, at.RUNNING, 8)]
            out += [Insn(JMP | JA, 0, 0, 1), _store_number(10, frame.before, 0)]
        out.append(_move(1, 6))

    def _commit(self, place: int, site: int, words: int) -> Insn:
        number = site | words << 16
        return _store_number(place, 0, number - (1 << 32) if number >> 31 else number, _W)

    def _end(self, frame: _Frame) -> None:
        """Before the program's exit: all registers but r0 are free."""
        out = self.out
        body = [
            _set(2, 16),
            *self._take(3, 2),
            _store(3, 8, 0),
            _store(3, 4, 1, _W),
            self._commit(3, at.END, 2),
        ]
        out += [_load(1, 10, frame.id), Insn(_JEQ, 1, 0, len(body), 0), *body]
        if self.nested:
            out += [_move(6, 0), _call(_GET_CPU), Insn(_JGT, 0, 0, 6, self.plan.cpus - 1)]
            out += [_alu(_LSH, 0, 3), *self._map(1, 0), _alu_register(_ADD, 1, 0)]
            out += [_load(2, 10, frame.before), _store(1, at.RUNNING, 2), _move(0, 6)]

    def _identify(self, frame: _Frame, register: int) -> list[Insn]:
        """The number of the invocation into a register. In called functions r0 to r5 are lost; the number is
        kept in the frame.
        """
        if frame.main:
            return [_load(register, 10, frame.id)]
        if -frame.id > _STACK:
            raise TooLong(f"a function uses {frame.depth} bytes of the stack: there is no room to record")
        return [
            _call(_GET_CPU),
            _set(1, 0),
            Insn(_JGT, 0, 0, 5, self.plan.cpus - 1),
            _alu(_LSH, 0, 3),
            *self._map(2, 0),
            _alu_register(_ADD, 2, 0),
            _load(1, 2, at.RUNNING),
            _store(10, frame.id, 1),
            *([_move(register, 1)] if register != 1 else []),
        ]

    def _tail(self, number: int, frame: _Frame) -> None:
        """Before a tail call: r1 to r3 are its arguments."""
        slots = frame.slots(3 if not frame.main else 0)
        out = self.out
        out += [_store(10, slot, register) for slot, register in zip(slots, (1, 2, 3), strict=False)]
        register = 4 if frame.main else 1
        out += self._identify(frame, register)
        body = [_set(5, 16), *self._take(0, 5), _store_number(0, 8, 0), _store(0, 4, register, _W)]
        body.append(self._commit(0, number, 2))
        out += [Insn(_JEQ, register, 0, len(body), 0), *body]
        out += [_load(register, 10, slot) for slot, register in zip(slots, (1, 2, 3), strict=False)]

    def _keep_arguments(self, out: Out, frame: _Frame) -> None:
        slots = frame.slots(4)
        self.out.append(_store(10, slots[1], out.pointer))
        if out.size_in:
            self.out.append(_store(10, slots[2], out.size_in))

    def _after_call(self, number: int, site: Site, frame: _Frame) -> None:
        """After a call: r1 to r5 are free, r0 is its result, unless it has none."""
        slots = frame.slots(4 if site.out is not None else 1)
        code = self.out
        code.append(_store(10, slots[0], 0))
        code += self._identify(frame, 1)
        body: list[Insn] = []
        out = site.out
        if out is None:
            if not frame.main:
                body += [_load(0, 10, slots[0])]
            body += [
                _set(2, 16),
                *self._take(3, 2),
                _store(3, 8, 0),
                _store(3, 4, 1, _W),
                self._commit(3, number, 2),
            ]
        else:
            body += self._record_memory(number, site, out, frame, slots)
        code += [Insn(_JEQ, 1, 0, len(body), 0), *body, _load(0, 10, slots[0])]

    def _record_memory(
        self, number: int, site: Site, out: Out, frame: _Frame, slots: list[int]
    ) -> list[Insn]:
        body = [_load(0, 10, slots[0])]
        if site.kind == LOOKUP:
            body += [_set(4, 0), Insn(_JEQ, 0, 0, 1, 0), _set(4, out.size), _store(10, slots[1], 0)]
        elif out.size_in:
            # The helper takes 32 bits of it.
            body += [_load(4, 10, slots[2]), Insn(0xBC, 4, 4), Insn(_JLE, 4, 0, 1, LONGEST), _set(4, LONGEST)]
        else:
            body += [_set(4, out.size)]
        body += [_move(5, 4), _alu(_ADD, 5, 31), _alu(_AND, 5, -8), _move(2, 5), *self._take(3, 2)]
        body += [_store(3, 8, 0), _store(3, 16, 4), _store(3, 4, 1, _W)]
        body += [_alu(_LSH, 5, 13), _alu(_OR, 5, number), _store(10, slots[2], 5), _store(10, slots[3], 3)]
        body += [
            _move(1, 3),
            _alu(_ADD, 1, 24),
            _move(2, 4),
            _load(3, 10, slots[1]),
            _call(_PROBE_READ_KERNEL),
        ]
        body += [_load(3, 10, slots[3]), _load(5, 10, slots[2]), _store(3, 0, 5, _W)]
        return body

    def _after_load(self, slot: int, number: int, value: int, frame: _Frame) -> None:
        """After a load: any register may be needed."""
        live, given = self.live[slot], self.given[slot]
        code = self.out
        if frame.main:
            free = [r for r in range(10) if r != value and r not in live]
            saved = [r for r in range(10) if r != value and r in live and r in given]
            taken = saved[: max(0, 2 - len(free))]
            if len(free) + len(taken) < 2:
                raise TooLong(f"instruction {slot} leaves no registers to record with")
            place, spare = (free + taken)[:2]
            slots = frame.slots(len(taken))
            code += [_store(10, s, r) for s, r in zip(slots, taken, strict=True)]
            body = [_set(spare, 16), *self._take(place, spare), _store(place, 8, value)]
            body += [_load(spare, 10, frame.id), _store(place, 4, spare, _W), self._commit(place, number, 2)]
            code += [_load(spare, 10, frame.id), Insn(_JEQ, spare, 0, len(body), 0), *body]
            code += [_load(r, 10, s) for s, r in zip(slots, taken, strict=True)]
            return
        kept = [r for r in range(6) if (r in live and r in given) or r == value]
        own = [] if value < 6 else [value]
        slots = frame.slots(len(kept))
        where = dict(zip(kept, slots, strict=True))
        code += [_store(10, s, r) for r, s in where.items()]
        code += self._identify(frame, 1)
        body = [_load(4, 10, where[value])] if not own else [_move(4, value)]
        body += [
            _set(2, 16),
            *self._take(3, 2),
            _store(3, 8, 4),
            _store(3, 4, 1, _W),
            self._commit(3, number, 2),
        ]
        code += [Insn(_JEQ, 1, 0, len(body), 0), *body]
        code += [_load(r, 10, s) for r, s in where.items()]

    # ---- what refers to slots

    def _jumps(self) -> None:
        for slot, new in self.own.items():
            insn = self.insns[slot]
            kind, operation = insn.opcode & 7, insn.opcode & 0xF0
            if insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC:
                insn.imm = self._function(slot + insn.imm + 1) - new - 1
            elif kind not in (JMP, JMP32) or operation == EXIT:
                continue
            elif operation == CALL:
                if insn.opcode == CALL_IMM and insn.src == PSEUDO_CALL:
                    insn.imm = self._function(slot + insn.imm + 1) - new - 1
            elif insn.opcode == JMP32 | JA:
                insn.imm = self.place[slot + insn.imm + 1] - new - 1
            elif operation != JA or not insn.opcode & 8:
                target = self.place[slot + insn.off + 1] - new - 1
                if not -(1 << 15) <= target < 1 << 15:
                    raise TooLong("it is so long that its jumps would not reach any more")
                insn.off = target

    def _function(self, slot: int) -> int:
        return self.place[slot] if slot else 0

    def _slot_of(self, slot: int) -> int:
        return self._function(slot) if slot in self.starts else self.place[slot]

    def _tables(self) -> None:
        """Everything beside the code that counts in slots."""
        from struct import iter_unpack, pack

        linked = self.linked
        linked.insns = bytearray(encode(self.out))
        linked.relocs = [(self.own[i], kind, name, addend) for i, kind, name, addend in linked.relocs]
        linked.functions = [(self._function(start), name) for start, name in linked.functions]
        linked.jump_tables = [tuple(self.place[s] for s in table) for table in linked.jump_tables]
        linked.core = []
        self_slot = self._slot_of
        linked.func_info = b"".join(
            pack("<II", self_slot(slot), type) for slot, type in iter_unpack("<II", linked.func_info)
        )
        linked.line_info = b"".join(
            pack("<IIII", self_slot(slot), *rest) for slot, *rest in iter_unpack("<IIII", linked.line_info)
        )
