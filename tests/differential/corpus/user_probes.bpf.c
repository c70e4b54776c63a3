/* User space: functions, their returns, many at once, sleeping ones. */
#include "../c/fixture.h"

struct { NUMBER(type, PERF_EVENT_ARRAY); NUMBER(key_size, 4); NUMBER(value_size, 4); } out SEC(".maps");
struct sample { u64 id, cookie; };
static u64 (*cookie)(void *ctx) = (void *)174;
static long (*copy_from_user)(void *to, u32 size, const void *from) = (void *)148;

SEC("uprobe/libc.so.6:malloc")
int allocate(void *regs)
{
	struct sample s = {pid_tgid(), cookie(regs)};
	perf_output(regs, &out, 0xffffffffULL, &s, sizeof(s));
	return 0;
}
SEC("uretprobe/libc.so.6:malloc") int allocated(void *regs) { return 0; }
SEC("uprobe.s/libc.so.6:free") int sleeps(u64 *regs) { u64 v = 0; return copy_from_user(&v, 8, (void *)regs[14]) && v; }
SEC("uprobe.multi/libc.so.6:mem*") int many(void *regs) { return 0; }
SEC("uretprobe.multi/libc.so.6:mem*") int many_returns(void *regs) { return 0; }
SEC("uprobe.session/libc.so.6:calloc") int session(void *regs) { return 0; }
SEC("usdt/libc.so.6:libc:setjmp") int note(void *regs) { return 0; }
