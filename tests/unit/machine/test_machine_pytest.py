"""The pytest plugin: fixtures, both targets, readable failures, sizes. Each test runs pytest inside of it."""

from __future__ import annotations

import json
from importlib.metadata import entry_points

import pytest
from _pytest.pytester import Pytester, SysModulesSnapshot

pytest_plugins = ["pytester"]

PROGRAMS = """
import probee as bp
from probee import Char, u32, u64

class Exec(bp.Struct):
    pid: u32
    name: Char[16]

execs = bp.RingBuf[Exec](4096)
runs = bp.Hash[u32, u64](16)

@bp.tracepoint("sched:sched_process_exec")
def on_exec(args):
    runs[args.pid] += 1
    with execs.reserve() as e:
        e.pid = args.pid
        e.name = args.filename

@bp.xdp
def filter(packet):
    eth = packet.read(bp.Ethernet, short=bp.XDP.DROP)
    if eth.type == 0x0101:
        return bp.XDP.DROP
    return bp.XDP.PASS
"""
HEAD = "import pytest, probee as bp\nfrom probee.testing import *\n"


@pytest.fixture(autouse=True)
def modules_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process drop the modules that they were the first to import; not probee's, whose lazy
    names would lead to classes that are there twice."""
    kept = ("probee", "llvmlite", "numpy", "zope", "readline")
    snapshot = SysModulesSnapshot(preserve=lambda name: name.partition(".")[0] in kept)
    monkeypatch.setattr(Pytester, "_Pytester__take_sys_modules_snapshot", lambda self: snapshot)


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Write files and run pytest on them."""
    words = "-p no:cacheprovider -ra"
    if not any(e.value == "probee.pytest_plugin" for e in entry_points(group="pytest11")):
        words += " -p probee.pytest_plugin"
    monkeypatch.setenv("PYTEST_ADDOPTS", words)

    def run(text: str, *words: str, programs: str = PROGRAMS) -> pytest.RunResult:
        pytester.makepyfile(progs=programs, test_it=HEAD + text)
        return pytester.runpytest(*words)

    return run


def test_machine_is_that_of_the_module(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
from progs import execs, on_exec, runs

def test_imported(machine):
    assert list(machine.programs) == ["on_exec"]
    machine.fire("sched:sched_process_exec", pid=7, filename="/bin/ls")
    assert_events(execs, [dict(pid=7, name="/bin/ls")])
    assert_map(runs, {7: 1})

@pytest.mark.bpf(cpus=3)
def test_fresh_and_with_options(machine):
    assert_map(runs, {})
    assert len(machine.cpus) == 3
"""
    )
    result.assert_outcomes(passed=2)
    pytester.makepyfile(
        test_module="import progs\ndef test(machine): assert set(machine.programs) == {'on_exec', 'filter'}",
        test_marked="import pytest, progs\npytestmark = pytest.mark.bpf(progs.filter)\n"
        "def test(machine): assert list(machine.programs) == ['filter']",
        test_none="def test(machine): pass",
    )
    again = pytester.runpytest("test_module.py", "test_marked.py", "test_none.py")
    again.assert_outcomes(passed=2, errors=1)
    again.stdout.fnmatch_lines(["*test_none has no BPF programs: import them, or name them*"])


def test_failures_say_what_differs(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
from progs import execs, filter, on_exec, runs

def fire(m):
    for pid in (7, 8):
        m.fire("sched:sched_process_exec", pid=pid, filename="/bin/ls")

def test_map(machine):
    fire(machine)
    assert_map(runs, {7: 2, 9: 1})

def test_events(machine):
    fire(machine)
    assert_events(execs, [dict(pid=7), dict(pid=9, name="/bin/ls")])

def test_any_order(machine):
    fire(machine)
    assert_events(machine.read(execs), [dict(pid=8), dict(pid=7, name="x")], ordered=False)

def test_among(machine):
    fire(machine)
    assert_events(execs, [dict(pid=8)], only=False)

def test_verdict(machine):
    assert_verdict(machine.xdp(b"\\1" * 64), "DROP")
    assert_verdict(machine.xdp(bytes(64)), "DROP")
"""
    )
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines(
        [
            "*runs is not as expected (2 entries):",
            "*[[]7]: is 1, expected 2",
            "*[[]9]: missing, expected 1",
            "*[[]8]: 1, expected no such entry",
            "*event 1.pid: is 8, expected 9",
            "*the events were (2):",
            "*no event is {'pid': 7, 'name': 'x'}; the nearest differs in name: is '/bin/ls', not 'x'",
            "*filter: PASS (returned 2), expected DROP",
        ]
    )
    assert "asserts.py" not in result.stdout.str()


