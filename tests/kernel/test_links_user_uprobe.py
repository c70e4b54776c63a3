"""Uprobes by what they do: a function that is called is seen, in the process and for the reason asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from probee.errors import AttachError, LoadError, ProbeeError, Unsupported
from probee.kernel.features import have
from probee.kernel.links.perf import PerfLink
from probee.kernel.load import Collection, load
from probee.symbols.elf import Elf
from probee.symbols.locate import locate
from user_programs import LOOP, Running, build

pytestmark = pytest.mark.root

TARGET = (
    LOOP
    + r"""
__attribute__((noipa)) int work_one(int x) { __asm__ volatile("nop"); return x + 1; }
__attribute__((noipa)) int work_two(int x) { return x + 2; }
__attribute__((noipa)) int other(int x) { return x + 3; }
__attribute__((noipa)) static int twin(int x) { return x + 4; }
void act(int c) {
    if (c == '1') work_one(10);
    if (c == '2') work_two(20);
    if (c == 'o') other(30);
    if (c == 't') twin(40);
}
"""
)
# `seen` counts by cookie, `callers` by process, `values` holds the last returned value by cookie.
PROGRAMS = r"""
HASH(seen, u64, u64, 64);
HASH(callers, u32, u64, 64);
HASH(values, u64, u64, 64);
static u64 (*cookie_of)(void *) = (void *)174;
static int record(void *ctx) {
    u64 key = cookie_of(ctx), one = 1, *old = map_lookup(&seen, &key), value = RETURN_VALUE(ctx);
    if (old) *old += 1; else map_update(&seen, &key, &one, 0);
    map_update(&values, &key, &value, 0);
    count(&callers, pid_tgid() >> 32);
    return 0;
}
SEC("uprobe") int enter(void *ctx) { return record(ctx); }
SEC("uretprobe") int leave(void *ctx) { return record(ctx); }
"""
MULTI = (
    PROGRAMS
    + r"""
SEC("uprobe.multi") int many(void *ctx) { return record(ctx); }
SEC("uretprobe.multi") int many_back(void *ctx) { return record(ctx); }
"""
)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("target"), TARGET, "-O1")


@pytest.fixture
def live(tmp_path: Path) -> Collection:
    text = PROGRAMS if have("bpf_cookie") else PROGRAMS.replace("cookie_of(ctx)", "0")
    with load(object_from_c(tmp_path, text)) as collection:
        yield collection


def marked(cookie: int) -> int:
    """The cookie to attach with, and to see: 0 on kernels without cookies."""
    return cookie if have("bpf_cookie") else 0


def seen(live: Collection) -> dict[int, int]:
    found = dict(live.maps["seen"])
    live.maps["seen"].clear()
    return found


def test_functions_by_name_with_cookies(live: Collection, target: Path) -> None:
    enter = live.programs["enter"]
    with enter.attach_uprobe(str(target), "work_one", cookie=marked(7)) as link, Running(target) as process:
        process.do("12o1")
        assert seen(live) == {marked(7): 2}
        assert isinstance(link, PerfLink) or link.info().type_name == "perf_event"
        with enter.attach_uprobe(f"{target}:other"):
            process.do("o")
            assert seen(live) == {0: 1}
    with Running(target) as process:
        process.do("1o")
    assert seen(live) == {}


def test_a_return_has_a_value(live: Collection, target: Path) -> None:
    leave = live.programs["leave"]
    with leave.attach_uprobe(str(target), "work_two", cookie=marked(3)), Running(target) as process:
        process.do("2")
    assert live.maps["values"][marked(3)] & 0xFFFFFFFF == 22
    with pytest.raises(AttachError, match="at a function's start"):
        leave.attach_uprobe(str(target), "work_two+1")
    assert seen(live) == {marked(3): 1}


def test_places_by_number(live: Collection, target: Path) -> None:
    enter = live.programs["enter"]
    with Elf(str(target)) as elf:
        symbol = elf.find("work_one")
        assert symbol is not None
        offset = elf.file_offset(symbol.address)
        assert offset is not None
    with Running(target) as process:
        for index, place in enumerate(
            (
                {"offset": offset},
                {"address": symbol.address},
                {"symbol": hex(offset)},
                {"symbol": "work_one", "offset": 0},
                {"symbol": "work_one+1" if os.uname().machine == "x86_64" else "work_one+4"},
            )
        ):
            with enter.attach_uprobe(str(target), cookie=marked(index), **place):
                process.do("1")
            assert seen(live) == {marked(index): 1}, place
    with pytest.raises(AttachError, match="holds nothing for the address"):
        enter.attach_uprobe(str(target), address=1 << 40)
    with pytest.raises(AttachError, match="the kernel refuses a probe at"):
        enter.attach_uprobe(str(target), offset=1 << 40)


def test_one_process_only(live: Collection, target: Path) -> None:
    with Running(target) as one, Running(target) as two:
        with live.programs["enter"].attach_uprobe(str(target), "work_one", pid=two.pid):
            one.do("111")
            two.do("1")
        assert dict(live.maps["callers"]) == {two.pid: 1}
    with pytest.raises(AttachError, match="no process 4194305"):
        live.programs["enter"].attach_uprobe(str(target), "work_one", pid=4194305)


def test_a_pattern_is_one_link(live: Collection, target: Path) -> None:
    with live.programs["enter"].attach_uprobe(str(target), "work_*") as link, Running(target) as process:
        assert len(link.fds) == 2
        assert "(2 functions)" in link.hook
        process.do("12o")
        assert seen(live) == {0: 2}
    with pytest.raises(AttachError, match=r"no function in .* matches no_\*"):
        live.programs["enter"].attach_uprobe(str(target), "no_*")


@pytest.mark.parametrize("way", ["perf", "tracefs"])
def test_the_older_ways(tmp_path: Path, target: Path, way: str) -> None:
    from probee.sys import probe_events, tracefs

    text = """
