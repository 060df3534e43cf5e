/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/perfmap.h"

#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "encode/grow.h"

enum { READ_SIZE = 24 << 10, LINE_MAX_LEN = 8 << 10 };

struct lines {
	struct perfmap_range *list;
	size_t n, room;
};

static bool hex(const char **at, const char *end, uint64_t *out)
{
	const char *begin = *at;
	uint64_t value = 0;

	if (end - *at > 2 && (*at)[0] == '0' && ((*at)[1] == 'x' || (*at)[1] == 'X'))
		begin = *at += 2;
	for (; *at < end; ++*at) {
		char c = **at;
		unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') :
				 c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 :
				 c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10 : 16;

		if (digit > 15 || value >> 60)
			break;
		value = value << 4 | digit;
	}
	*out = value;
	return *at > begin;
}

/* A line that makes no sense is left out. false: out of memory. */
static bool take_line(struct lines *lines, const char *line, size_t len, uint64_t offset)
{
	const char *at = line, *end = line + len;
	uint64_t start, size;

	if (!hex(&at, end, &start) || at == end || *at++ != ' ' || !hex(&at, end, &size) ||
	    at == end || *at++ != ' ' || at == end || size == 0 || size > UINT64_MAX - start)
		return true;
	if (lines->n >= UINT32_MAX ||
	    !grow_room(&lines->list, &lines->room, lines->n + 1, sizeof(*lines->list)))
		return false;
	lines->list[lines->n] = (struct perfmap_range){
		.start = start,
		.end = start + size,
		.name = offset + (uint64_t)(at - line),
		.line = (uint32_t)lines->n,
		.size = (uint32_t)(end - at),
	};
	lines->n++;
	return true;
}

/* Splits the file into lines; one that does not fit the buffer is cut. */
static int read_lines(struct lines *lines, int fd, char *buf)
{
	uint64_t offset = 0;
	size_t have = 0;
	bool skipping = false, eof = false;

	while (!eof) {
		long n = sys_pread(fd, buf + have, READ_SIZE - have, offset + have);
		size_t begin = 0;
		char *eol;

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		eof = n == 0;
		have += (size_t)n;
		while ((eol = memchr(buf + begin, '\n', have - begin))) {
			size_t len = (size_t)(eol - buf) - begin;

			if (!skipping && !take_line(lines, buf + begin, len, offset + begin))
				return -ENOMEM;
			skipping = false;
			begin += len + 1;
		}
		if (have - begin > LINE_MAX_LEN) {
			if (!skipping && !take_line(lines, buf + begin, LINE_MAX_LEN, offset + begin))
				return -ENOMEM;
			skipping = true;
			begin = have;
		}
		/* an unfinished last line is being written: its end is not known yet */
		memmove(buf, buf + begin, have - begin);
		offset += begin;
		have -= begin;
	}
	return 0;
}

/* Heaps, smallest at the root: order says what is small. */
static bool by_start(const struct perfmap_range *a, const struct perfmap_range *b)
{
	return a->start < b->start || (a->start == b->start && a->line < b->line);
}

static bool by_age(const struct perfmap_range *a, const struct perfmap_range *b)
{
	return a->line > b->line;
}

typedef bool (*less_fn)(const struct perfmap_range *a, const struct perfmap_range *b);

static void sift_down(struct perfmap_range *heap, size_t n, size_t i, less_fn less)
{
	struct perfmap_range e = heap[i];

	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && less(&heap[child + 1], &heap[child]))
			child++;
		if (!less(&heap[child], &e))
			break;
		heap[i] = heap[child];
	}
	heap[i] = e;
}

