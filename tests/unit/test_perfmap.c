/* SPDX-License-Identifier: Apache-2.0 */
/* encode/perfmap: the last line that covers an address names it. */
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "encode/perfmap.h"
#include "tests/unit/test.h"

static int file_of(const char *text)
{
	FILE *file = tmpfile();

	CHECK(file);
	CHECK(fwrite(text, 1, strlen(text), file) == strlen(text));
	CHECK(fflush(file) == 0);
	return dup(fileno(file));
}

static void open_text(struct perfmap *map, const char *text)
{
	budget_set(1 << 26);
	CHECK_INT(perfmap_open_file(map, file_of(text)), 0);
}

static const char *name(const struct perfmap *map, uint64_t address)
{
	static char buf[64];
	uint64_t start;

	return perfmap_find(map, address, buf, sizeof(buf), &start) > 0 ? buf : "-";
}

TEST(perfmap_plain)
{
	struct perfmap map;

	open_text(&map, "1000 100 first\n1100 10 LazyCompile:~two words /x.js:1:2\n"
			"0x2000 0x10 prefixed\nnonsense\n3000 0 empty\n4000 zz bad\n5000 10 cut");
	CHECK_STR(name(&map, 0xfff), "-");
	CHECK_STR(name(&map, 0x1000), "first");
	CHECK_STR(name(&map, 0x10ff), "first");
	CHECK_STR(name(&map, 0x110f), "LazyCompile:~two words /x.js:1:2");
	CHECK_STR(name(&map, 0x1110), "-");
	CHECK_STR(name(&map, 0x2005), "prefixed");
	CHECK_STR(name(&map, 0x3000), "-");
	CHECK_STR(name(&map, 0x5001), "-"); /* being written */
	perfmap_close(&map);
	CHECK_INT(mem_used(), 0);
}

TEST(perfmap_last_entry_wins)
{
	struct perfmap map;

	open_text(&map, "1000 100 old\n1080 100 newer\n10c0 10 newest\n1000 20 again\n");
	CHECK_STR(name(&map, 0x1000), "again");
	CHECK_STR(name(&map, 0x1020), "old");
	CHECK_STR(name(&map, 0x107f), "old");
	CHECK_STR(name(&map, 0x1080), "newer");
	CHECK_STR(name(&map, 0x10c0), "newest");
	CHECK_STR(name(&map, 0x10d0), "newer");
	CHECK_STR(name(&map, 0x117f), "newer");
	CHECK_STR(name(&map, 0x1180), "-");
	perfmap_close(&map);
}

/* Random ranges against a table of one entry per address. */
/* Ranges that end where the address space does: when the newest has ended, nothing is left of the others. */
TEST(perfmap_up_to_the_last_address)
{
	struct perfmap map;

	alarm(10); /* it never came back */
	open_text(&map, "fffffffffffffff0 f old\nfffffffffffffff1 e newer\nffffffffffffff00 ff newest\n"
			"ffffffffffffff80 7f again\n");
	CHECK_STR(name(&map, 0xffffffffffffff01), "newest");
	CHECK_STR(name(&map, 0xfffffffffffffffe), "again");
	perfmap_close(&map);
	CHECK_INT(mem_used(), 0);
}

TEST(perfmap_equals_a_plain_table)
{
	enum { SPACE = 2000, LINES = 400 };
	static char text[LINES * 40];
	static int want[SPACE];
	unsigned seed = 3;

	for (int round = 0; round < 30; round++) {
		struct perfmap map;
		size_t at = 0;

		memset(want, 0, sizeof(want));
		for (int line = 1; line <= LINES; line++) {
			unsigned start = (unsigned)rand_r(&seed) % SPACE;
			unsigned size = 1 + (unsigned)rand_r(&seed) % (round % 3 ? 20 : 500);

			for (unsigned a = start; a < start + size && a < SPACE; a++)
				want[a] = line;
			at += (size_t)sprintf(text + at, "%x %x f%d\n", start, size, line);
		}
		open_text(&map, text);
		for (unsigned a = 0; a < SPACE; a++) {
			char expect[16];

			snprintf(expect, sizeof(expect), want[a] ? "f%d" : "-", want[a]);
			CHECK_STR(name(&map, a), expect);
		}
		perfmap_close(&map);
	}
	CHECK_INT(mem_used(), 0);
}

TEST(perfmap_long_lines_and_many)
{
	static char text[3 << 20];
	struct perfmap map;
	size_t at = 0;

	for (int i = 0; i < 50000; i++)
		at += (size_t)sprintf(text + at, "%x 10 function_%d\n", 0x100000 + i * 16, i);
	at += (size_t)sprintf(text + at, "10 10 ");
	memset(text + at, 'x', 100000);
	at += 100000;
	at += (size_t)sprintf(text + at, "\n20 10 after\n");
	text[at] = '\0';
	open_text(&map, text);
	CHECK_STR(name(&map, 0x100000), "function_0");
	CHECK_STR(name(&map, 0x100000 + 49999 * 16 + 15), "function_49999");
	CHECK_INT(strlen(name(&map, 0x10)), 63);
	CHECK_STR(name(&map, 0x20), "after");
	perfmap_close(&map);
}

/* /tmp is everybody's: what is not a plain file of ours is not read. */
TEST(perfmap_must_be_ours)
{
	struct perfmap map;
	char path[64], other[80];

	budget_set(1 << 24);
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", getpid());
	snprintf(other, sizeof(other), "%s.elsewhere", path);
	unlink(path);
	CHECK_INT(perfmap_open(&map), -ENOENT);
	CHECK_INT(mkfifo(path, 0600), 0);
	CHECK_INT(perfmap_open(&map), -EPERM);
	unlink(path);
	CHECK_INT(close(open(other, O_CREAT | O_RDWR, 0600)), 0);
	CHECK_INT(symlink(other, path), 0);
	CHECK_INT(perfmap_open(&map), -ELOOP);
	unlink(path);
	CHECK_INT(rename(other, path), 0);
	CHECK_INT(perfmap_open(&map), 0);
	perfmap_close(&map);
	if (geteuid() == 0) {
		CHECK_INT(chown(path, 12345, 12345), 0);
		CHECK_INT(perfmap_open(&map), -EPERM);
	}
	unlink(path);
}