HASH(callers, u32, u64, 64);
static void tick(u32 key) {
    u64 one = 1, *old = map_lookup(&callers, &key);
    if (old) *old += 1; else map_update(&callers, &key, &one, 0);
}
SEC("uprobe") int enter(void *ctx) { tick(pid_tgid() >> 32); return 0; }
SEC("uretprobe") int leave(void *ctx) { tick(0); return 0; }
"""
    odd = tmp_path / "a name: with marks"
    shutil.copy(target, odd)
    with load(object_from_c(tmp_path, text)) as live, Running(odd) as process, Running(odd) as stranger:
        enter = live.programs["enter"].attach_uprobe(str(odd), "work_*", way=way)
        leave = live.programs["leave"].attach_uprobe(str(odd), "other", way=way, pid=process.pid)
        with enter as link, leave:
            assert isinstance(link, PerfLink)
            with pytest.raises(Unsupported, match=r"Linux 5\.15 has BPF links"):
                link.pin("/sys/fs/bpf/never")
            process.do("12o")
            stranger.do("o")
        assert dict(live.maps["callers"]) == {process.pid: 2, 0: 1}
        with pytest.raises(Unsupported, match="no cookie"):
            live.programs["enter"].attach_uprobe(str(odd), "other", way=way, cookie=1)
        with pytest.raises(ProbeeError, match="expected one of auto, perf, tracefs"):
            live.programs["enter"].attach_uprobe(str(odd), "other", way="telepathy")
    events = Path(tracefs.root(), probe_events.UPROBES).read_text()
    assert f"_{os.getpid()}_" not in events


def test_a_library_of_python_itself(live: Collection) -> None:
    with live.programs["enter"].attach_uprobe("c", "getpgid", pid=os.getpid(), cookie=marked(5)):
        os.getpgid(0)
    assert seen(live) == {marked(5): 1}
    with live.programs["enter"].attach_uprobe("libc.so.6:getpgid", cookie=marked(6)):
        os.getpgid(0)
    assert seen(live)[marked(6)] >= 1


def test_indirect_functions_are_found_where_this_cpu_has_them(live: Collection) -> None:
    import ctypes

    libc = ctypes.CDLL(None)
    with live.programs["enter"].attach_uprobe("c", "strlen", pid=os.getpid(), cookie=marked(9)):
        libc.strlen(b"four")
    assert seen(live).get(marked(9), 0) >= 1


def test_the_semaphore_of_a_plain_uprobe_is_counted(tmp_path: Path, live: Collection) -> None:
    needs("uprobe_ref_ctr")
    source = (
        LOOP.replace("act(c);", "act(c); if (armed) seen_armed();")
        + r"""
