/* What the fixtures share: libbpf's conventions and a few helpers by number. Needs no other header. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef _Bool bool;

#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define INLINE static inline __attribute__((always_inline))
#define HIDDEN __attribute__((visibility("hidden")))
#define WEAK __attribute__((weak))
#define RELOCATED __attribute__((preserve_access_index))

#define NUMBER(name, value) int (*name)[value]
#define TYPE(name, type) typeof(type) *name
#define VALUES(name, type) typeof(type) *name[]

enum {
	HASH = 1, ARRAY = 2, PROG_ARRAY = 3, PERF_EVENT_ARRAY = 4, PERCPU_HASH = 5, PERCPU_ARRAY = 6,
	STACK_TRACE = 7, CGROUP_ARRAY = 8, LRU_HASH = 9, LRU_PERCPU_HASH = 10, LPM_TRIE = 11,
	ARRAY_OF_MAPS = 12, HASH_OF_MAPS = 13, SOCKHASH = 18, QUEUE = 22, STACK = 23, SK_STORAGE = 24,
	RINGBUF = 27, TASK_STORAGE = 29, BLOOM_FILTER = 30, USER_RINGBUF = 31,
};

/* A map with a key and a value type. */
#define MAP(kind, name, entries, k, v) \
	struct { NUMBER(type, kind); NUMBER(max_entries, entries); TYPE(key, k); TYPE(value, v); } name SEC(".maps")

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static u64 (*ktime)(void) = (void *)5;
static long (*trace_printk)(const char *format, u32 size, ...) = (void *)6;
static long (*tail_call)(void *ctx, void *map, u32 index) = (void *)12;
static u64 (*pid_tgid)(void) = (void *)14;
static long (*get_comm)(void *to, u32 size) = (void *)16;
static long (*perf_output)(void *ctx, void *map, u64 flags, void *data, u64 size) = (void *)25;
static long (*stackid)(void *ctx, void *map, u64 flags) = (void *)27;
static long (*map_push)(void *map, const void *value, u64 flags) = (void *)87;
static long (*map_pop)(void *map, void *value) = (void *)88;
static long (*map_peek)(void *map, void *value) = (void *)89;
static long (*spin_lock)(void *lock) = (void *)93;
static long (*spin_unlock)(void *lock) = (void *)94;
static long (*read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static long (*read_kernel_str)(void *to, u32 size, const void *from) = (void *)115;
static void *(*ring_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*ring_submit)(void *data, u64 flags) = (void *)132;
static void *(*task_storage)(void *map, void *task, void *value, u64 flags) = (void *)156;
static struct task_struct *(*current_task)(void) = (void *)158;
static long (*for_each)(void *map, void *fn, void *ctx, u64 flags) = (void *)164;
static long (*timer_init)(void *timer, void *map, u64 flags) = (void *)169;
static long (*timer_set_callback)(void *timer, void *fn) = (void *)170;
static long (*timer_start)(void *timer, u64 ns, u64 flags) = (void *)171;
static long (*loop)(u32 count, void *fn, void *ctx, u64 flags) = (void *)181;

/* Parts of kernel types, at places that are wrong on purpose: CO-RE has to move every access. */
struct mm_struct {
	struct {
		int filler;
		unsigned long start_code;
		u64 total_vm;
	};
} RELOCATED;

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *real_parent;
	struct mm_struct *mm;
	u64 start_time;
	unsigned int flags;
} RELOCATED;

#define READ(to, from) read_kernel(&(to), sizeof(to), __builtin_preserve_access_index(&(from)))

char LICENSE[] SEC("license") = "GPL";
