/* Hooks of user space and of perf events share a context each. */
#include "prelude.h"

u64 calls;
SEC("uprobe/libc:getppid") int enter(void *ctx) { __sync_fetch_and_add(&calls, 1); return 0; }
SEC("uretprobe/libc:getppid") int leave(void *ctx) { return RETURN_VALUE(ctx) > 0; }
SEC("perf_event") int sample(u64 *ctx) { __sync_fetch_and_add(&calls, 1); return 0; }