def test_refused_programs_and_faults_are_shown_on_source_lines(run) -> None:  # type: ignore[no-untyped-def]
    programs = """
import probee as bp
from probee import u64
ones = bp.Array[u64](4)

@bp.tracepoint("sched:sched_process_exec")
def float_wanted(args):
    x = 1.5

@bp.tracepoint("sched:sched_process_exec")
def fine(args):
    task = bp.current_task()
    ones[0] = task.pid
"""
    result = run(
        """
from progs import fine, float_wanted

@pytest.mark.bpf(float_wanted)
def test_compile(machine):
    pass

@pytest.mark.bpf(fine)
def test_fault(machine):
    from probee.machine.memory import Fault
    raise Fault("read of 8 bytes at 0x10: no memory is there", program="fine", index=3,
                line=f"{fine.fn.__code__.co_filename}:12", registers={"r1": 0x10})
""",
        programs=programs,
    )
    result.assert_outcomes(failed=1, errors=1)
    text = result.stdout.str()
    result.stdout.fnmatch_lines(["E *progs.py:7:*", "E *x = 1.5", "E *^*"])
    result.stdout.fnmatch_lines(
        ["E *fine: instruction 3 *", "E *>   12 *ones[[]0] = task.pid", "E *r1 = 0x10*"]
    )
    assert "src/probee" not in text.replace("plugins", "")


def test_sizes_are_kept_and_growth_fails(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    text = """
from progs import on_exec

def test_size(machine, bpf_snapshot):
    bpf_snapshot(machine)

def test_most(machine):
    assert_size(machine, 10)
"""
    first = run(text, "-k", "test_size")
    first.assert_outcomes(failed=1)
    first.stdout.fnmatch_lines(["*no sizes are noted for test_it.py::test_size in bpf_sizes.json*"])
    pytester.runpytest("-k", "test_size", "--bpf-update").assert_outcomes(passed=1)
    path = pytester.path / "bpf_sizes.json"
    kept = json.loads(path.read_text())
    size = kept["test_it.py::test_size"]["on_exec"]
    assert 20 < size < 200
    result = pytester.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"*on_exec: {size} instructions"])
    path.write_text(json.dumps({"test_it.py::test_size": {"on_exec": size - 3, "old": 5}}))
    grown = pytester.runpytest("-k", "test_size")
    grown.assert_outcomes(failed=1)
    grown.stdout.fnmatch_lines(
        [f"*on_exec: {size - 3} → {size} instructions (+3)", "*old: 5 instructions, gone"]
    )
    path.write_text(json.dumps({"test_it.py::test_size": {"on_exec": size + 2}}))
    smaller = pytester.runpytest("-k", "test_size")
    smaller.assert_outcomes(passed=1)
    smaller.stdout.fnmatch_lines(["*BPF programs got smaller*", f"*on_exec {size + 2} → {size}"])
    path.write_text("[]")
    pytester.runpytest("-k", "test_size").stdout.fnmatch_lines(["*is not what --bpf-update writes*"])


