"""Keys and values of maps on a command line and in print: bytes as bpftool has them, or typed thanks to BTF.

`key 1 0 0 0` and `key hex 01 00 00 00` are bytes; `key 7` and `value '{"packets": 3}'` are values of the
map's types. A map without BTF has numbers where the size is that of a number, else bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from .. import sys as kernel_calls
from ..btf import Btf, kernel_btf
from ..btf.kinds import DATASEC
from ..errors import ObjectError, ProbeeError
from ..sys.details import MapDetails
from . import seek, typed
from .grammar import Words, Wrong
from .output import hex_list, hex_text

PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, LPM_TRIE, PERCPU_CGROUP_STORAGE, STRUCT_OPS = 5, 6, 10, 11, 21, 26
PER_CPU = frozenset((PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, PERCPU_CGROUP_STORAGE))
OF_MAPS = frozenset((12, 13))
PROG_ARRAY = 3
_ORDER: Any = sys.byteorder
_NUMBERS = (1, 2, 4, 8)


class Data:
    """A map's keys and values."""

    def __init__(self, handle: seek.Handle) -> None:
        self.handle = handle
        self.info: MapDetails = handle.map()
        self.btf: Btf | None = None
        self.key_type = self.info.key_type_id
        self.value_type = self.info.value_type_id
        if self.info.kernel_value_type_id:
            self.btf, self.key_type = kernel_btf(), 0
            self.value_type = self.info.kernel_value_type_id
        elif self.info.btf_id:
            try:
                self.btf = seek.btf_by_id(self.info.btf_id)
            except (OSError, ProbeeError):
                self.btf = None
        self.cpus = kernel_calls.kernel().possible_cpus() if self.info.type in PER_CPU else 0
        self.stride = self.info.value_size + 7 & ~7 if self.cpus else self.info.value_size
        self.span = self.stride * (self.cpus or 1)

    @property
    def section(self) -> bool:
        """Whether it is global variables: one entry, a data section."""
        if self.btf is None or not self.value_type or self.info.max_entries != 1:
            return False
        return self.btf.type(self.value_type).kind == DATASEC

    # ---- from the kernel

    def lookup(self, key: bytes) -> bytes | None:
        return kernel_calls.kernel().map_lookup(self.handle.fd, key, self.span)

    def next_key(self, key: bytes | None) -> bytes | None:
        return kernel_calls.kernel().map_next_key(self.handle.fd, key, self.info.key_size)

    def __iter__(self) -> Iterator[bytes]:
        """All keys. One that is deleted meanwhile makes the kernel begin again: known keys end the walk."""
        seen: set[bytes] = set()
        key = self.next_key(None)
        while key is not None and key not in seen:
            seen.add(key)
            yield key
            key = self.next_key(key)

    # ---- to print

    def json(self, key: bytes, value: bytes) -> dict[str, Any]:
        """An entry as bpftool's `map dump -j` has it."""
        facts: dict[str, Any] = {"key": hex_list(key)} if self.info.key_size else {}
        if self.info.type in OF_MAPS:
            facts["inner_map_id"] = int.from_bytes(value[:4], _ORDER)
        elif self.cpus:
            facts["values"] = [{"cpu": n, "value": hex_list(v)} for n, v in enumerate(self._each_cpu(value))]
        else:
            facts["value"] = hex_list(value)
        if self.btf is not None and (self.key_type or self.value_type):
            facts["formatted"] = self.formatted(key, value)
        return facts

    def formatted(self, key: bytes, value: bytes) -> dict[str, Any]:
        """An entry by its types."""
        assert self.btf is not None
        facts: dict[str, Any] = {}
        if self.key_type:
            facts["key"] = typed.to_json(self.btf, self.key_type, key)
        if not self.value_type:
            return facts
        if self.cpus:
            parts = [typed.to_json(self.btf, self.value_type, v) for v in self._each_cpu(value)]
            facts["values"] = [{"cpu": n, "value": v} for n, v in enumerate(parts)]
        else:
            facts["value"] = typed.to_json(self.btf, self.value_type, value)
        return facts

    def _each_cpu(self, value: bytes) -> list[bytes]:
        size = self.info.value_size
        return [value[n * self.stride : n * self.stride + size] for n in range(self.cpus)]

    def key_value(self, key: bytes) -> Any:
        """A key for people."""
        if self.info.type == LPM_TRIE and self.info.key_size in (8, 20):
            return prefix_text(key)
        return self._plain(self.key_type, key)

    def value_value(self, value: bytes) -> Any:
        """A value for people; a list with one for each CPU."""
        if self.info.type in OF_MAPS:
            return f"map {int.from_bytes(value[:4], _ORDER)}"
        if self.info.type == PROG_ARRAY:
            return f"program {int.from_bytes(value[:4], _ORDER)}"
        if self.cpus:
            return [self._plain(self.value_type, part) for part in self._each_cpu(value)]
        return self._plain(self.value_type, value)

    def _plain(self, type_id: int, raw: bytes) -> Any:
        if self.btf is not None and type_id:
            try:
                return typed.to_json(self.btf, type_id, raw)
            except ObjectError:
                pass
        return int.from_bytes(raw, _ORDER) if len(raw) in _NUMBERS else Raw(hex_text(raw))

    # ---- from the command line

    def take_key(self, words: Words) -> bytes:
        """Take what follows the word `key`."""
        return self._take(words, "key", self.info.key_size, self.key_type)

    def take_value(self, words: Words) -> bytes:
        """Take what follows the word `value`: DATA, or MAP or PROG for maps that hold such."""
        raw = self._take(words, "value", self.info.value_size, self.value_type)
        if not self.cpus or len(raw) == self.span:
            return raw
        return raw.ljust(self.stride, b"\0") * self.cpus  # the same for each CPU

    def _take(self, words: Words, what: str, size: int, type_id: int) -> bytes:
        if not size:
            raise Wrong(f"this map has no {what}s")
        if words.peek() == "hex" or (words.peek() and "hex".startswith(words.peek())):
            words.next("hex")
            return _hex_bytes(words, what, size)
        ahead = words.words[words.at : words.at + size]
        if len(ahead) == size and size > 1 and all(_is_byte(word) for word in ahead):
            words.at += size
            return bytes(int(word, 0) for word in ahead)
        word = words.next(f"{what.upper()} ({self._expected(type_id, size)})")
        if self.info.type == LPM_TRIE and what == "key" and "/" in word:
            return prefix_bytes(word, size)
        if _is_byte(word) and words and _is_byte(words.peek()):
            following = words.words[words.at :]
            count = 1 + next((n for n, w in enumerate(following) if not _is_byte(w)), len(following))
            raise Wrong(f"{what} is {size} bytes, {count} were given; or give one value, as {what} {word}")
        return self._typed(word, what, size, type_id)

    def _typed(self, word: str, what: str, size: int, type_id: int) -> bytes:
        try:
            value = json.loads(word)
        except ValueError:
            value = word
        except RecursionError:
            raise Wrong(f"{what} is nested too deeply") from None
        if self.btf is None or not type_id:
            return _number_or_hex(word, what, size)
        if self.cpus and what == "value" and isinstance(value, list) and len(value) == self.cpus:
            parts = [typed.from_json(self.btf, type_id, v, where=f"CPU {n}") for n, v in enumerate(value)]
            return b"".join(part.ljust(self.stride, b"\0") for part in parts)
        if self.btf.type(self.btf.strip(type_id)).kind == DATASEC:
            return self._section(type_id, value)
        raw = typed.from_json(self.btf, type_id, value, where=what)
        if len(raw) != size:
            raise ObjectError(f"the map's BTF has a {what} of {len(raw)} bytes, the map of {size}")
        return raw

    def _section(self, type_id: int, value: Any) -> bytes:
        """Global variables: those named change, the others stay."""
        assert self.btf is not None
        section = self.btf.type(type_id)
        variables = {self.btf.type(var).name: (var, offset) for var, offset, _ in section.vars}
        if isinstance(value, dict) and set(value) == {section.name}:
            value = value[section.name]
        if isinstance(value, list) and all(isinstance(v, dict) for v in value):
            value = {name: inside for one in value for name, inside in one.items()}
        if not isinstance(value, dict):
            known = ", ".join(variables)
            raise Wrong(f"""{section.name} holds variables: write {{"name": value}} with {known}""")
        raw = bytearray(self.lookup(bytes(self.info.key_size)) or bytes(self.info.value_size))
        for name, inside in value.items():
            if name not in variables:
                raise Wrong(f"{section.name} has no variable {name!r}; it has {', '.join(variables)}")
            var, offset = variables[name]
            part = typed.from_json(self.btf, var, inside, where=name)
            raw[offset : offset + len(part)] = part
        return bytes(raw[: self.info.value_size])

    def _expected(self, type_id: int, size: int) -> str:
        from .map_show import typed_as

        return typed_as(self.info, type_id, size)


