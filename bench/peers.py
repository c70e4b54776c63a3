"""The peers that benchmarks measure against: where each is, and how to fetch one beside the system's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

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


if __name__ == "__main__":
    found = new_bpftrace()
    print(found or "bpftrace of Debian sid can't be had here")
    if found:
        subprocess.run([*found, "--version"])
