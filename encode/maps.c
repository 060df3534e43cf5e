/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/maps.h"

#include <errno.h>
#include <string.h>

#include "agent/base/file.h"
#include "agent/base/mem.h"
#include "encode/grow.h"

struct line {
	struct map map;
	bool executable;
	const char *path; /* raw, not NUL-terminated */
	size_t path_len;
};

/* What the parser remembers of the lines before. */
struct parser {
	struct maps *maps;
	struct map first;    /* last piece seen with offset 0: where a file's header is */
	struct map previous; /* the line before; path is "" for anonymous memory */
	struct map pending;  /* anonymous executable piece that may be a moved one */
	bool has_pending;
};

static bool parse_number(const char **at, const char *end, unsigned base, uint64_t *out)
{
	const char *begin = *at;
	uint64_t value = 0;

	for (; *at < end; ++*at) {
		char c = **at;
		unsigned digit = c >= '0' && c <= '9' ? (unsigned)(c - '0') :
				 c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 99;

		if (digit >= base || value > UINT64_MAX / base)
			break;
		value = value * base + digit;
	}
	*out = value;
	return *at > begin;
}

static bool parse_char(const char **at, const char *end, char wanted)
{
	if (*at >= end || **at != wanted)
		return false;
	++*at;
	return true;
}

/* "start-end perms offset major:minor inode   path" */
static bool parse_line(const char *at, const char *end, struct line *out)
{
	uint64_t major, minor;
	struct map *map = &out->map;

	*out = (struct line){ 0 };
	if (!parse_number(&at, end, 16, &map->start) || !parse_char(&at, end, '-') ||
	    !parse_number(&at, end, 16, &map->end) || !parse_char(&at, end, ' ') || end - at < 5)
		return false;
	out->executable = at[2] == 'x';
	at += 4;
	if (!parse_char(&at, end, ' ') || !parse_number(&at, end, 16, &map->offset) ||
	    !parse_char(&at, end, ' ') || !parse_number(&at, end, 16, &major) ||
	    !parse_char(&at, end, ':') || !parse_number(&at, end, 16, &minor) ||
	    !parse_char(&at, end, ' ') || !parse_number(&at, end, 10, &map->inode))
		return false;
	map->major = (uint32_t)major;
	map->minor = (uint32_t)minor;
	while (at < end && *at == ' ')
		at++;
	out->path = at;
	out->path_len = (size_t)(end - at);
	return map->start < map->end;
}

static bool octal(char c)
{
	return c >= '0' && c <= '7';
}

/* The kernel writes a newline in a path as \012. */
static size_t unescape(char *text, size_t len)
{
	size_t used = 0;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\\' && i + 3 < len && octal(text[i + 1]) && octal(text[i + 2]) &&
		    octal(text[i + 3])) {
			text[used++] = (char)((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 |
					      (text[i + 3] - '0'));
			i += 3;
		} else {
			text[used++] = text[i];
		}
	}
	return used;
}

static bool set_path(struct parser *p, struct line *line)
{
	static const char suffix[] = " (deleted)";
	size_t len = line->path_len;
	char *path;

	if (len == 0) {
		line->map.path = "";
		return true;
	}
	path = pool_text(&p->maps->pool, line->path, len);
	if (!path)
		return false;
	if (len > sizeof(suffix) - 1 &&
	    memcmp(path + len - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1) == 0) {
		len -= sizeof(suffix) - 1;
		line->map.deleted = true;
	}
	path[unescape(path, len)] = '\0';
	line->map.path = path;
	return true;
}

static bool same_file(const struct map *a, const struct map *b)
{
	return a->inode && a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}

static bool continues(const struct map *before, const struct map *after)
{
	return before->end == after->start && before->offset + (before->end - before->start) ==
						      after->offset;
}

static bool add(struct parser *p, const struct map *map)
{
	struct maps *maps = p->maps;
	struct map *last = maps->n ? &maps->list[maps->n - 1] : NULL;

	if (last && same_file(last, map) && continues(last, map)) {
		last->end = map->end;
		return true;
	}
	if (!grow_room(&maps->list, &maps->room, maps->n + 1, sizeof(*maps->list)))
		return false;
	maps->list[maps->n++] = *map;
	return true;
}

/* An anonymous executable piece waits for the next line, which says whether it fills a hole. */
static bool settle(struct parser *p, const struct map *next)
{
	struct map as_file = p->pending;

	if (!p->has_pending)
		return true;
	p->has_pending = false;
	if (next && p->previous.inode && same_file(&p->previous, next)) {
		as_file.offset = p->previous.offset + (p->previous.end - p->previous.start);
		as_file.inode = next->inode;
		as_file.major = next->major;
		as_file.minor = next->minor;
		as_file.path = next->path;
		as_file.deleted = next->deleted;
		if (continues(&as_file, next) && p->previous.end == as_file.start) {
			if (same_file(&p->first, next)) {
				as_file.image = p->first.start;
				as_file.image_end = p->first.end;
			}
			return add(p, &as_file);
		}
	}
	return add(p, &p->pending);
}

static bool take(struct parser *p, struct line *line)
{
	struct map *map = &line->map;

	if (!set_path(p, line) || !settle(p, map))
		return false;
	if (map->inode && map->offset == 0)
		p->first = *map;
	if (line->executable && !map->inode && map->path[0] == '\0') {
		p->pending = *map;
		p->has_pending = true;
		return true; /* p->previous stays the piece before the hole */
	}
	p->previous = *map;
	if (!line->executable)
		return true;
	if (same_file(&p->first, map)) {
		map->image = p->first.start;
		map->image_end = p->first.end;
	} else if (strcmp(map->path, "[vdso]") == 0) {
		map->image = map->start;
	}
	return add(p, map);
}

int maps_parse(struct maps *maps, const char *text, size_t size)
{
	struct parser p = { .maps = maps };
	const char *end = text + size;

	*maps = (struct maps){ 0 };
	while (text < end) {
		const char *eol = memchr(text, '\n', (size_t)(end - text));
		struct line line;

		if (!eol)
			eol = end;
		if (parse_line(text, eol, &line) && !take(&p, &line))
			return -ENOMEM;
		text = eol + 1;
	}
	return settle(&p, NULL) ? 0 : -ENOMEM;
}

int maps_read(struct maps *maps)
{
	char *text;
	long n = file_read_all("/proc/thread-self/maps", &text);
	int err;

	*maps = (struct maps){ 0 };
	if (n < 0)
		return (int)n;
	err = maps_parse(maps, text, (size_t)n);
	mem_free(text);
	return err;
}

const struct map *maps_find(const struct maps *maps, uint64_t address)
{
	size_t low = 0, high = maps->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (maps->list[mid].end <= address)
			low = mid + 1;
		else
			high = mid;
	}
	return low < maps->n && maps->list[low].start <= address ? &maps->list[low] : NULL;
}

void maps_free(struct maps *maps)
{
	mem_free(maps->list);
	pool_drop(&maps->pool);
	*maps = (struct maps){ 0 };
}
