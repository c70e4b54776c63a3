"""Ports of the selftests of struct_ops."""

from __future__ import annotations

from collections.abc import Iterator

import family_struct_ops
import pytest
from selftest_ports import Live, Port, table

import probee as bp
from needs import needs

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    needs("struct_ops")
    with bp.attach(family_struct_ops, cache=False) as session:
        yield Live(session, family_struct_ops)


@table("family_struct_ops")
def test_port(live: Live, port: Port) -> None:
    port.check(live, port.name)
