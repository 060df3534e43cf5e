/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every row of every frame description of the given ELF files, our rule
 * against libunwind's step. Both sides start from the same made-up registers and read the same
 * made-up stack, in which each word is a function of its address: equal results mean equal rules.
 *
 * The rows are found by a decoder of its own, so that a row that our interpreter overlooks is seen.
 * usage: oracle FILE...   exit status 0: no difference.
 */
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <libunwind-x86_64.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"

int UNW_OBJ(dwarf_search_unwind_table)(unw_addr_space_t, unw_word_t, unw_dyn_info_t *,
				       unw_proc_info_t *, int, void *);

/* The file at hand, mapped as the loader would. */
static struct {
	const char *path;
	uintptr_t start, end, hdr;
	const Elf64_Shdr *eh_frame;
	uint32_t fdes;
} file;

static struct {
	uint64_t files, fdes, rows, different;
	uint64_t quick, slow, root, signal; /* how our side steps over the row */
	uint64_t no_table, empty, they_fail, both_fail, sp_rule;
} count;

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

	if (at < file.start || at >= file.end)
		return -1;
	out->dlfo_map_start = (void *)file.start;
	out->dlfo_map_end = (void *)file.end;
	out->dlfo_eh_frame = (void *)file.hdr;
	return 0;
}

/* ---- libunwind's side */

static int find_proc_info(unw_addr_space_t as, unw_word_t ip, unw_proc_info_t *pi, int need,
			  void *arg)
{
	unw_dyn_info_t di = {
		.format = UNW_INFO_FORMAT_REMOTE_TABLE,
		.start_ip = file.start,
		.end_ip = file.end,
	};

	if (ip < file.start || ip >= file.end)
		return -UNW_ENOINFO;
	di.u.rti.segbase = file.hdr;
	di.u.rti.table_data = file.hdr + 12;
	di.u.rti.table_len = file.fdes;
	return UNW_OBJ(dwarf_search_unwind_table)(as, ip, &di, pi, need, arg);
}

static void put_unwind_info(unw_addr_space_t as, unw_proc_info_t *pi, void *arg)
{
}

