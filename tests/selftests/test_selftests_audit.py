"""The audit of the kernel's selftest programs: on a made-up tree, and on a real one where there is one."""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import audit
import audit_features
import audit_language
import pytest

FILES = {
    "counter.c": """
        #include <bpf/bpf_helpers.h>
        struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, int); } m SEC(".maps");
        /* bpf_timer_init(&t) in a comment does not count */
        SEC("tp/syscalls/sys_enter_write") int count(void *ctx)
        {
            int key = bpf_get_smp_processor_id();
            void *v = bpf_map_lookup_elem(&m, &key);
            if (v) __sync_fetch_and_add((int *)v, 1);
            bpf_printk("asm volatile(%d)", key);
            return 0;
        }
        char _license[] SEC("license") = "GPL";
        """,
    "assembly.c": 'SEC("socket") __naked void f(void) { asm volatile ("r0 = 0; exit;" ::: __clobber_all); }',
    "own_header.c": '#include "shared.h"\nSEC("tc") int f(struct __sk_buff *skb) { return helped(skb); }',
    "shared.h": "static int helped(void *ctx) { return __int128_sum(ctx) + mystery(ctx); }",
    "module.c": """
        extern int secret(void) __ksym;
        extern int known_kfunc(int) __ksym;
        SEC("fentry/bpf_testmod_fentry_test1") int BPF_PROG(f) { return secret() + known_kfunc(1); }
        """,
    "odd.c": 'SEC("nowhere") int f(void *ctx) { return 0; }',
    "old_name.c": 'SEC("my_filter") int f(struct __sk_buff *skb) { return 0; }',
    "exchange.c": 'int x; SEC("raw_tp") int f(void *c) { return __sync_val_compare_and_swap(&x, 0, 1); }',
    "negative.c": 'SEC("?raw_tp") __failure __msg("unbounded") int f(void *ctx) { for (;;) {} }',
}


@pytest.fixture
def tree(tmp_path: Path) -> audit_features.Tree:
    progs = tmp_path / audit_features.PROGS
    progs.mkdir(parents=True)
    for name, text in FILES.items():
        (progs / name).write_text(text)
    module = progs.parent / "bpf_testmod"
    module.mkdir()
    (module / "bpf_testmod.c").write_text(
        "BTF_ID_FLAGS(func, secret, KF_ACQUIRE)\nBTF_ID_FLAGS(func, plain_one)"
    )
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "helpers.c").write_text("BTF_ID_FLAGS(func, known_kfunc, KF_RCU)")
    return audit_features.Tree(tmp_path)


def test_features_of_files(tree: audit_features.Tree) -> None:
    found = {p.name: p for p in audit.Report(tree).programs}
    assert found["counter.c"].features == {
        "section: tp",
        "map: hash",
        "helper: get_smp_processor_id",
        "helper: map_lookup_elem",
        "construct: atomics without a result",
        "construct: printing",
    }
    assert "construct: inline assembly" in found["assembly.c"].features
    assert {"unknown call mystery", "unknown call __int128_sum"} <= found["own_header.c"].features
    assert found["module.c"].features >= {
        "section: fentry",
        "construct: owning functions of private test modules",
        "construct: hooks, structs and functions of modules",
        "kfunc: known_kfunc",
    }
    assert found["odd.c"].features == {"unknown section nowhere"}
    assert found["old_name.c"].features == {"section: tc"}
    assert "construct: atomics with a result" in found["exchange.c"].features
    assert found["negative.c"].negative
    assert not found["counter.c"].negative


def test_a_file_with_anything_unknown_is_not_expressible(tree: audit_features.Tree) -> None:
    report = audit.Report(tree)
    assert {"counter.c", "old_name.c"} <= set(report.expressible)
    assert not {"assembly.c", "own_header.c", "module.c", "odd.c"} & set(report.expressible)
    rows = {blocker: (every, alone) for blocker, every, alone in report.frequency()}
    assert rows["construct: inline assembly"] == (1, 1)
    assert "that no compiler makes" in report.as_text()


def test_what_the_tables_of_the_language_say() -> None:
    assert {"hash", "queue", "sockmap", "task_storage", "xskmap"} <= audit_language.map_types()
    assert audit_language.has_section("cgroup/connect4")
    assert audit_language.has_section("lsm.s")
    assert not audit_language.has_section("cgroup/nothing")
    assert audit_language.blockers({"section: fentry", "map: hash", "helper: ktime_get_ns"}) == []
    assert audit_language.blockers({"unknown call x"}) == ["unknown call x"]
    assert audit_language.blockers({"construct: never heard of"}) == ["construct: never heard of"]


def test_every_proof_is_a_test_of_this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    assert audit_language.missing_proofs() == []
    monkeypatch.setitem(audit_language.PROOFS, "magic", "tests/kernel/test_lang_features.py::test_magic")
    assert audit_language.missing_proofs() == ["tests/kernel/test_lang_features.py::test_magic"]
    assert not audit_language.proven("magic")


def test_command(tree: audit_features.Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main([str(tree.root), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["programs"] == len([n for n in FILES if n.endswith(".c")])
    assert said["files"]["odd.c"]["blockers"] == ["unknown section nowhere"]
    assert audit.main([str(tree.root)]) == 0
    assert f"of {said['programs']} programs" in capsys.readouterr().out


def test_real_tree() -> None:
    places = [os.environ.get("PROBEE_KERNEL_SOURCE", ""), *sorted(glob.glob("/usr/src/linux-source-*"))]
    trees = [Path(p) for p in places if p and (Path(p) / audit_features.PROGS).is_dir()]
    if not trees:
        pytest.skip("no kernel source: set PROBEE_KERNEL_SOURCE, or unpack linux-source in /usr/src")
    report = audit.Report(audit_features.Tree(trees[0]))
    assert len(report.programs) > 500
    assert report.share >= 0.6, report.as_text(30)
