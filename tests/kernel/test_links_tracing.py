"""fentry, fexit, fmod_ret, LSM, freplace: by what they see and change."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import AttachError, LoadError, PermissionDenied, Unsupported
from probee.kernel.features import ask
from probee.kernel.link_info import TracingLink
from probee.kernel.load import Collection, load
from probee.kernel.program import Program

pytestmark = pytest.mark.root

FUNCTIONS = r"""
static u64 (*cookie)(void *) = (void *)174;
HASH(calls, u32, u64, 64);
HASH(results, u32, u64, 64);
SEC("fentry/do_nanosleep") int enter(u64 *ctx) { count(&calls, pid_tgid() >> 32); return 0; }
SEC("fexit/do_nanosleep") int leave(u64 *ctx) {
    u32 pid = pid_tgid() >> 32; u64 result = ctx[2];
    count(&calls, pid);
    map_update(&results, &pid, &result, 0);
    return 0;
}
SEC("?fentry/do_nanosleep") int marked(u64 *ctx) {
    u32 pid = pid_tgid() >> 32; u64 value = cookie(ctx);
    map_update(&results, &pid, &value, 0);
    return 0;
}
"""

# Functions named security_… take fmod_ret programs in every kernel that takes any.
MODIFY = r"""
const volatile u32 self;
u64 runs;
SEC("fmod_ret/security_file_mprotect") int change(u64 *ctx) {
    if (pid_tgid() >> 32 != self) return 0;
    runs += 1;
    return -1;
}
"""

DENY = r"""
const volatile u32 self;
u64 asked;
SEC("lsm/file_mprotect") int deny(u64 *ctx) {
    if (pid_tgid() >> 32 != self) return 0;
    asked += 1;
    return -1;
}
"""

TARGET = r"""
__attribute__((noinline)) int choose(u32 kind, u64 length) {
    volatile u64 sum = kind + length; return sum == 4;
}
struct __sk_buff { u32 len; };
SEC("socket") int filter(struct __sk_buff *ctx) { return choose(3, 1); }
"""

REPLACEMENT = r"""
SEC("?freplace/choose") int other(u32 kind, u64 length) { return 42; }
"""

WATCH_PROGRAM = r"""
u64 seen, result;
SEC("?fentry/filter") int before(u64 *ctx) { seen += 1; return 0; }
SEC("?fexit/filter") int after(u64 *ctx) { result = ctx[1]; return 0; }
"""


def sleep(times: int = 1) -> int:
    line = f"import ctypes; c = ctypes.CDLL(None)\nfor _ in range({times}): c.usleep(1)"
    child = subprocess.Popen([sys.executable, "-S", "-c", line])
    assert child.wait() == 0
    return child.pid


def loaded(folder: Path, text: str, *names: str, **values: int) -> Collection:
    raw = {name: value.to_bytes(4, "little", signed=value < 0) for name, value in values.items()}
    return load(object_from_c(folder, text), programs=list(names) or None, values=raw)


# ---- functions of the kernel


def test_fentry_and_fexit(tmp_path: Path) -> None:
    needs("fentry")
    with loaded(tmp_path, FUNCTIONS) as live:
        with live.programs["enter"].attach() as link:
            first = sleep(3)
            details = link.info()
            if isinstance(details, TracingLink):
                assert details.prog_type == "tracing"
                assert details.to_dict()["attach_type"] == "trace_fentry"
        assert live.maps["calls"][first] == 3
        with live.programs["leave"].attach():
            second = sleep()
        assert (live.maps["calls"][second], live.maps["results"][second]) == (1, 0)
        assert sleep() not in live.maps["calls"]


def test_a_cookie(tmp_path: Path) -> None:
    needs("fentry", "bpf_cookie")
    try:
        live = loaded(tmp_path, FUNCTIONS, "marked")
    except LoadError:
        pytest.skip("this kernel's tracing programs have no bpf_get_attach_cookie")
    with live, live.programs["marked"].attach(cookie=99):
        assert live.maps["results"][sleep()] == 99


ASLEEP = r"""
static long (*copy_from_user)(void *, u32, const void *) = (void *)148;
const volatile u32 self;
char got[4];
u64 opened;
SEC("?fentry.s/__x64_sys_chdir") int path(u64 *ctx) {
    u64 *registers = (u64 *)ctx[0], address;
    if (pid_tgid() >> 32 != self) return 0;
    probe_read_kernel(&address, 8, &registers[14]);  /* di: the path */
    return copy_from_user(got, 4, (void *)address);
}
const volatile u64 place;
SEC("?lsm.s/file_open") int on_open(u64 *ctx) {
    if (pid_tgid() >> 32 == self) { opened += 1; copy_from_user(got, 4, (void *)place); }
    return 0;
}
"""


def test_sleepable_programs_read_the_memory_of_users(tmp_path: Path) -> None:
    needs("fentry", "sleepable")
    if os.uname().machine != "x86_64":
        pytest.skip("the registers named here are those of x86-64")
    try:
        live = loaded(tmp_path, ASLEEP, "path", self=os.getpid())
    except LoadError as error:
        pytest.skip(f"this kernel's system calls take no sleepable programs (error injection): {error}")
    with live, live.programs["path"].attach() as link:
        assert link.hook == "fentry.s __x64_sys_chdir"
        os.chdir(tmp_path)
        assert live.globals.got == str(tmp_path)[:4]


def test_a_sleepable_security_program(tmp_path: Path) -> None:
    needs("lsm", "sleepable")
    memory = ctypes.create_string_buffer(b"read", 4)
    spec = object_from_c(tmp_path, ASLEEP)
    values = {
        "self": os.getpid().to_bytes(4, "little"),
        "place": ctypes.addressof(memory).to_bytes(8, "little"),
    }
    try:
        live = load(spec, programs=["on_open"], values=values)
    except LoadError as error:
        pytest.skip(f"this kernel's file_open takes no sleepable programs: {error}")
    with live, live.programs["on_open"].attach():
        (tmp_path / "x").write_text("")
        assert live.globals.opened > 0
        assert live.globals.got == "read"


def test_fmod_ret_stands_for_the_function(tmp_path: Path) -> None:
    needs("fmod_ret")
    with loaded(tmp_path, MODIFY, self=os.getpid()) as live:
        assert mprotect() == 0
        with live.programs["change"].attach() as link:
            assert mprotect() == errno.EPERM
            assert link.hook == "fmod_ret security_file_mprotect"
        assert live.globals.runs == 1
        assert mprotect() == 0


SESSIONS = r"""
HASH(calls, u32, u64, 64);
SEC("?fsession/do_nanosleep") int session(u64 *ctx) { count(&calls, pid_tgid() >> 32); return 0; }
SEC("?fentry.multi/do_nanoslee?") int many(u64 *ctx) { count(&calls, pid_tgid() >> 32); return 0; }
"""


@pytest.mark.parametrize(("name", "times", "since"), [("session", 2, "7.0"), ("many", 1, "7.2")])
def test_sessions_and_many_functions(tmp_path: Path, name: str, times: int, since: str) -> None:
    """A session runs at start and return."""
    kind = {"session": "fsession", "many": "fentry.multi"}[name]
    try:
        live = loaded(tmp_path, SESSIONS, name)
    except LoadError as error:
        pytest.skip(f"this kernel has no {kind} (Linux {since}): {error}")
    with live:
        try:
            link = live.programs[name].attach()
        except Unsupported as error:
            pytest.skip(str(error))
        with link:
            pid = sleep(3)
            assert kind in link.hook
        assert live.maps["calls"][pid] == 3 * times


def test_the_kernel_says_no_and_we_say_why(tmp_path: Path) -> None:
    answer = ask("fentry")
    if answer or answer.reason != "policy":
        pytest.skip("this kernel does not refuse fentry programs")
    with pytest.raises(PermissionDenied), loaded(tmp_path, FUNCTIONS, "enter") as live:
        live.programs["enter"].attach()


def test_another_function_than_it_was_loaded_for(tmp_path: Path) -> None:
    needs("fentry")
    wrong = pytest.raises(AttachError, match="loaded for it; for do_exit set")
    with loaded(tmp_path, FUNCTIONS, "enter") as live, wrong:
        live.programs["enter"].attach("do_exit")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            "fentry/filp_clos",
            "fentry filp_clos: this kernel has no function filp_clos; did you mean .*filp_close",
        ),
        ("fexit/asm_exc_page_fault", "has asm_exc_page_fault, but no BTF of it .* a kprobe may do"),
        ("iter/tasc", r"no iter tasc \(not in its BTF\); did you mean task"),
        ("tp_btf/sched_proces_exec", "did you mean .*sched_process_exec"),
    ],
)
def test_a_target_that_is_not_there(tmp_path: Path, section: str, message: str) -> None:
    if "asm_" in section and os.uname().machine != "x86_64":
        pytest.skip("a function of x86-64")
    with pytest.raises(AttachError, match=message) as caught:
        loaded(tmp_path, f'SEC("{section}") int x(u64 *ctx) {{ return 0; }}')
    assert caught.value.errno == errno.ENOENT


# ---- security hooks


def mprotect() -> int:
    """The errno of a change of memory's protection."""
    import mmap

    libc = ctypes.CDLL(None, use_errno=True)
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    ctypes.set_errno(0)
    libc.mprotect(ctypes.c_void_p(place), mmap.PAGESIZE, mmap.PROT_READ)
    return ctypes.get_errno()


