/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: size classes in powers of two with a half step (48, 64, 96, 128 ...), each with a free
 * list, cut from 64 KiB slabs; above 32 KiB straight from the kernel, and given back to it at once.
 * Slabs are kept for reuse: they are bounded by the largest set of small blocks ever alive.
 */
#include "agent/base/mem.h"

#include <stdint.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/budget.h"
#include "agent/base/spin.h"

enum { SLAB = 64 << 10, SMALL_MAX = 32 << 10, CLASSES = 24 };

struct block {
	size_t size; /* whole block, header included */
	size_t pad;
	union {
		char data[1];
		struct block *next;
	};
};
enum { HEADER = offsetof(struct block, data) };

static struct {
	struct spin lock;
	struct block *free[CLASSES]; /* lock */
	char *slab;		     /* lock: the slab being cut */
	size_t slab_left;	     /* lock */
	size_t used;		     /* lock: in live blocks */
	size_t mapped;		     /* lock: taken from the budget */
} self;

/* 32, 48, 64, 96, 128 ... : class 2k is 32 << k, class 2k + 1 is 48 << k. */
static size_t class_size(unsigned c)
{
	return (c & 1 ? (size_t)48 : (size_t)32) << (c / 2);
}

static unsigned class_of(size_t size)
{
	unsigned c = 0;

	while (class_size(c) < size)
		c++;
	return c;
}

static struct block *small_take(unsigned c)
{
	size_t size = class_size(c);
	struct block *b = self.free[c];

	if (b) {
		self.free[c] = b->next;
		return b;
	}
	if (self.slab_left < size) {
		char *fresh = budget_map(SLAB);

		if (!fresh)
			return NULL;
		self.mapped += SLAB;
		/* the old slab's rest is lost: at most one block of the class asked for */
		self.slab = fresh;
		self.slab_left = SLAB;
	}
	b = (struct block *)self.slab;
	self.slab += size;
	self.slab_left -= size;
	b->size = size;
	return b;
}

void *mem_alloc(size_t size)
{
	struct block *b;

	if (size > SIZE_MAX / 2)
		return NULL;
	size += HEADER;
	spin_lock(&self.lock);
	if (size <= SMALL_MAX) {
		b = small_take(class_of(size));
	} else {
		size = ALIGN_UP(size, (size_t)4096);
		b = budget_map(size);
		if (b) {
			b->size = size;
			self.mapped += size;
		}
	}
	if (b)
		self.used += b->size;
	spin_unlock(&self.lock);
	return b ? b->data : NULL;
}

void *mem_zalloc(size_t size)
{
	void *p = mem_alloc(size);

	if (p)
		memset(p, 0, size);
	return p;
}

void mem_free(void *ptr)
{
	struct block *b;

	if (!ptr)
		return;
	b = (struct block *)((char *)ptr - HEADER);
	spin_lock(&self.lock);
	self.used -= b->size;
	if (b->size <= SMALL_MAX) {
		unsigned c = class_of(b->size);

		b->next = self.free[c];
		self.free[c] = b;
	} else {
		self.mapped -= b->size;
		budget_unmap(b, b->size);
	}
	spin_unlock(&self.lock);
}

void *mem_realloc(void *ptr, size_t size)
{
	struct block *b;
	void *fresh;

	if (!ptr)
		return mem_alloc(size);
	b = (struct block *)((char *)ptr - HEADER);
	if (size + HEADER <= b->size)
		return ptr;
	fresh = mem_alloc(size);
	if (!fresh)
		return NULL;
	memcpy(fresh, ptr, b->size - HEADER);
	mem_free(ptr);
	return fresh;
}

char *mem_strdup(const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = mem_alloc(size);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

size_t mem_used(void)
{
	return self.used;
}

void mem_child(void)
{
	budget_give(self.mapped);
	memset(&self, 0, sizeof(self));
}
