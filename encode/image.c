/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/image_work.h"

#include <string.h>

enum { ALIASES_MAX = 64 };

static struct {
	struct image *list;
	uint64_t round; /* counts images_trim */
} self;

/* Reads just enough to tell images apart: the mapped one's build ID. */
static bool same_image(const struct image *image, const struct image_key *key,
		       const struct elf *mapped)
{
	const uint8_t *id = mapped ? mapped->build_id : key->build_id;
	size_t size = mapped ? mapped->build_id_size : key->build_id_size;

	if (!image->keep || strcmp(image->path, key->path) != 0)
		return false;
	if (size || image->own.elf.build_id_size)
		return id && size == image->own.elf.build_id_size &&
		       memcmp(id, image->own.elf.build_id, size) == 0;
	return key->inode && image->inode == key->inode && image->major == key->major &&
	       image->minor == key->minor;
}

struct image *images_get(const struct image_key *key)
{
	struct elf mapped;
	bool is_mapped = key->header && elf_open_memory(&mapped, key->header) == 0;
	struct image **link = &self.list, *image;

	while ((image = *link) && !same_image(image, key, is_mapped ? &mapped : NULL))
		link = &image->next;
	if (is_mapped)
		elf_close(&mapped);
	if (image && !image_file_wake(&image->own)) {
		image->keep = false; /* replaced on disk: still right for those who hold it */
		image = NULL;
	}
	if (!image) {
		image = image_new(key);
		if (!image)
			return NULL;
		image->next = self.list;
		self.list = image;
	}
	image->used = self.round;
	return image;
}

const char *image_build_id(const struct image *image)
{
	return image->build_id;
}

bool image_is_elf(const struct image *image)
{
	return image_elf(image) || image->debug.known;
}

bool image_vaddr(const struct image *image, uint64_t offset, uint64_t *out_vaddr)
{
	const struct elf *elf = image_elf(image);

	return elf && elf_offset_to_vaddr(elf, offset, out_vaddr);
}

/* *out_old: the name has a version that is not the default one. */
static long entry_name(struct image *image, const struct symtab_entry *e, char *buf, size_t size,
		       bool *out_old)
{
	const struct elf_symbols *symbols = &image->sources[e->source];
	struct image_file *file = e->source == SOURCE_DEBUG ? &image->debug : &image->own;
	char *at;
	long n;

	if (image->strings && e->source == SOURCE_DYNSYM) {
		if (e->name >= symbols->strings_size)
			return -1;
		n = (long)strnlen(image->strings + e->name, size - 1);
		memcpy(buf, image->strings + e->name, (size_t)n);
		buf[n] = '\0';
	} else {
		if (!image_file_wake(file))
			return -1;
		n = elf_string(&file->elf, symbols, e->name, buf, size);
	}
	at = n > 0 ? strchr(buf, '@') : NULL; /* version: name@OLD, name@@DEFAULT */
	*out_old = e->old;
	if (at && at > buf) {
		*out_old = at[1] != '@';
		*at = '\0';
		n = at - buf;
	}
	return n;
}

/* The smaller, the more a person would call the function by this name. */
static unsigned awkwardness(const struct symtab_entry *e, const char *name, bool old)
{
	unsigned score = old ? 50 : 0;
	size_t len = strlen(name);

	if (e->binding == STB_LOCAL)
		score += 1000;
	if (e->type == STT_NOTYPE)
		score += 500;
	if (name[0] == '_')
		score += name[1] == '_' ? 200 : name[1] == 'Z' || name[1] == 'R' ? 0 : 100;
	if (strncmp(name, "__GI_", 5) == 0) /* glibc's own aliases */
		score += 150;
	if (len > 5 && strcmp(name + len - 5, "_init") == 0) /* pthread_spin_init is pthread_spin_unlock */
		score += 5;
	if (e->binding == STB_WEAK)
		score += 10;
	return score;
}

/* Local labels of assemblers, and the marks of ARM's. */
static bool is_label(const char *name)
{
	return name[0] == '$' || (name[0] == '.' && name[1] == 'L');
}

