"""`probee prog`: programs that are loaded, and loading them."""

from __future__ import annotations

from .grammar import command

HELP = """
usage: probee prog show|list [PROG]
       probee prog dump xlated PROG [file FILE | opcodes | linum | visual]
       probee prog dump jited  PROG [file FILE | opcodes | linum]
       probee prog pin PROG PATH
       probee prog load OBJECT.o PATH [type TYPE] [map {idx N | name NAME} MAP]… [pinmaps FOLDER] [autoattach]
       probee prog loadall OBJECT.o FOLDER …         (the same options)
       probee prog load OBJECT.o --all [--btf FILE] [--lenient]
       probee prog attach|detach PROG ATTACH_TYPE [MAP]
       probee prog run PROG data_in FILE [data_out FILE [data_size_out N]]
                            [ctx_in FILE [ctx_out FILE [ctx_size_out N]]] [repeat N]
       probee prog profile PROG [duration SECONDS]
       probee prog tracelog [stdout|stderr PROG]

The programs in the kernel, whoever loaded them. Words and JSON (-j) are those of bpftool; words may be
abbreviated: `probee prog d x i 7`.

  PROG         id N | name NAME | tag TAG | pinned PATH
  MAP          id N | name NAME | pinned PATH
  ATTACH_TYPE  sk_msg_verdict | sk_skb_verdict | sk_skb_stream_verdict | sk_skb_stream_parser | flow_dissector

`load` verifies and pins the first program of an object, `loadall` all of them; `load … --all` only verifies
each on its own terms and says which the kernel takes. `profile` counts and times runs.

options:
  -j, --json     JSON, with bpftool's fields        -p, --pretty  the same, indented
  -f, --bpffs    show where things are pinned       -d, --debug   the verifier's full log
  --btf FILE     the types of another kernel, for CO-RE
  --lenient      section names and maps of other loaders than libbpf are fine as well

examples:
  probee prog show
  probee prog show name on_exec
  probee prog dump xlated id 7 linum
  probee prog loadall tool.bpf.o /sys/fs/bpf/tool pinmaps /sys/fs/bpf/tool/maps autoattach
  probee prog load tool.bpf.o --all -j
  probee prog run name my_xdp data_in packet.bin data_out - repeat 1000
  probee prog profile id 7 duration 5
"""


def main(argv: list[str]) -> int:
    return command("prog", VERBS, HELP, argv)


# In bpftool's order: `probee prog l` is list as `bpftool prog l` is.
VERBS = {
    "show": "prog_show.show",
    "list": "prog_show.show",
    "dump": "prog_dump.dump",
    "pin": "prog_attach.pin",
    "load": "prog_load.load_first",
    "loadall": "prog_load.load_all",
    "attach": "prog_attach.attach",
    "detach": "prog_attach.detach",
    "tracelog": "tracelog.tracelog",
    "run": "prog_run.run",
    "profile": "profile.profile",
}
