"""Bad environments: few capabilities, no tracefs, no BTF, caches that can't be used."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give up capabilities and to unmount"),
]

REPO = Path(__file__).resolve().parents[2]
NOBODY = 65534
PROGRAM = """
import probee as bp
from probee import u32, u64
started = bp.Hash[u32, u64](64)
@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    started[args.pid] += 1
if __name__ == "__main__":
    with bp.attach():
        print("attached")
"""
SYSCALL = """
import probee as bp
from probee import u32, u64
seen = bp.Hash[u32, u64](64)
@bp.tracepoint("syscalls:sys_enter_openat")
def on_open(args):
    seen[0] = args.dfd
"""
NO_TRACEFS = (
    "umount /sys/kernel/debug/tracing 2>/dev/null; umount /sys/kernel/tracing 2>/dev/null;"
    "umount -l /sys/kernel/debug 2>/dev/null; ! test -e /sys/kernel/tracing/events || exit 77; "
)


def python_for_anybody() -> list[str]:
    """`python -m probee` of an interpreter that a user without rights can run; skips if there is none."""
    paths = [str(REPO / "src"), *(p for p in sys.path if p.endswith("site-packages"))]
    for found in (sys.executable, "/usr/bin/python3", "/usr/bin/python3.11", "/usr/local/bin/python3"):
        words = ["env", f"PYTHONPATH={os.pathsep.join(paths)}", found]
        check = [
            *words,
            "-c",
            "import sys, probee.cli.main, llvmlite.binding; assert sys.version_info >= (3, 11)",
        ]
        try:
            done = subprocess.run(check, user=NOBODY, group=NOBODY, capture_output=True, cwd="/")
        except OSError:
            continue
        if not done.returncode:
            return [*words, "-m", "probee"]
    pytest.skip("the user nobody can't read any Python with this checkout and llvmlite")


def as_nobody(tmp_path: Path, capabilities: list[str], *argv: str) -> subprocess.CompletedProcess[str]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not installed")
    python = python_for_anybody()
    caps = ",".join(["-all", *(f"+{c}" for c in capabilities)])
    drop = [setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    drop += [f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}"]
    cache = tmp_path / "nobodys"
    cache.mkdir(exist_ok=True)
    os.chown(cache, NOBODY, NOBODY)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    environment = {**os.environ, "PROBEE_CACHE": str(cache), "HOME": "/nonexistent"}
    words = [*drop, *python, *argv]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, cwd="/", env=environment)


def in_a_mount_namespace(
    before: str, *argv: str, after: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `probee` behind a line of shell that changes what is mounted, for itself only."""
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    tried = subprocess.run(["unshare", "-m", "true"], capture_output=True, text=True)
    if tried.returncode:  # in a chroot whose root is no mount point, for one
        pytest.skip(f"no mount namespace of its own here: {tried.stderr.strip()}")
    command = f'{before} "$@"; code=$?; {after} exit $code'
    words = ["unshare", "-m", "sh", "-c", command, "sh", sys.executable, "-m", "probee", *argv]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    if done.returncode == 77:
        pytest.skip("tracefs can't be unmounted here")
    return done


@pytest.fixture
def program(tmp_path: Path) -> str:
    path = tmp_path / "x.py"
    path.write_text(PROGRAM)
    return str(path)


# ---- capabilities ----


@pytest.mark.parametrize(
    ("have", "lack"),
    [
        ([], "CAP_BPF and CAP_PERFMON, which are missing"),
        (["bpf"], "CAP_PERFMON, which is missing"),
        (["perfmon"], "CAP_BPF, which is missing"),
        (
            ["bpf", "perfmon"],
            "CAP_DAC_READ_SEARCH, which is missing",
        ),  # to read tracefs, as root has set it up
        (["sys_admin"], "CAP_DAC_READ_SEARCH, which is missing"),
    ],
)
def test_some_capabilities(have: list[str], lack: str, program: str, tmp_path: Path) -> None:
    if "DAC" in lack and os.stat("/sys/kernel/tracing").st_mode & 0o005:
        pytest.skip("everybody may read tracefs here")
    done = as_nobody(tmp_path, have, "run", program)
    assert done.returncode == 1
    assert done.stderr.startswith("probee: ")
    assert f"{lack} here; run it as root: sudo " in done.stderr
    assert done.stderr.endswith(f"-m probee run {program}\n")


def test_just_enough_capabilities(program: str, tmp_path: Path) -> None:
    done = as_nobody(tmp_path, ["bpf", "perfmon", "dac_read_search"], "run", program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "attached\n", "")


def test_without_root_much_works(program: str, tmp_path: Path) -> None:
    for argv in (["--help"], ["tools"], ["opensnoop", "--help"], ["disasm", program]):
        done = as_nobody(tmp_path, [], *argv)
        assert (done.returncode, done.stderr) == (0, ""), argv
        assert done.stdout
    done = as_nobody(tmp_path, [], "build", program, "-o", str(tmp_path / "nobodys" / "x.o"))
    assert (done.returncode, done.stderr) == (0, "")
    done = as_nobody(tmp_path, [], "build", program, "-o", "/x.o")
    assert (done.returncode, done.stderr) == (1, "probee: can't write /x.o: Permission denied\n")


