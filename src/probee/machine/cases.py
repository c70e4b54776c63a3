"""Verifier cases run in a machine, as the kernel's own tests run them with BPF_PROG_TEST_RUN.

The maps of a case are made and filled as those tests do it, and the context is the one that the kernel makes
for a test run: a packet of the case's bytes, without its Ethernet header for programs that see no such
header.
"""

from __future__ import annotations

import struct
from typing import Any

from ..btf import Btf, BtfBuilder
from ..errors import ObjectError, ProbeeError, Unsupported
from ..isa.insn import Insn, encode
from ..isa.tables import MAP_TYPES, PROG_TYPES, name_of
from ..verifier.cases import FILLED, FILLED_MAPS
from ..verifier.program import MapInfo
from .code import Code
from .contexts.base import Context, PacketContext
from .contexts.packet import Packet
from .contexts.rewrite import btf_loads, rewrite
from .machine import Machine
from .maps import Attributes, Map, create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..verifier.cases import Case

DATA_SIZE = 64  # bytes of packet that a run without data gets
_ETHERNET = 14
_ETH_P_802_2 = 4  # what the kernel takes a frame for that names no protocol
_TAIL_CALL = 12
_XDP, _SYSCALL = PROG_TYPES["xdp"][0], PROG_TYPES["syscall"][0]
_LAYER2 = (PROG_TYPES["sched_cls"][0], PROG_TYPES["sched_act"][0])
_LAYER3 = tuple(
    PROG_TYPES[name][0]
    for name in ("socket_filter", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local")
)
_PROG_ARRAY = 3
_PROGRAMS = dict.fromkeys(("prog1", "map_prog1_socket", "map_prog1_tc"), (0, 1, 2))
_PROGRAMS |= dict.fromkeys(("prog2", "map_prog2_socket"), (7, 1, 2))
_STORAGES = tuple(MAP_TYPES[f"{of}_storage"][0] for of in ("sk", "inode", "task", "cgrp"))
_ALLOCATES = frozenset({"bpf_obj_new_impl", "bpf_percpu_obj_new_impl"})
_CODE_STRIDE = 1 << 24


class CaseRunner:
    """Runs cases in one machine. `engine` is one of `Machine`'s, `btf` the kernel's types."""

    def __init__(
        self, engine: str = "interpreter", *, btf: Btf | None = None, memory: int = 64 << 20
    ) -> None:
        self.machine = Machine(btf=btf, engine=engine, memory=memory)

    def run(self, case: Case, *, verified: bool = False) -> list[int]:
        """What each of the case's runs leaves in r0, as the 32 bits that BPF_PROG_TEST_RUN tells.

        `verified` says that the verifier took the program.

        Raises:
            Unsupported: the machine lacks something that the case needs; `feature` names it.
            Fault: the program did what it must not.
        """
        if case.problem:
            raise Unsupported(f"{case.id}: {case.problem}", feature=case.problem)
        _check(case)
        with _Loaded(self.machine, case, verified) as loaded:
            try:
                return [loaded.run(data) for data, _ in case.runs]
            except ObjectError:
                if _ALLOCATES & set(case.program.kfuncs.values()):
                    what = "types for what it allocates"
                    raise Unsupported(f"{case.id}: the file has no {what}", feature=what) from None
                raise

    def close(self) -> None:
        """Give the machine back."""
        self.machine.close()

    def __enter__(self) -> CaseRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Loaded:
    """A case with its maps in a machine."""

    def __init__(self, machine: Machine, case: Case, verified: bool) -> None:
        self.machine = machine
        self.case = case
        self.program = case.program
        self.maps: dict[int, Map] = {}
        self.codes: list[Code] = []
        self.code = self._code(self._insns(), case.program.map_refs, verified=verified)

    def __enter__(self) -> _Loaded:
        return self

    def __exit__(self, *_: object) -> None:
        services = self.machine.services
        for code in self.codes:
            services.codes.remove(code)
        for held in self.maps.values():
            services.maps_by_address.pop(held.address, None)
            held.close()

    # ---- the program

    def _insns(self) -> list[Insn]:
        """The instructions, with kernel functions by the machine's numbers."""
        insns = list(self.program.insns)
        for place, name in self.program.kfuncs.items():
            insn = insns[place]
            number = self.machine.kfunc_number(name)
            insns[place] = Insn(insn.opcode, insn.dst, insn.src, 0, number or 0)
        return insns

    def _code(self, insns: list[Insn], maps: dict[int, MapInfo], *, verified: bool) -> Code:
        kind = self.program.prog_type
        raw = rewrite(encode(insns), kind)

        def resolve(slot: int, source: int, low: int, high: int) -> int:
            info = maps.get(slot)
            if info is None:
                raise Unsupported(f"instruction {slot} refers to nothing known", feature="a wide immediate")
            held = self._map(info)
            return held.address if source in (1, 5) else held.lookup(bytes(4), 0) + high

        code = Code(
            raw,
            name=self.case.id,
            resolve=resolve,
            base=self.machine.next_code(_CODE_STRIDE),
            probe_loads=btf_loads(raw, kind),
            verified=verified,
        )
        self.codes.append(code)
        self.machine.services.codes.append(code)
        if self.program.btf is not None:
            self.machine.services.types_of[code.base] = self.program.btf
        return code

    # ---- maps

    def _map(self, info: MapInfo) -> Map:
        made = self.maps.get(id(info))
        if made is None:
            made = self.maps[id(info)] = self._made(info)
            self.machine.services.add_map(made)
            self._fill(made, info)
        return made

    def _made(self, info: MapInfo) -> Map:
        home = self.machine.services.home
        if info.type in _STORAGES and info.btf is None:
            _type(info)
        attributes = Attributes(
            info.type,
            info.key_size,
            info.value_size,
            info.max_entries,
            flags=info.flags,
            inner=self._made(info.inner) if info.inner is not None else None,
            btf=info.btf,
            key_type_id=info.key_type,
            value_type_id=info.value_type,
        )
        try:
            return create(attributes, home)
        except OSError as error:
            raise Unsupported(
                f"the machine makes no map {info!r}: {error.strerror}", feature=info.name
            ) from None

    def _fill(self, made: Map, info: MapInfo) -> None:
        holder: Any = made
        if info.name in FILLED_MAPS:
            holder.sys_update(bytes(4), FILLED)
        elif info.data is not None:
            holder.sys_update(bytes(4), info.data)
        elif info.type == _PROG_ARRAY and info.name in _PROGRAMS:
            # Programs that return 42, call on, return 24.
            first, again, last = _PROGRAMS[info.name]
            loops = [
                Insn(0xB7, 3, 0, 0, again),
                Insn(0x18, 2, 1, 0, 0),
                Insn(0),
                Insn(0x85, 0, 0, 0, _TAIL_CALL),
                *_returning(41),
            ]
            for index, insns in ((first, _returning(42)), (again, loops), (last, _returning(24))):
                holder.put(index, self._code(insns, {1: info}, verified=True))

    # ---- running

    def run(self, data: bytes) -> int:
        """One run; r0 as 32 bits."""
        machine, kind = self.machine, self.program.prog_type
        data = data or bytes(DATA_SIZE)
        context = self._context(kind, data)
        services = machine.services
        cpu = machine.cpu
        services.enter(cpu, context)
        try:
            return cpu.run(self.code, context.address) & 0xFFFFFFFF
        finally:
            services.abandon(cpu)
            services.leave(cpu)
            context.free(machine.memory)

    def _context(self, kind: int, data: bytes) -> Context:
        machine = self.machine
        if kind == _SYSCALL:
            region = machine.memory.alloc(DATA_SIZE, "ctx", name="context")
            return Context(region)
        if kind == _XDP:
            return PacketContext(
                machine.kernel, "xdp_md", {"ingress_ifindex": 1}, Packet(machine.memory, data)
            )
        if kind not in _LAYER2 and kind not in _LAYER3:
            word = name_of(PROG_TYPES, kind)
            raise Unsupported(f"BPF_PROG_TEST_RUN runs no {word} programs", feature=f"runs of {word}")
        if len(data) < _ETHERNET:
            raise ProbeeError(f"a packet has {_ETHERNET} bytes at least")
        wire = int.from_bytes(data[12:14], "big")
        protocol = struct.unpack("<H", struct.pack(">H", wire if wire >= 0x600 else _ETH_P_802_2))[0]
        if kind in _LAYER3:
            packet = Packet(machine.memory, data[_ETHERNET:], before=data[:_ETHERNET])
        else:
            packet = Packet(machine.memory, data)
        return PacketContext(machine.kernel, "__sk_buff", {"ifindex": 1, "protocol": protocol}, packet)


def _check(case: Case) -> None:
    """Raise Unsupported where the file tells too little of a program to run it."""
    program = case.program
    for info in program.map_refs.values():
        if info.type == _PROG_ARRAY and info.name not in _PROGRAMS:
            what = f"what program array {info.name} holds"
            raise Unsupported(f"{case.id}: the file does not tell {what}", feature=what)


def _type(info: MapInfo) -> None:
    """Types for a map that can't be made without: a key that is a number, a value of bytes."""
    builder = BtfBuilder()
    key = builder.int_("int", 4, 1)
    byte = builder.int_("char", 1, 0)
    info.key_type = key
    info.value_type = builder.array(byte, key, info.value_size)
    info.btf = Btf.parse(builder.build())


def _returning(number: int) -> list[Insn]:
    return [Insn(0xB7, 0, 0, 0, number), Insn(0x95)]
