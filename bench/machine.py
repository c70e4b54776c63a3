"""The machine's engines: native code against the kernel's own, on the same bytecode; the interpreter's speed;
how long native code takes to make and to come out of the cache.

Run as root: `python bench/machine.py [--json] [--ubpf LIBUBPF.so]`. Each program runs many times inside
BPF_PROG_TEST_RUN and many times in the machine's native code, in turns; the best round of each counts, since
all that a busy machine does is to add. The reach: verified native code 0.95 times the kernel's time in the
geometric mean, checked 1.6 times, 0.7 times that of uBPF's native code; 8 million instructions a second in
the interpreter; 10 ms to make native code of 20 instructions, 1 ms from the cache. The exit code is 1 if one
is missed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable

from probee.errors import ProbeeError
from probee.isa import Insn, assemble, decode, encode
from probee.machine import Code
from probee.machine.helpers.services import Services
from probee.machine.jit_compile import compile_object
from probee.machine.jit_link import Mapped, link
from probee.machine.maps import Attributes
from probee.machine.native import make, native_of, repeat
from probee.sys.bpf import Kernel, ProgAttr

ROUNDS = 9
TARGET_NS = 20_000_000  # what one round takes
REACH = {"verified": 0.95, "checked": 1.6, "ubpf": 0.7}
REACH_MIPS = 8.0
REACH_COMPILE_MS, REACH_CACHED_MS = 10.0, 1.0
VALUE = 16384  # bytes of the array's only value, which the programs work on
DATA, ARRAY, HASH = 1, 2, 3  # the maps, by the numbers in the programs' text
XDP = 6

# r6 is the data: numbers at 0, 64 words at 64, bytes at 1024, strings at 2048 and 2560, packets at 3072,
# the source of copies at 8192, and what is written at 12288.
START = "r6 = map_value(1, 0) ll\n"

PROGRAMS = {
    "prime": """
        r1 = *(u64 *)(r6 + 0)
        r0 = 0
        r2 = 2
        again:
        r3 = r1
        r3 %= r2
        if r3 == 0 goto out
        r0 += r2
        r2 += 1
        if r2 < 256 goto again
        out:
        exit
    """,
    "fib": """
        r1 = *(u64 *)(r6 + 8)
        r0 = *(u64 *)(r6 + 16)
        r2 = 0
        again:
        r3 = r0
        r0 += r1
        r1 = r3
        r2 += 1
        if r2 < 1000 goto again
        exit
    """,
    "memcpy": """
        r7 = r6
        r7 += 8192
        r8 = r6
        r8 += 12288
        r2 = 0
        again:
        r3 = *(u64 *)(r7 + 0)
        *(u64 *)(r8 + 0) = r3
        r7 += 8
        r8 += 8
        r2 += 8
        if r2 < 4088 goto again
        r0 = *(u64 *)(r6 + 12800)
        exit
    """,
    "hash": """
        r7 = r6
        r7 += 1024
        r0 = *(u64 *)(r6 + 24)
        r2 = 0
        again:
        r3 = *(u8 *)(r7 + 0)
        r0 ^= r3
        r0 *= 16777619
        r4 = r0
        r4 >>= 13
        r0 += r4
        r7 += 1
        r2 += 1
        if r2 < 1024 goto again
        exit
    """,
    "strcmp": """
        r7 = r6
        r7 += 2048
        r8 = r6
        r8 += 2560
        r0 = 0
        again:
        r3 = *(u8 *)(r7 + 0)
        r4 = *(u8 *)(r8 + 0)
        if r3 != r4 goto out
        if r3 == 0 goto out
        r7 += 1
        r8 += 1
        r0 += 1
        if r0 < 500 goto again
        out:
        exit
    """,
    "switch": """
        r7 = r6
        r7 += 1024
        r0 = 0
        r2 = 0
        again:
        r3 = *(u8 *)(r7 + 0)
        r3 &= 7
        if r3 == 0 goto zero
        if r3 == 1 goto one
        if r3 == 2 goto two
        if r3 == 3 goto three
        if r3 == 4 goto four
        if r3 == 5 goto five
        if r3 == 6 goto six
        r0 += 77
        goto next
        zero:
        r0 += 3
        goto next
        one:
        r0 ^= 91
        goto next
        two:
        r0 *= 5
        goto next
        three:
        r0 -= 19
        goto next
        four:
        r0 |= 64
        goto next
        five:
        r0 >>= 1
        goto next
        six:
        r0 += r0
        next:
        r7 += 1
        r2 += 1
        if r2 < 128 goto again
        exit
    """,
    "log2": """
        r7 = r6
        r7 += 64
        r0 = 0
        r2 = 0
        again:
        r3 = *(u64 *)(r7 + 0)
        r4 = 0
        r5 = 4294967295 ll
        if r3 <= r5 goto low32
        r3 >>= 32
        r4 += 32
        low32:
        if r3 <= 65535 goto low16
        r3 >>= 16
        r4 += 16
        low16:
        if r3 <= 255 goto low8
        r3 >>= 8
        r4 += 8
        low8:
        if r3 <= 15 goto low4
        r3 >>= 4
        r4 += 4
        low4:
        if r3 <= 3 goto low2
        r3 >>= 2
        r4 += 2
        low2:
        if r3 <= 1 goto low1
        r4 += 1
        low1:
        r0 += r4
        r7 += 8
        r2 += 1
        if r2 < 64 goto again
        exit
    """,
    "packets": """
        r7 = r6
        r7 += 3072
        r0 = 0
        r2 = 0
        again:
        r3 = *(u16 *)(r7 + 12)
        r8 = 14
        if r3 != 129 goto plain
        r3 = *(u16 *)(r7 + 16)
        r8 = 18
        plain:
        if r3 != 8 goto next
        r5 = r7
        r5 += r8
        r3 = *(u8 *)(r5 + 0)
        r3 &= 15
        r3 <<= 2
        if r3 < 20 goto next
        r4 = *(u8 *)(r5 + 9)
        r1 = *(u32 *)(r5 + 12)
        r0 ^= r1
        r5 += r3
        if r4 == 6 goto ports
        if r4 != 17 goto next
        ports:
        r1 = *(u16 *)(r5 + 2)
        r1 = be16 r1
        r0 += r1
        next:
        r7 += 128
        r2 += 1
        if r2 < 32 goto again
        exit
    """,
    "array map": """
        r7 = 0
        r8 = 0
        again:
        r1 = r8
        r1 *= 7
        r1 &= 63
        *(u32 *)(r10 - 4) = r1
        r1 = map_fd(2) ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto next
        r1 = *(u64 *)(r0 + 0)
        r7 += r1
        next:
        r8 += 1
        if r8 < 64 goto again
        r0 = r7
        exit
    """,
    "hash map": """
        r7 = 0
        r8 = 0
        again:
        *(u64 *)(r10 - 8) = r8
        r1 = map_fd(3) ll
        r2 = r10
        r2 += -8
        call 1
        if r0 == 0 goto next
        r1 = *(u64 *)(r0 + 0)
        r7 += r1
        next:
        r8 += 1
        if r8 < 64 goto again
        r0 = r7
        exit
    """,
}

TWENTY = """
    r7 = *(u64 *)(r1 + 0)
    r8 = *(u64 *)(r1 + 8)
    r0 = 0
    if r7 == 0 goto out
    again:
    r2 = r7
    r2 >>= 3
    r2 ^= r8
    r0 += r2
    r3 = r0
    r3 &= 255
    if r3 > 100 goto less
    r0 += 7
    less:
    r7 -= 1
    if r7 != 0 goto again
    *(u64 *)(r10 - 8) = r0
    r0 = *(u64 *)(r10 - 8)
    r0 *= 3
    r0 ^= r8
    out:
    r0 += 1
    exit
