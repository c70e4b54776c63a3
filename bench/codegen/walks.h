/* Kernel types for programs that walk far; their offsets come from relocation. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define CORE __attribute__((preserve_access_index))

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

struct ns_common {
    unsigned int inum;
} CORE;

struct pid_namespace {
    struct ns_common ns;
} CORE;

struct net {
    struct ns_common ns;
} CORE;

typedef struct {
    struct net *net;
} CORE possible_net_t;

struct nsproxy {
    struct pid_namespace *pid_ns_for_children;
    struct net *net_ns;
} CORE;

typedef struct {
    unsigned int val;
} CORE kuid_t;

struct cred {
    kuid_t uid;
} CORE;

struct pid {
    unsigned int level;
} CORE;

struct signal_struct {
    unsigned long min_flt;
} CORE;

struct super_block {
    u32 s_dev;
    unsigned long s_magic;
} CORE;

struct inode {
    unsigned short i_mode;
    struct super_block *i_sb;
    unsigned long i_ino;
    long long i_size;
} CORE;

struct qstr {
    u32 len;
    const unsigned char *name;
} CORE;

struct dentry {
    struct qstr d_name;
    struct dentry *d_parent;
    struct inode *d_inode;
} CORE;

struct path {
    struct dentry *dentry;
} CORE;

struct file {
    struct path f_path;
    struct inode *f_inode;
    unsigned int f_flags;
} CORE;

struct fdtable {
    unsigned int max_fds;
    struct file **fd;
} CORE;

struct files_struct {
    struct fdtable *fdt;
} CORE;

struct mm_struct {
    unsigned long total_vm;
    struct file *exe_file;
} CORE;

struct task_struct {
    int tgid;
    unsigned int policy;
    u64 start_time;
    unsigned long min_flt;
    struct task_struct *real_parent;
    struct task_struct *group_leader;
    struct mm_struct *mm;
    const struct cred *cred;
    struct nsproxy *nsproxy;
    struct pid *thread_pid;
    struct signal_struct *signal;
    struct files_struct *files;
    char comm[16];
} CORE;

static struct task_struct *(*current_task)(void) = (void *)BPF_FUNC_get_current_task_btf;

char LICENSE[] SEC("license") = "Dual MIT/GPL";
