/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds and runs call frame information. Every byte is read through a cursor that knows its end: a
 * malformed table gives EH_BAD, never a read beyond the object. The instructions of one FDE are
 * short (a few dozen bytes); running them anew costs less than building tables at start, and works
 * in an object that is just being loaded.
 *
 * Context: signal, hook, agent.
 */
#include "agent/collect/ehframe.h"

#include <dlfcn.h>
#include <string.h>

#include "agent/base/attr.h"

/* glibc 2.35 and later: lock-free, callable in a signal handler. Weak: musl has none. */
extern __typeof__(_dl_find_object) _dl_find_object __attribute__((weak));

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

enum { SAVED_ROWS = 4, PROGRAM_MAX = 1 << 20 };

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

static uint64_t take_uleb(struct cursor *c)
{
	uint64_t value = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = take_u8(c);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return value;
}

static int64_t take_sleb(struct cursor *c)
{
	uint64_t value = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = take_u8(c);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	if (shift < 64 && byte & 0x40)
		value |= ~(uint64_t)0 << shift;
	return (int64_t)value;
}

static void skip(struct cursor *c, uint64_t n)
{
	if (n > left(c)) {
		c->bad = true;
		c->at = c->end;
	} else {
		c->at += n;
	}
}

static uint64_t take_encoded(struct cursor *c, uint8_t encoding)
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

const uint8_t *eh_expr(const struct eh_fde *fde, int32_t distance, const uint8_t **out_end)
{
	const uint8_t *at = fde->code + distance;
	struct cursor c = {.at = at, .end = at + 10};
	uint64_t size = take_uleb(&c);

	*out_end = c.at + size;
	return c.at;
}

/* Call frame instructions (DWARF 5, 7.24). */
enum {
	CFA_ADVANCE = 1, /* in the two high bits, operand in the six low ones */
	CFA_OFFSET = 2,
	CFA_RESTORE = 3,
	CFA_NOP = 0x00,
	CFA_SET_LOC = 0x01,
	CFA_ADVANCE1 = 0x02,
	CFA_ADVANCE2 = 0x03,
	CFA_ADVANCE4 = 0x04,
	CFA_OFFSET_EXT = 0x05,
	CFA_RESTORE_EXT = 0x06,
	CFA_UNDEFINED = 0x07,
	CFA_SAME = 0x08,
	CFA_REGISTER = 0x09,
	CFA_REMEMBER = 0x0a,
	CFA_RESTORE_STATE = 0x0b,
	CFA_DEF = 0x0c,
	CFA_DEF_REGISTER = 0x0d,
	CFA_DEF_OFFSET = 0x0e,
	CFA_DEF_EXPR = 0x0f,
	CFA_EXPR = 0x10,
	CFA_OFFSET_EXT_SF = 0x11,
	CFA_DEF_SF = 0x12,
	CFA_DEF_OFFSET_SF = 0x13,
	CFA_VAL_OFFSET = 0x14,
	CFA_VAL_OFFSET_SF = 0x15,
	CFA_VAL_EXPR = 0x16,
	CFA_GNU_ARGS_SIZE = 0x2e,
	CFA_GNU_NEGATIVE_OFFSET = 0x2f
};

struct machine {
	const struct eh_fde *fde;
	struct cursor c;
	struct eh_row *row;
	const struct eh_row *initial; /* what the CIE says; NULL while running the CIE itself */
	unsigned saved;
	struct eh_row stack[SAVED_ROWS];
};

static int32_t narrow(struct machine *m, int64_t value)
{
	if (UNLIKELY(value != (int32_t)value))
		m->c.bad = true;
	return (int32_t)value;
}

static void set(struct machine *m, uint64_t reg, enum eh_how how, int64_t value)
{
	unsigned slot;

	if (reg >= ARCH_REGS)
		return; /* vector registers and the like: nobody asks for them */
	slot = arch_slot[reg];
	m->row->how[slot] = (uint8_t)how;
	m->row->value[slot] = narrow(m, value);
}

/* Skips an expression, returns its distance from fde->code. */
static int64_t take_expr(struct machine *m)
{
	int64_t distance = m->c.at - m->fde->code;

	skip(&m->c, take_uleb(&m->c));
	return distance;
}

static void set_cfa(struct machine *m, uint64_t reg, int64_t offset)
{
	m->row->cfa_expr = 0;
	m->row->cfa_register = (uint8_t)reg;
	m->row->cfa_offset = narrow(m, offset);
	if (reg >= ARCH_PC)
		m->c.bad = true;
}

static void restore(struct machine *m, uint64_t reg)
{
	unsigned slot;

	if (reg >= ARCH_REGS)
		return;
	slot = arch_slot[reg];
	m->row->how[slot] = m->initial ? m->initial->how[slot] : EH_SAME;
	m->row->value[slot] = m->initial ? m->initial->value[slot] : 0;
}

