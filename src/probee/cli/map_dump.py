"""`probee map dump|lookup|getnext`: what is in a map."""

from __future__ import annotations

import errno
import os
from typing import Any

from ..errors import MapError, ProbeeError
from ..sys import kernel
from . import seek, typed
from .grammar import Words
from .map_data import OF_MAPS, PROG_ARRAY, Data, Raw
from .map_show import header, map_type
from .output import Output, hex_list, hex_text
from .style import bold

_KEYLESS = {
    "queue": "`probee map peek` shows what comes out next, `pop` takes it",
    "stack": "`probee map peek` shows what comes out next, `pop` takes it",
    "bloom_filter": "it only answers whether it has a value: `probee map lookup … value V`",
    "ringbuf": "its records are for the program that reads it",
    "user_ringbuf": "its records are for the program that reads it",
    "arena": "it is memory of the program",
    "perf_event_array": "`probee map event_pipe` shows what programs send through it",
}
_MOST_COLUMNS = 8
# Keys without a value are no error: slots of program and map arrays, entries of hashes that go meanwhile.
_MAY_BE_EMPTY = OF_MAPS | {PROG_ARRAY, 1, 5, 9, 10, 11}


def dump(words: Words, output: Output) -> int:
    handles = seek.maps(words, seek.READ_ONLY)
    try:
        words.end()
        if len(handles) == 1:
            _dump_one(Data(handles[0]), output)
        elif output.json:
            found = [{**header(h.map()), "elements": entries(Data(h))} for h in handles]
            output.emit(found)
        else:
            for n, handle in enumerate(handles):
                info = handle.map()
                print(f"{chr(10) if n else ''}{bold(f'map {info.id}  {info.name}')}")
                _dump_one(Data(handle), output)
    finally:
        for handle in handles:
            handle.close()
    return 0


def _dump_one(data: Data, output: Output) -> None:
    name = str(map_type(data.info.type))
    if name in _KEYLESS and not (output.json and name == "perf_event_array"):
        raise ProbeeError(f"a {name} map has no entries to dump: {_KEYLESS[name]}")
    if output.json:
        output.emit(entries(data))
        return
    rows: list[tuple[Any, Any]] = []
    for key in data:
        try:
            value = data.lookup(key)
        except OSError as error:
            rows.append((data.key_value(key), Raw(f"<{os.strerror(error.errno or 0)}>")))
            continue
        if value is not None:
            rows.append((data.key_value(key), data.value_value(value)))
    _table(data, rows, output)


def entries(data: Data) -> list[dict[str, Any]]:
    """All entries in bpftool's JSON. One that can't be read says why."""
    found = []
    for key in data:
        try:
            value = data.lookup(key)
        except OSError as error:
            found.append(_unreadable(key, error.errno or 0))
            continue
        if value is not None:
            found.append(data.json(key, value))
        elif data.info.type not in _MAY_BE_EMPTY:
            found.append(_unreadable(key, errno.ENOENT))
    return found


def _unreadable(key: bytes, number: int) -> dict[str, Any]:
    return {"key": hex_list(key), "value": {"error": os.strerror(number)}}


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else typed.text(value)


def _table(data: Data, rows: list[tuple[Any, Any]], output: Output) -> None:
    """Entries as a table. Structs whose members are plain become columns, and so do CPUs."""
    if not rows:
        output.note(f"map {data.info.name or data.info.id} is empty")
        return
    if data.section:
        (values,) = rows[0][1].values()
        variables = [pair for variable in values for pair in variable.items()]
        output.table(("variable", "value"), [(name, _cell(value)) for name, value in variables])
        return
    keys, key_heads = _columns([key for key, _ in rows], "key")
    if data.cpus and all(isinstance(value, list) for _, value in rows):
        rows = [(key, _per_cpu(value)) for key, value in rows]
    values, value_heads = _columns([value for _, value in rows], "value")
    table = [[*k, *v] for k, v in zip(keys, values, strict=True)]
    output.table([*key_heads, *value_heads], table)


def _per_cpu(values: list[Any]) -> Any:
    if all(isinstance(v, int) for v in values):
        return {"sum": sum(values), **{f"cpu{n}": v for n, v in enumerate(values[:_MOST_COLUMNS])}}
    return values


