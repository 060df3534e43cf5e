/* SPDX-License-Identifier: Apache-2.0 */
/* encode/trace_*: the bytes of two small traces, and that nonsense becomes a trace that obeys the rules. */
#include <stdint.h>
#include <unistd.h>

#include "agent/base/budget.h"
#include "agent/base/mem.h"
#include "agent/collect/stacks.h"
#include "encode/trace_merge.h"
#include "tests/unit/test.h"
#include "tests/unit/trace_judge.h"

struct memory {
	struct sink sink;
	size_t n;
	unsigned char at[1 << 22];
};
static struct memory out;

static int memory_write(struct sink *sink, const void *data, size_t size)
{
	CHECK(out.n + size <= sizeof(out.at));
	memcpy(out.at + out.n, data, size);
	out.n += size;
	return 0;
}

static const char *function_of(struct trace_names *names, uint64_t pc, uint32_t generation)
{
	switch (pc) {
	case 0x1000:
		return "main";
	case 0x2000:
		return "worker";
	case 0x3000:
		return "lock";
	case 0x4000:
		return "unlock";
	default:
		return "start_thread";
	}
}

static unsigned place_of(struct trace_names *names, uint64_t pc, uint32_t generation, unsigned i,
			 struct trace_place *out)
{
	*out = (struct trace_place){ function_of(names, pc, generation), "f.c", (uint32_t)(pc >> 12) };
	return 1;
}

static struct trace_names names = { .function = function_of, .place = place_of };

static uint32_t stack_of(struct trace_tables *tables, uint32_t depth, uintptr_t leaf, uintptr_t root)
{
	uintptr_t pcs[2] = { leaf, root };

	return trace_tables_stack(tables, stacks_intern(pcs, depth, 0));
}

/* G1 "main" creates G2 "worker"; G2 waits 1000 ns for a lock that G1 gives up. */
static void write_minimum(const struct trace_format *format, const struct trace_event *events, size_t n)
{
	static const char *const texts[] = { "main", "worker", "lock", "unlock", "f.c" };
	struct trace_frame frames[TRACE_FRAMES_MAX];
	struct trace_tables tables;
	struct trace_encoder enc;

	budget_set(1 << 24);
	out.n = 0;
	out.sink.write = memory_write;
	CHECK(trace_tables_init(&tables, &names));
	for (size_t i = 0; i < 5; i++)
		CHECK_INT(trace_tables_text(&tables, texts[i]), i + 1);
	if (format->by_thread) {
		CHECK_INT(trace_tables_text(&tables, "sync mutex"), 6);
		CHECK_INT(trace_tables_text(&tables, "preempted"), 7);
	}
	CHECK_INT(stack_of(&tables, 1, 0x1000, 0), 1);
	CHECK_INT(stack_of(&tables, 1, 0x2000, 0), 2);
	CHECK_INT(stack_of(&tables, 2, 0x3000, 0x2000), 3);
	CHECK_INT(stack_of(&tables, 2, 0x4000, 0x1000), 4);
	trace_encoder_begin(&enc, format, &out.sink, &tables);
	for (size_t i = 0; i < n; i++)
		format->event(&enc, &events[i]);
	trace_encoder_footer(&enc, 7000);
	for (size_t i = 1; i < tables.strings.n; i++) {
		const struct strtab_text *text = strtab_get(&tables.strings, i);

		format->string(&enc, (uint32_t)i, text->text, text->len);
	}
	for (uint32_t i = 1; i <= 4; i++)
		format->stack(&enc, i, frames, trace_tables_frames(&tables, i, frames));
	format->end(&enc);
	CHECK_INT(enc.err, 0);
	CHECK(!tables.failed);
	trace_encoder_free(&enc);
	trace_tables_free(&tables);
	CHECK_INT(mem_used(), 0);
}

static void same_bytes(const char *hex)
{
	size_t n = strlen(hex) / 2;
	unsigned byte;

	for (size_t i = 0; i < n && i < out.n; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			test_fail(__FILE__, __LINE__, "no hex at %zu", i);
		if (out.at[i] != byte)
			test_fail(__FILE__, __LINE__, "byte %zu is %02x, not %02x", i, out.at[i], byte);
	}
	CHECK_INT(out.n, n);
}