def test_names_that_only_root_may_read_come_along(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(SYSCALL)
    if os.stat("/sys/kernel/tracing").st_mode & 0o005:
        pytest.skip("everybody may read tracefs here")
    assert as_nobody(tmp_path, [], "build", str(path), "-o", "/dev/null").returncode == 0


# ---- tracefs and BTF ----


def test_tracefs_is_mounted_and_that_is_said(program: str) -> None:
    done = in_a_mount_namespace(NO_TRACEFS, "run", program)
    assert (done.returncode, done.stdout) == (0, "attached\n")
    assert done.stderr == "probee: mounted tracefs at /sys/kernel/tracing\n"


def test_tracefs_that_may_not_be_mounted(program: str) -> None:
    drop = "setpriv --bounding-set=-sys_admin --inh-caps=-all"
    done = in_a_mount_namespace(f"{NO_TRACEFS} {drop}", "run", program)
    assert done.returncode == 1
    assert "mounting tracefs needs CAP_SYS_ADMIN, which is missing here; run it as root: sudo " in done.stderr


def test_no_btf(program: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    hide = f"mount --bind {tmp_path}/empty /sys/kernel/btf || exit 1;"
    done = in_a_mount_namespace(hide, "run", program, PROBEE_CACHE=str(tmp_path / "c"))
    assert done.returncode == 1
    assert done.stderr.startswith(
        "probee: no kernel BTF (/sys/kernel/btf/vmlinux: No such file or directory)"
    )
    built = in_a_mount_namespace(hide, "build", program, "-o", "/dev/null", PROBEE_CACHE=str(tmp_path / "c"))
    assert built.returncode == 0, built.stderr  # with the kernel types that come along


@pytest.mark.parametrize("size", [0, 10, 1000, 100_000])
@pytest.mark.parametrize("random", [False, True])
def test_broken_btf(size: int, random: bool, program: str, tmp_path: Path) -> None:
    with open("/sys/kernel/btf/vmlinux", "rb") as file:
        data = file.read(size)
    (tmp_path / "btf").write_bytes(os.urandom(size) if random else data)
    put = f"mount --bind {tmp_path}/btf /sys/kernel/btf/vmlinux || exit 1;"
    done = in_a_mount_namespace(put, "run", program, PROBEE_CACHE=str(tmp_path / "c"))
    assert done.returncode == 1
    assert done.stderr.startswith("probee: /sys/kernel/btf/vmlinux: ")
    assert len(done.stderr.splitlines()) == 1


# ---- caches ----


def runs(program: str, **environment: str) -> None:
    words = [sys.executable, "-m", "probee", "run", program]
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "attached\n", "")


@pytest.mark.parametrize("path", ["/proc/nowhere", "/dev/null", "/etc/passwd", "/sys"])
def test_a_cache_that_can_not_be(path: str, program: str) -> None:
    runs(program, PROBEE_CACHE=path)


@pytest.mark.parametrize("home", [None, "", "/nonexistent", "relative"])
def test_homes(home: str | None, program: str, tmp_path: Path) -> None:
    environment = {n: v for n, v in os.environ.items() if n not in ("HOME", "PROBEE_CACHE", "XDG_CACHE_HOME")}
    environment["XDG_CACHE_HOME" if home is None else "HOME"] = str(tmp_path) if home is None else home
    words = [sys.executable, "-m", "probee", "run", program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "attached\n", "")
    assert not (tmp_path / "relative").exists()


def test_a_cache_of_someone_else_is_left_alone(program: str, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    runs(program, PROBEE_CACHE=str(theirs))
    assert list(theirs.iterdir()) == []
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o777)
    ours.chmod(0o777)
    runs(program, PROBEE_CACHE=str(ours))
    assert list(ours.iterdir()) == [], "anybody could have written there"


def test_a_broken_cache_is_made_anew(program: str, tmp_path: Path) -> None:
    cache = tmp_path / "c"
    places = {"PROBEE_CACHE": str(cache), "TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    runs(program, **places)
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == {"objects", "btf"}
    for change in (lambda data: b"", lambda data: data[: len(data) // 2], lambda data: os.urandom(len(data))):
        for path in files:
            path.write_bytes(change(path.read_bytes()))
        runs(program, **places)
    for path in files:
        path.unlink()
        path.mkdir()
    runs(program, **places)


@pytest.mark.parametrize("size", ["4k", "64k", "1m"])
def test_a_full_disk(size: str, program: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={size} none {disk} || exit 1;"
    done = in_a_mount_namespace(
        mount, "run", program, after=f"find {disk} -type f -size 0;", PROBEE_CACHE=str(disk), TMPDIR=str(disk)
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "attached\n", "")


def test_a_read_only_home(program: str, tmp_path: Path) -> None:
    mount = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} || exit 1;"
    done = in_a_mount_namespace(mount, "run", program, PROBEE_CACHE=str(tmp_path / "c"), TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "attached\n", "")
