/* Writes the cases that the kernel's test_verifier.c holds as JSON. TEST_VERIFIER is its path; it is
 * compiled in here with its own main put aside.
 */
#define main selftest_main
#include TEST_VERIFIER
#undef main

static void hex(const void *data, size_t size)
{
	const unsigned char *at = data;

	putchar('"');
	while (size--)
		printf("%02x", *at++);
	putchar('"');
}

static void text(const char *s)
{
	if (!s) {
		printf("null");
		return;
	}
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 32)
			printf("\\u%04x", *s);
		else
			putchar(*s);
	}
	putchar('"');
}

static void places(const int *fixups)
{
	int n;

	putchar('[');
	for (n = 0; n < MAX_FIXUPS && fixups[n]; n++)
		printf("%s%d", n ? "," : "", fixups[n]);
	putchar(']');
}

static void kfuncs(struct bpf_test *t)
{
	int n;

	printf("\"kfunc_fixups\":[");
	for (n = 0; n < MAX_FIXUPS && t->fixup_kfunc_btf_id[n].kfunc; n++) {
		printf("%s{\"kfunc\":", n ? "," : "");
		text(t->fixup_kfunc_btf_id[n].kfunc);
		printf(",\"insn\":%d}", t->fixup_kfunc_btf_id[n].insn_idx);
	}
	printf("],");
}

static void runs(struct bpf_test *t)
{
	int n, count = t->runs > 0 ? t->runs : 1;

	printf("\"runs_disabled\":%s,\"runs\":[", t->runs < 0 ? "true" : "false");
	for (n = 0; n < count; n++) {
		printf("%s{\"retval\":%u,\"data\":", n ? "," : "", t->retvals[n].retval);
		hex(t->retvals[n].data, sizeof(t->retvals[n].data));
		printf("}");
	}
	printf("],");
}

static void types(struct bpf_test *t)
{
	int n = 0, funcs;

	while (n < MAX_BTF_TYPES && t->btf_types[n] != BTF_END_RAW)
		n++;
	printf("\"btf_types\":");
	hex(t->btf_types, t->btf_types[0] ? n * 4 : 0);
	printf(",\"btf_strings\":");
	hex(t->btf_strings, t->btf_types[0] ? sizeof(t->btf_strings) : 0);
	printf(",\"func_info\":[");
	for (funcs = 0; funcs < t->func_info_cnt; funcs++)
		printf("%s[%u,%u]", funcs ? "," : "", t->func_info[funcs].insn_off, t->func_info[funcs].type_id);
	printf("],");
}

static void one(struct bpf_test *t, int number)
{
	struct bpf_insn *insns = t->insns;
	int count, n;
	int *fixups[] = {
		t->fixup_map_hash_8b, t->fixup_map_hash_48b, t->fixup_map_hash_16b, t->fixup_map_array_48b,
		t->fixup_map_sockmap, t->fixup_map_sockhash, t->fixup_map_xskmap, t->fixup_map_stacktrace,
		t->fixup_prog1, t->fixup_prog2, t->fixup_map_in_map, t->fixup_cgroup_storage,
		t->fixup_percpu_cgroup_storage, t->fixup_map_spin_lock, t->fixup_map_array_ro,
		t->fixup_map_array_wo, t->fixup_map_array_small, t->fixup_sk_storage_map,
		t->fixup_map_event_output, t->fixup_map_reuseport_array, t->fixup_map_ringbuf,
		t->fixup_map_timer, t->fixup_map_kptr,
	};

	if (t->fill_helper) {
		t->fill_insns = calloc(MAX_TEST_INSNS, sizeof(struct bpf_insn));
		t->fill_helper(t);
		insns = t->fill_insns;
		count = t->prog_len;
	} else {
		count = probe_filter_length(insns);
	}
	printf("%s{\"number\":%d,\"name\":", number ? ",\n" : "", number);
	text(t->descr);
	printf(",\"prog_type_nr\":%d,\"expected_attach_type\":%d,\"flags\":%d,\"result\":%d,", t->prog_type,
	       t->expected_attach_type, t->flags, t->result);
	printf("\"errstr\":");
	text(t->errstr);
	printf(",\"kfunc\":");
	text(t->kfunc);
	printf(",\"n_insns\":%d,\"insns\":", count);
	hex(insns, count * sizeof(*insns));
	printf(",\"fixups\":[");
	for (n = 0; n < (int)(sizeof(fixups) / sizeof(*fixups)); n++) {
		if (n)
			putchar(',');
		places(fixups[n]);
	}
	printf("],");
	kfuncs(t);
	runs(t);
	types(t);
	printf("\"generated\":%s}", t->fill_helper ? "true" : "false");
}

int main(void)
{
	int n;

	printf("{\"meta\":{\"btf_raw_types\":");
	hex(btf_raw_types, sizeof(btf_raw_types));
	printf(",\"btf_str_sec\":");
	hex(btf_str_sec, sizeof(btf_str_sec));
	printf("},\"tests\":[");
	for (n = 0; n < (int)(sizeof(tests) / sizeof(*tests)); n++)
		one(&tests[n], n);
	printf("]}\n");
	return 0;
}
