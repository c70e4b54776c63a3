"""Look-ups in maps as LLVM IR: native code finds elements where it knows how the map lies in memory.

The layouts are those of `maps.arrays` and `maps.elements`, which Python's look-ups use, too.
"""

from __future__ import annotations

from .alu import U64
from .jit_state import NUMBER
from .maps.elements import HASH_MULTIPLIER, HASH_SEED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .maps import Layout

    class Writer(Protocol):
        """What writes a function's text."""

        def put(self, text: str) -> None: ...
        def new(self, text: str) -> str: ...
        def label(self, stem: str) -> str: ...
        def place(self, label: str) -> None: ...
        def field_value(self, index: int, kind: str = "i64") -> str: ...


def describe(layout: Layout) -> tuple[object, ...]:
    """All that native code made for a layout depends on."""
    return tuple(getattr(layout, name) for name in sorted(layout.__slots__))


def lookup(w: Writer, layout: Layout, key: str) -> str:
    """Write a look-up of the key at native address `key`; returns the name of the value's address, or 0."""
    if layout.kind in ("array", "percpu_array"):
        return _array(w, layout, key)
    return _hash(w, layout, key)


def _array(w: Writer, layout: Layout, key: str) -> str:
    index = w.new(f"zext i32 {w.new(f'load i32, ptr {key}, align 1')} to i64")
    inside = w.new(f"icmp ult i64 {index}, {layout.max_entries}")
    at = w.new(f"mul i64 {index}, {layout.stride}")
    address = _of_cpu(w, layout, w.new(f"add i64 {at}, {layout.elements}"))
    return w.new(f"select i1 {inside}, i64 {address}, i64 0")


def _of_cpu(w: Writer, layout: Layout, address: str) -> str:
    if not layout.cpu_stride:
        return address
    more = w.new(f"mul i64 {w.field_value(NUMBER)}, {layout.cpu_stride}")
    return w.new(f"add i64 {address}, {more}")


def _hash(w: Writer, layout: Layout, key: str) -> str:
    words = [_word(w, key, at, layout.key_size - at) for at in range(0, layout.key_size, 8)]
    number = str(HASH_SEED)
    for word in words:
        number = w.new(f"xor i64 {number}, {word}")
        number = w.new(f"mul i64 {number}, {HASH_MULTIPLIER & U64}")
        number = w.new(f"xor i64 {number}, {w.new(f'lshr i64 {number}, 32')}")
    short = w.new(f"trunc i64 {number} to i32")
    bucket = w.new(f"and i64 {number}, {layout.mask}")
    bucket = w.new(f"shl i64 {bucket}, 2")
    head = w.new(f"getelementptr i8, ptr %mem, i64 {w.new(f'add i64 {bucket}, {layout.buckets}')}")
    start, loop, look, compare, following, found, done = (
        w.label(stem) for stem in ("start", "loop", "look", "compare", "next", "found", "found_all")
    )
    w.put(f"br label %{start}")
    w.place(start)
    first = w.new(f"load i32, ptr {head}, align 4")
    w.put(f"br label %{loop}")
    w.place(loop)
    place, after, result = (f"%{w.label(stem)}" for stem in ("place", "after", "result"))
    w.put(f"{place} = phi i32 [{first}, %{start}], [{after}, %{following}]")
    end = w.new(f"icmp eq i32 {place}, 0")
    w.put(f"br i1 {end}, label %{done}, label %{look}")
    w.place(look)
    address = w.new(f"add i64 {w.new(f'zext i32 {place} to i64')}, {layout.origin}")
    element = w.new(f"getelementptr i8, ptr %mem, i64 {address}")
    theirs = w.new(f"load i32, ptr {w.new(f'getelementptr i8, ptr {element}, i64 4')}, align 4")
    w.put(f"br i1 {w.new(f'icmp eq i32 {theirs}, {short}')}, label %{compare}, label %{following}")
    w.place(compare)
    differences = "0"
    for n, word in enumerate(words):
        at = w.new(f"getelementptr i8, ptr {element}, i64 {layout.key_offset + 8 * n}")
        differs = w.new(f"xor i64 {w.new(f'load i64, ptr {at}, align 8')}, {word}")
        differences = w.new(f"or i64 {differences}, {differs}")
    w.put(f"br i1 {w.new(f'icmp eq i64 {differences}, 0')}, label %{found}, label %{following}")
    w.place(following)
    w.put(f"{after} = load i32, ptr {element}, align 4")
    w.put(f"br label %{loop}")
    w.place(found)
    value = _of_cpu(w, layout, w.new(f"add i64 {address}, {layout.value_offset}"))
    w.put(f"br label %{done}")
    w.place(done)
    w.put(f"{result} = phi i64 [0, %{loop}], [{value}, %{found}]")
    return result


def _word(w: Writer, key: str, at: int, left: int) -> str:
    """Up to 8 bytes of the key as a number, missing ones 0."""
    value, done = "0", 0
    for size in (8, 4, 2, 1):
        while left - done >= size and done < 8:
            place = w.new(f"getelementptr i8, ptr {key}, i64 {at + done}")
            part = w.new(f"load i{8 * size}, ptr {place}, align 1")
            if size == 8:
                return part
            part = w.new(f"zext i{8 * size} {part} to i64")
            if done:
                part = w.new(f"shl i64 {part}, {8 * done}")
                part = w.new(f"or i64 {value}, {part}")
            value, done = part, done + size
    return value