static int access_mem(unw_addr_space_t as, unw_word_t at, unw_word_t *value, int write, void *arg)
{
	if (write)
		return -UNW_EINVAL;
	if (at >= file.start && at + 8 <= file.end)
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
		printf("DIFFERENT %s+%#lx: %s %u: ours %#lx, libunwind's %#lx\n", file.path,
		       pc - file.start, what, reg, ours, theirs);
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

static void one_row(unw_addr_space_t as, uintptr_t pc)
{
	struct unwind_walk walk;
	unw_cursor_t cursor;
	int theirs;

	count.rows++;
	for (skew = 0; skew < 8; skew++) {
		our_step(&walk, pc, false);
		if (walk.end != UNWIND_BOUNDS)
			break;
	}
	UNW_OBJ(init_remote)(&cursor, as, &pc);
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

/* ---- finds the rows: decodes only what it needs, trusts the file */

static uint64_t uleb(const uint8_t **at)
{
	uint64_t value = 0;

	for (unsigned shift = 0;; shift += 7) {
		value |= (uint64_t)(**at & 0x7f) << shift;
		if (!(*(*at)++ & 0x80))
			return value;
	}
}

static void rows_of(unw_addr_space_t as, const uint8_t *at, const uint8_t *end, uintptr_t pc,
		    uintptr_t pc_end, uint64_t align)
{
	uint64_t size;

	one_row(as, pc);
	while (at < end) {
		uint8_t op = *at++;
		uint64_t step = 0;

		if (op >> 6 == 1) {
			step = op & 63;
		} else if (op >> 6 == 2) {
			uleb(&at);
		} else if (op >> 6 == 0) {
			switch (op) {
			case 0x02:
				step = *at++;
				break;
			case 0x03:
				step = *(const uint16_t *)at;
				at += 2;
				break;
			case 0x04:
				step = *(const uint32_t *)at;
				at += 4;
				break;
			case 0x05:
			case 0x09:
			case 0x0c:
			case 0x11:
			case 0x12:
			case 0x14:
			case 0x15:
			case 0x2f:
				uleb(&at);
				uleb(&at);
				break;
			case 0x06:
			case 0x07:
			case 0x08:
			case 0x0d:
			case 0x0e:
			case 0x13:
			case 0x2e:
				uleb(&at);
				break;
			case 0x0f:
				size = uleb(&at);
				at += size;
				break;
			case 0x10:
			case 0x16:
				uleb(&at);
				size = uleb(&at);
				at += size;
				break;
			case 0x00:
			case 0x0a:
			case 0x0b:
				break;
			default:
				printf("%s: unknown instruction %#x\n", file.path, op);
				exit(2);
			}
		}
		if (step) {
			pc += step * align;
			if (pc < pc_end)
				one_row(as, pc);
		}
	}
}

static int64_t pointer(const uint8_t **at, uint8_t encoding)
{
	uintptr_t here = (uintptr_t)*at;
	int64_t value;

	switch (encoding & 15) {
	case 0x0b:
		value = *(const int32_t *)*at, *at += 4;
		break;
	case 0x03:
		value = *(const uint32_t *)*at, *at += 4;
		break;
	default:
		value = *(const int64_t *)*at, *at += 8;
	}
	return value + ((encoding & 0x70) == 0x10 ? (int64_t)here : 0);
}

static void one_fde(unw_addr_space_t as, const uint8_t *at, const uint8_t *end, const uint8_t *cie)
{
	const char *text = (const char *)cie + 9;
	const uint8_t *c = cie + 9 + strlen(text) + 1;
	uint64_t align = uleb(&c);
	uint8_t encoding = 0;
	uintptr_t pc, pc_end;
	struct eh_object object = {file.start, file.end, (const uint8_t *)file.hdr};
	struct eh_fde fde;

	uleb(&c); /* data alignment: the size is the same for signed numbers */
	c++;
	if (*text == 'z') {
		uleb(&c);
		for (text++; *text; text++) {
			if (*text == 'R')
				encoding = *c++;
			else if (*text == 'P')
				pointer(&c, *c & 15 ? (c++, c[-1] & 15) : (c++, 0));
			else if (*text == 'L')
				c++;
		}
	}
	pc = (uintptr_t)pointer(&at, encoding);
	pc_end = pc + (uintptr_t)pointer(&at, encoding & 15 & 7);
	if (cie[9] == 'z') {
		uint64_t size = uleb(&at);

		at += size;
	}
	if (pc == pc_end || pc < file.start || pc_end > file.end) {
		count.empty++;
		return;
	}
	if (eh_find(&object, pc, &fde) != EH_OK || fde.start != pc) {
		count.no_table++; /* a second description of the same code: the table has the other
				   */
		return;
	}
	count.fdes++;
	rows_of(as, at, end, pc, pc_end, align);
}

static void one_file(unw_addr_space_t as)
{
	const uint8_t *at = (const uint8_t *)file.start + file.eh_frame->sh_addr;
	const uint8_t *limit = at + file.eh_frame->sh_size;

	while (at + 8 <= limit) {
		uint32_t size = *(const uint32_t *)at, link = *(const uint32_t *)(at + 4);

		if (size == 0)
			break; /* a terminator; crtend's is the last */
		if (link)
			one_fde(as, at + 8, at + 4 + size, at + 4 - link);
		at += 4 + size;
	}
}

static bool map_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	struct stat st;
	char *all;
	const Elf64_Ehdr *e;
	const Elf64_Phdr *p;
	const Elf64_Shdr *s;
	uintptr_t span = 0;

	memset(&file, 0, sizeof(file));
	file.path = path;
	if (fd < 0 || fstat(fd, &st) != 0)
		return false;
	all = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	e = (const Elf64_Ehdr *)all;
	if (all == MAP_FAILED || memcmp(all, ELFMAG, 4) != 0 || e->e_machine != EM_X86_64)
		return false;
	p = (const Elf64_Phdr *)(all + e->e_phoff);
	for (int i = 0; i < e->e_phnum; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_vaddr + p[i].p_memsz > span)
			span = p[i].p_vaddr + p[i].p_memsz;
	file.start = (uintptr_t)mmap(NULL, span + 8192, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	file.end = file.start + span;
	for (int i = 0; i < e->e_phnum; i++) {
		uintptr_t in_page = p[i].p_vaddr & 4095;

		if (p[i].p_type == PT_GNU_EH_FRAME)
			file.hdr = file.start + p[i].p_vaddr;
		if (p[i].p_type == PT_LOAD)
			mmap((void *)(file.start + p[i].p_vaddr - in_page), p[i].p_filesz + in_page,
			     PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
			     (off_t)(p[i].p_offset - in_page));
	}
	s = (const Elf64_Shdr *)(all + e->e_shoff);
	for (int i = 0; i < e->e_shnum; i++)
		if (!strcmp(all + s[e->e_shstrndx].sh_offset + s[i].sh_name, ".eh_frame"))
			file.eh_frame = &s[i];
	close(fd);
	if (!file.hdr || !file.eh_frame)
		return false;
	file.fdes = *(const uint32_t *)(file.hdr + 8);
	return true;
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
	unw_addr_space_t as = UNW_OBJ(create_addr_space)(&accessors, 0);

	UNW_OBJ(set_caching_policy)(as, UNW_CACHE_NONE);
	for (int i = 1; i < argc; i++) {
		uint64_t before = count.rows;

		if (!map_file(argv[i])) {
			printf("%s: not there, or without unwind tables\n", argv[i]);
			continue;
		}
		count.files++;
		one_file(as);
		printf("%-60s %9lu rows\n", argv[i], count.rows - before);
		memset(rule_cache, 0, sizeof(rule_cache));
		munmap((void *)file.start, file.end - file.start);
	}
	printf("files %lu, functions %lu, rows %lu, differences %lu\n", count.files, count.fdes,
	       count.rows, count.different);
	printf("rows by rule: quick %lu, slow %lu, root %lu, signal %lu\n", count.quick, count.slow,
	       count.root, count.signal);
	printf("not compared: functions without entry in the search table %lu, of no size %lu; "
	       "rows that "
	       "libunwind refuses %lu, that both refuse %lu; stack pointers with a rule of their "
	       "own "
	       "%lu\n",
	       count.no_table, count.empty, count.they_fail, count.both_fail, count.sp_rule);
	return count.different != 0 || count.rows == 0;
}
