/* Kernel symbols without type, one of them weak and missing. */
#include "prelude.h"

#define KSYM __attribute__((section(".ksyms")))
extern const void schedule KSYM;
extern const void no_such_symbol __attribute__((section(".ksyms"), weak));
SEC("raw_tp/sys_enter") int look(void *ctx) {
    return (&schedule != 0) + (&no_such_symbol != 0);
}
