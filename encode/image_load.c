/* SPDX-License-Identifier: Apache-2.0 */
/* Which files an image is read from: its own, which must be the one that is mapped, and a debug file. */
#include <errno.h>
#include <string.h>

#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "encode/image_work.h"

enum { PATH_MAX_LEN = 4096 };

const struct elf *image_elf(const struct image *image)
{
	return image->own.known ? &image->own.elf : image->is_mapped ? &image->mapped : NULL;
}

static bool same_loads(const struct elf *a, const struct elf *b)
{
	return a->type == b->type && a->n_loads == b->n_loads &&
	       memcmp(a->loads, b->loads, a->n_loads * sizeof(*a->loads)) == 0;
}

/* Is this file what is (or was) mapped? */
static bool believable(const struct image *image, const struct image_file *file,
		       const struct image_key *key)
{
	const uint8_t *id = image->is_mapped ? image->mapped.build_id : key->build_id;
	size_t size = image->is_mapped ? image->mapped.build_id_size : key->build_id_size;

	if (size || file->elf.build_id_size)
		return size == file->elf.build_id_size && (size == 0 || !id ||
		       memcmp(id, file->elf.build_id, size) == 0);
	if (!key->inode || key->inode != file->inode)
		return false;
	return !image->is_mapped || same_loads(&image->mapped, &file->elf);
}

static bool same_build_id(const struct image *image, const struct elf *elf)
{
	char hex[2 * ELF_BUILD_ID_MAX + 1];

	for (size_t i = 0; i < elf->build_id_size; i++)
		fmt_buf(hex + 2 * i, 3, "%02x", elf->build_id[i]);
	hex[2 * elf->build_id_size] = '\0';
	return image->build_id[0] && strcmp(hex, image->build_id) == 0;
}

static bool try_debug(struct image *image, const char *path, bool has_crc, uint32_t crc)
{
	struct image_file *file = &image->debug;

	if (image_file_open(file, path) != 0)
		return false;
	if (file->elf.symtab.n &&
	    (image->build_id[0] ? same_build_id(image, &file->elf) :
				  has_crc && image_file_has_crc(file, crc)))
		return true;
	image_file_close(file);
	return false;
}

static bool find_debug_file(struct image *image)
{
	const char *path = image->path;
	char buf[PATH_MAX_LEN], name[256];
	const char *slash = strrchr(path, '/');
	int dir = slash ? (int)(slash - path) : 0;
	uint32_t crc;

	if (image->build_id[0] && image->build_id[2]) {
		fmt_buf(buf, sizeof(buf), "/usr/lib/debug/.build-id/%.2s/%s.debug", image->build_id,
			image->build_id + 2);
		if (try_debug(image, buf, false, 0))
			return true;
	}
	if (!image->own.known || !slash ||
	    !elf_debuglink(&image->own.elf, name, sizeof(name), &crc))
		return false;
	fmt_buf(buf, sizeof(buf), "%.*s/%s", dir, path, name);
	if (strcmp(buf, path) != 0 && try_debug(image, buf, true, crc))
		return true;
	fmt_buf(buf, sizeof(buf), "%.*s/.debug/%s", dir, path, name);
	if (try_debug(image, buf, true, crc))
		return true;
	fmt_buf(buf, sizeof(buf), "/usr/lib/debug%.*s/%s", dir, path, name);
	return try_debug(image, buf, true, crc);
}

/* Reads the strings of a mapped image while it is surely mapped. */
static int copy_strings(struct image *image)
{
	const struct elf_symbols *symbols = &image->mapped.dynsym;

	if (!symbols->n || symbols->strings_size > 64 << 20)
		return 0;
	image->strings = mem_alloc(symbols->strings_size + 1);
	if (!image->strings)
		return -ENOMEM;
	if (!elf_read(&image->mapped, symbols->strings, image->strings, symbols->strings_size))
		memset(image->strings, 0, symbols->strings_size);
	image->strings[symbols->strings_size] = '\0';
	return 0;
}

