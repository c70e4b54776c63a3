"""Kprobes and system calls: every way of attaching them, on kernels that have them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from c_objects import compile_c, object_from_c
from needs import needs
from probee.errors import AttachError, Unsupported
from probee.kernel.features import have
from probee.kernel.link_info import PerfKprobeLink
from probee.kernel.links import kprobe
from probee.kernel.links.perf import PerfLink
from probee.kernel.load import Collection, load
from probee.sys import probe_events, tracefs

pytestmark = pytest.mark.root

TEXT = r"""
static u64 (*cookie)(void *) = (void *)174;
static u64 (*func_ip)(void *) = (void *)173;
HASH(calls, u32, u64, 64);
HASH(returned, u32, u64, 64);
HASH(cookies, u32, u64, 64);
SEC("kprobe/do_nanosleep") int enter(void *ctx) { count(&calls, pid_tgid() >> 32); return 0; }
SEC("kretprobe/do_nanosleep") int leave(void *ctx) {
    u32 pid = pid_tgid() >> 32; u64 value = RETURN_VALUE(ctx);
    count(&calls, pid);
    map_update(&returned, &pid, &value, 0);
    return 0;
}
SEC("?kprobe/do_nanosleep") int marked(void *ctx) {
    u32 pid = pid_tgid() >> 32; u64 value = cookie(ctx);
    map_update(&cookies, &pid, &value, 0);
    return 0;
}
SEC("ksyscall/getpgid") int call(void *ctx) { count(&calls, pid_tgid() >> 32); return 0; }
SEC("kretsyscall/getpgid") int done(void *ctx) {
    u32 pid = pid_tgid() >> 32; u64 value = RETURN_VALUE(ctx);
    map_update(&returned, &pid, &value, 0);
    return 0;
}
"""


def sleep(times: int = 1) -> int:
    """A process that sleeps `times` times for no time at all; its number."""
    line = f"import ctypes; c = ctypes.CDLL(None)\nfor _ in range({times}): c.usleep(1)"
    child = subprocess.Popen([sys.executable, "-S", "-c", line])
    assert child.wait() == 0
    return child.pid


def loaded(folder: Path, *names: str) -> Collection:
    return load(object_from_c(folder, TEXT), programs=names)


def probes() -> list[str]:
    """The probes of ours in tracefs."""
    try:
        text = Path(f"{tracefs.root()}/{probe_events.KPROBES}").read_text()
    except OSError:
        return []
    return [line for line in text.splitlines() if "probee_" in line]


@pytest.mark.parametrize("way", kprobe.WAYS)
def test_where_a_function_starts_and_returns(tmp_path: Path, way: str) -> None:
    needs("kprobe")
    with loaded(tmp_path, "enter", "leave") as live:
        enter, leave = live.programs["enter"], live.programs["leave"]
        with enter.attach(way=way) as link:
            assert isinstance(link, PerfLink) == (way != "auto" or not have("perf_link"))
            assert len(probes()) == (1 if way == "tracefs" or not have("kprobe_pmu") else 0)
            first = sleep(3)
        assert live.maps["calls"][first] == 3
        with leave.attach(way=way):
            second = sleep(2)
        assert (live.maps["calls"][second], live.maps["returned"][second]) == (2, 0)
        assert sleep() not in live.maps["calls"]
        assert probes() == []


def test_a_cookie_and_what_the_link_says(tmp_path: Path) -> None:
    needs("kprobe", "bpf_cookie")
    with loaded(tmp_path, "marked") as live, live.programs["marked"].attach(cookie=4711) as link:
        assert live.maps["cookies"][sleep()] == 4711
        details = link.info()
        assert details.type_name == "perf_event"
        if isinstance(details, PerfKprobeLink):  # since Linux 6.6
            assert (details.func, details.offset, details.retprobe) == ("do_nanosleep", 0, False)


def test_more_instances_of_a_return_probe(tmp_path: Path) -> None:
    needs("kprobe")
    with loaded(tmp_path, "leave") as live:
        with live.programs["leave"].attach(maxactive=64):
            (line,) = probes()
            assert line.startswith("r64:probee_")
            pid = sleep()
        assert live.maps["returned"][pid] == 0
        assert probes() == []
        with pytest.raises(AttachError, match="maxactive is for returns"):
            live.programs["leave"].attach_kprobe(returns=False, maxactive=2)


def test_an_address_and_an_offset(tmp_path: Path) -> None:
    needs("kprobe")
    from probee.symbols.kallsyms import KernelSymbols

    symbols = KernelSymbols.read()
    if symbols.hidden:
        pytest.skip("the kernel hides its addresses")
    with loaded(tmp_path, "enter") as live:
        with live.programs["enter"].attach_kprobe(address=symbols.address("do_nanosleep")):
            assert live.maps["calls"][sleep()] == 1
        with live.programs["enter"].attach_kprobe("do_nanosleep", offset=0):
            assert live.maps["calls"][sleep()] == 1
        with pytest.raises(AttachError, match="no instruction starts there"):
            live.programs["enter"].attach("do_nanosleep+0xfffff")


def test_a_function_of_a_module(tmp_path: Path) -> None:
    needs("kprobe")
    from probee.symbols.kallsyms import KernelSymbols

    symbols = KernelSymbols.read()
    modules = [m for m in symbols.modules() if m != "bpf" and not m.startswith("__")]
    names = [(s.module, s.name) for m in modules for s in symbols.matching("*_open", m)]
    with loaded(tmp_path, "enter") as live:
        with pytest.raises(AttachError, match="module nonesuch is not loaded"):
            live.programs["enter"].attach_kprobe("nonesuch:do_it")
        for module, name in names:
            try:
                live.programs["enter"].attach_kprobe(f"{module}:{name}").close()
            except AttachError:
                continue
            return
    pytest.skip(f"no module here has a function to probe (modules: {modules})")


def test_names_that_are_not_there(tmp_path: Path) -> None:
    needs("kprobe")
    with loaded(tmp_path, "enter", "call") as live:
        enter = live.programs["enter"]
        with pytest.raises(
            AttachError, match=r"no function do_nanoslep; did you mean .*do_nanosleep"
        ) as caught:
            enter.attach("do_nanoslep")
        assert caught.value.hook == "kprobe do_nanoslep"
        with pytest.raises(AttachError, match=r"no system call getpgidd; did you mean .*getpgid"):
            live.programs["call"].attach("getpgidd")
        for text in ("", "a b:", ":x", "x+y", "0xzz"):
            if text:
                with pytest.raises(AttachError, match="expected FUNCTION"):
                    enter.attach(text)


def test_a_function_that_must_not_be_probed(tmp_path: Path) -> None:
    needs("kprobe")
    from probee.symbols.ftrace import blacklisted

    name = next(
        (n for n in ("kprobe_dispatcher", "asm_exc_int3", "exc_int3", "do_int3") if blacklisted(n)), ""
    )
    if not name:
        pytest.skip("the kernel doesn't show its list of functions that must not be probed")
    with loaded(tmp_path, "enter") as live, pytest.raises(AttachError, match="must not be probed"):
        live.programs["enter"].attach(name)


def test_a_system_call_by_its_name(tmp_path: Path) -> None:
    needs("kprobe")
    with loaded(tmp_path, "call", "done") as live:
        with live.programs["call"].attach() as one, live.programs["done"].attach() as other:
            os.getpgid(0)
            assert (one.hook, other.hook) == ("ksyscall getpgid", "kretsyscall getpgid")
        assert live.maps["calls"][os.getpid()] == 1
        assert live.maps["returned"][os.getpid()] == os.getpgid(0)


def test_a_kernel_without_kprobes_is_named(tmp_path: Path) -> None:
    if have("kprobe"):
        pytest.skip("this kernel has kprobes")
    with loaded(tmp_path, "enter", "call") as live:
        for name in ("enter", "call"):
            with pytest.raises(Unsupported, match=r"no kprobes .*fentry, tp_btf or raw_tp may do") as caught:
                live.programs[name].attach()
            assert caught.value.feature == "kprobe"


CHILD = """
import sys, time
from probee.obj import read_object
from probee.kernel.load import load
live = load(read_object(open(sys.argv[1], "rb").read(), "x"), programs=["enter"])
link = live.programs["enter"].attach(way="tracefs")
print("ready", flush=True)
time.sleep(100)
"""


def test_probes_of_killed_processes_are_swept(tmp_path: Path) -> None:
    """A probe made through tracefs stays when its process is killed; the next one takes it away."""
    needs("kprobe")
    (tmp_path / "x.o").write_bytes(compile_c(tmp_path, TEXT))
    run = [sys.executable, "-c", CHILD, str(tmp_path / "x.o")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert len(probes()) == 1
    with loaded(tmp_path, "enter") as live, live.programs["enter"].attach(way="tracefs"):
        (line,) = probes()
        assert f"_{os.getpid()}_" in line
    assert probes() == []
