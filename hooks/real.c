/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Design: one pass resolves every row. First the malloc family, whose pointers are stored together: until
 * then the resolving thread's own allocations come from hooks/boot.c, which cannot take a block of
 * another allocator, and from then on none does, because a later lookup that fails allocates its error text.
 * Other threads wait. dlsym is declared `leaf` by glibc, so the state around it is atomic: plain stores would be
 * removed (hazard A4).
 */
#include "hooks/real.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/log.h"
#include "agent/base/sys.h"
#include "hooks/boot.h"

enum { UNRESOLVED, RESOLVING, RESOLVED };

EXPORT const char pprofagent_version[] = VERSION;
/* Our own, whichever copy's symbol the loader binds the visible name to. */
extern const char own_version[sizeof(VERSION)]
	__attribute__((alias("pprofagent_version"), visibility("hidden")));

static _Atomic int state;
static _Atomic int resolver; /* tid while RESOLVING */

enum need { NEED_REQUIRED, NEED_OPTIONAL };

/* In the order of struct real: row i describes pointer i. */
static const struct row {
	char name[27]; /* no pointers: nothing to relocate at start */
	char version[12];
	uint8_t need;
} rows[] = {
#define HOOK_REQUIRED(symbol, version_) { .name = #symbol, .version = #version_, .need = NEED_REQUIRED },
#define HOOK_OPTIONAL(symbol, version_) { .name = #symbol, .version = #version_, .need = NEED_OPTIONAL },
#define HOOK_RELEASE(symbol, version_)
#define HOOK_MARKER(symbol, version_)
#define HOOK(symbol, version, need) HOOK_##need(symbol, version)
#include "hooks/hooks.def"
#undef HOOK
};
_Static_assert(sizeof(struct real) == ARRAY_LEN(rows) * sizeof(void *), "one pointer per row");

static void *boot_realloc_alone(void *ptr, size_t size)
{
	return boot_realloc(ptr, size, boot_malloc);
}

static void boot_free(void *ptr)
{
}

#define ROW(member) (offsetof(struct real, member) / sizeof(void *))

/* By number, not by name: every process that lives for a moment asks this for each row. */
static void *boot_for(size_t row)
{
	switch (row) {
	case ROW(malloc):
		return boot_malloc;
	case ROW(calloc):
		return boot_calloc;
	case ROW(realloc):
		return boot_realloc_alone;
	case ROW(free):
		return boot_free;
	case ROW(posix_memalign):
		return boot_posix_memalign;
	case ROW(aligned_alloc):
	case ROW(memalign):
		return boot_aligned;
	default:
		return NULL;
	}
}

/* What a caller of an OPTIONAL function gets when libc has none. Such a caller is linked against a
 * newer libc than the one that runs, and would not have started without us either. */
static long missing(void)
{
	errno = ENOSYS;
	return -1;
}

/* "GLIBC_2_3_2" -> "GLIBC_2.3.2" */
static void version_text(char *out, size_t size, const char *node)
{
	size_t i;

	for (i = 0; node[i] && i + 1 < size; i++)
		out[i] = node[i] == '_' && i > 5 ? '.' : node[i];
	out[i] = '\0';
}

/* musl has no dlvsym */
extern __typeof__(dlvsym) dlvsym __attribute__((weak));

static void *look_up(const struct row *row)
{
	void *found = NULL;

	if (row->version[0] == 'G' && dlvsym) { /* GLIBC_..., not ANY */
		char version[32];

		version_text(version, sizeof(version), row->version);
		found = dlvsym(RTLD_NEXT, row->name, version);
	} else {
		found = dlsym(RTLD_NEXT, row->name);
	}
	if (!found && row->need == NEED_OPTIONAL)
		found = missing;
	return found;
}

static COLD void give_up(const char *name)
{
	log_line(LOG_ERROR, "no other library defines %s(): is the agent preloaded into a C program?",
		 name);
	SYS1(SYS_exit_group, 127);
}

static void *must_look_up(const struct row *row)
{
	void *found = look_up(row);

	if (!found)
		give_up(row->name);
	return found;
}

static void store(size_t i, void *found)
{
	void **pointers = (void **)&real;

	atomic_store_explicit((_Atomic(void *) *)&pointers[i], found, memory_order_release);
}

static COLD void resolve_all(void)
{
	void *family[ARRAY_LEN(rows)];
	int keep = errno;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		family[i] = boot_for(i) ? must_look_up(&rows[i]) : NULL;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (family[i])
			store(i, family[i]);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (!family[i])
			store(i, must_look_up(&rows[i]));
	errno = keep;
}

void real_resolve(void)
{
	int expected = UNRESOLVED;

	/* not looked at first: the page would fault twice, for reading and for writing */
	if (atomic_compare_exchange_strong(&state, &expected, RESOLVING)) {
		atomic_store(&resolver, sys_gettid());
		resolve_all();
		atomic_store_explicit(&state, RESOLVED, memory_order_release);
		return;
	}
	while (atomic_load_explicit(&state, memory_order_acquire) != RESOLVED)
		sys_sleep_ns(20000);
}

/*
 * Called by the boot entry of row i with all argument registers saved: what to jump to.
 */
void *real_boot(size_t i) __attribute__((visibility("hidden")));
void *real_boot(size_t i)
{
	void **pointers = (void **)&real;

	if (atomic_load_explicit(&state, memory_order_acquire) == RESOLVING &&
	    atomic_load(&resolver) == sys_gettid()) {
		void *serves = boot_for(i);

		return serves ? serves : look_up(&rows[i]);
	}
	real_resolve();
	return pointers[i];
}

void real_seal(void)
{
	/* boot.S gives it whole pages */
	sys_protect(&real, ALIGN_UP(sizeof(real), (size_t)4096), PROT_READ);
}

bool real_is_second_copy(void)
{
	return dlsym(RTLD_DEFAULT, "pprofagent_version") != own_version;
}
