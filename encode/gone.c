/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: rows sorted by (start, end, generation) fall into groups of one range. A query walks the
 * groups that can contain the address (each row knows the highest end of all groups up to its own,
 * which ends the walk) and takes, over all groups, the lowest generation that is not below its own.
 */
#include "encode/gone.h"

#include <string.h>

#include "agent/base/mem.h"
#include "agent/collect/modules.h"

struct gone_row {
	const struct module_gone *module;
	uint64_t reach;	 /* highest end of the rows up to this one */
	uint32_t group;	 /* number of the first row with this range */
	uint32_t place;	 /* number of its place (index + 1) */
};

static int compare_range(const struct module_gone *a, const struct module_gone *b)
{
	if (a->start != b->start)
		return a->start < b->start ? -1 : 1;
	if (a->end != b->end)
		return a->end < b->end ? -1 : 1;
	return 0;
}

static bool before(const struct gone_row *a, const struct gone_row *b)
{
	int order = compare_range(a->module, b->module);

	return order ? order < 0 : a->module->generation < b->module->generation;
}

static void sift_down(struct gone_row *rows, size_t n, size_t i)
{
	struct gone_row row = rows[i];

	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && before(&rows[child], &rows[child + 1]))
			child++;
		if (!before(&row, &rows[child]))
			break;
		rows[i] = rows[child];
	}
	rows[i] = row;
}

static void heap_sort(struct gone_row *rows, size_t n)
{
	for (size_t i = n / 2; i-- > 0;)
		sift_down(rows, n, i);
	for (size_t i = n; i-- > 1;) {
		struct gone_row row = rows[0];

		rows[0] = rows[i];
		rows[i] = row;
		sift_down(rows, i, 0);
	}
}

static bool same_file(const struct module_gone *a, const struct module_gone *b)
{
	return a->offset == b->offset && a->inode == b->inode && a->dev == b->dev &&
	       a->build_id_size == b->build_id_size &&
	       memcmp(a->build_id, b->build_id, sizeof(a->build_id)) == 0 &&
	       strcmp(a->path, b->path) == 0;
}

/* The place of a row: that of an earlier row of its group with the same file, or a new one. Few
 * files ever lie at exactly one range, so the places of a group are walked. */
static uint32_t place_of(struct gone *gone, const struct gone_row *row, size_t first_place)
{
	const struct module_gone *module = row->module;

	for (size_t i = first_place; i < gone->n_places; i++) {
		if (same_file(gone->places[i].module, module)) {
			gone->places[i].last = module->generation;
			return (uint32_t)i + 1;
		}
	}
	gone->places[gone->n_places++] =
		(struct gone_place){ module, module->generation, module->generation };
	return (uint32_t)gone->n_places;
}

bool gone_read(struct gone *gone, const struct module_gone *list)
{
	size_t n = 0, first_place = 0;
	uint64_t reach = 0;

	*gone = (struct gone){ .low = UINT64_MAX };
	for (const struct module_gone *m = list; m; m = m->next)
		n++;
	if (n == 0)
		return true;
	gone->rows = mem_alloc(n * sizeof(*gone->rows));
	gone->places = mem_alloc(n * sizeof(*gone->places));
	if (!gone->rows || !gone->places)
		return false;
	for (const struct module_gone *m = list; m && gone->n < n; m = m->next)
		gone->rows[gone->n++] = (struct gone_row){ .module = m };
	heap_sort(gone->rows, n);
	for (size_t i = 0; i < n; i++) {
		struct gone_row *row = &gone->rows[i];

		row->group = (uint32_t)i;
		if (i > 0 && compare_range(row->module, row[-1].module) == 0)
			row->group = row[-1].group;
		else
			first_place = gone->n_places;
		row->place = place_of(gone, row, first_place);
		reach = row->module->end > reach ? row->module->end : reach;
		row->reach = reach;
		if (row->module->start < gone->low)
			gone->low = row->module->start;
		if (row->module->generation > gone->last_generation)
			gone->last_generation = row->module->generation;
	}
	gone->high = reach;
	return true;
}

/* The row in [first, end) with the lowest generation that is not below the wanted one, or NULL. */
static const struct gone_row *in_group(const struct gone *gone, size_t first, size_t end,
				       uint32_t generation)
{
	size_t low = first, high = end;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (gone->rows[mid].module->generation < generation)
			low = mid + 1;
		else
			high = mid;
	}
	return low < end ? &gone->rows[low] : NULL;
}

uint32_t gone_find(const struct gone *gone, uint64_t address, uint32_t generation)
{
	const struct gone_row *best = NULL, *row;
	size_t low = 0, high = gone->n;

	if (address < gone->low || address >= gone->high || generation > gone->last_generation)
		return 0;
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (gone->rows[mid].module->start <= address)
			low = mid + 1;
		else
			high = mid;
	}
	while (low > 0 && gone->rows[low - 1].reach > address) {
		size_t first = gone->rows[low - 1].group;

		if (gone->rows[first].module->end > address) {
			row = in_group(gone, first, low, generation);
			if (row && (!best || row->module->generation < best->module->generation))
				best = row;
		}
		low = first;
	}
	return best ? best->place : 0;
}

void gone_free(struct gone *gone)
{
	mem_free(gone->rows);
	mem_free(gone->places);
	*gone = (struct gone){ 0 };
}
