/* CO-RE: chains, arrays, anonymous members. */
struct nsproxy { int count_not_there; } CORE;
struct task_struct {
    int pid; int tgid; struct task_struct *real_parent; char comm[16]; u64 start_time; struct mm_struct *mm;
} CORE;
struct mm_struct { u64 total_vm; u64 start_stack; } CORE;
SEC("tp_btf/sched_switch") int chain(u64 *ctx) {
    struct task_struct *prev = (void *)ctx[1], *next = (void *)ctx[2];
    return prev->pid + next->real_parent->tgid + prev->comm[3] + (prev->start_time >> 20);
}
SEC("raw_tp/sched_switch") int probed(u64 *ctx) {
    struct task_struct *prev = (void *)ctx[1]; u64 vm = 0; struct mm_struct *mm = 0;
    probe_read_kernel(&mm, sizeof(mm), &prev->mm);
    probe_read_kernel(&vm, sizeof(vm), &mm->total_vm);
    return vm;
}
