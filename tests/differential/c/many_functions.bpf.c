/* A call graph in which the order of appended subprograms matters at every step. */
#include "fixture.h"

u64 seen;
#define LEAF(n) static NOINLINE int leaf##n(int x) { seen += x ^ n; return x + n; }
#define NODE(n, a, b) NOINLINE int node##n(int x) { return a(x) - b(x * n); }
LEAF(1) LEAF(2) LEAF(3) LEAF(4)
NODE(5, leaf1, leaf2)
NODE(6, leaf3, node5)
static NODE(7, node6, leaf4)
NODE(8, leaf4, node6)

SEC("socket") int left(void *ctx)
{
	return node8(1) + node7(2);
}
SEC("socket") int right(void *ctx)
{
	return leaf2(1) + node7(2) + node5(3);
}
