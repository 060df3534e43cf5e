/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that libunwind asks for is the copy of the stack, or unwind tables of a mapped object. The
 * latter are read by the kernel, page by page: the copy may be older than a dlclose, and a table
 * that is gone must be an error, not a fault.
 */
#include "agent/collect/unwind_remote.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/modules.h"
#include "agent/collect/unwind_rule.h"
#include "agent/collect/unwind_walk.h"

enum { COPY_REACH = 1024 }; /* words: a sleeping thread's big frames are worth a long search */

void unwind_snapshot_context(struct unwind_snapshot *snapshot, const ucontext_t *context)
{
	arch_from_context(context, snapshot->regs.reg);
	snapshot->regs.known = ARCH_KNOWN_ALL;
}

void unwind_snapshot_asleep(struct unwind_snapshot *snapshot, uintptr_t pc, uintptr_t sp)
{
	memset(&snapshot->regs, 0, sizeof(snapshot->regs));
	snapshot->regs.reg[ARCH_PC] = pc;
	snapshot->regs.reg[ARCH_SP] = sp;
	snapshot->regs.known = 1u << ARCH_PC | 1u << ARCH_SP;
}

static uint32_t own_walk(const struct unwind_snapshot *snapshot, uintptr_t *pcs, uint32_t max,
			 enum unwind_end *out_end)
{
	struct unwind_walk walk = {
		.from = &snapshot->regs,
		.pcs = pcs,
		.max = max,
		.reach = COPY_REACH,
	};

	unwind_stack_fix(&walk.stack, snapshot->stack_base,
			 snapshot->stack_base + snapshot->stack_size, snapshot->stack);
	unwind_walk(&walk, false);
	*out_end = walk.end;
	return walk.n;
}

#if __has_include(<libunwind-x86_64.h>) && defined(__x86_64__)
#include <libunwind-x86_64.h>

#define LIBRARY	 "libunwind-x86_64.so.8"
#define TEXT2(x) #x
#define TEXT(x)	 TEXT2(x)

enum { PAGE = 4096, PAGES = 16, TABLES_NEAR = 256 << 20 };

typedef int search_table_fn(unw_addr_space_t, unw_word_t, unw_dyn_info_t *, unw_proc_info_t *, int,
			    void *);

static struct {
	_Atomic(const char *) status;
	_Atomic bool busy; /* libunwind is at work */
	unw_addr_space_t made; /* by unwind_remote_load */
	unw_addr_space_t space; /* the same, once it is set up */
	uint32_t generation; /* that libunwind's own cache is for */
	uintptr_t tables;    /* .eh_frame_hdr of the object at hand: its tables are near */
	const struct unwind_snapshot *at_hand;
	/* libunwind's functions */
	__typeof__(&UNW_OBJ(create_addr_space)) create_addr_space;
	__typeof__(&UNW_OBJ(set_caching_policy)) set_caching_policy;
	__typeof__(&UNW_OBJ(init_remote)) init_remote;
	__typeof__(&UNW_OBJ(step)) step;
	__typeof__(&UNW_OBJ(get_reg)) get_reg;
	__typeof__(&UNW_OBJ(flush_cache)) flush_cache;
	search_table_fn *dwarf_search_unwind_table;
	/* pages of unwind tables, by their number; forgotten with each stack */
	uintptr_t page_at[PAGES];
	uint8_t page[PAGES][PAGE];
} self BIG;

static int find_proc_info(unw_addr_space_t space, unw_word_t ip, unw_proc_info_t *out, int need,
			  void *arg)
{
	unw_dyn_info_t info = {.format = UNW_INFO_FORMAT_REMOTE_TABLE};
	struct eh_object object;
	uint8_t head[12];
	uint32_t n;

	/* Any other error than -UNW_ENOINFO: with that one libunwind guesses, and calls it a root.
	 */
	if (!eh_object_at(ip, &object) || !object.hdr ||
	    !unwind_peek((uintptr_t)object.hdr, head, sizeof(head)))
		return -UNW_EBADFRAME;
	self.tables = (uintptr_t)object.hdr;
	memcpy(&n, head + 8, sizeof(n));
	if (head[0] != 1 || head[2] != 0x03 || head[3] != 0x3b || n == 0 ||
	    n > (object.end - (uintptr_t)object.hdr) / 8)
		return -UNW_EBADFRAME;
	info.start_ip = object.start;
	info.end_ip = object.end;
	info.u.rti.segbase = (uintptr_t)object.hdr;
	info.u.rti.table_data = (uintptr_t)object.hdr + 12;
	info.u.rti.table_len = n; /* in entries, of which libunwind knows the size */
	return self.dwarf_search_unwind_table(space, ip, &info, out, need, arg) < 0 ? -UNW_EBADFRAME : 0;
}

static void put_unwind_info(unw_addr_space_t space, unw_proc_info_t *info, void *arg)
{
}

static int no_list(unw_addr_space_t space, unw_word_t *at, void *arg)
{
	return -UNW_ENOINFO;
}

