"""Programs in the running kernel: what they see of a real workload, through each family of hooks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from c_objects import compile_c, object_from_c
from probee.errors import AttachError, LoadError
from probee.kernel.load import Collection, load

pytestmark = pytest.mark.root

EXEC = r"""
struct task_struct { int pid; int tgid; struct task_struct *real_parent; } CORE;
HASH(seen, u32, u64, 4096);
HASH(parents, u32, u64, 4096);
SEC("tp/sched/sched_process_exec") int by_tracepoint(void *ctx) { count(&seen, pid_tgid() >> 32); return 0; }
SEC("raw_tp/sched_process_exec") int by_raw_tp(void *ctx) { count(&seen, pid_tgid() >> 32); return 0; }
SEC("tp_btf/sched_process_exec") int by_tp_btf(u64 *ctx) {
    struct task_struct *task = (void *)ctx[0];
    u32 pid = task->tgid; u64 parent = task->real_parent->tgid;
    count(&seen, pid);
    map_update(&parents, &pid, &parent, 0);
    return 0;
}
"""

LIBC = r"""
HASH(calls, u32, u64, 4096);
HASH(returned, u32, u64, 4096);
SEC("uprobe/libc:getppid") int enter(void *ctx) { count(&calls, pid_tgid() >> 32); return 0; }
SEC("uretprobe/libc:getppid") int leave(void *ctx) {
    u32 pid = pid_tgid() >> 32; u64 value = RETURN_VALUE(ctx);
    map_update(&returned, &pid, &value, 0);
    return 0;
}
"""

SAMPLES = r"""
u64 samples; const volatile u64 step = 1;
SEC("perf_event/cpu-clock:freq=500") int sample(void *ctx) { __sync_fetch_and_add(&samples, step); return 0; }
"""


def run_true() -> int:
    """Execute a program; returns the pid it had."""
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    return child.pid


def call_getppid(times: int) -> int:
    """A process that calls libc's getppid `times` times; returns its pid."""
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", f"import os\nfor _ in range({times}): os.getppid()"]
    )
    assert child.wait() == 0
    return child.pid


@pytest.mark.parametrize("name", ["by_tracepoint", "by_raw_tp", "by_tp_btf"])
def test_an_exec_is_seen(tmp_path: Path, name: str) -> None:
    with load(object_from_c(tmp_path, EXEC), programs=[name]) as live:
        before = run_true()
        with live.programs[name].attach():
            during = run_true()
        after = run_true()
        seen = live.maps["seen"]
        assert (before in seen, during in seen, after in seen) == (False, True, False)
        assert seen[during] == 1
        if name == "by_tp_btf":
            assert live.maps["parents"][during] == os.getpid()


def test_only_the_chosen_programs_are_loaded(tmp_path: Path) -> None:
    spec = object_from_c(tmp_path, EXEC)
    with load(spec, programs=["by_raw_tp"]) as live:
        assert list(live.programs) == ["by_raw_tp"]
    with pytest.raises(LoadError, match=r"no program 'nonesuch'.*by_tracepoint"):
        load(spec, programs=["nonesuch"])


def test_uprobe_and_uretprobe_on_libc(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, LIBC)) as live:
        with live.programs["enter"].attach(), live.programs["leave"].attach():
            pid = call_getppid(7)
        assert live.maps["calls"][pid] == 7
        assert live.maps["returned"][pid] == os.getpid()
        quiet = call_getppid(1)
        assert quiet not in live.maps["calls"]


def test_uprobe_of_one_process(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, LIBC), programs=["enter"]) as live:
        with live.programs["enter"].attach(pid=os.getpid()):
            other = call_getppid(3)
            os.getppid()
        assert live.maps["calls"].get(os.getpid(), 0) >= 1
        assert other not in live.maps["calls"]


def test_uprobe_of_a_symbol_that_is_not_there(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, LIBC), programs=["enter"]) as live:
        with pytest.raises(AttachError, match=r"no symbol getppidd in .*libc.*did you mean getppid"):
            live.programs["enter"].attach("libc:getppidd")
        with pytest.raises(AttachError, match=r"can't find 'libnonesuch'"):
            live.programs["enter"].attach("libnonesuch:getppid")


