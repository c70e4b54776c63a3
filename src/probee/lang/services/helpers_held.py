"""Helpers whose result has to be released, in a `with`."""

from __future__ import annotations

import ast

from ...isa.helpers import PROTOTYPES
from .. import builtins, mapops
from ..calls import arguments
from ..decl import redirects
from ..items import Ref
from ..kinds.contexts import layout
from ..scope import Fn
from ..types import Ptr, Space
from ..with_ import Held
from . import helpers, owned
from .rules import check_helper


def hold_socket(f: Fn, m: redirects.SockMap | redirects.SockHash, node: ast.Call) -> Held:
    """`with sockets.get(key) as sk:`, a socket of a SockMap or SockHash."""
    (key,) = arguments(f, node, f"{m.name}.get(key)", 1, 1)
    kind = Ptr(layout("bpf_sock"), Space.CONTEXT, True)
    value = f.b.helper("map_lookup_elem", mapops.handle(f, m), mapops.key_place(f, m, key, node), type=kind)
    what = f"a socket of {m.name}"
    return owned.hold(f, value, lambda v: f.b.helper("sk_release", v), what, Ref(value))


def hold(f: Fn, helper: builtins.Helper, node: ast.Call) -> Held:
    """`with bp.sk_lookup_tcp(…) as sk:`."""
    name = helper.name
    if name in helpers.INSTEAD:
        f.fail(node, f"bp.{name} is not called directly", helpers.INSTEAD[name])
    proto = check_helper(f, PROTOTYPES[name], node)
    if not proto.acquires:
        f.fail(node, f"what bpf_{name} gives has not to be released", f"write `x = bp.{name}(…)`")
    if not proto.ret.startswith("sock"):
        f.fail(node, f"bpf_{name} is not called directly", "assign to the field, or `take` from it")
    values, m = helpers.lower(f, proto, node)
    value = f.b.helper(name, *values, type=helpers.result_type(f, proto, m, node))
    return owned.hold(f, value, lambda v: f.b.helper("sk_release", v), f"what bpf_{name} gave", Ref(value))