def _columns(values: list[Any], name: str) -> tuple[list[list[str]], list[str]]:
    first = values[0]
    if (
        isinstance(first, dict)
        and 0 < len(first) <= _MOST_COLUMNS
        and all(isinstance(v, dict) and v.keys() == first.keys() for v in values)
    ):
        heads = [_head(f"{name}.{m}" if name == "key" else m, v) for m, v in first.items()]
        return [[_cell(v) for v in value.values()] for value in values], heads
    return [[_cell(value)] for value in values], [_head(name, first)]


def _head(name: str, value: Any) -> str:
    return f">{name}" if isinstance(value, int) else name


def lookup(words: Words, output: Output) -> int:
    """`lookup MAP key DATA`, and `peek MAP`."""
    with seek.map_(words, seek.READ_ONLY) as handle:
        data = Data(handle)
        if data.info.type == 30:
            return _in_filter(data, words, output)
        key = b""
        if data.section and not words:
            key = bytes(data.info.key_size)
        elif data.info.key_size:
            words.one_of("key")
            key = data.take_key(words)
        words.end()
        try:
            value = data.lookup(key)
        except OSError as error:
            raise _failed(data, "read", error) from error
        return print_entry(data, key, value, output)


def print_entry(data: Data, key: bytes, value: bytes | None, output: Output) -> int:
    """Print an entry. Exit code 1 if there is none."""
    if value is None:
        if output.json:
            output.emit(None)
        else:
            name = data.info.name or data.info.id
            there_is = f"no entry {_cell(data.key_value(key))}" if key else "nothing"
            output.note(f"there is {there_is} in map {name}")
        return 1
    if output.json:
        output.emit(data.json(key, value))
    elif key:
        _table(data, [(data.key_value(key), data.value_value(value))], output)
    else:
        print(_cell(data.value_value(value)))
    return 0


def _in_filter(data: Data, words: Words, output: Output) -> int:
    """A Bloom filter is asked with a value."""
    words.one_of("value")
    value = data.take_value(words)
    words.end()
    found = kernel().map_holds(data.handle.fd, value)
    if output.json:
        output.emit({"value": hex_list(value), "found": found})
    else:
        print("perhaps in the set" if found else "not in the set")
    return 0 if found else 1


def getnext(words: Words, output: Output) -> int:
    with seek.map_(words, seek.READ_ONLY) as handle:
        data = Data(handle)
        key = None
        if words.take("key"):
            key = data.take_key(words)
        words.end()
        try:
            following = data.next_key(key)
        except OSError as error:
            raise _failed(data, "walk through", error) from error
        if following is None:
            raise ProbeeError("that was the last key" if key else "the map is empty")
        if output.json:
            output.emit({"key": hex_list(key) if key else None, "next_key": hex_list(following)})
        else:
            output.facts(
                (
                    ("key", _both(data, key) if key else "none"),
                    ("next key", _both(data, following)),
                )
            )
    return 0


def _both(data: Data, key: bytes) -> str:
    typed_key = _cell(data.key_value(key))
    raw = hex_text(key)
    return raw if typed_key == raw else f"{typed_key}  ({raw})"


def _failed(data: Data, doing: str, error: OSError) -> MapError:
    from ..sys import caps

    number = error.errno or 0
    name = data.info.name or str(data.info.id)
    if number == errno.EPERM and caps.missing(caps.CAP_BPF):
        return MapError(str(caps.denied(f"to {doing} map {name}", caps.CAP_BPF)), errno=number)
    reasons = {
        errno.EPERM: "it is frozen, or may only be read",
        errno.ENOTSUPP if hasattr(errno, "ENOTSUPP") else 524: "user space can't do that to such a map",
        errno.EOPNOTSUPP: "user space can't do that to such a map",
        errno.E2BIG: f"it is full, it takes {data.info.max_entries} entries, or the index is past the end",
        errno.EEXIST: "the entry is there already",
        errno.ENOENT: "there is no such entry",
        errno.EBADF: "the value has to be a descriptor: name a map or program, `value id N`",
    }
    why = reasons.get(number, os.strerror(number))
    return MapError(f"can't {doing} map {name}: {why}", errno=number)
