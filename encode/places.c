/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: a mapping's image (encode/image.h) is only looked at when an address of it turns up.
 *
 * Unloaded modules: an address recorded in generation g belonged to the module that went away first
 * at or after g, else to what is mapped now. Tombstones of one place and file share one mapping.
 */
#include "encode/places.h"

#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/sys.h"
#include "agent/collect/modules.h"
#include "encode/clean.h"
#include "encode/image.h"

/* Executable memory that a profile shows as a mapping: files, and what the kernel maps. */
static bool is_place(const struct map *map)
{
	return map->inode || map->path[0] == '/' || strcmp(map->path, "[vdso]") == 0 ||
	       strcmp(map->path, "[vsyscall]") == 0;
}

static bool add_place(struct places *p, const struct map *map)
{
	const char *path = clean_copy(p->texts, map->path);

	if (!path)
		return false;
	p->list[p->n++] = (struct place){
		.mapping = {
			.start = map->start,
			.limit = map->end,
			.offset = map->offset,
			.path = path,
			.build_id = "",
			.last_generation = UINT32_MAX,
		},
		.map = map,
	};
	p->of_map[map - p->maps.list] = (uint32_t)p->n;
	return true;
}

/* Without a piece of its own (code moved to huge pages) the main executable has an empty mapping. */
static bool add_main(struct places *p, uint64_t entry)
{
	const struct map *map = maps_find(&p->maps, entry);
	char path[4096], clean[CLEAN_ROOM(sizeof(path))];
	size_t len;
	long n;

	if (map && is_place(map))
		return add_place(p, map);
	n = sys_readlink("/proc/thread-self/exe", path, sizeof(path));
	if (n < 0 || n == (long)sizeof(path))
		n = 0;
	len = clean_text(clean, path, (size_t)n);
	p->list[p->n++] = (struct place){
		.mapping = {
			.start = map ? map->start : 0,
			.limit = map ? map->end : 0,
			.path = pool_text(p->texts, clean, len),
			.build_id = "",
			.last_generation = UINT32_MAX,
		},
		.looked = true,
	};
	if (map)
		p->of_map[map - p->maps.list] = (uint32_t)p->n;
	return p->list[0].mapping.path != NULL;
}

static bool add_gone(struct places *p)
{
	char hex[2 * sizeof(((struct module_gone *)NULL)->build_id) + 1];

	for (size_t i = 0; i < p->gone.n_places; i++) {
		const struct module_gone *module = p->gone.places[i].module;
		size_t size = module->build_id_size <= sizeof(module->build_id) ?
				      module->build_id_size : 0;
		const char *id, *path = clean_copy(p->texts, module->path);

		hex[0] = '\0';
		for (size_t k = 0; k < size; k++)
			fmt_buf(hex + 2 * k, 3, "%02x", module->build_id[k]);
		id = pool_text(p->texts, hex, strlen(hex));
		if (!id || !path)
			return false;
		p->list[p->n++] = (struct place){
			.mapping = {
				.start = module->start,
				.limit = module->end,
				.offset = module->offset,
				.path = path,
				.build_id = id,
				.first_generation = p->gone.places[i].first,
				.last_generation = p->gone.places[i].last,
			},
			.gone = module,
		};
	}
	return true;
}

bool places_read(struct places *p, const struct symbols_source *source, struct pool *texts)
{
	int err = source->maps ? maps_parse(&p->maps, source->maps, source->maps_size) :
				 maps_read(&p->maps);

	p->texts = texts;
	if (err || !gone_read(&p->gone, source->gone))
		return false;
	p->list = mem_alloc((p->maps.n + p->gone.n_places + 1) * sizeof(*p->list));
	p->of_map = mem_zalloc((p->maps.n + 1) * sizeof(*p->of_map));
	if (!p->list || !p->of_map || !add_main(p, source->entry))
		return false;
	for (size_t i = 0; i < p->maps.n; i++)
		if (!p->of_map[i] && is_place(&p->maps.list[i]) &&
		    !add_place(p, &p->maps.list[i]))
			return false;
	p->n_live = p->n;
	return add_gone(p);
}

void places_free(struct places *p)
{
	maps_free(&p->maps);
	gone_free(&p->gone);
	mem_free(p->list);
	mem_free(p->of_map);
}

long places_at(const struct places *p, uint64_t address, uint32_t generation)
{
	uint32_t gone = gone_find(&p->gone, address, generation);
	const struct map *map;

	if (gone)
		return (long)(p->n_live + gone - 1);
	map = maps_find(&p->maps, address);
	return map ? (long)p->of_map[map - p->maps.list] - 1 : -1;
}

struct image *places_image(struct places *p, struct place *place)
{
	struct image_key key = { 0 };

	if (place->looked)
		return place->image;
	if (place->gone) {
		key.path = key.open_as = place->gone->path;
		key.inode = place->gone->inode;
		key.build_id = place->gone->build_id;
		key.build_id_size = place->mapping.build_id[0] ? place->gone->build_id_size : 0;
	} else {
		key.path = key.open_as = place->map->path;
		key.header = place->map->image;
		key.header_end = place->map->image_end;
		key.inode = place->map->inode;
		key.major = place->map->major;
		key.minor = place->map->minor;
		if (place == &p->list[0])
			key.open_as = "/proc/thread-self/exe";
		else if (place->map->path[0] == '[')
			key.open_as = NULL;
	}
	place->image = images_get(&key);
	place->looked = true;
	if (place->image && !place->gone) {
		const char *id = image_build_id(place->image);
		const char *copy = pool_text(p->texts, id, strlen(id));

		place->mapping.build_id = copy ? copy : "";
	}
	return place->image;
}
