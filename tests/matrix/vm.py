"""Runs a command in a virtual machine with one of Debian's kernels and the host's files.

The host's root is there read-only; what the guest writes goes to memory and is gone afterwards. Only
`/run/probee-matrix` is a directory of the host. The repository is a copy, so that it may be edited meanwhile.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from c_compiler import answer

from .initramfs import initramfs
from .kernels import CACHE, SUITES, Kernel, MatrixError, kernel

REPO = Path(__file__).resolve().parent.parent.parent
QEMU = "qemu-system-x86_64"
TIMED_OUT = 124  # as timeout(1)
_DEAD = -1000
_STALLED = 420  # longer than any test may take
_BOOT = 180  # seconds; 6 are usual
# Emulated processors that patch code under each other now and then take a kernel down as it starts.
_BOOTS = 4

# Emulated machines are slow: watchdogs would call them stuck.
_CMDLINE = (
    "console=ttyS0 quiet panic=-1 oops=panic mitigations=off lsm=landlock,lockdown,yama,bpf audit=0 "
    "tsc=reliable nowatchdog rcupdate.rcu_cpu_stall_suppress=1 cgroup_no_v1=all random.trust_cpu=on"
)
_NOT_COPIED = (".git", ".venv", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
_PASSED_ON = ("PATH", "HOME", "XDG_CACHE_HOME", "USER", "LANG", "LC_ALL", "TERM", "CI")
_PASSED_ON_PREFIXES = ("PROBEE_", "PYTEST_", "PYTHON", "HYPOTHESIS_")


def run(
    machine: Kernel,
    command: Sequence[str],
    *,
    share: Path,
    timeout: float = 1800,
    sign: Path | None = None,
    memory: str = "3G",
    cwd: Path = REPO,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Boots `machine`, runs `command` in it as root, and gives its exit code; 124 after `timeout` seconds.

    `share` is seen in the guest as /run/probee-matrix. A machine that has not written to the file `sign` for
    `_STALLED` seconds is taken for dead. Whoever calls it has its `turn`. Raises MatrixError if
    the machine ends without a status.
    """
    if not shutil.which(QEMU):
        raise MatrixError(f"needs {QEMU} (Debian's package qemu-system-x86)")
    live = not command and sys.stdin.isatty()
    _write_command(share, command, cwd, os.environ if environment is None else environment, machine)
    place = {
        "MATRIX_KERNEL": str(machine.directory.resolve()),
        "MATRIX_INPUT": "/dev/hvc0" if live else "/dev/null",
    }
    place |= {"MATRIX_REPOSITORY": str(REPO), "MATRIX_COPY": str((share / "repository").resolve())}
    (share / "place.sh").write_text("".join(f"{k}={shlex.quote(v)}\n" for k, v in place.items()))
    requests = share / "compile"
    requests.mkdir(exist_ok=True)
    (share / "status").unlink(missing_ok=True)
    log, booted = share / "console.log", share / "booted"
    with tempfile.NamedTemporaryFile(prefix="probee-initramfs-") as first:
        first.write(initramfs(machine))
        first.flush()
        qemu = [QEMU, "-nodefaults", "-no-user-config", "-machine", "q35", "-accel", "tcg,thread=multi"]
        qemu += ["-cpu", "Nehalem", "-smp", "2", "-m", memory, "-display", "none", "-no-reboot"]
        qemu += ["-kernel", str(machine.image), "-initrd", first.name, "-append", _CMDLINE]
        qemu += ["-chardev", f"file,id=log,path={log}", "-serial", "chardev:log"]
        qemu += ["-chardev", "stdio,id=out,signal=on", "-device", "virtio-serial-pci"]
        qemu += ["-device", "virtconsole,chardev=out", "-device", "virtio-rng-pci"]
        for tag, path, more in (("host", "/", ",readonly=on,multidevs=remap"), ("share", str(share), "")):
            qemu += ["-virtfs", f"local,path={path},mount_tag={tag},security_model=none{more}"]
        _copy_repository(share / "repository")
        for left in reversed(range(_BOOTS)):
            booted.unlink(missing_ok=True)
            process = subprocess.Popen(qemu, stdin=None if live else subprocess.DEVNULL)
            code = _wait(process, timeout, requests, sign, booted)
            if booted.exists() or code == TIMED_OUT or not left:
                break
            print(f"matrix: Linux {machine.release} did not start{_end(log)}", file=sys.stderr)
            print("matrix: booting it once more", file=sys.stderr, flush=True)
    if not booted.exists() and code != TIMED_OUT:
        raise MatrixError(f"Linux {machine.release} did not start in {_BOOTS} attempts{_end(log)}")
    if code == _DEAD:
        raise MatrixError(f"the machine with Linux {machine.release} did nothing for {_STALLED} s{_end(log)}")
    if code == TIMED_OUT:
        print(f"matrix: {machine.name} had not finished after {timeout:.0f} s", file=sys.stderr)
        return code
    try:
        return int((share / "status").read_text())
    except (OSError, ValueError):
        raise MatrixError(f"the machine with Linux {machine.release} died{_end(log)}") from None


