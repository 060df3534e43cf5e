/* SPDX-License-Identifier: Apache-2.0 */
/* Readers of traces that share nothing with our encoders, and the rules of Go's own readers. */
#include "tests/unit/trace_judge.h"

#include <stdbool.h>
#include <stdint.h>

#include "tests/unit/test.h"

static const struct judged *trace; /* that is judged */

/* ---- a reader of v1, with the rules that go tool trace has ---- */

enum { GS = 64, PS = 64 };
struct v1_event {
	unsigned type, proc, n;
	uint64_t ts, args[8];
};
static struct v1_event events_read[1 << 16];
static unsigned events_n;

static uint64_t leb(size_t *at)
{
	uint64_t value = 0;

	for (unsigned shift = 0;; shift += 7) {
		CHECK(*at < trace->n && shift < 70);
		value |= (uint64_t)(trace->at[*at] & 0x7f) << shift;
		if (!(trace->at[(*at)++] & 0x80))
			return value;
	}
}

static void read_v1(void)
{
	uint64_t ts = 0, proc = ~0u;
	size_t at = 16;

	CHECK(!memcmp(trace->at, "go 1.19 trace\0\0", 16));
	events_n = 0;
	while (at < trace->n) {
		struct v1_event e = { .type = trace->at[at] & 0x3f, .n = trace->at[at] >> 6 };
		size_t end = 0;

		at++;
		if (e.type == 1) {
			proc = leb(&at);
			ts = leb(&at);
			continue;
		}
		CHECK(proc != ~0u);
		if (e.type == 2) {
			CHECK_INT(leb(&at), 1000000000);
			continue;
		}
		if (e.type == 37) {
			CHECK(leb(&at) != 0);
			at += leb(&at);
			continue;
		}
		if (e.n == 3)
			end = leb(&at), end += at;
		if (e.type == 3) {
			at = end;
			continue;
		}
		ts += leb(&at);
		e.ts = ts;
		e.proc = (unsigned)proc;
		if (end)
			for (e.n = 0; at < end; e.n++)
				e.args[e.n] = leb(&at);
		else
			for (unsigned i = 0; i < e.n; i++)
				e.args[i] = leb(&at);
		if (e.type == 48)
			at += leb(&at);
		CHECK(events_n < 1 << 16);
		events_read[events_n++] = e;
	}
}

static int by_time(const void *a, const void *b)
{
	const struct v1_event *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts;
}

enum { NONE, WAITS, CALLS, CAN_RUN, RUNS, GONE };
static struct {
	uint64_t id, seq;
	int state;
} g_is[GS];

static unsigned g_of(uint64_t id)
{
	unsigned i = 0;

	while (i < GS && g_is[i].id && g_is[i].id != id)
		i++;
	CHECK(i < GS);
	g_is[i].id = id;
	return i;
}

