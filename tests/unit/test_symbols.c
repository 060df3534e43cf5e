/* SPDX-License-Identifier: Apache-2.0 */
/* encode/symbols: of this process, with mapping lists that tell lies and modules that are gone. */
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "agent/collect/modules.h"
#include "encode/elf.h"
#include "encode/symbols_from.h"
#include "tests/unit/test.h"

static char maps[1 << 20];
static size_t maps_size;

static void read_maps(void)
{
	int fd = open("/proc/self/maps", O_RDONLY);
	ssize_t n;

	budget_set(1 << 26);
	maps_size = 0;
	while ((n = read(fd, maps + maps_size, sizeof(maps) - 1 - maps_size)) > 0)
		maps_size += (size_t)n;
	close(fd);
	maps[maps_size] = '\0';
}

/* Puts another path in the place of one in all lines that have it. */
static void replace_path(const char *word, const char *with)
{
	static char out[sizeof(maps)];
	size_t used = 0;

	for (char *line = strtok(maps, "\n"); line; line = strtok(NULL, "\n")) {
		char *slash = strchr(line, '/');

		if (slash && strstr(slash, word))
			used += (size_t)sprintf(out + used, "%.*s%s\n", (int)(slash - line), line, with);
		else
			used += (size_t)sprintf(out + used, "%s\n", line);
	}
	memcpy(maps, out, used + 1);
	maps_size = used;
}

static struct symbols *open_from(const struct module_gone *gone)
{
	struct symbols_source source = { maps, maps_size, (uint64_t)(uintptr_t)symbols_open_from, gone };
	struct symbols *symbols = symbols_open_from(&source);

	CHECK(symbols);
	return symbols;
}

static struct symbol find(struct symbols *symbols, const void *address, uint32_t generation)
{
	struct symbol symbol;

	CHECK(symbols_find(symbols, (uint64_t)(uintptr_t)address, generation, &symbol));
	CHECK(symbol.name && *symbol.name && symbol.linkage && *symbol.linkage);
	return symbol;
}

TEST(symbols_of_this_process)
{
	struct symbols *symbols;
	struct symbol symbol;

	budget_set(1 << 26);
	for (int round = 0; round < 3; round++) {
		symbols = symbols_open();
		CHECK(symbols);
		symbol = find(symbols, (char *)read_maps + 3, 0);
		CHECK_STR(symbol.name, "read_maps");
		CHECK_INT(symbol.mapping, 0);
		CHECK_INT(symbol.start, (uintptr_t)read_maps);
		symbol = find(symbols, (char *)dlsym(RTLD_DEFAULT, "malloc") + 1, 0);
		CHECK_STR(symbol.name, "malloc");
		CHECK(symbol.mapping > 0);
		CHECK(strstr(symbols_mapping(symbols, (size_t)symbol.mapping)->path, "libc"));
		CHECK_INT(strlen(symbols_mapping(symbols, (size_t)symbol.mapping)->build_id), 40);
		CHECK_STR(find(symbols, (void *)1, 0).name, "[truncated]");
		CHECK_STR(find(symbols, (void *)0x1000, 0).name, "[unmapped]");
		symbols_close(symbols);
		symbols_trim();
	}
	CHECK_INT(open("/dev/null", O_RDONLY), 3); /* no descriptor is kept */
	symbols_trim();
	symbols_trim();
	CHECK_INT(mem_used(), 0);
}

static const char *const builtin_aliases[] = { "malloc", "free", "read", "write", "printf", "memcpy",
					       "strlen", "pthread_create", "qsort", "fwrite",
					       "clock_gettime", "getpid" };

