/* What the C programs on packets share. */
#pragma once

#include "kernel.h"

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>

struct vlan {
    __be16 tci, type;
};

/* The header behind an IPv4 header, which has the length that it says; NULL if that is too short. */
static __always_inline void *behind_ip(struct iphdr *ip)
{
    u32 length = ip->ihl * 4;

    return length < sizeof(*ip) ? NULL : (void *)ip + length;
}
