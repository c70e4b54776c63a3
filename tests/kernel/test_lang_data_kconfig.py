"""Values of the kernel's configuration: against what the kernel says, and given to the machine."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import pytest

import lang_module
from probee import lang
from probee.kernel.kconfig import kernel_version
from probee.kernel.load import load
from probee.lang import decl
from probee.machine.machine import Machine
from probee.obj import read_object

pytestmark = pytest.mark.root

BODY = """
counts[1] = bp.kconfig("CONFIG_HZ", u32)
counts[2] = bp.kconfig("CONFIG_NO_SUCH_NUMBER", u64, default=77)
counts[3] = bp.kconfig("LINUX_KERNEL_VERSION", int)
counts[4] = 1 if bp.kconfig("CONFIG_BPF_SYSCALL", bool) else 2
if bp.kconfig("CONFIG_NO_SUCH_THING", bool):
    counts[5] = bp.get_numa_node_id()
    counts[6] = 1
if bp.kconfig("CONFIG_DEFAULT_HOSTNAME", Char[32]) == "(none)":
    counts[7] = len(bp.kconfig("CONFIG_DEFAULT_HOSTNAME", Char[32]))
counts[8] = bp.kconfig("CONFIG_BPF", u8) == ord("y")
counts[9] = bp.kconfig("CONFIG_HZ", u32, default=5)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    module = lang_module.make(lang_module.program(BODY), tmp_path_factory.mktemp("kconfig"))
    programs = decl.programs_in(vars(module))
    return lang.compile(programs, ktypes=lang_module.kernel_types(), merge_syscalls=False)


def settings() -> dict[str, str]:
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{os.uname().release}")):
        if path.exists():
            raw = path.read_bytes()
            text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
            return dict(line.split("=", 1) for line in text.splitlines() if line.startswith("CONFIG_"))
    pytest.skip("this kernel does not tell its configuration")


def test_values_are_those_of_the_kernel(data):
    known = settings()
    with load(read_object(data)) as c:
        c.programs["program"].test_run(ctx=bytes(16))
        found = dict(c.maps["counts"].items())
    host = known.get("CONFIG_DEFAULT_HOSTNAME", "").strip('"')
    assert found == {
        1: int(known["CONFIG_HZ"]),
        2: 77,
        3: kernel_version(os.uname().release),
        4: 1,
        8: 1,
        9: int(known["CONFIG_HZ"]),
        **({7: len(host)} if host == "(none)" else {}),
    }


def test_the_machine_takes_the_values_that_it_is_given(data):
    given = "CONFIG_HZ=123\nCONFIG_NO_SUCH_THING=y\nCONFIG_BPF=m\nCONFIG_BPF_SYSCALL=n\n"
    with Machine(read_object(data), kconfig=given) as m:
        m.fire("program", 0, 0)
        found = dict(m.maps["counts"].items())
    assert {k: v for k, v in found.items() if k not in (3, 5, 7)} == {1: 123, 2: 77, 4: 2, 6: 1, 8: 0, 9: 123}


def test_libbpf_reads_them_too(data, tmp_path):
    settings()
    if subprocess.run(["bpftool", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no bpftool")
    file, pin = tmp_path / "kconfig.bpf.o", Path(f"/sys/fs/bpf/kconfig_{os.getpid()}")
    file.write_bytes(data)
    try:
        subprocess.run(["bpftool", "prog", "load", str(file), str(pin)], check=True, capture_output=True)
        assert pin.exists()
    finally:
        pin.unlink(missing_ok=True)


def test_a_strong_value_that_is_missing_is_an_error_at_load(tmp_path):
    from probee.errors import LoadError

    settings()
    body = 'counts[1] = bp.kconfig("CONFIG_NO_SUCH_NUMBER", u32)'
    module = lang_module.make(lang_module.program(body), tmp_path)
    data = lang.compile(decl.programs_in(vars(module)), ktypes=lang_module.kernel_types())
    with pytest.raises(LoadError, match="needs CONFIG_NO_SUCH_NUMBER, which is not set in this kernel"):
        load(read_object(data))
