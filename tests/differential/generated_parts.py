"""Parts of random programs that call back, hold something, or need types: used by `generated_programs.py`.

Each makes some instructions in a `Generator`, and now and then a mistake.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import Any

from probee.btf import BtfBuilder, kernel_btf
from probee.errors import ProbeeError
from probee.isa.insn import LD_IMM64, PSEUDO_FUNC, Insn
from probee.isa.tables import MAP_TYPES
from probee.verifier.program import MapInfo

NUMBERS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 48, 63, 64, 255, 256, 512, 4095, -1, -2, -8, -16, -64)
SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
LOOKUP, PRANDOM, SPIN_LOCK, SPIN_UNLOCK, CURRENT_TASK, FOR_EACH, LOOP = 1, 7, 93, 94, 158, 164, 181
EXIT = Insn(0x95)
MOST_FUNCTIONS = 8
_ARRAY, _HASH = MAP_TYPES["array"][0], MAP_TYPES["hash"][0]
_STRUCT, _FUNC = 4, 12
# What is done before and after something that has to be given back.
REGIONS = (
    ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"),
    ("bpf_preempt_disable", "bpf_preempt_enable"),
)
ATOMICS = (0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1, 0x100, 0x110)


@cache
def kfunc_id(name: str) -> int:
    """The number of a kernel function; 0 where there is none, or no BTF of the kernel."""
    try:
        return kernel_btf().find(name, _FUNC) or 0
    except (OSError, ProbeeError):
        return 0


@cache
def function_types() -> tuple[Any, tuple[int, ...]]:
    """BTF of a program and as many static functions as one may have, and the ids of these functions."""
    builder = BtfBuilder()
    number = builder.int_("int", 4, 1)
    context = builder.ptr(0)
    ids = [builder.func("generated", builder.func_proto(number, [("ctx", context)]), 1)]
    for at in range(1, MOST_FUNCTIONS):
        ids.append(builder.func(f"f{at}", builder.func_proto(number), 0))
    return builder.btf(), tuple(ids)


@cache
def locked_maps() -> tuple[MapInfo, ...]:
    """Maps whose values begin with a lock and go on with numbers: a plain lock, and a resilient one."""
    builder = BtfBuilder()
    word = builder.int_("unsigned int", 4, 0)
    found = []
    for lock in ("bpf_spin_lock", "bpf_res_spin_lock"):
        inner = builder.struct(lock, 4, [("val", word, 0)])
        rest = [(f"n{at}", word, at * 32) for at in range(1, 6)]
        found.append((lock[4:], builder.struct(f"{lock}_value", 24, [("lock", inner, 0), *rest])))
    btf = builder.btf()
    return tuple(
        MapInfo(_ARRAY, 4, 24, 2, name=name[:15], btf=btf, key_type=word, value_type=value)
        for name, value in found
    )


class Parts:
    """Mixed into `Generator`, which has what these are made with."""

    r: Random
    insns: list[Insn]
    holds: dict[int, str]
    functions: list[tuple[int, str, Any]]
    kfuncs: dict[int, str]
    type: str

    # What `Generator` gives.
    emit: Any
    slip: Any
    pick: Any
    call: Any
    map: Any
    key: Any
    land: Any
    join: Any
    block: Any
    at_stack: Any
    stack: Any
    alu: Any
    spill: Any
    branch: Any

    def kfunc(self, name: str) -> None:
        self.kfuncs[len(self.insns)] = name
        self.emit(0x85, 0, 2, imm=kfunc_id(name))
        self.holds = {register: held for register, held in self.holds.items() if register > 5}

    # ---- callbacks

    def reference(self, register: int, kind: str, what: Any = None) -> None:
        """The address of a function that is made later."""
        self.functions.append((len(self.insns), kind, what))
        self.emit(LD_IMM64, register, PSEUDO_FUNC)
        self.emit(0)

    def callback(self) -> None:
        """bpf_loop or bpf_for_each_map_elem."""
        if len(self.functions) >= MOST_FUNCTIONS - 2:
            self.alu()
            return
        if self.r.random() < 0.8:
            self.emit(0x7A, 10, off=-16, imm=self.r.choice(NUMBERS))
        with_context = self.r.random() < 0.7
        if self.r.random() < 0.6:
            if self.r.random() < 0.7:
                self.emit(0xB7, 1, imm=self.r.choice((0, 1, 2, 5, 33)) if not self.slip(0.01) else 1 << 23)
            else:
                self.emit(0xBF, 1, self.pick("scalar"))
            kind, what, helper = "loop", with_context, LOOP
        else:
            what = self.r.choice(self.plain_maps())
            self.map(1, what)
            kind, helper = "element", FOR_EACH
        self.reference(2, kind, (what, with_context))
        if with_context:
            self.at_stack(3, -16)
        else:
            self.emit(0xB7, 3, imm=0 if not self.slip() else 1)
        self.emit(0xB7, 4, imm=0)
        self.call(helper)
        if self.r.random() < 0.5:
            self.emit(0xBF, self.r.choice((7, 8, 9)), 0)
        self.holds.pop(0, None)

    def plain_maps(self) -> tuple[MapInfo, ...]:
        raise NotImplementedError

    def function_loop(self, what: Any) -> None:
        """A callback of bpf_loop: r1 is the index, r2 the context."""
        _, with_context = what
        self.emit(0xBF, 6, 1)
        if with_context and self.r.random() < 0.7:
            self.emit(0x79, 3, 2, 0)
            self.emit(self.r.choice((0x0F, 0xAF, 0xBF)), 3, 6)
            self.emit(0x7B, 2, 3, 0 if not self.slip() else self.r.choice((-8, 8, 16)))
        if self.r.random() < 0.3:
            self.emit(0x57, 6, imm=self.r.choice((8, 24, 56)))
            self.emit(0xBF, 4, 10)
            self.emit(0x0F, 4, 6)
            self.emit(0x7A, 4, off=-64 if not self.slip() else -8, imm=1)
        self.result()

    def function_element(self, what: Any) -> None:
        """A callback of bpf_for_each_map_elem: r1 is the map, r2 the key, r3 the value, r4 the context."""
        info, with_context = what
        self.emit(0xBF, 6, 3)
        self.emit(0x61, 5, 2, 0 if not self.slip() else info.key_size)
        if self.r.random() < 0.7:
            size = self.r.choice((4, 8))
            last = (info.value_size - size) // size * size
            off = self.r.choice((0, last)) if not self.slip() else info.value_size
            if info.flags and not self.slip():
                self.emit(0x61 & ~0x18 | SIZES[size], 5, 6, off)
            else:
                self.emit(0x63 & ~0x18 | SIZES[size], 6, 5, off)
        if with_context and self.r.random() < 0.6:
            self.emit(0x7B, 4, 5, 0)
        self.result()

    def function_numbers(self, what: Any) -> None:
        """A function of two numbers."""
        self.emit(0xBF, 0, 1)
        for _ in range(self.r.randint(0, 3)):
            operation = self.r.choice((0x0F, 0x1F, 0x4F, 0x5F, 0xAF, 0x2F))
            self.emit(operation, 0, 2 if not self.slip(0.03) else 3)
        if self.r.random() < 0.4:
            self.emit(0x7B, 10, 0, -8 * self.r.randint(1, 32))
        if self.r.random() < 0.4:
            self.emit(0x25, 0, off=1, imm=self.r.choice(NUMBERS))
            self.emit(0xB7, 0, imm=self.r.choice(NUMBERS))
        self.insns.append(EXIT)

    def function_memory(self, what: Any) -> None:
        """A function of a pointer into its caller's stack, and a number."""
        if self.r.random() < 0.3:
            self.emit(0x7B, 10, 1, -8)
            self.emit(0x79, 1, 10, -8)
        self.emit(0x79, 0, 1, 0 if not self.slip() else self.r.choice((8, 16, -600)))
        self.emit(self.r.choice((0x0F, 0xBF, 0x5F)), 0, 2)
        if self.r.random() < 0.7:
            self.emit(self.r.choice((0x7B, 0x63)), 1, self.r.choice((0, 2)), self.r.choice((0, -8)))
        if self.slip(0.05):
            self.emit(0xBF, 0, 1)  # a pointer to the stack is no result
        self.insns.append(EXIT)

    def result(self) -> None:
        """What a callback returns: 0 or 1."""
        way = self.r.random()
        if way < 0.5:
            self.emit(0xB7, 0, imm=self.r.choice((0, 0, 1)) if not self.slip() else 2)
        elif way < 0.75:
            self.emit(0xB7, 0)
            self.emit(0x25, 5 if self.slip(0.1) else 6, off=1, imm=self.r.choice(NUMBERS))
            self.emit(0xB7, 0, imm=1)
        else:
            self.call(PRANDOM)
            if not self.slip(0.2):
                self.emit(0x57, 0, imm=1)
        self.insns.append(EXIT)

    def subprogram(self) -> None:
        if len(self.functions) >= MOST_FUNCTIONS - 2:
            self.alu()
            return
        memory = self.r.random() < 0.35
        if memory:
            if not self.slip(0.2):
                self.emit(0x7A, 10, off=-16, imm=self.r.choice(NUMBERS))
            self.at_stack(1, -16)
        else:
            self.emit(0xBF, 1, self.pick("scalar"))
        self.emit(0xBF, 2, self.pick("scalar"))
        if self.slip():
            self.emit(0xBF, 1, 10)
        self.functions.append((len(self.insns), "memory" if memory else "numbers", None))
        self.emit(0x85, 0, 1)
        self.holds = {reg: held for reg, held in self.holds.items() if reg > 5}
        self.emit(0xBF, self.r.choice((7, 8, 9)), 0)

    def subprograms(self) -> list[int]:
        """The functions that are called, behind the program. Where each begins."""
        starts: list[int] = []
        shared: dict[tuple[str, int], int] = {}
        for at, kind, what in self.functions:
            key = (kind, self.r.randint(0, 1))
            start = shared.get(key) if kind in ("numbers", "memory") else None
            if start is None:
                start = shared[key] = len(self.insns)
                starts.append(start)
                self.holds = {}
                getattr(self, f"function_{kind}")(what)
            held = self.insns[at]
            self.insns[at] = Insn(held.opcode, held.dst, held.src, 0, start - at - 1)
        return starts

    # ---- what is held

    def region(self) -> None:
        """Something between taking and giving back RCU's lock, preemption, or interrupts."""
        if self.r.random() < 0.5:
            self.interrupts()
            return
        what = self.r.choice(REGIONS)
        self.kfunc(what[0])
        before = dict(self.holds)
        self.block()
        self.join(before)
        if not self.slip():
            self.kfunc(what[1])

    def interrupts(self) -> None:
        slots = [-112, -120][: self.r.choice((1, 1, 2))]
        for off in slots:
            self.at_stack(1, off)
            self.kfunc("bpf_local_irq_save")
        before = dict(self.holds)
        self.block()
        self.join(before)
        if self.slip(0.04):
            self.emit(0x7A, 10, off=slots[0], imm=0)
        if not self.slip(0.05):
            slots.reverse()
        for off in slots:
            if not self.slip(0.05):
                self.at_stack(1, off)
                self.kfunc("bpf_local_irq_restore")
        if self.slip(0.05):
            self.at_stack(1, slots[0])
            self.kfunc("bpf_local_irq_restore")

    def lock(self) -> None:
        """A map's value under its lock."""
        resilient = self.r.random() < 0.5
        irq = resilient and self.r.random() < 0.4
        info = locked_maps()[int(resilient)]
        self.key(info)
        self.call(LOOKUP)
        self.emit(0x15, 0, imm=0)
        outs = [len(self.insns) - 1]
        before = dict(self.holds)
        kept = self.r.choice((7, 8, 9))
        self.emit(0xBF, kept, 0)
        self.emit(0xBF, 1, 0)
        if irq:
            self.at_stack(2, -128)
        if resilient:
            self.kfunc("bpf_res_spin_lock_irqsave" if irq else "bpf_res_spin_lock")
            if not self.slip(0.06):
                outs.append(len(self.insns))
                self.emit(0x55, 0)
        else:
            self.call(SPIN_LOCK)
        self.emit(0x62, kept, off=self.r.choice((8, 20)) if not self.slip() else 0, imm=3)
        if self.slip(0.1):
            self.emit(0xBF, 1, kept)
            if irq:
                self.at_stack(2, -136)
            if resilient:
                self.kfunc("bpf_res_spin_lock_irqsave" if irq else "bpf_res_spin_lock")
            else:
                self.call(SPIN_LOCK)
        if self.slip(0.06):
            self.call(PRANDOM)
        if not self.slip(0.06):
            self.emit(0xBF, 1, kept)
            if irq:
                self.at_stack(2, -128)
            if resilient:
                undo = "bpf_res_spin_unlock_irqrestore" if irq else "bpf_res_spin_unlock"
                self.kfunc(undo if not self.slip(0.05) else "bpf_res_spin_unlock")
            else:
                self.call(SPIN_UNLOCK)
        for out in outs:
            self.land(out)
        before.pop(0, None)
        before.pop(kept, None)
        self.holds = {reg: held for reg, held in before.items() if reg > 5}

    # ---- iterators

    def iterator(self) -> None:
        """A loop over numbers, or over bits, that the kernel counts."""
        bits = self.r.random() < 0.35
        word = "bits" if bits else "num"
        off = (-104 if bits else -72) if not self.slip(0.05) else -64
        self.at_stack(1, off)
        if bits:
            self.at_stack(2, -8)
            self.emit(0xB7, 3, imm=self.r.choice((1, 1, 2, 600)))
        else:
            self.emit(0xB7, 2, imm=self.r.choice((0, 0, 1, -5)))
            self.emit(0xB7, 3, imm=self.r.choice((3, 10, 100)))
        self.kfunc(f"bpf_iter_{word}_new")
        top = len(self.insns)
        self.at_stack(1, off)
        self.kfunc(f"bpf_iter_{word}_next")
        out = len(self.insns)
        self.emit(0x15 if not self.slip(0.05) else 0x55, 0)
        before = dict(self.holds)
        index = self.r.choice((7, 8, 9))
        self.emit(0x61, index, 0)
        self.holds[index] = "scalar"
        for _ in range(self.r.randint(0, 2)):
            self.r.choice((self.alu, self.stack, self.spill, self.branch))()
        self.join(before)
        self.emit(0x05, off=top - len(self.insns) - 1)
        self.land(out)
        if not self.slip(0.05):
            self.at_stack(1, off)
            self.kfunc(f"bpf_iter_{word}_destroy")
        self.holds = {reg: held for reg, held in self.holds.items() if before.get(reg) == held}

    # ---- atomics, kernel structs

    def atomic(self) -> None:
        """Atomic instructions on the stack."""
        off = -8 * self.r.randint(1, 8)
        if not self.slip(0.1):
            self.emit(0x7A, 10, off=off, imm=self.r.choice(NUMBERS))
        for _ in range(self.r.randint(1, 2)):
            operation = self.r.choice(ATOMICS) if not self.slip(0.05) else 0x60
            size = self.r.choice((8, 8, 4))
            if operation in (0x100, 0x110):
                size = self.r.choice((1, 2, 4, 8))
            code = 0xC3 | SIZES[size]
            at = off if not self.slip() else off + self.r.choice((1, 4))
            self.emit(0xB7, 0, imm=1)
            if operation == 0x100:
                register = self.r.choice((7, 8, 9))
                self.emit(code, register, 10, at, operation)
                self.holds[register] = "scalar"
            else:
                self.emit(code, 10, self.pick("scalar"), at, operation)
            self.holds[0] = "scalar"

    def task(self) -> None:
        """Loads of the current task's fields, through its pointers."""
        if self.type not in ("raw_tracepoint", "tracepoint", "kprobe", "sched_cls", "xdp"):
            self.alu()
            return
        self.call(CURRENT_TASK)
        self.holds.pop(0, None)
        register, struct = 0, "task_struct"
        for _ in range(self.r.randint(1, 3)):
            off, size, then = self.r.choice(_members(struct))
            if self.slip(0.1):
                off += self.r.choice((1, 4, 1 << 14))
            self.emit(0x61 & ~0x18 | SIZES[size], 1, register, off)
            if not then:
                break
            register, struct = 1, then


