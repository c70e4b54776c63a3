"""`probee struct-ops`: interfaces of the kernel that are implemented in BPF."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from .. import sys as kernel_calls
from ..btf import BtfType, kernel_btf
from ..btf.kinds import FUNC_PROTO, STRUCT
from ..errors import ProbeeError
from ..kernel.objects import load
from ..kernel.pins import pin_name
from . import seek, typed
from .code import signature
from .grammar import Words, command
from .map_data import STRUCT_OPS
from .output import Output
from .run import check_file

HELP = """
usage: probee struct-ops show|list [id N | name NAME]
       probee struct-ops dump      [id N | name NAME]
       probee struct-ops register   OBJECT.o [FOLDER]
       probee struct-ops unregister id N | name NAME

Tables of functions that the kernel calls, written in BPF: TCP congestion controls, schedulers (sched_ext) and
others. `register` loads an object and registers its tables. One of section .struct_ops.link is registered as
long as its link lives, which is pinned in FOLDER; detach it with `probee link`. Others stay until they are
unregistered. Words and JSON (-j) are those of bpftool.

examples:
  probee struct-ops
  probee struct-ops dump name my_tcp
  probee struct-ops register my_tcp.bpf.o /sys/fs/bpf/my_tcp
"""
_WRAPPER = "bpf_struct_ops_"
_KEY = bytes(4)


def main(argv: list[str]) -> int:
    return command("struct-ops", VERBS, HELP, argv)


def _tables(words: Words) -> Iterator[seek.Handle]:
    """The struct_ops maps that are meant, one open at a time."""
    how = words.take("id", "name") if words else ""
    if how == "id":
        with seek.open_id(seek.MAP, words.number("ID")) as handle:
            words.end()
            if handle.map().type != STRUCT_OPS:
                raise ProbeeError(f"map {handle.map().id} is no struct_ops map")
            yield handle
        return
    wanted = words.next("NAME")[:15] if how else ""
    words.end()
    found = False
    for id, shown in seek.each(seek.MAP):
        info = shown.map()
        if info.type == STRUCT_OPS and wanted in ("", info.name):
            found = True
            with seek.open_id(seek.MAP, id) as handle:
                yield handle
    if wanted and not found:
        raise ProbeeError(f"there is no struct_ops map with name {wanted}")


def interface(handle: seek.Handle) -> str:
    """The kernel's struct that a map implements: `tcp_congestion_ops`."""
    return kernel_btf().type(handle.map().kernel_value_type_id).name.removeprefix(_WRAPPER)


def show(words: Words, output: Output) -> int:
    found = []
    for handle in _tables(words):
        info = handle.map()
        found.append({"id": info.id, "name": info.name, "kernel_struct_ops": interface(handle)})
    if output.json:
        output.emit(found)
    else:
        rows = [(facts["id"], facts["name"], facts["kernel_struct_ops"]) for facts in found]
        output.table((">ID", "NAME", "INTERFACE"), rows, empty="no struct_ops are registered")
    return 0


def dump(words: Words, output: Output) -> int:
    btf = kernel_btf()
    found: list[dict[str, Any]] = []
    for handle in _tables(words):
        info = handle.map()
        kernel = kernel_calls.kernel()
        value = kernel.map_lookup(handle.fd, _KEY, info.value_size) or bytes(info.value_size)
        type_id = info.kernel_value_type_id
        values = typed.to_json(btf, type_id, value, pointers=_pointer)
        info_type = btf.find("bpf_map_info", STRUCT)
        if info_type is not None:
            raw = kernel.obj_info(handle.fd, max(256, btf.size_of(info_type)))
            found.append({"bpf_map_info": typed.to_json(btf, info_type, raw)})
        found.append({btf.type(type_id).name: values})
    if output.json:
        output.emit(found)
    else:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    return 0


def _pointer(target: BtfType, number: int) -> Any:
    """What a member that points to a function holds: the id of a program."""
    if target.kind != FUNC_PROTO or number > 0xFFFFFFFF:
        return number
    head = signature(target.btf, target.id)
    if not number:
        return f"{head} 0"
    name = "<unknown_prog_name>"
    try:
        with seek.open_id(seek.PROGRAM, number) as handle:
            name = seek.prog_name(handle, handle.program()) or name
    except ProbeeError:
        pass
    return f"{head} {name}/prog_id:{number}"


def register(words: Words, output: Output) -> int:
    from .pins import pin_at

    path = words.next("OBJECT.o")
    folder = words.next("FOLDER") if words else ""
    words.end()
    check_file(path)
    with load(path, lenient=output.lenient, btf=output.btf or None) as collection:
        if not collection.struct_ops:
            raise ProbeeError(f"{path} has no struct_ops")
        needs = [name for name, ops in collection.struct_ops.items() if ops.link]
        if needs and not folder:
            raise ProbeeError(
                f"{needs[0]} is registered by a link, which has to be pinned: give a folder, "
                f"as /sys/fs/bpf/{needs[0]}"
            )
        for name, ops in collection.struct_ops.items():
            link = ops.attach()
            if ops.link:
                with link:
                    place = os.path.join(folder, pin_name(name))
                    pin_at(link.fd, place, f"the link of {name}", output)
                    text = f"map id {ops.map.id}, link id {link.id}, pinned at {place}"
            else:
                text = f"map id {ops.map.id}"
                for fd in link.fds:  # closing the link itself would unregister the table
                    kernel_calls.kernel().close(fd)
            if not output.json:
                print(f"registered {ops.type_name} {name}: {text}")
    output.done()
    return 0


def unregister(words: Words, output: Output) -> int:
    if not words:
        words.one_of("id", "name")
    for handle in _tables(words):
        info = handle.map()
        try:
            kernel_calls.kernel().map_delete(handle.fd, _KEY)
        except OSError as error:
            if error.errno in (95, 524):
                raise ProbeeError(
                    f"{info.name} is registered by a link; `probee link show` finds it, "
                    "`probee link detach` unregisters it"
                ) from None
            raise
        if not output.json:
            print(f"unregistered {interface(handle)} {info.name} (id {info.id})")
    if output.json:
        output.emit([])
    return 0


VERBS = {"show": show, "list": show, "dump": dump, "register": register, "unregister": unregister}
