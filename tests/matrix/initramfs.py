"""A first root file system for the guest: busybox, the modules that reach the host's files, two scripts."""

from __future__ import annotations

from pathlib import Path

from .kernels import Kernel

# Bring up 9p over virtio, the overlay on top of it, and the console. Built-in ones are skipped.
_NEEDED = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
_APPLETS = ("cp", "insmod", "mkdir", "mount", "poweroff", "sh", "switch_root")


def initramfs(kernel: Kernel) -> bytes:
    """A cpio archive that the kernel unpacks as its first root."""
    here = Path(__file__).parent
    order = _load_order(kernel)
    files: dict[str, tuple[int, bytes]] = {
        "init": (0o100755, (here / "init.sh").read_bytes()),
        "run.sh": (0o100644, (here / "run.sh").read_bytes()),
        "bin/busybox": (0o100755, kernel.busybox.read_bytes()),
        "modules/order": (0o100644, "".join(f"{path.name}\n" for path in order).encode()),
    }
    for name in _APPLETS:
        files[f"bin/{name}"] = (0o120777, b"busybox")
    for path in order:
        files[f"modules/{path.name}"] = (0o100644, path.read_bytes())
    directories = sorted({str(p) for name in files for p in Path(name).parents if str(p) != "."})
    entries = [(name, 0o040755, b"") for name in [*directories, "dev", "proc", "host", "root"]]
    entries += [(name, mode, data) for name, (mode, data) in files.items()]
    return cpio(entries)


def _load_order(kernel: Kernel) -> list[Path]:
    """Files of the modules that the guest inserts, each after those it depends on."""
    depends: dict[str, list[str]] = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        name, _, rest = line.partition(":")
        depends[name] = rest.split()
    by_name = {Path(path).name.removesuffix(".ko").replace("-", "_"): path for path in depends}
    order: list[str] = []

    def add(path: str) -> None:
        for other in reversed(depends[path]):
            add(other)
        if path not in order:
            order.append(path)

    for name in _NEEDED:
        if name in by_name:
            add(by_name[name])
    return [kernel.modules / path for path in order]


def cpio(entries: list[tuple[str, int, bytes]]) -> bytes:
    """A "newc" archive of (path, mode with file type, content): Documentation/driver-api/early-userspace."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        label = name.encode() + b"\0"
        links = 2 if mode & 0o170000 == 0o040000 else 1
        fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(label), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + label
        out += bytes(-len(out) % 4)
        out += data
        out += bytes(-len(out) % 4)
    return bytes(out)
