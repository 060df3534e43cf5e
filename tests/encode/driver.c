/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes hand-made profiles of its own code to stdout, or answers about names on stderr and stdout;
 * tests/integration/test_encode.py judges them from outside.
 *
 *	encode-driver profile [none]		a profile with every kind of frame
 *	encode-driver empty			one without samples
 *	encode-driver text count|heap|block|mutex
 *	encode-driver names ADDRESS...		of its own process, one line each
 *	encode-driver demangle			names from stdin, one a line: "linkage TAB name"
 *	encode-driver coverage FILE...		how much of a file's code has a name
 *	encode-driver bench SAMPLES DEPTH	speed and memory of the encoder
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "agent/base/sink.h"
#include "agent/collect/frames.h"
#include "agent/collect/modules.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "encode/demangle.h"
#include "encode/elf.h"
#include "encode/pprof.h"
#include "encode/symbols_from.h"
#include "encode/text.h"

static size_t written;

static int write_out(struct sink *sink, const void *data, size_t size)
{
	written += size;
	return fwrite(data, 1, size, stdout) == size ? 0 : -EIO;
}

static int write_nowhere(struct sink *sink, const void *data, size_t size)
{
	written += size;
	return 0;
}

static struct sink out = { write_out };

static const struct profile_desc desc = {
	.types = { { "samples", "count" }, { "cpu", "nanoseconds" } },
	.period_type = { "cpu", "nanoseconds" },
};

static const struct stack *stack_of(const uintptr_t *pcs, uint32_t depth)
{
	struct stack *stack = malloc(sizeof(*stack) + depth * sizeof(*pcs));

	if (!stack)
		exit(2);
	stack->generation = 0;
	stack->depth = depth;
	memcpy(stack->pcs, pcs, depth * sizeof(*pcs));
	return stack;
}

static void add(struct snapshot *snapshot, const uintptr_t *pcs, uint32_t depth, int64_t a,
		int64_t b, int64_t bytes, uint32_t tag)
{
	struct sample sample = { .stack = stack_of(pcs, depth),
				 .value = { a, b, a * 2, b * 2 },
				 .bytes = bytes,
				 .tag = tag };

	if (!snapshot_add(snapshot, &sample))
		exit(2);
}

static const char *tag_name(uint32_t tag, char *buf, size_t size)
{
	if (!tag)
		return NULL;
	snprintf(buf, size, tag == 1 ? "worker-%u" : "wild \x1b[31m\xff\n%u", tag);
	return buf;
}

/* Functions with known names, in the order leaf to root. */
__attribute__((noinline)) int driver_leaf(int n);
__attribute__((noinline)) int driver_middle(int n);

int driver_leaf(int n)
{
	return n * 3;
}

int driver_middle(int n)
{
	return driver_leaf(n) + 1;
}

