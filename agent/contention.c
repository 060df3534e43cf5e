/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/contention.h"

#include "agent/base/fmt.h"
#include "agent/collect/buckets.h"
#include "agent/collect/census.h"
#include "agent/collect/contention.h"
#include "agent/collect/snapshot.h"
#include "agent/comments.h"

enum { COUNT, DELAY };

static void scale(const struct bucket *b, struct sample *out)
{
	int64_t count = atomic_load_explicit(&b->value[COUNT], memory_order_relaxed);
	int64_t half = (int64_t)1 << (CONTENTION_COUNT_BITS - 1);

	out->value[COUNT] = (count + half) >> CONTENTION_COUNT_BITS;
	out->value[DELAY] = atomic_load_explicit(&b->value[DELAY], memory_order_relaxed);
}

struct snapshot *block_take(const struct profile *profile, const struct request *request)
{
	return snapshot_take(SERIES_BLOCK, scale);
}

struct snapshot *mutex_take(const struct profile *profile, const struct request *request)
{
	return snapshot_take(SERIES_MUTEX, scale);
}

struct snapshot *threadcreate_take(const struct profile *profile, const struct request *request)
{
	return snapshot_take(SERIES_THREADCREATE, NULL);
}

uint64_t block_count(void)
{
	return buckets_count(SERIES_BLOCK);
}

uint64_t mutex_count(void)
{
	return buckets_count(SERIES_MUTEX);
}

static size_t block_how(char *buf, size_t size)
{
	uint64_t rate = contention_block_rate();

	if (!rate)
		return fmt_buf(buf, size, "waits are not recorded: PPROF_BLOCKPROFILERATE=0");
	if (rate == 1)
		return fmt_buf(buf, size, "every wait is recorded (PPROF_BLOCKPROFILERATE=1)");
	return fmt_buf(buf, size,
		       "waits of %lu ns and more are recorded, shorter ones in proportion "
		       "(PPROF_BLOCKPROFILERATE)",
		       rate);
}

static size_t mutex_how(char *buf, size_t size)
{
	uint64_t n = contention_mutex_fraction();

	if (!n)
		return fmt_buf(buf, size, "locks are not recorded: PPROF_MUTEXPROFILEFRACTION=0");
	if (n == 1)
		return fmt_buf(buf, size,
			       "every wait for a lock is charged to those who unlock "
			       "(PPROF_MUTEXPROFILEFRACTION=1)");
	return fmt_buf(buf, size,
		       "one of %lu waits for a lock is charged to those who unlock, %lu-fold "
		       "(PPROF_MUTEXPROFILEFRACTION)",
		       n, n);
}

void block_comment(const struct snapshot *snapshot, struct comments *comments)
{
	char text[160];

	block_how(text, sizeof(text));
	comments_add(comments, "pprofagent: %s", text);
}

void mutex_comment(const struct snapshot *snapshot, struct comments *comments)
{
	char text[160];

	mutex_how(text, sizeof(text));
	comments_add(comments, "pprofagent: %s", text);
}

void block_text_trailer(char *buf, size_t size)
{
	char text[160];

	block_how(text, sizeof(text));
	fmt_buf(buf, size, "# %s\n", text);
}

void mutex_text_trailer(char *buf, size_t size)
{
	char text[160];

	mutex_how(text, sizeof(text));
	fmt_buf(buf, size, "# %s\n", text);
}

void threadcreate_text_trailer(char *buf, size_t size)
{
	uint64_t created = census_created(), live = census_live();
	/* the main thread lives and was never created */
	uint64_t ended = created + 1 > live ? created + 1 - live : 0;

	fmt_buf(buf, size, "# created %lu\n# live %lu\n# ended %lu\n", created, live, ended);
}
