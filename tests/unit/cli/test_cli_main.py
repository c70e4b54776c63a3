"""The command line without a kernel: help, mistakes, files that are not what they should be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from probee.cli.main import main
from probee.tools import TOOLS

REPO = Path(__file__).resolve().parents[3]


def run(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "probee", *argv]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_every_command_and_tool(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    text = capsys.readouterr().out
    for name in ("demo", "run", "build", "disasm", "tools", *TOOLS):
        assert re.search(rf"^  {name} ", text, re.M)
    assert "\x1b" not in text


def test_the_first_program_in_the_help_compiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--help"])
    text = capsys.readouterr().out.partition("hello.py`\n\n")[2].partition("\n\n`probee COMMAND")[0]
    lines = [line.removeprefix("  ") for line in text.splitlines()]
    (tmp_path / "hello.py").write_text("\n".join(lines))
    assert main(["build", str(tmp_path / "hello.py"), "-o", str(tmp_path / "hello.bpf.o")]) == 0


def test_tools_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in TOOLS)


def test_every_tool_is_a_file_and_every_file_a_tool() -> None:
    files = {p.stem for p in (REPO / "src/probee/tools").glob("[a-z]*.py")}
    assert files == set(TOOLS)


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["opensnop"], 2, "did you mean opensnoop"),
        (["zzzzz"], 2, "probee --help"),
        (["x.py"], 2, "probee run x.py"),
        (["run"], 2, "which file?"),
        (["run", "--bogus", "x.py"], 2, "no option --bogus"),
        (["run", "/nowhere/x.py"], 1, "there is no file /nowhere/x.py"),
        (["build", "/nowhere/x.py"], 1, "there is no file /nowhere/x.py"),
        (["disasm", "/nowhere/x.o"], 1, "there is no file /nowhere/x.o"),
    ],
)
def test_mistakes_are_explained(
    argv: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == code
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "build", "disasm", "demo"])
def test_help_of_each_command(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert f"probee {command}" in done.stdout


def test_a_file_without_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.py").write_text("print('ran')\n")
    assert main(["build", str(tmp_path / "x.py")]) == 1
    assert "has no programs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data",
    [b"", b"\x7fELF", b"garbage" * 100, b"\x7fELF\x02\x01\x01" + bytes(200)],
    ids=["empty", "cut", "text", "zeros"],
)
def test_a_foreign_object(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.o").write_bytes(data)
    assert main(["disasm", str(tmp_path / "x.o")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("probee: ")
    assert "Traceback" not in error


def test_an_object_for_the_wrong_machine() -> None:
    done = run("disasm", sys.executable)
    assert done.returncode == 1
    assert done.stderr.startswith("probee: ")


def test_run_gives_a_file_its_arguments_and_name(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("VALUE = 'from the folder'\n")
    (tmp_path / "x.py").write_text(
        "import sys, helper\n"
        "print(__name__, sys.argv[1:], helper.VALUE, sys.modules['__main__'].__file__ == __file__)\n"
    )
    done = run("run", str(tmp_path / "x.py"), "-a", "--json", "b")
    assert done.stdout == "__main__ ['-a', '--json', 'b'] from the folder True\n"
    assert done.returncode == 0


def test_run_passes_on_the_exit_code(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("raise SystemExit(7)\n")
    assert run("run", str(tmp_path / "x.py")).returncode == 7


def test_an_exception_of_the_file_shows_the_frames_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def f():\n    return 1 // 0\nf()\n")
    done = run("run", str(tmp_path / "x.py"))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert "x.py" in done.stderr
    assert "probee/cli" not in done.stderr


def test_a_compile_error_points_at_the_place(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(
        'import probee as bp\n\n@bp.raw_tracepoint("sys_enter")\ndef f(regs, call):\n    x = call / 2\n'
    )
    done = run("build", str(tmp_path / "x.py"))
    assert done.returncode == 1
    assert f"{tmp_path}/x.py:5:" in done.stderr
    assert "^" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_python(tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text("def f(:\n")
    for command in ("run", "build"):
        done = run(command, str(tmp_path / "x.py"))
        assert done.returncode == 1
        assert "SyntaxError" in done.stderr
        assert "probee/cli" not in done.stderr


COMMANDS = [["opensnoop"], ["runqlat", "-d", "1"], ["run", str(REPO / "examples/execsnoop.py")]]


def explains_what_is_missing(done: subprocess.CompletedProcess[str], argv: list[str]) -> None:
    assert done.returncode == 1
    assert "CAP_BPF" in done.stderr
    assert " ".join(argv) in done.stderr.partition("sudo ")[2]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
@pytest.mark.parametrize("argv", COMMANDS)
def test_root_without_capabilities(argv: list[str]) -> None:
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    words = [*drop, sys.executable, "-m", "probee", *argv]
    explains_what_is_missing(subprocess.run(words, capture_output=True, text=True, timeout=60), argv)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_the_demo_without_capabilities_is_made_up() -> None:
    words = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "probee", "demo"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "needs root, so nothing is attached" in done.stdout
    assert "what follows is made up" in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_without_root(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "import probee.cli.main"]
    try:
        readable = not subprocess.run(words, user=65534, capture_output=True, cwd="/").returncode
    except PermissionError:
        readable = False
    if not readable:
        pytest.skip("the user nobody can't read this Python or this checkout")
    environment = {**os.environ, "PROBEE_CACHE": str(tmp_path / "none")}
    done = run("opensnoop", user=65534, group=65534, cwd="/", env=environment)
    explains_what_is_missing(done, ["opensnoop"])


def test_a_reader_that_leaves_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "probee", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        error = process.stderr.read()
    assert error == b""
