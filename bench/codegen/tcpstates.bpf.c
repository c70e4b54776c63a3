#include "kernel.h"

#define IPPROTO_TCP 6
#define TCP_CLOSE 7

struct trace_event_raw_inet_sock_set_state {
    const void *skaddr;
    int oldstate, newstate;
    u16 sport, dport, family, protocol;
} CORE;

struct Change {
    u64 time_ns;
    u64 lasted_ns;
    u32 pid;
    u32 old;
    u32 new;
    u16 family;
    u16 sport;
    u16 dport;
    char comm[16];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u64);
    __type(value, u64);
} since SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} changes SEC(".maps");

u64 dropped;

SEC("tp/sock/inet_sock_set_state")
int on_change(struct trace_event_raw_inet_sock_set_state *args)
{
    u64 sock, now, *before;
    struct Change *e;
    u64 lasted = 0;

    if (args->protocol != IPPROTO_TCP)
        return 0;
    sock = (u64)args->skaddr;
    now = bpf_ktime_get_ns();
    before = bpf_map_lookup_elem(&since, &sock);
    if (before && *before)
        lasted = now - *before;
    e = bpf_ringbuf_reserve(&changes, sizeof(*e), 0);
    if (e) {
        e->time_ns = now;
        e->lasted_ns = lasted;
        e->pid = bpf_get_current_pid_tgid() >> 32;
        e->old = args->oldstate;
        e->new = args->newstate;
        e->family = args->family;
        e->sport = args->sport;
        e->dport = args->dport;
        bpf_get_current_comm(e->comm, sizeof(e->comm));
        bpf_ringbuf_submit(e, 0);
    } else {
        __atomic_fetch_add(&dropped, 1, __ATOMIC_RELAXED);
    }
    if (args->newstate == TCP_CLOSE)
        bpf_map_delete_elem(&since, &sock);
    else
        bpf_map_update_elem(&since, &sock, &now, BPF_ANY);
    return 0;
}