def burn(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_sampling_on_every_cpu(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, SAMPLES), values={"step": (3).to_bytes(8, sys.byteorder)}) as live:
        program = live.programs["sample"]
        with program.attach() as link:
            assert len(link.fds) == len(os.sched_getaffinity(0))
            burn(0.2)
        taken = live.globals.samples
        assert taken >= 3 * 50  # 500 a second on at least the CPU that was busy
        assert taken % 3 == 0
        burn(0.02)
        assert live.globals.samples == taken
        with program.attach(period=1_000_000, cpus=[0]) as link:
            assert len(link.fds) == 1
            assert "every 1000000" in link.hook


def test_sampling_by_an_event_that_is_not_there(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, SAMPLES)) as live:
        with pytest.raises(AttachError, match="did you mean cpu-clock"):
            live.programs["sample"].attach("cpu-clok")
        with pytest.raises(AttachError, match="expected EVENT:freq=N"):
            live.programs["sample"].attach("cpu-clock:freq=often")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("tp/sched/sched_proces_exec", "no tracepoint sched:sched_proces_exec.*sched:sched_process_exec"),
        ("raw_tp/sched_proces_exec", "no raw tracepoint sched_proces_exec.*sched_process_exec"),
        ("raw_tp/sys_enter_openat", "use sys_enter or sys_exit"),
    ],
)
def test_a_hook_that_is_not_there_offers_the_nearest(tmp_path: Path, section: str, message: str) -> None:
    text = f'SEC("{section}") int lost(void *ctx) {{ return 0; }}'
    with load(object_from_c(tmp_path, text)) as live, pytest.raises(AttachError, match=message) as caught:
        live.programs["lost"].attach()
    assert caught.value.hook


def test_a_tp_btf_that_is_not_there_is_found_at_load(tmp_path: Path) -> None:
    text = 'SEC("tp_btf/sched_proces_exec") int lost(void *ctx) { return 0; }'
    with pytest.raises(AttachError, match=r"no tp_btf sched_proces_exec.*did you mean sched_process_exec"):
        load(object_from_c(tmp_path, text))


def test_closing_is_idempotent(tmp_path: Path) -> None:
    live = load(object_from_c(tmp_path, EXEC), programs=["by_raw_tp"])
    link = live.programs["by_raw_tp"].attach()
    assert link.fd >= 0
    for _ in range(2):
        link.close()
        live.close()
    assert link.closed
    assert live.programs["by_raw_tp"].closed
    assert live.maps["seen"].closed


def test_facts_of_a_program(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, EXEC)) as live:
        program = live.programs["by_raw_tp"]
        info = program.info()
        assert (info.id, info.tag, info.name) == (program.id, program.tag, "by_raw_tp")
        assert len(program.tag) == 16
        twin = live.programs["by_tracepoint"]
        assert twin.tag == program.tag  # the same instructions


def test_a_test_run(tmp_path: Path) -> None:
    text = """
    SEC("xdp") int first(void *ctx) { return ((u32 *)ctx)[1] > ((u32 *)ctx)[0] ? 2 : 1; }
    SEC("raw_tp/sys_enter") int sum(u64 *ctx) { return ctx[0] + ctx[1]; }
    """
    with load(object_from_c(tmp_path, text)) as live:
        packet = bytes(range(64))
        retval, data, duration = live.programs["first"].test_run(packet, repeat=100)
        assert (retval, data) == (2, packet)
        assert duration >= 0
        context = (40).to_bytes(8, sys.byteorder) + (2).to_bytes(8, sys.byteorder)
        assert live.programs["sum"].test_run(ctx=context)[0] == 42


