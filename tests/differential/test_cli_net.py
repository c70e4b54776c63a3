"""`probee net` and `probee cgroup` against the bpftool that is installed: the same JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netbox import Cgroup, cgroup, ip, live, namespace, udp_on_lo
from probee.cli.main import main
from probee.errors import LoadError, Unsupported
from probee.kernel.load import Collection

pytestmark = pytest.mark.root

SOURCE = r"""
SEC("xdp") int an_xdp_program_with_a_long_name(void *ctx) { return 2; }
SEC("xdp") int drop_xdp(void *ctx) { return 1; }
SEC("tc") int filter(void *ctx) { return -1; }
SEC("tcx/ingress") int drop_tcx(void *ctx) { return 2; }
SEC("flow_dissector") int dissect(void *ctx) { return 0; }
SEC("cgroup_skb/egress") int out(void *ctx) { return 1; }
SEC("cgroup_skb/egress") int drop_out(void *ctx) { return 0; }
SEC("cgroup/connect4") int connecting(void *ctx) { return 1; }
SEC("cgroup/dev") int device(void *ctx) { return 1; }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("c")


@pytest.fixture
def loaded(folder: Path) -> Iterator[Collection]:
    with live(folder, SOURCE, "cli_net") as collection, namespace():
        yield collection


@pytest.fixture
def group() -> Iterator[Cgroup]:
    with cgroup() as made:
        yield made


def bpftool(*words: str) -> Any:
    path = shutil.which("bpftool") or shutil.which("bpftool", path="/usr/sbin:/sbin")
    if not path:
        pytest.skip("needs bpftool")
    run = subprocess.run([path, "-j", *words], capture_output=True, text=True)
    if run.returncode and "not supported" in run.stdout + run.stderr:
        pytest.skip(f"this bpftool can't: {' '.join(words)}")
    assert run.returncode == 0, run.stdout + run.stderr
    return json.loads(run.stdout)


