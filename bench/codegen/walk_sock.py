"""The kernel's own packet behind the context: its device, its socket, and their namespaces."""

import probee as bp
from probee import TC, u16, u32, u64


class Sender(bp.Struct):
    namespace: u32
    socket_namespace: u32
    truesize: u32
    mtu: u32
    receive_buffer: u32
    mark: u32
    family: u16
    state: u16
    packets: u64


seen = bp.Array[Sender](1)


@bp.tc
def look(pkt):
    s = seen.get(0)
    if s is None:
        return TC.OK
    skb = bp.kfunc.bpf_cast_to_kern_ctx(pkt)
    s.truesize = skb.truesize
    device = skb.dev
    s.mtu = device.mtu
    s.namespace = device.nd_net.net.ns.inum
    sk = skb.sk
    if sk is None:
        return TC.OK
    s.family = sk.__sk_common.skc_family
    s.state = sk.__sk_common.skc_state
    s.socket_namespace = sk.__sk_common.skc_net.net.ns.inum
    s.receive_buffer = sk.sk_rcvbuf
    s.mark = sk.sk_mark
    s.packets += 1
    return TC.OK
