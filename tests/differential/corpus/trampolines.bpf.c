/* fentry, fexit, fmod_ret and LSM, typed by the kernel's BTF. */
#include "../c/fixture.h"

u64 calls, failures;

SEC("fentry/do_unlinkat") int enter(u64 *ctx) { calls += ctx[0] > 0; return 0; }
SEC("fexit/do_unlinkat") int leave(u64 *ctx) { failures += (s64)ctx[2] < 0; return 0; }
SEC("fmod_ret/security_file_open") int change(u64 *ctx) { return 0; }
SEC("fentry.s/__x64_sys_getpgid") int sleeps(u64 *ctx) { return 0; }
SEC("lsm/file_open") int open(u64 *ctx) { return ctx[0] ? 0 : -1; }
SEC("lsm.s/bprm_check_security") int check(u64 *ctx) { return 0; }
SEC("lsm_cgroup/socket_create") int by_cgroup(u64 *ctx) { return 1; }
SEC("fexit/no_such_function_anywhere") int missing(u64 *ctx) { return 0; }
