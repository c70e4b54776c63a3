"""The talking half of a tool's command line: `--help`, and what to say about mistakes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from ._common import Option


def parser(name: str, manual: str, options: Sequence[Option]) -> argparse.ArgumentParser:
    """The parser of a tool. What follows `Examples:` in the manual stands after the options."""
    text, _, examples = manual.partition("\nExamples:\n")
    summary, _, description = text.strip().partition("\n")
    made = argparse.ArgumentParser(
        prog=f"probee {name}",
        description=f"{summary}\n\n{description.strip()}",
        epilog=f"examples:\n{examples.rstrip()}" if examples else "",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in options:
        if option.convert is None:
            made.add_argument(*option.flags, action="store_true", help=option.help)
        else:
            convert = _saying(option.convert)
            made.add_argument(
                *option.flags, type=convert, metavar=option.meta, default=option.default, help=option.help
            )
    return made


def parse_args(
    name: str, manual: str | None, options: Sequence[Option], argv: Sequence[str]
) -> dict[str, Any]:
    return vars(parser(name, manual or "", options).parse_args(argv))


def _saying(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    """argparse hides what a ValueError says; an ArgumentTypeError's text it prints."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted
