/* The few kernel types the C programs use; their offsets come from relocation. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define CORE __attribute__((preserve_access_index))

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

struct mm_struct {
    unsigned long arg_start, arg_end;
} CORE;

struct task_struct {
    int pid, tgid;
    unsigned int __state;
    struct task_struct *real_parent;
    struct mm_struct *mm;
    char comm[16];
} CORE;

static struct task_struct *(*current_task)(void) = (void *)BPF_FUNC_get_current_task_btf;

/* A missing entry starts from zero; NULL if the map is full. */
static __always_inline void *find_or_make(void *map, const void *key, const void *zero)
{
    void *found = bpf_map_lookup_elem(map, key);

    if (found)
        return found;
    bpf_map_update_elem(map, key, zero, BPF_NOEXIST);
    return bpf_map_lookup_elem(map, key);
}

static __always_inline u64 log2_of(u64 v)
{
    u64 r = (v > 0xffffffff) << 5;

    v >>= r;
    u64 s = (v > 0xffff) << 4;
    v >>= s;
    r |= s;
    s = (v > 0xff) << 3;
    v >>= s;
    r |= s;
    s = (v > 0xf) << 2;
    v >>= s;
    r |= s;
    s = (v > 0x3) << 1;
    v >>= s;
    r |= s;
    return r | (v >> 1);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
