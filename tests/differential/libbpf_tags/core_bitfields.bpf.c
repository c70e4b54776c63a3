/* CO-RE: bitfields through shifts. */
struct task_struct { unsigned sched_reset_on_fork : 1; unsigned in_execve : 1; unsigned in_iowait : 1; } CORE;
#define INFO(f, k) __builtin_preserve_field_info(f, k)
SEC("raw_tp/sched_switch") int bits(u64 *ctx) {
    struct task_struct *t = (void *)ctx[1]; u64 word = 0;
    probe_read_kernel(&word, INFO(t->in_iowait, 1) & 15, (char *)t + INFO(t->in_iowait, 0));
    word <<= INFO(t->in_iowait, 4);
    return word >> INFO(t->in_iowait, 5);
}
