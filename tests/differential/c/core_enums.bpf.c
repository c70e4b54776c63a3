/* CO-RE: values of enumerators, of 32 and 64 bits, present and missing, and by typedef. */
#include "fixture.h"

enum bpf_map_type { BPF_MAP_TYPE_HASH = 77, BPF_MAP_TYPE_RINGBUF = 78, BPF_MAP_TYPE_NEVER = 79 };
enum pid_type___renamed { PIDTYPE_TGID___renamed = 5, PIDTYPE_NONE___renamed = 6 };
enum bpf_cmd { BPF_PROG_LOAD = 1000 };
/* 64-bit in the kernel as here */
enum wide { WIDE_VALUE = 0x1122334455667788ull };
typedef enum bpf_map_type map_type;

u64 out[8];

SEC("raw_tp/sys_exit") int enums(void *ctx)
{
	out[0] = __builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_HASH, 1);
	out[1] = __builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_RINGBUF, 1);
	out[2] = __builtin_preserve_enum_value(*(enum bpf_map_type *)BPF_MAP_TYPE_NEVER, 0);
	out[3] = __builtin_preserve_enum_value(*(enum pid_type___renamed *)PIDTYPE_TGID___renamed, 1);
	out[4] = __builtin_preserve_enum_value(*(enum pid_type___renamed *)PIDTYPE_NONE___renamed, 0);
	out[5] = __builtin_preserve_enum_value(*(enum bpf_cmd *)BPF_PROG_LOAD, 1);
	out[6] = __builtin_preserve_enum_value(*(map_type *)BPF_MAP_TYPE_HASH, 0);
	out[7] = __builtin_preserve_enum_value(*(enum wide *)WIDE_VALUE, 0);
	return 0;
}