/* Text forms know no negative numbers. */
static struct snapshot *every_kind(int sign)
{
	struct snapshot *snapshot = snapshot_new();
	uintptr_t leaf = (uintptr_t)driver_leaf + 1, middle = (uintptr_t)driver_middle + 4;
	uintptr_t libc = (uintptr_t)dlsym(RTLD_DEFAULT, "qsort_r") + 5;
	uintptr_t malloc_pc = (uintptr_t)dlsym(RTLD_DEFAULT, "malloc") + 2;
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
	uintptr_t anon = (uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	Dl_info info;
	void *handle = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
	uintptr_t clock = handle ? (uintptr_t)dlsym(handle, "__vdso_clock_gettime") : 0;

	if (!snapshot || !dladdr((void *)middle, &info))
		exit(2);
	add(snapshot, (uintptr_t[]){ leaf, middle }, 2, 10, 100000000, 0, 0);
	add(snapshot, (uintptr_t[]){ leaf, middle }, 2, 1, 10000000, 0, 1);
	add(snapshot, (uintptr_t[]){ leaf, middle }, 2, 2, 20000000, 0, 2);
	add(snapshot, (uintptr_t[]){ leaf, middle }, 2, 3, 30000000, 4096, 0);
	add(snapshot, (uintptr_t[]){ libc, middle, FRAME_TRUNCATED }, 3, 5, 50000000, 0, 0);
	add(snapshot, (uintptr_t[]){ malloc_pc, libc }, 2, 4, 40000000, 0, 0);
	add(snapshot, (uintptr_t[]){ FRAME_OTHER }, 1, 7, 70000000, 0, 0);
	add(snapshot, (uintptr_t[]){ anon + 16, middle }, 2, 8, 80000000, 0, 0);
	add(snapshot, (uintptr_t[]){ 0x1234567, middle, FRAME_UNKNOWN_ROOT }, 3, 2 * sign, 20000000 * sign, 0, 0);
	add(snapshot, (uintptr_t[]){ 0xffffffffff600400, leaf }, 2, 9, 90000000, 0, 0);
	if (vdso)
		add(snapshot, (uintptr_t[]){ clock ? clock + 3 : vdso + 0x700, leaf }, 2, 6,
		    60000000, 0, 0);
	return snapshot;
}

static int run_profile(struct snapshot *snapshot, enum symbolize symbolize)
{
	static const char *const comments[] = { "made by a test", "bad bytes: \xc3\x28 \x07", NULL };
	struct timespec now;
	struct profile_facts facts = { .period = 10000000, .duration_ns = 5, .comments = comments };
	struct pprof_writer *writer;
	int more;

	clock_gettime(CLOCK_REALTIME, &now);
	facts.time_ns = (uint64_t)now.tv_sec * 1000000000u;
	writer = pprof_begin(&out, &desc, &facts, snapshot, symbolize, tag_name);
	if (!writer)
		return 2;
	do
		more = pprof_step(writer, 1000);
	while (more > 0);
	pprof_drop(writer);
	return more != 0;
}

static int run_text(const char *form, const struct snapshot *snapshot)
{
	enum text_form kind = strcmp(form, "count") == 0 ? TEXT_COUNT :
			      strcmp(form, "heap") == 0 ? TEXT_HEAP : TEXT_CONTENTION;
	struct text_writer *writer =
		text_begin(&out, &(struct text_words){
			.form = kind,
			.name = kind == TEXT_COUNT ? "goroutine" : form,
			.unit = "heap/1048576",
			.trailer = kind == TEXT_HEAP ? "\n# runtime.MemStats\n# Sys = 1\n" : NULL,
		}, snapshot, SYMBOLIZE_NAMES);
	int more;

	if (!writer)
		return 2;
	do
		more = text_step(writer, 1000);
	while (more > 0);
	text_drop(writer);
	return more != 0;
}

static int run_names(int n, char **addresses)
{
	struct symbols *symbols = symbols_open();

	for (int i = 0; symbols && i < n; i++) {
		struct symbol symbol;

		if (!symbols_find(symbols, strtoull(addresses[i], NULL, 0), 0, &symbol))
			return 2;
		printf("%s\t%s\n", symbol.name, symbol.linkage);
	}
	symbols_close(symbols);
	return symbols ? 0 : 2;
}

static int run_demangle(void)
{
	struct demangle_text text = { 0 };
	static char line[1 << 20];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!demangle(&text, line))
			return 2;
		printf("%s\t%s\n", line, text.text);
	}
	demangle_free(&text);
	return 0;
}

/* CPU time: the machine has other things to do. */
static double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
	return x ^ x >> 29;
}

/* Paths through a call tree, as the stacks of a program are: each function calls a few others, one of
 * them most of the time. The tree has up to 20,000 addresses. */
static struct snapshot *many(size_t n, uint32_t depth)
{
	struct snapshot *snapshot = snapshot_new();
	uintptr_t base = (uintptr_t)dlsym(RTLD_DEFAULT, "qsort_r");
	uintptr_t *pcs = malloc(depth * sizeof(*pcs));
	uint64_t random = 88172645463325252u;

	if (!snapshot || !pcs)
		exit(2);
	for (size_t i = 0; i < n; i++) {
		uint64_t node = 1;

		for (uint32_t k = depth; k-- > 0;) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			node = mix(node + (random % 10 < 6 ? 0 : random % 5) + 1);
			pcs[k] = base + node % 20000;
		}
		add(snapshot, pcs, depth, (int64_t)(random % 100) + 1, (int64_t)(random % 100) * 10000000,
		    0, 0);
	}
	free(pcs);
	return snapshot;
}