TEST(trace_v1_bytes)
{
	static const struct trace_event events[] = {
		{ OP_PROCS, 1000, .proc = 1, .value = 2 },
		{ OP_PROC_START, 1010, .proc = 1, .thread = 11 },
		{ OP_CREATE, 1020, .proc = 1, .g = 1, .entry = 1 },
		{ OP_START, 1030, .proc = 1, .g = 1, .seq = 1 },
		{ OP_CREATE, 1100, .proc = 1, .g = 2, .entry = 2, .stack = 4 },
		{ OP_PROC_START, 1200, .proc = 2, .thread = 12 },
		{ OP_START, 1210, .proc = 2, .g = 2, .seq = 1 },
		{ OP_BLOCK, 2000, .proc = 2, .g = 2, .stack = 3, .block = BLOCK_SYNC },
		{ OP_UNBLOCK, 3000, .proc = 1, .g = 2, .seq = 2, .stack = 4 },
		{ OP_START, 4000, .proc = 2, .g = 2, .seq = 3 },
		{ OP_END, 5000, .proc = 2 },
		{ OP_PROC_STOP, 5010, .proc = 2 },
		{ OP_STOP, 6000, .proc = 1, .stack = 1 },
		{ OP_PROC_STOP, 6010, .proc = 1 },
	};

	write_minimum(&trace_v1, events, sizeof(events) / sizeof(events[0]));
	same_bytes("676f20312e3139207472616365000000"
		   "4101e80784000200450a0bcd040a010100"
		   "8e0a0101cd0446020204d505ec0e020204"
		   "52b81701060a4102b00945000c8e0a0201"
		   "59960603"
		   "8ed00f02030fe807060a4100d836028094ebdc03"
		   "2501046d61696e250206776f726b65722503046c6f636b250406756e6c6f636b250503662e63"
		   "c30701018020010501c307020180400205"
		   "02c30c03028060030503804002050"
		   "2c30d04028080010405048020010501");
}

TEST(trace_v2_bytes)
{
	static const struct trace_event events[] = {
		{ OP_PROC_IS, 1000, .proc = 1, .lane = 1, .thread = 11 },
		{ OP_CREATE, 1020, .proc = 1, .lane = 1, .thread = 11, .g = 1, .entry = 1 },
		{ OP_START, 1030, .proc = 1, .lane = 1, .thread = 11, .g = 1, .seq = 1 },
		{ OP_PROCS, 1040, .proc = 1, .lane = 1, .thread = 11, .value = 2 },
		{ OP_CREATE, 1100, .proc = 1, .lane = 1, .thread = 11, .g = 2, .entry = 2, .stack = 4 },
		{ OP_PROC_START, 1200, .proc = 2, .lane = 2, .thread = 12 },
		{ OP_START, 1210, .proc = 2, .lane = 2, .thread = 12, .g = 2, .seq = 1 },
		{ OP_BLOCK, 2000, .proc = 2, .lane = 2, .thread = 12, .g = 2, .stack = 3, .text = 6 },
		{ OP_PROC_STOP, 2010, .proc = 2, .lane = 2, .thread = 12 },
		{ OP_UNBLOCK, 3000, .proc = 1, .lane = 1, .thread = 11, .g = 2, .seq = 2, .stack = 4 },
		{ OP_PROC_START, 4007, .proc = 2, .lane = 2, .thread = 12 },
		{ OP_START, 4010, .proc = 2, .lane = 2, .thread = 12, .g = 2, .seq = 3 },
		{ OP_END, 5010, .proc = 2, .lane = 2, .thread = 12 },
		{ OP_PROC_STOP, 5020, .proc = 2, .lane = 2, .thread = 12 },
		{ OP_STOP, 6000, .proc = 1, .lane = 1, .thread = 11, .stack = 1, .text = 7 },
		{ OP_PROC_STOP, 6010, .proc = 1, .lane = 1, .thread = 11 },
	};

	write_minimum(&trace_v2, events, sizeof(events) / sizeof(events[0]));
	same_bytes("676f20312e32322074726163650000000101"
		   "0be80723"
		   "0d0001010e14010100100a0101090a02000e3c02020415ec0e02020413b81707010b0a"
		   "01010cb009210d000202"
		   "0a010201100902011496060603"
		   "0b0a0ace0f02021002020311e8070b0a"
		   "0101ffffffffffffffffff010106088094ebdc03"
		   "0101ffffffffffffffffff010140"
		   "040501046d61696e0502" "06776f726b657205"
		   "03046c6f636b050406756e6c6f636b050503662e6305060a73796e63206d75746578050709707265656d70746564"
		   "0101ffffffffffffffffff01012c"
		   "02030101802001050103020180400205020303028060030503804002050203040280800104050480200105"
		   "01");
}

