"""Rules by kernel version: returned values, features, kernel functions."""

from __future__ import annotations

import pytest

from probee.errors import ProbeeError
from probee.verifier.kernels import FEATURES, KNOWN, Rules
from probee.verifier.kfunc_rules import KFUNCS, SUFFIXES, suffix
from probee.verifier.return_rules import ReturnRule, callback_rule, return_rule


def span(rule: ReturnRule) -> tuple[int, int] | None:
    return (rule.low, rule.high) if rule.checked else None


def test_returned_values() -> None:
    assert span(return_rule("cgroup_skb", "cgroup_inet_ingress")) == (0, 1)
    assert span(return_rule("cgroup_skb", "cgroup_inet_egress")) == (0, 3)
    assert span(return_rule("cgroup_sock_addr", "cgroup_inet4_bind")) == (0, 3)
    assert span(return_rule("cgroup_sock_addr", "cgroup_inet4_bind", kernel="5.10")) == (0, 1)
    assert span(return_rule("cgroup_sock_addr", "cgroup_udp4_recvmsg")) == (1, 1)
    assert span(return_rule("tracing", "trace_fentry")) == (0, 0)
    assert span(return_rule("tracing", "trace_raw_tp")) is None
    assert span(return_rule("tracing", "trace_iter")) == (0, 1)
    assert span(return_rule("kprobe", "trace_kprobe_session")) == (0, 1)
    assert span(return_rule("kprobe")) is None
    assert span(return_rule("xdp")) is None
    assert span(return_rule("netfilter", "netfilter")) == (0, 1)


def test_lsm_hooks() -> None:
    rule = return_rule("lsm", "lsm_mac", hook="file_open")
    assert (span(rule), rule.bits32) == ((-4095, 0), True)
    assert span(return_rule("lsm", "lsm_mac", hook="bpf_lsm_audit_rule_known")) == (0, 1)
    assert span(return_rule("lsm", "lsm_mac", hook="file_open", kernel="6.1")) is None
    assert not return_rule("lsm", "lsm_mac", void=True).read
    assert span(return_rule("lsm", "lsm_cgroup", void=True)) == (1, 1)
    assert span(return_rule("lsm", "lsm_cgroup")) == (0, 1)
    assert not return_rule("struct_ops", void=True).read


def test_functions_called_back() -> None:
    assert span(callback_rule()) == (0, 1)
    assert span(callback_rule("async")) == (0, 0)
    assert span(callback_rule("compare")) is None


def test_features_have_versions() -> None:
    assert not Rules("5.10").has("bpf_loop")
    assert Rules("6.1").has("bpf_loop")
    assert Rules("5.10").has("bounded_loops")
    assert Rules("6.12").has("arena")
    assert not Rules("6.12").has("load_acquire")
    for first in FEATURES.values():
        assert first.count(".") == 1


def test_types_and_helpers_have_versions() -> None:
    old = Rules("5.10")
    assert old.has_map_type("ringbuf")
    assert not old.has_map_type("bloom_filter")
    assert not old.has_prog_type("netfilter")
    assert not old.has_attach_type("tcx_ingress")
    assert old.has_helper("ringbuf_output")
    assert not old.has_helper("loop")
    assert not old.may_call("strtol", "kprobe")
    assert Rules("6.1").may_call("strtol", "kprobe")
    assert Rules("6.12").may_call_kfunc("bpf_task_acquire", "tracing")
    assert not Rules("6.1").may_call_kfunc("bpf_task_acquire", "tracing")
    assert not Rules("6.12").may_call_kfunc("bpf_task_acquire", "socket_filter")


@pytest.mark.parametrize("wrong", ["5.4", "4.19", "new", "", "6", "6.1.2", "99999.1"])
def test_other_kernels_are_refused(wrong: str) -> None:
    with pytest.raises(ProbeeError):
        Rules(wrong)


def test_live_is_a_version() -> None:
    assert Rules("live").since("5.10")
    assert [Rules(known).version for known in KNOWN] == list(KNOWN)


def test_kernel_functions() -> None:
    made = KFUNCS["bpf_task_acquire"]
    assert (made.acquire, made.ret_null, made.rcu, made.release) == (True, True, True, False)
    assert KFUNCS["bpf_task_release"].release
    assert KFUNCS["bpf_iter_num_new"].iter == "new"
    assert KFUNCS["bpf_iter_num_next"].iter == "next"
    assert KFUNCS["bpf_iter_num_destroy"].iter == "destroy"
    assert KFUNCS["bpf_iter_task_new"].rcu_protected
    assert KFUNCS["bpf_arena_alloc_pages"].sleepable
    assert KFUNCS["bpf_path_d_path"].programs == {"lsm"}
    assert "lsm" in KFUNCS["bpf_cpumask_create"].programs
    for made in KFUNCS.values():
        assert made.programs
        assert made.since in KNOWN


def test_every_iterator_has_three_functions() -> None:
    made = {name.removesuffix("_new") for name, each in KFUNCS.items() if each.iter == "new"}
    assert made == {name.removesuffix("_next") for name, each in KFUNCS.items() if each.iter == "next"}
    assert made == {name.removesuffix("_destroy") for name, each in KFUNCS.items() if each.iter == "destroy"}


def test_suffixes() -> None:
    assert suffix("buffer__szk") == "__szk"
    assert suffix("buffer__sz") == "__sz"
    assert suffix("meta__ign") == "__ign"
    assert suffix("p__refcounted_kptr") == "__refcounted_kptr"
    assert suffix("plain") == ""
    for at, ending in enumerate(SUFFIXES):
        assert suffix("x" + ending) == ending, at
