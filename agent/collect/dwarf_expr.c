/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stack machine of 64-bit words. Loops are possible (DW_OP_skip backwards), so the number of
 * steps is limited. Knows nothing of call frames.
 */
#include "agent/collect/dwarf_expr.h"

#include <string.h>

enum { DEPTH_MAX = 12, STEPS_MAX = 256 };

/* Operations (DWARF 5, 7.7.1). */
enum {
	OP_ADDR = 0x03,
	OP_DEREF = 0x06,
	OP_CONST1U = 0x08,
	OP_CONST1S,
	OP_CONST2U,
	OP_CONST2S,
	OP_CONST4U,
	OP_CONST4S,
	OP_CONST8U,
	OP_CONST8S,
	OP_CONSTU,
	OP_CONSTS,
	OP_DUP = 0x12,
	OP_DROP,
	OP_OVER,
	OP_PICK,
	OP_SWAP,
	OP_ROT,
	OP_ABS = 0x19,
	OP_AND,
	OP_DIV,
	OP_MINUS,
	OP_MOD,
	OP_MUL,
	OP_NEG,
	OP_NOT,
	OP_OR,
	OP_PLUS,
	OP_PLUS_UCONST,
	OP_SHL,
	OP_SHR,
	OP_SHRA,
	OP_XOR,
	OP_BRA,
	OP_EQ,
	OP_GE,
	OP_GT,
	OP_LE,
	OP_LT,
	OP_NE,
	OP_SKIP,
	OP_LIT0 = 0x30,
	OP_BREG0 = 0x70,
	OP_BREGX = 0x92,
	OP_DEREF_SIZE = 0x94,
	OP_NOP = 0x96
};

struct machine {
	const uint8_t *at, *begin, *end;
	const struct unwind_regs *regs;
	struct unwind_stack *stack;
	enum dwarf_result result;
	unsigned depth;
	uintptr_t word[DEPTH_MAX];
};

static void fail(struct machine *m, enum dwarf_result why)
{
	if (m->result == DWARF_OK)
		m->result = why;
	m->at = m->end;
}

static uint64_t take(struct machine *m, unsigned size)
{
	uint64_t value = 0;

	if ((uintptr_t)(m->end - m->at) < size) {
		fail(m, DWARF_BAD);
		return 0;
	}
	memcpy(&value, m->at, size);
	m->at += size;
	return value;
}

static int64_t take_signed(struct machine *m, unsigned size)
{
	unsigned unused = 64 - 8 * size;

	return (int64_t)(take(m, size) << unused) >> unused;
}

static uint64_t take_leb(struct machine *m, bool is_signed)
{
	uint64_t value = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		byte = (uint8_t)take(m, 1);
		if (shift < 64)
			value |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	if (is_signed && shift < 64 && byte & 0x40)
		value |= ~(uint64_t)0 << shift;
	return value;
}

static void push(struct machine *m, uintptr_t word)
{
	if (m->depth == DEPTH_MAX)
		fail(m, DWARF_BAD);
	else
		m->word[m->depth++] = word;
}

static uintptr_t pop(struct machine *m)
{
	if (m->depth == 0) {
		fail(m, DWARF_BAD);
		return 0;
	}
	return m->word[--m->depth];
}

static void push_register(struct machine *m, uint64_t reg, uint64_t offset)
{
	if (reg >= ARCH_REGS)
		fail(m, DWARF_BAD);
	else if (!(m->regs->known >> reg & 1))
		fail(m, DWARF_REGISTER);
	else
		push(m, m->regs->reg[reg] + offset);
}

/* A read of fewer bytes than a word takes them out of the aligned word that holds them. */
static void deref(struct machine *m, unsigned size)
{
	uintptr_t at = pop(m);
	unsigned skipped = at & 7;
	uintptr_t word;

	if (size == 0 || size + skipped > 8) {
		fail(m, size == 0 || size > 8 ? DWARF_BAD : DWARF_MEMORY);
	} else if (!unwind_stack_read(m->stack, at - skipped, &word)) {
		fail(m, DWARF_MEMORY);
	} else {
		word >>= 8 * skipped;
		push(m, size == 8 ? word : word & (((uintptr_t)1 << 8 * size) - 1));
	}
}

static void pick(struct machine *m, uint64_t nth)
{
	if (nth >= m->depth)
		fail(m, DWARF_BAD);
	else
		push(m, m->word[m->depth - 1 - nth]);
}

static void jump(struct machine *m, int64_t distance)
{
	if (distance < m->begin - m->at || distance > m->end - m->at)
		fail(m, DWARF_BAD);
	else
		m->at += distance;
}

static uintptr_t shift_right(uintptr_t value, uintptr_t by, bool arithmetic)
{
	if (arithmetic)
		return (uintptr_t)((intptr_t)value >> (by > 63 ? 63 : by));
	return by > 63 ? 0 : value >> by;
}

