"""Kernel functions that programs may call, with their flags and the programs that may.

Under `for` and program types (`@…` is a group of them, see `kfunc_rules`) are flags, as the kernel has them
without KF_, and the names. `@6.12`: of Linux 5.10, 6.1, 6.12 and 6.18 the first that has it (nothing: 6.1).
"""

from __future__ import annotations

TABLE = """\
for any
  -:
    __bpf_trap@6.18 bpf_cast_to_kern_ctx@6.12 bpf_dynptr_adjust@6.12 bpf_dynptr_clone@6.12
    bpf_dynptr_copy@6.18 bpf_dynptr_is_null@6.12 bpf_dynptr_is_rdonly@6.12 bpf_dynptr_memset@6.18
    bpf_dynptr_size@6.12 bpf_local_irq_restore@6.18 bpf_local_irq_save@6.18 bpf_preempt_disable@6.12
    bpf_preempt_enable@6.12 bpf_probe_read_kernel_dynptr@6.18 bpf_probe_read_kernel_str_dynptr@6.18
    bpf_probe_read_user_dynptr@6.18 bpf_probe_read_user_str_dynptr@6.18 bpf_rcu_read_lock@6.12
    bpf_rcu_read_unlock@6.12 bpf_rdonly_cast@6.12 bpf_res_spin_unlock@6.18
    bpf_res_spin_unlock_irqrestore@6.18 bpf_strcasecmp@6.18 bpf_strchr@6.18 bpf_strchrnul@6.18
    bpf_strcmp@6.18 bpf_strcspn@6.18 bpf_strlen@6.18 bpf_strnchr@6.18 bpf_strnlen@6.18 bpf_strnstr@6.18
    bpf_strrchr@6.18 bpf_strspn@6.18 bpf_strstr@6.18 bpf_wq_init@6.12 bpf_wq_set_callback_impl@6.12
    bpf_wq_start@6.12
  trusted_args sleepable:
    bpf_arena_alloc_pages@6.12 bpf_arena_free_pages@6.12 bpf_arena_reserve_pages@6.18
    bpf_copy_from_user_task_dynptr@6.18 bpf_copy_from_user_task_str@6.18
    bpf_copy_from_user_task_str_dynptr@6.18
  rcu:
    bpf_cgroup_read_xattr@6.18
  sleepable:
    bpf_copy_from_user_dynptr@6.18 bpf_copy_from_user_str@6.12 bpf_copy_from_user_str_dynptr@6.18
  ret_null:
    bpf_dynptr_slice@6.12 bpf_dynptr_slice_rdwr@6.12 bpf_get_kmem_cache@6.18 bpf_res_spin_lock@6.18
    bpf_res_spin_lock_irqsave@6.18
  iter_destroy:
    bpf_iter_bits_destroy@6.12 bpf_iter_css_destroy@6.12 bpf_iter_css_task_destroy@6.12
    bpf_iter_num_destroy@6.12 bpf_iter_task_destroy@6.12 bpf_iter_task_vma_destroy@6.12
  iter_new:
    bpf_iter_bits_new@6.12 bpf_iter_num_new@6.12
  ret_null iter_next:
    bpf_iter_bits_next@6.12 bpf_iter_css_next@6.12 bpf_iter_css_task_next@6.12 bpf_iter_num_next@6.12
    bpf_iter_task_next@6.12 bpf_iter_task_vma_next@6.12
  trusted_args rcu_protected iter_new:
    bpf_iter_css_new@6.12 bpf_iter_task_new@6.12
  trusted_args iter_new:
    bpf_iter_css_task_new@6.12
  sleepable iter_destroy:
    bpf_iter_dmabuf_destroy@6.18 bpf_iter_kmem_cache_destroy@6.18
  sleepable iter_new:
    bpf_iter_dmabuf_new@6.18 bpf_iter_kmem_cache_new@6.18
  ret_null sleepable iter_next:
    bpf_iter_dmabuf_next@6.18 bpf_iter_kmem_cache_next@6.18
  rcu iter_new:
    bpf_iter_task_vma_new@6.12
  trusted_args:
    bpf_map_sum_elem_count@6.12 bpf_stream_vprintk_impl@6.18 bpf_task_work_schedule_resume_impl@6.18
    bpf_task_work_schedule_signal_impl@6.18 bpf_xdp_metadata_rx_hash@6.18
    bpf_xdp_metadata_rx_timestamp@6.18 bpf_xdp_metadata_rx_vlan_tag@6.18
for @cgroup @tracing sched_cls struct_ops syscall xdp
  acquire ret_null rcu:
    bpf_cgroup_acquire@6.12 bpf_cgroup_ancestor@6.12 bpf_refcount_acquire_impl@6.12
    bpf_task_acquire@6.12 bpf_task_get_cgroup1@6.12
  acquire ret_null:
    bpf_cgroup_from_id@6.12 bpf_list_pop_back@6.12 bpf_list_pop_front@6.12 bpf_lookup_system_key
    bpf_obj_new_impl@6.12 bpf_percpu_obj_new_impl@6.12 bpf_rbtree_remove@6.12 bpf_task_from_pid@6.12
    bpf_task_from_vpid@6.18
  release:
    bpf_cgroup_release@6.12 bpf_key_put bpf_obj_drop_impl@6.12 bpf_percpu_obj_drop_impl@6.12
    bpf_task_release@6.12
  ret_null:
    bpf_list_back@6.18 bpf_list_front@6.18 bpf_rbtree_first@6.12 bpf_rbtree_left@6.18
    bpf_rbtree_right@6.18 bpf_rbtree_root@6.18
  -:
    bpf_list_push_back_impl@6.12 bpf_list_push_front_impl@6.12 bpf_rbtree_add_impl@6.12 bpf_throw@6.12
  acquire ret_null sleepable:
    bpf_lookup_user_key
  trusted_args:
    bpf_send_signal_task@6.18
  rcu:
    bpf_task_under_cgroup@6.12
for @tracing struct_ops syscall
  acquire trusted_args:
    bpf_cpumask_acquire@6.12
  rcu:
    bpf_cpumask_and@6.12 bpf_cpumask_any_and_distribute@6.12 bpf_cpumask_any_distribute@6.12
    bpf_cpumask_clear@6.12 bpf_cpumask_clear_cpu@6.12 bpf_cpumask_copy@6.12 bpf_cpumask_empty@6.12
    bpf_cpumask_equal@6.12 bpf_cpumask_first@6.12 bpf_cpumask_first_and@6.12 bpf_cpumask_first_zero@6.12
    bpf_cpumask_full@6.12 bpf_cpumask_intersects@6.12 bpf_cpumask_or@6.12 bpf_cpumask_populate@6.18
    bpf_cpumask_set_cpu@6.12 bpf_cpumask_setall@6.12 bpf_cpumask_subset@6.12
    bpf_cpumask_test_and_clear_cpu@6.12 bpf_cpumask_test_and_set_cpu@6.12 bpf_cpumask_test_cpu@6.12
    bpf_cpumask_weight@6.12 bpf_cpumask_xor@6.12
  acquire ret_null:
    bpf_cpumask_create@6.12
  release:
    bpf_cpumask_release@6.12
for struct_ops
  -:
    bbr_cwnd_event@6.18 bbr_init@6.18 bbr_main@6.18 bbr_min_tso_segs@6.18 bbr_set_state@6.18
    bbr_sndbuf_expand@6.18 bbr_ssthresh@6.18 bbr_undo_cwnd@6.18 cubictcp_acked@6.18
    cubictcp_cong_avoid@6.18 cubictcp_cwnd_event@6.18 cubictcp_init@6.18 cubictcp_recalc_ssthresh@6.18
    cubictcp_state@6.18 tcp_cong_avoid_ai tcp_reno_cong_avoid tcp_reno_ssthresh tcp_reno_undo_cwnd
    tcp_slow_start
for lsm
  trusted_args sleepable:
    bpf_get_dentry_xattr@6.12 bpf_get_file_xattr@6.12 bpf_remove_dentry_xattr@6.18
    bpf_set_dentry_xattr@6.18
  trusted_args:
    bpf_path_d_path@6.12
  release:
    bpf_put_file@6.12
  acquire ret_null trusted_args:
    bpf_get_task_exe_file@6.12
for sched_cls xdp
  trusted_args:
    bpf_ct_change_status@6.12 bpf_ct_change_timeout@6.12 bpf_ct_set_status@6.12 bpf_ct_set_timeout@6.12
  acquire release ret_null:
    bpf_ct_insert_entry@6.12
  release:
    bpf_ct_release@6.12
  -:
    bpf_ct_set_nat_info@6.18
  acquire ret_null:
    bpf_skb_ct_alloc@6.12 bpf_skb_ct_lookup@6.12 bpf_xdp_ct_alloc@6.12 bpf_xdp_ct_lookup@6.12
for xdp
  -:
    bpf_dynptr_from_xdp@6.12 bpf_xdp_pull_data@6.18
  acquire ret_null:
    bpf_xdp_get_xfrm_state@6.12
  release:
    bpf_xdp_xfrm_state_release@6.12
for syscall
  acquire ret_null rcu:
    bpf_crypto_ctx_acquire@6.12
  acquire ret_null sleepable:
    bpf_crypto_ctx_create@6.12
  release:
    bpf_crypto_ctx_release@6.12
for sched_act sched_cls xdp
  rcu:
    bpf_crypto_decrypt@6.12 bpf_crypto_encrypt@6.12
for @cgroup
  -:
    bpf_sock_addr_set_sun_path@6.12
  trusted_args:
    bpf_sock_ops_enable_tx_tstamp@6.18
for @tracing
  sleepable:
    css_rstat_flush@6.18
  -:
    css_rstat_updated@6.18
for @cgroup @tracing @lwt netfilter sched_act sched_cls sk_skb socket_filter
  trusted_args:
    bpf_dynptr_from_skb@6.12
for sched_act sched_cls
  trusted_args:
    bpf_dynptr_from_skb_meta@6.18
for sched_cls
  trusted_args:
    bpf_sk_assign_tcp_reqsk@6.12
for tracing
  trusted_args:
    bpf_sock_destroy@6.12
for kprobe
  -:
    bpf_session_is_return@6.12 bpf_session_cookie@6.12
for @tracing sched_cls syscall
  release:
    bpf_kfunc_call_test_release bpf_kfunc_call_memb_release
"""