"""


# Calls a function of uBPF's many times.
LOOP = """
define i64 @loop(ptr %f, i64 %times) nounwind {
  br label %again
again:
  %n = phi i64 [0, %0], [%n1, %again]
  %r = call i64 %f(ptr null, i64 0)
  %n1 = add i64 %n, 1
  %over = icmp uge i64 %n1, %times
  br i1 %over, label %out, label %again
out:
  ret i64 %r
}
"""


def data() -> bytes:
    """What the programs work on."""
    out = bytearray(VALUE)
    struct.pack_into("<QQQQ", out, 0, 65521, 1, 2, 5381)
    for n in range(64):
        struct.pack_into("<Q", out, 64 + 8 * n, (n * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> n)
    for n in range(1024):
        out[1024 + n] = (n * 73 >> 3) & 255
    for start in (2048, 2560):
        out[start : start + 400] = bytes(1 + n % 200 for n in range(400))
    for n in range(32):
        at = 3072 + 128 * n
        vlan = bytes([0x81, 0, 0, 7]) if n % 3 == 0 else b""
        ip = bytes([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6 if n % 2 else 17, 0, 0, 10, 0, 0, n, 10, 0, 1, 1])
        packet = bytes(12) + vlan + b"\x08\0" + ip + struct.pack(">HH", 1000 + n, 80)
        out[at : at + len(packet)] = packet
    out[8192:12288] = bytes(n * 7 & 255 for n in range(4096))
    return bytes(out)


def with_values(code: bytes, values: dict[int, int], source: dict[int, int]) -> bytes:
    """The code with the numbers of maps replaced; `source` gives the kind of reference."""
    insns: list[Insn] = decode(code)
    for n, insn in enumerate(insns):
        if insn.is_wide and insn.src:
            value = values[insn.imm]
            insn.src = source[insn.src]
            insn.imm = struct.unpack("<i", struct.pack("<I", value & 0xFFFFFFFF))[0]
            if not insn.src:
                insns[n + 1].imm = struct.unpack("<i", struct.pack("<I", value >> 32))[0]
    return encode(insns)


class InKernel:
    """The maps and programs in the kernel."""

    def __init__(self) -> None:
        self.kernel = Kernel()
        create = self.kernel.map_create
        self.maps = {DATA: create(2, 4, VALUE, 1), ARRAY: create(2, 4, 8, 64), HASH: create(1, 8, 8, 128)}
        self.kernel.map_update(self.maps[DATA], bytes(4), data())
        for n in range(64):
            self.kernel.map_update(self.maps[ARRAY], struct.pack("<I", n), struct.pack("<Q", n * n))
            self.kernel.map_update(self.maps[HASH], struct.pack("<Q", n), struct.pack("<Q", 3 * n))

    def load(self, code: bytes) -> int:
        """A program's descriptor."""
        return self.kernel.prog_load(
            ProgAttr(XDP, with_values(code, self.maps, {1: 1, 2: 2}), "GPL", "bench")
        )

    def time(self, fd: int, times: int) -> tuple[float, int]:
        """Nanoseconds a run, and what it returned."""
        run = self.kernel.prog_test_run(fd, bytes(64), repeat=times)
        return run.duration, run.retval


