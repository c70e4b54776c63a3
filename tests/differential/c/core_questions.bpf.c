/* CO-RE: existence, size and signedness of fields, of types, of enum values. */
#include "prelude.h"

struct task_struct { int pid; int no_such_field; long __state; } CORE;
struct task_struct___old { long state; } CORE;
struct no_such_struct { int x; } CORE;
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_NO_SUCH = 77 };
#define EXISTS(p) __builtin_preserve_field_info(p, 2)
#define SIZE(p) __builtin_preserve_field_info(p, 1)
#define SIGNED(p) __builtin_preserve_field_info(p, 3)
SEC("raw_tp/sys_enter") int ask(void *ctx) {
    struct task_struct *t = ctx; struct task_struct___old *o = ctx; int n = 0;
    n += EXISTS(t->pid) << 0 | EXISTS(t->no_such_field) << 1 | EXISTS(o->state) << 2;
    n += SIZE(t->__state) << 4 | SIGNED(t->pid) << 9;
    n += __builtin_preserve_type_info(*(struct task_struct *)0, 0) << 10;
    n += __builtin_preserve_type_info(*(struct no_such_struct *)0, 0) << 11;
    n += __builtin_preserve_type_info(*(struct task_struct *)0, 1) << 12;
    n += __builtin_btf_type_id(*(struct task_struct *)0, 1) & 1;
    n += __builtin_preserve_enum_value(*(enum pid_type *)PIDTYPE_TGID, 1);
    n += __builtin_preserve_enum_value(*(enum pid_type *)PIDTYPE_NO_SUCH, 0);
    return n;
}
