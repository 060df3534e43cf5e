/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the numbers of call frame information through a cursor that knows its end: behind it every
 * read gives 0 and marks the cursor bad. For ehframe.c and ehrun.c.
 *
 * Context of everything here: signal, hook, agent.
 */
#ifndef COLLECT_EHCURSOR_H
#define COLLECT_EHCURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/base/attr.h"

/* Pointer encodings of the LSB ("DW_EH_PE"). */
enum {
	PE_ABS = 0x00,
	PE_UDATA2 = 0x02,
	PE_UDATA4 = 0x03,
	PE_UDATA8 = 0x04,
	PE_SDATA2 = 0x0a,
	PE_SDATA4 = 0x0b,
	PE_SDATA8 = 0x0c,
	PE_FORMAT = 0x0f,
	PE_PCREL = 0x10,
	PE_APPLY = 0x70,
	PE_INDIRECT = 0x80,
	PE_TABLE = 0x3b, /* relative to .eh_frame_hdr, signed 4 bytes: what all linkers write */
	PE_OMIT = 0xff
};

struct cursor {
	const uint8_t *at;
	const uint8_t *end;
	bool bad;
};

static inline size_t left(const struct cursor *c)
{
	return (size_t)(c->end - c->at);
}

static inline uint8_t take_u8(struct cursor *c)
{
	if (UNLIKELY(c->at >= c->end)) {
		c->bad = true;
		return 0;
	}
	return *c->at++;
}

#define TAKE(name, type)                                                                           \
	static inline type name(struct cursor *c)                                                  \
	{                                                                                          \
		type value = 0;                                                                    \
                                                                                                   \
		if (UNLIKELY(left(c) < sizeof(value))) {                                           \
			c->bad = true;                                                             \
			c->at = c->end;                                                            \
			return 0;                                                                  \
		}                                                                                  \
		memcpy(&value, c->at, sizeof(value));                                              \
		c->at += sizeof(value);                                                            \
		return value;                                                                      \
	}
TAKE(take_u16, uint16_t)
TAKE(take_u32, uint32_t)
TAKE(take_u64, uint64_t)
#undef TAKE

/* The bits of a number in groups of seven; shift: how many there are; the last byte. */
static inline uint64_t take_leb(struct cursor *c, unsigned *shift, uint8_t *last)
{
	uint64_t value = 0;

	*shift = 0;
	do {
		*last = take_u8(c);
		if (*shift < 64)
			value |= (uint64_t)(*last & 0x7f) << *shift;
		*shift += 7;
	} while (*last & 0x80);
	return value;
}

static inline uint64_t take_uleb(struct cursor *c)
{
	unsigned shift;
	uint8_t last;

	return take_leb(c, &shift, &last);
}

static inline int64_t take_sleb(struct cursor *c)
{
	unsigned shift;
	uint8_t last;
	uint64_t value = take_leb(c, &shift, &last);

	if (shift < 64 && last & 0x40)
		value |= ~(uint64_t)0 << shift;
	return (int64_t)value;
}

static inline void skip(struct cursor *c, uint64_t n)
{
	if (n > left(c)) {
		c->bad = true;
		c->at = c->end;
	} else {
		c->at += n;
	}
}

static inline uint64_t take_encoded(struct cursor *c, uint8_t encoding)
{
	uintptr_t here = (uintptr_t)c->at;
	uint64_t value;

	switch (encoding & PE_FORMAT) {
	case PE_ABS:
	case PE_UDATA8:
	case PE_SDATA8:
		value = take_u64(c);
		break;
	case PE_UDATA4:
		value = take_u32(c);
		break;
	case PE_SDATA4:
		value = (uint64_t)(int64_t)(int32_t)take_u32(c);
		break;
	case PE_UDATA2:
		value = take_u16(c);
		break;
	case PE_SDATA2:
		value = (uint64_t)(int64_t)(int16_t)take_u16(c);
		break;
	default:
		c->bad = true;
		return 0;
	}
	switch (encoding & PE_APPLY) {
	case PE_ABS:
		return value;
	case PE_PCREL:
		return value + here;
	default:
		c->bad = true;
		return 0;
	}
}

#endif
