// What a C program on libbpf does with the same map: `readers ring|perf|map FD`. For each line of its input it
// does one round and answers with the number of records or entries and the nanoseconds that each part took.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RECORD = 40, MOST = 1 << 20 };
static char kept[MOST][RECORD];
static unsigned long n;

static unsigned long now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ul + t.tv_nsec;
}

static int on_ring(void *ctx, void *data, size_t size)
{
	memcpy(kept[n++ % MOST], data, RECORD);
	return 0;
}

static void on_perf(void *ctx, int cpu, void *data, unsigned size)
{
	memcpy(kept[n++ % MOST], data, RECORD);
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int map(int fd, unsigned long entries)
{
	unsigned *keys = malloc(entries * 4), *read_keys = malloc(entries * 4);
	unsigned long *values = malloc(entries * 8), *read_values = malloc(entries * 8);
	char line[64];
	for (unsigned i = 0; i < entries; i++)
		keys[i] = i, values[i] = 3ul * i;
	while (fgets(line, sizeof line, stdin)) {
		unsigned count = entries, batch, got = 0;
		unsigned long begin = now(CLOCK_MONOTONIC), write, read;
		if (bpf_map_update_batch(fd, keys, values, &count, NULL))
			return fail("update");
		write = now(CLOCK_MONOTONIC) - begin;
		begin = now(CLOCK_MONOTONIC);
		for (int end = 0; !end; got += count) {
			count = entries - got < 65536 ? entries - got : 65536;
			if (!count)
				break;
			end = bpf_map_lookup_batch(fd, got ? &batch : NULL, &batch, read_keys + got, read_values + got,
						   &count, NULL) < 0;
		}
		read = now(CLOCK_MONOTONIC) - begin;
		printf("%u %lu %lu\n", got, write, read);
		fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int fd = atoi(argv[2]);
	char line[64];
	if (!strcmp(argv[1], "map"))
		return map(fd, atol(argv[3]));
	struct ring_buffer *ring = NULL;
	struct perf_buffer *perf = NULL;
	memset(kept, 1, sizeof kept); // the pages are there
	if (!strcmp(argv[1], "ring"))
		ring = ring_buffer__new(fd, on_ring, NULL, NULL);
	else
		perf = perf_buffer__new(fd, atoi(argv[3]), on_perf, NULL, NULL, NULL);
	if (!ring && !perf)
		return fail("open");
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		n = 0;
		unsigned long begin = now(CLOCK_THREAD_CPUTIME_ID);
		if (ring)
			ring_buffer__consume(ring);
		else
			perf_buffer__consume(perf);
		printf("%lu %lu\n", n, now(CLOCK_THREAD_CPUTIME_ID) - begin);
		fflush(stdout);
	}
	perf_buffer__free(perf);
	ring_buffer__free(ring);
	return 0;
}
