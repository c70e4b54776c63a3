"""The same object, the same kernel, the same tags: what probee hands over is what libbpf hands over.

The kernel's program tag is a hash of the instructions as they were loaded (descriptors of maps apart), so it
checks linking, relocation and CO-RE byte by byte.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from c_objects import compile_c
from probee.kernel.load import load
from probee.obj import read_object
from probee.sys import kernel

pytestmark = pytest.mark.root

SOURCES = sorted((Path(__file__).parent / "libbpf_tags").glob("*.bpf.c"))
BPFFS = Path("/sys/fs/bpf")


def bpftool() -> str:
    path = shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        pytest.skip("needs bpftool")
    if not os.path.ismount(BPFFS):
        pytest.skip(f"needs bpffs at {BPFFS}")
    return path


def libbpf_tags(path: Path) -> dict[str, str]:
    """Tags of an object's programs by name, loaded by bpftool, that is by libbpf."""
    pins = BPFFS / f"probee_test_{uuid.uuid4().hex}"
    try:
        run = subprocess.run([bpftool(), "prog", "loadall", path, pins], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        tags = {}
        for pin in pins.iterdir():
            fd = kernel().obj_get(str(pin))
            try:
                tags[pin.name] = kernel().prog_info(fd).tag
            finally:
                kernel().close(fd)
        return tags
    finally:
        shutil.rmtree(pins, ignore_errors=True)


def test_there_are_enough_samples() -> None:
    assert len(SOURCES) >= 20


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name.partition(".")[0])
def test_tags_are_libbpfs(tmp_path: Path, source: Path) -> None:
    name = source.name.partition(".")[0]
    data = compile_c(tmp_path, source.read_text(), name)
    expected = libbpf_tags(tmp_path / f"{name}.bpf.o")
    with load(read_object(data, name)) as live:
        assert {program: found.tag for program, found in live.programs.items()} == expected
    assert expected
