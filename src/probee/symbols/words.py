"""Symbols by their names in words, C++ or Rust, in ELF files."""

from __future__ import annotations

from probee.symbols.demangle import patterns, spellings, squeezed
from probee.symbols.glob import text_regex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.symbols.elf import Elf, Symbol


def named(elf: Elf, words: str) -> list[Symbol]:
    """The functions that `words` means: a qualified name, or a whole declaration. Each address once."""
    wanted = squeezed(words)
    return [symbol for symbol, texts in _candidates(elf, words) if wanted in texts]


def matching(elf: Elf, pattern: str) -> list[Symbol]:
    """The functions whose qualified name or declaration matches `pattern` (`*`, `?`)."""
    regex = text_regex(squeezed(pattern))
    return [s for s, texts in _candidates(elf, pattern) if any(regex.fullmatch(text) for text in texts)]


def _candidates(elf: Elf, words: str) -> list[tuple[Symbol, set[str]]]:
    """Functions that `words` may mean, with what each may be called."""
    found: dict[int, Symbol] = {}
    for pattern in patterns(words):
        for symbol in elf.matching(pattern):
            found.setdefault(symbol.address, symbol)
    symbols = list(found.values())
    return list(zip(symbols, spellings([symbol.name for symbol in symbols]), strict=True))
