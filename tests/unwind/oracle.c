/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every row of every frame description of the given ELF files (tests/unwind/rows.h), our rule against
 * libunwind's step. Both sides start from the same made-up registers and read the same made-up
 * stack, in which each word is a function of its address: equal results mean equal rules.
 *
 * usage: oracle FILE...   exit status 0: no difference.
 */
#include <dlfcn.h>
#include <libunwind-x86_64.h>
#include <stdio.h>
#include <string.h>

#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"
#include "tests/unwind/rows.h"

int UNW_OBJ(dwarf_search_unwind_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *,
				       unw_proc_info_t *, int, void *);

static struct {
	uint64_t files, rows, different;
	uint64_t quick, slow, root, signal; /* how our side steps over the row */
	uint64_t they_fail, both_fail, sp_rule;
} count;

static unw_addr_space_t space;

/* ---- the made-up stack: values are aligned, and above every made-up register */

static uintptr_t word_at(uintptr_t at)
{
	uint64_t x = at * 0x9e3779b97f4a7c15u;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9u;
	return 0x600000000000u + (x >> 32 << 3);
}

/* Some leaf functions take 2 or 4 bytes of stack: their CFA is aligned when the stack pointer is
 * not. */
static unsigned skew;

static uintptr_t register_value(unsigned reg)
{
	/* The stack pointer is the lowest, as it is in life. */
	return reg == ARCH_SP ? 0x100000000000u + skew : 0x101000000000u + reg * 0x1000000000u;
}

/* Stands in for collect/unwind_stack.c. */
bool unwind_stack_read_slow(struct unwind_stack *stack, uintptr_t at, uintptr_t *out_word)
{
	if (at & 7)
		return false;
	*out_word = word_at(at);
	return true;
}
bool unwind_stack_probe(struct unwind_stack *stack, uintptr_t sp)
{
	return true;
}
void unwind_stack_careful(struct unwind_stack *stack)
{
}
bool unwind_peek(uintptr_t at, void *out_bytes, size_t size)
{
	return false;
}

/* Stands in for the C library's. */
int _dl_find_object(void *address, struct dl_find_object *out)
{
	uintptr_t at = (uintptr_t)address;

	if (at < rows_file.start || at >= rows_file.end)
		return -1;
	out->dlfo_map_start = (void *)rows_file.start;
	out->dlfo_map_end = (void *)rows_file.end;
	out->dlfo_eh_frame = (void *)rows_file.hdr;
	return 0;
}

/* ---- libunwind's side */

static int find_proc_info(unw_addr_space_t as, unw_word_t ip, unw_proc_info_t *pi, int need,
			  void *arg)
{
	unw_dyn_info_t di = {
		.format = UNW_INFO_FORMAT_REMOTE_TABLE,
		.start_ip = rows_file.start,
		.end_ip = rows_file.end,
	};

	if (ip < rows_file.start || ip >= rows_file.end)
		return -UNW_ENOINFO;
	di.u.rti.segbase = rows_file.hdr;
	di.u.rti.table_data = rows_file.hdr + 12;
	di.u.rti.table_len = rows_file.fdes;
	return UNW_OBJ(dwarf_search_unwind_table)(as, ip, &di, pi, need, arg);
}

static void put_unwind_info(unw_addr_space_t as, unw_proc_info_t *pi, void *arg)
{
}

static int access_mem(unw_addr_space_t as, unw_word_t at, unw_word_t *value, int write, void *arg)
{
	if (write)
		return -UNW_EINVAL;
	if (at >= rows_file.start && at + 8 <= rows_file.end)
		memcpy(value, (void *)at, 8);
	else
		*value = word_at(at);
	return 0;
}

static int access_reg(unw_addr_space_t as, unw_regnum_t reg, unw_word_t *value, int write,
		      void *arg)
{
	if (write || reg < 0 || reg > UNW_X86_64_RIP)
		return -UNW_EBADREG;
	*value = reg == UNW_X86_64_RIP ? *(uintptr_t *)arg : register_value((unsigned)reg);
	return 0;
}

static int access_fpreg(unw_addr_space_t as, unw_regnum_t reg, unw_fpreg_t *v, int write, void *arg)
{
	return -UNW_EBADREG;
}

static int no_list(unw_addr_space_t as, unw_word_t *at, void *arg)
{
	return -UNW_ENOINFO;
}

static int no_resume(unw_addr_space_t as, unw_cursor_t *c, void *arg)
{
	return -UNW_EINVAL;
}

static int no_name(unw_addr_space_t as, unw_word_t at, char *buf, size_t size, unw_word_t *off,
		   void *arg)
{
	return -UNW_ENOINFO;
}

/* ---- comparison */

static const unsigned compared[] = {16, 7, 6, 3, 12, 13, 14, 15};

static void difference(uintptr_t pc, const char *what, unsigned reg, uintptr_t ours,
		       uintptr_t theirs)
{
	if (count.different++ < 20)
		printf("DIFFERENT %s+%#lx: %s %u: ours %#lx, libunwind's %#lx\n", rows_file.path,
		       pc - rows_file.start, what, reg, ours, theirs);
}