__attribute__((noipa)) void seen_armed(void) { __asm__ volatile(""); }
void act(int c) { (void)c; }
"""
    )
    before = """
__attribute__((section(".probes"), used)) volatile unsigned short armed = 0;
void seen_armed(void);
"""
    path = build(tmp_path, before + source, "-O1")
    place = locate(str(path), "seen_armed")
    with Elf(str(path)) as elf:
        symbol = elf.find("armed")
        assert symbol is not None
        counter = elf.file_offset(symbol.address)
        assert counter is not None
    with Running(path) as process:
        enter = live.programs["enter"]
        with enter.attach_uprobe(str(path), offset=place.offset, ref_ctr_offset=counter):
            process.do("xx")
        assert seen(live) == {0: 2}
        with enter.attach_uprobe(str(path), offset=place.offset):
            process.do("xx")
        assert seen(live) == {}


# ---- many at once


def test_many_in_one_link(tmp_path: Path, target: Path) -> None:
    needs("uprobe_multi")
    with load(object_from_c(tmp_path, MULTI)) as live, Running(target) as process, Running(target) as other:
        with live.programs["many"].attach_uprobe_multi(str(target), "work_*", cookie=4) as link:
            info = link.info()
            assert info.type_name == "uprobe_multi"
            assert len(link.fds) == 1
            process.do("12o")
            assert seen(live) == {4: 2}
        places = [locate(str(target), name).offset for name in ("work_one", "other")]
        many = live.programs["many"]
        with many.attach_uprobe_multi(str(target), offsets=places, cookies=[11, 12], pid=process.pid):
            process.do("1oo2")
            other.do("1o")
            assert seen(live) == {11: 1, 12: 2}
        with many.attach_uprobe_multi(str(target), ["work_two", "oth*"]):
            process.do("12o")
            assert seen(live) == {0: 2}
        with live.programs["many_back"].attach_uprobe_multi(str(target), "work_two", cookie=1):
            process.do("2")
            assert live.maps["values"][1] & 0xFFFFFFFF == 22
        with many.attach_uprobe(str(target), "work_one", cookie=2) as link:  # of a multi program: such a link
            assert link.info().type_name == "uprobe_multi"
            process.do("1")
        with pytest.raises(AttachError, match="1 cookies for 2 places"):
            many.attach_uprobe_multi(str(target), offsets=places, cookies=[1])
        with pytest.raises(AttachError, match="no process"):
            many.attach_uprobe_multi(str(target), "work_*", pid=4194305)


def test_many_by_perf_events(live: Collection, target: Path) -> None:
    """A program that is not for multi links, or a kernel without them."""
    with live.programs["enter"].attach_uprobe_multi(str(target), "work_*", cookie=marked(4)) as link:
        assert len(link.fds) == 2
        with Running(target) as process:
            process.do("12o")
    assert seen(live) == {marked(4): 2}


def test_sections_attach_alone(tmp_path: Path, target: Path) -> None:
    needs("uprobe_multi")
    text = PROGRAMS.replace('SEC("uprobe")', f'SEC("uprobe/{target}:work_one")').replace(
        'SEC("uretprobe")', f'SEC("uprobe.multi/{target}:work_t*")'
    )
    with load(object_from_c(tmp_path, text)) as live:
        links = [program.attach(cookie=index) for index, program in enumerate(live.programs.values())]
        with Running(target) as process:
            process.do("112")
        for link in links:
            link.close()
        assert sorted(seen(live).values()) == [1, 2]


def test_sessions_choose_their_returns(tmp_path: Path, target: Path) -> None:
    needs("uprobe_session")
    text = """
