/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a snapshot: stacks of wild addresses and marks, values, labels, wild texts, at a budget of
 * memory that may end anywhere. Both encoders must end, and a profile that is said to be complete must be
 * one gzip member that holds well-formed messages.
 */
#include <errno.h>
#include <zlib.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "agent/collect/snapshot.h"
#include "agent/collect/stacks.h"
#include "encode/pprof.h"
#include "encode/profile.pb-c.h"
#include "encode/symbols.h"
#include "encode/text.h"
#include "tests/fuzz/fuzz.h"

struct collect {
	struct sink sink;
	uint8_t *data;
	size_t size, fail_at;
};

static char wild[64];

static int collect(struct sink *sink, const void *data, size_t size)
{
	struct collect *c = (struct collect *)sink;

	if (c->size + size > c->fail_at)
		return -EPIPE;
	c->data = realloc(c->data, c->size + size);
	memcpy(c->data + c->size, data, size);
	c->size += size;
	return 0;
}

static const char *tag_name(uint32_t tag, char *buf, size_t size)
{
	strncpy(buf, wild, size - 1);
	buf[size - 1] = '\0';
	return tag % 3 ? buf : NULL;
}

/* What an independent unpacker (protobuf-c's own, which the encoder does not use) makes of it. */
static void check(const struct collect *c, size_t samples)
{
	static uint8_t plain[1 << 20];
	z_stream z = { .next_in = c->data, .avail_in = (unsigned)c->size,
		       .next_out = plain, .avail_out = sizeof(plain) };
	Perftools__Profiles__Profile *profile;

	if (inflateInit2(&z, 31) != Z_OK)
		abort();
	if (inflate(&z, Z_FINISH) == Z_STREAM_END) {
		profile = perftools__profiles__profile__unpack(NULL, z.total_out, plain);
		if (!profile || profile->n_sample != samples || profile->n_string_table < 1 ||
		    profile->string_table[0][0])
			abort();
		for (size_t i = 0; i < profile->n_location; i++)
			if (profile->location[i]->id != i + 1 || !profile->location[i]->address)
				abort();
		perftools__profiles__profile__free_unpacked(profile, NULL);
	} else if (z.avail_out) {
		abort();
	}
	inflateEnd(&z);
}

static void encode(struct snapshot *snapshot, enum symbolize symbolize, struct collect *to)
{
	static const struct profile_desc desc = { .types = { { "a", "count" }, { "b", "bytes" } },
						  .period_type = { "b", "bytes" },
						  .default_type = "a" };
	const char *comments[] = { wild, NULL };
	struct profile_facts facts = { .period = 1, .time_ns = 1, .comments = comments };
	struct pprof_writer *writer =
		pprof_begin(&to->sink, &desc, &facts, snapshot, symbolize, tag_name);
	int more = -ENOMEM;

	while (writer && (more = pprof_step(writer, 0)) > 0)
		;
	pprof_drop(writer);
	if (more == 0)
		check(to, snapshot->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct collect to = { .sink.write = collect };
	struct snapshot *snapshot;
	struct text_words words = { .name = "x", .unit = "y" };
	struct text_writer *text;
	void **stacks;
	size_t n = 0;

	if (size < 8)
		return 0;
	budget_set(128 << 20);
	snapshot = snapshot_new();
	stacks = calloc(size, sizeof(*stacks));
	memcpy(wild, data, size < 63 ? size : 63);
	to.fail_at = data[0] % 4 ? SIZE_MAX : data[1] * 64u;
	for (size_t at = 8; at + 4 <= size && n < 2000; n++) {
		uint32_t depth = data[at] % 20;
		struct stack *stack = calloc(1, sizeof(*stack) + depth * sizeof(stack->pcs[0]));
		struct sample sample = { .stack = stack, .tag = data[at + 1], .bytes = data[at + 2],
					 .value = { data[at + 3], (int8_t)data[at + 1] } };

		stack->depth = depth;
		stack->generation = data[at + 2];
		at += 4;
		for (uint32_t i = 0; i < depth && at < size; i++, at++)
			stack->pcs[i] = data[at] < 100 ? data[at] :
					(uintptr_t)LLVMFuzzerTestOneInput + (uintptr_t)data[at] * 37;
		stacks[n] = stack;
		/* rows of zeros are in no snapshot, and the encoder leaves them out */
		if (!sample_is_zero(&sample) && !snapshot_add(snapshot, &sample))
			abort();
	}
	if (data[2] % 4 == 0)
		budget_set(mem_used() + data[3] * 8192u);
	encode(snapshot, data[4] % 2 ? SYMBOLIZE_NAMES : SYMBOLIZE_NONE, &to);
	words.form = (enum text_form)(data[5] % 3);
	text = text_begin(&to.sink, &words, snapshot, SYMBOLIZE_NAMES);
	while (text && text_step(text, 0) > 0)
		;
	text_drop(text);
	snapshot_drop(snapshot);
	while (n-- > 0)
		free(stacks[n]);
	free(stacks);
	free(to.data);
	symbols_trim();
	symbols_trim();
	symbols_trim();
	if (mem_used())
		abort();
	return 0;
}
