/* SPDX-License-Identifier: Apache-2.0 */
/* Function ranges from .eh_frame_hdr and .eh_frame. */
#include <string.h>

#include "encode/elf_read.h"

static bool read_leb(const uint8_t **at, const uint8_t *end, uint64_t *out)
{
	uint64_t value = 0;

	for (unsigned shift = 0; *at < end && shift < 63; shift += 7) {
		uint8_t byte = *(*at)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80)) {
			*out = value;
			return true;
		}
	}
	return false;
}

/* The encoding of addresses in the FDEs of a CIE, from its augmentation; -1: not understood. */
static int cie_encoding(const uint8_t *at, const uint8_t *end)
{
	const uint8_t *letters = at + 1, *letter = letters;
	uint64_t skip;
	size_t len;

	if (at >= end || (at[0] != 1 && at[0] != 3))
		return -1;
	len = strnlen((const char *)letters, (size_t)(end - letters));
	if (letters + len >= end)
		return -1;
	if (len == 0)
		return 0;
	at = letters + len + 1;
	if (*letter++ != 'z' || !read_leb(&at, end, &skip) || !read_leb(&at, end, &skip) ||
	    !read_leb(&at, end, &skip) || !read_leb(&at, end, &skip))
		return -1;
	for (; *letter; letter++) {
		if (at >= end)
			return -1;
		if (*letter == 'R')
			return *at;
		if (*letter == 'P')
			at += 1 + ((*at & 0x0f) == 0 || (*at & 0x0f) == 4 || (*at & 0x0f) == 12 ? 8 :
				   (*at & 7) == 2 ? 2 : 4);
		else if (*letter == 'L')
			at++;
		else if (*letter != 'S')
			return -1;
	}
	return 0;
}

/* Bytes of code that an FDE covers; 0: not understood. */
static uint64_t fde_range(const struct elf *elf, uint64_t fde)
{
	uint8_t head[24], cie[64] = { 0 };
	uint32_t back, range;
	uint64_t wide, cie_at;
	int encoding;

	if (!elf_read(elf, fde, head, sizeof(head)))
		return 0;
	memcpy(&back, head + 4, sizeof(back));
	cie_at = fde + 4 - back + 8;
	/* a CIE near the end of its segment may be shorter than the buffer */
	if (!elf_read(elf, cie_at, cie, sizeof(cie)) && !elf_read(elf, cie_at, cie, 20))
		return 0;
	encoding = cie_encoding(cie, cie + sizeof(cie));
	if (encoding < 0)
		return 0;
	if ((encoding & 7) == 3) {
		memcpy(&range, head + 12, sizeof(range));
		return range;
	}
	if ((encoding & 7) == 0 || (encoding & 7) == 4) {
		memcpy(&wide, head + 16, sizeof(wide));
		return wide;
	}
	return 0;
}

bool elf_fde(const struct elf *elf, uint64_t vaddr, uint64_t *out_start, uint64_t *out_end)
{
	struct {
		uint8_t version, pointer, count_encoding, table_encoding;
		int32_t eh_frame;
		uint32_t count;
	} h;
	struct {
		int32_t start, fde;
	} entry, next;
	uint64_t hdr = elf->eh_frame_hdr.vaddr;
	int64_t wanted = (int64_t)(vaddr - hdr);
	uint64_t low = 0, high, range;

	/* the only form that linkers write: sorted, 32-bit, relative to the header */
	if (elf->eh_frame_hdr.size < sizeof(h) || !elf_read(elf, hdr, &h, sizeof(h)) ||
	    h.version != 1 || (h.pointer & 7) != 3 || h.count_encoding != 0x03 ||
	    h.table_encoding != 0x3b || h.count > (elf->eh_frame_hdr.size - sizeof(h)) / 8)
		return false;
	high = h.count;
	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (!elf_read(elf, hdr + sizeof(h) + mid * 8, &entry, sizeof(entry)))
			return false;
		if (entry.start <= wanted)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0 || !elf_read(elf, hdr + sizeof(h) + (low - 1) * 8, &entry, sizeof(entry)))
		return false;
	*out_start = hdr + (uint64_t)(int64_t)entry.start;
	range = fde_range(elf, hdr + (uint64_t)(int64_t)entry.fde);
	if (range == 0 && low < h.count &&
	    elf_read(elf, hdr + sizeof(h) + low * 8, &next, sizeof(next)))
		range = (uint64_t)((int64_t)next.start - entry.start);
	*out_end = *out_start + range;
	/* not by the range: in a damaged file the end may lie beyond the last address */
	return vaddr >= *out_start && vaddr < *out_end;
}