static const uint8_t *page_of(uintptr_t at)
{
	unsigned slot = at / PAGE % PAGES;

	at = ALIGN_DOWN(at, (uintptr_t)PAGE);
	if (self.page_at[slot] == at)
		return self.page[slot];
	self.page_at[slot] = 0;
	if (!unwind_peek(at, self.page[slot], PAGE))
		return NULL;
	self.page_at[slot] = at;
	return self.page[slot];
}

/* A word of a mapped object; libunwind asks for instructions too, hence at any address. */
static bool object_word(uintptr_t at, unw_word_t *out_value)
{
	size_t first = PAGE - at % PAGE;
	const uint8_t *page = page_of(at);

	if (!page)
		return false;
	if (first >= sizeof(*out_value)) {
		memcpy(out_value, page + at % PAGE, sizeof(*out_value));
		return true;
	}
	memcpy(out_value, page + at % PAGE, first);
	page = page_of(at + first);
	if (page)
		memcpy((char *)out_value + first, page, sizeof(*out_value) - first);
	return page != NULL;
}

static int access_mem(unw_addr_space_t space, unw_word_t at, unw_word_t *value, int write,
		      void *arg)
{
	const struct unwind_snapshot *snapshot = self.at_hand;
	struct eh_object object;

	if (write)
		return -UNW_EINVAL;
	if (!(at & 7) && at - snapshot->stack_base < snapshot->stack_size) {
		memcpy(value, (const char *)snapshot->stack + (at - snapshot->stack_base),
		       sizeof(*value));
		return 0;
	}
	if ((!self.tables || at - self.tables + TABLES_NEAR > 2 * (uintptr_t)TABLES_NEAR) &&
	    !eh_object_at(at, &object))
		return -UNW_EINVAL;
	return object_word(at, value) ? 0 : -UNW_EINVAL;
}

static int access_reg(unw_addr_space_t space, unw_regnum_t reg, unw_word_t *value, int write,
		      void *arg)
{
	const struct unwind_regs *regs = &self.at_hand->regs;

	if (write || reg < 0 || reg >= ARCH_REGS || !(regs->known >> reg & 1))
		return -UNW_EBADREG;
	*value = regs->reg[reg];
	return 0;
}

static int access_fpreg(unw_addr_space_t space, unw_regnum_t reg, unw_fpreg_t *value, int write,
			void *arg)
{
	return -UNW_EBADREG;
}

static int no_resume(unw_addr_space_t space, unw_cursor_t *cursor, void *arg)
{
	return -UNW_EINVAL;
}

static int no_name(unw_addr_space_t space, unw_word_t at, char *buf, size_t size,
		   unw_word_t *offset, void *arg)
{
	return -UNW_ENOINFO;
}

/* A walk that libunwind calls complete is so when its last frame really is a root. */
static enum unwind_end end_of(enum rule_kind rule, uintptr_t pc, int last_step,
			      unw_cursor_t *cursor)
{
	unw_word_t next;

	if (last_step < 0)
		return last_step == -UNW_EBADREG ? UNWIND_REGISTER : UNWIND_NO_RULE;
	switch (rule) {
	case RULE_ROOT:
		return UNWIND_ROOT;
	case RULE_NONE:
	case RULE_GAP:
	case RULE_GAP_CALL:
		return pc == unwind_start_context() ? UNWIND_ROOT : UNWIND_NO_RULE;
	default:
		if (self.get_reg(cursor, UNW_REG_IP, &next) == 0 && next == 0)
			return UNWIND_ROOT;
		return UNWIND_BOUNDS;
	}
}

static uint32_t walk_with_libunwind(uintptr_t *pcs, uint32_t max, enum unwind_end *out_end)
{
	struct unwind_walk rules = {
		.generation = self.generation,
		.cached = unwind_closing() ? 0 : (uintptr_t)1 << 48,
	};
	unw_cursor_t cursor;
	enum rule_kind rule;
	bool exact = true;
	uint32_t n = 0;
	int step;

	if (self.init_remote(&cursor, self.space, NULL) < 0) {
		*out_end = UNWIND_NO_RULE;
		return 0;
	}
	for (;;) {
		unw_word_t pc;
		uintptr_t at;

		if (self.get_reg(&cursor, UNW_REG_IP, &pc) < 0 || pc < UNWIND_LOWEST_PC) {
			*out_end = n && !exact && pc == 0 ? UNWIND_ROOT : UNWIND_NO_RULE;
			return n;
		}
		at = exact ? pc : pc - 1;
		/* libunwind 1.6 does not say of a remote frame that it is a signal's; our rule
		 * does. */
		rule = rule_kind(unwind_rule_of(&rules, at));
		if (rule == RULE_SIGNAL)
			at = pc;
		if (!modules_is_own(at)) {
			if (n == max) {
				*out_end = UNWIND_TRUNCATED;
				return n;
			}
			pcs[n++] = at;
		}
		step = self.step(&cursor);
		if (step <= 0) {
			*out_end = end_of(rule, pc, step, &cursor);
			return n;
		}
		exact = rule == RULE_SIGNAL;
	}
}