static void our_step(struct unwind_walk *walk, uintptr_t pc, bool full)
{
	static struct unwind_regs from;
	uintptr_t pcs[1];

	for (unsigned i = 0; i < ARCH_PC; i++)
		from.reg[i] = register_value(i);
	from.reg[ARCH_PC] = pc;
	from.known = ARCH_KNOWN_ALL;
	memset(walk, 0, sizeof(*walk));
	walk->from = &from;
	walk->pcs = pcs;
	walk->max = 1;
	walk->stack.lo = 1;
	walk->force_full = full;
	unwind_walk(walk, false);
}

static bool has_sp_rule(uintptr_t pc)
{
	struct eh_object object;
	struct eh_fde fde;
	struct eh_row row;

	return eh_object_at(pc, &object) && eh_find(&object, pc, &fde) == EH_OK && !fde.signal &&
	       eh_run(&fde, pc, &row) == EH_OK && row.how[ARCH_SLOT_SP] != EH_SAME;
}

static void compare(unw_cursor_t *cursor, int theirs, const struct unwind_walk *walk, uintptr_t pc,
		    bool full)
{
	bool on = walk->end == UNWIND_TRUNCATED;

	if (theirs < 0) {
		if (!full)
			count.they_fail += on, count.both_fail += !on;
		return;
	}
	if ((theirs == 0) != (walk->end == UNWIND_ROOT)) {
		difference(pc, unwind_end_name(walk->end), full, walk->end, (uintptr_t)theirs);
		return;
	}
	if (theirs == 0)
		return;
	if (!on) {
		difference(pc, unwind_end_name(walk->end), full, walk->end, (uintptr_t)theirs);
		return;
	}
	for (unsigned i = 0; i < (full ? 8 : 4); i++) {
		unsigned reg = compared[i];
		unw_word_t value;

		if (UNW_OBJ(get_reg)(cursor, (int)reg, &value) < 0)
			continue;
		/* longjmp and setcontext say where the stack pointer is; libunwind takes the CFA
		 * for it all the same. */
		if (reg == ARCH_SP && has_sp_rule(pc) && value != walk->regs.reg[reg]) {
			count.sp_rule += !full;
			continue;
		}
		if (!(walk->regs.known >> reg & 1) || walk->regs.reg[reg] != value)
			difference(pc, full ? "full, register" : "register", reg,
				   walk->regs.reg[reg], value);
	}
}

static void one_row(uintptr_t pc)
{
	struct unwind_walk walk = { 0 };
	unw_cursor_t cursor;
	int theirs;

	count.rows++;
	for (skew = 0; skew < 8; skew++) {
		our_step(&walk, pc, false);
		if (walk.end != UNWIND_BOUNDS)
			break;
	}
	UNW_OBJ(init_remote)(&cursor, space, &pc);
	theirs = UNW_OBJ(step)(&cursor);
	our_step(&walk, pc, false);
	compare(&cursor, theirs, &walk, pc, false);
	switch (rule_kind(unwind_rule_of(&walk, pc))) {
	case RULE_SLOW:
		count.slow++;
		break;
	case RULE_ROOT:
		count.root++;
		break;
	case RULE_SIGNAL:
		count.signal++;
		break;
	default:
		count.quick++;
	}
	our_step(&walk, pc, true);
	compare(&cursor, theirs, &walk, pc, true);
}

int main(int argc, char **argv)
{
	unw_accessors_t accessors = {
		.find_proc_info = find_proc_info,
		.put_unwind_info = put_unwind_info,
		.get_dyn_info_list_addr = no_list,
		.access_mem = access_mem,
		.access_reg = access_reg,
		.access_fpreg = access_fpreg,
		.resume = no_resume,
		.get_proc_name = no_name,
	};

	space = UNW_OBJ(create_addr_space)(&accessors, 0);
	UNW_OBJ(set_caching_policy)(space, UNW_CACHE_NONE);
	for (int i = 1; i < argc; i++) {
		uint64_t before = count.rows;

		if (!rows_open(argv[i])) {
			printf("%s: not there, or without unwind tables\n", argv[i]);
			continue;
		}
		count.files++;
		rows_each(one_row);
		printf("%-60s %9lu rows\n", argv[i], count.rows - before);
		memset(rule_cache, 0, sizeof(rule_cache));
		rows_close();
	}
	printf("files %lu, functions %lu, rows %lu, differences %lu\n", count.files, rows_count.fdes,
	       count.rows, count.different);
	printf("rows by rule: quick %lu, slow %lu, root %lu, signal %lu\n", count.quick, count.slow,
	       count.root, count.signal);
	printf("not compared: functions without entry in the search table %lu, of no size %lu; "
	       "rows that "
	       "libunwind refuses %lu, that both refuse %lu; stack pointers with a rule of their "
	       "own "
	       "%lu\n",
	       rows_count.no_table, rows_count.empty, count.they_fail, count.both_fail, count.sp_rule);
	return count.different != 0 || count.rows == 0;
}
