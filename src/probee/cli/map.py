"""`probee map`: the maps in the kernel, and what is in them."""

from __future__ import annotations

from .grammar import command

HELP = """
usage: probee map show|list [MAP]
       probee map dump       MAP
       probee map lookup     MAP key DATA
       probee map update     MAP key DATA value VALUE [any | exist | noexist]
       probee map delete     MAP key DATA
       probee map getnext    MAP [key DATA]
       probee map create     PATH type TYPE key SIZE value SIZE entries N name NAME [flags F] [inner_map MAP]
       probee map pin        MAP PATH
       probee map freeze     MAP
       probee map peek|pop|dequeue   MAP                 (queues and stacks)
       probee map push|enqueue       MAP value VALUE
       probee map event_pipe MAP [cpu N index M]         (perf event arrays)

Words and JSON (-j) are those of bpftool, and words may be abbreviated. Where a map has BTF, its keys and
values are shown by their types, and may be given so.

  MAP    id N | name NAME | pinned PATH
  DATA   bytes:        key 1 0 0 0      key 0x01 0 0 0      key hex 01 00 00 00
         typed:        key 7      key '{"pid": 7, "comm": "bash"}'      key 10.0.0.0/8
  VALUE  DATA, or for maps that hold maps or programs:  value id N | name NAME | pinned PATH
         global variables:  value '{"hits": 0}'  (those that are not named stay as they are)

options:
  -j, --json   JSON, with bpftool's fields        -p, --pretty  the same, indented
  -f, --bpffs  show where maps are pinned         -n, --nomount never mount a BPF file system

examples:
  probee map show
  probee map dump name counts
  probee map update name counts key 7 value '{"packets": 3}'
  probee map lookup id 12 key 1 0 0 0
  probee map update name tool.bss value '{"enabled": true}'
  probee map create /sys/fs/bpf/seen type hash key 4 value 8 entries 1024 name seen
"""


def main(argv: list[str]) -> int:
    return command("map", VERBS, HELP, argv)


# In bpftool's order: `probee map p` is pin as `bpftool map p` is.
VERBS = {
    "show": "map_show.show",
    "list": "map_show.show",
    "dump": "map_dump.dump",
    "update": "map_write.update",
    "lookup": "map_dump.lookup",
    "getnext": "map_dump.getnext",
    "delete": "map_write.delete",
    "pin": "map_write.pin",
    "event_pipe": "map_events.event_pipe",
    "create": "map_write.create",
    "peek": "map_dump.lookup",
    "push": "map_write.update",
    "enqueue": "map_write.update",
    "pop": "map_write.pop",
    "dequeue": "map_write.pop",
    "freeze": "map_write.freeze",
}