/* Picks one of several names of an address. */
static bool best_name(struct image *image, const struct symtab_entry *list, size_t n, char *buf,
		      size_t size)
{
	unsigned best = ~0u, score;
	char other[512];
	bool old;

	if (n == 1)
		return entry_name(image, list, buf, size, &old) > 0 && !is_label(buf);
	for (size_t i = 0; i < n && i < ALIASES_MAX; i++) {
		if (entry_name(image, &list[i], other, sizeof(other), &old) <= 0 || is_label(other))
			continue;
		score = awkwardness(&list[i], other, old);
		if (score > best || (score == best && strcmp(other, buf) >= 0))
			continue;
		if (entry_name(image, &list[i], buf, size, &old) > 0)
			best = score;
	}
	return best != ~0u;
}

static bool find_plt(struct image *image, uint64_t vaddr, char *buf, size_t size,
		     struct image_name *out)
{
	static const char suffix[] = "@plt";
	long n;

	if (!image->own.known || !image->own.elf.n_plts || !image_file_wake(&image->own) ||
	    size <= sizeof(suffix))
		return false;
	n = elf_plt_name(&image->own.elf, vaddr, buf, size - sizeof(suffix) + 1, &out->start);
	if (n <= 0)
		return false;
	memcpy(buf + n, suffix, sizeof(suffix));
	out->named = true;
	return true;
}

static bool find_fde(struct image *image, uint64_t vaddr, uint64_t *out_start, uint64_t *out_end)
{
	if (image->own.known)
		return image_file_wake(&image->own) &&
		       elf_fde(&image->own.elf, vaddr, out_start, out_end);
	return image->is_mapped && elf_fde(&image->mapped, vaddr, out_start, out_end);
}

bool image_find(struct image *image, uint64_t vaddr, char *buf, size_t size,
		struct image_name *out_name)
{
	const struct symtab_entry *first;
	uint64_t start, end;
	bool sure, fde;
	size_t n;

	if (!image->loaded)
		image_load(image);
	n = symtab_find(&image->table, vaddr, &first, &sure);
	if (n && sure && best_name(image, first, n, buf, size)) {
		*out_name = (struct image_name){ image->table.base + first->start, true };
		return true;
	}
	if (find_plt(image, vaddr, buf, size, out_name))
		return true;
	fde = find_fde(image, vaddr, &start, &end);
	/* a label names the code behind it, but not into the next function */
	if (n && !sure && (!fde || start <= image->table.base + first->start) &&
	    best_name(image, first, n, buf, size)) {
		*out_name = (struct image_name){ image->table.base + first->start, true };
		return true;
	}
	if (!fde)
		return false;
	*out_name = (struct image_name){ start, false };
	return true;
}

bool image_source(struct image *image, struct image_source *out)
{
	const struct image_file *own = &image->own, *debug = &image->debug;
	const struct image_file *file;

	if (!image->loaded)
		image_load(image);
	file = own->known ? own : debug;
	if (!file->known)
		return false;
	*out = (struct image_source){
		.path = file->path,
		.other = "",
		.debug = "",
		.dev = file->dev,
		.inode = file->inode,
		.size = file->size,
		.mtime_s = (uint64_t)file->mtime.tv_sec,
		.mtime_ns = (uint64_t)file->mtime.tv_nsec,
	};
	if (own->known) {
		out->other = image->path;
		out->debug = debug->known && debug->elf.debug_info ? debug->path : "";
	}
	out->lines = own->elf.debug_info || (debug->known && debug->elf.debug_info);
	out->names = own->known && own->elf.debugdata.size && !own->elf.symtab.n && !debug->known;
	return out->lines || out->names;
}

const char *image_path(const struct image *image)
{
	return image->path;
}

struct image_luck *image_luck(struct image *image)
{
	return &image->luck;
}

void images_sleep(void)
{
	for (struct image *image = self.list; image; image = image->next) {
		image_file_sleep(&image->own);
		image_file_sleep(&image->debug);
	}
}

void images_trim(void)
{
	struct image **link = &self.list, *image;

	while ((image = *link)) {
		if (image->keep && image->used + 1 >= self.round) {
			link = &image->next;
			continue;
		}
		*link = image->next;
		image_drop(image);
	}
	self.round++;
}

void images_child(void)
{
	self.list = NULL;
}

size_t images_bytes(void)
{
	size_t bytes = 0;

	for (struct image *image = self.list; image; image = image->next)
		bytes += image->table.room * sizeof(*image->table.list);
	return bytes;
}
