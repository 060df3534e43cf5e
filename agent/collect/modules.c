/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: dlclose is rare, and most calls unload nothing. Before the real call the loader's count of
 * removals and the list of modules are read (dl_iterate_phdr: the caller is about to take the same
 * lock anyway); if the count rose, the modules that are gone become tombstones and a new generation
 * begins. Unloads inside libc (iconv, NSS) do not pass here: their names may be lost, never mixed up,
 * because encode/ compares build IDs.
 */
#include "agent/collect/modules.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "agent/base/arena.h"
#include "agent/base/attr.h"
#include "agent/base/spin.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/unloads.h"

static struct {
	_Atomic uint32_t generation;
	struct spin lock;
	_Atomic(struct module_gone *) gone;
	struct arena arena;
} self;

uintptr_t modules_own_start, modules_own_size;

/* From the linker: the ELF header at the beginning of this library's image. */
extern const char __ehdr_start[] HIDDEN;

void modules_find_own(void)
{
	const ElfW(Ehdr) *header = (const void *)__ehdr_start;
	const ElfW(Phdr) *p = (const void *)(__ehdr_start + header->e_phoff);

	for (int i = 0; i < header->e_phnum; i++, p++) {
		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		modules_own_start = (uintptr_t)__ehdr_start + p->p_vaddr;
		modules_own_size = p->p_memsz;
	}
}

uint32_t modules_generation(void)
{
	return atomic_load_explicit(&self.generation, memory_order_acquire);
}

const struct module_gone *modules_gone(void)
{
	return atomic_load_explicit(&self.gone, memory_order_acquire);
}

static const struct module_gone *known(const struct module_gone *list, uint64_t start, const char *path)
{
	for (; list; list = list->next)
		if (list->start == start && !strcmp(list->path, path))
			return list;
	return NULL;
}

/* NT_GNU_BUILD_ID of a module that is mapped and stays so while the loader's lock is held. */
static void read_build_id(const struct dl_phdr_info *info, const ElfW(Phdr) * note,
			  struct module_gone *out)
{
	const char *at = (const char *)(info->dlpi_addr + note->p_vaddr);
	const char *end = at + note->p_memsz;
	size_t align = note->p_align == 8 ? 8 : 4;

	while (at + sizeof(ElfW(Nhdr)) <= end) {
		const ElfW(Nhdr) *n = (const void *)at;
		const char *name = at + sizeof(*n);
		const char *desc = name + ALIGN_UP((size_t)n->n_namesz, align);

		if (desc + n->n_descsz > end)
			return;
		if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && !memcmp(name, "GNU", 4) &&
		    n->n_descsz <= sizeof(out->build_id)) {
			memcpy(out->build_id, desc, n->n_descsz);
			out->build_id_size = n->n_descsz;
			return;
		}
		at = desc + ALIGN_UP((size_t)n->n_descsz, align);
	}
}

/* Remembers what is mapped now, in the form of a tombstone-to-be; one allocation per module and
 * life: what is still there after the close is linked into `candidates` again next time. */
static struct module_gone *candidates; /* self.lock */
static struct module_gone *spare;      /* self.lock: records to use again */

static struct module_gone *new_record(size_t path_size)
{
	for (struct module_gone **link = &spare; *link; link = &(*link)->next) {
		struct module_gone *made = *link;

		if (strlen(made->path) + 1 != path_size)
			continue;
		*link = made->next;
		memset(made, 0, sizeof(*made));
		return made;
	}
	return arena_alloc(&self.arena, sizeof(struct module_gone) + path_size);
}

static const ElfW(Phdr) *text_of(const struct dl_phdr_info *info)
{
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD && (info->dlpi_phdr[i].p_flags & PF_X))
			return &info->dlpi_phdr[i];
	return NULL;
}

static uint64_t start_of(const struct dl_phdr_info *info, const ElfW(Phdr) *text)
{
	return ALIGN_DOWN(info->dlpi_addr + text->p_vaddr, (uint64_t)4096);
}

static uint64_t end_of(const struct dl_phdr_info *info, const ElfW(Phdr) *text)
{
	return ALIGN_UP(info->dlpi_addr + text->p_vaddr + text->p_memsz, (uint64_t)4096);
}

static int remember(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct modules_watch *watch = arg;
	const ElfW(Phdr) *text = text_of(info), *note = NULL;
	struct module_gone *made;
	uint64_t start, end;
	size_t path_size;

	if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof(info->dlpi_subs))
		watch->subs = info->dlpi_subs;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type == PT_NOTE && (!note || note->p_align == 8))
			note = p;
	}
	if (!text || !info->dlpi_name[0])
		return 0;
	start = start_of(info, text);
	end = end_of(info, text);
	if (known(candidates, start, info->dlpi_name))
		return 0;
	path_size = strlen(info->dlpi_name) + 1;
	made = new_record(path_size);
	if (!made) {
		if (watch->n_unkept < MODULES_UNKEPT)
			watch->unkept[watch->n_unkept] = (struct modules_unkept){ start, end, false };
		watch->n_unkept++;
		return 0;
	}
	made->start = start;
	made->end = end;
	made->offset = ALIGN_DOWN(text->p_offset, (uint64_t)4096);
	memcpy(made->path, info->dlpi_name, path_size);
	if (note)
		read_build_id(info, note, made);
	made->next = candidates;
	candidates = made;
	return 0;
}