def probee(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    read = capsys.readouterr()
    return read.err if code else read.out


def probee_json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(probee(capsys, *words, "-j"))


def known_to(theirs: Any, ours: Any) -> Any:
    """Ours without the sections and the kinds of hook that are newer than the bpftool here."""
    (have,) = theirs
    (found,) = ours
    kept = {key: found[key] for key in have}
    if "netfilter" not in have:
        kept["tc"] = [one for one in kept["tc"] if "prog_id" not in one]
    return [kept]


def test_net_show_is_bpftools(loaded: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    programs = loaded.programs
    ip("link add near type veth peer name far")
    with ExitStack() as stack:
        for link in (
            programs["an_xdp_program_with_a_long_name"].attach_xdp("lo"),
            programs["drop_xdp"].attach_xdp("far", mode="native"),
            programs["filter"].attach_tc("lo", "ingress"),
            programs["filter"].attach_tc("lo", "egress", priority=3),
            programs["filter"].attach_tc("near", "ingress", direct_action=False),
        ):
            stack.enter_context(link)
        theirs = bpftool("net", "show")
        ours = probee_json(capsys, "net", "show")
        assert known_to(theirs, ours) == theirs
        assert len(ours[0]["xdp"]) == 2
        assert len(ours[0]["tc"]) == 3
        for dev in ("lo", "near", "far"):
            theirs = bpftool("net", "show", "dev", dev)
            assert known_to(theirs, probee_json(capsys, "net", "show", "dev", dev)) == theirs
        table = probee(capsys, "net")
        assert "an_xdp_program_with_a_long_name" in table
        assert "tc clsact/egress" in table


def test_net_show_tells_of_tcx_and_the_flow_dissector(
    loaded: Collection, capsys: pytest.CaptureFixture[str]
) -> None:
    program = loaded.programs["drop_tcx"]
    with loaded.programs["dissect"].attach_flow_dissector():
        assert probee_json(capsys, "net")[0]["flow_dissector"] == [{"id": loaded.programs["dissect"].id}]
    try:
        link = program.attach_tcx("lo")
    except Unsupported as error:
        pytest.skip(str(error))
    with link:
        (one,) = probee_json(capsys, "net", "show", "dev", "lo")[0]["tc"]
        assert one == {
            "devname": "lo",
            "ifindex": 1,
            "kind": "tcx/ingress",
            "name": "drop_tcx",
            "prog_id": program.id,
            "prog_flags": [],
            "link_id": link.id,
            "link_flags": [],
        }
        theirs = bpftool("net", "show")
        assert known_to(theirs, probee_json(capsys, "net")) == theirs


def test_net_show_tells_of_netfilter(
    loaded: Collection, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        other = live(folder, 'SEC("netfilter") int accept(void *ctx) { return 1; }', "cli_netfilter")
    except (LoadError, Unsupported) as error:
        pytest.skip(str(error))
    with other, other.programs["accept"].attach_netfilter("ipv6", "forward", priority=-7):
        ours = probee_json(capsys, "net")
        found = [one for one in ours[0]["netfilter"] if one["id"] == other.programs["accept"].id]
        assert found == [{"pf": 10, "hook": 2, "prio": -7, "flags": 0, "id": other.programs["accept"].id}]
        assert "netfilter ipv6 forward -7" in probee(capsys, "net")
        theirs = bpftool("net", "show")
        assert known_to(theirs, ours) == theirs


def test_net_attach_and_detach(loaded: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    xdp, other = loaded.programs["drop_xdp"], loaded.programs["an_xdp_program_with_a_long_name"]
    probee(capsys, "net", "attach", "xdpgeneric", "id", str(xdp.id), "dev", "lo")
    assert udp_on_lo() is None
    assert bpftool("net", "show")[0]["xdp"] == [
        {"devname": "lo", "ifindex": 1, "mode": "generic", "id": xdp.id}
    ]
    again = ("net", "attach", "xdpgeneric", "id", str(other.id), "dev", "lo")
    assert "already" in probee(capsys, *again, code=1)
    probee(capsys, *again, "overwrite")
    assert udp_on_lo() == b"hello"
    probee(capsys, "net", "detach", "xdpgeneric", "dev", "lo")
    assert bpftool("net", "show")[0]["xdp"] == []
    assert "no XDP program" in probee(capsys, "net", "detach", "xdpgeneric", "dev", "lo", code=1)
    assert "no network interface" in probee(capsys, "net", "show", "dev", "nope", code=1)
    assert "expected" in probee(capsys, "net", "attach", "udp", code=2)


def test_net_attach_tcx(loaded: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    drop, passing = loaded.programs["drop_tcx"], loaded.programs["filter"]
    try:
        passing.attach_tcx("lo", "ingress").close()
    except Unsupported as error:
        pytest.skip(str(error))
    probee(capsys, "net", "attach", "tcx_ingress", "id", str(passing.id), "dev", "lo")
    probee(capsys, "net", "attach", "tcx_ingress", "id", str(drop.id), "dev", "lo", "prepend")
    found = probee_json(capsys, "net")[0]["tc"]
    assert [one["prog_id"] for one in found] == [drop.id, passing.id]
    assert udp_on_lo() is None
    probee(capsys, "net", "detach", "tcx_ingress", "dev", "lo")
    probee(capsys, "net", "detach", "tcx_ingress", "dev", "lo")
    assert "no program is attached" in probee(capsys, "net", "detach", "tcx_ingress", "dev", "lo", code=1)
    with drop.attach_tcx("lo"):
        assert "by a BPF link" in probee(capsys, "net", "detach", "tcx_ingress", "dev", "lo", code=1)


def test_cgroup_show_and_tree_are_bpftools(
    loaded: Collection, group: Cgroup, capsys: pytest.CaptureFixture[str]
) -> None:
    child = group.child()
    programs = loaded.programs
    with (
        programs["out"].attach_cgroup(group.path),
        programs["connecting"].attach_cgroup(group.path),
        programs["out"].attach_cgroup(child.path),
        programs["device"].attach_cgroup(child.path, mode="override", link=False),
    ):
        for path in (group.path, child.path):
            for more in ((), ("effective",)):
                theirs = bpftool("cgroup", "show", path, *more)
                ours = probee_json(capsys, "cgroup", "show", path, *more)
                assert by_hook(without_btf(ours, theirs)) == by_hook(theirs)
        theirs = bpftool("cgroup", "tree", group.path)
        ours = probee_json(capsys, "cgroup", "tree", group.path)
        assert [one["cgroup"] for one in ours] == [group.path, child.path]
        for one, other in zip(ours, theirs, strict=True):
            one["programs"] = by_hook(without_btf(one["programs"], other["programs"]))
            other["programs"] = by_hook(other["programs"])
        assert ours == theirs
        whole = {one["cgroup"] for one in probee_json(capsys, "cgroup", "tree")}
        assert whole == {one["cgroup"] for one in bpftool("cgroup", "tree")} >= {group.path, child.path}
        assert "cgroup_inet4_connect" in probee(capsys, "cgroup", "show", os.path.basename(group.path))
        assert child.path in probee(capsys, "cgroup", "tree", group.path)


def by_hook(programs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In one order of the hooks, which is not the same in all versions of bpftool; theirs of the programs."""
    return sorted(programs, key=lambda one: str(one["attach_type"]))


def without_btf(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ours with those BTF facts only that the bpftool here tells."""
    known = {key for one in theirs for key in one}
    extra = {"attach_btf_name", "attach_btf_obj_id", "attach_btf_id"} - known
    return [{key: value for key, value in one.items() if key not in extra} for one in ours]


def test_cgroup_attach_and_detach(
    loaded: Collection, group: Cgroup, capsys: pytest.CaptureFixture[str]
) -> None:
    drop = ("id", str(loaded.programs["drop_out"].id))
    probee(capsys, "cgroup", "attach", group.path, "egress", *drop, "multi")
    with group:
        assert udp_on_lo() is None
    assert [one["attach_flags"] for one in bpftool("cgroup", "show", group.path)] == ["multi"]
    probee(capsys, "cgroup", "detach", group.path, "cgroup_inet_egress", *drop)
    assert probee_json(capsys, "cgroup", "show", group.path) == []
    assert "not attached" in probee(capsys, "cgroup", "detach", group.path, "egress", *drop, code=1)
    assert "no attach type" in probee(capsys, "cgroup", "attach", group.path, "sideways", *drop, code=2)
    assert "cgroup2 is mounted" in probee(capsys, "cgroup", "show", "/nowhere", code=1)
    assert "no folder of a cgroup2" in probee(capsys, "cgroup", "show", "/tmp", code=1)
