/* A program array that is initialised. */
int second(void *ctx);
struct {
    __uint(type, 3); __uint(max_entries, 4); __uint(key_size, 4); __array(values, int(void *));
} jumps SEC(".maps") = {.values = {[1] = (void *)&second}};
SEC("raw_tp/sys_enter") int second(void *ctx) { return 2; }
SEC("raw_tp/sys_enter") int first(void *ctx) { tail_call(ctx, &jumps, 1); return 1; }