void judge_v1(const struct judged *bytes)
{
	int running[PS], started[PS] = { 0 };

	trace = bytes;
	read_v1();
	qsort(events_read, events_n, sizeof(events_read[0]), by_time);
	memset(g_is, 0, sizeof(g_is));
	memset(running, -1, sizeof(running));
	CHECK(events_n > 2);
	CHECK_INT(events_read[0].type, 4);
	for (unsigned i = 0; i < events_n; i++) {
		const struct v1_event *e = &events_read[i];
		unsigned g;

		if (i)
			CHECK(e->ts > e[-1].ts);
		CHECK(e->proc < PS);
		switch (e->type) {
		case 5:
			CHECK(!started[e->proc]++);
			break;
		case 6:
			CHECK(started[e->proc]-- == 1 && running[e->proc] < 0);
			break;
		case 13:
			g = g_of(e->args[0]);
			CHECK(g_is[g].state == NONE && e->args[1]);
			g_is[g].state = CAN_RUN;
			g_is[g].seq = 1;
			break;
		case 14:
		case 41:
			g = g_of(e->args[0]);
			CHECK(g_is[g].state == CAN_RUN && running[e->proc] < 0 && started[e->proc]);
			CHECK_INT(e->args[1], g_is[g].seq++);
			g_is[g].state = RUNS;
			running[e->proc] = (int)g;
			break;
		case 21:
			g = g_of(e->args[0]);
			CHECK(g_is[g].state == WAITS && e->args[2]);
			CHECK_INT(e->args[1], g_is[g].seq++);
			g_is[g].state = CAN_RUN;
			break;
		case 15:
		case 18:
		case 19:
		case 25:
		case 26:
		case 27:
			CHECK(running[e->proc] >= 0);
			g_is[running[e->proc]].state = e->type == 15 ? GONE : e->type == 18 ? CAN_RUN : WAITS;
			running[e->proc] = -1;
			break;
		case 28: /* GoSysCall: what follows is GoSysBlock, then ProcStop */
			CHECK(running[e->proc] >= 0 && e->args[0]);
			CHECK(e[1].type == 30 && e[1].proc == e->proc && e[2].type == 6 && e[2].proc == e->proc);
			break;
		case 30:
			CHECK(running[e->proc] >= 0 && e[-1].type == 28);
			g_is[running[e->proc]].state = CALLS;
			running[e->proc] = -1;
			break;
		case 29:
			g = g_of(e->args[0]);
			CHECK(g_is[g].state == CALLS && started[e->proc] && running[e->proc] < 0);
			CHECK_INT(e->args[1], g_is[g].seq++);
			CHECK_INT(e->args[2], 0);
			g_is[g].state = CAN_RUN;
			break;
		case 48:
			CHECK(running[e->proc] >= 0);
			break;
		case 49:
			CHECK(g_is[g_of(e->args[2])].state != NONE);
			break;
		case 4:
			CHECK(i == 0);
			break;
		case 33:
			break;
		default:
			test_fail(__FILE__, __LINE__, "event of type %u", e->type);
		}
	}
	for (unsigned p = 0; p < PS; p++)
		CHECK(running[p] < 0 && !started[p]);
}

/* ---- a reader of v2, with the rules of Go 1.22's: events in the order of their times ---- */

struct v2_event {
	unsigned type;
	uint64_t ts, thread, args[4];
};
static struct v2_event v2_read[1 << 16];
static unsigned v2_n;

static unsigned v2_args(unsigned type)
{
	switch (type) {
	case 11: /* ProcStop */
	case 17: /* GoDestroy */
	case 24: /* SyscallEndBlocked */
		return 0;
	case 37: /* HeapAlloc */
	case 39: /* GoLabel */
		return 1;
	case 14: /* GoCreate */
	case 21: /* GoUnblock */
		return 3;
	case 44: /* UserLog */
		return 4;
	default:
		return 2;
	}
}

static void read_v2(void)
{
	unsigned frequencies = 0;
	uint64_t ids = 0;
	size_t at = 16;

	CHECK(!memcmp(trace->at, "go 1.22 trace\0\0", 16));
	v2_n = 0;
	while (at < trace->n) {
		uint64_t thread, ts, size;
		size_t end;

		CHECK_INT(leb(&at), 1);
		CHECK_INT(leb(&at), 1);
		thread = leb(&at);
		ts = leb(&at);
		size = leb(&at);
		CHECK(size && size <= 65536);
		end = at + size;
		if (trace->at[at] == 8)
			frequencies++;
		if (trace->at[at] == 4) {
			for (at++; at < end;) {
				CHECK_INT(trace->at[at++], 5);
				CHECK_INT(leb(&at), ++ids);
				at += leb(&at);
			}
			CHECK_INT(at, end);
		}
		if (trace->at[at] == 2 || trace->at[at] == 6 || trace->at[at] == 8)
			at = end;
		while (at < end) {
			struct v2_event e = { .type = trace->at[at++], .thread = thread };

			ts += leb(&at);
			e.ts = ts;
			for (unsigned i = 0; i < v2_args(e.type); i++)
				e.args[i] = leb(&at);
			CHECK(v2_n < 1 << 16);
			v2_read[v2_n++] = e;
		}
		CHECK_INT(at, end);
	}
	CHECK_INT(frequencies, 1);
}

