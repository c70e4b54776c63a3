"""What the modules that `probee gen` writes are made of: an object in a string, loaded with its types."""

from __future__ import annotations

import base64
import zlib

from .kernel.objects import load, open_object

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Self

    from .kernel.collection import Collection
    from .kernel.links.base import Link
    from .obj import ObjectSpec


class Skeleton:
    """A loaded object. Generated classes add `maps`, `programs` and `globals` with the object's own names.

    `options` are those of `probee.load`. Use it in a `with` statement, or close it: it detaches then.
    """

    _name = ""
    _object = ""
    _classes: dict[str, type] = {}  # noqa: RUF012  (a constant of each generated class)
    _records: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, *, values: Mapping[str, Any] | None = None, **options: Any) -> None:
        classes = {**self._classes, **(options.pop("classes", None) or {})}
        self.collection: Collection = load(self.spec(), values=values, classes=classes, **options)

    @classmethod
    def spec(cls) -> ObjectSpec:
        """The object as a spec, which may be changed and given to `probee.load`."""
        return open_object(unpacked(cls._object), name=cls._name, records=cls._records)

    def attach(self) -> dict[str, Link]:
        """Attach every program whose section says to what. Returns the links by program."""
        return self.collection.attach()

    def close(self) -> None:
        """Detach, and give up programs and maps. Doing it again does nothing."""
        self.collection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def packed(data: bytes) -> str:
    """An object's bytes as text for a module."""
    return base64.b85encode(zlib.compress(data, 9)).decode()


def unpacked(text: str) -> bytes:
    """The bytes of `packed`."""
    return zlib.decompress(base64.b85decode("".join(text.split())))


__all__ = ["Skeleton", "packed", "unpacked"]
