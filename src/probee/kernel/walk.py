"""Reading a large hash map with a program in the kernel, three times as fast as in batches.

`bpf_for_each_map_elem` (Linux 5.13) calls a function of the program for each entry, which copies it into an
array map that is mapped into this process; a program of type `syscall` (Linux 5.14) runs it. No locks are
taken: see `KeyedMap.to_numpy` for what that means. Whatever the kernel lacks or refuses makes `walk` return
None.
"""

from __future__ import annotations

from mmap import PAGESIZE

from ..btf.build import BtfBuilder
from ..isa.asm import assemble
from ..sys.bpf import ProgAttr
from .maps import ARRAY, HASH, LRU_HASH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .maps import KeyedMap

BPF_F_MMAPABLE = 1 << 10
BPF_F_SLEEPABLE = 1 << 4
_PROG_TYPE_SYSCALL = 31
_MOST_BYTES = 256 << 20  # kernel memory for the copy; the verifier knows offsets into values up to 512 MiB
_MOST_ENTRY = 512  # bytes of key and value, copied by unrolled code

_PROGRAM = """
    r1 = map_fd({map}, 0x0) ll
    r2 = func(each) ll
    r3 = 0
    r4 = 0
    call 164
    r0 = 0
    exit
each:
    r5 = map_value({out}, 0x0) ll
    r0 = *(u64 *)(r5 + 0)
    r1 = r0
    r1 += 1
    *(u64 *)(r5 + 0) = r1
    if r0 >= {room} goto full
    r0 *= {stride}
    r5 += r0
{copy}
full:
    r0 = 0
    exit
"""
_EACH = 9  # index of the instruction at `each`


def fits(m: KeyedMap) -> bool:
    """Whether a map is of a kind that `walk` reads."""
    return (
        m.type in (HASH, LRU_HASH)
        and m.key_size + m.span <= _MOST_ENTRY
        and m.max_entries * _stride(m) < _MOST_BYTES
    )


def _stride(m: KeyedMap) -> int:
    return (m.key_size + 7 & ~7) + (m.span + 7 & ~7)


def walk(m: KeyedMap) -> Any:
    """Keys and values of a map as an array of 64-bit words, a row for each entry: the key's words come first.

    None if the kernel can't do it.
    """
    import numpy as np

    kernel = m._kernel
    stride = _stride(m)
    size = 8 + m.max_entries * stride
    descriptors: list[int] = []
    try:
        out = kernel.map_create(ARRAY, 4, size, 1, flags=BPF_F_MMAPABLE, name="probee_walk")
        descriptors.append(out)
        types, main, each = _types()
        btf = kernel.btf_load(types)
        descriptors.append(btf)
        attr = ProgAttr(_PROG_TYPE_SYSCALL, _code(m, out, stride), "GPL", "probee_walk")
        attr.flags = BPF_F_SLEEPABLE
        attr.btf_fd = btf
        attr.func_info = np.array([[0, main], [_EACH, each]], np.uint32).tobytes()
        prog = kernel.prog_load(attr)
        descriptors.append(prog)
        memory = kernel.mmap(out, (size + PAGESIZE - 1) // PAGESIZE * PAGESIZE)
        kernel.prog_test_run(prog, repeat=0)
    except OSError:
        return None
    finally:
        for fd in descriptors:
            kernel.close(fd)
    words: Any = np.frombuffer(memory, np.uint64, size // 8)
    count = int(words[0])
    if not 0 < count <= m.max_entries:
        return None
    rows = words[1 : 1 + count * (stride // 8)].reshape(count, stride // 8)
    unique = _unique(np, rows[:, : (m.key_size + 7) // 8], m.key_size)
    return rows if unique is None else rows[unique]


def _code(m: KeyedMap, out: int, stride: int) -> bytes:
    lines: list[str] = []
    for register, size, to in ((2, m.key_size, 8), (3, m.span, 8 + (m.key_size + 7 & ~7))):
        at = 0
        for width in (8, 4, 2, 1):
            while size - at >= width:
                lines.append(f"    r1 = *(u{width * 8} *)(r{register} + {at})")
                lines.append(f"    *(u{width * 8} *)(r5 + {to + at}) = r1")
                at += width
    text = _PROGRAM.format(map=m.fd, out=out, room=m.max_entries, stride=stride, copy="\n".join(lines))
    return assemble(text)


def _types() -> tuple[bytes, int, int]:
    """BTF that the kernel wants for callbacks, with the ids of `main` and `each`."""
    b = BtfBuilder()
    number = b.int_("long", 8, 1)
    pointer = b.ptr(0)
    main = b.func("walk", b.func_proto(number, [("ctx", pointer)]))
    params = [(name, pointer) for name in ("map", "key", "value", "ctx")]
    each = b.func("each", b.func_proto(number, params), 0)
    return b.build(), main, each


def _unique(np: Any, keys: Any, size: int) -> Any:
    """The rows with the first of each key; None if there is no key twice."""
    if size <= 4:
        mixed = keys[:, 0].astype(np.uint32)
    else:
        mixed = keys[:, 0].copy()
        for column in range(1, keys.shape[1]):
            mixed *= np.uint64(0x9E3779B97F4A7C15)
            mixed ^= keys[:, column]
    mixed.sort()
    if not (mixed[1:] == mixed[:-1]).any():
        return None
    whole = np.ascontiguousarray(keys).view(f"V{8 * keys.shape[1]}").ravel()
    return np.sort(np.unique(whole, return_index=True)[1])
