/* A timer in a map value that starts itself again, and a lock beside it. */
#include "../c/fixture.h"

struct bpf_timer { u64 opaque[2]; } __attribute__((aligned(8)));
struct bpf_spin_lock { u32 value; };
struct entry { struct bpf_timer timer; struct bpf_spin_lock lock; u64 ticks; };
MAP(ARRAY, clocks, 1, u32, struct entry);

static int tick(void *map, u32 *key, struct entry *entry)
{
	spin_lock(&entry->lock);
	entry->ticks++;
	spin_unlock(&entry->lock);
	timer_start(&entry->timer, 1000000, 0);
	return 0;
}

SEC("tc")
int start(void *ctx)
{
	u32 zero = 0;
	struct entry *entry = map_lookup(&clocks, &zero);

	if (!entry || timer_init(&entry->timer, &clocks, 1))
		return 1;
	timer_set_callback(&entry->timer, tick);
	return timer_start(&entry->timer, 1000000, 0);
}
