/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs call frame instructions up to a PC. Those of one FDE are short (a few dozen bytes); running them
 * anew costs less than building tables at start, and works in an object that is just being loaded.
 *
 * Context: signal, hook, agent.
 */
#include <string.h>

#include "agent/base/attr.h"
#include "agent/collect/ehcursor.h"
#include "agent/collect/ehframe.h"

enum { SAVED_ROWS = 4 };

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