static int count_subs(struct dl_phdr_info *info, size_t size, void *arg)
{
	if (size >= offsetof(struct dl_phdr_info, dlpi_subs) + sizeof(info->dlpi_subs))
		*(uint64_t *)arg = info->dlpi_subs;
	return 1;
}

struct still_there {
	struct module_gone *kept;
	struct modules_watch *watch;
};

static int keep_present(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct still_there *there = arg;
	struct module_gone **link = &candidates;
	const ElfW(Phdr) *text = text_of(info);

	for (uint32_t i = 0; text && i < there->watch->n_unkept && i < MODULES_UNKEPT; i++)
		there->watch->unkept[i].stays |= there->watch->unkept[i].start == start_of(info, text) &&
						 there->watch->unkept[i].end == end_of(info, text);
	for (; *link; link = &(*link)->next) {
		struct module_gone *c = *link;

		if (strcmp(c->path, info->dlpi_name) != 0 || c->start < info->dlpi_addr)
			continue;
		*link = c->next;
		c->next = there->kept;
		there->kept = c;
		break;
	}
	return 0;
}

/* A module that comes and goes at one place, with nothing else there in between, keeps one tombstone
 * whose generation rises: a plug-in loaded in a loop must not fill the memory. One that no stack has an address
 * of leaves none at all. */
static void bury(struct module_gone *dead, uint32_t generation)
{
	struct module_gone *g = atomic_load_explicit(&self.gone, memory_order_relaxed);

	if (!unloads_note(dead->start, dead->end, generation + 1)) {
		dead->next = spare;
		spare = dead;
		return;
	}
	dead->generation = generation;
	while (g && (g->end <= dead->start || g->start >= dead->end))
		g = g->next;
	if (g && g->start == dead->start && g->end == dead->end && !strcmp(g->path, dead->path) &&
	    g->build_id_size == dead->build_id_size &&
	    !memcmp(g->build_id, dead->build_id, g->build_id_size)) {
		__atomic_store_n(&g->generation, generation, __ATOMIC_RELAXED);
		dead->next = spare;
		spare = dead;
		return;
	}
	dead->next = atomic_load_explicit(&self.gone, memory_order_relaxed);
	atomic_store_explicit(&self.gone, dead, memory_order_release);
}

/* Those for which there was no memory: nobody will know who lay there, only that it is not who lies there then. */
static void forget_gone(const struct modules_watch *watch, uint32_t next)
{
	bool missed = !watch->looked || watch->n_unkept > MODULES_UNKEPT;

	if (missed)
		unloads_note_all(next);
	for (uint32_t i = 0; i < watch->n_unkept && i < MODULES_UNKEPT; i++) {
		const struct modules_unkept *m = &watch->unkept[i];

		missed |= !m->stays && unloads_note(m->start, m->end, next);
	}
	if (missed)
		stat_add(STAT_UNLOADS_UNNAMED, 1);
}

/* The lock is only tried: another dlclose in another thread, or a fork in between, must not make us
 * wait inside the loader. Then this close leaves no tombstones of its own. */
void modules_before_close(struct modules_watch *watch)
{
	watch->subs = 0;
	watch->n_unkept = 0;
	dl_iterate_phdr(count_subs, &watch->subs);
	watch->looked = spin_try(&self.lock);
	if (!watch->looked)
		return;
	dl_iterate_phdr(remember, watch);
	spin_unlock(&self.lock);
}

void modules_after_close(struct modules_watch *watch)
{
	struct still_there there = { NULL, watch };
	uint64_t subs = 0;
	uint32_t generation;

	dl_iterate_phdr(count_subs, &subs);
	if (subs == watch->subs)
		return;
	/* What is noted is noted before the new generation begins: no stack of code that takes the place is of an
	 * earlier one. */
	if (!spin_try(&self.lock)) {
		unloads_note_all(modules_generation() + 1);
		stat_add(STAT_UNLOADS_UNNAMED, 1);
		atomic_fetch_add_explicit(&self.generation, 1, memory_order_acq_rel);
		return;
	}
	generation = modules_generation();
	dl_iterate_phdr(keep_present, &there);
	while (candidates) {
		struct module_gone *dead = candidates;

		candidates = dead->next;
		bury(dead, generation);
	}
	candidates = there.kept;
	forget_gone(watch, generation + 1);
	atomic_fetch_add_explicit(&self.generation, 1, memory_order_acq_rel);
	spin_unlock(&self.lock);
}

void modules_child(void)
{
	spin_reset(&self.lock);
	unloads_child();
}
