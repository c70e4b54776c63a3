/* Kernel functions by kprobe: latency of do_unlinkat, by name, by offset, returns, system calls. */
#include "../c/fixture.h"

MAP(HASH, entered, 1024, u64, u64);
MAP(ARRAY, histogram, 64, u32, u64);

SEC("kprobe/do_unlinkat")
int enter(void *regs)
{
	u64 id = pid_tgid(), now = ktime();
	map_update(&entered, &id, &now, 0);
	return 0;
}

SEC("kretprobe/do_unlinkat")
int leave(void *regs)
{
	u64 id = pid_tgid(), *at = map_lookup(&entered, &id);
	if (!at)
		return 0;
	u64 took = ktime() - *at;
	u32 slot = 0;
	for (int i = 0; i < 63; i++)
		if (took >> i)
			slot = i;
	u64 *n = map_lookup(&histogram, &slot);
	if (n)
		__sync_fetch_and_add(n, 1);
	map_delete(&entered, &id);
	return 0;
}
SEC("?kprobe/do_unlinkat+0x0") int at_offset(void *regs) { return 0; }
SEC("ksyscall/getpid") int a_syscall(void *regs) { return 0; }
SEC("kretsyscall/getpid") int its_return(void *regs) { return 0; }
SEC("kprobe.multi/vfs_*") int many(void *regs) { return 0; }
SEC("kretprobe.multi/vfs_*") int many_returns(void *regs) { return 0; }
SEC("kprobe.session/vfs_read") int session(void *regs) { return 0; }
