"""tracefs: found, mounted, or an error that says what is missing; formats parsed; names suggested."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from probee.errors import AttachError, PermissionDenied, Unsupported
from probee.sys import caps, native, tracefs

FORMAT = """name: sched_process_exec
ID: 309
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;
\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;
\tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:0;
\tfield:const char * name;\toffset:32;\tsize:8;\tsigned:0;
\tfield:unsigned long args[6];\toffset:40;\tsize:48;\tsigned:0;
\tfield:struct sk_buff *skb;\toffset:88;\tsize:8;\tsigned:0;

print fmt: "filename=%s pid=%d", __get_str(filename), REC->pid
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    event = tmp_path / "events" / "sched" / "sched_process_exec"
    event.mkdir(parents=True)
    (event / "id").write_text("309\n")
    (event / "format").write_text(FORMAT)
    (tmp_path / "available_events").write_text(
        "sched:sched_process_exec\nsched:sched_process_exit\nsched:sched_switch\nsyscalls:sys_enter_openat\n"
    )
    monkeypatch.setattr(tracefs, "_found", "")
    monkeypatch.setattr(tracefs, "ROOTS", (str(tmp_path / "none"), str(tmp_path)))
    return tmp_path


def test_fields(tree: Path) -> None:
    fields = {field.name: field for field in tracefs.fields("sched", "sched_process_exec")}
    assert {name: field.type for name, field in fields.items()} == {
        "common_type": "unsigned short",
        "common_pid": "int",
        "filename": "char[]",
        "pid": "pid_t",
        "comm": "char[16]",
        "name": "const char *",
        "args": "unsigned long[6]",
        "skb": "struct sk_buff *",
    }
    assert [name for name, field in fields.items() if field.data_loc] == ["filename"]
    assert (fields["comm"].offset, fields["comm"].size) == (16, 16)
    assert (fields["pid"].signed, fields["comm"].signed) == (True, False)


def test_ids_and_names(tree: Path) -> None:
    assert tracefs.root() == str(tree)
    assert tracefs.event_id("sched", "sched_process_exec") == 309
    assert tracefs.events()[0] == "sched:sched_process_exec"


@pytest.mark.parametrize(
    ("group", "event", "hint"),
    [
        ("sched", "sched_proces_exec", "did you mean sched:sched_process_exec"),
        ("syscall", "sys_enter_openat", "did you mean syscalls:sys_enter_openat"),
        ("wrong", "sched_switch", "did you mean sched:sched_switch"),
        ("zzz", "qqqqqq", "see .*available_events"),
    ],
)
def test_an_unknown_event_offers_the_nearest(tree: Path, group: str, event: str, hint: str) -> None:
    with pytest.raises(AttachError, match=rf"no tracepoint {group}:{event} in this kernel; {hint}") as caught:
        tracefs.event_id(group, event)
    assert caught.value.errno == errno.ENOENT


def no_mount(number: int) -> object:
    def mount(source: str, target: str, fstype: str) -> None:
        raise OSError(number, "refused")

    return mount


def test_without_tracefs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracefs, "_found", "")
    monkeypatch.setattr(tracefs, "ROOTS", (str(tmp_path),))
    monkeypatch.setattr(caps, "missing", lambda *needed: ["CAP_SYS_ADMIN"])
    monkeypatch.setattr(native, "mount", no_mount(errno.EPERM))
    with pytest.raises(PermissionDenied, match="mounting tracefs needs CAP_SYS_ADMIN"):
        tracefs.root()
    monkeypatch.setattr(native, "mount", no_mount(errno.ENODEV))
    with pytest.raises(Unsupported, match="no tracefs") as caught:
        tracefs.root()
    assert caught.value.feature == "tracefs"
    mounted = []
    monkeypatch.setattr(native, "mount", lambda *what: mounted.append(what))
    assert tracefs.root() == str(tmp_path)
    assert mounted == [("tracefs", str(tmp_path), "tracefs")]
    assert f"mounted tracefs at {tmp_path}" in capsys.readouterr().err
