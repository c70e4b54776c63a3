/* Every type that a value of the kernel's configuration may have, laid out by libbpf's rules. */
#include "fixture.h"

#define KCONFIG __attribute__((section(".kconfig")))
enum libbpf_tristate { TRI_NO = 0, TRI_YES = 1, TRI_MODULE = 2 };

extern int LINUX_KERNEL_VERSION KCONFIG;
extern bool LINUX_HAS_BPF_COOKIE KCONFIG;
extern bool LINUX_HAS_SYSCALL_WRAPPER KCONFIG;
extern int LINUX_WHAT_COMES KCONFIG WEAK;
extern bool CONFIG_BPF_SYSCALL KCONFIG;
extern enum libbpf_tristate CONFIG_BPF_JIT KCONFIG;
extern char CONFIG_NET KCONFIG;
extern unsigned long long CONFIG_HZ KCONFIG;
extern short CONFIG_NR_CPUS KCONFIG;
extern char CONFIG_CC_VERSION_TEXT[9] KCONFIG;
extern char CONFIG_DEFAULT_HOSTNAME[3] KCONFIG;
extern u64 CONFIG_NO_SUCH_THING KCONFIG WEAK;

u64 sum;

SEC("raw_tp/sys_enter") int ask(void *ctx)
{
	sum = LINUX_KERNEL_VERSION + LINUX_HAS_BPF_COOKIE + LINUX_HAS_SYSCALL_WRAPPER + LINUX_WHAT_COMES;
	sum += CONFIG_BPF_SYSCALL + CONFIG_BPF_JIT + CONFIG_NET + CONFIG_HZ + CONFIG_NR_CPUS;
	return CONFIG_CC_VERSION_TEXT[2] + CONFIG_DEFAULT_HOSTNAME[1] + CONFIG_NO_SUCH_THING;
}
