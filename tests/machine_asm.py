"""Assembly that runs in the machine and in the kernel: what the machine's tests of its services share."""

from __future__ import annotations

import re
from typing import Any

from probee.isa.asm import assemble as assemble_text
from probee.isa.tables import HELPERS
from probee.kernel.describe import Types
from probee.machine.code import CODE_BASE, Code
from probee.machine.contexts.base import Context
from probee.machine.contexts.packet import Packet
from probee.machine.helpers.services import Services
from probee.machine.maps import Map
from probee.machine.maps.base import Attributes
from probee.sys import kernel
from probee.sys.bpf import ProgAttr

_MAP_FD, _MAP_VALUE = 1, 2
_CODE_ROOM = 1 << 20


def assemble(text: str) -> bytes:
    """Assembly with helpers by name."""
    return assemble_text(re.sub(r"call (\w+)", lambda m: f"call {HELPERS.get(m[1], (m[1],))[0]}", text))


class Asm:
    """A machine that runs assembly. Maps are named in it by their descriptors, as `map_fd(N, 0x0) ll`."""

    def __init__(self, cpus: int = 1, **facts: Any) -> None:
        self.services = Services(cpus=cpus, **facts)
        self.memory = self.services.memory
        self.cpu = self.services.cpu(0)
        self._base = CODE_BASE

    def map(
        self, type: int, key: int = 4, value: int = 8, entries: int = 1, flags: int = 0, **facts: Any
    ) -> int:
        """The descriptor of a new map."""
        made = self.services.create_map(Attributes(type, key, value, entries, flags=flags, **facts))
        return next(fd for fd, (_, item) in self.services.syscalls.open.items() if item is made)

    def typed(self, type: int, value: Any, entries: int = 1, flags: int = 0, key: Any = "u32") -> int:
        """The same with a value's type in words."""
        types = Types()
        key_id, key_size, _ = types.add(key, "key")
        value_id, size, _ = types.add(value)
        btf = types.builder.btf()
        ids = {"key_type_id": key_id, "value_type_id": value_id}
        return self.map(type, key_size, size, entries, flags, btf=btf, **ids)

    def found(self, fd: int) -> Map:
        return self.services.syscalls.find_map(fd)

    def code(self, text: str) -> Code:
        def resolve(slot: int, kind: int, low: int, high: int) -> int:
            m = self.found(low)
            return m.address if kind == _MAP_FD else m.lookup(bytes(4), 0) + high

        made = Code(assemble(text), name="test", resolve=resolve, base=self._base)
        self._base += _CODE_ROOM
        self.services.codes.append(made)
        return made

    def run(self, text: str | Code, *args: int, cpu: int = 0, context: Any = None) -> int:
        """r0 as a signed number of 64 bits."""
        code = self.code(text) if isinstance(text, str) else text
        on = self.services.cpu(cpu)
        self.services.enter(on, context)
        result = on.run(code, *(args or ((context.address,) if context is not None else ())))
        self.services.leave(on)
        return result - (1 << 64) if result >> 63 else result

    def bytes(self, data: bytes, kind: str = "kernel", writable: bool = True) -> int:
        """The address of some bytes in memory."""
        region = self.memory.alloc(len(data), kind, writable=writable)
        region.data[:] = data
        return region.address

    def context(self, size: int = 64, data: bytes = b"") -> Context:
        """A context of bytes."""
        region = self.memory.alloc(max(size, len(data)), "ctx", name="context")
        region.data[: len(data)] = data
        return Context(region)

    def packet(self, data: bytes, **facts: Any) -> Fields:
        return Fields(self, data, **facts)


class Values:
    """Fields that a test's context has, any of them."""

    def __getattr__(self, name: str) -> int:
        return 0


class Fields(Context):
    """A packet's context without a layout."""

    def __init__(self, machine: Asm, data: bytes, *, xdp: bool = False, **facts: Any) -> None:
        super().__init__(machine.memory.alloc(64, "ctx", name="packet"))
        self.fields = Values()  # type: ignore[assignment]
        self.packet = Packet(machine.memory, data, **facts)
        self.fields.protocol = int.from_bytes(data[12:14], "little")
        self._skb = not xdp


def in_kernel(text: str, data: bytes = bytes(64), *, type: int = 3) -> tuple[int, bytes]:
    """r0 (32 bits, signed) and the packet after a run in the kernel, by default as a tc program."""
    calls = kernel()
    prog = calls.prog_load(ProgAttr(type, assemble(text), "GPL", "test"))
    try:
        done = calls.prog_test_run(prog, data=data, out_size=len(data) + 256)
    finally:
        calls.close(prog)
    result = done.retval & 0xFFFFFFFF
    return result - (1 << 32) if result >> 31 else result, done.data


def syscall(text: str, size: int) -> bytes:
    """The context of a program of type syscall after it ran in the kernel; `size` zero bytes at first."""
    calls = kernel()
    attr = ProgAttr(31, assemble(text), "GPL", "test")
    attr.flags = 1 << 4  # sleepable
    prog = calls.prog_load(attr)
    context = bytearray(size)
    try:
        calls.prog_test_run(prog, ctx=context, repeat=0, ctx_out=False)
    finally:
        calls.close(prog)
    return bytes(context)


__all__ = ["Asm", "assemble", "in_kernel", "syscall"]