class Raw(str):
    """Bytes for people, which need no quotes."""


def _is_byte(word: str) -> bool:
    try:
        return 0 <= int(word, 0) <= 255
    except ValueError:
        return False


def _hex_bytes(words: Words, what: str, size: int) -> bytes:
    text = ""
    while words and len(text) < 2 * size:
        word = words.peek().removeprefix("0x")
        if not word or any(c not in "0123456789abcdefABCDEF" for c in word):
            break
        text += word.zfill(2)
        words.at += 1
    raw = bytes.fromhex(text) if len(text) % 2 == 0 else b""
    if len(raw) != size:
        raise Wrong(f"{what} is {size} bytes, {len(text) // 2} were given")
    return raw


def _number_or_hex(word: str, what: str, size: int) -> bytes:
    if size in _NUMBERS:
        try:
            number = int(word, 0)
        except ValueError:
            raise Wrong(f"{what} is {size} bytes without a known type; give a number, or bytes") from None
        try:
            return number.to_bytes(size, _ORDER, signed=number < 0)
        except OverflowError:
            raise Wrong(f"{what} {word} does not fit {size} bytes") from None
    try:
        raw = bytes.fromhex(word.removeprefix("0x"))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise Wrong(f"{what} is {size} bytes without a known type; give {size} bytes (`{what} hex 00 …`)")
    return raw


def prefix_text(key: bytes) -> str:
    """A key of a longest-prefix-match trie: `10.0.0.0/8`."""
    import socket

    family = socket.AF_INET if len(key) == 8 else socket.AF_INET6
    return f"{socket.inet_ntop(family, key[4:])}/{int.from_bytes(key[:4], _ORDER)}"


def prefix_bytes(word: str, size: int) -> bytes:
    from ipaddress import ip_network

    try:
        network = ip_network(word, strict=False)
    except ValueError as error:
        raise Wrong(f"key {error}") from None
    raw = network.prefixlen.to_bytes(4, _ORDER) + network.network_address.packed
    if len(raw) != size:
        raise Wrong(f"key {word} has {len(raw)} bytes, the map's keys have {size}")
    return raw
