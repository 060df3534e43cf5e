/* SPDX-License-Identifier: Apache-2.0 */
/* The endpoints that answer with a text at once: cmdline, symbol, agent. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/budget.h"
#include "agent/base/fmt.h"
#include "agent/base/log.h"
#include "agent/base/mem.h"
#include "agent/base/sink.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/collect/buckets.h"
#include "agent/collect/census.h"
#include "agent/collect/cpu.h"
#include "agent/collect/modules.h"
#include "agent/collect/records.h"
#include "agent/collect/signals.h"
#include "agent/collect/stacks.h"
#include "agent/collect/threads.h"
#include "agent/collect/unwind.h"
#include "agent/collect/unwind_remote.h"
#include "agent/endpoint.h"
#include "agent/http/server.h"
#include "agent/listen.h"
#include "agent/options.h"
#include "agent/serve.h"
#include "encode/helper.h"
#include "encode/lines.h"
#include "encode/symbols.h"

enum { SYMBOL_SLICE_NS = 8000000 };

static const char *const text_type = "text/plain; charset=utf-8";

/* Arguments joined by NUL, as Go gives them: no NUL at the end. Secrets stand in them, so a remote
 * client needs a token (hazard K4). */
void serve_cmdline(const struct profile *profile, struct exchange *x)
{
	char buf[4096];
	long fd, n;
	bool held = false;

	if (!options->cmdline || (!x->local && !x->authorized)) {
		reply_error(x, 404, "cmdline is not shown: PPROF_CMDLINE=0, or a remote address "
				    "without a token (PPROF_TOKEN_FILE)");
		return;
	}
	fd = sys_open("/proc/thread-self/cmdline", O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		reply_error(x, 500, "/proc is not readable here");
		return;
	}
	reply_begin(x, 200, text_type, NULL);
	while ((n = sys_read((int)fd, buf, sizeof(buf))) > 0) {
		if (held)
			sink_write(&x->body, "", 1);
		held = buf[n - 1] == '\0';
		sink_write(&x->body, buf, (size_t)(n - held));
	}
	sys_close((int)fd);
}

/* One number as Go's ParseUint(…, 0, 64) reads it. */
static bool parse_address(const char *at, size_t n, uint64_t *out)
{
	unsigned base = 10;
	uint64_t v = 0;

	if (n > 2 && at[0] == '0' && (at[1] == 'x' || at[1] == 'X')) {
		base = 16;
		at += 2;
		n -= 2;
	} else if (n > 1 && at[0] == '0') {
		base = 8;
	}
	if (!n)
		return false;
	for (; n; n--, at++) {
		unsigned d = *at >= '0' && *at <= '9'	? (unsigned)(*at - '0')
			     : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a' + 10)
			     : *at >= 'A' && *at <= 'F' ? (unsigned)(*at - 'A' + 10)
							: 99;

		if (d >= base || __builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, d, &v))
			return false;
	}
	*out = v;
	return true;
}

/* ---- symbol ---- */

struct symbol_job {
	struct symbols *symbols;
	struct lines *lines; /* NULL: names that are not in symbol tables are not asked for */
};

static void drop_symbols(struct exchange *x)
{
	struct symbol_job *j = x->state;

	if (!j)
		return;
	lines_drop(j->lines);
	symbols_close(j->symbols);
	symbols_trim();
	mem_free(j);
	x->state = NULL;
}

/* The next address of the request behind *at. false: none is left. */
static bool next_address(const char **at, const char *end, uint64_t *out)
{
	while (*at < end) {
		const char *plus = memchr(*at, '+', (size_t)(end - *at));
		size_t n = (size_t)((plus ? plus : end) - *at);
		const char *number = *at;

		*at += n + 1;
		if (parse_address(number, n, out))
			return true;
	}
	return false;
}

static const char *addresses(const struct exchange *x, size_t *out_size)
{
	const char *at = exchange_body(x, out_size);

	if (at)
		return at;
	*out_size = x->request.query.size;
	return x->request.query.at;
}

/* A line for each address that has a function. The name is the linkage name: the client demangles. */
static int put_symbols(struct exchange *x, const struct symbol_job *j)
{
	size_t size;
	const char *at = addresses(x, &size), *end = at + size;
	uint64_t address;

	while (next_address(&at, end, &address)) {
		uint32_t generation = modules_generation();
		struct line_frame frame;
		struct symbol symbol;
		unsigned n;
		long index;

		if (!symbols_find(j->symbols, address, generation, &symbol))
			return -ENOMEM;
		frame.linkage = symbol.linkage;
		index = j->lines ? lines_index(j->lines, address, generation) : -1;
		n = index >= 0 ? lines_count(j->lines, (size_t)index, &symbol) : 0;
		if (n && !lines_frame(j->lines, (size_t)index, n - 1, &symbol, &frame))
			return -ENOMEM;
		if (symbol.mapping >= 0 || symbol.start)
			fmt_sink(&x->body, "0x%lx %s\n", address, frame.linkage);
	}
	return 0;
}

static enum job_state symbol_step(struct exchange *x, uint64_t now_ns)
{
	struct symbol_job *j = x->state;
	int more = j->lines ? lines_step(j->lines, SYMBOL_SLICE_NS) : 0;

	if (more == 2)
		return endpoint_wait(x, lines_wait(j->lines, &x->wake_ns));
	if (more)
		return JOB_AGAIN;
	return put_symbols(x, j) == 0 ? JOB_DONE : endpoint_no_memory(x);
}

