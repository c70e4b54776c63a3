/* What lib/test_bpf.c of a kernel tree needs to be compiled as a program of its own: see test_machine_test_bpf.py. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/bpf.h>
#include <linux/filter.h>
typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;
typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;
#define BIT(n) (1U << (n))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define GFP_KERNEL 0
#define kmalloc_array(n, s, f) calloc(n, s)
#define kcalloc(n, s, f) calloc(n, s)
#define kmalloc(s, f) malloc(s)
#define kfree free
#define __init
#define noinline
#define S8_MIN INT8_MIN
#define S16_MIN INT16_MIN
#define S32_MIN INT32_MIN
#define S64_MIN INT64_MIN
#define U32_MAX UINT32_MAX
#define BPF_ZEXT 0xffff
#define MAX_BPF_STACK 512
#define BPF_REG_ARG1 1
#define BPF_REG_CTX 6
#define BPF_REG_FP 10
#define BPF_REG_A 0
#define BPF_REG_X 7
#define BPF_REG_AX 11
#define _I(c, d, s, o, i) ((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define BPF_ALU64_REG_OFF(OP, D, S, O) _I(BPF_ALU64 | BPF_OP(OP) | BPF_X, D, S, O, 0)
#define BPF_ALU64_REG(OP, D, S) BPF_ALU64_REG_OFF(OP, D, S, 0)
#define BPF_ALU32_REG_OFF(OP, D, S, O) _I(BPF_ALU | BPF_OP(OP) | BPF_X, D, S, O, 0)
#define BPF_ALU32_REG(OP, D, S) BPF_ALU32_REG_OFF(OP, D, S, 0)
#define BPF_ALU64_IMM_OFF(OP, D, I, O) _I(BPF_ALU64 | BPF_OP(OP) | BPF_K, D, 0, O, I)
#define BPF_ALU64_IMM(OP, D, I) BPF_ALU64_IMM_OFF(OP, D, I, 0)
#define BPF_ALU32_IMM_OFF(OP, D, I, O) _I(BPF_ALU | BPF_OP(OP) | BPF_K, D, 0, O, I)
#define BPF_ALU32_IMM(OP, D, I) BPF_ALU32_IMM_OFF(OP, D, I, 0)
#define BPF_ENDIAN(T, D, L) _I(BPF_ALU | BPF_END | BPF_SRC(T), D, 0, 0, L)
#define BPF_BSWAP(D, L) _I(BPF_ALU64 | BPF_END, D, 0, 0, L)
#define BPF_MOV64_REG(D, S) _I(BPF_ALU64 | BPF_MOV | BPF_X, D, S, 0, 0)
#define BPF_MOV32_REG(D, S) _I(BPF_ALU | BPF_MOV | BPF_X, D, S, 0, 0)
#define BPF_MOV64_IMM(D, I) _I(BPF_ALU64 | BPF_MOV | BPF_K, D, 0, 0, I)
#define BPF_MOV32_IMM(D, I) _I(BPF_ALU | BPF_MOV | BPF_K, D, 0, 0, I)
#define BPF_MOVSX64_REG(D, S, O) _I(BPF_ALU64 | BPF_MOV | BPF_X, D, S, O, 0)
#define BPF_MOVSX32_REG(D, S, O) _I(BPF_ALU | BPF_MOV | BPF_X, D, S, O, 0)
#define BPF_ZEXT_REG(D) _I(BPF_ALU | BPF_MOV | BPF_X, D, D, 0, 1)
#define BPF_LD_IMM64_RAW(D, S, I) _I(BPF_LD | BPF_DW | BPF_IMM, D, S, 0, (__u32)(I)), _I(0, 0, 0, 0, ((__u64)(I)) >> 32)
#define BPF_LD_IMM64(D, I) BPF_LD_IMM64_RAW(D, 0, I)
#define BPF_LD_ABS(Z, I) _I(BPF_LD | BPF_SIZE(Z) | BPF_ABS, 0, 0, 0, I)
#define BPF_LD_IND(Z, S, I) _I(BPF_LD | BPF_SIZE(Z) | BPF_IND, 0, S, 0, I)
#define BPF_LDX_MEM(Z, D, S, O) _I(BPF_LDX | BPF_SIZE(Z) | BPF_MEM, D, S, O, 0)
#define BPF_LDX_MEMSX(Z, D, S, O) _I(BPF_LDX | BPF_SIZE(Z) | 0x80, D, S, O, 0)
#define BPF_STX_MEM(Z, D, S, O) _I(BPF_STX | BPF_SIZE(Z) | BPF_MEM, D, S, O, 0)
#define BPF_ST_MEM(Z, D, O, I) _I(BPF_ST | BPF_SIZE(Z) | BPF_MEM, D, 0, O, I)
#define BPF_ATOMIC_OP(Z, OP, D, S, O) _I(BPF_STX | BPF_SIZE(Z) | BPF_ATOMIC, D, S, O, OP)
#define BPF_STX_XADD(Z, D, S, O) BPF_ATOMIC_OP(Z, BPF_ADD, D, S, O)
#define BPF_JMP_REG(OP, D, S, O) _I(BPF_JMP | BPF_OP(OP) | BPF_X, D, S, O, 0)
#define BPF_JMP_IMM(OP, D, I, O) _I(BPF_JMP | BPF_OP(OP) | BPF_K, D, 0, O, I)
#define BPF_JMP32_REG(OP, D, S, O) _I(BPF_JMP32 | BPF_OP(OP) | BPF_X, D, S, O, 0)
#define BPF_JMP32_IMM(OP, D, I, O) _I(BPF_JMP32 | BPF_OP(OP) | BPF_K, D, 0, O, I)
#define BPF_JMP32_A(I) _I(BPF_JMP32 | BPF_JA, 0, 0, 0, I)
#define BPF_JMP_A(O) _I(BPF_JMP | BPF_JA, 0, 0, O, 0)
#define BPF_RAW_INSN(C, D, S, O, I) _I(C, D, S, O, I)
#define BPF_EXIT_INSN() _I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define BPF_CALL_REL(T) _I(BPF_JMP | BPF_CALL, 0, 1, 0, T)
#define BPF_EMIT_CALL(F) _I(BPF_JMP | BPF_CALL, 0, 0, 0, 0)
#define BPF_TAIL_CALL 0xf0
#define __BPF_STMT(C, K) ((struct sock_filter)BPF_STMT(C, K))
#define __BPF_JUMP(C, K, T, F) ((struct sock_filter)BPF_JUMP(C, K, T, F))
struct rnd_state { __u32 s; };
static void prandom_seed_state(struct rnd_state *r, __u64 seed) { r->s = seed; }
static __u32 prandom_u32_state(struct rnd_state *r) { return r->s = r->s * 1664525u + 1013904223u; }
#include <linux/if_ether.h>
#define S16_MAX INT16_MAX
#define S32_MAX INT32_MAX
#define S64_MAX INT64_MAX
#define cpu_to_be16(x) ((__u16)((((x) & 0xff) << 8) | (((x) >> 8) & 0xff)))
#define cpu_to_be32(x) __builtin_bswap32(x)
#define cpu_to_be64(x) __builtin_bswap64(x)
#define cpu_to_le16(x) ((__u16)(x))
#define cpu_to_le32(x) ((__u32)(x))
#define cpu_to_le64(x) ((__u64)(x))
#define BUG_ON(x) ((x) ? abort() : (void)0)
#define max(a, b) ((a) > (b) ? (a) : (b))
#define min(a, b) ((a) < (b) ? (a) : (b))
#define fls(x) ((x) ? 32 - __builtin_clz(x) : 0)
#define fls64(x) ((x) ? 64 - __builtin_clzll(x) : 0)
#define pr_info printf
#define pr_err printf
#define div64_u64(a, b) ((__u64)(a) / (__u64)(b))
#define div64_u64_rem(a, b, r) (*(r) = (__u64)(a) % (__u64)(b), (__u64)(a) / (__u64)(b))

/* The tests tell byte orders apart by whether this is defined. */
#undef __BIG_ENDIAN
