"""Events at the same time on several CPUs: races are found, and found again."""

from __future__ import annotations

import pytest

import probee as bp
from probee import u64

totals = bp.Array[u64](2)


@bp.tp_btf("sched_process_exec")
def careless(task):  # type: ignore[no-untyped-def]
    totals[0] = totals[0] + 1


@bp.tp_btf("sched_process_exit")
def careful(task):  # type: ignore[no-untyped-def]
    totals[1] += 1


class Account(bp.Struct):
    lock: bp.SpinLock
    count: u64
    last: u64


accounts = bp.Array[Account](1)


@bp.tp_btf("sched_process_fork")
def unlocked(parent, child):  # type: ignore[no-untyped-def]
    a = accounts.get(0)
    if a is not None:
        a.count = a.count + 1
        a.last = a.count


@bp.tp_btf("sched_process_wait")
def locked(pid):  # type: ignore[no-untyped-def]
    a = accounts.get(0)
    if a is not None:
        with a.lock:
            a.count = a.count + 1
            a.last = a.count


def test_a_lost_update_is_mended_by_a_lock() -> None:
    seen: dict[str, set[tuple[int, int]]] = {"sched_process_fork": set(), "sched_process_wait": set()}
    with bp.Machine(unlocked, locked, cpus=3) as m:
        for event, found in seen.items():
            for seed in range(25):
                accounts[0] = Account()
                m.interleave(*[lambda event=event: m.fire(event, 0)] * 3, seed=seed)
                found.add((accounts[0].count, accounts[0].last))
    assert min(seen["sched_process_fork"]) < (3, 3)
    assert seen["sched_process_wait"] == {(3, 3)}


def test_a_lost_update_is_found_and_found_again() -> None:
    found = {}
    with bp.Machine(careless, careful, cpus=2) as m:
        lost = None
        for seed in range(40):
            totals[0] = totals[1] = 0
            m.interleave(
                lambda: m.fire("sched_process_exit", 0), lambda: m.fire("sched_process_exit", 0), seed=seed
            )
            run = m.interleave(
                lambda: m.fire("sched_process_exec", 0), lambda: m.fire("sched_process_exec", 0), seed=seed
            )
            assert [[r.retval for r in results] for results in run] == [[0], [0]]
            assert totals[1] == 2  # an atomic addition
            found[totals[0]] = seed
            if totals[0] == 1:
                lost = run.order
        assert set(found) == {1, 2}
        totals[0] = 0
        again = m.interleave(
            lambda: m.fire("sched_process_exec", 0), lambda: m.fire("sched_process_exec", 0), schedule=lost
        )
        assert totals[0] == 1
        assert again.order == lost


def test_one_after_the_other_loses_nothing() -> None:
    with bp.Machine(careless, careful, cpus=2) as m:
        m.interleave(
            lambda: m.fire("sched_process_exec", 0),
            lambda: m.fire("sched_process_exec", 0),
            schedule=[(0, 1000), (1, 1000)],
        )
        assert totals[0] == 2


def test_what_goes_wrong_is_told() -> None:
    with bp.Machine(careless, careful, cpus=2) as m:
        nothing = lambda: m.fire("no_such_event")  # noqa: E731
        with pytest.raises(bp.ProbeeError, match="nothing is attached to no_such_event"):
            m.interleave(lambda: m.fire("sched_process_exec", 0), nothing)
        with pytest.raises(bp.ProbeeError, match="3 events at the same time need as many CPUs"):
            m.interleave(nothing, nothing, nothing)
        m.fire("sched_process_exec", 0)  # and all goes on
        assert totals[0] == 1
