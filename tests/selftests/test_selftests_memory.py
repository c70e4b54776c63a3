"""Ports of the selftests of arenas, atomic operations, exceptions, trees looked into, dynptrs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selftest_ports import Live, Port, loaded, table

pytestmark = pytest.mark.root
FAMILY = "family_memory"


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with loaded(FAMILY) as family:
        yield family


@table(FAMILY)
def test_port(live: Live, port: Port) -> None:
    port.check(live, port.name)
