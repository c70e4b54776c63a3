"""Addresses as programs compare and assign them: `ipv4("10.0.0.1")`, in Python and in programs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Address:
    # A function of a text, which the compiler calls when the text is known. A comment, since the docstring is
    # that of each object.

    __slots__ = ("__doc__", "make", "name")

    def __init__(self, make: Callable[[str], Any]) -> None:
        self.make = make
        self.name: str = make.__name__.strip("_")
        self.__doc__ = make.__doc__

    def __call__(self, text: str) -> Any:
        return self.make(text)

    def __repr__(self) -> str:
        return f"<function {self.name}>"


def _ipv4(text: str) -> int:
    """The number of an IPv4 address, as the fields of headers have it. ValueError: it is none."""
    from socket import AF_INET, inet_pton

    try:
        return int.from_bytes(inet_pton(AF_INET, text), "big")
    except OSError:
        raise ValueError(f"{text!r} is no IPv4 address") from None


def _ipv6(text: str) -> bytes:
    """The 16 bytes of an IPv6 address. ValueError: it is none."""
    from socket import AF_INET6, inet_pton

    try:
        return inet_pton(AF_INET6, text)
    except OSError:
        raise ValueError(f"{text!r} is no IPv6 address") from None


def _mac(text: str) -> bytes:
    """The 6 bytes of a link-layer address, `02:00:00:00:00:01`. ValueError: it is none."""
    parts = text.replace("-", ":").split(":")
    if len(parts) != 6 or not all(len(p) == 2 for p in parts):
        raise ValueError(f"{text!r} is no link-layer address")
    return bytes(int(p, 16) for p in parts)


ipv4, ipv6, mac = Address(_ipv4), Address(_ipv6), Address(_mac)
