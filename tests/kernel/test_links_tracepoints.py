"""Tracepoints of all kinds: cookies, what is writable, what the kernel says of the links, what it refuses."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import AttachError, LoadError, Unsupported
from probee.kernel.link_info import PerfTracepointLink, RawTracepointLink
from probee.kernel.load import load

pytestmark = pytest.mark.root

# ENOENT and the like as bpf_test_finish sees them; nothing else looks at them.
HOSTUNREACH = 113

EXEC = r"""
static u64 (*cookie)(void *) = (void *)174;
HASH(seen, u32, u64, 64);
static inline void note(void *ctx) {
    u32 pid = pid_tgid() >> 32; u64 c = cookie(ctx); map_update(&seen, &pid, &c, 0);
}
SEC("tp/sched/sched_process_exec") int by_tracepoint(void *ctx) { note(ctx); return 0; }
SEC("raw_tp/sched_process_exec") int by_raw_tp(void *ctx) { note(ctx); return 0; }
SEC("tp_btf/sched_process_exec") int by_tp_btf(u64 *ctx) { note(ctx); return 0; }
"""

WRITABLE = r"""
SEC("raw_tp.w/bpf_test_finish") int spoil(u64 *ctx) { int *err = (int *)ctx[0]; *err = -113; return 0; }
SEC("socket") int filter(void *ctx) { return 0; }
"""

SLEEPABLE = r"""
HASH(seen, u32, u64, 64);
SEC("tp_btf.s/sys_enter") int asleep(u64 *ctx) { count(&seen, pid_tgid() >> 32); return 0; }
"""


def run_true() -> int:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    return child.pid


@pytest.mark.parametrize("name", ["by_tracepoint", "by_raw_tp", "by_tp_btf"])
def test_a_cookie_reaches_the_program(tmp_path: Path, name: str) -> None:
    needs("bpf_cookie")
    try:
        live = load(object_from_c(tmp_path, EXEC), programs=[name])
    except LoadError:
        pytest.skip(f"this kernel's {name[3:]} programs have no bpf_get_attach_cookie")
    with live:
        try:
            link = live.programs[name].attach(cookie=0x1234_5678_9ABC)
        except Unsupported as error:
            pytest.skip(str(error))
        with link:
            pid = run_true()
            assert live.maps["seen"][pid] == 0x1234_5678_9ABC
            said = link.info().to_dict().get("cookie")
            assert said in (None, 0, 0x1234_5678_9ABC)  # not all kernels tell it
        assert run_true() not in live.maps["seen"]


def test_what_links_say_of_themselves(tmp_path: Path) -> None:
    needs("perf_link")
    text = EXEC.replace("u64 c = cookie(ctx)", "u64 c = 7")
    with load(object_from_c(tmp_path, text)) as live:
        programs = live.programs
        with programs["by_raw_tp"].attach() as raw, programs["by_tp_btf"].attach() as typed:
            found = raw.info()
            assert isinstance(found, RawTracepointLink)
            assert (found.tp_name, found.prog_id) == ("sched_process_exec", programs["by_raw_tp"].id)
            assert found.id == raw.id
            assert found.to_dict() == {
                "id": raw.id,
                "type": "raw_tracepoint",
                "prog_id": programs["by_raw_tp"].id,
                "tp_name": "sched_process_exec",
                "cookie": 0,
            }
            assert typed.info().type_name in ("tracing", "raw_tracepoint")
        with programs["by_tracepoint"].attach() as link:
            details = link.info()
            assert details.type_name == "perf_event"
            if isinstance(details, PerfTracepointLink):  # since Linux 6.6
                assert details.tracepoint == "sched_process_exec"


def test_a_writable_tracepoint_is_written(tmp_path: Path) -> None:
    needs("raw_tp_writable")
    packet = bytes(64)
    with load(object_from_c(tmp_path, WRITABLE)) as live:
        tested = live.programs["filter"]
        assert tested.test_run(packet).retval == 0
        try:
            link = live.programs["spoil"].attach()
        except AttachError as error:
            pytest.skip(f"this kernel has no tracepoint bpf_test_finish ({error})")
        with link, pytest.raises(LoadError) as caught:
            tested.test_run(packet)
        assert caught.value.errno == HOSTUNREACH
        assert tested.test_run(packet).retval == 0


def test_a_sleepable_tracepoint(tmp_path: Path) -> None:
    try:
        live = load(object_from_c(tmp_path, SLEEPABLE))
    except LoadError:
        pytest.skip("this kernel has no sleepable tracepoints (tp_btf.s)")
    with live, live.programs["asleep"].attach():
        os.getppid()
        assert live.maps["seen"][os.getpid()] > 0


def test_names_that_are_not_there(tmp_path: Path) -> None:
    with load(object_from_c(tmp_path, EXEC.replace("u64 c = cookie(ctx)", "u64 c = 7"))) as live:
        with pytest.raises(AttachError, match=r"did you mean .*sched:sched_process_exec"):
            live.programs["by_tracepoint"].attach_tracepoint("sched:sched_proces_exec")
        with pytest.raises(AttachError, match=r"did you mean .*sched_process_exec"):
            live.programs["by_raw_tp"].attach_raw_tracepoint("sched_proces_exec")
        with pytest.raises(AttachError, match="verified for sched_process_exec and loaded for it"):
            live.programs["by_tp_btf"].attach("sched_switch")


def test_a_program_that_reads_more_than_the_tracepoint_has(tmp_path: Path) -> None:
    text = r'SEC("raw_tp/sched_process_exec") int far(u64 *ctx) { return ctx[9]; }'
    wrong = pytest.raises(AttachError, match="reads or writes more than the tracepoint has")
    with load(object_from_c(tmp_path, text)) as live, wrong:
        live.programs["far"].attach()
