"""`probee btf dump`: types as C, as Python, or as the records they are."""

from __future__ import annotations

import json
import os
import sys
import zlib
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice

from ..btf import Btf, BtfType, kernel_btf, open_btf
from ..btf.kinds import DECL_TAG, FUNC
from ..errors import ObjectError, ProbeeError
from . import btf_raw, seek
from .grammar import Words, Wrong
from .output import Output

KERNEL = "/sys/kernel/btf/"
_CHUNK = 1000  # types that are written at once
_KFUNC = "bpf_kfunc"
_FASTCALL = "bpf_fastcall"
_ATTRIBUTES = [
    "#ifndef __ksym",
    '#define __ksym __attribute__((section(".ksyms")))',
    "#endif",
    "#ifndef __weak",
    "#define __weak __attribute__((weak))",
    "#endif",
    "#ifndef __bpf_fastcall",
    "#if __has_attribute(bpf_fastcall)",
    "#define __bpf_fastcall __attribute__((bpf_fastcall))",
    "#else",
    "#define __bpf_fastcall",
    "#endif",
    "#endif",
]


def dump(words: Words, output: Output) -> int:
    btf, roots, is_kernel = source(words, output)
    form = "json" if output.json else "raw"
    chosen: list[int] = []
    while words:
        word = words.one_of("format", "root_id", "unsorted")
        if word == "format":
            form = words.one_of("raw", "c", "python")
        elif word == "root_id":
            chosen.append(words.number("ID"))
    if chosen and roots is not None:
        raise Wrong("root_id goes with whole BTF objects, not with the types of a map")
    roots = chosen or roots
    for id in roots or ():
        if not 0 < id < _end(btf):
            raise ProbeeError(f"there is no type {id}; the last is {_end(btf) - 1}")
    if form == "raw" and not output.json:
        lines = (btf_raw.text(btf, t) + "\n" for t in _chosen(btf, roots))
        while chunk := "".join(islice(lines, _CHUNK)):
            sys.stdout.write(chunk)
    elif form in ("json", "raw"):
        _json(btf, roots, output)
    elif output.json:
        raise Wrong(f"there is no JSON of `format {form}`")
    elif form == "c":
        sys.stdout.write(_kernel_header(btf) if is_kernel and roots is None else _header(btf, roots))
    else:
        from ..btf import render_python

        print(render_python(btf, roots).rstrip("\n"))
    return 0


def _header(btf: Btf, roots: Iterable[int] | None) -> str:
    from ..btf import render_c

    return render_c(btf, roots, header=True)


def _kernel_header(btf: Btf) -> str:
    """What is called vmlinux.h. It takes seconds to write, so that of the last kernels is kept."""
    from hashlib import blake2b

    from ..btf import c_source, store

    writer = os.stat(c_source.__file__).st_mtime_ns
    name = f"{blake2b(btf.raw, digest_size=16).hexdigest()}-{writer:x}.h"
    for kept in store.load(name):
        with kept, suppress(zlib.error, UnicodeDecodeError):
            return zlib.decompress(kept).decode()
    body, guard, end = _header(btf, None).rpartition("\n#endif")
    text = body + kfuncs(btf) + guard + end
    store.save(name, zlib.compress(text.encode(), 1))
    return text


def _end(btf: Btf) -> int:
    """The first id that is none."""
    return btf.first_id + len(btf)


def _chosen(btf: Btf, roots: list[int] | None) -> Iterable[BtfType]:
    return btf.own_types() if roots is None else map(btf.type, roots)


def _json(btf: Btf, roots: list[int] | None, output: Output) -> None:
    """Record by record: a kernel has more than a hundred thousand."""
    if output.pretty:
        output.emit({"types": [btf_raw.record(t) for t in _chosen(btf, roots)]})
        return
    write = sys.stdout.write
    encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
    comma = '{"types":['
    for t in _chosen(btf, roots):
        write(comma + encode(btf_raw.record(t)))
        comma = ","
    write(("" if comma == "," else comma) + "]}\n")


def source(words: Words, output: Output) -> tuple[Btf, list[int] | None, bool]:
    """The BTF that the words name, which of its types are meant (None: all), whether it is a kernel's."""
    what = words.one_of("id", "map", "prog", "file")
    if what == "file":
        path = words.next("FILE")
        return from_file(path, output), None, path.startswith(KERNEL)
    if what == "id":
        return seek.btf_by_id(words.number("ID")), None, False
    if what == "prog":
        with seek.program(words) as handle:
            info = handle.program()
        if not info.btf_id:
            raise ProbeeError(f"program {info.id} has no BTF")
        return seek.btf_by_id(info.btf_id), None, False
    with seek.map_(words, seek.READ_ONLY) as handle:
        table = handle.map()
    part = words.take("key", "value", "kv", "all") or "kv"
    if table.kernel_value_type_id:
        return kernel_btf(), [table.kernel_value_type_id], False
    if not table.btf_id:
        raise ProbeeError(f"map {table.name or table.id} has no BTF")
    wanted = {"key": (table.key_type_id,), "value": (table.value_type_id,)}.get(
        part, (table.key_type_id, table.value_type_id)
    )
    roots = None if part == "all" else [id for id in wanted if id]
    return seek.btf_by_id(table.btf_id), roots, False


def from_file(path: str, output: Output) -> Btf:
    """The BTF in a file: raw, or the section of an ELF object."""
    base = None
    if output.base_btf:
        base = open_btf(output.base_btf)
    elif path.startswith(KERNEL) and os.path.basename(path) != "vmlinux":
        base = kernel_btf()
    if os.path.realpath(path) == f"{KERNEL}vmlinux":
        return kernel_btf()
    with open(path, "rb") as file:
        head = file.read(4)
        if head == b"\x7fELF":
            from ..obj.elf import Elf

            section = Elf(head + file.read()).section(".BTF")
            if section is None:
                raise ObjectError(f"{path} has no .BTF section; compile it with -g")
            return Btf.parse(section.data, base)
    try:
        return open_btf(path, base)
    except ObjectError as error:
        raise ObjectError(f"{path}: {error}") from None


def kfuncs(btf: Btf) -> str:
    """Declarations of the kernel functions that programs may call, those that are marked so (Linux 6.10)."""
    from ..btf.c_source import c_type

    tagged: dict[str, dict[str, BtfType]] = {_KFUNC: {}, _FASTCALL: {}}
    for t in btf.own_types():
        if t.kind == DECL_TAG and t.component_idx == -1 and t.name in tagged:
            function = btf.type(t.type)
            if function.kind == FUNC:
                tagged[t.name][function.name] = function
    lines = ["", "/* kernel functions that programs may call */", "#ifndef BPF_NO_KFUNC_PROTOTYPES"]
    lines += _ATTRIBUTES
    for name, function in sorted(tagged[_KFUNC].items()):
        fast = "__bpf_fastcall " if name in tagged[_FASTCALL] else ""
        lines.append(f"extern {fast}{c_type(btf, function.type, name)} __weak __ksym;")
    return "\n".join([*lines, "#endif /* BPF_NO_KFUNC_PROTOTYPES */", ""])