/* The rarer instructions. */
static COLD void run_rare(struct machine *m, uint8_t op)
{
	struct cursor *c = &m->c;
	int64_t align = m->fde->data_align;
	uint64_t reg;

	switch (op) {
	case CFA_OFFSET_EXT:
		reg = take_uleb(c);
		set(m, reg, EH_AT_CFA, (int64_t)(take_uleb(c) * (uint64_t)align));
		break;
	case CFA_OFFSET_EXT_SF:
		reg = take_uleb(c);
		set(m, reg, EH_AT_CFA, (int64_t)((uint64_t)take_sleb(c) * (uint64_t)align));
		break;
	case CFA_GNU_NEGATIVE_OFFSET:
		reg = take_uleb(c);
		set(m, reg, EH_AT_CFA, (int64_t) - (take_uleb(c) * (uint64_t)align));
		break;
	case CFA_VAL_OFFSET:
		reg = take_uleb(c);
		set(m, reg, EH_IS_CFA, (int64_t)(take_uleb(c) * (uint64_t)align));
		break;
	case CFA_VAL_OFFSET_SF:
		reg = take_uleb(c);
		set(m, reg, EH_IS_CFA, (int64_t)((uint64_t)take_sleb(c) * (uint64_t)align));
		break;
	case CFA_UNDEFINED:
		set(m, take_uleb(c), EH_UNDEFINED, 0);
		break;
	case CFA_SAME:
		set(m, take_uleb(c), EH_SAME, 0);
		break;
	case CFA_REGISTER:
		reg = take_uleb(c);
		set(m, reg, EH_REGISTER, (int64_t)take_uleb(c));
		break;
	case CFA_RESTORE_EXT:
		restore(m, take_uleb(c));
		break;
	case CFA_EXPR:
		reg = take_uleb(c);
		set(m, reg, EH_AT_EXPR, take_expr(m));
		break;
	case CFA_VAL_EXPR:
		reg = take_uleb(c);
		set(m, reg, EH_IS_EXPR, take_expr(m));
		break;
	case CFA_DEF_SF:
		reg = take_uleb(c);
		set_cfa(m, reg, (int64_t)((uint64_t)take_sleb(c) * (uint64_t)align));
		break;
	case CFA_DEF_OFFSET_SF:
		m->row->cfa_offset = narrow(m, (int64_t)((uint64_t)take_sleb(c) * (uint64_t)align));
		break;
	case CFA_GNU_ARGS_SIZE:
		take_uleb(c);
		break;
	default:
		c->bad = true;
	}
}

/* One instruction that is not an advance. */
static inline void run_one(struct machine *m, uint8_t op)
{
	struct cursor *c = &m->c;
	uint64_t reg;

	if (op >> 6 == CFA_OFFSET) {
		set(m, op & 0x3f, EH_AT_CFA,
		    (int64_t)(take_uleb(c) * (uint64_t)m->fde->data_align));
		return;
	}
	if (op >> 6 == CFA_RESTORE) {
		restore(m, op & 0x3f);
		return;
	}
	switch (op) {
	case CFA_NOP:
		break;
	case CFA_DEF_OFFSET:
		m->row->cfa_offset = narrow(m, (int64_t)take_uleb(c));
		break;
	case CFA_DEF_REGISTER:
		/* The offset stays. After an expression there is none to keep. */
		set_cfa(m, take_uleb(c), m->row->cfa_offset);
		break;
	case CFA_DEF:
		reg = take_uleb(c);
		set_cfa(m, reg, (int64_t)take_uleb(c));
		break;
	case CFA_DEF_EXPR:
		m->row->cfa_expr = narrow(m, take_expr(m));
		break;
	case CFA_REMEMBER:
		if (m->saved == SAVED_ROWS)
			c->bad = true;
		else
			m->stack[m->saved++] = *m->row;
		break;
	case CFA_RESTORE_STATE:
		if (m->saved == 0)
			c->bad = true;
		else
			*m->row = m->stack[--m->saved];
		break;
	default:
		run_rare(m, op);
	}
}

/* Runs until the instructions end or reach a row that starts after pc. */
static void run(struct machine *m, uintptr_t pc)
{
	uintptr_t at = m->fde->start;
	struct cursor *c = &m->c;

	while (c->at < c->end && !c->bad) {
		uint8_t op = *c->at++;
		uint64_t step;

		if (op >> 6 == CFA_ADVANCE) {
			step = op & 0x3f;
		} else if (op == CFA_ADVANCE1) {
			step = take_u8(c);
		} else if (op == CFA_ADVANCE2) {
			step = take_u16(c);
		} else if (op == CFA_ADVANCE4) {
			step = take_u32(c);
		} else if (op == CFA_SET_LOC) {
			at = take_encoded(c, m->fde->encoding);
			step = 0;
		} else {
			run_one(m, op);
			continue;
		}
		at += step * m->fde->code_align;
		if (at > pc)
			return;
	}
}

enum eh_result eh_run(const struct eh_fde *fde, uintptr_t pc, struct eh_row *out_row)
{
	struct eh_row initial;
	struct machine m;

	m.fde = fde;
	m.row = &initial;
	m.initial = NULL;
	m.saved = 0;
	memset(&initial, 0, sizeof(initial));
	initial.cfa_register = ARCH_REGS; /* none yet */
	m.c = (struct cursor){.at = fde->cie_code, .end = fde->cie_code_end};
	run(&m, UINTPTR_MAX);
	if (m.c.bad)
		return EH_BAD;
	*out_row = initial;
	m.row = out_row;
	m.initial = &initial;
	m.saved = 0;
	m.c = (struct cursor){.at = fde->code, .end = fde->code_end};
	run(&m, pc);
	if (m.c.bad || (!out_row->cfa_expr && out_row->cfa_register >= ARCH_PC))
		return EH_BAD;
	return EH_OK;
}
