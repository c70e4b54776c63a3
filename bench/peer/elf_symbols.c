/* Finds symbols and USDT notes of an ELF file by a loop over libelf, as C loaders do.
 * elf_symbols FILE NAME PATTERN: prints milliseconds and counts, a line for each search. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <fnmatch.h>
#include <gelf.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static long symbols(Elf *elf, const char *name, int is_pattern)
{
	Elf_Scn *section = NULL;
	long found = 0;

	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr head;
		Elf_Data *data;

		gelf_getshdr(section, &head);
		if (head.sh_type != SHT_SYMTAB && head.sh_type != SHT_DYNSYM)
			continue;
		data = elf_getdata(section, NULL);
		for (size_t i = 0; i < head.sh_size / head.sh_entsize; i++) {
			GElf_Sym symbol;
			const char *text;

			gelf_getsym(data, i, &symbol);
			if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || !symbol.st_value)
				continue;
			text = elf_strptr(elf, head.sh_link, symbol.st_name);
			if (is_pattern ? !fnmatch(name, text, 0) : !strcmp(name, text))
				found++;
		}
	}
	return found;
}

static long notes(Elf *elf)
{
	Elf_Scn *section = NULL;
	size_t names;
	long found = 0;

	elf_getshdrstrndx(elf, &names);
	while ((section = elf_nextscn(elf, section))) {
		GElf_Shdr head;
		GElf_Nhdr note;
		size_t at = 0, name, value;
		Elf_Data *data;

		gelf_getshdr(section, &head);
		if (head.sh_type != SHT_NOTE || strcmp(elf_strptr(elf, names, head.sh_name), ".note.stapsdt"))
			continue;
		data = elf_getdata(section, NULL);
		while ((at = gelf_getnote(data, at, &note, &name, &value)) > 0)
			found += note.n_type == 3;
	}
	return found;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	elf_version(EV_CURRENT);
	for (int what = 0; what < 3; what++) {
		double start = now();
		int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
		Elf *elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
		long found = what == 2 ? notes(elf) : symbols(elf, argv[2 + what], what);

		elf_end(elf);
		close(fd);
		printf("%.3f %ld\n", now() - start, found);
	}
	return 0;
}
