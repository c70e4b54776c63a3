"""Reading numbers and strings out of a section, one after the other."""

from __future__ import annotations

from probee.errors import ObjectError


class Cursor:
    """A place in a section. Raises ObjectError where the section ends too early."""

    __slots__ = ("at", "data", "endian", "name")

    def __init__(self, data: bytes, at: int, name: str, endian: str) -> None:
        self.data = data
        self.at = at
        self.name = name
        self.endian = endian
        if not 0 <= at <= len(data):
            raise ObjectError(f"broken DWARF: offset {at} is outside {name}, which has {len(data)} bytes")

    def take(self, size: int) -> bytes:
        """The next bytes."""
        end = self.at + size
        if end > len(self.data):
            raise ObjectError(f"broken DWARF: {self.name} ends inside an entry at {self.at}")
        found = self.data[self.at : end]
        self.at = end
        return found

    def number(self, size: int) -> int:
        """An unsigned number of `size` bytes."""
        return int.from_bytes(self.take(size), self.endian)  # type: ignore[arg-type]

    def uleb(self) -> int:
        """An unsigned number in LEB128."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 126:
                raise ObjectError(f"broken DWARF: a number in {self.name} does not end")

    def sleb(self) -> int:
        """A signed number in LEB128."""
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) else value

    def text(self) -> str:
        """A string that ends in NUL."""
        end = self.data.find(0, self.at)
        if end < 0:
            raise ObjectError(f"broken DWARF: a string in {self.name} does not end")
        found = self.data[self.at : end]
        self.at = end + 1
        return found.decode("utf-8", "replace")

    @property
    def done(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.data)