/* false: there is no libunwind. */
static bool try_libunwind(const struct unwind_snapshot *snapshot, uintptr_t *pcs, uint32_t max,
			  uint32_t *out_n, enum unwind_end *out_end)
{
	uint32_t generation = modules_generation();
	bool guarded;

	if (!self.space)
		return false;
	atomic_store(&self.busy, true);
	if (generation != self.generation) {
		self.flush_cache(self.space, 0, 0);
		self.generation = generation;
	}
	memset(self.page_at, 0, sizeof(self.page_at));
	self.tables = 0;
	self.at_hand = snapshot;
	/* Our rules, which are asked along the way, are read in place: as a guess is. */
	guarded = unwind_guess_enter();
	*out_n = walk_with_libunwind(pcs, max, out_end);
	if (guarded)
		unwind_guess_leave();
	self.at_hand = NULL;
	atomic_store(&self.busy, false);
	stat_add(STAT_UNWIND_REMOTE, 1);
	return true;
}

/* The accessors are kept by libunwind: one table for the whole life. */
static unw_accessors_t accessors = {
	.find_proc_info = find_proc_info,
	.put_unwind_info = put_unwind_info,
	.get_dyn_info_list_addr = no_list,
	.access_mem = access_mem,
	.access_reg = access_reg,
	.access_fpreg = access_fpreg,
	.resume = no_resume,
	.get_proc_name = no_name,
};

static bool bind_functions(void *library)
{
#define BIND(name) ((self.name) = (__typeof__(self.name))dlsym(library, TEXT(UNW_OBJ(name))))
	return BIND(create_addr_space) && BIND(set_caching_policy) && BIND(init_remote) && BIND(step) &&
	       BIND(get_reg) && BIND(flush_cache) && BIND(dwarf_search_unwind_table);
#undef BIND
}

/* Sanitizers' runtimes end a program that asks for RTLD_DEEPBIND. */
static bool sanitized(void)
{
	return dlsym(RTLD_DEFAULT, "__asan_init") || dlsym(RTLD_DEFAULT, "__tsan_init") ||
	       dlsym(RTLD_DEFAULT, "__msan_init") || dlsym(RTLD_DEFAULT, "__lsan_init") ||
	       dlsym(RTLD_DEFAULT, "__ubsan_handle_add_overflow");
}

int unwind_remote_load(void)
{
	int keep = errno;
	void *library;
	bool complete;

	/* bound to its own libraries first: what the program exports under libc's names is not for us to call
	 * (hazard A6) */
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | (sanitized() ? 0 : RTLD_DEEPBIND));
	complete = library && bind_functions(library);
	dlerror(); /* what could not be found is no error of the program's */
	self.made = complete ? self.create_addr_space(&accessors, 0) : NULL;
	errno = keep;
	if (self.made)
		return 0;
	stat_add(STAT_UNWIND_NO_LIBUNWIND, 1);
	atomic_store(&self.status, library ? LIBRARY
					   " lacks functions; the agent's own walker is used"
					   : LIBRARY " is not installed (Debian: libunwind8); the "
						     "agent's own walker is used");
	return -ENOENT;
}

int unwind_remote_start(void)
{
	if (self.space)
		return 0;
	if (!self.made)
		return -ENOENT;
	self.set_caching_policy(self.made, UNW_CACHE_GLOBAL);
	self.generation = modules_generation();
	self.space = self.made;
	atomic_store(&self.status, LIBRARY);
	return 0;
}

const char *unwind_remote_status(void)
{
	const char *status = atomic_load(&self.status);

	return status ? status : "not loaded yet; the agent's own walker is used";
}

void unwind_remote_child(void)
{
	if (!atomic_load(&self.busy))
		return;
	self.space = self.made = NULL;
	atomic_store(&self.busy, false);
	atomic_store(&self.status,
		     LIBRARY " was at work during fork; the agent's own walker is used");
}

#else

static bool try_libunwind(const struct unwind_snapshot *snapshot, uintptr_t *pcs, uint32_t max,
			  uint32_t *out_n, enum unwind_end *out_end)
{
	return false;
}

int unwind_remote_load(void)
{
	stat_add(STAT_UNWIND_NO_LIBUNWIND, 1);
	return -ENOENT;
}

int unwind_remote_start(void)
{
	return -ENOENT;
}

const char *unwind_remote_status(void)
{
	return "built without libunwind; the agent's own walker is used";
}

void unwind_remote_child(void)
{
}

#endif

uint32_t unwind_remote(const struct unwind_snapshot *snapshot, uintptr_t *pcs, uint32_t max,
		       enum unwind_end *out_end)
{
	uint32_t n;

	if (try_libunwind(snapshot, pcs, max, &n, out_end) &&
	    (*out_end == UNWIND_ROOT || *out_end == UNWIND_TRUNCATED))
		return n;
	/* Ours knows what to do with generated code and with registers that are not known. */
	return own_walk(snapshot, pcs, max, out_end);
}