class InMachine:
    """The same in the machine."""

    def __init__(self) -> None:
        self.services = Services()
        create = self.services.create_map
        self.maps = {
            DATA: create(Attributes(2, 4, VALUE, 1)),
            ARRAY: create(Attributes(2, 4, 8, 64)),
            HASH: create(Attributes(1, 8, 8, 128)),
        }
        self.maps[DATA].update(bytes(4), data(), 0, 0)
        for n in range(64):
            self.maps[ARRAY].update(struct.pack("<I", n), struct.pack("<Q", n * n), 0, 0)
            self.maps[HASH].update(struct.pack("<Q", n), struct.pack("<Q", 3 * n), 0, 0)
        self.cpu = self.services.cpu(0)
        self.cpu.budget = 1 << 60
        self.context = self.services.memory.alloc(64, "ctx").address

    def resolve(self, slot: int, kind: int, low: int, high: int) -> int:
        """What a wide immediate stands for: a map, or its value."""
        m = self.maps[low]
        return m.address if kind == 1 else m.lookup(bytes(4), 0) + high

    def load(self, code: bytes, *, verified: bool) -> Code:
        """A program ready to run."""
        return Code(code, resolve=self.resolve, verified=verified)

    def time(self, code: Code, times: int) -> tuple[float, int]:
        """Nanoseconds of this thread (the kernel, too, leaves out the time it waits) a run, and r0."""
        self.cpu.engine = "jit-verified" if code.verified else "jit-checked"
        began = time.thread_time_ns()
        result = repeat(self.cpu, code, (self.context,), times)
        return (time.thread_time_ns() - began) / times, result

    def interpret(self, code: Code) -> float:
        """Millions of instructions a second in the interpreter."""
        self.cpu.engine = "interpret"
        best, times = 0.0, 1
        for _ in range(6):
            began = time.thread_time()
            for _ in range(times):
                self.cpu.run(code, self.context)
            took = time.thread_time() - began
            best = max(best, self.cpu.instructions * times / took / 1e6)
            if took < 0.02:
                times *= 4
        return best


