"""`probee map update|delete|push|pop|create|freeze|pin`: maps that change."""

from __future__ import annotations

import sys

from .. import sys as kernel_calls
from ..errors import MapError, ProbeeError
from ..isa.tables import MAP_TYPES
from . import seek
from .grammar import Words, Wrong, keyword
from .map_data import OF_MAPS, PROG_ARRAY, Data
from .map_dump import _failed, print_entry
from .output import Output
from .pins import pin_at

_FLAGS = {"any": 0, "noexist": 1, "exist": 2}


def update(words: Words, output: Output) -> int:
    """`update MAP [key DATA] [value VALUE] [any|exist|noexist]`, `push` and `enqueue`."""
    with seek.map_(words) as handle:
        data = Data(handle)
        key, value, flags = b"", None, -1
        held: list[seek.Handle] = []
        try:
            while words:
                word = words.one_of("key", "value", *_FLAGS)
                if word == "key":
                    if key:
                        raise Wrong("key stands there twice")
                    key = data.take_key(words)
                elif word == "value":
                    if value is not None:
                        raise Wrong("value stands there twice")
                    value = _value(data, words, held)
                elif flags >= 0:
                    raise Wrong("flags stand there twice")
                else:
                    flags = _FLAGS[word]
            if data.section and not key:
                key = bytes(data.info.key_size)
            if data.info.key_size and not key:
                raise Wrong("key is missing")
            if value is None and data.info.value_size:
                raise Wrong("value is missing")
            try:
                kernel_calls.kernel().map_update(handle.fd, key, value or b"", max(0, flags))
            except OSError as error:
                raise _failed(data, "write to", error) from error
        finally:
            for one in held:
                one.close()
    output.done()
    return 0


def _value(data: Data, words: Words, held: list[seek.Handle]) -> bytes:
    """The value for `update`: of maps that hold maps or programs, one is named and opened."""
    named = words and keyword(words.peek(), ("id", "pinned", "name", "tag"))
    if data.info.type in OF_MAPS and named:
        held.append(seek.map_(words))
    elif data.info.type == PROG_ARRAY and named:
        by_id = named == "id"
        held.append(seek.program(words))
        if by_id and not _kept(data):
            text = "the entry goes when the last descriptor of the map is closed; pin the map to keep it"
            print(f"probee: {text}", file=sys.stderr)
    else:
        return data.take_value(words)
    return held[-1].fd.to_bytes(4, sys.byteorder)


def _kept(data: Data) -> bool:
    """Whether something holds the map: the kernel clears program arrays that nobody does."""
    from .owners import Owners, Pins

    id = data.info.id
    return bool(Owners().of(seek.MAP, id) or Pins().of(seek.MAP, id))


def delete(words: Words, output: Output) -> int:
    with seek.map_(words) as handle:
        data = Data(handle)
        words.one_of("key")
        key = data.take_key(words)
        words.end()
        try:
            found = kernel_calls.kernel().map_delete(handle.fd, key)
        except OSError as error:
            raise _failed(data, "delete from", error) from error
        if not found:
            raise ProbeeError(f"there is no such entry in map {data.info.name or data.info.id}")
    output.done()
    return 0


def pop(words: Words, output: Output) -> int:
    with seek.map_(words) as handle:
        data = Data(handle)
        words.end()
        if data.info.key_size:
            raise ProbeeError("only queues and stacks can be popped; see `probee map delete`")
        try:
            value = kernel_calls.kernel().map_lookup_and_delete(handle.fd, b"", data.span)
        except OSError as error:
            raise _failed(data, "take from", error) from error
        return print_entry(data, b"", value, output)


def freeze(words: Words, output: Output) -> int:
    with seek.map_(words) as handle:
        words.end()
        try:
            kernel_calls.kernel().map_freeze(handle.fd)
        except OSError as error:
            if error.errno == 16:
                raise MapError("the map is frozen already, or mapped for writing", errno=16) from None
            raise _failed(Data(handle), "freeze", error) from error
    output.done()
    return 0


def pin(words: Words, output: Output) -> int:
    with seek.map_(words) as handle:
        path = words.next("PATH")
        words.end()
        pin_at(handle.fd, path, "the map", output)
    output.done()
    return 0


def create(words: Words, output: Output) -> int:
    path = words.next("PATH")
    facts = {"key": 0, "value": 0, "entries": 0, "flags": 0}
    type_, name, inner, device = 0, "", None, ""
    try:
        while words:
            what = words.one_of("type", "name", *facts, "dev", "offload_dev", "inner_map")
            if what == "type":
                type_ = _type(words.next("TYPE"))
            elif what == "name":
                name = words.next("NAME")
            elif what == "inner_map":
                inner = seek.map_(words)
            elif what in ("dev", "offload_dev"):
                device = words.next("NAME")
            else:
                facts[what] = words.number(what.upper())
        if device:
            raise ProbeeError("probee can't offload maps to a network device")
        if not type_:
            raise Wrong("type is missing: `type hash`")
        if not name:
            raise Wrong("name is missing: `name NAME`")
        if len(name) > 15:
            output.note(f"the kernel keeps 15 bytes of the name: {name[:15]}")
        kernel = kernel_calls.kernel()
        try:
            fd = kernel.map_create(
                type_,
                facts["key"],
                facts["value"],
                facts["entries"],
                flags=facts["flags"],
                name=name,
                inner_fd=inner.fd if inner else 0,
            )
        except OSError as error:
            raise _not_created(error, facts) from error
        try:
            pin_at(fd, path, "the map", output)
        finally:
            kernel.close(fd)
    finally:
        if inner is not None:
            inner.close()
    output.done()
    return 0


def _type(word: str) -> int:
    if word in MAP_TYPES:
        return MAP_TYPES[word][0]
    near = [name for name in MAP_TYPES if name.startswith(word)]
    if len(near) == 1:
        return MAP_TYPES[near[0]][0]
    if word.isdigit():
        return int(word)
    raise Wrong(f"there is no map type {word!r}; there are {', '.join(near or MAP_TYPES)}")


def _not_created(error: OSError, facts: dict[str, int]) -> ProbeeError:
    import os

    from ..sys import caps

    number = error.errno or 0
    if number == 1:
        return caps.denied("creating a map", caps.CAP_BPF)
    sizes = ", ".join(f"{name} {value}" for name, value in facts.items())
    return MapError(f"the kernel refuses such a map ({sizes}): {os.strerror(number)}", errno=number)