HASH(calls, u32, u64, 64);
extern _Bool bpf_session_is_return(PARAMETER) __attribute__((section(".ksyms")));
SEC("uprobe.session") int both(void *ctx) {
    if (bpf_session_is_return(GIVEN)) { count(&calls, 100); return 0; }
    count(&calls, 1);
    u64 value = ((u64 *)ctx)[ARG];
    return (u32)value == 20;
}
"""
    text = text.replace("ARG", "14" if os.uname().machine == "x86_64" else "0")
    try:
        live = load(object_from_c(tmp_path, text.replace("PARAMETER", "void").replace("GIVEN", "")))
    except LoadError:  # it takes the context since Linux 7.0
        live = load(object_from_c(tmp_path, text.replace("PARAMETER", "void *ctx").replace("GIVEN", "ctx")))
    with live:
        with live.programs["both"].attach_uprobe_multi(str(target), "work_*"), Running(target) as process:
            process.do("122")
        assert dict(live.maps["calls"]) == {1: 3, 100: 1}  # no return of the calls with 20


def test_sleepable_programs_read_pages_that_are_out(tmp_path: Path, target: Path) -> None:
    needs("sleepable_uprobe")
    text = """
HASH(calls, u32, u64, 64);
static long (*copy_from_user)(void *, u32, const void *) = (void *)148;
SEC("uprobe.s") int deep(void *ctx) { char c; copy_from_user(&c, 1, 0); count(&calls, 1); return 0; }
"""
    with load(object_from_c(tmp_path, text)) as live:
        with live.programs["deep"].attach_uprobe(str(target), "work_one"), Running(target) as process:
            process.do("1")
        assert dict(live.maps["calls"]) == {1: 1}


# ---- names


CPP = r"""
#include <cstdio>
#include <string>
namespace ns {
  struct Box {
    int n;
    __attribute__((noipa)) Box(int n) : n(n) {}
    __attribute__((noipa)) int get() const { return n; }
  };
  __attribute__((noipa)) int func(int x) { return x + 1; }
  __attribute__((noipa)) int func(const char *s) { return s[0]; }
  template <class T> __attribute__((noipa)) T twice(T x) { return x + x; }
}
void act(int c) {
  if (c == 'i') ns::func(1);
  if (c == 's') ns::func("s");
  if (c == 't') ns::twice(2l);
  if (c == 'b') ns::Box(3).get();
}
int main() { for (int c; (c = getchar()) != EOF;) { act(c); putchar('.'); fflush(stdout); } }
"""


def test_cpp_names_in_words(tmp_path: Path, live: Collection) -> None:
    from probee.sys import cxxabi

    if not cxxabi.available():
        pytest.skip("needs a C++ runtime library to demangle with")
    path = build(tmp_path, CPP, "-O1", compiler="g++", suffix=".cc")
    enter = live.programs["enter"]
    with Running(path) as process:
        for name, letters, times in (
            ("ns::func(int)", "is", 1),
            ("ns::func(char const*)", "iss", 2),
            ("ns::twice<long>", "t", 1),
            ("ns::Box::Box(int)", "b", 1),
            ("ns::Box::get", "b", 1),
        ):
            with enter.attach_uprobe(str(path), name, cookie=marked(1)) as link:
                assert len(link.fds) == 1
                process.do(letters)
            assert seen(live) == {marked(1): times}, name
        with enter.attach_uprobe(str(path), "ns::fun*"):
            process.do("ist")
        assert seen(live) == {0: 2}
        with pytest.raises(AttachError, match=r"ns::func means 2 functions.*ns::func\(char const\*\) at 0x"):
            enter.attach_uprobe(str(path), "ns::func")
        with pytest.raises(AttachError, match=r"did you mean ns::func"):
            enter.attach_uprobe(str(path), "ns::fund")


def test_several_functions_of_a_name_are_ambiguous(tmp_path: Path, live: Collection) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    one = "__attribute__((noipa)) static int twin(int x) { return x + %d; }"
    one += "int call%d(int x) { return twin(x); }"
    first = tmp_path / "one.c"
    first.write_text(one % (1, 1))
    second = tmp_path / "two.c"
    second.write_text(one % (2, 2) + LOOP + "int call1(int); void act(int c) { call1(c); call2(c); }")
    path = tmp_path / "twins"
    subprocess.run(["gcc", "-O1", "-o", str(path), str(first), str(second)], check=True)
    with pytest.raises(AttachError, match=r"twin means 2 functions.*attach_uprobe_multi"):
        live.programs["enter"].attach_uprobe(str(path), "twin")
    with live.programs["enter"].attach_uprobe_multi(str(path), "twin"), Running(path) as process:
        seen(live)
        process.do("x")
        assert seen(live) == {0: 2}


# ---- files


def test_a_process_with_files_of_its_own(tmp_path: Path, target: Path, live: Collection) -> None:
    needs("bpf_cookie")
    """A name means what it means to the process: here in a root directory of its own."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    source = tmp_path / "static"
    static = build(tmp_path, TARGET, "-O1", "-static", name=source.name)
    shutil.copy(static, root / "bin/target")
    with Running(
        sys.executable, "-c", f"import os; os.chroot({str(root)!r}); os.execv('/bin/target', ['t'])"
    ) as p:
        with live.programs["enter"].attach_uprobe("/bin/target", "work_one", pid=p.pid, cookie=marked(1)):
            p.do("1")
        with live.programs["enter"].attach_uprobe("", "work_two", pid=p.pid, cookie=marked(2)):
            p.do("2")
    assert seen(live) == {1: 1, 2: 1}