static void set_base(struct image *image)
{
	const struct elf *elf = image_elf(image) ? image_elf(image) : &image->debug.elf;
	uint64_t base = UINT64_MAX;

	for (size_t i = 0; i < elf->n_loads; i++)
		if (elf->loads[i].vaddr < base)
			base = elf->loads[i].vaddr;
	image->table.base = elf->n_loads ? base : 0;
}

static int add_source(struct image *image, enum source source, const struct elf *elf,
		      const struct elf_symbols *symbols)
{
	int err;

	if (!symbols->n)
		return 0;
	image->sources[source] = *symbols;
	err = symtab_add(&image->table, elf, symbols, (uint8_t)source);
	return err == -ENOMEM ? err : 0; /* what a broken table gives up to its end is good */
}

void image_load(struct image *image)
{
	int err = 0;

	image->loaded = true;
	find_debug_file(image);
	set_base(image);
	if (image->debug.known)
		err = add_source(image, SOURCE_DEBUG, &image->debug.elf, &image->debug.elf.symtab);
	else if (image->own.known && image->own.elf.symtab.n)
		err = add_source(image, SOURCE_SYMTAB, &image->own.elf, &image->own.elf.symtab);
	if (!err && !image->table.n && image_elf(image))
		err = add_source(image, SOURCE_DYNSYM, image_elf(image), &image_elf(image)->dynsym);
	if (!err && !image->own.known && image->is_mapped)
		err = copy_strings(image);
	if (!err) {
		symtab_finish(&image->table);
	} else {
		symtab_free(&image->table); /* half a table gives wrong names */
		stat_add(STAT_SYMBOLS_NO_MEMORY, 1);
		image->keep = false; /* the next answer may have better luck */
	}
}

static void set_build_id(struct image *image, const struct image_key *key)
{
	const struct elf *elf = image_elf(image);
	const uint8_t *id = elf ? elf->build_id : key->build_id;
	size_t size = elf ? elf->build_id_size : key->build_id_size;

	if (!id || size > ELF_BUILD_ID_MAX)
		return;
	for (size_t i = 0; i < size; i++)
		fmt_buf(image->build_id + 2 * i, 3, "%02x", id[i]);
}

void image_drop(struct image *image)
{
	image_file_close(&image->own);
	image_file_close(&image->debug);
	if (image->is_mapped)
		elf_close(&image->mapped);
	symtab_free(&image->table);
	mem_free(image->strings);
	mem_free(image->path);
	mem_free(image);
}

/* The file by one of its names, if it is the right one. 0 or -ENOMEM. */
static int try_own(struct image *image, const char *path, const struct image_key *key)
{
	int err = image_file_open(&image->own, path);

	if (!err && !believable(image, &image->own, key))
		image_file_close(&image->own);
	return err == -ENOMEM ? err : 0;
}

static int open_own(struct image *image, const struct image_key *key)
{
	char path[64];
	int err = key->open_as ? try_own(image, key->open_as, key) : 0;

	if (err || image->own.known || !image->is_mapped || !key->header_end)
		return err;
	fmt_buf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", key->header, key->header_end);
	return try_own(image, path, key);
}

struct image *image_new(const struct image_key *key)
{
	struct image *image = mem_zalloc(sizeof(*image));
	int err = 0;

	if (!image)
		return NULL;
	image->own.elf.fd = image->debug.elf.fd = -1;
	image->path = mem_strdup(key->path);
	image->inode = key->inode;
	image->major = key->major;
	image->minor = key->minor;
	if (!image->path)
		err = -ENOMEM;
	else if (key->header)
		image->is_mapped = elf_open_memory(&image->mapped, key->header) == 0;
	if (!err)
		err = open_own(image, key);
	if (err) {
		image_drop(image);
		return NULL;
	}
	set_build_id(image, key);
	image->keep = image->own.known;
	if (image->own.known && image->is_mapped) {
		elf_close(&image->mapped); /* the file says the same, and says it for ever */
		image->is_mapped = false;
	}
	return image;
}
