#include "walks.h"

struct Files {
    u64 inode;
    u64 size;
    u64 first_inode;
    u64 first_magic;
    u32 device;
    u32 mode;
    u32 folder_inode;
    u32 first_flags;
    u32 limit;
    char name[32];
    char folder[32];
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct Files);
} seen SEC(".maps");

SEC("raw_tp/sys_enter")
int on_enter(void *ctx)
{
    u32 key = 0;
    struct Files *f = bpf_map_lookup_elem(&seen, &key);
    struct task_struct *task;
    struct file *exe, *first;
    struct inode *inode;
    struct dentry *dentry;
    struct fdtable *table;

    if (!f)
        return 0;
    task = current_task();
    exe = task->mm->exe_file;
    inode = exe->f_inode;
    f->inode = inode->i_ino;
    f->size = inode->i_size;
    f->mode = inode->i_mode;
    f->device = inode->i_sb->s_dev;
    dentry = exe->f_path.dentry;
    __builtin_memset(f->name, 0, sizeof(f->name));
    bpf_probe_read_kernel_str(f->name, sizeof(f->name), dentry->d_name.name);
    __builtin_memset(f->folder, 0, sizeof(f->folder));
    bpf_probe_read_kernel_str(f->folder, sizeof(f->folder), dentry->d_parent->d_name.name);
    f->folder_inode = dentry->d_parent->d_inode->i_ino;
    table = task->files->fdt;
    f->limit = table->max_fds;
    bpf_probe_read_kernel(&first, sizeof(first), &table->fd[0]);
    f->first_flags = BPF_CORE_READ(first, f_flags);
    f->first_inode = BPF_CORE_READ(first, f_inode, i_ino);
    f->first_magic = BPF_CORE_READ(first, f_inode, i_sb, s_magic);
    return 0;
}
