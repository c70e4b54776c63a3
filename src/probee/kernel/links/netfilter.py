"""netfilter: where iptables and nftables hook in, in the calling thread's network namespace."""

from __future__ import annotations

import errno
from struct import Struct

from probee import sys as kernel_calls
from probee.errors import AttachError, PermissionDenied, ProbeeError, Unsupported
from probee.kernel.links.base import Link
from probee.kernel.links.interfaces import programs, refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from probee.kernel.attach_base import Attachable

_NETFILTER = 45  # enum bpf_attach_type
_EXTRA = Struct("=IIiI")
_DEFRAG = 1  # BPF_F_NETFILTER_IP_DEFRAG
# UAPI linux/netfilter.h: NFPROTO_…, NF_INET_…
FAMILIES = {"ipv4": 2, "ip": 2, "ipv6": 10, "ip6": 10}
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
_DEFRAG_PRIORITY = -400


def attach(
    program: Attachable,
    family: str | int = "ipv4",
    hook: str | int = "input",
    *,
    priority: int = 0,
    defrag: bool = False,
) -> Link:
    """`Program.attach_netfilter`."""
    family = "ipv4" if family == "" else family
    pf = FAMILIES.get(family, -1) if isinstance(family, str) else family
    point = HOOKS.get(hook.lower().replace("-", ""), -1) if isinstance(hook, str) else hook
    place = f"netfilter {family} {hook}, priority {priority}"
    if pf < 0:
        raise AttachError(f"netfilter family {family!r}: expected ipv4 or ipv6", hook=place)
    if point < 0:
        raise AttachError(f"netfilter hook {hook!r}: expected one of {', '.join(HOOKS)}", hook=place)
    if not -(1 << 31) < priority < (1 << 31) - 1:
        raise AttachError(f"{place}: a priority is a 32-bit number, without its extremes", hook=place)
    extra = _EXTRA.pack(pf, point, priority, _DEFRAG if defrag else 0)
    try:
        return Link(kernel_calls.kernel().link_create(program.fd, 0, _NETFILTER, extra=extra), place)
    except OSError as error:
        raise _explain(program, place, pf, point, priority, defrag, error) from None


def _explain(
    program: Attachable, place: str, pf: int, point: int, priority: int, defrag: bool, error: OSError
) -> AttachError | PermissionDenied | Unsupported | ProbeeError:
    number = error.errno or 0

    def failed(text: str) -> AttachError:
        return AttachError(f"can't attach to {place}: {text}", hook=place, errno=number)

    if number == errno.EBUSY:
        from probee.kernel.network import netfilter

        try:
            same = [h.prog_id for h in netfilter() if (h.pf, h.hooknum, h.priority) == (pf, point, priority)]
        except OSError:
            same = []
        return failed(f"{programs(same) if same else 'another program'} has that priority; choose another")
    if number == errno.ERANGE and defrag:
        return failed(
            f"packets are put together at priority {_DEFRAG_PRIORITY}; with defrag, choose a higher one"
        )
    if number == errno.EOPNOTSUPP and defrag:
        return Unsupported(
            f"{place}: this kernel has no defrag", feature="BPF_F_NETFILTER_IP_DEFRAG", since="6.6"
        )
    if number in (errno.EAFNOSUPPORT, errno.EPFNOSUPPORT):
        return failed("the family has to be ipv4 or ipv6")
    if number == errno.EPROTO:
        return failed(f"that family has no such hook; there are {', '.join(HOOKS)}")
    if number == errno.EINVAL and program.type == 32:
        # Such a program could be loaded, so the kernel knows the type; what is missing is the link.
        return Unsupported(
            f"{place}: this kernel has no netfilter links", feature="CONFIG_NETFILTER_BPF_LINK", since="6.4"
        )
    return refused(place, error)
