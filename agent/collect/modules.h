/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which code is where, over time. A generation number changes whenever code may have been unmapped
 * (dlclose); stacks and the unwinder's cache carry it. Modules that went away leave a tombstone, so
 * that stacks taken before keep their names.
 */
#ifndef COLLECT_MODULES_H
#define COLLECT_MODULES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/attr.h"

struct module_gone {
	struct module_gone *next; /* newest first */
	uint32_t generation;	  /* it was mapped in generations up to this one */
	uint64_t start, end;	  /* of its executable mapping, page-aligned */
	uint64_t offset;	  /* file offset of start */
	uint64_t dev, inode;	  /* of its file, from /proc/self/maps; 0 when unknown */
	uint8_t build_id[32];
	uint32_t build_id_size;
	char path[]; /* as the loader knew it */
};

/* Generation of the code now mapped. Context: signal, hook, agent. */
uint32_t modules_generation(void);

/* dlclose's work around the real call. `before` remembers the modules of the target, `after` makes
 * a new generation if one is gone. Context: hook. */
enum { MODULES_UNKEPT = 64 };
struct modules_watch {
	uint64_t subs;	     /* the loader's count of removals before */
	bool looked;	     /* the modules were remembered, but for those that there was no memory for: */
	uint32_t n_unkept;   /* more than MODULES_UNKEPT: that many and others */
	struct modules_unkept {
		uint64_t start, end;
		bool stays;
	} unkept[MODULES_UNKEPT];
};
void modules_before_close(struct modules_watch *watch);
void modules_after_close(struct modules_watch *watch);

/* All tombstones, newest first. Context: agent. */
const struct module_gone *modules_gone(void);

/* Context: child. */
void modules_child(void);

/* Finds where this library's own code lies; until then nothing is ours. Context: init. */
void modules_find_own(void);

/* True for a PC inside this library: such frames never appear. Context: any. */
extern uintptr_t modules_own_start HIDDEN, modules_own_size HIDDEN; /* written by modules_find_own only */
static inline int modules_is_own(uintptr_t pc)
{
	return pc - modules_own_start < modules_own_size;
}

#endif
