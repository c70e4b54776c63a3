/* Constants, initialised and zero data, strings, addresses with offsets. */
const volatile u32 limit = 7; const volatile char name[8] = "probee";
u64 start = 5; u64 totals[4]; static u32 hidden = 3;
static const u32 table[] = {2, 3, 5, 7, 11, 13, 17, 19};
SEC("raw_tp/sys_enter") int use(u64 *ctx) {
    if (limit > 3) totals[2] += start;
    hidden++;
    __sync_fetch_and_add(&totals[1], name[2]);
    return table[ctx[1] & 7] + hidden;
}
