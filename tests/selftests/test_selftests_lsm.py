"""Ports of the selftests of security programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selftest_ports import Live, Port, loaded, table

from needs import needs

pytestmark = pytest.mark.root
FAMILY = "family_lsm"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    needs("lsm")
    with loaded(FAMILY) as family:
        yield family


@table(FAMILY)
def test_port(live: Live, port: Port) -> None:
    port.check(live, port.name)