def test_a_binary_that_was_replaced_on_disk(tmp_path: Path, target: Path, live: Collection) -> None:
    needs("bpf_cookie")
    path = tmp_path / "replaced"
    shutil.copy(target, path)
    with Running(path) as old:
        fresh = tmp_path / "fresh"
        fresh.write_bytes(
            build(tmp_path, TARGET.replace("work_one", "work_new"), "-O1", name="new").read_bytes()
        )
        fresh.chmod(0o755)
        fresh.rename(path)
        with Running(path) as new:
            enter = live.programs["enter"]
            with pytest.raises(AttachError, match="no symbol work_one"):
                enter.attach_uprobe(str(path), "work_one")
            with enter.attach_uprobe(str(path), "work_one", pid=old.pid, cookie=marked(1)):
                old.do("1")
                new.do("1")
            with enter.attach_uprobe(str(path), "work_new", pid=new.pid, cookie=marked(2)):
                old.do("1")
                new.do("1")
    assert seen(live) == {1: 1, 2: 1}


def test_a_library_in_an_archive(tmp_path: Path, live: Collection) -> None:
    import ctypes

    library = build(
        tmp_path,
        "__attribute__((noipa)) int packed(int x) { return x + 1; }",
        "-shared",
        "-fPIC",
        name="libpacked.so",
    )
    # Stored where a page starts, as in packages for Android, so that it can be mapped from the archive.
    archive = tmp_path / "a.apk"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo("lib/libpacked.so")
        info.extra = b"\0" * (4096 - 30 - len(info.filename))
        file.writestr(info, library.read_bytes())
        file.writestr("squeezed.so", library.read_bytes(), zipfile.ZIP_DEFLATED)
    place = locate(f"{archive}!/lib/libpacked.so", "packed")
    assert place.offset == 4096 + locate(str(library), "packed").offset
    with live.programs["enter"].attach_uprobe(f"{archive}!/lib/libpacked.so", "packed"):
        code = archive.read_bytes()
        assert code[4096 : 4096 + 4] == b"\x7fELF"
        run_from(archive, place.offset, ctypes)
    assert seen(live) == {0: 1}
    with pytest.raises(AttachError, match="compressed"):
        locate(f"{archive}!/squeezed.so", "packed")
    with pytest.raises(AttachError, match=r"no member .* in it; did you mean lib/libpacked\.so"):
        locate(f"{archive}!/lib/libpack.so", "packed")


