"""The peers that benchmarks measure against: where each is, and how to fetch one beside the system's."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

CACHE = Path.home() / ".cache" / "probee-bench"


def new_bpftrace() -> list[str] | None:
    """Command line of the bpftrace of Debian sid, unpacked beside the system; None if it can't be had.

    Its libraries come with it, so it runs under its own dynamic loader.
    """
    root = CACHE / "sid"
    binary = root / "usr/bin/bpftrace"
    if not binary.exists() and not _unpack("bpftrace", root):
        return None
    loaders = sorted(root.glob("usr/lib*/ld-linux-*.so.*")) + sorted(root.glob("usr/lib*/*/ld-linux-*.so.*"))
    paths = [p for p in (root / "usr/lib").glob("*-linux-gnu*") if p.is_dir()]
    llvm = [p for p in (root / "usr/lib").glob("llvm-*/lib") if p.is_dir()]
    if not loaders or not paths:
        return None
    return [str(loaders[0]), "--library-path", ":".join(map(str, [*paths, *llvm])), str(binary)]


def _unpack(package: str, root: Path) -> bool:
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return False
    state = CACHE / "apt"
    for part in ("state/lists/partial", "cache/archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "state/status").touch()
    # The mirror that this system already uses.
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    known = subprocess.run(targets, capture_output=True, text=True).stdout.split()
    mirror = next((uri for uri in known if uri.rstrip("/").endswith("/debian")), None)
    if mirror is None:
        return False
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (state / "sources.list").write_text(f"deb [signed-by={keyring}] {mirror} sid main\n")
    apt = [
        "apt-get",
        "-q",
        f"-oDir::State={state}/state",
        f"-oDir::Cache={state}/cache",
        f"-oDir::Etc::sourcelist={state}/sources.list",
        "-oDir::Etc::sourceparts=/nonexistent",
        f"-oDir::State::status={state}/state/status",
        "-oAPT::Sandbox::User=root",
    ]
    print(f"fetching {package} of Debian sid …", file=sys.stderr)
    for words in (["update"], ["install", "-y", "--download-only", "--no-install-recommends", package]):
        if subprocess.run([*apt, *words], capture_output=True).returncode:
            return False
    root.mkdir(parents=True, exist_ok=True)
    for deb in (state / "cache/archives").glob("*.deb"):
        if subprocess.run(["dpkg-deb", "-x", str(deb), str(root)], capture_output=True).returncode:
            return False
    shutil.rmtree(state)
    return True


def compiled(name: str, *flags: str) -> Path | None:
    """The C program `peer/NAME.c` on libbpf, compiled with optimisation; None where that can't be done."""
    source = Path(__file__).parent / "peer" / f"{name}.c"
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        return None
    CACHE.mkdir(parents=True, exist_ok=True)
    made = CACHE / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}"
    if not made.exists():
        command = [compiler, "-O2", "-w", str(source), "-o", str(made), "-lbpf", *flags]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"no C peer: {done.stderr.strip() or 'it does not compile'}", file=sys.stderr)
            return None
    return made


class Peer:
    """A process that does one round for each line it is sent, and answers each with a line of numbers.

    It inherits the descriptor `fd`. Its first line, if it is to have one, is `name`.
    """

    def __init__(self, command: list[str], fd: int, *, greets: bool = True) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, pass_fds=[fd], **pipes)
        self.name = self._line() if greets else ""

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if not line:
            raise OSError(f"{self._process.args} ended")
        return line

    def round(self, word: str = "") -> list[int]:
        assert self._process.stdin
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return [int(n) for n in self._line().split()]

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()


def system_python() -> str:
    """The interpreter that the system's BCC belongs to."""
    return "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


if __name__ == "__main__":
    found = new_bpftrace()
    print(found or "bpftrace of Debian sid can't be had here")
    if found:
        subprocess.run([*found, "--version"])
