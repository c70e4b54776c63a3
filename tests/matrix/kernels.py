"""Debian's kernels, unpacked in a cache outside of the repository.

The packages come from the mirror that apt on this machine already uses, through apt itself, so signatures and
checksums are checked. Nothing is installed: apt works on lists and a status of its own.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Name of a kernel here -> the Debian suite whose newest kernel it is.
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "sid": "sid"}

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probee-matrix"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# What the tests and the virtual machine can use. The rest (graphics, sound, radio …) is most of the bytes.
_KEPT_MODULES = (
    "arch/",
    "block/",
    "crypto/",
    "drivers/block/loop",
    "drivers/block/virtio",
    "drivers/char/hw_random/virtio",
    "drivers/char/virtio",
    "drivers/hid/",
    "drivers/media/rc/",
    "drivers/misc/",
    "drivers/net/",
    "drivers/virtio/",
    "fs/",
    "kernel/",
    "lib/",
    "mm/",
    "net/",
    "security/",
)
_DROPPED_MODULES = (
    "drivers/hid/amd-sfh-hid/",
    "drivers/net/can/",
    "drivers/net/ethernet/",
    "drivers/net/phy/",
    "drivers/net/usb/",
    "drivers/net/wan/",
    "drivers/net/wireless/",
    "drivers/net/wwan/",
    "drivers/media/rc/keymaps/",
)


class MatrixError(Exception):
    """What keeps a kernel from being run, in words."""


@dataclass(frozen=True)
class Kernel:
    name: str  # as on the command line: "6.12"
    directory: Path

    @property
    def release(self) -> str:
        """What `uname -r` says in it."""
        return (self.directory / "release").read_text().strip()

    @property
    def image(self) -> Path:
        """What QEMU boots."""
        unpacked = self.directory / "vmlinux"
        return unpacked if unpacked.exists() else self.directory / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.directory / "lib/modules" / self.release

    @property
    def busybox(self) -> Path:
        return self.directory / "busybox"


def kernel(name: str, *, refresh: bool = False) -> Kernel:
    """The kernel of that name, fetched and unpacked if it isn't in the cache yet.

    Raises MatrixError if it can't be had.
    """
    if name not in SUITES:
        raise MatrixError(f"there is no kernel {name!r}: it is one of {', '.join(SUITES)}")
    found = Kernel(name, CACHE / name)
    if refresh or not (found.directory / "release").exists():
        _fetch(name, SUITES[name], found.directory)
    return found


def _mirror() -> str:
    """Where this system's apt gets Debian from."""
    own = os.environ.get("PROBEE_DEBIAN_MIRROR")
    if own:
        return own
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    known = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    for uri in known:
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise MatrixError("apt here knows no Debian mirror: name one in PROBEE_DEBIAN_MIRROR")


def _fetch(name: str, suite: str, target: Path) -> None:
    for tool in ("apt-get", "dpkg-deb"):
        if not shutil.which(tool):
            raise MatrixError(f"needs {tool} to fetch Debian's kernels")
    if not os.path.exists(KEYRING):
        raise MatrixError("needs the package debian-archive-keyring to check Debian's kernels")
    print(f"matrix: fetching the kernel of Debian {suite} …", file=sys.stderr, flush=True)
    fresh = target.with_name(f"{target.name}.new{os.getpid()}")
    try:
        apt = _Apt(fresh / "apt", suite)
        apt.run("update")
        image = apt.dependency("linux-image-amd64", r"linux-image-\d\S*-amd64")
        # Newer suites split the image's package.
        parts = [image, *apt.dependencies(image, r"linux-(?:base|binary|modules)-\d\S*-amd64")]
        for package in [*parts, "busybox-static"]:
            apt.download(package, fresh / "unpacked")
        _arrange(fresh)
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    print(f"matrix: {name} is Linux {Kernel(name, target).release}", file=sys.stderr, flush=True)


