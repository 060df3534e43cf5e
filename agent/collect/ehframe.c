/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the call frame information of a PC: the object, the search table, the FDE and its CIE. Every
 * byte is read through a cursor that knows its end: a malformed table gives EH_BAD, never a read beyond
 * the object.
 *
 * Context: signal, hook, agent.
 */
#include "agent/collect/ehframe.h"

#include <dlfcn.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/collect/ehcursor.h"

/* glibc 2.35 and later: lock-free, callable in a signal handler. Weak: musl has none. */
extern __typeof__(_dl_find_object) _dl_find_object __attribute__((weak));

enum { PROGRAM_MAX = 1 << 20 };

bool eh_object_at(uintptr_t pc, struct eh_object *out_object)
{
	struct dl_find_object found;

	if (!_dl_find_object || _dl_find_object((void *)pc, &found) != 0)
		return false;
	out_object->start = (uintptr_t)found.dlfo_map_start;
	out_object->end = (uintptr_t)found.dlfo_map_end;
	out_object->hdr = found.dlfo_eh_frame;
	/* Of a program with holes between its segments glibc gives only the segment of the PC. Then the
	 * extent of the tables is not known, only that they are as the linker wrote them. */
	if ((uintptr_t)out_object->hdr - out_object->start >= out_object->end - out_object->start) {
		out_object->start = 0;
		out_object->end = UINTPTR_MAX;
	}
	return true;
}

static inline bool inside(const struct eh_object *object, uintptr_t at, size_t size)
{
	return at >= object->start && at < object->end && object->end - at >= size;
}

struct search_row {
	int32_t start; /* both relative to .eh_frame_hdr */
	int32_t fde;
};

/* Address of the FDE whose code starts at or before pc and nearest to it; 0 if there is none. */
static uintptr_t search(const struct eh_object *object, uintptr_t pc)
{
	uintptr_t base = (uintptr_t)object->hdr;
	const struct search_row *rows;
	uint32_t low = 0, n;
	intptr_t wanted = (intptr_t)(pc - base);

	if (!base || (base & 3) || !inside(object, base, 12))
		return 0;
	if (object->hdr[0] != 1 || object->hdr[2] != PE_UDATA4 || object->hdr[3] != PE_TABLE ||
	    ((object->hdr[1] & 7) != PE_UDATA4))
		return 0;
	memcpy(&n, object->hdr + 8, sizeof(n));
	if (n == 0 || n > (object->end - base - 12) / sizeof(*rows))
		return 0;
	rows = (const struct search_row *)(object->hdr + 12);
	if (wanted < rows[0].start)
		return 0;
	/* Branch-free halving: the answer is in [low, low + n). */
	while (n > 1) {
		uint32_t half = n / 2;

		low = rows[low + half].start <= wanted ? low + half : low;
		n -= half;
	}
	return base + (uintptr_t)(intptr_t)rows[low].fde;
}

/* Bounds of the entry (CIE or FDE) at `at`: a cursor behind its length field. */
static bool entry_open(const struct eh_object *object, uintptr_t at, struct cursor *out)
{
	uint64_t size;

	if (!inside(object, at, 8))
		return false;
	out->at = (const uint8_t *)at;
	out->end = (const uint8_t *)object->end;
	out->bad = false;
	size = take_u32(out);
	if (size == 0xffffffffu)
		size = take_u64(out);
	if (out->bad || size < 4 || size > left(out))
		return false;
	out->end = out->at + size;
	return true;
}

static bool parse_augmentation(struct cursor *c, const char *text, struct eh_fde *fde)
{
	struct cursor data = {.at = c->at, .end = c->end};
	uint64_t size = take_uleb(&data);

	if (data.bad || size > left(&data))
		return false;
	data.end = data.at + size;
	c->at = data.end;
	for (; *text; text++) {
		uint8_t encoding;

		switch (*text) {
		case 'R':
			fde->encoding = take_u8(&data);
			break;
		case 'P':
			encoding = take_u8(&data);
			/* Its value is of no interest, only its size. */
			take_encoded(&data, encoding & PE_FORMAT);
			break;
		case 'L':
			take_u8(&data);
			break;
		case 'S':
			fde->signal = true;
			break;
		default: /* unknown letters: their data cannot be told apart */
			return false;
		}
	}
	return !data.bad;
}

static bool parse_cie(const struct eh_object *object, uintptr_t at, struct eh_fde *fde,
		      bool *out_sized)
{
	struct cursor c;
	const char *augmentation;
	uint8_t version;
	uint64_t align;

	if (!entry_open(object, at, &c) || take_u32(&c) != 0)
		return false;
	version = take_u8(&c);
	if (version != 1 && version != 3 && version != 4)
		return false;
	augmentation = (const char *)c.at;
	while (take_u8(&c))
		;
	if (version == 4)
		take_u16(&c); /* sizes of addresses and segments */
	align = take_uleb(&c);
	fde->code_align = (uint32_t)align;
	fde->data_align = take_sleb(&c);
	if ((version == 1 ? take_u8(&c) : take_uleb(&c)) != ARCH_PC || c.bad || align > 64)
		return false;
	if (fde->data_align < -64 || fde->data_align > 64)
		return false;
	fde->encoding = PE_ABS;
	fde->signal = false;
	*out_sized = *augmentation == 'z';
	if (*out_sized ? !parse_augmentation(&c, augmentation + 1, fde) : *augmentation != 0)
		return false;
	fde->cie_code = c.at;
	fde->cie_code_end = c.end;
	return true;
}

enum eh_result eh_find(const struct eh_object *object, uintptr_t pc, struct eh_fde *out_fde)
{
	uintptr_t at = search(object, pc);
	struct cursor c;
	const uint8_t *link;
	uint32_t distance;
	bool sized;

	if (!at)
		return EH_NO_FDE;
	if (!entry_open(object, at, &c))
		return EH_BAD;
	link = c.at;
	distance = take_u32(&c);
	if (distance == 0 || !parse_cie(object, (uintptr_t)link - distance, out_fde, &sized))
		return EH_BAD;
	out_fde->start = take_encoded(&c, out_fde->encoding);
	/* The size has the format of the address, but is relative to nothing and has no sign. */
	out_fde->end = out_fde->start + take_encoded(&c, out_fde->encoding & 7);
	if (sized)
		skip(&c, take_uleb(&c));
	if (c.bad)
		return EH_BAD;
	if (pc < out_fde->start || pc >= out_fde->end)
		return EH_NO_FDE;
	out_fde->code = c.at;
	out_fde->code_end = c.end;
	if (c.end - c.at > PROGRAM_MAX || out_fde->cie_code_end - out_fde->cie_code > PROGRAM_MAX)
		return EH_BAD;
	return EH_OK;
}