def test_a_security_hook_denies(tmp_path: Path) -> None:
    needs("lsm")
    with loaded(tmp_path, DENY, self=os.getpid()) as live:
        assert mprotect() == 0
        with live.programs["deny"].attach() as link:
            refused = mprotect()
            assert link.hook == "lsm file_mprotect"
        assert refused == errno.EPERM
        assert live.globals.asked >= 1
        assert mprotect() == 0


def test_a_kernel_that_runs_no_security_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from probee.kernel.links import lsm

    (tmp_path / "lsm").write_text("lockdown,capability,yama")
    monkeypatch.setattr(lsm, "_MODULES", str(tmp_path / "lsm"))
    with pytest.raises(AttachError, match="boot it with lsm=lockdown,yama,bpf"):
        lsm.check_active("lsm file_open")
    (tmp_path / "lsm").write_text("lockdown,capability,yama,bpf")
    lsm.check_active("lsm file_open")


# ---- functions of BPF programs


def replacing(folder: Path, target: Program) -> Collection:
    spec = object_from_c(folder, REPLACEMENT, "replacement")
    spec.programs["other"].target = target
    return load(spec, programs=["other"])


def test_freplace(tmp_path: Path) -> None:
    needs("freplace")
    packet = bytes(64)
    with loaded(tmp_path, TARGET) as target:
        filter = target.programs["filter"]
        assert filter.test_run(packet).retval == 1
        with replacing(tmp_path, filter) as live:
            with live.programs["other"].attach() as link:
                assert filter.test_run(packet).retval == 42
                assert isinstance(link.info(), TracingLink)
            assert filter.test_run(packet).retval == 1


