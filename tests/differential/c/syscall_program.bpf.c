/* A program that user space runs, with a context of its own. */
#include "prelude.h"

struct request { u64 a, b, sum; };
SEC("syscall") int add(struct request *request) { request->sum = request->a + request->b; return 0; }
