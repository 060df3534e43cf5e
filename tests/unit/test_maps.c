/* SPDX-License-Identifier: Apache-2.0 */
/* encode/maps: rows of input and expected, the last byte against a guard page. */
#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "encode/maps.h"
#include "tests/unit/test.h"

static void parse(struct maps *maps, const char *text)
{
	budget_set(1 << 24);
	CHECK_INT(maps_parse(maps, guarded_copy(text, strlen(text)), strlen(text)), 0);
}

static void check(const struct maps *maps, size_t i, uint64_t start, uint64_t end, uint64_t offset,
		  uint64_t image, const char *path)
{
	CHECK(i < maps->n);
	CHECK_INT(maps->list[i].start, start);
	CHECK_INT(maps->list[i].end, end);
	CHECK_INT(maps->list[i].offset, offset);
	CHECK_INT(maps->list[i].image, image);
	CHECK_STR(maps->list[i].path, path);
}

static const char usual[] =
	"55d0c0a00000-55d0c0a10000 r--p 00000000 fe:01 1234                       /usr/bin/app\n"
	"55d0c0a10000-55d0c0a30000 r-xp 00010000 fe:01 1234                       /usr/bin/app\n"
	"55d0c0a30000-55d0c0a40000 r--p 00030000 fe:01 1234                       /usr/bin/app\n"
	"55d0c0a40000-55d0c0a50000 rw-p 0003f000 fe:01 1234                       /usr/bin/app\n"
	"55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]\n"
	"7f0000000000-7f0000001000 rwxp 00000000 00:00 0 \n"
	"7f0000001000-7f0000002000 r-xp 00000000 00:0e 99                         /memfd:jit (deleted)\n"
	"7f0000100000-7f0000200000 r-xp 00000000 fe:01 77                         /lib/a\\012b.so\n"
	"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n"
	"7ffc00100000-7ffc00102000 r-xp 00000000 00:00 0                          [vdso]\n"
	"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

TEST(maps_usual)
{
	struct maps maps;

	parse(&maps, usual);
	CHECK_INT(maps.n, 6);
	check(&maps, 0, 0x55d0c0a10000, 0x55d0c0a30000, 0x10000, 0x55d0c0a00000, "/usr/bin/app");
	CHECK_INT(maps.list[0].inode, 1234);
	CHECK_INT(maps.list[0].major, 0xfe);
	CHECK_INT(maps.list[0].minor, 1);
	CHECK(!maps.list[0].deleted);
	check(&maps, 1, 0x7f0000000000, 0x7f0000001000, 0, 0, "");
	check(&maps, 2, 0x7f0000001000, 0x7f0000002000, 0, 0x7f0000001000, "/memfd:jit");
	CHECK(maps.list[2].deleted);
	check(&maps, 3, 0x7f0000100000, 0x7f0000200000, 0, 0x7f0000100000, "/lib/a\nb.so");
	check(&maps, 4, 0x7ffc00100000, 0x7ffc00102000, 0, 0x7ffc00100000, "[vdso]");
	check(&maps, 5, 0xffffffffff600000, 0xffffffffff601000, 0, 0, "[vsyscall]");
	CHECK(maps_find(&maps, 0x55d0c0a10000) == &maps.list[0]);
	CHECK(maps_find(&maps, 0x55d0c0a2ffff) == &maps.list[0]);
	CHECK(!maps_find(&maps, 0x55d0c0a30000));
	CHECK(!maps_find(&maps, 0x55d0c0a0ffff));
	CHECK(maps_find(&maps, 0xffffffffff600fff) == &maps.list[5]);
	CHECK(!maps_find(&maps, 0xffffffffff601000));
	CHECK(!maps_find(&maps, 0));
	maps_free(&maps);
	CHECK_INT(mem_used(), 0);
}

TEST(maps_merge_pieces_of_one_file)
{
	struct maps maps;

	parse(&maps, "400000-402000 r-xp 00000000 08:01 5 /bin/a\n"
		     "402000-403000 r-xp 00002000 08:01 5 /bin/a\n" /* goes on */
		     "403000-404000 r-xp 00009000 08:01 5 /bin/a\n" /* another part of it */
		     "405000-406000 r-xp 0000a000 08:01 5 /bin/a\n" /* a hole before it */
		     "406000-407000 r-xp 0000b000 08:01 6 /bin/a\n" /* another file */
		     "407000-408000 r-xp 00000000 00:00 0 \n"
		     "408000-409000 r-xp 00001000 00:00 0 \n"); /* anonymous ones stay apart */
	CHECK_INT(maps.n, 6);
	check(&maps, 0, 0x400000, 0x403000, 0, 0x400000, "/bin/a");
	check(&maps, 1, 0x403000, 0x404000, 0x9000, 0x400000, "/bin/a");
	check(&maps, 2, 0x405000, 0x406000, 0xa000, 0x400000, "/bin/a");
	check(&maps, 3, 0x406000, 0x407000, 0xb000, 0, "/bin/a");
	maps_free(&maps);
}

TEST(maps_code_moved_to_huge_pages)
{
	struct maps maps;

	parse(&maps, "400000-410000 r--p 00000000 08:01 5 /bin/node\n"
		     "410000-600000 r-xp 00010000 08:01 5 /bin/node\n"
		     "600000-a00000 r-xp 00000000 00:00 0 \n"
		     "a00000-a20000 r-xp 00600000 08:01 5 /bin/node\n"
		     "a20000-a30000 rwxp 00000000 00:00 0 \n"	     /* fits, but another file follows */
		     "a30000-a40000 r-xp 00630000 08:01 6 /bin/other\n");
	CHECK_INT(maps.n, 3);
	check(&maps, 0, 0x410000, 0xa20000, 0x10000, 0x400000, "/bin/node");
	check(&maps, 1, 0xa20000, 0xa30000, 0, 0, "");
	check(&maps, 2, 0xa30000, 0xa40000, 0x630000, 0, "/bin/other");
	maps_free(&maps);
}

TEST(maps_nonsense_is_left_out)
{
	struct maps maps;

	parse(&maps, "\n\nnonsense\n1000-1000 r-xp 0 0:0 0 /empty\n2000-1000 r-xp 0 0:0 0 /reversed\n"
		     "1000 r-xp\n1000-2000\n1000-2000 r-x\n1000-2000 r-xp 0 0:0 x\n"
		     "11111111111111111111-2 r-xp 0 0:0 0 /wide\n"
		     "3000-4000 r-xp 0 0:0 7 /no newline (deleted) (deleted)");
	CHECK_INT(maps.n, 1);
	check(&maps, 0, 0x3000, 0x4000, 0, 0x3000, "/no newline (deleted)");
	maps_free(&maps);
}

TEST(maps_every_prefix)
{
	budget_set(1 << 24);
	for (size_t n = 0; n < sizeof(usual); n++) {
		struct maps maps;

		CHECK_INT(maps_parse(&maps, guarded_copy(usual, n), n), 0);
		maps_free(&maps);
	}
	CHECK_INT(mem_used(), 0);
}

TEST(maps_of_this_process)
{
	struct maps maps;
	const struct map *own;

	budget_set(1 << 24);
	CHECK_INT(maps_read(&maps), 0);
	own = maps_find(&maps, (uint64_t)(uintptr_t)maps_read);
	CHECK(own);
	CHECK(strstr(own->path, "unit"));
	CHECK(own->image && memcmp((void *)own->image, "\177ELF", 4) == 0);
	maps_free(&maps);
	CHECK_INT(mem_used(), 0);
}