def run_from(path: Path, offset: int, ctypes: object) -> None:
    """Map the page of a file that has a function, and call it: what Android's linker does in the large."""
    import ctypes as c
    import mmap

    with open(path, "rb") as file:
        page = offset & ~4095
        libc = c.CDLL(None, use_errno=True)
        libc.mmap.restype = c.c_void_p
        libc.mmap.argtypes = [c.c_void_p, c.c_size_t, c.c_int, c.c_int, c.c_int, c.c_long]
        place = libc.mmap(None, 8192, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file.fileno(), page)
        assert place
        assert c.CFUNCTYPE(c.c_int, c.c_int)(place + offset - page)(1) == 2
        libc.munmap(c.c_void_p(place), c.c_size_t(8192))


def test_stripped_programs(tmp_path: Path, target: Path, live: Collection) -> None:
    """Symbols in a file beside it (.gnu_debuglink), or packed into it (.gnu_debugdata)."""
    import lzma

    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy")
    debug, stripped = tmp_path / "prog.debug", tmp_path / "prog"
    subprocess.run(["objcopy", "--only-keep-debug", target, debug], check=True)
    subprocess.run(["objcopy", "--strip-all", target, stripped], check=True)
    enter = live.programs["enter"]
    with pytest.raises(AttachError, match=r"no symbol work_one|no symbols"):
        enter.attach_uprobe(str(stripped), "work_one")
    linked, packed = tmp_path / "linked", tmp_path / "packed"
    subprocess.run(["objcopy", f"--add-gnu-debuglink={debug}", stripped, linked], check=True)
    data = tmp_path / "data.xz"
    data.write_bytes(lzma.compress(debug.read_bytes()))
    subprocess.run(["objcopy", "--add-section", f".gnu_debugdata={data}", stripped, packed], check=True)
    for path in (linked, packed):
        with enter.attach_uprobe(str(path), "work_*") as link, Running(path) as process:
            assert len(link.fds) == 2
            process.do("12")
        assert seen(live) == {0: 2}


# ---- what goes wrong


def test_a_process_that_vanishes(live: Collection, target: Path) -> None:
    process = Running(target)
    with process, live.programs["enter"].attach_uprobe(str(target), "work_one", pid=process.pid) as link:
        process.do("1")
        process.process.kill()
        process.process.wait()
        assert isinstance(link, PerfLink) or link.info().type_name == "perf_event"
    with pytest.raises(AttachError, match=f"no process {process.pid}"):
        live.programs["enter"].attach_uprobe(str(target), "work_one", pid=process.pid)
    assert seen(live) == {0: 1}


def test_what_is_not_there(live: Collection, target: Path, tmp_path: Path) -> None:
    enter = live.programs["enter"]
    for binary, symbol, message in (
        (str(target), "work_on", "no symbol work_on in .*; did you mean work_one"),
        (str(target), "getc", "takes it from a library"),
        ("/no/such/file", "f", "can't find '/no/such/file': no such file"),
        ("libnothere.so", "f", "looked through LD_LIBRARY_PATH, /etc/ld.so.cache, .*PATH"),
        (str(tmp_path), "f", "can't read|can't look into"),
        ("/dev/null", "f", "not an ELF file"),
    ):
        with pytest.raises(AttachError, match=message):
            enter.attach_uprobe(binary, symbol)
    with pytest.raises(AttachError, match="expected BINARY:SYMBOL"):
        enter.attach_uprobe(str(target))
    with pytest.raises(AttachError, match="expected BINARY:SYMBOL"):
        enter.attach_uprobe("")


def test_go_programs_are_warned_of(tmp_path: Path, live: Collection, target: Path) -> None:
    if shutil.which("objcopy") is None:
        pytest.skip("needs objcopy")
    note, path = tmp_path / "note", tmp_path / "go"
    note.write_bytes(b"go")
    subprocess.run(["objcopy", "--add-section", f".go.buildinfo={note}", target, path], check=True)
    with pytest.warns(RuntimeWarning, match="is a Go program"):
        live.programs["leave"].attach_uprobe(str(path), "other").close()
    live.programs["enter"].attach_uprobe(str(path), "other").close()
