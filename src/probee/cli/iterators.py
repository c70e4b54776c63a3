"""`probee iter`: programs that walk through objects of the kernel and write what they find."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import ProbeeError
from ..kernel.links.iter import IterLink
from ..kernel.objects import load, open_object
from . import seek
from .grammar import Words, command
from .output import Output
from .run import check_file

HELP = """
usage: probee iter pin  OBJECT.o PATH [WALK]
       probee iter read OBJECT.o [WALK]

`pin` sets an iterator up and pins it, as bpftool does: each `cat PATH` is a walk. `read` prints one walk, and
leaves nothing behind.

  WALK  map MAP | pid N | tid N | cgroup PATH [order pre | post | up | self | children]    what to walk
        program NAME                         which of the object's programs; by default the first iterator
  MAP   id N | name NAME | pinned PATH

examples:
  probee iter read tasks.bpf.o pid 1
  probee iter pin map_elements.bpf.o /sys/fs/bpf/elements map name counts
"""
_ORDERS = ("pre", "post", "up", "self", "children")


def main(argv: list[str]) -> int:
    return command("iter", {"pin": pin, "read": read}, HELP, argv)


@contextmanager
def _set_up(path: str, words: Words, output: Output) -> Iterator[IterLink]:
    """The iterator of an object, with what it is to walk."""
    options: dict[str, Any] = {}
    name = ""
    given: seek.Handle | None = None
    try:
        while words:
            what = words.one_of("map", "pid", "tid", "cgroup", "order", "program")
            if what == "map":
                given = options["map"] = seek.map_(words)
            elif what in ("pid", "tid"):
                options[what] = words.number("N")
            elif what == "cgroup":
                options[what] = words.next("PATH")
            elif what == "order":
                options[what] = words.one_of(*_ORDERS)
            else:
                name = words.next("NAME")
        check_file(path)
        spec = open_object(path, lenient=output.lenient)
        found = [p.name for p in spec.programs.values() if p.section_kind in ("iter", "iter.s")]
        if not found or (name and name not in found):
            has = f"its iterators are {', '.join(found)}" if found else "it has no iterators"
            raise ProbeeError(f"{path}: {has}")
        chosen = name or found[0]
        with (
            load(spec, programs=[chosen], btf=output.btf or None) as collection,
            collection.programs[chosen].attach_iter(**options) as link,
        ):
            yield link
    finally:
        if given is not None:
            given.close()


def pin(words: Words, output: Output) -> int:
    from .pins import pin_at

    path, place = words.next("OBJECT.o"), words.next("PATH")
    with _set_up(path, words, output) as link:
        pin_at(link.fd, place, "the iterator", output)
    output.done()
    return 0


def read(words: Words, output: Output) -> int:
    with _set_up(words.next("OBJECT.o"), words, output) as link:
        if output.json:
            output.emit(link.text().splitlines())
            return 0
        sys.stdout.flush()
        sys.stdout.buffer.write(link.read())
        sys.stdout.buffer.flush()
    return 0
