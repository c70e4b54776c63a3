"""C++ and Rust names: in words, and found by words (`ns::func`, `ns::func(int)`, `core::fmt::write`).

A name in words is not turned back into a mangled one. Instead, what any mangling of it must hold (an
identifier behind its length) is looked for, and only what has it is demangled and compared.
"""

from __future__ import annotations

from probee.symbols import rust

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_CLOSING = {")": "(", ">": "<", "]": "[", "}": "{"}
_BEHIND = (" const", " volatile", " &&", " &", "&&", "&", " noexcept")
_ABBREVIATED = ("allocator", "basic_string", "string", "istream", "ostream", "iostream")  # Sa, Ss, Si…
_WORD = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"


def demangle(name: str) -> str:
    """`name` in words; as it is if it is not mangled, or if there is no C++ library to ask."""
    return demangle_all([name])[0]


def demangle_all(names: Sequence[str]) -> list[str]:
    """The same for many names at once."""
    out = list(names)
    foreign = []
    for index, name in enumerate(names):
        if name.startswith(("_Z", "_R", "__Z")):
            found = rust.demangle(name)
            if found is None:
                foreign.append(index)
            else:
                out[index] = found
    if foreign:
        from probee.sys import cxxabi

        plain = [out[index].partition(".") for index in foreign]  # copies by the compiler: f.cold, f.isra.0
        for index, text, (_, dot, suffix) in zip(
            foreign, cxxabi.demangle_all([head for head, _, _ in plain]), plain, strict=True
        ):
            if text is not None:
                out[index] = f"{text} [clone {dot}{suffix}]" if dot else text
    return out


def in_words(name: str) -> bool:
    """Whether `name` is one that a demangler wrote, and not one of a symbol table."""
    return "::" in name or "(" in name or "<" in name or name.startswith(("operator", "~"))


def patterns(words: str) -> list[str]:
    """Patterns of mangled names, one of which matches whatever `words` (perhaps a pattern) is mangled to."""
    literal = _literal(words)
    return [f"_Z*{literal}*", f"_R*{literal}*"] if literal else ["_Z*", "_R*"]


def _literal(words: str) -> str:
    """An identifier of `words` as manglings spell it, behind its length; "" if none is certain."""
    parts = _components(base(words))
    for index in range(len(parts) - 1, -1, -1):
        part = parts[index].lstrip("~")
        if not part or part == "std" or any(letter not in _WORD for letter in part):
            continue
        if part[0].isdigit() or part.startswith("operator") or not part.isascii():
            continue
        if parts[0] == "std" and part in _ABBREVIATED:
            continue
        return f"{len(part)}*{part}" if part[0] == "_" else f"{len(part)}{part}"
    return ""


def _components(name: str) -> list[str]:
    """The parts between `::`, without template arguments."""
    out = [""]
    depth = 0
    at = 0
    while at < len(name):
        letter = name[at]
        if letter in "<([{":
            depth += 1
        elif letter in ")]}" or (letter == ">" and name[at - 1 : at] != "-"):
            depth = max(0, depth - 1)
        elif not depth:
            if name.startswith("::", at):
                out.append("")
                at += 2
                continue
            out[-1] += letter
        at += 1
    return out


def base(words: str) -> str:
    """The qualified name in a declaration: without return type, parameters and what follows them."""
    text = words
    while text.endswith("]") and " [" in text:  # [clone .cold]
        text = text[: text.rindex(" [")]
    trimmed = True
    while trimmed:
        trimmed = False
        for end in _BEHIND:
            if text.endswith(end) and text[: -len(end)].endswith((")", *_BEHIND)):
                text, trimmed = text[: -len(end)], True
    if text.endswith(")") and not text.endswith("operator()"):
        start = _opening(text)
        if start > 0 and text[start:] != "(anonymous namespace)":
            text = text[:start]
    return text[_name_start(text) :]


def _opening(text: str) -> int:
    """Where the parenthesis opens that the end of `text` closes; -1 if nowhere."""
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        if text[at] == ")":
            depth += 1
        elif text[at] == "(":
            depth -= 1
            if not depth:
                return at
    return -1


def _name_start(text: str) -> int:
    """Where the name starts behind a return type, which templates have."""
    end = text.find("operator")
    stop = end if end >= 0 and (end == 0 or text[end - 1] in ": ") else len(text)
    depth = 0
    for at in range(stop - 1, -1, -1):
        letter = text[at]
        if letter in _CLOSING and text[at - 1 : at + 1] != "->":
            depth += 1
        elif letter in "<([{":
            depth -= 1
        elif letter == " " and not depth:
            return at + 1
    return 0


def squeezed(words: str) -> str:
    """`words` for comparing: without the spaces that demanglers write differently."""
    return "".join(words.split())


def spellings(names: Sequence[str]) -> list[set[str]]:
    """What users may write for each of the mangled `names`, squeezed: the declaration, or the qualified name.

    Rust names also with their hash.
    """
    out = []
    for name, text in zip(names, demangle_all(names), strict=True):
        found = {squeezed(text), squeezed(base(text))} if text != name else set()
        hashed = rust.demangle(name, hash=True) if found else None
        if hashed is not None:
            found.add(squeezed(hashed))
        out.append(found)
    return out
