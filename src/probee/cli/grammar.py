"""The grammar of `probee NOUN VERB …`, bpftool's: keywords in order, each abbreviated as the user likes.

A noun's module has `main(argv)`; it hands `argv` and its verbs to `command()`, which takes the options out,
finds the verb and calls it with a `Words` to take words from and an `Output` to print on.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from ..errors import ProbeeError
from .output import Output

Verb = Callable[["Words", Output], int | None] | str  # or where it is: "prog_show.show"


class Wrong(ProbeeError):
    """A command line that makes no sense: exit code 2."""


class Words:
    """The words of a command line that are not taken yet."""

    __slots__ = ("at", "noun", "words")

    def __init__(self, words: list[str], noun: str = "") -> None:
        self.words = words
        self.noun = noun
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.words)

    def peek(self) -> str:
        """The next word, "" at the end."""
        return self.words[self.at] if self else ""

    def next(self, what: str) -> str:
        """Take a word; `what` names it, in capitals, where there is none."""
        if not self:
            raise Wrong(f"{what} is missing")
        self.at += 1
        return self.words[self.at - 1]

    def take(self, *keywords: str) -> str:
        """Take the next word if it is one of the keywords, or begins one. Returns the keyword or ""."""
        found = keyword(self.peek(), keywords) if self else ""
        self.at += bool(found)
        return found

    def one_of(self, *keywords: str) -> str:
        """Take one of the keywords; there is no other way."""
        found = self.take(*keywords)
        if not found:
            there = f"not {self.peek()!r}" if self else "but the line ends"
            raise Wrong(f"expected {' or '.join(keywords)}, {there}")
        return found

    def number(self, what: str, *, most: int = 0xFFFFFFFF) -> int:
        """Take a number: decimal, 0x… or 0… as C writes them."""
        return parse_number(self.next(what), what, most)

    def rest(self) -> list[str]:
        """Take all words that are left."""
        words, self.at = self.words[self.at :], len(self.words)
        return words

    def end(self) -> None:
        """There must be no more words."""
        if self:
            raise Wrong(f"{self.peek()!r} is one word too many")


def keyword(word: str, keywords: tuple[str, ...]) -> str:
    """The first keyword that is `word` or begins with it, "" if none; `-` and `_` are the same."""
    word = word.replace("_", "-")
    exact = [k for k in keywords if k.replace("_", "-") == word]
    near = [k for k in keywords if word and k.replace("_", "-").startswith(word)]
    return (exact or near or [""])[0]


def parse_number(word: str, what: str, most: int = 0xFFFFFFFF) -> int:
    """The number that a word is. Raises Wrong."""
    try:
        octal = len(word) > 1 and word.isdigit() and word[0] == "0"
        number = int(word, 8) if octal else int(word, 0)
    except ValueError:
        raise Wrong(f"{what} has to be a number, not {word!r}") from None
    if not 0 <= number <= most:
        raise Wrong(f"{what} {word} is out of range (0 to {most})")
    return number


_FLAGS = {
    "-j": "json",
    "--json": "json",
    "-p": "pretty",
    "--pretty": "pretty",
    "-f": "bpffs",
    "--bpffs": "bpffs",
    "-m": "lenient",
    "--mapcompat": "lenient",
    "--lenient": "lenient",
    "-n": "nomount",
    "--nomount": "nomount",
    "-d": "debug",
    "--debug": "debug",
    "-v": "debug",
    "--verbose": "debug",
    "-l": "legacy",
    "--legacy": "legacy",
    "-h": "help",
    "--help": "help",
    "--all": "all",
}
_WITH_VALUE = {"-B": "base_btf", "--base-btf": "base_btf", "--btf": "btf"}


def split(argv: list[str], output: Output) -> list[str]:
    """Put the options, wherever they stand, into `output`; what is left are the words."""
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            return words + rest
        if name in _WITH_VALUE:
            if not equals:
                if not rest:
                    raise Wrong(f"{name} needs a file")
                value = rest.pop(0)
            setattr(output, _WITH_VALUE[name], value)
        elif word in _FLAGS:
            setattr(output, _FLAGS[word], True)
        elif len(word) > 2 and word[0] == "-" and all(f"-{c}" in _FLAGS for c in word[1:]):
            for c in word[1:]:  # -jp
                setattr(output, _FLAGS[f"-{c}"], True)
        elif len(word) > 1 and word[0] == "-" and not (word[1].isdigit() or word[1] in "."):
            raise Wrong(f"there is no option {word}")
        else:
            words.append(word)
    output.json = output.json or output.pretty
    return words


def command(noun: str, verbs: Mapping[str, Verb], help: str, argv: list[str]) -> int:
    """Run `probee NOUN …`. Without a verb the first of `verbs` runs. Returns the exit code."""
    output = Output()
    try:
        try:
            words = Words(split(argv, output), noun)
            if output.debug:
                from . import report

                report.verbose = True
            word = words.peek()
            verb = keyword(word, (*verbs, "help")) if words else next(iter(verbs))
            if verb == "help" or output.help:
                print(help.strip("\n"))
                return 0
            if not verb:
                raise Wrong(f"there is no `probee {noun} {word}`; there are {', '.join(verbs)}")
            words.at += bool(words)
            return _imported(verbs[verb])(words, output) or 0
        except (OSError, RecursionError) as problem:
            if isinstance(problem, OSError) and (_is_output(problem) or isinstance(problem, ProbeeError)):
                raise
            raise ProbeeError(_reason(problem)) from problem
    except ProbeeError as problem:
        if output.json:
            output.emit({"error": str(problem)})
            return 2 if isinstance(problem, Wrong) else 1
        if isinstance(problem, Wrong):
            sys.stdout.flush()
            print(f"probee {noun}: {problem}; `probee {noun} help` tells more", file=sys.stderr)
            return 2
        raise


def _imported(verb: Verb) -> Callable[[Words, Output], int | None]:
    if not isinstance(verb, str):
        return verb
    module, _, name = verb.partition(".")
    found: Callable[[Words, Output], int | None] = getattr(cold_module(module), name)
    return found


def cold_module(name: str) -> Any:
    """A module of the command line. Raises ProbeeError if this build has none."""
    full = f"{__package__}.{name}"
    try:
        return import_module(full)
    except ModuleNotFoundError as error:
        if error.name != full:
            raise
        raise ProbeeError(f"this build of probee is without {name.replace('_', '-')}") from None


def _is_output(problem: OSError) -> bool:
    """Whether it is printing that failed: that is for `main` to deal with."""
    import errno

    return problem.errno in (errno.EPIPE, errno.ENOSPC) and not problem.filename


def _reason(problem: BaseException) -> str:
    if not isinstance(problem, OSError):
        return "the input is nested too deeply"
    if problem.errno in (1, 13) and not problem.filename:
        from ..sys import caps

        return str(caps.denied(str(problem.strerror).split(":")[0], caps.CAP_BPF, caps.CAP_SYS_ADMIN))
    what = f"{os.fsdecode(problem.filename)}: " if problem.filename else ""
    return f"{what}{problem.strerror or problem}"
