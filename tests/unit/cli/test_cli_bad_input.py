"""Output that can't be written, files that are not what they seem, numbers that are none: no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probee.cli.disasm import listing
from probee.cli.main import main
from probee.errors import ProbeeError
from probee.obj import read_object
from probee.tools._common import visible

ENV = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in which `probee` is this one; its exit code is that of the last command."""
    probee = f"probee() {{ '{sys.executable}' -m probee \"$@\"; }}; "
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {probee}{command}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**ENV, **environment},
    )


# ---- output ----


@pytest.mark.parametrize("closed", [">&-", "<&-", "<&- >&- 2>&-", "2>&-"])
@pytest.mark.parametrize("command", ["--help", "tools", "run --help"])
def test_closed_streams(command: str, closed: str) -> None:
    done = shell(f"probee {command} {closed}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_output(unbuffered: str) -> None:
    done = shell("probee --help > /dev/full", PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == "probee: can't write the output: No space left on device\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_left(unbuffered: str) -> None:
    done = shell("probee --help | true", PYTHONUNBUFFERED=unbuffered)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_pipe_of_the_users_own_is_shown(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("import socket\na, b = socket.socketpair()\nb.close()\na.send(b'x')\n")
    done = shell(f"probee run {tmp_path}/x.py")
    assert done.returncode == 1
    assert done.stderr.endswith("BrokenPipeError: [Errno 32] Broken pipe\n")
    assert "probee/cli" not in done.stderr


@pytest.mark.parametrize("command", ["--help", "run --help", "disasm --help"])
def test_a_locale_without_these_characters(command: str) -> None:
    done = shell(
        f"probee {command}", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/etc/passwd", "/etc/passwd"),
        ("日本 ü", "日本 ü"),
        ("a\tb", "a\tb"),
        ("x\x1b[31mred", r"x\x1b[31mred"),
        ("x\n12:00 root", r"x\n12:00 root"),
        ("x\r\x00\x7f\u202e", r"x\r\x00\x7f\u202e"),
    ],
)
def test_what_would_move_the_cursor_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


# ---- files ----


@pytest.mark.parametrize("command", ["run", "build", "disasm"])
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("nul.py", b"x = 'a\0b'\n", "is no Python file"),
        ("elf.py", b"\x7fELF\x02\x01\x01" + bytes(60), "is no Python file"),
        ("deep.py", b"x = " + b"-" * 100_000 + b"1\n", "nested too deeply"),
        ("folder.py", None, "is a directory"),
        ("folder.o", None, "is a directory"),
    ],
)
def test_files_that_are_not_what_they_seem(
    command: str,
    name: str,
    content: bytes | None,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    assert main([command, str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("probee: ")
    assert str(path) in error
    if not (sys.version_info >= (3, 12) and name == "deep.py"):  # later parsers go deeper
        assert says in error


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
@pytest.mark.parametrize("command", ["run", "build", "disasm", "replay", "debug", "verify"])
def test_devices(command: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, path]) == 1
    assert capsys.readouterr().err == f"probee: {path} is no regular file\n"


@pytest.mark.parametrize("command", [["run", "--machine"], ["debug"]])
def test_events_from_a_device(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).resolve().parents[3] / "examples/execsnoop.py"
    assert main([*command, "--events", "/dev/zero", str(example)]) == 1
    assert capsys.readouterr().err == "probee: /dev/zero is no regular file\n"


@pytest.mark.parametrize("command", ["run", "build", "disasm"])
def test_a_file_that_can_not_be_read(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "/proc/self/mem"]) == 1
    assert capsys.readouterr().err == "probee: can't read /proc/self/mem: Input/output error\n"


@pytest.mark.parametrize("output", ["/proc/x.o", "/dev/full", "/"])
def test_an_output_that_can_not_be_written(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llvmlite")
    (tmp_path / "x.py").write_text(PROGRAM)
    assert main(["build", str(tmp_path / "x.py"), "-o", output]) == 1
    assert capsys.readouterr().err.startswith(f"probee: can't write {output}: ")


def test_a_file_without_programs_is_run_and_mentioned(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("print('ran')\n")
    done = shell(f"probee run -- {tmp_path}/x.py")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "has no programs" in done.stderr


# ---- command lines ----


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ("opensnoop --pid 99999999999999999999999", "too large"),
        ("opensnoop --pid x", "'x' is no number"),
        ("opensnoop --pid -5", "not above zero"),
        ("opensnoop --duration nan", "not a time"),
        ("opensnoop --duration x", "not a time"),
        ("opensnoop --duration 1e400", "not a time"),
        ("opensnoop --uid 99999999999999", "no user id"),
        ("opensnoop --uid 4294967295", "no user id"),
        ("opensnoop --uid no-such-user", "no user 'no-such-user'"),
        ("opensnoop --comm=", "a name is needed"),
        ("opensnoop extra", "extra"),
        ("syscount --top 0", "not above zero"),
        ("runqlat --interval 0", "not a time"),
        ("-v -v nothing", "no command 'nothing'"),
        ("build", "FILE"),
    ],
)
def test_wrong_command_lines(argv: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(argv.split())
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert says in capsys.readouterr().err


# ---- hostile objects ----

PROGRAM = """
import probee as bp
from probee import u32, u64
seen = bp.Hash[u32, u64](64)
total = bp.Global[u64](0)

def add(n: u64) -> u64:
    total.value += n
    return total.value

@bp.raw_tracepoint("sys_enter")
def on_enter(regs, number):
    if add(number) > 7:
        seen[bp.pid()] += 1
"""


@pytest.fixture(scope="module")
def an_object(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("object")
    (folder / "x.py").write_text(PROGRAM)
    assert main(["build", str(folder / "x.py"), "-o", str(folder / "x.o")]) == 0
    return (folder / "x.o").read_bytes()


EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4
)


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
@given(edits=EDITS, cut=st.integers(0, 1 << 16) | st.none())
def test_a_broken_object_is_listed_or_refused(
    an_object: bytes, edits: list[tuple[int, bytes]], cut: int | None
) -> None:
    data = bytearray(an_object)
    for at, new in edits:
        at %= len(data)
        data[at : at + len(new)] = new
    if cut is not None:
        del data[cut % len(data) :]
    with suppress(ProbeeError):
        spec = read_object(bytes(data), "x")
        for program in spec.programs.values():
            listing(spec, program)
