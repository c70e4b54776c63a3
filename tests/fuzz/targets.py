"""What the fuzzer feeds: each target takes bytes, and may only raise probee's own errors.

`SEEDS` give it something to start from; without them it would spend its time on finding magic numbers.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from probee.errors import ProbeeError

HERE = Path(__file__).parent
Target = Callable[[bytes], None]


def read_elf(data: bytes) -> None:
    from probee.obj import read_object

    spec = read_object(data, lenient=True)
    for program in spec.programs.values():
        with contextlib.suppress(ProbeeError):
            program.link()


def link_objects(data: bytes) -> None:
    from probee.obj.linker import link

    link([("a", data)])
    link([("a", data), ("b", data)])


def read_btf(data: bytes) -> None:
    from probee.btf import render_c, render_python
    from probee.btf.merge import dedup
    from probee.btf.parser import Btf

    btf = Btf.parse(data)
    for use in (render_c, render_python, dedup):
        with contextlib.suppress(ProbeeError):
            use(btf)


def read_values(data: bytes) -> None:
    """Codecs of every type, on the bytes themselves."""
    from probee.btf.parser import Btf
    from probee.btf.values import Codecs

    btf = Btf.parse(data)
    codecs = Codecs(btf)
    for id in range(1, min(len(btf), 200)):
        with contextlib.suppress(ProbeeError):
            codec = codecs.get(id)
            if codec.size <= len(data):
                codec.unpack(data)


def read_btf_ext(data: bytes) -> None:
    from probee.btf.build import BtfBuilder
    from probee.btf.ext import BtfExt

    builder = BtfBuilder()
    builder.string("xdp")
    BtfExt.parse(data, builder.btf())


def resolve_core(data: bytes) -> None:
    """CO-RE of one half of the bytes against the other."""
    from probee.btf.core import Relocator
    from probee.btf.ext import CoreReloc
    from probee.btf.parser import Btf

    half = len(data) // 2
    local, target = Btf.parse(data[:half]), Btf.parse(data[half:])
    relocator = Relocator(local, target)
    for id in range(1, min(len(local), 20)):
        for kind in range(13):
            with contextlib.suppress(ProbeeError):
                relocator.resolve(CoreReloc(0, id, "0:1:0" if kind < 6 else "0", kind))


def read_log(data: bytes) -> None:
    from probee.verifier.explain import explain

    found = explain(data.decode("utf-8", "replace"))
    found.message("program")


def read_program(data: bytes) -> None:
    """A user-space binary or library: symbols, build id, USDT notes."""
    from probee.symbols.elf import Elf
    from probee.symbols.usdt import probes_of

    with Elf("fuzz", data) as elf:
        for use in (lambda: elf.find("main"), lambda: list(elf.symbols()), lambda: elf.build_id()):
            with contextlib.suppress(ProbeeError):
                use()
        for probe in probes_of(elf):
            with contextlib.suppress(ProbeeError):
                _ = probe.arguments


def read_usdt_arguments(data: bytes) -> None:
    from probee.symbols.usdt_args import parse

    for machine in (62, 183):  # x86-64, aarch64
        with contextlib.suppress(ProbeeError):
            parse(data.decode("utf-8", "replace"), machine)


def demangle(data: bytes) -> None:
    from probee.symbols.demangle import demangle as words

    words(data.decode("utf-8", "replace"))


def read_proc(data: bytes) -> None:
    """Files of /proc, /sys and /etc."""
    from probee.symbols.files import parse_cache
    from probee.symbols.kallsyms import KernelSymbols
    from probee.symbols.process import parse_maps
    from probee.sys.bpf import cpu_list
    from probee.sys.tracefs import parse_format

    text = data.decode("utf-8", "replace")
    with contextlib.suppress(ProbeeError):
        parse_maps(data)
    with contextlib.suppress(ProbeeError):
        parse_format(text)
    with contextlib.suppress(ProbeeError):
        list(parse_cache(data))
    with contextlib.suppress(ProbeeError, ValueError):
        cpu_list(text[:100])
    symbols = KernelSymbols(data)
    symbols.find("main")
    symbols.matching("*a*")
    symbols.at(0x1000)


def disassemble(data: bytes) -> None:
    from probee.isa import disassemble as listing

    listing(data[: len(data) // 8 * 8])


def assemble(data: bytes) -> None:
    from probee.isa import assemble as code

    code(data.decode("utf-8", "replace"))


def read_kconfig(data: bytes) -> None:
    from probee.kernel.features.system import parse_config

    parse_config(data.decode("utf-8", "replace"))


def read_link_info(data: bytes) -> None:
    from probee.kernel.link_info import decode

    raw = data[:256].ljust(256, b"\0")
    decode(raw, lambda request: raw).to_dict()


TARGETS: dict[str, Target] = {
    "elf": read_elf,
    "linker": link_objects,
    "btf": read_btf,
    "values": read_values,
    "btf-ext": read_btf_ext,
    "core": resolve_core,
    "verifier-log": read_log,
    "program": read_program,
    "usdt-arguments": read_usdt_arguments,
    "demangle": demangle,
    "proc": read_proc,
    "disassemble": disassemble,
    "assemble": assemble,
    "link-info": read_link_info,
    "kconfig": read_kconfig,
}


def small_object() -> bytes:
    """An object made here, without a compiler: a program, a map, types."""
    from probee.obj.elf_write import OutSection, OutSymbol, write

    code = OutSection("xdp", 1, 6)
    code.data += bytes.fromhex("b700000002000000 9500000000000000".replace(" ", ""))
    code.align = 8
    types = OutSection(".BTF", 1, 0)
    types.data += small_btf()
    licence = OutSection("license", 1, 3)
    licence.data += b"GPL\0"
    program = OutSymbol("pass", type=2, bind=1, section=1, size=16)
    return write([code, types, licence], [program], "little")


def small_btf() -> bytes:
    from probee.btf.build import BtfBuilder

    builder = BtfBuilder()
    number = builder.int_("int", 4, 1)
    char = builder.int_("char", 1, 2)
    members = [("next", builder.ptr(number), 0), ("name", builder.array(char, 16), 64)]
    node = builder.struct("node", 24, members)
    builder.typedef("node_t", builder.const(node))
    builder.enum("kind", [("A", 0), ("B", 1)])
    builder.func("pass", builder.func_proto(number, [("ctx", builder.ptr(node))]))
    return builder.build()


def seeds(name: str) -> Iterator[bytes]:
    """Inputs a target begins with."""
    if name in ("elf", "linker"):
        yield small_object()
    elif name in ("btf", "values"):
        yield small_btf()
    elif name == "core":
        yield small_btf() * 2
    elif name == "btf-ext":
        head = struct.pack("<HBBI6I", 0xEB9F, 1, 0, 32, 0, 20, 20, 0, 20, 0)
        yield head + struct.pack("<5I", 8, 1, 1, 0, 1)  # one function in section "xdp"
    elif name == "verifier-log":
        yield b"0: R1=ctx() R10=fp0\n; x = *p; @ a.py:3\n0: (61) r0 = *(u32 *)(r1 +0)\n"
        yield b"R1 invalid mem access 'scalar'\nprocessed 7 insns (limit 1000000)\n"
        yield b"from 1 to 3: R0=0 R1_w=map_value(ks=4,vs=8,smin=-3,umax=9)\ninvalid access to map value\n"
    elif name == "program":
        yield Path("/proc/self/exe").read_bytes()[:20000]
    elif name == "usdt-arguments":
        yield b"-4@%eax 8@-8(%rbp) 4@$5 8@(%rax,%rbx,8)"
        yield b"8@x0 -4@[sp, 12] 4@5"
    elif name == "demangle":
        yield b"_ZN4core3fmt9Formatter3pad17h0123456789abcdefE"
        yield b"_RNvCs1234_7mycrate3foo"
    elif name == "proc":
        yield b"00400000-00401000 r-xp 00000000 08:01 7 /bin/true\n"
        yield b"ffffffff81000000 T _stext\nffffffff81000010 t main\t[mod]\n"
        yield b"name: x\nID: 7\nformat:\n\tfield:int a;\toffset:8;\tsize:4;\tsigned:1;\n"
        yield b"glibc-ld.so.cache1.1" + bytes(28)
    elif name == "assemble":
        yield b"r0 = 1\nif r1 > 5 goto +1\nexit\n"
    else:
        yield bytes(64)


def stored(name: str) -> Iterator[bytes]:
    """Inputs that once went wrong, kept in `crashes/TARGET-*.gz`."""
    for path in sorted(HERE.glob(f"crashes/{name}-*.gz")):
        yield gzip.decompress(path.read_bytes())