/* ---- nonsense ---- */

enum { RECORDS = 300 };

static struct trace_record *nonsense(unsigned seed)
{
	static struct trace_record records[RECORDS];
	static const struct stack *stacks[4];
	uintptr_t pcs[2] = { 0x3000, 0x2000 };

	stacks[0] = stacks_intern(pcs, 2, 0);
	pcs[0] = 0x4000;
	pcs[1] = 0x1000;
	stacks[1] = stacks_intern(pcs, 2, 0);
	memset(records, 0, sizeof(records));
	for (int i = 0; i < RECORDS; i++) {
		struct trace_record *r = &records[i];

		r->kind = 1 + rand_r(&seed) % 5;
		r->tag = 1 + rand_r(&seed) % 8;
		r->tid = 100 + r->tag % 6; /* some are used twice */
		r->waker = rand_r(&seed) % 10;
		r->at_ns = 900 + rand_r(&seed) % 5000;
		r->woken_ns = r->at_ns + rand_r(&seed) % 300;
		r->until_ns = rand_r(&seed) % 20 ? r->at_ns + rand_r(&seed) % 500 : TRACE_NEVER;
		r->reason = rand_r(&seed) % 5;
		r->value = 0x2000;
		if (r->kind == TRACE_END) {
			snprintf(r->name, sizeof(r->name), "name%u", r->tag);
		} else {
			r->stack = stacks[rand_r(&seed) % 3];
			r->waker_stack = stacks[rand_r(&seed) % 3];
		}
	}
	return records;
}

static void merge(unsigned seed, const struct trace_format *format, unsigned n)
{
	struct trace_window window = { .start_ns = 1000, .end_ns = 6000, .agent_tid = 99, .process = "prog",
				       .pool = seed / 2 % 2, .notice = seed % 2 ? "it was full" : NULL };
	struct trace_merge *m = trace_merge_new(&window, &names);
	struct trace_record *records = nonsense(seed);
	int left;

	CHECK(m);
	for (uint32_t tag = 1; tag < seed % 5; tag++) {
		struct trace_thread t = { .tag = tag, .tid = 100 + tag, .existed = true, .start = 0x2000 };

		CHECK(trace_merge_thread(m, &t));
	}
	for (unsigned i = 0; i < n; i++)
		CHECK(trace_merge_add(m, &records[i]));
	out.n = 0;
	out.sink.write = memory_write;
	CHECK(trace_merge_begin(m, format, &out.sink));
	while ((left = trace_merge_step(m, 1000000)) > 0)
		;
	CHECK_INT(left, 0);
	trace_merge_drop(m);
	CHECK_INT(mem_used(), 0);
}

TEST(trace_of_nonsense_is_legal)
{
	budget_set(1 << 26);
	for (unsigned seed = 0; seed < 1500; seed++) {
		merge(seed, &trace_v1, seed % RECORDS);
		judge_v1(&(struct judged){ out.at, out.n });
		merge(seed, &trace_v2, seed % RECORDS);
		judge_v2(&(struct judged){ out.at, out.n });
		merge(seed, &trace_perfetto, seed % RECORDS);
	}
}

/* Lets other judges look: files of TRACE_SEEDS seeds for tests/integration/test_trace_nonsense.py. */
TEST(trace_files)
{
	static const struct trace_format *const formats[] = { &trace_v1, &trace_v2, &trace_perfetto };
	const char *where = getenv("TRACE_FILES"), *seeds = getenv("TRACE_SEEDS");
	char path[512];

	if (!where)
		test_skip("TRACE_FILES names no directory to write to");
	budget_set(1 << 26);
	for (unsigned seed = 0; seed < (seeds ? (unsigned)atoi(seeds) : 40); seed++) {
		for (int i = 0; i < 3; i++) {
			FILE *f;

			merge(seed * 7, formats[i], seed * 7 % RECORDS);
			snprintf(path, sizeof(path), "%s/%u.%s", where, seed, formats[i]->name);
			f = fopen(path, "wb");
			CHECK(f && fwrite(out.at, 1, out.n, f) == out.n);
			fclose(f);
		}
	}
}

