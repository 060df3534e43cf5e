/* SPDX-License-Identifier: Apache-2.0 */
/* encode/elf: real images against what the loader says of them, damaged ones against the clock. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/elf.h"
#include "tests/unit/test.h"

static const char *path_of(const char *word)
{
	static char path[4096];
	char line[4096];
	FILE *maps = fopen("/proc/self/maps", "r");

	CHECK(maps);
	while (fgets(line, sizeof(line), maps)) {
		char *slash = strchr(line, '/');

		if (slash && strstr(slash, word)) {
			slash[strcspn(slash, "\n")] = '\0';
			strcpy(path, slash);
			fclose(maps);
			return path;
		}
	}
	test_fail(__FILE__, __LINE__, "no %s is mapped", word);
}

static struct elf open_path(const char *path)
{
	struct elf elf;

	CHECK_INT(elf_open_file(&elf, open(path, O_RDONLY | O_CLOEXEC)), 0);
	return elf;
}

static uint64_t bias_of(void *address, uint64_t *out_header)
{
	struct link_map *map;
	Dl_info info;

	CHECK(dladdr1(address, &info, (void **)&map, RTLD_DL_LINKMAP));
	*out_header = (uint64_t)(uintptr_t)info.dli_fbase;
	return map->l_addr;
}

struct wanted {
	const struct elf *elf;
	const struct elf_symbols *symbols;
	const char *name;
	Elf64_Sym found;
};

static bool look(void *arg, const Elf64_Sym *symbol, uint64_t index)
{
	struct wanted *w = arg;
	char buf[256];

	if (!symbol->st_shndx || elf_string(w->elf, w->symbols, symbol->st_name, buf, sizeof(buf)) < 0 ||
	    strcmp(buf, w->name) != 0)
		return true;
	w->found = *symbol;
	return false;
}

static Elf64_Sym find(const struct elf *elf, const struct elf_symbols *symbols, const char *name)
{
	struct wanted w = { elf, symbols, name, { 0 } };

	elf_visit_symbols(elf, symbols, look, &w);
	return w.found;
}

TEST(elf_file_and_mapped_image_agree)
{
	struct elf file, mapped;
	uint64_t header, bias, start, end, vaddr;
	Elf64_Sym symbol;

	budget_set(1 << 26);
	bias = bias_of(qsort, &header);
	file = open_path(path_of("/libc"));
	CHECK_INT(elf_open_memory(&mapped, header), 0);
	CHECK_INT(mapped.bias, bias);
	CHECK(file.build_id_size >= 16 && file.build_id_size == mapped.build_id_size);
	CHECK(memcmp(file.build_id, mapped.build_id, file.build_id_size) == 0);
	CHECK(file.n_loads > 1 && file.n_loads == mapped.n_loads);
	CHECK(file.dynsym.n > 1000);
	CHECK_INT(file.dynsym.n, mapped.dynsym.n);
	symbol = find(&file, &file.dynsym, "qsort");
	CHECK_INT(symbol.st_value + bias, (uintptr_t)qsort);
	CHECK_INT(find(&mapped, &mapped.dynsym, "qsort").st_value, symbol.st_value);
	CHECK(elf_fde(&file, symbol.st_value + 1, &start, &end));
	CHECK_INT(start, symbol.st_value);
	CHECK_INT(end, symbol.st_value + symbol.st_size);
	CHECK(elf_fde(&mapped, symbol.st_value + symbol.st_size - 1, &start, &end));
	CHECK_INT(start, symbol.st_value);
	CHECK_INT(end, symbol.st_value + symbol.st_size);
	CHECK(!elf_fde(&file, 8, &start, &end));
	for (size_t i = 0; i < file.n_loads; i++)
		if (file.loads[i].executable) {
			CHECK(elf_offset_to_vaddr(&file, file.loads[i].offset + 5, &vaddr));
			CHECK_INT(vaddr, file.loads[i].vaddr + 5);
		}
	CHECK(!elf_offset_to_vaddr(&file, (uint64_t)1 << 60, &vaddr));
	elf_close(&file);
	elf_close(&mapped);
	CHECK_INT(mem_used(), 0);
}

__attribute__((noinline, used)) static int own_function(int n)
{
	return n * 7;
}

TEST(elf_own_symbol_table_and_plt)
{
	struct elf elf;
	uint64_t header, bias, start;
	char buf[64];
	int plts = 0;

	budget_set(1 << 26);
	elf = open_path("/proc/self/exe");
	bias = bias_of(elf_open_file, &header);
	CHECK_INT(find(&elf, &elf.symtab, "own_function").st_value + bias, (uintptr_t)own_function);
	for (size_t i = 0; i < elf.n_plts; i++)
		for (uint64_t at = elf.plts[i].vaddr; at < elf.plts[i].vaddr + elf.plts[i].size; at += 4)
			if (elf_plt_name(&elf, at, buf, sizeof(buf), &start) > 0 && start == at) {
				plts++;
				/* what the entry jumps to has this name */
				CHECK(dlsym(RTLD_DEFAULT, buf) || strncmp(buf, "__", 2) == 0);
			}
	CHECK(plts > 3);
	CHECK_INT(elf_plt_name(&elf, elf.loads[0].vaddr, buf, sizeof(buf), &start), -1);
	elf_close(&elf);
	CHECK_INT(mem_used(), 0);
}

