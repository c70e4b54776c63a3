"""What programs return, by name: `XDP.DROP`, `TC.OK`.

Sources: linux/bpf.h, linux/pkt_cls.h, linux/netfilter.h.
"""

from __future__ import annotations


class XDP:
    """What becomes of a packet in an XDP program."""

    ABORTED = 0  # as DROP, and the tracepoint xdp:xdp_exception fires
    DROP = 1
    PASS = 2
    TX = 3  # back out of the interface it came from
    REDIRECT = 4  # where bpf_redirect or bpf_redirect_map said


class TC:
    """What becomes of a packet in tc, tcx and netkit."""

    UNSPEC = -1  # tc: the filter does not match
    NEXT = -1  # tcx and netkit: go on with the next program
    OK = 0
    PASS = 0
    RECLASSIFY = 1
    SHOT = 2
    DROP = 2
    PIPE = 3
    STOLEN = 4
    QUEUED = 5
    REPEAT = 6
    REDIRECT = 7
    TRAP = 8


class SK:
    """What sk_msg, sk_skb, sk_lookup and sk_reuseport programs say."""

    DROP = 0
    PASS = 1


class CGROUP:
    """What cgroup programs say about what a task wants to do."""

    DENY = 0
    ALLOW = 1


class NF:
    """What becomes of a packet in netfilter."""

    DROP = 0
    ACCEPT = 1


class LWT:
    """What becomes of a packet on a route with a program."""

    OK = 0
    DROP = 2
    REDIRECT = 7
    REROUTE = 128  # lwt_xmit: look the route up again (Linux 5.2)


class FLOW:
    """What a flow dissector says."""

    OK = 0
    DROP = 2
    CONTINUE = 129  # let the kernel's own dissector do it (Linux 6.0)
