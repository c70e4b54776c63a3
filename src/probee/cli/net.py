"""`probee net`: programs of network interfaces, as `bpftool net`."""

from __future__ import annotations

from typing import Any

from ..errors import ProbeeError
from ..kernel import network
from ..kernel.links import interfaces, tcx, xdp
from ..kernel.program import Program
from ..sys.netlink import Route
from . import seek
from .grammar import Words, Wrong, command
from .output import Output

HELP = """
usage: probee net show|list [dev INTERFACE]
       probee net attach ATTACH_TYPE PROG dev INTERFACE [overwrite | prepend]
       probee net detach ATTACH_TYPE dev INTERFACE

The programs of this network namespace: XDP, tcx and netkit, tc filters, the flow dissector, and netfilter
links of the whole machine. What `attach` attaches stays until it is detached. Words and JSON (-j) are those
of bpftool; words may be abbreviated.

  PROG         id N | name NAME | tag TAG | pinned PATH
  ATTACH_TYPE  xdp | xdpgeneric | xdpdrv | xdpoffload | tcx_ingress | tcx_egress

`overwrite` puts the program in the place of another (xdp), `prepend` in front of those that are there (tcx).

examples:
  probee net
  probee net show dev eth0 -j
  probee net attach xdpgeneric name my_xdp dev eth0 overwrite
  probee net detach xdpgeneric dev eth0
"""

_XDP = {"xdp": "", "xdpgeneric": "generic", "xdpdrv": "native", "xdpoffload": "offload"}
_TCX = {"tcx_ingress": tcx.INGRESS, "tcx_egress": tcx.EGRESS}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_FAMILIES = {1: "inet", 2: "ipv4", 3: "arp", 7: "bridge", 10: "ipv6"}


def main(argv: list[str]) -> int:
    return command("net", {"show": show, "list": show, "attach": attach, "detach": detach}, HELP, argv)


def show(words: Words, output: Output) -> int:
    index = _interface(words)[0] if words else 0
    words.end()
    found = _everything(index)
    if output.json:
        output.emit([found])
    else:
        _print(found, output)
    return 0


def _interface(words: Words) -> tuple[int, str]:
    words.one_of("dev")
    return interfaces.resolve(words.next("INTERFACE"))


def _everything(index: int) -> dict[str, list[Any]]:
    """What there is, in bpftool's JSON."""
    with Route() as route:
        # The dump, also for one interface: bpftool tells what the dump tells.
        devices = [d for d in network.devices(route) if index in (0, d.index)]
        found: dict[str, list[Any]] = {
            "xdp": [_xdp(device) for device in devices if device.xdp],
            "tc": [],
            "flow_dissector": [],
            "netfilter": [],
        }
        for device in devices:
            for kind, attach_type in network.ORDERED.items():
                for one in network.ordered(device.index, attach_type):
                    found["tc"].append(_ordered(device, kind, one))
            for each in network.tc_of(route, device.index):
                found["tc"].append(_filter(device, each))
    # bpftool writes a name and a number into the array here, without braces, which is no JSON.
    found["flow_dissector"] = [{"id": id} for id in network.flow_dissector()]
    for link in network.netfilter():
        facts = link.to_dict()
        found["netfilter"].append(
            {**{key: facts[key] for key in ("pf", "hook", "prio", "flags")}, "id": link.prog_id}
        )
    return found


def _head(device: network.Device) -> dict[str, Any]:
    return {"devname": device.name, "ifindex": device.index}


def _xdp(device: network.Device) -> dict[str, Any]:
    modes = [{"mode": mode, "id": id} for mode, id in device.xdp]
    return {**_head(device), **(modes[0] if len(modes) == 1 else {"multi_attachments": modes})}


def _ordered(device: network.Device, kind: str, one: network.Ordered) -> dict[str, Any]:
    name = _name(one.prog_id)
    return {
        **_head(device),
        "kind": kind,
        **({"name": name} if name else {}),
        "prog_id": one.prog_id,
        "prog_flags": _bits(one.prog_flags),
        "link_id": one.link_id,
        "link_flags": _bits(one.link_flags),
    }


def _filter(device: network.Device, one: network.TcFilter) -> dict[str, Any]:
    facts = {**_head(device), "kind": one.place}
    if one.name:
        facts["name"] = one.name
    if one.id:
        facts["id"] = one.id
    if one.actions is not None:
        facts["act"] = [{"name": name, "id": id} for name, id in one.actions]
    return facts


def _bits(flags: int) -> list[int]:
    return [1 << bit for bit in range(32) if flags >> bit & 1]


def _name(id: int) -> str:
    try:
        with seek.open_id(seek.PROGRAM, id) as handle:
            return seek.prog_name(handle, handle.program())
    except ProbeeError:
        return ""  # it went meanwhile, or may not be opened


def _print(found: dict[str, list[Any]], output: Output) -> None:
    rows: list[tuple[Any, ...]] = []
    for device in found["xdp"]:
        for one in device.get("multi_attachments", [device]):
            rows.append((device["devname"], f"xdp {one['mode']}", one["id"], _name(one["id"]), ""))
    for one in found["tc"]:
        kind = one["kind"] if "prog_id" in one else f"tc {one['kind']}"
        id = one.get("prog_id", one.get("id", ""))
        rows.append((one["devname"], kind, id, one.get("name", ""), one.get("link_id") or ""))
        for action in one.get("act", ()):
            rows.append((one["devname"], f"{kind}, action", action["id"], action["name"], ""))
    for one in found["flow_dissector"]:
        rows.append(("", "flow dissector", one["id"], _name(one["id"]), ""))
    for one in found["netfilter"]:
        hook = _HOOKS[one["hook"]] if one["hook"] < len(_HOOKS) else one["hook"]
        family = _FAMILIES.get(one["pf"], one["pf"])
        rows.append(("", f"netfilter {family} {hook} {one['prio']}", one["id"], _name(one["id"]), ""))
    output.table(
        ("INTERFACE", "HOOK", ">PROG", "NAME", ">LINK"),
        rows,
        empty="no program is attached to the network here",
    )


def attach(words: Words, output: Output) -> int:
    hook = words.one_of(*_XDP, *_TCX)
    with seek.program(words) as handle:
        index, name = _interface(words)
        how = words.take("overwrite", "prepend")
        words.end()
        if how and (how == "overwrite") != (hook in _XDP):
            raise Wrong("overwrite is for xdp, prepend for tcx")
        with Program.open(fd=handle.fd) as program:
            if hook in _XDP:
                link = program.attach_xdp(index, mode=_XDP[hook], link=False, replace=how == "overwrite")
            else:
                direction = hook.removeprefix("tcx_")
                link = program.attach_tcx(index, direction, first=how == "prepend", link=False)
            link.leave()  # type: ignore[attr-defined]
    output.done(f"attached to {hook} of {name}")
    return 0


def detach(words: Words, output: Output) -> int:
    hook = words.one_of(*_XDP, *_TCX)
    index, name = _interface(words)
    words.end()
    if hook in _XDP:
        if not network.xdp_of(index):
            raise ProbeeError(f"no XDP program is attached to {name}")
        xdp.detach(index, _XDP[hook])
    else:
        tcx.detach(index, hook.removeprefix("tcx_"))
    output.done(f"detached from {hook} of {name}")
    return 0
