/* Iterators that print a line for each object. */
#include "../c/fixture.h"

struct seq_file;
struct meta { struct seq_file *seq; u64 session, number; } RELOCATED;
struct bpf_iter_meta { struct seq_file *seq; u64 session_id, seq_num; } RELOCATED;
struct bpf_iter__task { struct bpf_iter_meta *meta; struct task_struct *task; } RELOCATED;
struct bpf_map { u32 id; u32 max_entries; char name[16]; } RELOCATED;
struct bpf_iter__bpf_map { struct bpf_iter_meta *meta; struct bpf_map *map; } RELOCATED;
struct bpf_iter__bpf_map_elem { struct bpf_iter_meta *meta; struct bpf_map *map; void *key, *value; } RELOCATED;
static long (*seq_printf)(void *seq, const char *format, u32 size, const void *data, u32 length) = (void *)126;

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	static const char format[] = "%d %s\n";
	if (!task)
		return 0;
	u64 args[2] = {task->tgid, (u64)task->comm};
	seq_printf(ctx->meta->seq, format, sizeof(format), args, sizeof(args));
	return 0;
}

SEC("iter/bpf_map")
int maps(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	static const char format[] = "%u\n";
	if (!map)
		return 0;
	u64 id = map->id;
	seq_printf(ctx->meta->seq, format, sizeof(format), &id, sizeof(id));
	return 0;
}

SEC("iter/bpf_map_elem")
int entries(struct bpf_iter__bpf_map_elem *ctx)
{
	return ctx->key && ctx->value ? 0 : 0;
}
SEC("iter/tcp") int tcp(void *ctx) { return 0; }
SEC("iter/udp") int udp(void *ctx) { return 0; }
SEC("iter/cgroup") int cgroups(void *ctx) { return 0; }
SEC("iter/ksym") int symbols(void *ctx) { return 0; }
SEC("iter.s/task_vma") int memory(void *ctx) { return 0; }
