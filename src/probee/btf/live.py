"""The BTF of the running kernel and of its modules, and large BTF files: through an index on disk.

The index of the running kernel is found by the kernel's build id, which `ld --build-id` computes over the
whole of vmlinux, its `.BTF` section included; /sys/kernel/notes gives it in one read. A kernel without a
build id, and BTF from elsewhere, are known by a hash of the content.
"""

from __future__ import annotations

import mmap
import os
import struct

from probee.btf import index, store
from probee.btf.parser import Btf
from probee.errors import ObjectError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from probee.btf.parser import Buffer

FOLDER = "/sys/kernel/btf"
# Where kernels with BTF in their debug information may lie, for those that don't show it; libbpf's list.
IMAGES = (
    "/boot/vmlinux-{release}",
    "/lib/modules/{release}/vmlinux-{release}",
    "/lib/modules/{release}/build/vmlinux",
    "/usr/lib/modules/{release}/kernel/vmlinux",
    "/usr/lib/debug/boot/vmlinux-{release}",
    "/usr/lib/debug/boot/vmlinux-{release}.debug",
    "/usr/lib/debug/lib/modules/{release}/vmlinux",
)
NOTES = "/sys/kernel/notes"
_NT_GNU_BUILD_ID = 3
_WORTH_AN_INDEX = 1 << 18  # bytes; smaller BTF is parsed in a few milliseconds

_kernel: Btf | None = None


def kernel_btf() -> Btf:
    """The running kernel's types, one instance per process: from the kernel itself, or its image on disk.

    Raises Unsupported if neither has any (before 5.4, or built without CONFIG_DEBUG_INFO_BTF).
    """
    global _kernel
    if _kernel is None:
        path = f"{FOLDER}/vmlinux"
        try:
            _kernel = _open_kernel(path)
        except OSError as e:
            _kernel = _from_image()
            if _kernel is None:
                raise Unsupported(
                    f"no kernel BTF ({path}: {e.strerror}): needs a kernel with CONFIG_DEBUG_INFO_BTF=y",
                    feature="kernel BTF",
                    since="5.4",
                ) from None
        except ObjectError as e:
            raise ObjectError(f"{path}: {e}") from None
    return _kernel


def _from_image() -> Btf | None:
    """The types in the first image of the running kernel that has some."""
    release = os.uname().release
    for image in IMAGES:
        try:
            return open_btf(image.format(release=release))
        except (OSError, ObjectError):
            continue
    return None


def _open_kernel(path: str) -> Btf:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        data: Buffer | None
        try:
            data = mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        except (OSError, ValueError):  # before Linux 6.16
            data = None
        mapped = data is not None
        build_id = _build_id()
        if build_id and size:
            key = f"kernel-{build_id.hex()[:80]}"
        else:
            data = data or _read_all(fd)
            key = _content_key(data)
            size = len(data)
        for file in store.load(key):
            found = index.attach(file, key.encode(), data, size)
            if found is not None:
                return found
        data = data or _read_all(fd)
    finally:
        os.close(fd)
    return _build(data, key, with_copy=not mapped)


def _build(data: Buffer, key: str, *, with_copy: bool = False) -> Btf:
    made = index.build(data, key.encode(), with_copy=with_copy)
    store.save(key, made)
    found = index.attach(made, key.encode(), data, len(data))
    assert found is not None
    return found


def _read_all(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()


def _build_id() -> bytes:
    """The running kernel's GNU build id, b"" if it has none."""
    try:
        with open(NOTES, "rb") as file:
            notes = file.read()
    except OSError:
        return b""
    return build_id_in(notes)


def build_id_in(notes: bytes) -> bytes:
    """The GNU build id in an ELF note section of this machine's byte order, b"" if there is none."""
    pos = 0
    while pos + 12 <= len(notes):
        name_len, desc_len, kind = struct.unpack_from("=III", notes, pos)
        name = pos + 12
        desc = name + (name_len + 3) // 4 * 4
        if kind == _NT_GNU_BUILD_ID and notes[name : name + name_len] == b"GNU\0":
            return notes[desc : desc + desc_len]
        pos = desc + (desc_len + 3) // 4 * 4
    return b""


def _content_key(data: Buffer) -> str:
    try:
        from _blake2 import blake2b  # hashlib would load OpenSSL
    except ImportError:
        from hashlib import blake2b
    return f"content-{blake2b(data, digest_size=20).hexdigest()}"


def open_btf(path: str | os.PathLike[str], base: Btf | None = None) -> Btf:
    """The BTF in a file: raw (`bpftool btf dump … format raw`, BTFHub), or the section of an ELF file.

    Large ones are indexed on disk. Raises OSError, or ObjectError if it is no BTF.
    """
    with open(path, "rb") as file:
        start = file.read(4)
        if start == b"\x7fELF":
            from probee.btf.image import btf_section

            data = btf_section(file)
        else:
            data = start + file.read()
    if base is not None or len(data) < _WORTH_AN_INDEX:
        return Btf.parse(data, base)
    key = _content_key(data)
    for found in store.load(key):
        btf = index.attach(found, key.encode(), data, len(data))
        if btf is not None:
            return btf
    return _build(data, key)


def module_btfs() -> Iterator[Btf]:
    """The BTF of each loaded kernel module that has some (Linux 5.11), split on `kernel_btf()`."""
    base = kernel_btf()
    for name in sorted(os.listdir(FOLDER)):
        if name == "vmlinux":
            continue
        try:
            with open(f"{FOLDER}/{name}", "rb") as file:
                data = file.read()
        except OSError:  # unloaded meanwhile
            continue
        yield Btf.parse(data, base)


__all__ = ["build_id_in", "kernel_btf", "module_btfs", "open_btf"]
