"""Libraries inside archives, as Android runs them out of packages: `app.apk!/lib/arm64/libx.so`.

A member must be stored uncompressed, for then its bytes lie in the file and can be probed there. Layouts are
those of PKWARE's APPNOTE.TXT.
"""

from __future__ import annotations

import os
import struct

from probee.errors import ObjectError

_END = b"PK\x05\x06"
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
_END_SIZE, _CENTRAL_SIZE, _LOCAL_SIZE = 22, 46, 30
_MOST_COMMENT = 0xFFFF
_STORED = 0
_MOST = 1 << 31


def split(name: str) -> tuple[str, str] | None:
    """(archive, member) of `archive!/member`; `None` for other names."""
    archive, mark, member = name.partition("!/")
    return (archive, member) if mark and archive and member else None


def member(path: str, name: str) -> tuple[int, bytes]:
    """Where in the archive `path` its stored member `name` starts, and its bytes.

    Raises `OSError` if it can't be read, `ObjectError` if it is no such archive, or has no such member.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _find(fd, path, name)
    except (struct.error, OverflowError) as error:
        raise ObjectError(f"{path}: broken archive: {error}") from None
    finally:
        os.close(fd)


def _find(fd: int, path: str, name: str) -> tuple[int, bytes]:
    size = os.fstat(fd).st_size
    start = max(0, size - _END_SIZE - _MOST_COMMENT)
    tail = os.pread(fd, size - start, start)
    end = tail.rfind(_END)
    if end < 0:
        raise ObjectError(f"{path}: not a zip archive")
    count, length, offset = struct.unpack_from("<HII", tail, end + 10)
    if offset + length > size:
        raise ObjectError(f"{path}: broken archive: its directory is past its end")
    directory = os.pread(fd, length, offset)
    at = 0
    names = []
    for _ in range(count):
        if directory[at : at + 4] != _CENTRAL:
            raise ObjectError(f"{path}: broken archive: no entry at {offset + at:#x}")
        method, packed, plain = struct.unpack_from("<H8xII", directory, at + 10)
        name_size, extra, comment = struct.unpack_from("<HHH", directory, at + 28)
        (local,) = struct.unpack_from("<I", directory, at + 42)
        found = directory[at + _CENTRAL_SIZE : at + _CENTRAL_SIZE + name_size]
        if found == os.fsencode(name):
            if method != _STORED or packed != plain:
                raise ObjectError(f"{path}: {name} is compressed in it; only stored members can be probed")
            return _content(fd, path, local, plain, size)
        names.append(os.fsdecode(found))
        at += _CENTRAL_SIZE + name_size + extra + comment
    from probee.sys.tracefs import nearest

    near = nearest(name, names)
    raise ObjectError(f"{path}: no member {name} in it{f'; did you mean {near[0]}?' if near else ''}")


def _content(fd: int, path: str, local: int, size: int, whole: int) -> tuple[int, bytes]:
    header = os.pread(fd, _LOCAL_SIZE, local)
    if header[:4] != _LOCAL:
        raise ObjectError(f"{path}: broken archive: no member at {local:#x}")
    name_size, extra = struct.unpack_from("<HH", header, 26)
    start = local + _LOCAL_SIZE + name_size + extra
    if start + size > whole or size > _MOST:
        raise ObjectError(f"{path}: broken archive: a member is past its end")
    data = os.pread(fd, size, start)
    if len(data) != size:
        raise ObjectError(f"{path}: the archive became shorter while it was read")
    return start, data