static void sift_up(struct perfmap_range *heap, size_t i, less_fn less)
{
	struct perfmap_range e = heap[i];

	for (; i > 0 && less(&e, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = e;
}

static bool sorted(const struct perfmap_range *list, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (list[i].start < list[i - 1].end)
			return false;
	return true;
}

static bool emit(struct lines *out, struct perfmap_range e, uint64_t start, uint64_t end)
{
	struct perfmap_range *last = out->n ? &out->list[out->n - 1] : NULL;

	if (start >= end)
		return true;
	if (last && last->line == e.line && last->end == start) {
		last->end = end;
		return true;
	}
	if (!grow_room(&out->list, &out->room, out->n + 1, sizeof(*out->list)))
		return false;
	e.start = start;
	e.end = end;
	out->list[out->n++] = e;
	return true;
}

/*
 * Cuts overlapping ranges so that each address keeps its newest one. A sweep over the starts: `in`
 * is consumed as a heap by start, `open` is a heap of the ranges that reach the sweep line, newest at
 * the root; ranges that have ended are thrown away when they come to its root.
 */
static int flatten(struct lines *in, struct lines *out)
{
	struct lines open = { 0 };
	uint64_t at = 0;
	int err = -ENOMEM;

	for (size_t i = in->n / 2; i-- > 0;)
		sift_down(in->list, in->n, i, by_start);
	while (in->n || open.n) {
		uint64_t next = in->n ? in->list[0].start : UINT64_MAX;

		while (open.n && at < next) {
			uint64_t end = open.list[0].end < next ? open.list[0].end : next;

			if (!emit(out, open.list[0], at, end))
				goto out;
			at = end > at ? end : at;
			if (open.list[0].end > at)
				break;
			open.list[0] = open.list[--open.n];
			if (open.n)
				sift_down(open.list, open.n, 0, by_age);
		}
		/* some may be left that end at the last address, as those before them did */
		if (!in->n)
			break;
		at = next;
		if (!grow_room(&open.list, &open.room, open.n + 1, sizeof(*open.list)))
			goto out;
		open.list[open.n] = in->list[0];
		sift_up(open.list, open.n++, by_age);
		in->list[0] = in->list[--in->n];
		if (in->n)
			sift_down(in->list, in->n, 0, by_start);
	}
	err = 0;
out:
	mem_free(open.list);
	return err;
}

int perfmap_open_file(struct perfmap *map, int fd)
{
	struct lines lines = { 0 }, flat = { 0 };
	char *buf = mem_alloc(READ_SIZE);
	int err = buf ? read_lines(&lines, fd, buf) : -ENOMEM;

	mem_free(buf);
	*map = (struct perfmap){ .fd = fd };
	if (!err && sorted(lines.list, lines.n)) {
		flat = lines;
	} else {
		if (!err)
			err = flatten(&lines, &flat);
		mem_free(lines.list);
	}
	map->list = flat.list;
	map->n = flat.n;
	if (err)
		perfmap_close(map);
	return err;
}

int perfmap_open(struct perfmap *map)
{
	char path[64];
	struct stat st;
	long fd;

	*map = (struct perfmap){ .fd = -1 };
	fmt_buf(path, sizeof(path), "/tmp/perf-%d.map", sys_getpid());
	fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return (int)fd;
	if (sys_fstat((int)fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != sys_geteuid()) {
		sys_close((int)fd);
		return -EPERM;
	}
	return perfmap_open_file(map, (int)fd);
}

long perfmap_find(const struct perfmap *map, uint64_t address, char *buf, size_t size,
		  uint64_t *out_start)
{
	size_t low = 0, high = map->n, len;
	long n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (map->list[mid].end <= address)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == map->n || map->list[low].start > address || size == 0)
		return -1;
	len = map->list[low].size < size - 1 ? map->list[low].size : size - 1;
	n = sys_pread(map->fd, buf, len, map->list[low].name);
	if (n <= 0)
		return -1;
	buf[n] = '\0';
	*out_start = map->list[low].start;
	return (long)strlen(buf);
}

void perfmap_close(struct perfmap *map)
{
	if (map->fd >= 0)
		sys_close(map->fd);
	mem_free(map->list);
	*map = (struct perfmap){ .fd = -1 };
}