def _end(log: Path) -> str:
    """The last the kernel said, as the end of a sentence."""
    said = log.read_text(errors="replace").splitlines()[-40:] if log.exists() else []
    return ":\n" + "\n".join(said) if said else " and said nothing"


def _copy_repository(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    with suppress(shutil.Error):  # of files that vanished meanwhile
        shutil.copytree(REPO, target, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_COPIED))
    (target / ".venv").mkdir()


def _write_command(
    share: Path, command: Sequence[str], cwd: Path, environment: Mapping[str, str], machine: Kernel
) -> None:
    passed = {
        name: value
        for name, value in environment.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    # Python's own caches of compiled modules, and live output.
    passed.pop("PYTHONDONTWRITEBYTECODE", None)
    passed |= {"PYTHONUNBUFFERED": "1", "PROBEE_MATRIX": machine.name}
    if not sys.stdout.isatty():
        passed |= {"NO_COLOR": "1", "TERM": "dumb"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(passed.items())]
    lines += [f"cd {shlex.quote(str(cwd))} || exit 125", f"exec {shlex.join(command or ['/bin/sh', '-i'])}"]
    (share / "command.sh").write_text("\n".join(lines) + "\n")


@contextmanager
def turn() -> Iterator[None]:
    """As many machines at a time as there are processors, in order of arrival."""
    queue = CACHE / "queue"
    queue.mkdir(parents=True, exist_ok=True)
    ticket = queue / f"{time.time_ns()}-{os.getpid()}"
    with ExitStack() as files:
        # A ticket is locked as long as its owner waits: what is left of one that was killed is not.
        files.callback(ticket.unlink, missing_ok=True)
        fcntl.flock(files.enter_context(ticket.open("w")), fcntl.LOCK_EX)
        paths = [CACHE / f"running{n or ''}.lock" for n in range(os.cpu_count() or 1)]
        slots = [files.enter_context(path.open("w")) for path in paths]
        said = False
        while _before(ticket) or not any(_locked(slot) for slot in slots):
            if not said:
                print(
                    "matrix: other machines are running, waiting for one's end …", file=sys.stderr, flush=True
                )
                said = True
            time.sleep(0.5)
        ticket.unlink(missing_ok=True)
        yield


def _before(ticket: Path) -> bool:
    """Is someone waiting who came before?"""
    for other in sorted(ticket.parent.iterdir()):
        if other.name >= ticket.name:
            return False
        with suppress(FileNotFoundError), other.open() as file:
            if not _locked(file):
                return True
            other.unlink(missing_ok=True)
    return False


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(
    qemu: subprocess.Popen[bytes], timeout: float, requests: Path, sign: Path | None, booted: Path
) -> int:
    """The exit code of `qemu`; compiles meanwhile what the guest asks for."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    begin = seen = time.monotonic()
    size = -1
    try:
        while (now := time.monotonic()) < begin + timeout:
            with suppress(subprocess.TimeoutExpired):
                return qemu.wait(0.1)
            answer(requests)
            if now > begin + _BOOT and not booted.exists():
                return _DEAD
            if sign is not None and sign.exists() and sign.stat().st_size != size:
                seen, size = now, sign.stat().st_size
            if sign is not None and now > seen + _STALLED:
                return _DEAD
        return TIMED_OUT
    finally:
        signal.signal(signal.SIGTERM, before)
        if qemu.poll() is None:
            qemu.kill()
            qemu.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="dev vm",
        description="Runs a command under another Linux kernel, in QEMU, with this system's files.",
    )
    parser.add_argument(
        "kernel", choices=SUITES, help="whose kernel: Debian's 5.10, 6.1, 6.12 or sid's newest"
    )
    parser.add_argument("--timeout", type=float, default=1800, metavar="S", help="seconds, 1800 by default")
    parser.add_argument("--memory", default="3G", help="of the machine, 3G by default")
    parser.add_argument("--refresh", action="store_true", help="fetch the kernel again")
    parser.add_argument("--log", action="store_true", help="show the kernel's console at the end")
    command: list[str] | None = None
    words = sys.argv[1:]
    if "--" in words:
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
    else:
        parser.add_argument(
            "command", nargs=argparse.REMAINDER, help="a shell if left out; after -- if options precede"
        )
    options = parser.parse_args(words)
    if command is None:
        command = options.command
    with tempfile.TemporaryDirectory(prefix="probee-matrix-") as directory:
        share = Path(directory)
        try:
            machine = kernel(options.kernel, refresh=options.refresh)
            with turn():
                return run(machine, command, share=share, timeout=options.timeout, memory=options.memory)
        except MatrixError as error:
            print(f"matrix: {error}", file=sys.stderr)
            return 125
        except KeyboardInterrupt:
            return 130
        finally:
            log = share / "console.log"
            if options.log and log.exists():
                sys.stderr.write(log.read_text(errors="replace"))


if __name__ == "__main__":
    sys.exit(main())
