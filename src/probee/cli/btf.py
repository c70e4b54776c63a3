"""`probee btf`: type information, of the kernel, of programs and maps, of files."""

from __future__ import annotations

from .grammar import command

HELP = """
usage: probee btf show|list [id N]
       probee btf dump SOURCE [format raw|c|python] [root_id N]…
       probee btf min-core BTF_FILE OUTPUT OBJECT.o…

BTF objects in the kernel, and types as text. Words and JSON (-j) are those of bpftool.

  SOURCE   id N | prog PROG | map MAP [key | value | kv | all] | file FILE
  PROG     id N | name NAME | tag TAG | pinned PATH
  MAP      id N | name NAME | pinned PATH
  FILE     /sys/kernel/btf/vmlinux, a module's file beside it, raw BTF, or a BPF object

`format c` is a header that compiles (vmlinux.h), `format python` a module of probee.Struct classes, `format
raw` the records as they are. With root_id there are only these types, and what they need. `min-core` writes
the part of a kernel's BTF that the objects' CO-RE relocations use.

options:
  -j, --json         JSON, with bpftool's fields (show, and dump … format raw)
  -B, --base-btf F   what the BTF is split on (a module's: found by itself)

examples:
  probee btf show
  probee btf dump file /sys/kernel/btf/vmlinux format c > vmlinux.h
  probee btf dump map name counts format python
  probee btf dump id 1 root_id 100 format c
"""

VERBS = {
    "show": "btf_show.show",
    "list": "btf_show.show",
    "dump": "btf_dump.dump",
    "min-core": "gen.min_core",
}


def main(argv: list[str]) -> int:
    return command("btf", VERBS, HELP, argv)
