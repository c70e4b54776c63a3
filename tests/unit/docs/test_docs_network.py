"""docs/network.md: its C compiles, its Python runs on the programs of that C, in a network of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from c_objects import object_from_c
from needs import needs
from netbox import cgroup, ip, namespace
from probee.errors import Unsupported
from probee.isa.sections import SECTIONS
from probee.kernel.attach_net import NETWORK
from probee.kernel.features import have
from probee.kernel.load import load
from probee.kernel.program import Program

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "network.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.M | re.S)
PYTHON = [code for language, code in BLOCKS if language == "python"]


@pytest.mark.root
@pytest.mark.parametrize("code", [pytest.param(code, id=str(i)) for i, code in enumerate(PYTHON)])
def test_code_runs(code: str, tmp_path: Path) -> None:
    wanted = re.match(r"# needs (\w+)\n", code)
    if wanted:
        needs(wanted[1])
    (text,) = (code for language, code in BLOCKS if language == "c")
    spec = object_from_c(tmp_path, text)
    chosen = [n for n, p in spec.programs.items() if p.autoload or have("netfilter")]
    with load(spec, programs=chosen) as live, namespace(), cgroup() as group:
        ip("link add eth0 type veth peer name eth1")
        try:
            exec(compile(code, "docs/network.md", "exec"), {"live": live, "group": group.path})
        except Unsupported as error:
            if "attach_tcx" not in code:
                raise
            pytest.skip(str(error))


def test_every_network_section_has_a_method_that_the_table_names() -> None:
    table = (DOCS / "links.md").read_text().split("## Network, sockets, cgroups")[1]
    for section, method in NETWORK.items():
        assert section in SECTIONS
        assert hasattr(Program, method)
        assert f"`{method}(" in table


def test_methods_on_the_page_exist() -> None:
    for name in re.findall(r"attach_\w+", PAGE):
        assert hasattr(Program, name), name