/* What no symbol table names may be known to .gnu_debugdata or to debug information, as in profiles. */
static bool ask_lines(struct symbol_job *j, const char *at, const char *end)
{
	uint64_t address;

	while (next_address(&at, end, &address)) {
		struct symbol symbol;

		if (!symbols_find(j->symbols, address, modules_generation(), &symbol))
			return false;
		if (!symbol.unnamed)
			continue;
		if (!j->lines)
			j->lines = lines_new(j->symbols, NULL);
		if (!j->lines || !lines_add(j->lines, address, modules_generation()))
			return false;
	}
	return true;
}

/* symbolz: "num_symbols: 1", which stands for any number, then the lines. */
void serve_symbol(const struct profile *profile, struct exchange *x)
{
	size_t size;
	const char *at = addresses(x, &size);
	struct symbol_job *j;

	reply_begin(x, 200, text_type, NULL);
	sink_text(&x->body, "num_symbols: 1\n");
	if (!at || !size || x->request.method == METHOD_HEAD)
		return;
	j = mem_zalloc(sizeof(*j));
	x->state = j;
	x->drop = drop_symbols;
	x->step = symbol_step;
	if (j)
		j->symbols = symbols_open();
	if (j && j->symbols &&
	    (endpoint_symbolize(x) != SYMBOLIZE_LINES || ask_lines(j, at, at + size)))
		return;
	endpoint_no_memory(x);
	x->step = NULL;
	drop_symbols(x);
}

static const char *kind_word(enum stat_kind kind)
{
	return kind == STAT_KIND_DROP ? "dropped" : kind == STAT_KIND_FAIL ? "failed" : "count";
}

static void prometheus(struct sink *to)
{
	for (int i = 0; i < STAT_N; i++) {
		const char *name = stat_name((enum stat_id)i);

		fmt_sink(to, "# HELP pprofagent_%s_total %s\n# TYPE pprofagent_%s_total counter\n", name,
			 stat_meaning((enum stat_id)i), name);
		fmt_sink(to, "pprofagent_%s_total %lu\n", name, stat_read((enum stat_id)i));
	}
	for (int i = 0; i < UNWIND_ENDS; i++)
		fmt_sink(to, "pprofagent_unwind_total{end=\"%s\"} %lu\n",
			 unwind_end_name((enum unwind_end)i), unwind_ended((enum unwind_end)i));
	fmt_sink(to, "# HELP pprofagent_memory_bytes Memory of the agent\n"
		     "# TYPE pprofagent_memory_bytes gauge\n");
	fmt_sink(to, "pprofagent_memory_bytes %zu\n", budget_used());
	fmt_sink(to, "# HELP pprofagent_threads Live threads of the program\n"
		     "# TYPE pprofagent_threads gauge\n");
	fmt_sink(to, "pprofagent_threads %lu\n", census_live());
}

static void plain_text(struct sink *to)
{
	char where[512], symbolizer[320];
	uint64_t now = sys_clock_ns(CLOCK_MONOTONIC);

	listen_describe(where, sizeof(where));
	fmt_sink(to, "libpprofagent " VERSION " in %s, pid %d, for %.1f s\n", agent_program(),
		 sys_getpid(), (double)(now - agent_started_ns()) / 1e9);
	fmt_sink(to, "%s\n# listening\n%s", listen_is_worker() ? "worker: another process holds the port\n" : "",
		 where);
	fmt_sink(to, "\n# memory (bytes)\nlimit=%zu\nused=%zu\nstacks=%zu\nbuckets=%zu\nanswers=%zu\n",
		 budget_limit(), budget_used(), stacks_bytes(), buckets_bytes(), mem_used());
	fmt_sink(to, "\n# state\nthreads=%lu\nthread_records=%u\ndistinct_stacks=%lu\n", census_live(),
		 records_count(), stacks_count());
	fmt_sink(to, "sampling_signal=%d\ncpu_period_ns=%lu\nmodule_generation=%u\n",
		 atomic_load(&signals_held), cpu_period_ns(), modules_generation());
	helper_describe(symbolizer, sizeof(symbolizer));
	fmt_sink(to, "libunwind=%s\nsymbolizer=%s\n", unwind_remote_status(), symbolizer);
	fmt_sink(to, "threads_blocking_the_signal=%u\nthreads_refused_a_timer=%u\n",
		 cpu_threads_blocked(), cpu_threads_refused());
	sink_text(to, "\n# counters\n");
	for (int i = 0; i < STAT_N; i++)
		fmt_sink(to, "%-30s %12lu  %s: %s\n", stat_name((enum stat_id)i),
			 stat_read((enum stat_id)i), kind_word(stat_kind((enum stat_id)i)),
			 stat_meaning((enum stat_id)i));
	sink_text(to, "\n# stack walks by how they ended\n");
	for (int i = 0; i < UNWIND_ENDS; i++)
		fmt_sink(to, "%-30s %12lu\n", unwind_end_name((enum unwind_end)i),
			 unwind_ended((enum unwind_end)i));
	sink_text(to, "\n# settings\n");
	options_print(to);
	sink_text(to, "\n# log\n");
	log_dump(to);
}

void serve_agent(const struct profile *profile, struct exchange *x)
{
	char format[16];

	if (request_query(&x->request, "format", format, sizeof(format)) > 0) {
		if (strcmp(format, "prometheus") != 0) {
			reply_error(x, 400, "invalid value for \"format\" - must be prometheus");
			return;
		}
		reply_begin(x, 200, "text/plain; version=0.0.4; charset=utf-8", NULL);
		prometheus(&x->body);
		return;
	}
	reply_begin(x, 200, text_type, NULL);
	plain_text(&x->body);
}
