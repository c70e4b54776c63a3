// Loads a BPF object with libbpf and says what came of it, for comparisons.
// loader all OBJECT [BTF]: everything in one go. loader each OBJECT [BTF]: each program by itself.
// loader sections NAME...: what libbpf takes section names for; those it doesn't know are left out.
// Prints a JSON object for each program, map or failure, one a line.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int quiet(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, format, args) : 0;
}

static void show_program(struct bpf_program *prog)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	int i;

	if (bpf_program__fd(prog) < 0 || bpf_obj_get_info_by_fd(bpf_program__fd(prog), &info, &size))
		return;
	printf("{\"program\": \"%s\", \"section\": \"%s\", \"type\": %d, \"insns\": %d, \"tag\": \"",
	       bpf_program__name(prog), bpf_program__section_name(prog), info.type,
	       (int)bpf_program__insn_cnt(prog));
	for (i = 0; i < 8; i++)
		printf("%02x", info.tag[i]);
	printf("\"}\n");
}

static void show_map(struct bpf_map *map)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_map__fd(map) < 0 || bpf_obj_get_info_by_fd(bpf_map__fd(map), &info, &size))
		return;
	printf("{\"map\": \"%s\", \"kernel_name\": \"%s\", \"type\": %d, \"key_size\": %d, \"value_size\": %d, "
	       "\"max_entries\": %d, \"flags\": %d, \"typed\": %s}\n",
	       bpf_map__name(map), info.name, info.type, info.key_size, info.value_size, info.max_entries,
	       info.map_flags, info.btf_id ? "true" : "false");
}

static struct bpf_object *opened(const char *path, const char *btf)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .btf_custom_path = btf);

	return bpf_object__open_file(path, &opts);
}

static int load_all(const char *path, const char *btf)
{
	struct bpf_object *obj = opened(path, btf);
	struct bpf_program *prog;
	struct bpf_map *map;

	if (!obj || bpf_object__load(obj)) {
		printf("{\"error\": %d}\n", errno);
		return 0;
	}
	bpf_object__for_each_program(prog, obj) show_program(prog);
	bpf_object__for_each_map(map, obj) show_map(map);
	bpf_object__close(obj);
	return 0;
}

static int load_each(const char *path, const char *btf)
{
	int number, count = 1;

	for (number = 0; number < count; number++) {
		struct bpf_object *obj = opened(path, btf);
		struct bpf_program *prog, *chosen = NULL;
		int index = 0;

		if (!obj) {
			printf("{\"error\": %d}\n", errno);
			return 0;
		}
		bpf_object__for_each_program(prog, obj) {
			if (index == number)
				chosen = prog;
			bpf_program__set_autoload(prog, index++ == number);
		}
		count = index;
		if (!chosen)
			break;
		if (bpf_object__load(obj))
			printf("{\"program\": \"%s\", \"section\": \"%s\", \"error\": %d}\n", bpf_program__name(chosen),
			       bpf_program__section_name(chosen), errno);
		else
			show_program(chosen);
		bpf_object__close(obj);
	}
	return 0;
}

static int show_sections(int count, char **names)
{
	enum bpf_attach_type attach;
	enum bpf_prog_type type;

	for (; count--; names++)
		if (!libbpf_prog_type_by_name(*names, &type, &attach))
			printf("{\"section\": \"%s\", \"type\": %d, \"attach\": %d}\n", *names, type, attach);
	return 0;
}

int main(int argc, char **argv)
{
	const char *btf = argc > 3 ? argv[3] : NULL;

	libbpf_set_print(quiet);
	if (argc == 2 && !strcmp(argv[1], "version")) {
		printf("%u.%u\n", libbpf_major_version(), libbpf_minor_version());
		return 0;
	}
	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "sections"))
		return show_sections(argc - 2, argv + 2);
	return strcmp(argv[1], "each") ? load_all(argv[2], btf) : load_each(argv[2], btf);
}
