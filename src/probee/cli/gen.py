"""`probee gen`: modules, objects and types made from objects; `probee link -o`, `probee btf min-core`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..btf import open_btf
from ..obj import read_object
from .grammar import Words, Wrong, command
from .output import Output

HELP = """
usage: probee gen module   OBJECT.o [name NAME] [record MAP=STRUCT]… [output FILE.py]
       probee gen object   OUTPUT.o OBJECT.o [OBJECT.o…]
       probee gen min-core BTF_FILE OUTPUT OBJECT.o [OBJECT.o…]

`module` writes a Python module that embeds the object and has its maps, programs, records and globals as
typed attributes: what a skeleton is in C. (`gen skeleton` is the same.) `record` says which struct the
records of a ring or perf buffer are; it has to be in the object's types. `object` links objects into one.
`min-core` writes the part of a kernel's BTF that the objects ask for, for kernels that ship none.

examples:
  probee gen module tcplife.bpf.o record events=event output tcplife.py
  probee gen object all.bpf.o first.bpf.o second.bpf.o
  probee gen min-core /sys/kernel/btf/vmlinux small.btf tcplife.bpf.o

  import tcplife
  with tcplife.Tcplife(values={"only_pid": 7}) as it:
      it.attach()
      for event in it.maps.events:
          print(event.pid, event.comm)
"""
_LINK_HELP = """
usage: probee link -o OUTPUT.o OBJECT.o [OBJECT.o…]

Links BPF objects into one: sections of a name follow each other, names that one leaves open are found in the
others, types are merged, debug information is left out. `probee link show` lists what is attached instead.
"""


def main(argv: list[str]) -> int:
    verbs = {
        "module": module,
        "skeleton": module,
        "object": object_,
        "min-core": min_core,
        "min_core_btf": min_core,
    }
    return command("gen", verbs, HELP, argv)


def module(words: Words, output: Output) -> int:
    from ..obj.python_module import python_module
    from ..skeleton import packed

    path = words.next("OBJECT.o")
    name, target = _stem(path), ""
    records: dict[str, str] = {}
    while word := words.take("name", "record", "output"):
        if word == "name":
            name = words.next("NAME")
        elif word == "output":
            target = words.next("FILE.py")
        else:
            ring, equals, struct = words.next("MAP=STRUCT").partition("=")
            if not (ring and equals and struct):
                raise Wrong("record needs MAP=STRUCT, as in events=event")
            records[ring] = struct
    words.end()
    text = python_module(Path(path).read_bytes(), name, packed, records)
    if target:
        Path(target).write_text(text)
    else:
        print(text, end="")
    return 0


def object_(words: Words, output: Output) -> int:
    target = words.next("OUTPUT.o")
    _link(target, words.rest())
    return 0


def link(argv: list[str]) -> int:
    """`probee link -o OUTPUT.o OBJECT.o…`."""
    if "-h" in argv or "--help" in argv:
        print(_LINK_HELP.strip())
        return 0
    words = list(argv)
    at = next(i for i, word in enumerate(words) if word in ("-o", "--output"))
    target = words.pop(at + 1) if at + 1 < len(words) else ""
    del words[at]
    if not target:
        print("probee link: -o needs a file", file=sys.stderr)
        return 2
    try:
        _link(target, words)
    except Wrong as wrong:
        print(f"probee link: {wrong}", file=sys.stderr)
        return 2
    return 0


def _link(target: str, sources: list[str]) -> None:
    from ..obj.linker import link as link_objects

    if not sources:
        raise Wrong("OBJECT.o is missing")
    _replace(target, link_objects([(path, Path(path).read_bytes()) for path in sources]))


def min_core(words: Words, output: Output) -> int:
    from ..btf.min_core import min_core as cut

    source, target = words.next("BTF_FILE"), words.next("OUTPUT")
    paths = words.rest()
    if not paths:
        raise Wrong("OBJECT.o is missing")
    specs = [read_object(path) for path in paths]
    objects = [
        (spec.btf, [r for program in spec.programs.values() for r in program.link().core])
        for spec in specs
        if spec.btf is not None
    ]
    _replace(target, cut(open_btf(source), objects))
    return 0


def _replace(target: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    unfinished = f"{target}.{os.getpid()}"
    try:
        Path(unfinished).write_bytes(content)
        os.replace(unfinished, target)
    except OSError:
        Path(unfinished).unlink(missing_ok=True)
        raise


def _stem(path: str) -> str:
    return os.path.basename(path).split(".", 1)[0]