static int run_bench(size_t n, uint32_t depth)
{
	struct snapshot *snapshot;
	struct sink nowhere = { write_nowhere };
	struct profile_facts facts = { .period = 1, .time_ns = 1 };
	struct pprof_writer *writer;
	size_t before, peak = 0;
	double start, step, longest = 0;
	int more;

	budget_set((size_t)4 << 30);
	snapshot = many(n, depth);
	for (int round = 0; round < 2; round++) {
		before = mem_used();
		written = 0;
		start = seconds();
		writer = pprof_begin(&nowhere, &desc, &facts, snapshot, SYMBOLIZE_NAMES, NULL);
		if (!writer)
			return 2;
		do {
			step = seconds();
			more = pprof_step(writer, 10000000);
			step = seconds() - step;
			longest = step > longest ? step : longest;
			if (mem_used() - before > peak)
				peak = mem_used() - before;
		} while (more > 0);
		printf("%zu samples of depth %u: %.3f s, %.2f M samples/s, %zu bytes out, "
		       "%.1f MiB of memory, longest step %.1f ms\n",
		       n, depth, seconds() - start, (double)n / (seconds() - start) / 1e6, written,
		       (double)peak / 1048576, longest * 1e3);
		pprof_drop(writer);
		if (more)
			return 1;
	}
	symbols_trim();
	symbols_trim();
	symbols_trim();
	return 0;
}

/* Every 64th byte of code, through the symbols of an unloaded module. */
static int run_coverage(const char *path)
{
	const uint64_t at = 0x7e0000000000;
	struct module_gone *gone = calloc(1, sizeof(*gone) + strlen(path) + 1);
	struct symbols_source source = { .gone = gone };
	struct symbols *symbols;
	size_t named = 0, by_fde = 0, bare = 0;
	struct elf elf;
	double start = seconds(), first = 0;

	if (!gone || elf_open_file(&elf, open(path, O_RDONLY | O_CLOEXEC)) != 0)
		return 2;
	strcpy(gone->path, path);
	gone->generation = 1;
	gone->start = at;
	gone->build_id_size = (uint32_t)elf.build_id_size;
	memcpy(gone->build_id, elf.build_id, elf.build_id_size);
	for (size_t i = 0; i < elf.n_loads; i++)
		if (elf.loads[i].executable) {
			gone->offset = elf.loads[i].offset & ~4095ul;
			gone->end = at + elf.loads[i].memsz;
		}
	elf_close(&elf);
	symbols = symbols_open_from(&source);
	for (uint64_t pc = at; symbols && pc < gone->end; pc += 64) {
		struct symbol symbol;

		if (!symbols_find(symbols, pc, 1, &symbol))
			return 2;
		if (pc == at)
			first = seconds() - start;
		if (strstr(symbol.name, "@0x"))
			by_fde++;
		else if (symbol.name[0] == '[' || strstr(symbol.name, "+0x"))
			bare++;
		else
			named++;
	}
	printf("%s: %.1f %% by name, %.1f %% by start of function, %.1f %% neither; first %.1f ms, "
	       "then %.2f us each, %.1f MiB\n",
	       path, 100.0 * (double)named / (double)(named + by_fde + bare),
	       100.0 * (double)by_fde / (double)(named + by_fde + bare),
	       100.0 * (double)bare / (double)(named + by_fde + bare), first * 1e3,
	       (seconds() - start - first) * 1e6 / (double)(named + by_fde + bare),
	       (double)mem_used() / 1048576);
	symbols_close(symbols);
	return symbols ? 0 : 2;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	bool none = argc > 2 && strcmp(argv[argc - 1], "none") == 0;

	budget_set(argc > 1 && strcmp(what, "bench") == 0 ? (size_t)4 << 30 : 32 << 20);
	if (strcmp(what, "profile") == 0)
		return run_profile(every_kind(-1), none ? SYMBOLIZE_NONE : SYMBOLIZE_NAMES);
	if (strcmp(what, "empty") == 0)
		return run_profile(snapshot_new(), SYMBOLIZE_NAMES);
	if (strcmp(what, "text") == 0 && argc > 2)
		return run_text(argv[2], every_kind(1));
	if (strcmp(what, "names") == 0)
		return run_names(argc - 2, argv + 2);
	if (strcmp(what, "coverage") == 0) {
		int status = 0;

		for (int i = 2; i < argc; i++)
			status |= run_coverage(argv[i]);
		return status;
	}
	if (strcmp(what, "demangle") == 0)
		return run_demangle();
	if (strcmp(what, "bench") == 0 && argc > 3)
		return run_bench(strtoull(argv[2], NULL, 0), (uint32_t)strtoul(argv[3], NULL, 0));
	fprintf(stderr, "usage: encode-driver profile|empty|text|names|demangle|bench ...\n");
	return 2;
}