class _Apt:
    """apt for one suite, apart from the system's state."""

    def __init__(self, state: Path, suite: str) -> None:
        for part in ("lists/partial", "archives/partial"):
            (state / part).mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        (state / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {suite} main\n")
        self.downloads = state / "downloads"
        self.options = [
            "-q",
            f"-oDir::State={state}",
            f"-oDir::Cache={state}",
            f"-oDir::Etc::sourcelist={state}/sources.list",
            "-oDir::Etc::sourceparts=/nonexistent",
            f"-oDir::State::status={state}/status",
            "-oAcquire::Languages=none",
            "-oAcquire::Retries=3",
            "-oAPT::Sandbox::User=",
        ]

    def run(self, *words: str, tool: str = "apt-get", cwd: Path | None = None) -> str:
        done = subprocess.run([tool, *self.options, *words], capture_output=True, text=True, cwd=cwd)
        if done.returncode:
            raise MatrixError(f"{tool} {' '.join(words)} failed: {done.stderr.strip()}")
        return done.stdout

    def dependencies(self, package: str, pattern: str) -> list[str]:
        words = ("depends", "--no-recommends", "--no-suggests", package)
        text = self.run(*words, tool="apt-cache")
        return re.findall(rf"\|?(?:Pre)?Depends: ({pattern})$", text, re.MULTILINE)

    def dependency(self, package: str, pattern: str) -> str:
        found = self.dependencies(package, pattern)
        if not found:
            raise MatrixError(f"{package} depends on nothing like {pattern}")
        return found[0]

    def download(self, package: str, target: Path) -> None:
        self.downloads.mkdir(exist_ok=True)
        self.run("download", package, cwd=self.downloads)
        for deb in self.downloads.glob("*.deb"):
            target.mkdir(parents=True, exist_ok=True)
            subprocess.run(["dpkg-deb", "-x", str(deb), str(target)], check=True)
            deb.unlink()


def _arrange(root: Path) -> None:
    """From unpacked packages to what Kernel describes."""
    unpacked = root / "unpacked"
    modules = next((p.parent for p in unpacked.glob("**/lib/modules/*/kernel") if p.is_dir()), None)
    if modules is None:
        raise MatrixError("the kernel's packages hold no modules")
    release = modules.name
    (root / "boot").mkdir()
    for name in ("vmlinuz", "config", "System.map"):
        # In /boot, or since 2026 beside the modules.
        found = next(
            (p for p in (*unpacked.glob(f"**/{name}-{release}"), modules / name) if p.is_file()), None
        )
        if found is None:
            raise MatrixError(f"the kernel's packages hold no {name}")
        found.rename(root / "boot" / f"{name}-{release}")
    vmlinux = _unpacked((root / "boot" / f"vmlinuz-{release}").read_bytes())
    if vmlinux:
        (root / "vmlinux").write_bytes(vmlinux)
    kept = root / "lib/modules" / release
    kept.mkdir(parents=True)
    for path in modules.glob("modules.*"):
        path.rename(kept / path.name)
    for path in (modules / "kernel").rglob("*.ko*"):
        name = path.relative_to(modules / "kernel").as_posix()
        if name.startswith(_KEPT_MODULES) and not name.startswith(_DROPPED_MODULES):
            _plain(path, kept / "kernel" / name)
    next(p for p in unpacked.glob("**/bin/busybox") if p.is_file()).rename(root / "busybox")
    subprocess.run([root / "busybox", "depmod", "-b", root, release], check=True)
    shutil.rmtree(unpacked)
    shutil.rmtree(root / "apt")
    (root / "release").write_text(release + "\n")


def _unpacked(image: bytes) -> bytes:
    """The ELF file in a bzImage (Documentation/arch/x86/boot.rst), b"" if nothing here unpacks it.

    The kernel would do it itself, but under emulation that takes a third of the boot.
    """
    start, length = struct.unpack_from("<II", image, 0x248)
    start += (image[0x1F1] + 1) * 512
    packed = image[start : start + length]
    if packed.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(packed)
    if packed.startswith(b"\x28\xb5\x2f\xfd") and shutil.which("zstd"):
        # Behind the frame stands its size, which zstd complains of.
        return subprocess.run(["zstd", "-dc"], input=packed[:-4], capture_output=True, check=True).stdout
    return b""


def _plain(source: Path, target: Path) -> None:
    """Copies a module; an .xz one is unpacked, so that no tool in the guest needs to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".xz":
        target.with_suffix("").write_bytes(lzma.decompress(source.read_bytes()))
    else:
        source.rename(target)