static void binary(struct machine *m, uint8_t op)
{
	uintptr_t b = pop(m), a = pop(m);
	intptr_t sa = (intptr_t)a, sb = (intptr_t)b;

	switch (op) {
	case OP_AND:
		push(m, a & b);
		break;
	case OP_OR:
		push(m, a | b);
		break;
	case OP_XOR:
		push(m, a ^ b);
		break;
	case OP_PLUS:
		push(m, a + b);
		break;
	case OP_MINUS:
		push(m, a - b);
		break;
	case OP_MUL:
		push(m, a * b);
		break;
	case OP_DIV:
		if (b == 0)
			fail(m, DWARF_BAD);
		else
			push(m, b == UINTPTR_MAX ? 0 - a : (uintptr_t)(sa / sb));
		break;
	case OP_MOD:
		if (b == 0)
			fail(m, DWARF_BAD);
		else
			push(m, a % b);
		break;
	case OP_SHL:
		push(m, b > 63 ? 0 : a << b);
		break;
	case OP_SHR:
	case OP_SHRA:
		push(m, shift_right(a, b, op == OP_SHRA));
		break;
	case OP_EQ:
		push(m, a == b);
		break;
	case OP_NE:
		push(m, a != b);
		break;
	case OP_GE:
		push(m, sa >= sb);
		break;
	case OP_GT:
		push(m, sa > sb);
		break;
	case OP_LE:
		push(m, sa <= sb);
		break;
	case OP_LT:
		push(m, sa < sb);
		break;
	default:
		fail(m, DWARF_BAD);
	}
}

static void arrange(struct machine *m, uint8_t op)
{
	uintptr_t a, b, c;

	switch (op) {
	case OP_DUP:
		pick(m, 0);
		break;
	case OP_OVER:
		pick(m, 1);
		break;
	case OP_PICK:
		pick(m, take(m, 1));
		break;
	case OP_DROP:
		pop(m);
		break;
	case OP_SWAP:
		a = pop(m), b = pop(m);
		push(m, a), push(m, b);
		break;
	default: /* OP_ROT: the top becomes the third */
		a = pop(m), b = pop(m), c = pop(m);
		push(m, a), push(m, c), push(m, b);
	}
}

static void constant(struct machine *m, uint8_t op)
{
	unsigned log_size = (op - OP_CONST1U) / 2u;

	if (op == OP_ADDR)
		push(m, take(m, 8));
	else if (op == OP_CONSTU || op == OP_CONSTS)
		push(m, take_leb(m, op == OP_CONSTS));
	else if ((op - OP_CONST1U) & 1)
		push(m, (uintptr_t)take_signed(m, 1u << log_size));
	else
		push(m, take(m, 1u << log_size));
}

static void unary(struct machine *m, uint8_t op)
{
	intptr_t value = (intptr_t)pop(m);

	switch (op) {
	case OP_ABS:
		push(m, value < 0 ? 0 - (uintptr_t)value : (uintptr_t)value);
		break;
	case OP_NEG:
		push(m, 0 - (uintptr_t)value);
		break;
	case OP_NOT:
		push(m, ~(uintptr_t)value);
		break;
	default: /* OP_PLUS_UCONST */
		push(m, (uintptr_t)value + take_leb(m, false));
	}
}

static void step(struct machine *m)
{
	uint8_t op = (uint8_t)take(m, 1);
	uint64_t reg;
	int64_t distance;

	if (op >= OP_LIT0 && op < OP_LIT0 + 32) {
		push(m, op - OP_LIT0);
	} else if (op >= OP_BREG0 && op < OP_BREG0 + 32) {
		push_register(m, op - OP_BREG0, take_leb(m, true));
	} else if (op == OP_BREGX) {
		reg = take_leb(m, false);
		push_register(m, reg, take_leb(m, true));
	} else if (op == OP_DEREF) {
		deref(m, 8);
	} else if (op == OP_DEREF_SIZE) {
		deref(m, (unsigned)take(m, 1));
	} else if (op == OP_ADDR || (op >= OP_CONST1U && op <= OP_CONSTS)) {
		constant(m, op);
	} else if (op >= OP_DUP && op <= OP_ROT) {
		arrange(m, op);
	} else if (op == OP_ABS || op == OP_NEG || op == OP_NOT || op == OP_PLUS_UCONST) {
		unary(m, op);
	} else if (op == OP_SKIP) {
		distance = take_signed(m, 2);
		jump(m, distance);
	} else if (op == OP_BRA) {
		distance = take_signed(m, 2);
		if (pop(m))
			jump(m, distance);
	} else if (op != OP_NOP) {
		binary(m, op);
	}
}

enum dwarf_result dwarf_eval(const uint8_t *at, const uint8_t *end, const struct unwind_regs *regs,
			     struct unwind_stack *stack, const uintptr_t *cfa, uintptr_t *out_value)
{
	struct machine m;

	m.at = m.begin = at;
	m.end = end;
	m.regs = regs;
	m.stack = stack;
	m.result = DWARF_OK;
	m.depth = 0;
	if (cfa)
		push(&m, *cfa);
	for (int steps = 0; m.at < m.end; steps++) {
		if (steps == STEPS_MAX)
			return DWARF_BAD;
		step(&m);
	}
	if (m.result == DWARF_OK && m.depth == 0)
		return DWARF_BAD;
	if (m.result == DWARF_OK)
		*out_value = m.word[m.depth - 1];
	return m.result;
}
