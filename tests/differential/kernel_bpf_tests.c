/* Prints the programs of `tests`: name, stack, instructions in hex, then size:result:data of each run. */
int main(void) {
  for (unsigned n = 0; n < ARRAY_SIZE(tests); n++) {
    struct bpf_test *t = &tests[n];
    struct bpf_insn *insns = t->u.insns_int;
    int len = 0;

    if ((t->aux & (CLASSIC | FLAG_EXPECTED_FAIL | FLAG_LARGE_MEM)) || !(t->aux & INTERNAL)) continue;
    if (t->fill_helper) {
      if (t->fill_helper(t)) continue;
      insns = t->u.ptr.insns;
      len = t->u.ptr.len;
    } else {
      for (len = MAX_INSNS; len && !insns[len - 1].code && !insns[len - 1].imm; len--) {
      }
    }
    printf("%s\t%d\t", t->descr, t->stack_depth);
    for (int k = 0; k < len * 8; k++) printf("%02x", ((unsigned char *)insns)[k]);
    for (int s = 0; s < MAX_SUBTESTS; s++) {
      if (s && !t->test[s].data_size && !t->test[s].result) break;
      printf("\t%u:%u:", t->test[s].data_size, t->test[s].result);
      for (int k = 0; k < t->test[s].data_size && k < MAX_DATA; k++) printf("%02x", (unsigned char)t->data[k]);
    }
    printf("\n");
  }
}
