/* Program types by section name. */
#include "fixture.h"


#define PROGRAM(name, section) SEC(section) int name(void *ctx) { return 0; }

PROGRAM(a_socket, "socket")
PROGRAM(a_classifier, "tc")
PROGRAM(an_action, "action")
PROGRAM(a_tracepoint, "tracepoint/sched/sched_switch")
PROGRAM(a_raw, "raw_tracepoint/sys_enter")
PROGRAM(a_uprobe, "uprobe/libc:malloc")
PROGRAM(a_uretprobe, "uretprobe/libc:malloc")
PROGRAM(a_kprobe, "kprobe/do_exit")
PROGRAM(a_btf, "tp_btf/sched_switch")
PROGRAM(a_perf_event, "perf_event")
PROGRAM(an_xdp, "xdp")
PROGRAM(a_devmap, "xdp/devmap")
PROGRAM(frags, "xdp.frags")
PROGRAM(ingress, "cgroup_skb/ingress")
PROGRAM(a_sockops, "sockops")
PROGRAM(a_syscall, "syscall")