@cache
def _members(struct: str) -> tuple[tuple[int, int, str], ...]:
    """(offset, size, struct it points to) of members that programs may load."""
    try:
        btf = kernel_btf()
    except (OSError, ProbeeError):
        return ((0, 8, ""),)
    found = []
    wanted = {
        "task_struct": ("pid", "tgid", "real_parent", "mm", "group_leader", "cgroups", "last_wakee", "files"),
        "mm_struct": ("mmap_base", "exe_file", "owner"),
        "css_set": ("dfl_cgrp", "nr_tasks"),
        "cgroup": ("kn", "level"),
        "files_struct": ("next_fd",),
        "kernfs_node": ("id", "__parent"),
        "file": ("f_flags", "f_inode"),
        "inode": ("i_ino", "i_sb"),
    }.get(struct, ())
    for name, at, type_id in _flat(btf, struct):
        if name not in wanted:
            continue
        held = btf.type(type_id)
        while held.kind in (8, 9, 10, 11, 18):
            type_id = held.type
            held = btf.type(type_id)
        then = ""
        if held.kind == 2:
            target = held.type
            while target and btf.type(target).kind in (8, 9, 10, 11, 18):
                target = btf.type(target).type
            then = btf.type(target).name if target and btf.type(target).kind == _STRUCT else ""
        size = btf.size_of(type_id)
        if size in SIZES:
            found.append((at, size, then))
    return tuple(found) or ((0, 8, ""),)


def _flat(btf: Any, struct: str, base: int = 0, id: int = 0) -> list[tuple[str, int, int]]:
    """(name, offset, type) of members, those of nameless structs included."""
    number = id or btf.find(struct, _STRUCT)
    found: list[tuple[str, int, int]] = []
    if not number:
        return found
    for member in btf.type(number).members:
        at = base + member.bit_offset // 8
        if member.name:
            found.append((member.name, at, member.type))
        elif btf.type(member.type).kind in (4, 5):
            found += _flat(btf, "", at, member.type)
    return found
