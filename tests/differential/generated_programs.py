"""Random BPF programs: our verifier against the running kernel's.

    sudo python tests/differential/generated_programs.py --count 20000 --seed 1

runs so many programs and prints where the verdicts differ, each program reduced to what matters. `--out FILE`
keeps the reduced programs as cases (`probee verify-cases FILE --compare`). Exit code 1 if there are any.

The programs look like compilers' and people's: arithmetic, branches, the stack, map look-ups with and without
their checks, packets, helpers with sizes, calls, loops, spills, atomics, callbacks, iterators, dynptrs,
locks, interrupts, loads of the kernel's structs; each of these is wrong now and then.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter

from generated_parts import PRANDOM, Parts, function_types

from probee.btf import kernel_btf
from probee.cli.verify_live import LiveKernel
from probee.errors import ProbeeError
from probee.isa.disasm import text_of
from probee.isa.insn import LD_IMM64, PSEUDO_FUNC, Insn, encode
from probee.isa.tables import MAP_TYPES, PROG_TYPES
from probee.verifier.context_rules import CONTEXTS, fields
from probee.verifier.program import MapInfo, Program
from probee.verifier.verdict import ACCEPT, REJECT, UNSUPPORTED, Verdict
from probee.verifier.verify import verify

SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
NOP = Insn(0x05)
EXIT = Insn(0x95)
TYPES = (
    "socket_filter",
    "sched_cls",
    "xdp",
    "cgroup_skb",
    "raw_tracepoint",
    "tracepoint",
    "kprobe",
    "lwt_xmit",
)
PACKETS = {"sched_cls": (76, 80), "xdp": (0, 4), "cgroup_skb": (76, 80), "lwt_xmit": (76, 80)}
NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 48, 63, 64, 255, 256, 512, 4095, -1, -2, -8, -16, -64)
WIDE = (
    1 << 32,
    (1 << 32) - 1,
    1 << 63,
    (1 << 64) - 1,
    0x7FFFFFFF,
    0x80000000,
    (1 << 63) - 1,
    0xFFFFFFFF00000000,
)
MAPS = (
    MapInfo(MAP_TYPES["hash"][0], 8, 48, 1, name="hash"),
    MapInfo(MAP_TYPES["array"][0], 4, 64, 4, name="array"),
    MapInfo(MAP_TYPES["percpu_array"][0], 4, 32, 1, name="percpu"),
    MapInfo(MAP_TYPES["array"][0], 4, 16, 1, flags=1 << 7, name="readonly"),
    MapInfo(MAP_TYPES["ringbuf"][0], 0, 0, 4096, name="ring"),
)
LOOKUP, UPDATE, DELETE, KTIME, PROBE_READ, SKB_LOAD, RESERVE, SUBMIT, DISCARD, OUTPUT = (
    1, 2, 3, 5, 113, 26, 131, 132, 133, 130,
)  # fmt: skip

RESERVE_DYNPTR, SUBMIT_DYNPTR, DISCARD_DYNPTR, DYNPTR_READ, DYNPTR_DATA = 198, 199, 200, 201, 203


class Generator(Parts):
    """One program. Registers r6 to r9 live across calls; what they hold is remembered only roughly."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.insns: list[Insn] = []
        self.refs: dict[int, MapInfo] = {}
        self.type = self.r.choice(TYPES)
        self.holds = {1: "ctx"}
        self.functions = []
        self.kfuncs: dict[int, str] = {}
        self.wrong = self.r.random() < 0.6  # such programs have a mistake here and there
        self.written: set[int] = set()

    def make(self) -> Program:
        self.emit(0xBF, 6, 1)
        self.holds[6] = "ctx"
        for register in (7, 8, 9):
            self.scalar(register)
        for _ in range(self.r.randint(1, 12)):
            self.block()
        if self.r.random() < 0.5:
            self.number(0)
        else:
            self.emit(0xBF, 0, self.pick("scalar"))
        if self.type == "cgroup_skb":
            self.emit(0x57, 0, imm=1)
        self.insns.append(EXIT)
        starts = self.subprograms()
        program = Program(self.insns, PROG_TYPES[self.type][0], map_refs=self.refs, name="generated")
        if starts:
            program.btf, ids = function_types()
            program.func_info = list(zip([0, *starts], ids, strict=False))
        program.kfuncs = dict(self.kfuncs)
        return program

    # ---- pieces

    def emit(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.insns.append(Insn(opcode, dst, src, off, imm))

    def slip(self, chance: float = 0.08) -> bool:
        """Whether to make a mistake here."""
        return self.wrong and self.r.random() < chance

    def pick(self, kind: str) -> int:
        """A register that holds such a thing; one is made if none does."""
        if self.slip(0.03):
            return self.r.randint(0, 9)
        found = [register for register, held in self.holds.items() if held == kind and register > 5]
        if found:
            return self.r.choice(found)
        register = self.r.choice((7, 8, 9))
        self.scalar(register)
        return register

    def number(self, register: int) -> None:
        self.emit(0xB7 if self.r.random() < 0.7 else 0xB4, register, imm=self.r.choice(NUMBERS))
        self.holds[register] = "scalar"

    def scalar(self, register: int) -> None:
        """An unknown number, or a known one."""
        way = self.r.random()
        if way < 0.25:
            self.number(register)
        elif way < 0.35:
            value = self.r.choice(WIDE)
            low, high = value & 0xFFFFFFFF, value >> 32
            self.emit(LD_IMM64, register, imm=low - (1 << 32) if low >> 31 else low)
            self.emit(0, imm=high - (1 << 32) if high >> 31 else high)
            self.holds[register] = "scalar"
        elif way < 0.6:
            self.call(self.r.choice((PRANDOM, KTIME)))
            self.emit(self.r.choice((0xBF, 0xBC)), register, 0)
            self.holds[register] = "scalar"
        else:
            self.context(register)

    def call(self, helper: int) -> None:
        self.emit(0x85, imm=helper)
        self.holds = {register: held for register, held in self.holds.items() if register > 5}
        self.holds[0] = "scalar"

    def context(self, register: int) -> None:
        struct = CONTEXTS.get(self.type)
        size = self.r.choice((1, 2, 4, 8))
        if struct and not self.slip():
            names = [field for field in fields(struct) if field.end - field.offset in (4, 8)]
            if struct == "__sk_buff":
                names = [
                    field for field in names if field.name in ("len", "mark", "protocol", "ifindex", "hash")
                ]
            field = self.r.choice(names)
            off, size = field.offset, 8 if struct in ("pt_regs",) else 4
            if struct == "xdp_md":
                off = self.r.choice((12, 16))
            size = 8 if struct is None else size
        else:
            off = 8 * self.r.randint(1, 8) if struct is None else self.r.randint(0, 40)
            size = 8 if struct is None else size
        self.emit(0x61 & ~0x18 | SIZES[size], register, 6, off)
        self.holds[register] = "scalar"

    def block(self) -> None:
        kinds = (
            (self.alu, 30), (self.branch, 14), (self.stack, 14), (self.look_up, 12), (self.packet, 8),
            (self.loop, 4), (self.helper, 8), (self.subprogram, 4), (self.pointer, 5), (self.spill, 6),
            (self.ring, 3), (self.iterator, 3), (self.may_goto, 2), (self.dynptr, 3), (self.region, 2),
            (self.callback, 4), (self.lock, 2), (self.atomic, 3), (self.task, 2),
        )  # fmt: skip
        total = sum(weight for _, weight in kinds)
        at = self.r.randrange(total)
        for make, weight in kinds:
            if at < weight:
                make()
                return
            at -= weight

    def alu(self) -> None:
        for _ in range(self.r.randint(1, 4)):
            self.one_alu(self.pick("scalar"))

    def one_alu(self, dst: int) -> None:
        operation = self.r.choice(
            (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xC0, 0xB0, 0x80)
        )
        kind = self.r.choice((7, 7, 4))
        if operation == 0x80:
            self.emit(kind | operation, dst)
            return
        if self.r.random() < 0.04:
            self.emit(self.r.choice((0xD4, 0xDC, 0xD7)), dst, imm=self.r.choice((16, 32, 64)))
            return
        if self.r.random() < 0.5:
            imm = self.r.choice(NUMBERS)
            if operation in (0x60, 0x70, 0xC0):
                imm = self.r.randint(0, 63 if kind == 7 else 31)
            if operation in (0x30, 0x90) and imm == 0 and not self.slip():
                imm = 3
            off = 1 if operation in (0x30, 0x90) and self.r.random() < 0.3 else 0
            self.emit(kind | operation, dst, off=off, imm=imm)
            return
        off = self.r.choice((0, 0, 0, 8, 16, 32)) if operation == 0xB0 else 0
        if off == 32 and kind == 4:
            off = 16
        self.emit(kind | operation | 8, dst, self.pick("scalar"), off)

    def branch(self) -> None:
        """A forward jump over what comes next."""
        at = len(self.insns)
        operation = self.r.choice((0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0))
        kind = self.r.choice((5, 5, 6))
        left = self.pick("scalar")
        if self.r.random() < 0.7:
            self.emit(kind | operation, left, imm=self.r.choice(NUMBERS))
        else:
            self.emit(kind | operation | 8, left, self.pick("scalar"))
        before = dict(self.holds)
        for _ in range(self.r.randint(1, 2)):
            self.block()
        self.join(before)
        if self.r.random() < 0.3:  # an else
            jump = len(self.insns)
            self.emit(0x05)
            self.land(at)
            self.block()
            self.join(before)
            self.land(jump)
        else:
            self.land(at)

    def join(self, before: dict[int, str]) -> None:
        """Only what is the same on both ways is still known."""
        self.holds = {reg: held for reg, held in self.holds.items() if before.get(reg) == held}

    def land(self, at: int) -> None:
        insn = self.insns[at]
        self.insns[at] = Insn(insn.opcode, insn.dst, insn.src, len(self.insns) - at - 1, insn.imm)

    def slot(self, size: int) -> int:
        if self.slip():
            return self.r.choice((0, -1, -3, -516, -520, 8, -513))
        return -size * self.r.randint(1, 64 // size)

    def stack(self) -> None:
        for _ in range(self.r.randint(1, 3)):
            size = self.r.choice((1, 2, 4, 8, 8, 8))
            off = self.slot(size)
            way = self.r.random()
            if way < 0.35:
                self.emit(0x62 & ~0x18 | SIZES[size], 10, off=off, imm=self.r.choice(NUMBERS))
                self.written.add(off)
            elif way < 0.7:
                self.emit(0x63 & ~0x18 | SIZES[size], 10, self.pick("scalar"), off)
                self.written.add(off)
            elif self.written:
                off = self.r.choice(sorted(self.written)) if not self.slip() else off
                register = self.r.choice((7, 8, 9))
                signed = 0x20 if size < 8 and self.r.random() < 0.2 else 0
                self.emit((0x61 & ~0x18 | SIZES[size]) + signed, register, 10, off)
                self.holds[register] = "scalar"

    def key(self, info: MapInfo) -> None:
        size = info.key_size
        self.emit(0x7A if size == 8 else 0x62, 10, off=-size, imm=self.r.choice((0, 1, 2)))
        self.emit(0xBF, 2, 10)
        self.emit(0x07, 2, imm=-size if not self.slip() else self.r.choice((-1, 0, 8, -512)))
        self.map(1, info)

    def map(self, register: int, info: MapInfo) -> None:
        self.refs[len(self.insns)] = info
        self.emit(LD_IMM64, register, 1)
        self.emit(0)

    def look_up(self) -> None:
        info = self.r.choice(MAPS[:4])
        self.key(info)
        self.call(LOOKUP)
        register = self.r.choice((0, 7, 8, 9))
        if register:
            self.emit(0xBF, register, 0)
        before = dict(self.holds)
        self.holds[register] = "value"
        checked = not self.slip(0.15)
        at = len(self.insns)
        if checked:
            self.emit(0x15, register, imm=0)
        for _ in range(self.r.randint(1, 3)):
            self.value(register, info)
        if checked:
            self.land(at)
        before.pop(0, None)
        before.pop(register, None)
        self.holds = {reg: held for reg, held in before.items() if reg > 5}

    def value(self, register: int, info: MapInfo) -> None:
        """Something done with a map's value."""
        way = self.r.random()
        size = self.r.choice((1, 2, 4, 8))
        span = info.value_size
        if way < 0.5:
            off = self.r.randint(0, (span - size) // size) * size if not self.slip() else span - size + 1
            if self.r.random() < 0.5 or (info.flags and not self.slip()):
                self.emit(0x61 & ~0x18 | SIZES[size], 1, register, off)
            else:
                self.emit(0x62 & ~0x18 | SIZES[size], register, off=off, imm=7)
            return
        index = self.r.choice([each for each in (7, 8, 9) if each != register])
        self.scalar_safe(index, register)
        limit = span - size
        if self.slip(0.3):
            limit = self.r.choice((span - 1, span, span + 1, 255))
        if way < 0.75:
            self.emit(0x57, index, imm=self.r.choice([mask for mask in (1, 3, 7, limit) if mask <= limit]))
            over = None
        else:
            over = len(self.insns)
            self.emit(self.r.choice((0x25, 0x25, 0x35)) if not self.slip(0.2) else 0x65, index, imm=limit)
        self.emit(0xBF, 2, register)
        self.emit(0x0F, 2, index)
        if self.r.random() < 0.6 or (info.flags and not self.slip()):
            self.emit(0x61 & ~0x18 | SIZES[size], 3, 2)
        else:
            self.emit(0x62 & ~0x18 | SIZES[size], 2, imm=1)
        if over is not None:
            self.land(over)

    def scalar_safe(self, register: int, keep: int) -> None:
        """An unknown number without a call: calls would lose `keep` if it is r0."""
        self.context(register)

    def packet(self) -> None:
        if self.type not in PACKETS:
            self.alu()
            return
        data, end = PACKETS[self.type]
        self.emit(0x61, 2, 6, data)
        self.emit(0x61, 3, 6, end)
        self.emit(0xBF, 4, 2)
        size = self.r.choice((1, 2, 4, 8))
        length = self.r.choice((1, 2, 4, 8, 14, 34))
        variable = self.r.random() < 0.3
        if variable:
            self.context(5)
            self.emit(0x57, 5, imm=self.r.choice((3, 15, 255, 0xFFFF)))
            self.emit(0x0F, 4, 5)
            if not self.slip(0.2):
                self.emit(0xBF, 2, 4)
        self.emit(0x07, 4, imm=length)
        at = len(self.insns)
        if self.slip(0.3):
            operation = self.r.choice((0x2D, 0x3D, 0xAD, 0xBD))
            self.emit(operation, *self.r.choice(((4, 3), (3, 4))))
        else:
            self.emit(*self.r.choice(((0x2D, 4, 3), (0x3D, 4, 3), (0xAD, 3, 4), (0xBD, 3, 4))))
        off = self.r.randint(0, max(0, length - size)) if not self.slip(0.15) else length
        if self.r.random() < 0.8 or (self.type == "cgroup_skb" and not self.slip()):
            self.emit(0x61 & ~0x18 | SIZES[size], 1, 2, off)
        else:
            self.emit(0x62 & ~0x18 | SIZES[size], 2, off=off, imm=3)
        self.land(at)
        self.holds = {reg: held for reg, held in self.holds.items() if reg > 5 or reg == 0}

    def helper(self) -> None:
        """A helper with memory and its size."""
        way = self.r.random()
        if way < 0.4 and self.type in ("raw_tracepoint", "tracepoint", "kprobe", "sched_cls", "xdp"):
            self.buffer(1)
            self.size(2)
            self.emit(0xBF, 3, self.pick("scalar"))
            self.call(PROBE_READ)
        elif way < 0.6 and self.type in ("sched_cls", "socket_filter", "cgroup_skb", "lwt_xmit"):
            self.emit(0xBF, 1, 6)
            self.emit(0xB7, 2, imm=self.r.choice((0, 14)))
            self.buffer(3)
            self.size(4)
            self.call(SKB_LOAD)
        elif way < 0.85:
            info = self.r.choice(MAPS[:2])
            for off in range(-info.value_size - 16, -16, 8):
                if not self.slip(0.02):
                    self.emit(0x7A, 10, off=off, imm=0)
            self.key(info)
            self.emit(0xBF, 3, 10)
            self.emit(0x07, 3, imm=-info.value_size - 16)
            self.emit(0xB7, 4, imm=0)
            self.call(UPDATE)
        else:
            self.key(self.r.choice(MAPS[:2]))
            self.call(DELETE)
        if self.r.random() < 0.5:
            self.emit(0xBF, self.r.choice((7, 8, 9)), 0)

    def buffer(self, register: int) -> None:
        self.emit(0xBF, register, 10)
        self.emit(0x07, register, imm=self.r.choice((-8, -16, -32, -64)))

    def size(self, register: int) -> None:
        if self.r.random() < 0.5:
            self.emit(0xB7, register, imm=self.r.choice((1, 4, 8, 8, 16, 32, 0, 64)))
            return
        self.emit(0xBF, register, self.pick("scalar"))
        if not self.slip(0.15):
            self.emit(0x57, register, imm=self.r.choice((1, 3, 7, 7, 15, 31)))
        if self.r.random() < 0.5:
            self.emit(0x07, register, imm=1)

    def ring(self) -> None:
        """A record of a ring buffer."""
        self.map(1, MAPS[4])
        size = self.r.choice((8, 16, 32))
        self.emit(0xB7, 2, imm=size)
        self.emit(0xB7, 3, imm=0)
        self.call(RESERVE)
        at = len(self.insns)
        checked = not self.slip()
        if checked:
            self.emit(0x15, 0, imm=0)
        self.emit(0x7A, 0, off=self.r.choice((0, size - 8)) if not self.slip() else size, imm=1)
        self.emit(0xBF, 1, 0)
        self.emit(0xB7, 2, imm=0)
        if not self.slip():
            self.call(self.r.choice((SUBMIT, DISCARD)))
        if checked:
            self.land(at)
        self.holds = {reg: held for reg, held in self.holds.items() if reg > 5}

    def loop(self) -> None:
        """A counted loop; now and then one that has no end."""
        counter = self.r.choice((7, 8, 9))
        self.emit(0xB7, counter, imm=0)
        self.holds[counter] = "counter"
        start = len(self.insns)
        if self.r.random() < 0.5:
            self.stack()
        others = [reg for reg in (7, 8, 9) if reg != counter and self.holds.get(reg) == "scalar"]
        if others:
            self.one_alu(self.r.choice(others))
        step = self.r.choice((1, 1, 1, 2)) if not self.slip(0.05) else 0
        self.emit(0x07, counter, imm=step)
        limit = self.r.choice((2, 4, 8, 16, 33))
        if self.r.random() < 0.8:
            operation = self.r.choice((0xA5, 0xA5, 0xC5, 0xA6, 0x55))
            if operation == 0x55 and step == 2 and not self.slip(0.01):
                limit &= ~1  # passed over, it takes a million instructions to be refused
            self.emit(
                operation,
                counter,
                off=start - len(self.insns) - 1,
                imm=limit,
            )
        else:
            bound = self.r.choice([reg for reg in (7, 8, 9) if reg != counter])
            self.scalar(bound)
            self.emit(0xB7, bound, imm=limit)
            self.emit(0xAD, counter, bound, start - len(self.insns) - 1)
        self.holds[counter] = "scalar"

    def plain_maps(self) -> tuple[MapInfo, ...]:
        return MAPS[:4]

    def at_stack(self, register: int, off: int) -> None:
        self.emit(0xBF, register, 10)
        self.emit(0x07, register, imm=off)

    def may_goto(self) -> None:
        """A loop that the kernel ends if the program doesn't."""
        top = len(self.insns)
        self.emit(0xE5)
        before = dict(self.holds)
        for _ in range(self.r.randint(1, 2)):
            self.r.choice((self.alu, self.stack, self.spill))()
        if self.r.random() < 0.5:
            self.emit(0x25, self.pick("scalar"), off=1, imm=self.r.choice(NUMBERS))
        self.join(before)
        self.emit(0x05, off=top - len(self.insns) - 1)
        self.land(top)

    def dynptr(self) -> None:
        """A record of a ring buffer by a dynptr: data in it is looked at, then it is given back."""
        off = -88 if not self.slip(0.05) else -64
        self.map(1, MAPS[4])
        self.emit(0xB7, 2, imm=self.r.choice((8, 16, 64)))
        self.emit(0xB7, 3)
        self.at_stack(4, off)
        self.call(RESERVE_DYNPTR)
        for _ in range(self.r.randint(0, 2)):
            size = self.r.choice((1, 4, 8))
            way = self.r.random()
            if way < 0.5:
                self.at_stack(1, off)
                self.emit(0xB7, 2, imm=self.r.choice((0, 1, 8)))
                self.emit(0xB7, 3, imm=size)
                self.call(DYNPTR_DATA)
                if not self.slip(0.1):
                    self.emit(0x15, 0, off=1)
                self.emit(0x72, 0, off=size - 1 if not self.slip() else size, imm=1)
                self.holds.pop(0, None)
            elif way < 0.8:
                self.at_stack(1, -8)
                self.emit(0xB7, 2, imm=size)
                self.at_stack(3, off if not self.slip(0.1) else off + 8)
                self.emit(0xB7, 4)
                self.emit(0xB7, 5)
                self.call(DYNPTR_READ)
                self.written.add(-8)
            elif self.slip(0.5):
                self.emit(0x7A, 10, off=off, imm=1)
        if not self.slip(0.06):
            self.at_stack(1, off if not self.slip(0.05) else off + 8)
            self.emit(0xB7, 2)
            self.call(self.r.choice((SUBMIT_DYNPTR, DISCARD_DYNPTR)))
            self.holds.pop(0, None)
            if self.slip(0.05):
                self.at_stack(1, off)
                self.emit(0xB7, 2)
                self.call(SUBMIT_DYNPTR)
        self.holds.pop(0, None)

    def pointer(self) -> None:
        """Arithmetic on the frame pointer."""
        self.emit(0xBF, 1, 10)
        if self.r.random() < 0.6:
            self.emit(0x07, 1, imm=self.r.choice((-8, -16, -64, -504, -8)))
        else:
            index = self.pick("scalar")
            self.emit(0xBF, 2, index)
            self.emit(0x57, 2, imm=self.r.choice((7, 8, 24, 56) if self.slip(0.3) else (8, 24, 56)))
            self.emit(0x1F if self.slip() else 0x0F, 1, 2)
            self.emit(0x07, 1, imm=self.r.choice((-64, -128)))
        size = self.r.choice((1, 2, 4, 8))
        off = self.r.choice((0, 0, 0, -8)) if self.slip(0.3) else 0
        if self.r.random() < 0.8:
            self.emit(0x62 & ~0x18 | SIZES[size], 1, off=off, imm=1)
        else:
            self.emit(0x61 & ~0x18 | SIZES[size], 1, 1, off)

    def spill(self) -> None:
        """A register to the stack and back, of one size or another."""
        register = self.r.choice([*self.holds] or [6])
        off = -8 * self.r.randint(1, 8)
        self.emit(0x7B, 10, register, off)
        back = self.r.choice((7, 8, 9))
        way = self.r.random()
        if way < 0.7:
            self.emit(0x79, back, 10, off)
            self.holds[back] = self.holds.get(register, "scalar")
        else:
            known = self.holds.get(register) == "scalar" or self.slip()
            if not known:
                return
            self.emit(self.r.choice((0x61, 0x69, 0x71)), back, 10, off + self.r.choice((0, 0, 4)))
            self.holds[back] = "scalar"
        if self.holds[back] not in ("scalar", "ctx"):
            self.number(back)


# ---- comparison


class Oracle:
    """Both verdicts on a program."""

    def __init__(self, live: LiveKernel) -> None:
        self.live = live
        self.btf = kernel_btf()

    def both(self, program: Program) -> tuple[Verdict, Verdict]:
        """Ours and the kernel's."""
        try:
            kernel, _ = self.live.verify(program)
        except ProbeeError as error:
            kernel = Verdict(UNSUPPORTED, str(error))
        try:
            ours = verify(program, kernel_btf=self.btf)
        except Exception as error:  # a fault of ours is a difference too
            ours = Verdict("fault", f"{type(error).__name__}: {error}")
        return ours, kernel

    def differs(self, program: Program) -> str:
        """How the verdicts differ ("accept/reject"); "" if they agree."""
        ours, kernel = self.both(program)
        if kernel.verdict not in (ACCEPT, REJECT) or ours.verdict == kernel.verdict:
            return ""
        return f"{ours.verdict}/{kernel.verdict}"


def reduce(program: Program, oracle: Oracle) -> Program:
    """The program with everything replaced by nothing that the difference doesn't need, then taken out."""
    wanted = oracle.differs(program)
    best = program
    step = max(1, len(best.insns) // 2)
    while step:
        at = 0
        while at < len(best.insns) - 1:
            tried = _without(best, at, min(at + step, len(best.insns) - 1))
            if tried is not None and oracle.differs(tried) == wanted:
                best = tried
            at += step
        step //= 2
    packed = _packed(best)
    return packed if oracle.differs(packed) == wanted else best


def _clone(
    program: Program,
    insns: list[Insn],
    refs: dict[int, MapInfo],
    kfuncs: dict[int, str],
    place: dict[int, int] | None = None,
) -> Program:
    return Program(
        insns,
        program.prog_type,
        map_refs=refs,
        kfuncs=kfuncs,
        name=program.name,
        attach_type=program.attach_type,
        btf=program.btf,
        func_info=[(place[at] if place else at, number) for at, number in program.func_info],
    )


def _without(program: Program, start: int, end: int) -> Program | None:
    insns = list(program.insns)
    changed = False
    for at in range(start, end):
        if insns[at] == NOP or insns[at].opcode in (0x95, 0x00):
            continue
        if insns[at].opcode == LD_IMM64 and at + 1 < len(insns):
            insns[at + 1] = NOP
        insns[at] = NOP
        changed = True
    refs = {at: info for at, info in program.map_refs.items() if insns[at].opcode == LD_IMM64}
    kfuncs = {at: name for at, name in program.kfuncs.items() if insns[at].opcode == 0x85}
    return _clone(program, insns, refs, kfuncs) if changed else None


def _packed(program: Program) -> Program:
    """Without the empty instructions; jumps and references follow."""
    place, count = {}, 0
    for at, insn in enumerate(program.insns):
        place[at] = count
        count += insn != NOP
    place[len(program.insns)] = count
    insns = []
    for at, insn in enumerate(program.insns):
        if insn == NOP:
            continue
        off, imm = insn.off, insn.imm
        if insn.opcode & 7 in (5, 6) and insn.opcode not in (0x85, 0x95):
            off = place[at + 1 + off] - place[at] - 1
        elif (insn.opcode == 0x85 and insn.src == 1) or (insn.opcode == LD_IMM64 and insn.src == PSEUDO_FUNC):
            imm = place[at + 1 + imm] - place[at] - 1
        insns.append(Insn(insn.opcode, insn.dst, insn.src, off, imm))
    return _clone(
        program,
        insns,
        {place[at]: info for at, info in program.map_refs.items()},
        {place[at]: name for at, name in program.kfuncs.items()},
        place,
    )


def as_case(program: Program, name: str, kernel: Verdict) -> dict[str, object]:
    """A case that `probee verify-cases` reads."""
    used = list({id(info): info for info in program.map_refs.values()}.values())
    return {
        "id": f"generated/{name}",
        "file": "generated",
        "name": name,
        "insns": encode(program.insns).hex(),
        "prog_type_nr": program.prog_type,
        "expected_attach_type": 0,
        "maps": [_map_case(info) for info in used],
        "map_refs": [
            {"insn": at, "map": used.index(info), "pseudo": 1} for at, info in program.map_refs.items()
        ],
        "kfunc_calls": [[at, name, 0] for at, name in program.kfuncs.items()],
        "func_info": [
            [at, f"f{n}" if n else "generated", 0 if n else 1] for n, (at, _) in enumerate(program.func_info)
        ],
        "live": {
            "verdict": kernel.verdict,
            "message": kernel.message,
            "insns_processed": kernel.insns_processed,
        },
    }


def _map_case(info: MapInfo) -> dict[str, object]:
    return {
        "name": info.name,
        "type": info.type,
        "key_size": info.key_size,
        "value_size": info.value_size,
        "max_entries": info.max_entries,
        "map_flags": info.flags,
        "btf": info.btf.raw.hex() if info.btf is not None else "",
        "btf_key_type_id": info.key_type,
        "btf_value_type_id": info.value_type,
    }


def listing(program: Program) -> str:
    lines = []
    for at, insn in enumerate(program.insns):
        if insn.opcode == 0:
            continue
        named = f"  ; map {program.map_refs[at].name}" if at in program.map_refs else ""
        lines.append(f"  {at:3}: {text_of(insn) or '?'}{named}")
    return "\n".join(lines)


# What a kernel says of programs that its verifier trips over: differences with a reason.
EXPLAINED = {
    "verifier bug: backtracking": "the kernel traces precision back to a call with a register that the call "
    "clears, which is a fault of its own",
}


def reason_for(kernel: Verdict) -> str:
    """Why another verdict than the kernel's is right; "" where it isn't."""
    return next((why for words, why in EXPLAINED.items() if kernel.message.startswith(words)), "")


class Outcome:
    """What a run found. `explained` counts differences that have a reason; the others are in `counts`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.explained: Counter[str] = Counter()
        self.cases: list[dict[str, object]] = []
        self.texts: list[str] = []
        self.wording = 0
        self.counting = 0


def run(count: int, seed: int, *, most: int = 20, quiet: bool = False) -> Outcome:
    """Generate and compare. At most `most` differences are reduced; all are counted."""
    outcome = Outcome()
    start = time.monotonic()
    with LiveKernel() as live:
        oracle = Oracle(live)
        for number in range(seed, seed + count):
            program = Generator(number).make()
            ours, kernel = oracle.both(program)
            key = f"{ours.verdict}/{kernel.verdict}"
            why = reason_for(kernel) if ours.verdict != kernel.verdict else ""
            if why:
                outcome.explained[why] += 1
                continue
            outcome.counts[key] += 1
            if ours.verdict == kernel.verdict == REJECT:
                outcome.wording += ours.message != kernel.message
            if ours.verdict == kernel.verdict == ACCEPT:
                outcome.counting += ours.insns_processed != kernel.insns_processed
            different = kernel.verdict in (ACCEPT, REJECT) and ours.verdict != kernel.verdict
            if different and len(outcome.cases) < most:
                _keep(outcome, oracle, program, number)
            if not quiet and (number - seed) % 500 == 499:
                print(
                    f"{number - seed + 1} programs, {time.monotonic() - start:.0f} s: {dict(outcome.counts)}",
                    flush=True,
                )
    return outcome


def _keep(outcome: Outcome, oracle: Oracle, program: Program, number: int) -> None:
    smaller = reduce(program, oracle)
    ours, kernel = oracle.both(smaller)
    outcome.cases.append(as_case(smaller, str(number), kernel))
    kind = next(name for name, (each, _) in PROG_TYPES.items() if each == smaller.prog_type)
    outcome.texts.append(
        f"seed {number} ({kind})\n{listing(smaller)}\n"
        f"  ours:   {ours.verdict} at {ours.index}: {ours.message}\n"
        f"  kernel: {kernel.verdict}: {kernel.message}\n"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Random programs: our verifier against the running kernel's."
    )
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=20, help="how many differences are reduced and shown")
    parser.add_argument("--out", default="", help="keep the reduced programs as cases")
    opts = parser.parse_args(argv)
    outcome = run(opts.count, opts.seed, most=opts.most)
    for text in outcome.texts:
        print(text)
    if opts.out:
        with open(opts.out, "w", encoding="utf-8") as file:
            json.dump({"tests": outcome.cases}, file, indent=1)
    total = sum(outcome.counts.values())
    different = sum(
        n
        for key, n in outcome.counts.items()
        if len(set(key.split("/"))) > 1 and not key.endswith(UNSUPPORTED)
    )
    print(f"{total} programs (ours/kernel): {dict(outcome.counts)}")
    for why, count in outcome.explained.items():
        print(f"{count} more differ, and have their reason: {why}")
    print(f"{different} verdicts differ; other words in {outcome.wording} refusals, "
          f"other counts in {outcome.counting} acceptances")  # fmt: skip
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