TEST(symbols_prefer_plain_names)
{
	struct symbols *symbols;

	budget_set(1 << 26);
	symbols = symbols_open();
	for (size_t i = 0; i < sizeof(builtin_aliases) / sizeof(builtin_aliases[0]); i++) {
		const char *name = builtin_aliases[i];
		void *at = dlsym(RTLD_DEFAULT, name);

		/* an IFUNC's address is that of the implementation that it chose */
		if (strcmp(name, "memcpy") != 0 && strcmp(name, "strlen") != 0)
			CHECK_STR(find(symbols, at, 0).name, name);
	}
	symbols_close(symbols);
}

/* Without it nobody may open /proc/self/map_files: the old file is out of reach. */
static void drop_capabilities(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[2] = { 0 };

	CHECK_INT(syscall(SYS_capset, &header, none), 0);
}

/* The path leads to another build now: names come from what is mapped, never from that file. */
TEST(symbols_replaced_file_is_not_believed)
{
	void *qsort_at = dlsym(RTLD_DEFAULT, "qsort");
	struct symbols *symbols;
	struct symbol symbol;
	char expect[64], *plus;

	drop_capabilities();
	read_maps();
	replace_path("/libc.so", "/proc/self/exe");
	symbols = open_from(NULL);
	symbol = find(symbols, qsort_at, 0);
	CHECK_STR(symbol.name, "qsort"); /* .dynsym in memory */
	CHECK_INT(symbol.start, (uintptr_t)qsort_at);
	symbols_close(symbols);

	read_maps();
	replace_path("/libc.so", "/nonexistent/libc.so.6 (deleted)");
	symbols = open_from(NULL);
	CHECK_STR(find(symbols, qsort_at, 0).name, "qsort");
	symbol = find(symbols, (char *)qsort_at, 0);
	CHECK_STR(symbols_mapping(symbols, (size_t)symbol.mapping)->path, "/nonexistent/libc.so.6");
	/* code that .dynsym does not name: a local function, by the start of its FDE */
	for (char *at = qsort_at;; at -= 16) {
		symbol = find(symbols, at, 0);
		if (strchr(symbol.name, '@'))
			break;
		CHECK((char *)qsort_at - at < 200000);
	}
	snprintf(expect, sizeof(expect), "libc.so.6@0x");
	CHECK(strncmp(symbol.name, expect, strlen(expect)) == 0);
	plus = strchr(symbol.name, '+');
	CHECK(!plus);
	symbols_close(symbols);
	symbols_trim();
	symbols_trim();
	CHECK_INT(mem_used(), 0);
}

static struct module_gone *gone_like(const char *path, uint64_t start, uint32_t generation, bool right_id)
{
	struct module_gone *m = calloc(1, sizeof(*m) + strlen(path) + 1);
	struct elf elf;

	CHECK_INT(elf_open_file(&elf, open(path, O_RDONLY)), 0);
	for (size_t i = 0; i < elf.n_loads; i++)
		if (elf.loads[i].executable) {
			m->offset = elf.loads[i].offset;
			m->end = start + ((elf.loads[i].memsz + 4095) & ~4095ul);
		}
	m->start = start;
	m->generation = generation;
	m->build_id_size = (uint32_t)elf.build_id_size;
	memcpy(m->build_id, elf.build_id, elf.build_id_size);
	m->build_id[0] ^= !right_id;
	strcpy(m->path, path);
	elf_close(&elf);
	return m;
}