BOTH = """
from progs import execs, filter, on_exec, runs

@pytest.mark.bpf(filter)
@pytest.mark.bpf_both
@pytest.mark.parametrize("first", [0, 1])
def test_packets(bpf, first):
    out = bpf.run(filter, bytes([first]) * 64)
    assert out.verdict == ("DROP" if first else "PASS")
    return out

@pytest.mark.bpf(filter)
@pytest.mark.bpf_both
def test_differ(bpf):
    return {"where": bpf.where, "list": [1, 2], "same": 3}
"""


def test_both_wants_the_fixture(run) -> None:  # type: ignore[no-untyped-def]
    result = run("@pytest.mark.bpf_both\ndef test_it(machine): pass")
    result.stdout.fnmatch_lines(["*test_it is marked bpf_both and must take the fixture `bpf`*"])


def test_what_is_missing_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from probee.sys import caps

    monkeypatch.setattr(caps, "missing", lambda *needed: ["CAP_BPF"])
    result = run(BOTH + "\n\ndef test_kernel(kernel): pass")
    result.assert_outcomes(passed=3, skipped=4)
    result.stdout.fnmatch_lines(["SKIPPED*needs CAP_BPF to load programs (run as root)"])


@pytest.mark.root
def test_both_run_and_are_compared(run) -> None:  # type: ignore[no-untyped-def]
    result = run(BOTH)
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(
        ["*the machine and the kernel differ:", "*.where: machine 'machine', kernel 'kernel'"]
    )
    assert ".same" not in result.stdout.str()
    alone = run(BOTH, "-k", "kernel")
    alone.assert_outcomes(passed=2, failed=1, deselected=3)


@pytest.mark.root
def test_the_same_events_in_machine_and_kernel(run) -> None:  # type: ignore[no-untyped-def]
    result = run(
        """
import subprocess
from progs import execs, on_exec

@pytest.mark.bpf_both
def test_exec(bpf):
    bpf.event(
        machine=lambda m: m.fire("sched:sched_process_exec", pid=7, filename="/bin/true"),
        kernel=lambda: subprocess.run(["/bin/true"], check=True),
    )
    names = [e.name for e in bpf.read(execs, 1)]
    assert "/bin/true" in names
    return "/bin/true" in names

def test_attached(kernel):
    subprocess.run(["/bin/true"], check=True)
    assert "/bin/true" in [e.name for e in execs.consume()]
"""
    )
    result.assert_outcomes(passed=3)


def test_what_a_test_did_wrong_is_shown_without_probees_frames(run, pytester: pytest.Pytester) -> None:  # type: ignore[no-untyped-def]
    text = """
from progs import on_exec

@pytest.mark.bpf(on_exec)
def test_event(machine):
    machine.fire("sched:sched_process_exce", pid=1)

@pytest.mark.bpf(on_exec)
def test_field(machine):
    machine.task(7, "ls", parnet=3)

@pytest.mark.bpf(on_exec)
def test_own(machine):
    machine.current.pid.missing

@pytest.mark.bpf(on_exec, cpu=2)
def test_option(machine):
    pass
"""
    result = run(text)
    result.assert_outcomes(failed=3, errors=1)
    result.stdout.fnmatch_lines(
        ["*>    8 *sched_process_exce*", "E   nothing is attached to sched:sched_process_exce; *"]
    )
    result.stdout.fnmatch_lines(["E   struct task_struct has no field 'parnet'; did you mean parent?"])
    result.stdout.fnmatch_lines(
        ["*machine.current.pid.missing*", "E *'int' object has no attribute 'missing'"]
    )
    result.stdout.fnmatch_lines(["*@pytest.mark.bpf has no option 'cpu'; a machine takes btf, cpus, *"])
    shown = result.stdout.str()
    assert not any(name in shown for name in ("kernel_memory.py", "builders.py", "fire.py"))
    assert "builders.py" in pytester.runpytest_inprocess("--full-trace", "-k", "test_field").stdout.str()
