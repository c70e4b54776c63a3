/* Values of the kernel's configuration. */
#include "prelude.h"

#define KCONFIG __attribute__((section(".kconfig")))
extern int LINUX_KERNEL_VERSION KCONFIG;
extern _Bool CONFIG_BPF KCONFIG; extern int CONFIG_HZ KCONFIG;
extern _Bool CONFIG_NO_SUCH __attribute__((section(".kconfig"), weak));
SEC("raw_tp/sys_enter") int ask(void *ctx) {
    return CONFIG_NO_SUCH ? -1 : CONFIG_BPF ? LINUX_KERNEL_VERSION : CONFIG_HZ;
}
