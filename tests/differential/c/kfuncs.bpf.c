/* Calls of kernel functions, and the test for one that is missing. */
#include "prelude.h"

#define KSYM __attribute__((section(".ksyms")))
extern void bpf_rcu_read_lock(void) KSYM;
extern void bpf_rcu_read_unlock(void) KSYM;
extern void bpf_no_such_kfunc(void) __attribute__((section(".ksyms"), weak));
SEC("tp_btf/sched_switch") int locked(u64 *ctx) {
    int missing;
    bpf_rcu_read_lock();
    missing = bpf_no_such_kfunc == 0;
    bpf_rcu_read_unlock();
    return missing;
}
