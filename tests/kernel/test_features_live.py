"""What the running kernel says of itself: on one that is new enough, a probe that says no has to say why."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from probee.errors import Unsupported
from probee.isa.tables import ATTACH_TYPES, LINK_TYPES, MAP_TYPES, PROG_TYPES
from probee.kernel import features
from probee.kernel.features import CONFIG, FEATURES, OLD, POLICY, ask, inventory, survey

pytestmark = pytest.mark.root


def number(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    assert found is not None
    return int(found[1]), int(found[2])


HERE = number(os.uname().release)
# What stable kernels took over from later versions: feature -> the oldest that has it.
BACKPORTED = {"test_run_sk_lookup": "5.10"}


@pytest.mark.parametrize("name", FEATURES)
def test_a_kernel_that_is_new_enough_has_it_or_says_why_not(name: str) -> None:
    answer = ask(name)
    since = number(BACKPORTED.get(name, FEATURES[name].since))
    if since <= HERE:
        assert answer or answer.reason in (CONFIG, POLICY), (
            f"{name}: Linux {FEATURES[name].since}, {answer!r}"
        )
    else:
        assert not answer, f"{name} is here before Linux {FEATURES[name].since}"
        assert answer.reason in (OLD, CONFIG)


@pytest.mark.parametrize("name", [n for n in FEATURES if n in ("kprobe", "fentry", "lsm", "netkit")])
def test_a_no_of_a_new_kernel_has_words(name: str) -> None:
    answer = ask(name)
    if answer or answer.reason == OLD:
        pytest.skip(f"{name} is {'here' if answer else 'younger than this kernel'}")
    assert answer.detail


def _known(table: dict[str, tuple[int, str]], ask: dict[str, bool]) -> list[str]:
    """Names whose version and presence disagree."""
    return [n for n, (_, since) in table.items() if ask[n] != (number(since) <= HERE)]


def test_enumerators_came_when_the_tables_say() -> None:
    try:
        attach, link = inventory.attach_types(), inventory.link_types()
    except Unsupported as error:
        pytest.skip(str(error))
    assert _known(ATTACH_TYPES, attach) == []
    assert _known(LINK_TYPES, link) == []


def test_types_came_when_the_tables_say() -> None:
    found = survey.survey()
    excused = {"lirc_mode2"} if not (found.config or {}).get("CONFIG_BPF_LIRC_MODE2") else set()
    programs = {n: a.yes for n, a in found.programs.items() if a.reason != POLICY and n not in excused}
    assert _known({n: PROG_TYPES[n] for n in programs}, programs) == []
    assert _known(MAP_TYPES, {n: a.yes for n, a in found.maps.items()}) == []
    flags = {n: (0, since) for n, (_, since, _) in inventory.MAP_FLAGS.items()}
    assert _known(flags, {n: a.yes for n, a in found.map_flags.items()}) == []


def test_helpers_are_those_of_the_type() -> None:
    xdp = inventory.helpers("xdp")
    assert {"map_lookup_elem", "redirect_map", "xdp_adjust_head"} <= set(xdp)
    assert not {"skb_store_bytes", "d_path"} & set(xdp)
    assert "trace_printk" not in xdp
    assert "trace_printk" in inventory.helpers("xdp", full=True)


def test_nothing_stays_behind() -> None:
    def programs() -> set[int]:
        from probee import sys as kernel_calls
        from probee.sys.bpf import PROG_GET_NEXT_ID

        found, at = set(), 0
        while (next_one := kernel_calls.kernel().next_id(PROG_GET_NEXT_ID, at)) is not None:
            found.add(at := next_one)
        return found

    before = programs()
    features.forget()
    for name in FEATURES:
        ask(name)
    assert programs() <= before


CHILD = """
from probee.kernel.features import ask
from probee.sys import caps
caps.drop_all()
answer = ask("ringbuf")
print(answer.yes, answer.reason, answer.detail, sep="|")
"""


def test_without_privilege_nothing_is_claimed() -> None:
    run = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert run.stdout == "False|privilege|asking needs CAP_BPF and CAP_PERFMON and CAP_NET_ADMIN\n"
