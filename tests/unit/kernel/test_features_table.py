"""The table of features: complete, told truly in the docs, and asked no more often than needed."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probee.errors import Unsupported
from probee.kernel import features
from probee.kernel.features import FEATURES, Answer, ask, have, require, system
from probee.kernel.features.inventory import MAP_FLAGS
from probee.sys import caps, use
from probee.sys.fake import FakeKernel

PAGE = Path(__file__).resolve().parents[3] / "docs" / "needs.md"
ROW = re.compile(r"^\| `(\w+)` \| (.*) \| (\d+\.\d+) \| (.*) \|$", re.M)


def test_every_feature_has_a_probe_and_every_probe_a_feature() -> None:
    for area in {f.area for f in FEATURES.values()}:
        module = __import__(f"probee.kernel.features.{area}", fromlist=["PROBES"])
        assert set(module.PROBES) == {f.name for f in FEATURES.values() if f.area == area}


def test_rows_look_as_they_should() -> None:
    for name, feature in FEATURES.items():
        assert feature.name == name
        assert re.fullmatch(r"[3-7]\.\d+", feature.since), name
        assert feature.what
        assert not feature.what.endswith(".")
        assert all(option.startswith("CONFIG_") for option in feature.config)
    assert all(re.fullmatch(r"[3-7]\.\d+", since) for _, since, _ in MAP_FLAGS.values())


def test_the_page_is_the_table() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert [name for name, *_ in rows] == list(FEATURES)
    for name, what, since, config in rows:
        feature = FEATURES[name]
        assert (what, since) == (feature.what, feature.since)
        assert re.findall(r"CONFIG_\w+", config) == list(feature.config)


def test_a_conclusive_answer_is_asked_for_once() -> None:
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        assert have("map_freeze")
        asked = len(fake.calls)
        assert have("map_freeze")
        assert len(fake.calls) == asked
        features.forget()
        assert have("map_freeze")
        assert len(fake.calls) > asked


def test_another_kernel_is_asked_anew() -> None:
    with use(FakeKernel()):
        assert have("ringbuf")
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        fake.refuse("map_create", errno.EINVAL)
        assert not have("ringbuf")


def test_missing_privilege_is_no_answer_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "effective", lambda: 0)
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        fake.refuse("map_create", errno.EPERM)
        answer = ask("ringbuf")
        assert (answer.yes, answer.reason) == (False, features.PRIVILEGE)
        assert "CAP_BPF" in answer.detail
        assert ask("ringbuf")


def test_a_refusal_with_all_privilege_is_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caps, "effective", lambda: (1 << 41) - 1)
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        fake.refuse("map_create", errno.EPERM)
        assert ask("ringbuf").reason == features.POLICY


def test_require_names_feature_and_version() -> None:
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        fake.refuse("map_create", errno.EINVAL)
        with pytest.raises(Unsupported) as caught:
            require("user_ringbuf", "map commands")
        assert (caught.value.feature, caught.value.since) == ("user_ringbuf", "6.1")
        assert str(caught.value).startswith(
            "map commands needs user ring buffers: it came with Linux 6.1; this is "
        )
        features.forget()
        require("user_ringbuf")


def test_a_missing_build_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "config", lambda: {"CONFIG_BPF": "y"})
    with use(FakeKernel()) as fake:
        assert isinstance(fake, FakeKernel)
        fake.refuse("map_create", errno.EINVAL)
        answer = ask("arena")
        assert answer.reason == features.CONFIG
        assert answer.detail == "CONFIG_BPF_JIT is not set in this kernel"


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        have("no such feature")


def test_an_answer_is_true_or_false() -> None:
    assert Answer(True)
    assert not Answer(False, features.OLD)
    assert not Answer(False, features.UNKNOWN).conclusive


def test_parse_config() -> None:
    text = '# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C="a=b"\nCONFIG_D=m\n\nOTHER=1\n'
    assert system.parse_config(text) == {"CONFIG_B": "y", "CONFIG_C": "a=b", "CONFIG_D": "m"}


@given(st.text())
def test_any_text_is_some_configuration(text: str) -> None:
    assert all(name.startswith("CONFIG_") for name in system.parse_config(text))
