/* String literals in .rodata.str. */
#include "prelude.h"

SEC("raw_tp/sys_enter") int say(u64 *ctx) {
    static const char text[] = "id %d\n";
    printk(text, sizeof(text), (u32)ctx[1]);
    printk("two", 4);
    return 0;
}
