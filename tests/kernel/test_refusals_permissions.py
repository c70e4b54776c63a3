"""EPERM names its cause: which capability, a namespace, seccomp, locked memory, policy. Each in a child."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from c_objects import compile_c
from probee.kernel.features import POLICY, ask, have

pytestmark = pytest.mark.root

HELPERS = """
import ctypes, os, resource, struct, sys
from probee.errors import PermissionDenied, ProbeeError
from probee.kernel.load import load
from probee.obj import read_object
from probee.sys import caps
from probee.sys.native import capset

def keep(*capabilities):
    capset(sum(1 << capability for capability in capabilities))

def tell(path):
    try:
        load(read_object(path)).close()
    except PermissionDenied as error:
        print(error.reason, error.capability, error, sep="|")
    else:
        print("loaded")
"""

XDP = 'SEC("xdp") int p(void *ctx) { return 2; }'
TRACEPOINT = 'SEC("tp/sched/sched_switch") int p(void *ctx) { return 0; }'
FILTER = 'SEC("socket") int p(void *ctx) { return 0; }'
SOCKMAP = f'MAP(15, 1, u32, u32) sockets SEC(".maps"); {FILTER}'
BIG = f'MAP(2, 1000, u32, u64[128]) big SEC(".maps"); {FILTER}'
FENTRY = 'SEC("fentry/bpf_fentry_test1") int p(void *ctx) { return 0; }'


def run(tmp_path: Path, text: str, script: str, *before: str) -> list[str]:
    compile_c(tmp_path, text, "child")
    path = tmp_path / "child.py"
    path.write_text(HELPERS + script)
    command = [*before, sys.executable, str(path), str(tmp_path / "child.bpf.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "kept", "missing", "doing"),
    [
        (XDP, "caps.CAP_BPF", "CAP_NET_ADMIN", "loading program p"),
        (TRACEPOINT, "caps.CAP_BPF", "CAP_PERFMON", "loading program p"),
        (XDP, "", "CAP_BPF and CAP_NET_ADMIN", "loading program p"),
        (TRACEPOINT, "", "CAP_BPF and CAP_PERFMON", "loading program p"),
        (SOCKMAP, "caps.CAP_BPF", "CAP_NET_ADMIN", "creating map sockets"),
        (SOCKMAP, "", "CAP_BPF and CAP_NET_ADMIN", "creating map sockets"),
    ],
    ids=["xdp", "tracepoint", "xdp-bare", "tracepoint-bare", "sockmap", "sockmap-bare"],
)
def test_the_capability_of_the_type_is_named(
    tmp_path: Path, text: str, kept: str, missing: str, doing: str
) -> None:
    (line,) = run(tmp_path, text, f"keep({kept})\ntell(sys.argv[1])\n")
    reason, capability, message = line.split("|")
    assert reason == "capability"
    assert capability == missing.split()[0]
    verb = "are" if " and " in missing else "is"
    assert message.startswith(f"{doing} needs {missing}, which {verb} missing here; run it as root: sudo ")


def test_what_is_enough_is_enough(tmp_path: Path) -> None:
    assert run(tmp_path, XDP, "keep(caps.CAP_BPF, caps.CAP_NET_ADMIN)\ntell(sys.argv[1])\n") == ["loaded"]
    assert run(tmp_path, TRACEPOINT, "keep(caps.CAP_BPF, caps.CAP_PERFMON)\ntell(sys.argv[1])\n") == [
        "loaded"
    ]
    assert run(tmp_path, FILTER, "keep(caps.CAP_BPF)\ntell(sys.argv[1])\n") == ["loaded"]


def test_root_of_a_user_namespace_is_told_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    try:
        subprocess.run(["unshare", "--user", "--map-root-user", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no user namespace can be had here")
    script = "tell(sys.argv[1])\n"
    (line,) = run(tmp_path, TRACEPOINT, script, "unshare", "--user", "--map-root-user", "--")
    reason, capability, message = line.split("|")
    assert (reason, capability) == ("namespace", "")
    assert "this is a user namespace" in message
    assert "BPF token" in message


SECCOMP = """
# Classic BPF: bpf(2) fails with EPERM, all else is allowed.
from probee.sys.bpf import NR_BPF
code = struct.pack("=HBBI", 0x20, 0, 0, 0) + struct.pack("=HBBI", 0x15, 0, 1, NR_BPF)
code += struct.pack("=HBBI", 6, 0, 0, 0x00050001) + struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
kept = ctypes.create_string_buffer(code)
program = struct.pack("=HxxxxxxQ", 4, ctypes.addressof(kept))
assert ctypes.CDLL(None).prctl(22, 2, program, 0, 0) == 0
tell(sys.argv[1])
"""


def test_seccomp_is_named(tmp_path: Path) -> None:
    (line,) = run(tmp_path, XDP, SECCOMP)
    assert line.startswith("seccomp||")
    assert "a seccomp filter is active" in line


def test_policy_is_what_is_left(tmp_path: Path) -> None:
    if ask("fentry").reason != POLICY:
        pytest.skip("nothing is closed to everyone on this kernel")
    (line,) = run(tmp_path, FENTRY, "tell(sys.argv[1])\n")
    assert line.startswith("policy||loading program p is not permitted: the kernel's policy refuses it")


MEMLOCK = """
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
"""


def test_the_limit_of_locked_memory_is_raised(tmp_path: Path) -> None:
    assert run(tmp_path, BIG, MEMLOCK + "tell(sys.argv[1])\n") == ["loaded"]


def test_a_limit_that_can_not_be_raised_is_named(tmp_path: Path) -> None:
    if have("memcg_accounting"):
        pytest.skip("this kernel does not charge BPF memory as locked memory")
    (line,) = run(tmp_path, BIG, MEMLOCK + "keep(caps.CAP_BPF)\ntell(sys.argv[1])\n")
    reason, capability, message = line.split("|")
    assert (reason, capability) == ("memlock", "CAP_SYS_RESOURCE")
    assert "the limit is 0.0625 MiB" in message
    assert "ulimit -l unlimited" in message


def test_less_is_allowed_without_perfmon(tmp_path: Path) -> None:
    text = """SEC("socket") int p(u32 *ctx) {
        u64 here = (u64)&ctx; asm volatile("" : "+r"(here));
        return here ^ ctx[0]; }"""
    script = """
keep(caps.CAP_BPF)
from probee.errors import VerifierError
try:
    load(read_object(sys.argv[1])).close()
except VerifierError as error:
    print(error.fix)
"""
    (line,) = run(tmp_path, text, script)
    assert line.endswith("CAP_PERFMON is missing here, without which the verifier allows less")
