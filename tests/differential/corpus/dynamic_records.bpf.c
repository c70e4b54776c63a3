/* Records whose size is known when they are made, written through dynptrs. */
#include "../c/fixture.h"

struct bpf_dynptr { u64 opaque[2]; } __attribute__((aligned(8)));
struct head { u32 pid, length; };
struct { NUMBER(type, RINGBUF); NUMBER(max_entries, 4096); } out SEC(".maps");
static long (*reserve)(void *ring, u32 size, u64 flags, struct bpf_dynptr *ptr) = (void *)198;
static void (*submit)(struct bpf_dynptr *ptr, u64 flags) = (void *)199;
static void (*discard)(struct bpf_dynptr *ptr, u64 flags) = (void *)200;
static long (*write)(struct bpf_dynptr *to, u32 offset, void *from, u32 size, u64 flags) = (void *)202;
const volatile u32 extra = 12;

SEC("tp/sched/sched_process_exec")
int report(void *ctx)
{
	struct bpf_dynptr record;
	struct head head = {pid_tgid() >> 32, extra};
	char comm[16];

	if (reserve(&out, sizeof(head) + sizeof(comm) + extra, 0, &record)) {
		discard(&record, 0);
		return 0;
	}
	get_comm(comm, sizeof(comm));
	write(&record, 0, &head, sizeof(head), 0);
	write(&record, sizeof(head), comm, sizeof(comm), 0);
	submit(&record, 0);
	return 0;
}
