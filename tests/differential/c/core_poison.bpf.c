/* CO-RE: a field that is missing, behind a test, so that the poison is never reached. */
#include "prelude.h"

struct task_struct { int pid; int no_such_field; } CORE;
SEC("tp_btf/sched_switch") int careful(u64 *ctx) {
    struct task_struct *t = (void *)ctx[1];
    if (__builtin_preserve_field_info(t->no_such_field, 2)) return t->no_such_field;
    return t->pid;
}