def test_freplace_of_another_program_than_it_was_loaded_for(tmp_path: Path) -> None:
    needs("freplace")
    packet = bytes(64)
    with (
        loaded(tmp_path, TARGET) as target,
        loaded(tmp_path, TARGET) as second,
        replacing(tmp_path, target.programs["filter"]) as live,
    ):
        other, to = live.programs["other"], second.programs["filter"]
        with other.attach_freplace(to, "choose"):
            assert to.test_run(packet).retval == 42
            assert target.programs["filter"].test_run(packet).retval == 1
        assert to.test_run(packet).retval == 1
        with pytest.raises(AttachError, match="has no function 'nonesuch'; it has choose, filter"):
            other.attach_freplace(to, "nonesuch")


def test_a_program_watches_another(tmp_path: Path) -> None:
    needs("fentry")
    with loaded(tmp_path, TARGET) as target:
        filter = target.programs["filter"]
        spec = object_from_c(tmp_path, WATCH_PROGRAM, "watch")
        for program in spec.programs.values():
            program.target = filter
        with load(spec, programs=["before", "after"]) as live:
            with live.programs["before"].attach(), live.programs["after"].attach():
                filter.test_run(bytes(64), repeat=3)
            assert (live.globals.seen, live.globals.result) == (3, 1)
            filter.test_run(bytes(64))
            assert live.globals.seen == 3
