"""The helpers since Linux 5.5: number 111 and up, in that order. `isa.helpers` says how to read a row."""

from __future__ import annotations

ROWS = """\
long skb_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)
    (btf:sk_buff, const_map_ptr, anything, mem, size_or_zero) -> int; gpl
    Sends a record to a perf buffer, with the packet's bytes behind it.
long probe_read_user(void *dst, u32 size, const void *unsafe_ptr)
    (uninit_mem, size_or_zero, anything) -> int; gpl
    Copies from the current process's memory; -14 (EFAULT) and zeroes if it can't.
long probe_read_kernel(void *dst, u32 size, const void *unsafe_ptr)
    (uninit_mem, size_or_zero, anything) -> int; gpl
    Copies from kernel memory; -14 (EFAULT) and zeroes if it can't.
long probe_read_user_str(void *dst, u32 size, const void *unsafe_ptr)
    (uninit_mem, size_or_zero, anything) -> int; gpl
    Copies a string from the current process's memory; returns its length with the zero.
long probe_read_kernel_str(void *dst, u32 size, const void *unsafe_ptr)
    (uninit_mem, size_or_zero, anything) -> int; gpl
    Copies a string from kernel memory; returns its length with the zero.
long tcp_send_ack(void *tp, u32 rcv_nxt)
    (btf:tcp_sock, anything) -> int
    Sends a TCP acknowledgement.
long send_signal_thread(u32 sig)
    (anything) -> int
    Sends a signal to the current thread.
u64 jiffies64(void)
    () -> int
    The kernel's tick count.
long read_branch_records(struct bpf_perf_event_data *ctx, void *buf, u32 size, u64 flags)
    (ctx, write_mem?, size_or_zero, anything) -> int; gpl
    Copies the CPU's branch records of the event.
long get_ns_current_pid_tgid(u64 dev, u64 ino, struct bpf_pidns_info *nsdata, u32 size)
    (anything, anything, uninit_mem, size) -> int
    The current process and thread id as a pid namespace sees them.
long xdp_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)
    (btf:xdp_buff, const_map_ptr, anything, mem, size_or_zero) -> int; gpl
    Sends a record to a perf buffer, with the packet's bytes behind it.
u64 get_netns_cookie(void *ctx)
    (ctx?) -> int
    A number that names the network namespace for as long as the machine is up.
u64 get_current_ancestor_cgroup_id(int ancestor_level)
    (anything) -> int
    The id of the ancestor at a level of the current task's cgroup (v2).
long sk_assign(struct sk_buff *skb, void *sk, u64 flags)
    (ctx, btf_sock_common, anything) -> int
    Hands the packet to a socket.
u64 ktime_get_boot_ns(void)
    () -> int
    Nanoseconds since boot, with the time asleep.
long seq_printf(struct seq_file *m, const char *fmt, u32 fmt_size, const void *data, u32 data_len)
    (btf:seq_file, mem, size, mem?, size_or_zero) -> int; gpl
    Writes formatted text to the iterator's output.
long seq_write(struct seq_file *m, const void *data, u32 len)
    (btf:seq_file, mem, size_or_zero) -> int; gpl
    Writes bytes to the iterator's output.
u64 sk_cgroup_id(void *sk)
    (btf_sock_common) -> int
    The id of the cgroup (v2) of a socket.
u64 sk_ancestor_cgroup_id(void *sk, int ancestor_level)
    (btf_sock_common, anything) -> int
    The id of the ancestor at a level of the cgroup (v2) of a socket.
long ringbuf_output(void *ringbuf, void *data, u64 size, u64 flags)
    (const_map_ptr, mem, size_or_zero, anything) -> int
    Copies a record into a ring buffer.
void *ringbuf_reserve(void *ringbuf, u64 size, u64 flags)
    (const_map_ptr, alloc_size_or_zero, anything) -> ringbuf_mem?; acquire
    Reserves a record in a ring buffer, NULL if it is full; submit or discard it.
void ringbuf_submit(void *data, u64 flags)
    (release:ringbuf_mem, anything) -> void
    Hands a reserved record to the reader.
void ringbuf_discard(void *data, u64 flags)
    (release:ringbuf_mem, anything) -> void
    Throws a reserved record away.
u64 ringbuf_query(void *ringbuf, u64 flags)
    (const_map_ptr, anything) -> int
    A ring buffer's size, the bytes waiting, or its positions.
long csum_level(struct sk_buff *skb, u64 level)
    (ctx, anything) -> int
    Reads or changes how many layers of checksums the device has checked.
struct tcp6_sock *skc_to_tcp6_sock(void *sk)
    (btf_sock_common) -> btf:tcp6_sock?
    The socket as a tcp6_sock, NULL if it is none.
struct tcp_sock *skc_to_tcp_sock(void *sk)
    (btf_sock_common) -> btf:tcp_sock?
    The socket as a tcp_sock, NULL if it is none.
struct tcp_timewait_sock *skc_to_tcp_timewait_sock(void *sk)
    (btf_sock_common) -> btf:tcp_timewait_sock?
    The socket as a tcp_timewait_sock, NULL if it is none.
struct tcp_request_sock *skc_to_tcp_request_sock(void *sk)
    (btf_sock_common) -> btf:tcp_request_sock?
    The socket as a tcp_request_sock, NULL if it is none.
struct udp6_sock *skc_to_udp6_sock(void *sk)
    (btf_sock_common) -> btf:udp6_sock?
    The socket as a udp6_sock, NULL if it is none.
long get_task_stack(struct task_struct *task, void *buf, u32 size, u64 flags)
    (btf:task_struct, uninit_mem, size_or_zero, anything) -> int
    Copies a task's stack addresses into a buffer; returns the bytes written.
long load_hdr_opt(struct bpf_sock_ops *skops, void *searchby_res, u32 len, u64 flags)
    (ctx, write_mem, size, anything) -> int
    Reads an option of the TCP header.
long store_hdr_opt(struct bpf_sock_ops *skops, const void *from, u32 len, u64 flags)
    (ctx, mem, size, anything) -> int; changes
    Writes an option of the TCP header, in room that was reserved.
long reserve_hdr_opt(struct bpf_sock_ops *skops, u32 len, u64 flags)
    (ctx, anything, anything) -> int
    Reserves room for options in the TCP header.
void *inode_storage_get(struct bpf_map *map, void *inode, void *value, u64 flags)
    (const_map_ptr, btf:inode?, map_value?, anything) -> map_value?
    The value an inode has in the map; made if flags say so.
int inode_storage_delete(struct bpf_map *map, void *inode)
    (const_map_ptr, btf:inode?) -> int
    Removes an inode's value from the map.
long d_path(struct path *path, char *buf, u32 sz)
    (btf:path, write_mem, size_or_zero) -> int
    Writes the full path of a file into a buffer.
long copy_from_user(void *dst, u32 size, const void *user_ptr)
    (uninit_mem, size_or_zero, anything) -> int; sleep
    Copies from the current process's memory, waiting for pages that are not there.
long snprintf_btf(char *str, u32 str_size, struct btf_ptr *ptr, u32 btf_ptr_size, u64 flags)
    (write_mem, size, mem, size, anything) -> int
    Writes a kernel object as text, by its BTF type.
long seq_printf_btf(struct seq_file *m, struct btf_ptr *ptr, u32 ptr_size, u64 flags)
    (btf:seq_file, mem, size_or_zero, anything) -> int; gpl
    Writes a kernel object as text to the iterator's output, by its BTF type.
u64 skb_cgroup_classid(struct sk_buff *skb)
    (ctx) -> int
    The net_cls class of the cgroup (v1) of the packet's socket.
long redirect_neigh(u32 ifindex, struct bpf_redir_neigh *params, int plen, u64 flags)
    (anything, mem?, size_or_zero, anything) -> int
    Asks for the packet to go to another device, with the neighbour's link address filled in.
void *per_cpu_ptr(const void *percpu_ptr, u32 cpu)
    (percpu, anything) -> percpu?
    The address of a kernel per-CPU variable on a CPU, NULL if there is no such CPU.
void *this_cpu_ptr(const void *percpu_ptr)
    (percpu) -> percpu
    The address of a kernel per-CPU variable on this CPU.
long redirect_peer(u32 ifindex, u64 flags)
    (anything, anything) -> int
    Asks for the packet to go to the peer of a device in another network namespace.
void *task_storage_get(struct bpf_map *map, struct task_struct *task, void *value, u64 flags)
    (const_map_ptr, btf:task_struct?, map_value?, anything) -> map_value?
    The value a task has in the map; made if flags say so.
long task_storage_delete(struct bpf_map *map, struct task_struct *task)
    (const_map_ptr, btf:task_struct?) -> int
    Removes a task's value from the map.
struct task_struct *get_current_task_btf(void)
    () -> trusted:task_struct; gpl
    The current task_struct, as a pointer that may be followed.
long bprm_opts_set(struct linux_binprm *bprm, u64 flags)
    (btf:linux_binprm, anything) -> int
    Sets options of the program that is being executed.
u64 ktime_get_coarse_ns(void)
    () -> int
    Nanoseconds since boot at the last tick: coarse and cheap.
long ima_inode_hash(struct inode *inode, void *dst, u32 size)
    (btf:inode, uninit_mem, size) -> int; sleep
    The hash that IMA has of an inode.
struct socket *sock_from_file(struct file *file)
    (btf:file) -> btf:socket?
    The socket of a file, NULL if it is none.
long check_mtu(void *ctx, u32 ifindex, u32 *mtu_len, s32 len_diff, u64 flags)
    (ctx, anything, write_mem[4], anything, anything) -> int; gpl
    Whether the packet, changed by `len_diff` bytes, fits the device or route.
long for_each_map_elem(struct bpf_map *map, void *callback_fn, void *callback_ctx, u64 flags)
    (const_map_ptr, func, stack?, anything) -> int
    Calls a function for each element of a map; returns how many.
long snprintf(char *str, u32 str_size, const char *fmt, u64 *data, u32 data_len)
    (write_mem?, size_or_zero, const_str, mem?, size_or_zero) -> int; gpl
    Writes formatted text into a buffer; returns the length with the zero.
long sys_bpf(u32 cmd, void *attr, u32 attr_size)
    (anything, mem, size) -> int; sleep
    Runs a bpf(2) command.
long btf_find_by_name_kind(char *name, int name_sz, u32 kind, int flags)
    (mem, size, anything, anything) -> int; sleep
    The id of a type, and of its BTF object, by name.
long sys_close(u32 fd)
    (anything) -> int; sleep
    Closes a file descriptor.
long timer_init(struct bpf_timer *timer, struct bpf_map *map, u64 flags)
    (timer, const_map_ptr, anything) -> int; gpl
    Makes a timer in a map's value ready for use.
long timer_set_callback(struct bpf_timer *timer, void *callback_fn)
    (timer, func) -> int; gpl
    Says which function a timer calls.
long timer_start(struct bpf_timer *timer, u64 nsecs, u64 flags)
    (timer, anything, anything) -> int; gpl
    Starts a timer; it fires once, after `nsecs` nanoseconds.
long timer_cancel(struct bpf_timer *timer)
    (timer) -> int; gpl
    Stops a timer and waits for its function to end.
u64 get_func_ip(void *ctx)
    (ctx) -> int; gpl
    The address of the function that the program is attached to.
u64 get_attach_cookie(void *ctx)
    (ctx) -> int
    The number that was given when the program was attached.
long task_pt_regs(struct task_struct *task)
    (btf:task_struct) -> btf:pt_regs; gpl
    The user registers of a task.
long get_branch_snapshot(void *entries, u32 size, u64 flags)
    (uninit_mem, size_or_zero) -> int; gpl
    Copies the CPU's last branches.
long trace_vprintk(const char *fmt, u32 fmt_size, const void *data, u32 data_len)
    (mem, size, mem?, size_or_zero) -> int; gpl
    Writes a line to the kernel's trace pipe; a format and any number of values.
struct unix_sock *skc_to_unix_sock(void *sk)
    (btf_sock_common) -> btf:unix_sock?
    The socket as a unix_sock, NULL if it is none.
long kallsyms_lookup_name(const char *name, int name_sz, int flags, u64 *res)
    (mem, size_or_zero, anything, uninit_mem[8]) -> int
    The address of a kernel symbol.
long find_vma(struct task_struct *task, u64 addr, void *callback_fn, void *callback_ctx, u64 flags)
    (btf:task_struct, anything, func, stack?, anything) -> int
    Calls a function with the memory area of a task that holds an address.
long loop(u32 nr_loops, void *callback_fn, void *callback_ctx, u64 flags)
    (scalar, func, stack?, anything) -> int
    Calls a function up to `nr_loops` times, until it returns 1; returns how often.
long strncmp(const char *s1, u32 s1_sz, const char *s2)
    (mem, size, const_str) -> int
    Compares text with a constant string.
long get_func_arg(void *ctx, u32 n, u64 *value)
    (ctx, anything, uninit_mem[8]) -> int
    Copies an argument of the traced function.
long get_func_ret(void *ctx, u64 *value)
    (ctx, uninit_mem[8]) -> int
    Copies what the traced function returned.
long get_func_arg_cnt(void *ctx)
    (ctx) -> int
    How many arguments the traced function has.
int get_retval(void)
    () -> int
    What the system call or hook returns as things stand.
int set_retval(int retval)
    (anything) -> int
    Sets what the system call or hook returns.
u64 xdp_get_buff_len(struct xdp_buff *xdp_md)
    (ctx) -> int
    The length of the packet with all its fragments.
long xdp_load_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)
    (ctx, anything, uninit_mem, size) -> int
    Copies bytes out of a packet, from its fragments too.
long xdp_store_bytes(struct xdp_buff *xdp_md, u32 offset, void *buf, u32 len)
    (ctx, anything, mem, size) -> int
    Writes bytes into a packet, into its fragments too.
long copy_from_user_task(void *dst, u32 size, const void *user_ptr, struct task_struct *tsk, u64 flags)
    (uninit_mem, size_or_zero, anything, btf:task_struct, anything) -> int; gpl sleep
    Copies from another task's memory.
long skb_set_tstamp(struct sk_buff *skb, u64 tstamp, u32 tstamp_type)
    (ctx, anything, anything) -> int
    Sets the packet's time stamp and its kind.
long ima_file_hash(struct file *file, void *dst, u32 size)
    (btf:file, uninit_mem, size) -> int; sleep
    The hash that IMA has of a file, computed if needed.
void *kptr_xchg(void *dst, void *ptr)
    (kptr_xchg_dest, release:btf:*?) -> btf:*?; acquire
    Stores a kernel pointer in a map's value and returns the one that was there.
void *map_lookup_percpu_elem(struct bpf_map *map, const void *key, u32 cpu)
    (const_map_ptr, map_key, anything) -> map_value?; packet
    The address of a key's value on a CPU, NULL if there is none.
struct mptcp_sock *skc_to_mptcp_sock(void *sk)
    (sock_common) -> btf:mptcp_sock?
    The socket as an mptcp_sock, NULL if it is none.
long dynptr_from_mem(void *data, u32 size, u64 flags, struct bpf_dynptr *ptr)
    (uninit_mem, size_or_zero, anything, uninit_dynptr:local) -> int
    Makes a dynptr over memory of the program's.
long ringbuf_reserve_dynptr(void *ringbuf, u32 size, u64 flags, struct bpf_dynptr *ptr)
    (const_map_ptr, anything, anything, uninit_dynptr:ringbuf) -> int
    Reserves a record of any size in a ring buffer; submit or discard it in any case.
void ringbuf_submit_dynptr(struct bpf_dynptr *ptr, u64 flags)
    (release:dynptr:ringbuf, anything) -> void
    Hands a record reserved as a dynptr to the reader.
void ringbuf_discard_dynptr(struct bpf_dynptr *ptr, u64 flags)
    (release:dynptr:ringbuf, anything) -> void
    Throws a record reserved as a dynptr away.
long dynptr_read(void *dst, u32 len, const struct bpf_dynptr *src, u32 offset, u64 flags)
    (uninit_mem, size_or_zero, dynptr, anything, anything) -> int
    Copies bytes out of a dynptr.
long dynptr_write(const struct bpf_dynptr *dst, u32 offset, void *src, u32 len, u64 flags)
    (dynptr, anything, mem, size_or_zero, anything) -> int
    Copies bytes into a dynptr.
void *dynptr_data(const struct bpf_dynptr *ptr, u32 offset, u32 len)
    (dynptr, anything, alloc_size_or_zero) -> dynptr_mem?
    The address of bytes of a dynptr, NULL if they are not all in it.
s64 tcp_raw_gen_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th, u32 th_len)
    (mem[20], mem, size_or_zero) -> int; gpl packet
    Makes a SYN cookie from IPv4 and TCP headers, without a socket.
s64 tcp_raw_gen_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th, u32 th_len)
    (mem[40], mem, size_or_zero) -> int; gpl packet
    Makes a SYN cookie from IPv6 and TCP headers, without a socket.
long tcp_raw_check_syncookie_ipv4(struct iphdr *iph, struct tcphdr *th)
    (mem[20], mem[20]) -> int; gpl packet
    Whether IPv4 and TCP headers carry a valid SYN cookie.
long tcp_raw_check_syncookie_ipv6(struct ipv6hdr *iph, struct tcphdr *th)
    (mem[40], mem[20]) -> int; gpl packet
    Whether IPv6 and TCP headers carry a valid SYN cookie.
u64 ktime_get_tai_ns(void)
    () -> int
    Nanoseconds of International Atomic Time.
long user_ringbuf_drain(struct bpf_map *map, void *callback_fn, void *ctx, u64 flags)
    (const_map_ptr, func, stack?, anything) -> int
    Calls a function for each record that user space put into a user ring buffer.
void *cgrp_storage_get(struct bpf_map *map, struct cgroup *cgroup, void *value, u64 flags)
    (const_map_ptr, btf:cgroup?, map_value?, anything) -> map_value?
    The value a cgroup has in the map; made if flags say so.
long cgrp_storage_delete(struct bpf_map *map, struct cgroup *cgroup)
    (const_map_ptr, btf:cgroup?) -> int
    Removes a cgroup's value from the map.
"""