class InUbpf:
    """The same in uBPF's native code, but for look-ups: it has no maps."""

    def __init__(self, path: str) -> None:
        self.lib = ctypes.CDLL(path)
        self.lib.ubpf_create.restype = ctypes.c_void_p
        self.lib.ubpf_compile.restype = ctypes.c_void_p
        self.value = ctypes.create_string_buffer(data(), VALUE)
        self.kept: list[object] = []
        self.loop: Callable[[object, int], int] | None = None

    def load(self, code: bytes) -> ctypes._FuncPointer | None:
        """A program as a function; None if uBPF has no way to run it."""
        if any(insn.is_wide and insn.src == 1 for insn in decode(code)):
            return None
        code = with_values(code, {DATA: ctypes.addressof(self.value)}, {2: 0})
        vm, error = ctypes.c_void_p(self.lib.ubpf_create()), ctypes.c_char_p()
        if self.lib.ubpf_load(vm, code, ctypes.c_uint32(len(code)), ctypes.byref(error)):
            raise ProbeeError(f"uBPF: {error.value!r}")
        address = self.lib.ubpf_compile(vm, ctypes.byref(error))
        if not address:
            raise ProbeeError(f"uBPF: {error.value!r}")
        function = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_size_t)(address)
        self.kept.append(vm)
        return function

    def time(self, function: ctypes._FuncPointer, times: int) -> tuple[float, int]:
        """As for the machine, in a loop of native code, too."""
        if self.loop is None:
            self.mapped = Mapped(link(compile_object(LOOP)))
            self.loop = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64)(
                self.mapped.entry("loop")
            )
        began = time.thread_time_ns()
        result = self.loop(ctypes.cast(function, ctypes.c_void_p), times)
        return (time.thread_time_ns() - began) / times, result


def compile_times() -> tuple[float, float]:
    """Milliseconds to make the first native code of 20 instructions (programs that run hundreds of times get
    better code), and to take it from the cache and run it.
    """
    machine = InMachine()
    code = assemble(TWENTY)
    assert len(code) // 8 == 20
    made, cached = [], []
    make(Code(code), "checked")
    kept = os.environ.get("PROBEE_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PROBEE_CACHE"] = folder
        native_of(Code(code), "checked", machine.services)
        machine.cpu.engine = "jit-checked"
        for _ in range(25):
            fresh = Code(code)
            began = time.thread_time()
            make(fresh, "checked", quick=True)
            made.append((time.thread_time() - began) * 1e3)
            fresh = Code(code)
            began = time.thread_time()
            native_of(fresh, "checked", machine.services)
            machine.cpu.run(fresh, machine.context)
            cached.append((time.thread_time() - began) * 1e3)
    if kept is None:
        del os.environ["PROBEE_CACHE"]
    else:
        os.environ["PROBEE_CACHE"] = kept
    return min(made), statistics.median(cached)