TEST(symbols_of_unloaded_modules)
{
	const uint64_t at = 0x7e0000000000;
	char path[4096];
	struct module_gone *first, *second, *wrong;
	struct symbols *symbols;
	struct symbol symbol;
	uint64_t own;

	read_maps();
	CHECK(readlink("/proc/self/exe", path, sizeof(path)) > 0);
	path[readlink("/proc/self/exe", path, sizeof(path))] = '\0';
	first = gone_like("/lib/x86_64-linux-gnu/libc.so.6", at, 3, true);
	second = gone_like(path, at, 5, true);
	wrong = gone_like(path, at, 8, false);
	second->next = first;
	wrong->next = second;
	symbols = open_from(wrong);
	/* read_maps lies at the same distance from the start of the executable segment */
	symbol = find(symbols, read_maps, 0);
	own = (uint64_t)(uintptr_t)read_maps - symbols_mapping(symbols, 0)->start;
	symbol = find(symbols, (void *)(at + own), 4);
	CHECK_STR(symbol.name, "read_maps");
	CHECK_STR(symbols_mapping(symbols, (size_t)symbol.mapping)->path, path);
	CHECK_INT(symbols_mapping(symbols, (size_t)symbol.mapping)->last_generation, 5);
	symbol = find(symbols, (void *)(at + own), 2);
	CHECK(strcmp(symbol.name, "read_maps") != 0);
	CHECK(strstr(symbols_mapping(symbols, (size_t)symbol.mapping)->path, "libc"));
	symbol = find(symbols, (void *)(at + own), 6);
	CHECK(strcmp(symbol.name, "read_maps") != 0); /* the file is another build now */
	CHECK(symbol.name[0] == '[');
	CHECK_STR(find(symbols, (void *)(at + own), 9).name, "[unmapped]");
	CHECK(symbols_gone_at(symbols, at + own, 2) != symbols_gone_at(symbols, at + own, 4));
	CHECK_INT(symbols_gone_at(symbols, at + own, 9), 0);
	symbols_close(symbols);
}

TEST(symbols_jit)
{
	struct symbols *symbols;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	file = fopen(path, "w");
	CHECK(file);
	fprintf(file, "ffffffffff700000 100 Function:run /app.js:10:5\nffffffffff700100 10 bad\x1b[0m\n");
	fclose(file);
	read_maps();
	maps_size += (size_t)sprintf(maps + maps_size, "ffffffffff700000-ffffffffff701000 r-xp 0 00:00 0\n");
	symbols = open_from(NULL);
	unlink(path);
	CHECK_STR(find(symbols, (void *)0xffffffffff700050, 0).name, "[anon]"); /* the file is read late */
	symbols_close(symbols);

	file = fopen(path, "w");
	fprintf(file, "ffffffffff700000 100 Function:run /app.js:10:5\nffffffffff700100 10 bad\x1b[0m\n");
	fclose(file);
	symbols = open_from(NULL);
	CHECK_STR(find(symbols, (void *)0xffffffffff700050, 0).name, "Function:run /app.js:10:5");
	CHECK_INT(find(symbols, (void *)0xffffffffff700050, 0).mapping, -1);
	CHECK_INT(find(symbols, (void *)0xffffffffff700050, 0).start, 0xffffffffff700000);
	CHECK_STR(find(symbols, (void *)0xffffffffff700105, 0).name, "bad\xef\xbf\xbd[0m");
	CHECK_STR(find(symbols, (void *)0xffffffffff700200, 0).name, "[anon]");
	symbols_close(symbols);
	unlink(path);
}

/* With ever less memory: an answer, a refusal, but no crash and nothing lost. */
TEST(symbols_without_memory)
{
	budget_set(1 << 26);
	symbols_close(symbols_open());
	for (size_t limit = 1 << 16; limit < 4 << 20; limit += 32 << 10) {
		struct symbols *symbols;
		struct symbol symbol;

		budget_set(limit);
		symbols = symbols_open();
		if (symbols && symbols_find(symbols, (uint64_t)(uintptr_t)read_maps, 0, &symbol))
			CHECK(strcmp(symbol.name, "read_maps") == 0 || strstr(symbol.name, "0x"));
		if (symbols && symbols_find(symbols, (uint64_t)(uintptr_t)dlsym(RTLD_DEFAULT, "qsort"), 0,
					    &symbol))
			CHECK(strcmp(symbol.name, "qsort") == 0 || strstr(symbol.name, "0x"));
		symbols_close(symbols);
		symbols_trim();
		symbols_trim();
		symbols_trim();
		CHECK_INT(mem_used(), 0);
	}
}
