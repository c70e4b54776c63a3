"""The helpers up to Linux 5.4: number 1 to 110, in that order. `isa.helpers` says how to read a row."""

from __future__ import annotations

ROWS = """\
void *map_lookup_elem(struct bpf_map *map, const void *key)
    (const_map_ptr, map_key) -> map_value?; packet
    The address of a key's value in the map, NULL if the key is not there.
long map_update_elem(struct bpf_map *map, const void *key, const void *value, u64 flags)
    (const_map_ptr, map_key, map_value, anything) -> int; packet
    Sets a key's value; `flags` may ask for a new key (1) or an existing one (2) only.
long map_delete_elem(struct bpf_map *map, const void *key)
    (const_map_ptr, map_key) -> int; packet
    Removes a key; -2 (ENOENT) if it is not there.
long probe_read(void *dst, u32 size, const void *unsafe_ptr)
    (uninit_mem, size_or_zero, anything) -> int; gpl
    Copies from kernel or user memory; use the _kernel or _user form since 5.5.
u64 ktime_get_ns(void)
    () -> int
    Nanoseconds since boot, without the time asleep.
long trace_printk(const char *fmt, u32 fmt_size, ...)
    (mem, size) -> int; gpl
    Writes a line to the kernel's trace pipe; a format and up to three numbers.
u32 get_prandom_u32(void)
    () -> int
    A pseudo-random number, for no secrets.
u32 get_smp_processor_id(void)
    () -> int; fastcall
    The number of the CPU that runs the program.
long skb_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len, u64 flags)
    (ctx, anything, mem, size, anything) -> int; changes
    Writes bytes into a packet, with its checksum if flags say so.
long l3_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 size)
    (ctx, anything, anything, anything, anything) -> int; changes
    Recomputes the IP checksum for a field that changed from `from` to `to`.
long l4_csum_replace(struct sk_buff *skb, u32 offset, u64 from, u64 to, u64 flags)
    (ctx, anything, anything, anything, anything) -> int; changes
    Recomputes the TCP or UDP checksum for a field that changed from `from` to `to`.
long tail_call(void *ctx, struct bpf_map *prog_array_map, u32 index)
    (ctx, const_map_ptr, anything) -> void; changes
    Goes on in another program of a program array; returns only if that fails.
long clone_redirect(struct sk_buff *skb, u32 ifindex, u64 flags)
    (ctx, anything, anything) -> int; changes
    Sends a copy of the packet to another network device.
u64 get_current_pid_tgid(void)
    () -> int
    The process id (upper 32 bits) and the thread id (lower 32 bits) of the current task.
u64 get_current_uid_gid(void)
    () -> int
    The group id (upper 32 bits) and the user id (lower 32 bits) of the current task.
long get_current_comm(void *buf, u32 size_of_buf)
    (uninit_mem, size) -> int
    Copies the current task's name; 16 bytes are always enough.
u32 get_cgroup_classid(struct sk_buff *skb)
    (ctx) -> int
    The net_cls class of the current task's cgroup (v1).
long skb_vlan_push(struct sk_buff *skb, __be16 vlan_proto, u16 vlan_tci)
    (ctx, anything, anything) -> int; changes
    Adds a VLAN tag to the packet.
long skb_vlan_pop(struct sk_buff *skb)
    (ctx) -> int; changes
    Takes the VLAN tag off the packet.
long skb_get_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)
    (ctx, uninit_mem, size, anything) -> int
    Reads the tunnel the packet came by.
long skb_set_tunnel_key(struct sk_buff *skb, struct bpf_tunnel_key *key, u32 size, u64 flags)
    (ctx, mem, size, anything) -> int
    Sets the tunnel the packet leaves by.
u64 perf_event_read(struct bpf_map *map, u64 flags)
    (const_map_ptr, anything) -> int; gpl
    A perf counter's value; errors can't be told from values: see perf_event_read_value.
long redirect(u32 ifindex, u64 flags)
    (anything, anything) -> int
    Asks for the packet to go to another device when the program returns its answer.
u32 get_route_realm(struct sk_buff *skb)
    (ctx) -> int
    The realm of the packet's route.
long perf_event_output(void *ctx, struct bpf_map *map, u64 flags, void *data, u64 size)
    (ctx, const_map_ptr, anything, mem, size_or_zero) -> int; gpl
    Sends a record to a perf buffer.
long skb_load_bytes(const void *skb, u32 offset, void *to, u32 len)
    (ctx, anything, uninit_mem, size) -> int
    Copies bytes out of a packet.
long get_stackid(void *ctx, struct bpf_map *map, u64 flags)
    (ctx, const_map_ptr, anything) -> int; gpl
    Stores the kernel or user stack in a stack-trace map and returns its id.
s64 csum_diff(__be32 *from, u32 from_size, __be32 *to, u32 to_size, __wsum seed)
    (mem?, size_or_zero, mem?, size_or_zero, anything) -> int; packet
    The checksum's difference when bytes are replaced, taken out or put in.
long skb_get_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)
    (ctx, uninit_mem, size) -> int
    Reads the options of the tunnel the packet came by.
long skb_set_tunnel_opt(struct sk_buff *skb, void *opt, u32 size)
    (ctx, mem, size) -> int
    Sets the options of the tunnel the packet leaves by.
long skb_change_proto(struct sk_buff *skb, __be16 proto, u64 flags)
    (ctx, anything, anything) -> int; changes
    Turns an IPv4 packet into an IPv6 one or back, making room for the header.
long skb_change_type(struct sk_buff *skb, u32 type)
    (ctx, anything) -> int
    Changes the packet's type (to this host, broadcast, …).
long skb_under_cgroup(struct sk_buff *skb, struct bpf_map *map, u32 index)
    (ctx, const_map_ptr, anything) -> int
    Whether the packet's socket belongs to a cgroup of a cgroup array, or below it.
u32 get_hash_recalc(struct sk_buff *skb)
    (ctx) -> int
    The packet's hash, computed if it isn't known.
u64 get_current_task(void)
    () -> int; gpl
    The address of the current task_struct, as a number.
long probe_write_user(void *dst, const void *src, u32 len)
    (anything, mem, size) -> int; gpl
    Writes to the current process's memory. For experiments: the kernel warns of it.
long current_task_under_cgroup(struct bpf_map *map, u32 index)
    (const_map_ptr, anything) -> int
    Whether the current task is in a cgroup of a cgroup array, or below it.
long skb_change_tail(struct sk_buff *skb, u32 len, u64 flags)
    (ctx, anything, anything) -> int; changes
    Changes the packet's length at its end.
long skb_pull_data(struct sk_buff *skb, u32 len)
    (ctx, anything) -> int; changes
    Makes the packet's first `len` bytes readable and writable in one piece.
s64 csum_update(struct sk_buff *skb, __wsum csum)
    (ctx, anything) -> int
    Adds to the packet's whole checksum, where the device gave one.
void set_hash_invalid(struct sk_buff *skb)
    (ctx) -> int
    Forgets the packet's hash, so that it's computed again.
long get_numa_node_id(void)
    () -> int
    The NUMA node of the CPU that runs the program.
long skb_change_head(struct sk_buff *skb, u32 len, u64 flags)
    (ctx, anything, anything) -> int; changes
    Makes room in front of the packet.
long xdp_adjust_head(struct xdp_buff *xdp_md, int delta)
    (ctx, anything) -> int; changes
    Moves the beginning of the packet by `delta` bytes.
long probe_read_str(void *dst, u32 size, const void *unsafe_ptr)
    (uninit_mem, size_or_zero, anything) -> int; gpl
    Copies a string from kernel or user memory; use the _kernel or _user form since 5.5.
u64 get_socket_cookie(void *ctx)
    (ctx) -> int
    A number that names the socket for as long as the machine is up.
u32 get_socket_uid(struct sk_buff *skb)
    (ctx) -> int
    The user id of the packet's socket.
long set_hash(struct sk_buff *skb, u32 hash)
    (ctx, anything) -> int
    Sets the packet's hash.
long setsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)
    (ctx, anything, anything, mem, size) -> int
    Sets an option of the socket.
long skb_adjust_room(struct sk_buff *skb, s32 len_diff, u32 mode, u64 flags)
    (ctx, anything, anything, anything) -> int; changes
    Grows or shrinks the packet between its headers.
long redirect_map(struct bpf_map *map, u64 key, u64 flags)
    (const_map_ptr, anything, anything) -> int
    Asks for the packet to go to a device, CPU or AF_XDP socket of a map.
long sk_redirect_map(struct sk_buff *skb, struct bpf_map *map, u32 key, u64 flags)
    (ctx, const_map_ptr, anything, anything) -> int
    Asks for the data to go to a socket of a socket map.
long sock_map_update(struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags)
    (ctx, const_map_ptr, map_key, anything) -> int; packet
    Puts the socket into a socket map.
long xdp_adjust_meta(struct xdp_buff *xdp_md, int delta)
    (ctx, anything) -> int; changes
    Moves the beginning of the metadata in front of the packet.
long perf_event_read_value(struct bpf_map *map, u64 flags, struct bpf_perf_event_value *buf, u32 buf_size)
    (const_map_ptr, anything, uninit_mem, size) -> int; gpl
    Reads a perf counter, with the time it was enabled and running.
long perf_prog_read_value(struct bpf_perf_event_data *ctx, struct bpf_perf_event_value *buf, u32 buf_size)
    (ctx, uninit_mem, size) -> int; gpl
    Reads the counter of the event that runs the program.
long getsockopt(void *bpf_socket, int level, int optname, void *optval, int optlen)
    (ctx, anything, anything, uninit_mem, size) -> int
    Reads an option of the socket.
long override_return(struct pt_regs *regs, u64 rc)
    (ctx, anything) -> int; gpl
    Makes the probed function return `rc` at once, if it allows that.
long sock_ops_cb_flags_set(struct bpf_sock_ops *bpf_sock, int argval)
    (ctx, anything) -> int
    Says which events of the TCP connection the program wants to be called for.
long msg_redirect_map(struct sk_msg_buff *msg, struct bpf_map *map, u32 key, u64 flags)
    (ctx, const_map_ptr, anything, anything) -> int
    Asks for the message to go to a socket of a socket map.
long msg_apply_bytes(struct sk_msg_buff *msg, u32 bytes)
    (ctx, anything) -> int
    Lets the verdict stand for the next `bytes` bytes.
long msg_cork_bytes(struct sk_msg_buff *msg, u32 bytes)
    (ctx, anything) -> int
    Has the program called again when `bytes` bytes are there.
long msg_pull_data(struct sk_msg_buff *msg, u32 start, u32 end, u64 flags)
    (ctx, anything, anything, anything) -> int; changes
    Makes bytes of the message readable and writable in one piece.
long bind(struct bpf_sock_addr *ctx, struct sockaddr *addr, int addr_len)
    (ctx, mem, size) -> int
    Binds the socket to a local address before it connects.
long xdp_adjust_tail(struct xdp_buff *xdp_md, int delta)
    (ctx, anything) -> int; changes
    Moves the end of the packet by `delta` bytes.
long skb_get_xfrm_state(struct sk_buff *skb, u32 index, struct bpf_xfrm_state *state, u32 size, u64 flags)
    (ctx, anything, uninit_mem, size, anything) -> int
    Reads one of the IPsec states of the packet.
long get_stack(void *ctx, void *buf, u32 size, u64 flags)
    (ctx, uninit_mem, size_or_zero, anything) -> int; gpl
    Copies the kernel or user stack's addresses into a buffer; returns the bytes written.
long skb_load_bytes_relative(const void *skb, u32 offset, void *to, u32 len, u32 start_header)
    (ctx, anything, uninit_mem, size, anything) -> int
    Copies bytes out of a packet, counted from its MAC or network header.
long fib_lookup(void *ctx, struct bpf_fib_lookup *params, int plen, u32 flags)
    (ctx, write_mem, size, anything) -> int; gpl
    Looks up the route and the neighbour for the addresses in `params`.
long sock_hash_update(struct bpf_sock_ops *skops, struct bpf_map *map, void *key, u64 flags)
    (ctx, const_map_ptr, map_key, anything) -> int; packet
    Puts the socket into a socket hash.
long msg_redirect_hash(struct sk_msg_buff *msg, struct bpf_map *map, void *key, u64 flags)
    (ctx, const_map_ptr, map_key, anything) -> int
    Asks for the message to go to a socket of a socket hash.
long sk_redirect_hash(struct sk_buff *skb, struct bpf_map *map, void *key, u64 flags)
    (ctx, const_map_ptr, map_key, anything) -> int
    Asks for the data to go to a socket of a socket hash.
long lwt_push_encap(struct sk_buff *skb, u32 type, void *hdr, u32 len)
    (ctx, anything, mem, size) -> int; changes
    Puts an outer header around the packet.
long lwt_seg6_store_bytes(struct sk_buff *skb, u32 offset, const void *from, u32 len)
    (ctx, anything, mem, size) -> int; changes
    Writes to the flags, tag or TLVs of the outermost segment routing header.
long lwt_seg6_adjust_srh(struct sk_buff *skb, u32 offset, s32 delta)
    (ctx, anything, anything) -> int; changes
    Changes the room for TLVs in the outermost segment routing header.
long lwt_seg6_action(struct sk_buff *skb, u32 action, void *param, u32 param_len)
    (ctx, anything, mem, size) -> int; changes
    Does one of the segment routing actions with the packet.
long rc_repeat(void *ctx)
    (ctx) -> int; gpl
    Reports that the remote control's last key is still down.
long rc_keydown(void *ctx, u32 protocol, u64 scancode, u32 toggle)
    (ctx, anything, anything, anything) -> int; gpl
    Reports a key of a remote control.
u64 skb_cgroup_id(struct sk_buff *skb)
    (ctx) -> int
    The id of the cgroup (v2) of the packet's socket.
u64 get_current_cgroup_id(void)
    () -> int
    The id of the current task's cgroup (v2).
void *get_local_storage(void *map, u64 flags)
    (const_map_ptr, anything) -> map_value
    The address of the value that the cgroup or its socket has in the map.
long sk_select_reuseport(struct sk_reuseport_md *reuse, struct bpf_map *map, void *key, u64 flags)
    (ctx, const_map_ptr, map_key, anything) -> int
    Picks the socket of a reuseport group that gets the packet.
u64 skb_ancestor_cgroup_id(struct sk_buff *skb, int ancestor_level)
    (ctx, anything) -> int
    The id of the ancestor at a level of the cgroup (v2) of the packet's socket.
struct bpf_sock *sk_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)
    (ctx, mem, size_or_zero, anything, anything) -> sock?; packet acquire
    Finds a TCP socket by addresses and ports; give it back with sk_release.
struct bpf_sock *sk_lookup_udp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)
    (ctx, mem, size_or_zero, anything, anything) -> sock?; packet acquire
    Finds a UDP socket by addresses and ports; give it back with sk_release.
long sk_release(void *sock)
    (release:btf_sock_common) -> int
    Gives a socket back that a look-up found.
long map_push_elem(struct bpf_map *map, const void *value, u64 flags)
    (const_map_ptr, map_value, anything) -> int; packet
    Puts a value into a queue, a stack or a bloom filter.
long map_pop_elem(struct bpf_map *map, void *value)
    (const_map_ptr, uninit_map_value) -> int
    Takes the next value out of a queue or stack.
long map_peek_elem(struct bpf_map *map, void *value)
    (const_map_ptr, uninit_map_value) -> int
    Copies the next value of a queue or stack; for a bloom filter, whether it may hold the value.
long msg_push_data(struct sk_msg_buff *msg, u32 start, u32 len, u64 flags)
    (ctx, anything, anything, anything) -> int; changes
    Makes room in the message.
long msg_pop_data(struct sk_msg_buff *msg, u32 start, u32 len, u64 flags)
    (ctx, anything, anything, anything) -> int; changes
    Takes bytes out of the message.
long rc_pointer_rel(void *ctx, s32 rel_x, s32 rel_y)
    (ctx, anything, anything) -> int; gpl
    Reports a movement of a remote control's pointer.
long spin_lock(struct bpf_spin_lock *lock)
    (spin_lock) -> void
    Takes the lock in a map's value; no calls are allowed until it is given back.
long spin_unlock(struct bpf_spin_lock *lock)
    (spin_lock) -> void
    Gives back the lock in a map's value.
struct bpf_sock *sk_fullsock(struct bpf_sock *sk)
    (sock_common) -> sock?
    The full socket of the packet's socket, NULL for a request or time-wait one.
struct bpf_tcp_sock *tcp_sock(struct bpf_sock *sk)
    (sock_common) -> tcp_sock?
    The TCP fields of a socket, NULL if it is none.
long skb_ecn_set_ce(struct sk_buff *skb)
    (ctx) -> int
    Marks the packet as having met congestion, if its sender understands that.
struct bpf_sock *get_listener_sock(struct bpf_sock *sk)
    (sock_common) -> sock?
    The listening socket that belongs to a socket, NULL if there is none.
struct bpf_sock *skc_lookup_tcp(void *ctx, struct bpf_sock_tuple *tuple, u32 tuple_size, u64 netns, u64 flags)
    (ctx, mem, size_or_zero, anything, anything) -> sock_common?; packet acquire
    Finds a TCP socket, request and time-wait ones too; give it back with sk_release.
long tcp_check_syncookie(void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len)
    (btf_sock_common, mem, size, mem, size) -> int; gpl packet
    Whether the packet carries a valid SYN cookie of the listening socket.
long sysctl_get_name(struct bpf_sysctl *ctx, char *buf, size_t buf_len, u64 flags)
    (ctx, write_mem, size, anything) -> int
    Copies the name of the sysctl.
long sysctl_get_current_value(struct bpf_sysctl *ctx, char *buf, size_t buf_len)
    (ctx, uninit_mem, size) -> int
    Copies the present value of the sysctl as text.
long sysctl_get_new_value(struct bpf_sysctl *ctx, char *buf, size_t buf_len)
    (ctx, uninit_mem, size) -> int
    Copies the value that is about to be written to the sysctl.
long sysctl_set_new_value(struct bpf_sysctl *ctx, const char *buf, size_t buf_len)
    (ctx, mem, size) -> int
    Replaces the value that is about to be written to the sysctl.
long strtol(const char *buf, size_t buf_len, u64 flags, long *res)
    (mem, size, anything, uninit_mem[8]) -> int
    Reads a signed number from text; returns how many characters it has.
long strtoul(const char *buf, size_t buf_len, u64 flags, unsigned long *res)
    (mem, size, anything, uninit_mem[8]) -> int
    Reads an unsigned number from text; returns how many characters it has.
void *sk_storage_get(struct bpf_map *map, void *sk, void *value, u64 flags)
    (const_map_ptr, btf_sock_common, map_value?, anything) -> map_value?
    The value a socket has in the map; made if flags say so.
long sk_storage_delete(struct bpf_map *map, void *sk)
    (const_map_ptr, btf_sock_common) -> int
    Removes a socket's value from the map.
long send_signal(u32 sig)
    (anything) -> int
    Sends a signal to the current process.
s64 tcp_gen_syncookie(void *sk, void *iph, u32 iph_len, struct tcphdr *th, u32 th_len)
    (btf_sock_common, mem, size, mem, size) -> int; gpl packet
    Makes a SYN cookie for the SYN packet of a listening socket.
"""
