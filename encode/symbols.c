/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: encode/places.h says what lies where; here the functions in it get their names, which are
 * demangled once per function and answer.
 */
#include "encode/symbols.h"

#include <elf.h>
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/frames.h"
#include "agent/collect/modules.h"
#include "encode/clean.h"
#include "encode/demangle.h"
#include "encode/grow.h"
#include "encode/image.h"
#include "encode/perfmap.h"
#include "encode/places.h"
#include "encode/symbols_from.h"

enum { NAME_SIZE = 64 << 10, FIRST_SLOTS = 256 };

/* Where a name came from: names of different kinds may begin at one address. */
enum kind { KIND_SYMBOL, KIND_JIT, KIND_FDE, KIND_LUMP };

/* A function that was named before in this answer. */
struct named {
	uint64_t start; /* run-time address */
	long place;
	enum kind kind;
	const char *name, *linkage;
};

struct symbols {
	struct places places;
	struct perfmap perfmap;
	bool perfmap_looked;
	struct named *slots; /* open addressing, by (place, kind, start) */
	size_t n_slots, n_named;
	struct pool pool;
	struct demangle_text text;
	char *buf; /* NAME_SIZE */
};

static struct {
	unsigned open; /* answers at work: nothing may be trimmed under them */
	bool trim;     /* when the last of them is closed */
} self;

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash[1] ? slash + 1 : path;
}

/* The address where the kernel started the main executable, 0 if it cannot be read. */
static uint64_t main_entry(void)
{
	uint64_t auxv[64][2];
	long n = sys_read_file("/proc/thread-self/auxv", auxv, sizeof(auxv));

	for (long i = 0; i < n / (long)sizeof(auxv[0]); i++)
		if (auxv[i][0] == AT_ENTRY)
			return auxv[i][1];
	return 0;
}

struct symbols *symbols_open_from(const struct symbols_source *source)
{
	struct symbols *s = mem_zalloc(sizeof(*s));

	if (!s)
		return NULL;
	self.open++;
	s->perfmap.fd = -1;
	s->buf = mem_alloc(NAME_SIZE);
	s->n_slots = FIRST_SLOTS;
	s->slots = mem_zalloc(s->n_slots * sizeof(*s->slots));
	if (s->buf && s->slots && places_read(&s->places, source, &s->pool))
		return s;
	symbols_close(s);
	return NULL;
}

struct symbols *symbols_open(void)
{
	struct symbols_source source = { .entry = main_entry(), .gone = modules_gone() };

	return symbols_open_from(&source);
}

void symbols_close(struct symbols *s)
{
	if (!s)
		return;
	images_sleep();
	perfmap_close(&s->perfmap);
	places_free(&s->places);
	pool_drop(&s->pool);
	demangle_free(&s->text);
	mem_free(s->slots);
	mem_free(s->buf);
	mem_free(s);
	if (--self.open == 0 && self.trim) {
		self.trim = false;
		images_trim();
	}
}

void symbols_trim(void)
{
	if (self.open)
		self.trim = true;
	else
		images_trim();
}

void symbols_child(void)
{
	self.open = 0;
	self.trim = false;
	images_child();
}

size_t symbols_mappings(const struct symbols *s)
{
	return s->places.n;
}

bool symbols_any_gone(const struct symbols *s)
{
	return s->places.gone.n_places != 0;
}

uint32_t symbols_gone_at(const struct symbols *s, uint64_t address, uint32_t generation)
{
	return gone_find(&s->places.gone, address, generation);
}

long symbols_mapping_at(const struct symbols *s, uint64_t address, uint32_t generation)
{
	return places_at(&s->places, address, generation);
}

const struct mapping *symbols_mapping(const struct symbols *s, size_t i)
{
	struct place *place = &s->places.list[i];

	/* the build ID is read on the first look */
	places_image((struct places *)(uintptr_t)&s->places, place);
	return &place->mapping;
}

struct image *symbols_image_at(struct symbols *s, uint64_t address, uint32_t generation,
			       uint64_t *out_vaddr)
{
	long index = address < FRAME_MARKS ? -1 : places_at(&s->places, address, generation);
	struct place *place = index >= 0 ? &s->places.list[index] : NULL;
	struct image *image =
		place && (place->map || place->gone) ? places_image(&s->places, place) : NULL;

	return image && image_vaddr(image, address - place->mapping.start + place->mapping.offset,
				    out_vaddr) ? image : NULL;
}

static struct named *slot_of(struct named *slots, size_t n, const struct named *key)
{
	size_t i = grow_hash(key->start + ((uint64_t)key->place << 50) +
			     ((uint64_t)key->kind << 48)) & (n - 1);

	while (slots[i].name && (slots[i].start != key->start || slots[i].place != key->place ||
				 slots[i].kind != key->kind))
		i = (i + 1) & (n - 1);
	return &slots[i];
}

static bool slots_double(struct symbols *s)
{
	size_t n = s->n_slots * 2;
	struct named *slots = mem_zalloc(n * sizeof(*slots));

	if (!slots)
		return false;
	for (size_t i = 0; i < s->n_slots; i++)
		if (s->slots[i].name)
			*slot_of(slots, n, &s->slots[i]) = s->slots[i];
	mem_free(s->slots);
	s->slots = slots;
	s->n_slots = n;
	return true;
}

