/* Bounded loops and a switch. */
#include "prelude.h"

SEC("raw_tp/sys_enter") int spin(u64 *ctx) {
    u64 n = 0;
    for (u32 i = 0; i < (ctx[1] & 63); i++) n += i ^ ktime();
    switch (n & 7) { case 0: return 10; case 1: return 22; case 5: return 7; case 6: return 99; }
    return n;
}
