"""What somebody who mistyped a symbol's name may have meant."""

from __future__ import annotations

import difflib
from heapq import nlargest

from probee.symbols.demangle import demangle_all, in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.symbols.elf import Elf

_MOST = 3
_LIKELY = 200  # names that difflib, which is slow, gets to see
_CLOSE = 0.6
_MANGLED = (b"_Z", b"_R")


def near_names(elf: Elf, name: str) -> list[str]:
    """Up to three names of the file's symbols that resemble `name`, the nearest first, and in words."""
    word = _last(name) if in_words(name) else name
    word = word.strip("*?") or name
    raw = word.encode()
    size = 2 if len(raw) < 6 else 3
    parts = {raw[at : at + size] for at in range(max(1, len(raw) - size + 1))}
    least, most = len(raw) * 2 // 3, len(raw) * 3 // 2 + 1
    plain: set[tuple[int, bytes]] = set()
    mangled: set[tuple[int, bytes]] = set()
    for table in elf.tables:
        for text in table.texts():
            is_mangled = text.startswith(_MANGLED)
            if not (is_mangled or least <= len(text) <= most):
                continue
            shared = sum([part in text for part in parts]) + (text[:1] == raw[:1])
            if shared:
                (mangled if is_mangled else plain).add((shared, text))
    names = [text.decode(errors="replace") for _, text in nlargest(_LIKELY, plain)]
    found = difflib.get_close_matches(word, names, _MOST, _CLOSE)
    if not found:
        words = demangle_all([text.decode(errors="replace") for _, text in nlargest(_LIKELY, mangled)])
        known = {_last(text): text for text in words}
        found = [known[text] for text in difflib.get_close_matches(word, known, _MOST, _CLOSE)]
    return found


def _last(words: str) -> str:
    """The last part of a qualified name, without parameters."""
    return words.split("(")[0].rpartition("::")[2]
