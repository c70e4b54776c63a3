#include "kernel.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 16);
    __type(key, u32);
    __type(value, u64);
} generations SEC(".maps");

const volatile u32 root = 1;

SEC("tp/sched/sched_process_exec")
int on_exec(void *args)
{
    struct task_struct *task = current_task();
    s64 wanted = root;

    for (u32 depth = 0; depth < 8; depth++) {
        if (task->tgid == wanted) {
            u32 key = depth;
            u64 *count = bpf_map_lookup_elem(&generations, &key);

            if (count)
                __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
            return 0;
        }
        task = task->real_parent;
    }
    return 0;
}