/* Fills in the names of a new entry from s->buf. */
static bool make_name(struct symbols *s, struct named *named)
{
	named->linkage = clean_copy(&s->pool, s->buf);
	if (named->linkage == s->buf)
		named->linkage = pool_text(&s->pool, s->buf, strlen(s->buf));
	if (!named->linkage)
		return false;
	named->name = named->linkage;
	if (named->kind != KIND_SYMBOL && named->kind != KIND_JIT)
		return true;
	if (!demangle(&s->text, named->linkage))
		return false;
	if (strcmp(s->text.text, named->linkage) != 0)
		named->name = pool_text(&s->pool, s->text.text, s->text.len);
	return named->name != NULL;
}

/* Remembers and hands out the name in s->buf of the function at `start`. */
static bool give(struct symbols *s, long place, enum kind kind, uint64_t start, struct symbol *out)
{
	struct named named = { .start = start, .place = place, .kind = kind }, *slot;

	if (s->n_named * 2 >= s->n_slots && !slots_double(s))
		return false;
	slot = slot_of(s->slots, s->n_slots, &named);
	if (!slot->name) {
		if (!make_name(s, &named))
			return false;
		*slot = named;
		s->n_named++;
	}
	*out = (struct symbol){
		.mapping = place,
		.name = slot->name,
		.linkage = slot->linkage,
		.start = kind == KIND_LUMP ? 0 : start,
		.unnamed = place >= 0 && (kind == KIND_LUMP || kind == KIND_FDE),
	};
	return true;
}

static bool find_jit(struct symbols *s, uint64_t address, uint64_t *out_start)
{
	if (!s->perfmap_looked) {
		s->perfmap_looked = true;
		if (perfmap_open(&s->perfmap) != 0)
			s->perfmap.fd = -1;
	}
	return s->perfmap.fd >= 0 &&
	       perfmap_find(&s->perfmap, address, s->buf, NAME_SIZE, out_start) > 0;
}

/* The three system calls of the fixed page; Linux gives them these places for ever. */
static bool find_vsyscall(struct symbols *s, long place, uint64_t address, struct symbol *out)
{
	static const char *const names[] = { "gettimeofday", "time", "getcpu" };
	uint64_t in = address - s->places.list[place].mapping.start;

	fmt_buf(s->buf, NAME_SIZE, "%s", in / 1024 < 3 ? names[in / 1024] : "[vsyscall]");
	return give(s, place, KIND_SYMBOL, address - in % 1024, out);
}

/* Code outside of any file, or which its file does not name. */
static bool find_elsewhere(struct symbols *s, long place, uint64_t address, struct symbol *out)
{
	const struct map *map = place < 0 ? maps_find(&s->places.maps, address) : NULL;
	uint64_t start;

	if (find_jit(s, address, &start))
		return give(s, place, KIND_JIT, start, out);
	if (place >= 0) /* a file that is no ELF image: memory of a JIT compiler */
		fmt_buf(s->buf, NAME_SIZE, "[%s]", base_name(s->places.list[place].mapping.path));
	else
		fmt_buf(s->buf, NAME_SIZE, "%s", !map ? "[unmapped]" : map->path[0] ? map->path :
										  "[anon]");
	return give(s, place, KIND_LUMP, map ? map->start : 0, out);
}

static bool find_in_image(struct symbols *s, long index, uint64_t address, struct symbol *out)
{
	struct place *place = &s->places.list[index];
	struct image *image = places_image(&s->places, place);
	const char *base = base_name(place->mapping.path);
	struct image_name found;
	uint64_t vaddr, start;

	if (!image)
		return false;
	if (!image_vaddr(image, address - place->mapping.start + place->mapping.offset, &vaddr)) {
		if (!image_is_elf(image))
			return find_elsewhere(s, index, address, out);
		vaddr = address - place->mapping.start + place->mapping.offset;
		found.start = 0;
	} else if (image_find(image, vaddr, s->buf, NAME_SIZE, &found)) {
		/* empty: the file's table of names could not be read */
		if (found.named && s->buf[0])
			return give(s, index, KIND_SYMBOL, address - (vaddr - found.start),
				    out);
	} else {
		found.start = 0;
	}
	if (find_jit(s, address, &start))
		return give(s, index, KIND_JIT, start, out);
	if (found.start) {
		fmt_buf(s->buf, NAME_SIZE, "%s@0x%lx", base, (unsigned long)found.start);
		return give(s, index, KIND_FDE, address - (vaddr - found.start), out);
	}
	fmt_buf(s->buf, NAME_SIZE, "%s+0x%lx", base, (unsigned long)vaddr);
	return give(s, index, KIND_LUMP, address, out);
}

bool symbols_find(struct symbols *s, uint64_t address, uint32_t generation, struct symbol *out)
{
	const char *mark = address < FRAME_MARKS ? frame_mark_name((uintptr_t)address) : NULL;
	long place;

	if (mark) {
		*out = (struct symbol){ .mapping = -1, .name = mark, .linkage = mark };
		return true;
	}
	place = places_at(&s->places, address, generation);
	if (place < 0 || !s->places.list[place].mapping.path[0])
		return find_elsewhere(s, place, address, out);
	if (strcmp(s->places.list[place].mapping.path, "[vsyscall]") == 0)
		return find_vsyscall(s, place, address, out);
	if (!s->places.list[place].map && !s->places.list[place].gone)
		return find_elsewhere(s, place, address, out);
	return find_in_image(s, place, address, out);
}