/* How many of these records no reader gets to see; the trace is legal. */
static uint64_t dropped_of(struct trace_record *records, size_t n, uint32_t existed_tag)
{
	static const struct trace_format *const formats[] = { &trace_v1, &trace_v2 };
	struct trace_window window = { .start_ns = 1000, .end_ns = 9000, .agent_tid = 99, .process = "" };
	struct trace_thread thread = { .tag = existed_tag, .tid = 5, .existed = true };
	uint64_t dropped = 0;

	budget_set(1 << 24);
	for (int i = 0; i < 2; i++) {
		struct trace_merge *m = trace_merge_new(&window, &names);

		CHECK(m && (!existed_tag || trace_merge_thread(m, &thread)));
		for (size_t at = 0; at < n; at++)
			CHECK(trace_merge_add(m, &records[at]));
		out.n = 0;
		out.sink.write = memory_write;
		CHECK(trace_merge_begin(m, formats[i], &out.sink));
		while (trace_merge_step(m, 1000000) > 0)
			;
		if (i)
			CHECK_INT(trace_merge_dropped(m), dropped);
		dropped = trace_merge_dropped(m);
		trace_merge_drop(m);
		CHECK_INT(mem_used(), 0);
		(i ? judge_v2 : judge_v1)(&(struct judged){ out.at, out.n });
	}
	return dropped;
}

/* A wait within a wait (a signal handler's), and a sample of a thread that has ended. */
TEST(trace_counts_what_it_drops)
{
	struct trace_record r[] = {
		{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = 2000, .until_ns = 5000 },
		{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = 3000, .until_ns = 4000 },
		{ .kind = TRACE_END, .tag = 1, .tid = 5, .at_ns = 6000 },
		{ .kind = TRACE_SAMPLE, .tag = 1, .tid = 5, .at_ns = 7000 },
	};

	CHECK_INT(dropped_of(r, 4, 0), 2);
}

/* Threads record before the window begins: the agent may lose its processor in between. */
TEST(trace_of_threads_that_began_before_the_window)
{
	struct trace_record begins_and_waits[] = {
		{ .kind = TRACE_BEGIN, .tag = 1, .tid = 5, .at_ns = 500, .until_ns = 600 },
		{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = 650, .until_ns = 700 },
		{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = 700, .until_ns = 750 },
		{ .kind = TRACE_SAMPLE, .tag = 1, .tid = 5, .at_ns = 760 },
		{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = 800, .until_ns = 5000 },
		{ .kind = TRACE_END, .tag = 1, .tid = 5, .at_ns = 6000 },
	};
	struct trace_record is_over[] = {
		{ .kind = TRACE_BEGIN, .tag = 1, .tid = 5, .at_ns = 500, .until_ns = 600 },
		{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = 650, .until_ns = 700 },
		{ .kind = TRACE_END, .tag = 1, .tid = 5, .at_ns = 800 },
	};
	struct trace_record between[] = {
		{ .kind = TRACE_BEGIN, .tag = 1, .tid = 5, .at_ns = 900, .until_ns = 1100 },
		{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = 1200, .until_ns = 5000 },
	};

	for (uint32_t existed = 0; existed < 2; existed++) {
		CHECK_INT(dropped_of(begins_and_waits, 6, existed), 0);
		CHECK_INT(dropped_of(is_over, 3, existed), 0);
		CHECK_INT(dropped_of(between, 2, existed), 0);
	}
}

/* A wait that the agent saw under way when the window ended, and whose end was recorded nevertheless. */
TEST(trace_of_waits_that_are_known_twice)
{
	static const uint64_t begins[] = { 900, 1000, 2000 };

	for (int i = 0; i < 3; i++) {
		struct trace_record r[] = {
			{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = begins[i], .until_ns = 9100 },
			{ .kind = TRACE_WAIT, .tag = 1, .tid = 5, .at_ns = begins[i], .until_ns = TRACE_NEVER },
		};

		CHECK_INT(dropped_of(r, 2, 0), 0);
		CHECK_INT(dropped_of(r, 2, 1), 0);
	}
}
