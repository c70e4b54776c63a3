/* Opens, loads and attaches an object with libbpf; prints the milliseconds that took. */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    double start = now();
    struct bpf_object *object = argc == 2 ? bpf_object__open_file(argv[1], NULL) : NULL;
    if (!object || bpf_object__load(object))
        return 1;
    struct bpf_program *program;
    bpf_object__for_each_program(program, object)
        if (!bpf_program__attach(program))
            return 1;
    printf("%.3f\n", now() - start);
    fflush(stdout);
    getchar();
    return 0;
}
