"""What is said of a refusal that the verifier had no words for."""

from __future__ import annotations

import errno

import pytest

from probee.errors import LoadError, PermissionDenied, ProbeeError, Unsupported
from probee.kernel import rejection
from probee.obj.spec import LinkedProgram, ObjectSpec
from probee.sys import caps, use
from probee.sys.bpf import ProgAttr
from probee.sys.fake import FakeKernel
from probee.verifier.explain import explain


def refused(number: int, times: int, **fields: int) -> ProbeeError:
    """The error for a program that the kernel refuses without a word, and then `times` times more."""
    attr = ProgAttr(fields.pop("type", 6), bytes(16), "GPL", "p")
    for name, value in fields.items():
        setattr(attr, name, value)
    linked = LinkedProgram.__new__(LinkedProgram)
    linked.insns = bytearray(16)
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        fake.refuse("prog_load", number, times=times)
        with pytest.raises(ProbeeError) as caught:
            rejection.retry(attr, OSError(number, "no"), ObjectSpec.__new__(ObjectSpec), linked, {}, "")
    return caught.value


def test_a_program_type_that_is_too_young_is_named() -> None:
    error = refused(errno.EINVAL, 2, type=32)
    assert isinstance(error, Unsupported)
    assert (error.feature, error.since) == ("program type netfilter", "6.4")
    assert "has no program type netfilter, which came with Linux 6.4" in str(error)


def test_a_flag_that_is_too_young_is_named() -> None:
    error = refused(errno.EINVAL, 2, flags=1 << 5)
    assert isinstance(error, Unsupported)
    assert (error.feature, error.since) == ("xdp_frags", "5.18")


def test_a_refusal_for_no_known_reason_stays_one() -> None:
    error = refused(errno.EINVAL, 1)
    assert isinstance(error, LoadError)
    assert "without a word: Invalid argument" in str(error)


def test_a_token_that_does_not_delegate_is_named() -> None:
    error = refused(errno.EPERM, 3, token_fd=7)
    assert isinstance(error, PermissionDenied)
    assert error.reason == "token"
    assert "delegate_progs=xdp" in str(error)


def test_lockdown_is_told_where_it_takes_a_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "locked_down", lambda: "confidentiality")
    found = explain("5: (85) call bpf_probe_read_kernel#113\nunknown func bpf_probe_read_kernel#113\n")
    rejection._surroundings(found)
    assert "lockdown=confidentiality" in found.cause
