"""What programs get compiled in for `arena.new(Node)`: written in the language itself."""

from __future__ import annotations

from ..builtins import atomic, cast
from ..decl.arenas import ArenaPtr
from ..decl.types import u8, u64

PAGE = 4096
TRIES = 16  # other CPUs may come first that often


def take(arena, cursor, size):  # type: ignore[no-untyped-def]
    """The next free bytes of the page at `cursor[0]`, or of a new page; 0 if there is none."""
    for _ in range(TRIES):
        at = atomic.load(cursor[0])
        if at & (PAGE - 1) and (at & (PAGE - 1)) + size <= PAGE:
            if atomic.compare_exchange(cursor[0], at, at + size) == at:
                return at
        else:
            page = u64(arena.alloc_pages(1, u8))  # type: ignore[call-arg]
            if page == 0:  # type: ignore[comparison-overlap]
                return 0
            if atomic.compare_exchange(cursor[0], at, page + size) == at:
                return page
            arena.free_pages(cast(ArenaPtr[u8], page), 1)
    return 0