TEST(elf_vdso)
{
	uint64_t header = getauxval(AT_SYSINFO_EHDR);
	struct elf elf;

	if (!header)
		test_skip("no vdso");
	budget_set(1 << 26);
	CHECK_INT(elf_open_memory(&elf, header), 0);
	CHECK(elf.dynsym.n > 2);
	CHECK(find(&elf, &elf.dynsym, "__vdso_clock_gettime").st_value);
	elf_close(&elf);
}

TEST(elf_refuses_what_is_none)
{
	struct elf elf;
	char page[4096] = "\177ELF";
	void *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	budget_set(1 << 24);
	CHECK_INT(elf_open_file(&elf, open("/dev/null", O_RDONLY)), -ENOEXEC);
	CHECK_INT(elf_open_file(&elf, open("/proc/self/maps", O_RDONLY)), -ENOEXEC);
	CHECK_INT(elf_open_file(&elf, open("/", O_RDONLY)), -ENOEXEC);
	CHECK_INT(elf_open_memory(&elf, (uintptr_t)none), -ENOEXEC);
	CHECK_INT(elf_open_memory(&elf, (uintptr_t)page), -ENOEXEC);
	CHECK_INT(elf_open_memory(&elf, 16), -ENOEXEC);
	CHECK_INT(mem_used(), 0);
	CHECK_INT(open("/dev/null", O_RDONLY), 3); /* nothing was left open */
}

static bool count(void *arg, const Elf64_Sym *symbol, uint64_t index)
{
	++*(uint64_t *)arg;
	return true;
}

/* Everything that reads, over all of an image. */
static void exercise(int fd)
{
	struct elf elf;
	uint64_t n = 0, start, end;
	uint32_t crc;
	char buf[128];

	if (elf_open_file(&elf, fd) != 0)
		return;
	elf_visit_symbols(&elf, &elf.symtab, count, &n);
	elf_visit_symbols(&elf, &elf.dynsym, count, &n);
	elf_debuglink(&elf, buf, sizeof(buf), &crc);
	for (uint64_t at = 0; at < 0x3000; at += 61) {
		elf_string(&elf, &elf.symtab, at, buf, sizeof(buf));
		elf_string(&elf, &elf.dynsym, at, buf, sizeof(buf));
		elf_fde(&elf, at, &start, &end);
		elf_plt_name(&elf, at, buf, sizeof(buf), &start);
		elf_offset_to_vaddr(&elf, at, &start);
	}
	elf_close(&elf);
}

static int image_file(const void *data, size_t size)
{
	int fd = memfd_create("image", 0);

	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	return fd;
}

/* A small image with all that we read: the vdso. */
static size_t small_image(unsigned char *buf, size_t room)
{
	uint64_t header = getauxval(AT_SYSINFO_EHDR);
	size_t size = 0;

	if (!header)
		test_skip("no vdso");
	while (size + 4096 <= room && elf_read_process(header + size, buf + size, 4096))
		size += 4096;
	CHECK(size >= 4096);
	return size;
}

TEST(elf_every_cut)
{
	static unsigned char image[16384];
	size_t size = small_image(image, sizeof(image));

	budget_set(1 << 26);
	for (size_t n = 0; n < size; n += n < 1024 ? 7 : 61)
		exercise(image_file(image, n));
	CHECK_INT(mem_used(), 0);
}

TEST(elf_damaged)
{
	static unsigned char image[16384], copy[sizeof(image)];
	size_t size = small_image(image, sizeof(image));
	unsigned seed = 11;

	budget_set(1 << 26);
	for (int round = 0; round < 4000; round++) {
		memcpy(copy, image, size);
		for (int k = 1 + rand_r(&seed) % 6; k > 0; k--) {
			size_t at = (size_t)rand_r(&seed) % (round % 2 ? 1024 : size);

			copy[at] = (unsigned char)(rand_r(&seed) % 4 ? rand_r(&seed) : 0xff);
		}
		exercise(image_file(copy, size));
	}
	CHECK_INT(mem_used(), 0);
}

TEST(elf_shrinks_while_it_is_read)
{
	static unsigned char image[16384];
	size_t size = small_image(image, sizeof(image));
	int fd = image_file(image, size);
	struct elf elf;
	uint64_t n = 0, start, end;

	budget_set(1 << 26);
	CHECK_INT(elf_open_file(&elf, dup(fd)), 0);
	CHECK_INT(ftruncate(fd, 700), 0);
	CHECK(elf_visit_symbols(&elf, &elf.dynsym, count, &n) <= 0);
	CHECK(!elf_fde(&elf, elf.loads[0].vaddr + 0x700, &start, &end));
	elf_close(&elf);
}