def measure(ubpf: InUbpf | None) -> list[dict[str, float | str]]:
    """A row for each program."""
    kernel, machine = InKernel(), InMachine()
    rows: list[dict[str, float | str]] = []
    for name, text in PROGRAMS.items():
        code = assemble(START + text)
        fd = kernel.load(code)
        verified, checked = machine.load(code, verified=True), machine.load(code, verified=False)
        theirs = ubpf.load(code) if ubpf is not None else None
        first = kernel.time(fd, 1000)
        times = max(100, int(TARGET_NS / max(first[0], 1)))
        best = dict.fromkeys(("kernel", "verified", "checked", "ubpf"), math.inf)
        for _ in range(ROUNDS):
            took, expected = kernel.time(fd, times)
            best["kernel"] = min(best["kernel"], took)
            for engine, program in (("verified", verified), ("checked", checked)):
                took, result = machine.time(program, times)
                best[engine] = min(best[engine], took)
                if result & 0xFFFFFFFF != expected:
                    raise ProbeeError(f"{name}: the kernel gives {expected:#x}, the machine {result:#x}")
            if ubpf is not None and theirs is not None:
                best["ubpf"] = min(best["ubpf"], ubpf.time(theirs, times)[0])
        row: dict[str, float | str] = {"program": name, **best, "mips": machine.interpret(verified)}
        rows.append(row)
        kernel.kernel.close(fd)
    return rows


def mean(values: list[float]) -> float:
    """The geometric mean."""
    return math.exp(statistics.fmean(map(math.log, values)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one object with all figures")
    parser.add_argument("--ubpf", metavar="LIBUBPF.so", help="uBPF as a shared library, to compare with")
    options = parser.parse_args()
    if os.geteuid():
        print("needs root: the peer is the kernel", file=sys.stderr)
        return 2
    rows = measure(InUbpf(options.ubpf) if options.ubpf else None)
    made, cached = compile_times()
    ratios = {e: mean([float(r[e]) / float(r["kernel"]) for r in rows]) for e in ("verified", "checked")}
    against = [float(r["verified"]) / float(r["ubpf"]) for r in rows if r["ubpf"] != math.inf]
    if against:
        ratios["ubpf"] = mean(against)
    mips = mean([float(r["mips"]) for r in rows])
    if options.json:
        figures = {"rows": rows, "ratios": ratios, "mips": mips, "compile_ms": made, "cached_ms": cached}
        print(json.dumps({"bench": "machine", "kernel": platform.release(), **figures}))
    else:
        print(f"{'program':<10} {'kernel ns':>10} {'verified':>9} {'checked':>9} {'uBPF':>9} {'MIPS':>7}")
        for r in rows:
            base = float(r["kernel"])
            cells = [f"{float(r[e]) / base:8.2f}x" if r[e] != math.inf else "       --" for e in REACH]
            print(f"{r['program']:<10} {base:>10.0f} {' '.join(cells)} {float(r['mips']):>7.1f}")
        for engine, ratio in ratios.items():
            peer = "uBPF's" if engine == "ubpf" else "the kernel's"
            print(
                f"{'verified' if engine == 'ubpf' else engine}: {ratio:.2f} x {peer} (reach {REACH[engine]})"
            )
        if not against:
            print("uBPF: not compared (give its shared library with --ubpf)")
        print(f"interpreter: {mips:.1f} million instructions/s (reach {REACH_MIPS})")
        print(
            f"native code of 20 instructions: {made:.1f} ms (reach {REACH_COMPILE_MS}), from the cache "
            f"{cached:.2f} ms (reach {REACH_CACHED_MS})"
        )
    ok = all(ratio <= REACH[engine] for engine, ratio in ratios.items())
    ok = ok and mips >= REACH_MIPS and made <= REACH_COMPILE_MS and cached <= REACH_CACHED_MS
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
