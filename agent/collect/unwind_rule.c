/* SPDX-License-Identifier: Apache-2.0 */
/* Packs rows of unwind tables into 8 bytes. 99.99 % of the rows of a Linux distribution fit. */
#include "agent/base/attr.h"
#include "agent/collect/unwind_rule.h"

#include <string.h>

_Static_assert(RULE_SETS == 1 << 14, "rule_set keeps 14 bits of its hash");

struct rule_entry rule_cache[RULE_SETS][RULE_WAYS] __attribute__((aligned(64))) BIG;

enum { DW_DEREF = 0x06, DW_PLUS_UCONST = 0x23, DW_LIT0 = 0x30, DW_BREG0 = 0x70 };

/* One signed LEB128 byte. */
static bool small_sleb(uint8_t byte, int *out_value)
{
	*out_value = (int)(byte & 0x3f) - (int)(byte & 0x40);
	return !(byte & 0x80);
}

/* The expression "breg<reg> offset" with any offset: what realigned frames save registers with. */
static bool is_breg(const uint8_t *at, const uint8_t *end, unsigned reg, int64_t *out_offset)
{
	uint64_t value = 0;
	unsigned shift = 0;

	if (at == end || *at++ != DW_BREG0 + reg)
		return false;
	for (; at < end && shift < 35; shift += 7) {
		value |= (uint64_t)(*at & 0x7f) << shift;
		if (!(*at++ & 0x80)) {
			if (at[-1] & 0x40)
				value |= ~(uint64_t)0 << (shift + 7);
			*out_offset = (int64_t)value;
			return at == end;
		}
	}
	return false;
}

/* What linkers write for procedure linkage tables: sp + 8 + ((pc & 15) >= lit) * 8. */
static bool is_plt(const uint8_t *at, const uint8_t *end, int *out_from)
{
	static const uint8_t head[] = {DW_BREG0 + ARCH_SP, 8, 0x80, 0, DW_LIT0 + 15, 0x1a};
	static const uint8_t tail[] = {0x2a, DW_LIT0 + 3, 0x24, 0x22};

	if (end - at != sizeof(head) + 1 + sizeof(tail) || memcmp(at, head, sizeof(head)) != 0 ||
	    memcmp(at + sizeof(head) + 1, tail, sizeof(tail)) != 0)
		return false;
	*out_from = at[sizeof(head)] - DW_LIT0;
	return *out_from >= 0 && *out_from < 16;
}

/* "breg<sp or bp> offset, deref[, plus_uconst add]" */
static bool is_deref(const uint8_t *at, const uint8_t *end, struct eh_row *out_as)
{
	int64_t offset;
	const uint8_t *deref = at;
	int add = 0;

	while (deref < end && *deref != DW_DEREF)
		deref++;
	if (deref == end)
		return false;
	out_as->cfa_register = (uint8_t)(*at - DW_BREG0);
	if (out_as->cfa_register != ARCH_SP && out_as->cfa_register != ARCH_BP)
		return false;
	if (!is_breg(at, deref, out_as->cfa_register, &offset) || offset < -2048 || offset > 2047)
		return false;
	if (end - deref == 3 && deref[1] == DW_PLUS_UCONST && small_sleb(deref[2], &add))
		add = deref[2];
	else if (end - deref != 1)
		return false;
	out_as->cfa_offset = (int32_t)((offset & 0xfff) | (int64_t)add << 12);
	return true;
}

/* Word offset at which the register of `slot` was saved; base: register that expressions must start
 * from, or ARCH_REGS when only offsets from the CFA will do. */
static bool save_of(const struct eh_fde *fde, const struct eh_row *row, unsigned slot,
		    unsigned base, int64_t *out_words)
{
	int64_t offset = row->value[slot];

	if (row->how[slot] == EH_SAME) {
		*out_words = RULE_UNSAVED;
		return true;
	}
	if (base == ARCH_REGS) {
		if (row->how[slot] != EH_AT_CFA)
			return false;
	} else {
		const uint8_t *at, *end;

		if (row->how[slot] != EH_AT_EXPR)
			return false;
		at = eh_expr(fde, row->value[slot], &end);
		if (!is_breg(at, end, base, &offset))
			return false;
	}
	*out_words = offset / 8;
	return offset % 8 == 0 && *out_words > RULE_UNSAVED && *out_words < -RULE_UNSAVED;
}

static uint64_t pack(enum rule_kind kind, int64_t cfa, int64_t bp, int64_t bx)
{
	return (uint64_t)kind | ((uint64_t)bp & 0x3ff) << 4 | ((uint64_t)bx & 0x3ff) << 14 |
	       ((uint64_t)cfa & 0xfffff) << 24;
}

uint64_t rule_from_row(const struct eh_fde *fde, const struct eh_row *row)
{
	struct eh_row as = {.cfa_offset = row->cfa_offset, .cfa_register = row->cfa_register};
	unsigned base = ARCH_REGS;
	enum rule_kind kind;
	int64_t bp, bx;
	int from = 0;

	if (fde->signal)
		return RULE_SIGNAL;
	if (row->how[ARCH_SLOT_PC] == EH_UNDEFINED)
		return RULE_ROOT;
	if (row->how[ARCH_SLOT_PC] != EH_AT_CFA || row->value[ARCH_SLOT_PC] != -8)
		return RULE_SLOW;
	if (row->how[ARCH_SLOT_SP] != EH_SAME &&
	    !(row->how[ARCH_SLOT_SP] == EH_IS_CFA && row->value[ARCH_SLOT_SP] == 0))
		return RULE_SLOW;
	if (row->cfa_expr) {
		const uint8_t *end;
		const uint8_t *at = eh_expr(fde, row->cfa_expr, &end);

		if (is_plt(at, end, &from)) {
			kind = RULE_PLT;
			as.cfa_offset = from;
		} else if (is_deref(at, end, &as)) {
			kind = as.cfa_register == ARCH_SP ? RULE_DEREF_SP : RULE_DEREF_BP;
			base = as.cfa_register;
		} else {
			return RULE_SLOW;
		}
	} else if (row->cfa_offset <= -RULE_CFA_MAX || row->cfa_offset >= RULE_CFA_MAX ||
		   (row->cfa_register != ARCH_SP && row->cfa_register != ARCH_BP)) {
		return RULE_SLOW;
	} else {
		kind = row->cfa_register == ARCH_SP ? RULE_SP : RULE_BP;
	}
	if (!save_of(fde, row, ARCH_SLOT_BP, base, &bp) ||
	    !save_of(fde, row, ARCH_SLOT_RBX, base, &bx))
		return RULE_SLOW;
	return pack(kind, as.cfa_offset, bp, bx);
}

void rule_put(uintptr_t pc, uint32_t generation, uint64_t rule)
{
	uint64_t key = rule_key(pc, generation);
	struct rule_entry *set = rule_set(key);

	rule |= (uint64_t)(generation >> 16) << 48;
	/* The newer one goes first; the older one moves on. */
	atomic_store_explicit(&set[1].check,
			      atomic_load_explicit(&set[0].check, memory_order_relaxed),
			      memory_order_relaxed);
	atomic_store_explicit(&set[1].rule,
			      atomic_load_explicit(&set[0].rule, memory_order_relaxed),
			      memory_order_relaxed);
	atomic_store_explicit(&set[0].check, key ^ rule, memory_order_relaxed);
	atomic_store_explicit(&set[0].rule, rule, memory_order_relaxed);
}