def test_program_arrays_are_filled(tmp_path: Path) -> None:
    text = """
    int target(void *ctx);
    struct { __uint(type, 3); __uint(max_entries, 4); __uint(key_size, 4); __array(values, int (void *)); }
    jumps SEC(".maps") = { .values = { [2] = (void *)&target } };
    SEC("raw_tp/sys_enter") int target(void *ctx) { return 7; }
    SEC("raw_tp/sys_enter") int entry(void *ctx) { tail_call(ctx, &jumps, 2); return 1; }
    """
    with load(object_from_c(tmp_path, text)) as live:
        assert live.programs["entry"].test_run(ctx=bytes(16))[0] == 7


def test_globals_given_before_the_start(tmp_path: Path) -> None:
    text = """
    const volatile u32 limit = 5; u32 start = 2;
    SEC("raw_tp/sys_enter") int sum(void *ctx) { return limit + start; }
    """
    spec = object_from_c(tmp_path, text)
    for values, result in (({}, 7), ({"limit": (40).to_bytes(4, sys.byteorder)}, 42)):
        with load(spec, values=values) as live:
            assert live.programs["sum"].test_run(ctx=bytes(16))[0] == result
    with pytest.raises(LoadError, match="no global 'limits'"):
        load(spec, values={"limits": bytes(4)})
    with pytest.raises(LoadError, match="4 bytes, not 8"):
        load(spec, values={"limit": bytes(8)})


def test_kconfig_and_kernel_symbols(tmp_path: Path) -> None:
    text = """
    extern int LINUX_KERNEL_VERSION __attribute__((section(".kconfig")));
    extern _Bool CONFIG_BPF_SYSCALL __attribute__((section(".kconfig")));
    extern _Bool CONFIG_NO_SUCH_THING __attribute__((section(".kconfig"), weak));
    extern const void schedule __attribute__((section(".ksyms")));
    extern const void no_such_symbol __attribute__((section(".ksyms"), weak));
    SEC("raw_tp/sys_enter") int ask(void *ctx) {
        if (!CONFIG_BPF_SYSCALL || CONFIG_NO_SUCH_THING || !&schedule || &no_such_symbol) return -1;
        return LINUX_KERNEL_VERSION;
    }
    """
    release = os.uname().release.split("-")[0].split(".")
    with load(object_from_c(tmp_path, text)) as live:
        version = live.programs["ask"].test_run(ctx=bytes(16))[0]
    assert (version >> 16, version >> 8 & 255) == (int(release[0]), int(release[1]))


CHILD = """
import sys
from probee.kernel.load import load
from probee.obj import read_object
with load(read_object(sys.argv[1]), programs=["by_tracepoint", "by_raw_tp"]) as live:
    links = [program.attach() for program in live.programs.values()]
    print(live.maps["seen"].id, *(program.id for program in live.programs.values()), flush=True)
    import time
    time.sleep(60)
"""


def test_ctrl_c_detaches(tmp_path: Path) -> None:
    compile_c(tmp_path, EXEC, "child")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "child.bpf.o")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    ids = [int(word) for word in child.stdout.readline().split()]
    assert len(ids) == 3
    assert all(alive(ids[1:]))
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    end = time.monotonic() + 5  # the kernel frees programs after a grace period
    while any(alive(ids[1:])) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(alive(ids[1:]))


def alive(program_ids: list[int]) -> list[bool]:
    from probee.sys import kernel
    from probee.sys.bpf import PROG_GET_FD_BY_ID

    found = []
    for id in program_ids:
        try:
            kernel().close(kernel().fd_by_id(PROG_GET_FD_BY_ID, id))
            found.append(True)
        except FileNotFoundError:
            found.append(False)
    return found


def test_a_failed_load_leaves_nothing(tmp_path: Path) -> None:
    text = EXEC + 'SEC("raw_tp/sys_enter") int bad(u64 *ctx) { return *(u64 *)ctx[1]; }'
    spec = object_from_c(tmp_path, text)
    with pytest.raises(LoadError):
        load(spec)  # the fixture no_leaked_descriptor watches


def test_collections_show_themselves(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, EXEC)) as live:
        assert isinstance(live, Collection)
        assert "by_raw_tp" in repr(live)
        with live.programs["by_raw_tp"].attach() as link:
            assert repr(link) == "<link raw tracepoint sched_process_exec>"
        assert repr(link).endswith("(closed)>")
