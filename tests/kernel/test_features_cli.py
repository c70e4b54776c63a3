"""`probee feature`: its words, its forms, and what it says when asked for nonsense."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from probee.isa.tables import HELPERS, PROG_TYPES
from probee.kernel.features import FEATURES, ask

pytestmark = pytest.mark.root


def run(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "probee", "feature", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stderr
    return done.stdout if not code else done.stderr


def test_the_tables_name_everything() -> None:
    text = run()
    for name, feature in FEATURES.items():
        row = re.search(rf"^{name} +(yes|no|refused) +{re.escape(feature.since)} ", text, re.M)
        assert row is not None, name
        assert (row[1] == "yes") == bool(ask(name))
    assert re.search(r"^xdp +yes +4\.8$", text, re.M)
    assert re.search(r"^Helpers of xdp programs \(\d+\)$", text, re.M)


def test_json_says_since_when_and_why_not() -> None:
    found = json.loads(run("-j"))["features"]
    assert list(found) == list(FEATURES)
    assert found["ringbuf"] == {
        "have": True,
        "since": "5.8",
        "what": "ring buffers",
        "reason": "",
        "detail": "",
    }
    for name, facts in found.items():
        assert bool(facts["reason"]) != facts["have"], name


def test_json_says_since_when_of_the_types() -> None:
    since = json.loads(run("-j"))["since"]
    assert since["prog_types"]["netfilter"] == "6.4"
    assert since["map_flags"]["mmapable"] == "5.5"
    assert since["helpers"]["bpf_ringbuf_output"] == "5.8"


def test_macros_with_a_prefix() -> None:
    lines = run("probe", "kernel", "macros", "prefix", "MY_").splitlines()
    assert "#define MY_HAVE_XDP_PROG_TYPE" in lines
    assert "#define MY_BPF__PROG_TYPE_xdp__HELPER_bpf_redirect_map 1" in lines
    assert "#define MY_BPF__PROG_TYPE_xdp__HELPER_bpf_skb_store_bytes 0" in lines
    values = [line for line in lines if "__HELPER_bpf_" in line]
    assert len(values) == len(PROG_TYPES) * len(HELPERS)


def test_full_asks_for_more() -> None:
    brief, full = (json.loads(run(*words, "-j"))["helpers"] for words in ([], ["full"]))
    more = {name for kind in full for name in set(full[kind]) - set(brief[kind])}
    assert more == {"bpf_trace_printk", "bpf_trace_vprintk", "bpf_probe_write_user"} & more
    assert "bpf_trace_printk" in more


def test_unprivileged() -> None:
    found = json.loads(run("unprivileged", "-j"))
    assert found["security"]["capabilities"]["CAP_BPF"] is False
    if found["system_config"]["unprivileged_bpf_disabled"]:
        assert not any(found["program_types"].values())
        assert found["features"]["ringbuf"]["reason"] == "privilege"


def test_a_device_without_offload() -> None:
    found = json.loads(run("probe", "dev", "lo", "-j"))
    assert found["program_types"] == {"have_sched_cls_prog_type": False, "have_xdp_prog_type": False}
    assert "features" not in found


def test_lists_of_what_is_known_by_name() -> None:
    assert run("list_builtins", "helpers").split()[:2] == ["bpf_map_lookup_elem", "bpf_map_update_elem"]
    assert "netkit" in json.loads(run("list_builtins", "link_types", "-j"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dev", "nosuchdevice0"], "there is no network device nosuchdevice0"),
        (["dev"], "NAME is missing"),
        (["prefix", "X"], "a prefix is for macros"),
        (["dev", "lo", "unprivileged"], "with privilege only"),
        (["list_builtins", "wishes"], "expected prog_types or"),
        (["sideways"], "there is no `probee feature sideways`"),
    ],
)
def test_nonsense_is_answered(words: list[str], says: str) -> None:
    assert says in run(*words, code=1 if "nosuchdevice0" in words else 2)
