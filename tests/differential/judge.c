/* Loads each program of an object by itself, with libbpf, and prints a line of JSON for each. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int say(enum libbpf_print_level level, const char *format, va_list args)
{
    return level == LIBBPF_WARN && getenv("JUDGE_VERBOSE") ? vfprintf(stderr, format, args) : 0;
}

static void load(const char *path, const char *name)
{
    struct bpf_object *object = bpf_object__open_file(path, NULL);
    struct bpf_program *program, *mine = NULL;
    enum bpf_prog_type type;
    enum bpf_attach_type attach;

    bpf_object__for_each_program(program, object) {
        int chosen = !strcmp(bpf_program__name(program), name);
        bpf_program__set_autoload(program, chosen);
        if (chosen)
            mine = program;
    }
    int known = !libbpf_prog_type_by_name(bpf_program__section_name(mine), &type, &attach);
    int error = bpf_object__load(object);
    printf("{\"name\": \"%s\", \"section\": \"%s\", ", name, bpf_program__section_name(mine));
    if (error) {
        printf("\"known\": %s, \"error\": %d}\n", known ? "true" : "false", -error);
    } else {
        struct bpf_prog_info info = {0};
        __u32 size = sizeof(info);
        bpf_obj_get_info_by_fd(bpf_program__fd(mine), &info, &size);
        printf("\"type\": %u, \"tag\": \"", info.type);
        for (int i = 0; i < 8; i++)
            printf("%02x", info.tag[i]);
        printf("\"}\n");
    }
    bpf_object__close(object);
}

int main(int argc, char **argv)
{
    struct bpf_program *program;
    char *names[512];
    int count = 0;

    libbpf_set_print(say);
    struct bpf_object *object = argc == 2 ? bpf_object__open_file(argv[1], NULL) : NULL;
    if (!object)
        return 1;
    bpf_object__for_each_program(program, object)
        if (count < 512)
            names[count++] = strdup(bpf_program__name(program));
    bpf_object__close(object);
    for (int i = 0; i < count; i++)
        load(argv[1], names[i]);
    return 0;
}
