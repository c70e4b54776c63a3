"""Generated modules: they type-check, load and read like the object they were made from."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from c_objects import compile_c
from probee.errors import ObjectError
from probee.obj.python_module import class_name, python_module
from probee.skeleton import packed, unpacked

SOURCE = """
struct event { u32 pid; u8 flag; char comm[16]; struct { u64 start, end; } span; u16 ports[3]; };
struct key { u32 pid; u32 kind; };
struct event *unused SEC(".data.unused");
HASH(counts, struct key, u64, 128);
MAP(5, 64, u32, u64) per_cpu SEC(".maps");
RINGBUF(events, 4096);
const volatile u32 only = 5;
u64 calls;
bool enabled = 1;
char label[8] = "start";

SEC("raw_tp") int report(void *ctx)
{
    struct event *e = ringbuf_reserve(&events, sizeof(*e), 0);
    struct key key = {only, 2};
    if (!e)
        return 1;
    __builtin_memset(e, 0, sizeof(*e));
    e->pid = only;
    e->comm[0] = 'x';
    e->span.end = 9;
    e->ports[1] = 80;
    ringbuf_submit(e, 0);
    count(&counts, 1);
    u64 one = 7;
    map_update(&counts, &key, &one, 0);
    calls++;
    return 0;
}
""".replace("    count(&counts, 1);\n", "")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("module")
    data = compile_c(folder, SOURCE.replace("bool ", "_Bool "), "my-tool")
    return python_module(data, "my-tool", packed, {"events": "event"})


def imported(text: str, folder: Path) -> ModuleType:
    path = folder / "my_tool.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("my_tool", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.root
def test_it_loads_and_reads_typed(text: str, tmp_path: Path) -> None:
    module = imported(text, tmp_path)
    with module.MyTool(values={"only": 42, "calls": 3}) as tool:
        assert tool.globals.only == 42
        assert tool.globals.label == "start"
        assert tool.globals.enabled is True
        assert tool.programs.report.test_run()[0] == 0
        assert tool.globals.calls == 4
        tool.globals.calls = 0
        assert tool.globals.calls == 0
        (event,) = tool.maps.events.consume()
        assert isinstance(event, module.event)
        assert (event.pid, event.comm, event.span.end, event.ports) == (42, "x", 9, (0, 80, 0))
        assert {(k.pid, k.kind): v for k, v in tool.maps.counts.items()} == {(42, 2): 7}
        tool.maps.counts[module.key(pid=1, kind=2)] = 5
        assert tool.maps.counts[(1, 2)] == 5


def test_it_type_checks_strictly(text: str, tmp_path: Path) -> None:
    (tmp_path / "my_tool.py").write_text(text)
    (tmp_path / "user.py").write_text(
        "import my_tool\n"
        "with my_tool.MyTool(values={'only': 1}) as tool:\n"
        "    tool.attach()\n"
        "    for event in tool.maps.events:\n"
        "        reveal_type(event)\n"
        "        reveal_type((event.comm, event.ports, event.span.end))\n"
        "    for key in tool.maps.counts:\n"
        "        reveal_type(tool.maps.counts[key])\n"
        "    reveal_type(tool.maps.per_cpu[1])\n"
        "    reveal_type(tool.globals.label)\n"
        "    tool.globals.only = 3\n"
        "    my_tool.MyTool(values={'nothing': 1})\n"
    )
    cache = Path(__file__).parents[2] / ".mypy_cache"
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={cache}", "my_tool.py", "user.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(Path(__file__).parents[2] / "src")},
        check=False,
    )
    assert not [line for line in run.stdout.splitlines() if line.startswith("my_tool.py") and "error" in line]
    for shown in ('"my_tool.event"', '"tuple[str, tuple[int, ...], int]"', '"int"', '"list[int]"', '"str"'):
        assert f"Revealed type is {shown}" in run.stdout.replace("builtins.", "")
    assert 'Property "only" defined in "Globals" is read-only' in run.stdout
    assert 'Argument "values" to "MyTool" has incompatible type' in run.stdout


def test_it_carries_no_debug_information(text: str) -> None:
    blob = "".join(text.split('_object = """')[1].split('"""')[0].split())
    assert b".debug_info" not in unpacked(blob)


def test_an_unknown_record_is_refused(text: str, tmp_path: Path) -> None:
    module = imported(text, tmp_path)
    module.MyTool._records = {"events": "nobody"}
    with pytest.raises(ObjectError, match="no struct 'nobody'"):
        module.MyTool.spec()
    module.MyTool._records = {"nothing": "event"}
    with pytest.raises(ObjectError, match="no map 'nothing'"):
        module.MyTool.spec()


@pytest.mark.parametrize(("name", "expected"), [("tcp-life", "TcpLife"), ("7up", "_7up"), ("--", "Object")])
def test_class_names(name: str, expected: str) -> None:
    assert class_name(name) == expected


@pytest.mark.root
def test_the_command_line(tmp_path: Path) -> None:
    source = tmp_path / "tool.o"
    source.write_bytes(compile_c(tmp_path, 'u64 n; SEC("raw_tp") int p(void *c) { return ++n; }', "tool"))
    probee = [sys.executable, "-m", "probee"]
    module, joined, btf = tmp_path / "it.py", tmp_path / "joined.o", tmp_path / "small.btf"
    subprocess.run([*probee, "gen", "module", source, "name", "it", "output", module], check=True)
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import it\nwith it.It() as i:\n    print(i.programs.p.test_run()[0], i.globals.n)",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert run.stdout.split() == ["1", "1"]
    subprocess.run([*probee, "link", "-o", joined, source], check=True)
    subprocess.run([*probee, "gen", "object", joined, source], check=True)
    assert joined.stat().st_size < source.stat().st_size
    subprocess.run([*probee, "btf", "min-core", "/sys/kernel/btf/vmlinux", btf, source], check=True)
    assert 24 <= btf.stat().st_size < 100
    wrong = subprocess.run([*probee, "gen", "module", tmp_path / "none.o"], capture_output=True, text=True)
    assert wrong.returncode == 1
    assert "none.o" in wrong.stderr
    assert "Traceback" not in wrong.stderr
