"""The command line in the running kernel: running files and objects, ending them, and what bad input gets."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

REPO = Path(__file__).resolve().parents[2]
COUNTER = """
import probee as bp
from probee import Char, u32, u64

class Call(bp.Struct):
    pid: u32
    comm: Char[16]

seen = bp.Hash[u32, u64](64)
total = bp.Global[u64](0)
calls = bp.RingBuf[Call](4096)

@bp.tracepoint("syscalls:sys_enter_getppid")
def on_getppid(args):
    seen[bp.pid()] += 1
    total.value += 1
    calls.output(Call(pid=bp.pid(), comm=bp.comm()))
"""


def probee(*argv: str) -> list[str]:
    return [sys.executable, "-m", "probee", *argv]


def run(*argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(probee(*argv), capture_output=True, text=True, timeout=60, cwd=cwd)


def until(
    says: str, work: Callable[[], object], *argv: str, end: int = signal.SIGINT
) -> tuple[int, str, str]:
    """Run a command, do `work` until it prints `says`, end it. Exit code, output, errors."""
    with subprocess.Popen(probee(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        out = b""
        deadline = time.monotonic() + 30
        while says.encode() not in out and time.monotonic() < deadline and process.poll() is None:
            work()
            time.sleep(0.05)
            out += process.stdout.read() or b""
        os.set_blocking(process.stdout.fileno(), True)
        process.send_signal(end)
        rest, error = process.communicate(timeout=20)
    return process.returncode, (out + rest).decode(), error.decode()


def nothing() -> None:
    pass


# ---- run ----


def test_the_design_pages_example_reports_an_exec(tmp_path: Path) -> None:
    program = tmp_path / "probee-run-q9"
    shutil.copy("/bin/true", program)

    def work() -> None:
        subprocess.run([program], check=True)

    code, out, error = until(str(program), work, "run", str(REPO / "examples/execsnoop.py"))
    assert (code, error) == (0, "")
    found = re.search(rf"^(\d+) +(\d+) +probee-run-q9 +{re.escape(str(program))}$", out, re.M)
    assert found, out
    assert int(found[2]) == os.getpid()


def test_the_example_is_the_design_pages() -> None:
    readme = (REPO / "README.md").read_text()
    code = re.search(r'```python\n("""Who executes what.*?)```', readme, re.S)
    assert code
    assert (REPO / "examples/execsnoop.py").read_text() == code[1]


@pytest.mark.parametrize("name", sorted(p.stem for p in (REPO / "examples").glob("*.py")))
def test_each_example_attaches_and_ends(name: str) -> None:
    path = REPO / "examples" / f"{name}.py"
    if "/bin/bash" in path.read_text() and not has_symbol("/bin/bash", "readline"):
        pytest.skip("this bash has no symbol readline")
    with subprocess.Popen(
        probee("run", str(path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=20)
    assert process.returncode in (0, 130)
    assert error == ""


def has_symbol(path: str, name: str) -> bool:
    return name.encode() + b"\0" in Path(path).read_bytes()


def test_a_file_that_attaches_nothing_is_attached_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "counter.py"
    path.write_text(COUNTER)
    code, out, error = until(f"pid={os.getpid()}", os.getppid, "run", str(path))
    assert (code, error) == (0, "")
    assert out.startswith("attached to ")
    assert f"comm={Path('/proc/self/comm').read_text().strip()}" in out
    assert re.search(r"^total = \d+$", out, re.M)
    assert re.search(rf"^seen\n(  .*\n)*  {os.getpid()} +\d+$", out, re.M)


def test_an_object_is_attached_and_shown_as_json(tmp_path: Path) -> None:
    path = tmp_path / "counter.py"
    path.write_text(COUNTER)
    assert run("build", "counter.py", cwd=tmp_path).stdout.startswith("counter.bpf.o: ")
    code, out, error = until(str(os.getpid()), os.getppid, "run", "--json", str(tmp_path / "counter.bpf.o"))
    assert (code, error) == (0, "")
    rows = [json.loads(text) for text in out.splitlines()]
    assert {"from": "calls", "pid": os.getpid(), "comm": rows[0]["comm"]} in rows


def test_what_a_program_prints_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "hello.py"
    path.write_text(
        "import probee as bp\n"
        '@bp.tracepoint("syscalls:sys_enter_getppid")\n'
        "def hello(args):\n"
        '    print(f"hello from {bp.pid()}")\n'
    )
    code, out, error = until(f"hello from {os.getpid()}", os.getppid, "run", str(path))
    assert (code, error) == (0, "")
    assert re.search(rf"^hello from {os.getpid()}$", out, re.M)


def test_code_after_the_block_runs_after_the_interrupt_key(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        COUNTER
        + 'if __name__ == "__main__":\n'
        + "    with bp.attach():\n"
        + "        print('attached', flush=True)\n"
        + "        for e in calls:\n"
        + "            pass\n"
        + "    print('after')\n"
    )
    code, out, error = until("attached", nothing, "run", str(path))
    assert (code, error, out) == (0, "", "attached\nafter\n")


# ---- ending ----


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", [["opensnoop"], ["runqlat"], ["syscount", "--latency"]])
def test_signals_end_a_tool_cleanly(command: list[str], end: int) -> None:
    began = time.monotonic()
    code, out, error = until("\n", nothing, *command, end=end)
    assert code in (0, 130)
    assert error == ""
    assert out
    assert time.monotonic() - began < 20


def test_lost_records_are_reported_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        COUNTER
        + "import os\n"
        + 'if __name__ == "__main__":\n'
        + "    with bp.attach():\n"
        + "        for _ in range(1000):\n"
        + "            os.getppid()\n"
    )
    done = run("run", str(path))
    assert done.returncode == 0
    assert re.fullmatch(r"probee: \d+ records of calls were lost: its buffer was full\n", done.stderr)


def test_a_reader_that_leaves_ends_a_tool(tmp_path: Path) -> None:
    command = " ".join(probee("syscount", "-i", "0.1", "-d", "20"))
    began = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command} | head -1"], capture_output=True, text=True, timeout=60
    )
    assert time.monotonic() - began < 15
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Counting system calls... Ctrl-C to end.\n"


# ---- build ----


def test_bpftool_loads_what_build_writes(tmp_path: Path) -> None:
    bpftool = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin")
    if bpftool is None:
        pytest.skip("bpftool is not installed")
    if not os.path.ismount("/sys/fs/bpf"):
        pytest.skip("bpffs is not mounted at /sys/fs/bpf")
    for name in ("execsnoop", "slow_reads", "count"):
        done = run("build", str(REPO / f"examples/{name}.py"), "-o", f"{name}.bpf.o", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        pins = Path(f"/sys/fs/bpf/probee-test-{os.getpid()}")
        try:
            words = [bpftool, "prog", "loadall", f"{name}.bpf.o", str(pins)]
            loaded = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
            assert loaded.returncode == 0, loaded.stderr
            assert list(pins.iterdir())
        finally:
            for pin in pins.glob("*"):
                pin.unlink()
            if pins.exists():
                pins.rmdir()


def test_disasm_shows_source_lines_and_names() -> None:
    done = run("disasm", str(REPO / "examples/execsnoop.py"))
    assert done.returncode == 0
    assert re.search(r"^on_exec:  tp/sched/sched_process_exec  \(\d+ instructions\)$", done.stdout, re.M)
    assert "; 21: e.pid = args.pid" in done.stdout
    assert "; bpf_ringbuf_reserve" in done.stdout
    assert "; map execs" in done.stdout
    assert "; CO-RE byte_off of struct task_struct.real_parent" in done.stdout


def test_disasm_of_a_tool() -> None:
    done = run("disasm", "runqlat", "on_switch")
    assert done.returncode == 0
    assert done.stdout.startswith("on_switch:  tp_btf/sched_switch")
    refused(run("disasm", "runqlat", "on_swich"), "it has on_wakeup")


def test_a_copied_tool_runs(tmp_path: Path) -> None:
    shutil.copy(REPO / "src/probee/tools/runqlat.py", tmp_path / "mine.py")
    for words in (probee("run"), [sys.executable]):
        command = [*words, str(tmp_path / "mine.py"), "-d", "0.2"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert "run-queue latency" in done.stdout


# ---- bad input ----


def program(tmp_path: Path, hook: str, body: str) -> str:
    path = tmp_path / "bad.py"
    lines = "\n".join(f"    {text}" for text in body.splitlines())
    path.write_text(
        "import probee as bp\nfrom probee import u64\n"
        f"m = bp.Array[u64](4)\n\n@bp.{hook}\ndef f(args):\n{lines}\n"
    )
    return str(path)


def refused(done: subprocess.CompletedProcess[str], *says: str) -> None:
    assert done.returncode == 1
    assert done.stderr.startswith("probee: ") or "-v" in done.args
    assert "Traceback" not in done.stderr
    for text in says:
        assert text in done.stderr


def test_an_unknown_tracepoint_offers_the_nearest(tmp_path: Path) -> None:
    refused(
        run("run", program(tmp_path, 'tracepoint("sched:sched_process_exce")', "pass")), "sched_process_exec"
    )


def test_an_unknown_field_offers_the_nearest(tmp_path: Path) -> None:
    path = program(tmp_path, 'tracepoint("sched:sched_process_exec")', "m[0] = args.old_pidd")
    refused(run("run", path), "bad.py:7:", "old_pid")


def test_an_unknown_field_of_a_kernel_struct_offers_the_nearest(tmp_path: Path) -> None:
    path = program(tmp_path, 'raw_tracepoint("sys_enter")', "m[0] = bp.current_task().tgidd")
    refused(run("run", path), "bad.py:7:", "tgid")


def test_a_refusal_of_the_verifier_shows_the_python_line(tmp_path: Path) -> None:
    path = program(
        tmp_path, 'raw_tracepoint("sys_enter")', "n = 1\nwhile n:\n    n = bp.rand() | 1\n    m[0] = n"
    )
    done = run("run", path)
    refused(done, "bad.py:", "-v")
    assert len(done.stderr.splitlines()) < 25
    full = run("-v", "run", path)
    refused(full)
    assert len(full.stderr) > len(done.stderr)
    assert len(run("run", "-v", path).stderr) > len(done.stderr)


def test_garbage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.bpf.o"
    for data in (b"", b"#!/bin/sh\n", Path(sys.executable).resolve().read_bytes()[:100_000]):
        path.write_bytes(data)
        refused(run("run", str(path)), "x.bpf.o: ")


def test_a_truncated_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.bpf.o"
    run("build", str(REPO / "examples/count.py"), "-o", str(path))
    data = path.read_bytes()
    for size in (10, 64, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        refused(run("disasm", str(path)))


# ---- demo ----


def test_demo_shows_its_workload() -> None:
    done = run("demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    out = done.stdout
    assert re.search(r"^Attached \d+ programs to the kernel in \d+ ms", out)
    for words in ("true", "uname -s", "sh -c echo $((6 * 7))"):
        assert re.search(rf"^ +\d+ +\d+ \w+ +{re.escape(words)}$", out, re.M), words
    assert re.search(r"^ +\d+ cat +fd \d+ +/tmp/hello-probee-\w+$", out, re.M)
    assert "No such file or directory" in out
    assert "█" in out or "#" in out
    assert "no event was lost" in out
    assert not list(Path("/tmp").glob("hello-probee-*"))
