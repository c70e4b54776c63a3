/* Values with a spin lock and with a timer: the kernel finds them through BTF. */
#include "fixture.h"

struct bpf_spin_lock { u32 val; };
struct bpf_timer { u64 opaque[2]; } __attribute__((aligned(8)));
struct locked { struct bpf_spin_lock lock; u64 value; };
struct timed { u64 fired; struct bpf_timer timer; };

MAP(ARRAY, under_lock, 1, u32, struct locked);
MAP(ARRAY, timers, 1, u32, struct timed);

static int fire(void *map, u32 *key, struct timed *value)
{
	value->fired++;
	return 0;
}

SEC("syscall") int run(void *ctx)
{
	u32 zero = 0;
	struct locked *locked = map_lookup(&under_lock, &zero);
	struct timed *timed = map_lookup(&timers, &zero);

	if (!locked || !timed)
		return 1;
	spin_lock(&locked->lock);
	locked->value++;
	spin_unlock(&locked->lock);
	timer_init(&timed->timer, &timers, 1);
	timer_set_callback(&timed->timer, fire);
	timer_start(&timed->timer, 1000000, 0);
	return 0;
}