static int v2_by_time(const void *a, const void *b)
{
	const struct v2_event *x = a, *y = b;

	return x->ts < y->ts ? -1 : x->ts > y->ts ? 1 : x->type == 39 ? 1 : y->type == 39 ? -1 : 0;
}

void judge_v2(const struct judged *bytes)
{
	/* by thread: its P + 1 and its g + 1; by P: known, seq, taken */
	static struct { uint64_t id; int proc, g, calls; } m_is[GS];
	static struct { bool known, taken; uint64_t seq; } p_is[PS];

	trace = bytes;
	read_v2();
	qsort(v2_read, v2_n, sizeof(v2_read[0]), v2_by_time);
	memset(g_is, 0, sizeof(g_is));
	memset(m_is, 0, sizeof(m_is));
	memset(p_is, 0, sizeof(p_is));
	for (unsigned i = 0; i < v2_n; i++) {
		const struct v2_event *e = &v2_read[i];
		unsigned m = 0, g = 0, p = (unsigned)e->args[0];

		while (m < GS - 1 && m_is[m].id && m_is[m].id != e->thread)
			m++;
		m_is[m].id = e->thread;
		switch (e->type) {
		case 13:
			CHECK(p < PS && !p_is[p].known);
			p_is[p].known = true;
			if (e->args[1] == 1) {
				CHECK(!m_is[m].proc && !p_is[p].taken);
				m_is[m].proc = (int)p + 1;
				p_is[p].taken = true;
			}
			break;
		case 10:
			CHECK(p < PS && p_is[p].known && !p_is[p].taken && !m_is[m].proc);
			CHECK_INT(e->args[1], ++p_is[p].seq);
			m_is[m].proc = (int)p + 1;
			p_is[p].taken = true;
			break;
		case 11:
			CHECK(m_is[m].proc && !m_is[m].g);
			p_is[m_is[m].proc - 1].taken = false;
			m_is[m].proc = 0;
			break;
		case 14:
			g = g_of(e->args[0]);
			CHECK(m_is[m].proc && g_is[g].state == NONE && e->args[1]);
			g_is[g].state = CAN_RUN;
			break;
		case 16:
			g = g_of(e->args[0]);
			CHECK(m_is[m].proc && !m_is[m].g && g_is[g].state == CAN_RUN);
			CHECK_INT(e->args[1], ++g_is[g].seq);
			g_is[g].state = RUNS;
			m_is[m].g = (int)g + 1;
			break;
		case 21:
			g = g_of(e->args[0]);
			CHECK(g_is[g].state == WAITS && e->args[2]);
			CHECK_INT(e->args[1], ++g_is[g].seq);
			g_is[g].state = CAN_RUN;
			break;
		case 22:
			CHECK(m_is[m].g && m_is[m].proc && e->args[1]);
			p = (unsigned)m_is[m].proc - 1;
			CHECK_INT(e->args[0], ++p_is[p].seq);
			g_is[m_is[m].g - 1].state = CALLS;
			m_is[m].calls = m_is[m].g;
			m_is[m].g = 0;
			break;
		case 24: /* when it has lost its processor */
			CHECK(m_is[m].calls && !m_is[m].proc);
			CHECK_INT(g_is[m_is[m].calls - 1].state, CALLS);
			g_is[m_is[m].calls - 1].state = CAN_RUN;
			m_is[m].calls = 0;
			break;
		case 17:
		case 19:
		case 20:
			CHECK(m_is[m].g && m_is[m].proc);
			g_is[m_is[m].g - 1].state = e->type == 17 ? GONE : e->type == 19 ? CAN_RUN : WAITS;
			m_is[m].g = 0;
			break;
		case 9:
		case 39:
		case 44:
			CHECK(m_is[m].g && m_is[m].proc);
			break;
		case 37:
			CHECK(m_is[m].proc);
			break;
		default:
			test_fail(__FILE__, __LINE__, "event of type %u", e->type);
		}
	}
}
