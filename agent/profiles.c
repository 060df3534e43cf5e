/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/profiles.h"

#include <string.h>

#include "agent/base/attr.h"
#include "agent/base/sink.h"
#include "agent/collect/census.h"
#include "agent/contention.h"
#include "agent/heap.h"
#include "agent/goroutine.h"
#include "agent/http/server.h"
#include "agent/pages.h"
#include "agent/serve.h"
#include "agent/serve_trace.h"
#include "agent/wall.h"
#include "encode/lines.h"
#include "encode/symbols.h"

#define PREFIX "/debug/pprof"
#define FGPROF "/debug/fgprof"

enum { READ = METHOD_GET | METHOD_HEAD };

/* clang-format off */
#define HEAP_DESC                                                                               \
	.types = { { "alloc_objects", "count" }, { "alloc_space", "bytes" },                    \
		   { "inuse_objects", "count" }, { "inuse_space", "bytes" } },                  \
	.period_type = { "space", "bytes" }
#define HEAP_SERVED                                                                             \
	.methods = READ, .serve = serve_named, .form = TEXT_HEAP, .period = heap_period,        \
	.comment = heap_comment, .text_unit = heap_text_unit, .text_trailer = heap_text_trailer
#define CONTENTION_DESC                                                                         \
	.types = { { "contentions", "count" }, { "delay", "nanoseconds" } },                    \
	.period_type = { "contentions", "count" }
#define COUNT_DESC(what) .types = { { what, "count" } }, .period_type = { what, "count" }
#define WALL_SERVED                                                                             \
	.methods = READ, .serve = serve_over, .refuse = wall_refuse, .taking = &wall_taking,    \
	.desc = { .types = { { "samples", "count" }, { "time", "nanoseconds" } },               \
		  .period_type = { "wallclock", "nanoseconds" } }
#define SINCE_LAST(name)                                                                        \
	.methods = READ, .hidden = true, .serve = serve_since_last, .file = name ".pprof.gz", .cumulative = 2
/* clang-format on */

/* Sorted by name, as the index shows them. */
const struct profile profiles[] = {
	{
		.name = "allocs",
		.help = "A sampling of all past memory allocations",
		HEAP_SERVED,
		.desc = { HEAP_DESC, .default_type = "alloc_space" },
		.take = heap_take_live,
		.count = heap_count,
	},
	{
		.name = "block",
		.help = "Stack traces that led to blocking on synchronization primitives",
		.methods = READ,
		.serve = serve_named,
		.desc = { CONTENTION_DESC },
		.form = TEXT_CONTENTION,
		.take = block_take,
		.comment = block_comment,
		.text_trailer = block_text_trailer,
		.count = block_count,
	},
	{
		.name = "cmdline",
		.help = "The command line invocation of the current program",
		.methods = READ,
		.serve = serve_cmdline,
	},
	{
		.name = "goroutine",
		.help = "Stack traces of all current threads",
		.methods = READ,
		.serve = serve_goroutine,
		.desc = { COUNT_DESC("goroutine") },
		.form = TEXT_COUNT,
		.taking = &goroutine_taking,
		.count = census_live,
	},
	{
		.name = "goroutineleak",
		.help = "Stack traces of threads that can never go on: deadlocks, and locks whose owner "
			"has ended. With debug=1 or debug=2 it says who waits for whom.",
		.methods = READ,
		.serve = serve_goroutine,
		.desc = { COUNT_DESC("goroutineleak") },
		.form = TEXT_COUNT,
		.taking = &goroutineleak_taking,
	},
	{
		.name = "heap",
		.help = "A sampling of memory allocations of live objects. The bytes label of a sample "
			"is the block size, rounded down by up to an eighth.",
		HEAP_SERVED,
		.desc = { HEAP_DESC },
		.take = heap_take_live,
		.count = heap_count,
	},
	{
		.name = "leak",
		.help = "Live objects that are older than the age GET parameter (60s)",
		HEAP_SERVED,
		.desc = { HEAP_DESC },
		.refuse = heap_refuse_leak,
		.take = heap_take_leak,
	},
	{
		.name = "mutex",
		.help = "Stack traces of holders of contended mutexes",
		.methods = READ,
		.serve = serve_named,
		.desc = { CONTENTION_DESC },
		.form = TEXT_CONTENTION,
		.take = mutex_take,
		.comment = mutex_comment,
		.text_trailer = mutex_text_trailer,
		.count = mutex_count,
	},
	{
		.name = "peakheap",
		.help = "The objects that were live when live memory was at its highest",
		HEAP_SERVED,
		.desc = { HEAP_DESC },
		.take = heap_take_peak,
		.count = heap_count,
	},
	{
		.name = "profile",
		.help = "CPU profile. You can specify the duration in the seconds GET parameter. After "
			"you get the profile file, use the go tool pprof command to investigate the "
			"profile.",
		.methods = READ,
		.serve = serve_cpu,
		.desc = {
			.types = { { "samples", "count" }, { "cpu", "nanoseconds" } },
			.period_type = { "cpu", "nanoseconds" },
		},
	},
	{
		.name = "symbol",
		.help = "Function names of addresses: GET with a query or POST, 0x1234+0x5678",
		.methods = READ | METHOD_POST,
		.serve = serve_symbol,
	},
	{
		.name = "threadcreate",
		.help = "Stack traces that led to the creation of new threads",
		.methods = READ,
		.serve = serve_named,
		.desc = { COUNT_DESC("threadcreate") },
		.form = TEXT_COUNT,
		.take = threadcreate_take,
		.text_trailer = threadcreate_text_trailer,
		.count = census_created,
	},
	{
		.name = "trace",
		.help = "A trace of execution of the current program. You can specify the duration in "
			"the seconds GET parameter. After you get the trace file, use the go tool trace "
			"command to investigate the trace.",
		.methods = READ,
		.serve = serve_trace,
	},
	{
		.name = "delta_block",
		.help = "block since the previous request for delta_block, by whoever",
		SINCE_LAST("block"),
		.desc = { CONTENTION_DESC },
		.take = block_take,
		.comment = block_comment,
	},
	{
		.name = "delta_heap",
		.help = "heap since the previous request for delta_heap, by whoever: allocations since then, "
			"and what is in use now",
		SINCE_LAST("heap"),
		.desc = { HEAP_DESC },
		.take = heap_take_live,
		.period = heap_period,
		.comment = heap_comment,
	},
	{
		.name = "delta_mutex",
		.help = "mutex since the previous request for delta_mutex, by whoever",
		SINCE_LAST("mutex"),
		.desc = { CONTENTION_DESC },
		.take = mutex_take,
		.comment = mutex_comment,
	},
	{
		.name = "wall",
		.help = "Where all threads spend their time, running or waiting. You can specify the duration "
			"in the seconds GET parameter, and looks per second in hz",
		WALL_SERVED,
	},
	{
		/* what clients of the Go package of this name ask for, at /debug/fgprof */
		.name = "fgprof",
		.help = "As wall",
		WALL_SERVED,
		.hidden = true,
	},
	{
		.name = "agent",
		.help = "What the agent itself did, dropped, costs and is set to",
		.methods = READ,
		.hidden = true,
		.serve = serve_agent,
	},
	{
		.name = "",
		.methods = READ,
		.hidden = true,
		.serve = serve_index,
	},
};
const size_t profiles_n = ARRAY_LEN(profiles);

static const struct profile *find(const char *name)
{
	for (size_t i = 0; i < profiles_n; i++)
		if (!strcmp(profiles[i].name, name))
			return &profiles[i];
	return NULL;
}

/* What follows "/debug/pprof/", or NULL. */
static const char *under_prefix(const char *path)
{
	return strncmp(path, PREFIX "/", sizeof(PREFIX)) ? NULL : path + sizeof(PREFIX);
}

unsigned profiles_methods(const struct request *request)
{
	const char *name = under_prefix(request->path);
	const struct profile *profile;

	if (name && !strncmp(name, "child/", 6)) {
		const char *last = strrchr(name, '/') + 1;

		name = last;
	}
	/* a page is read, whatever it shows */
	profile = name && strncmp(name, "ui/", 3) ? find(name) : NULL;
	return profile ? profile->methods : READ;
}

void profiles_route(struct exchange *x)
{
	const char *name = under_prefix(x->request.path);
	const struct profile *profile;

	if (!strcmp(x->request.path, PREFIX)) {
		reply_redirect(x, PREFIX "/");
		return;
	}
	if (!strcmp(x->request.path, FGPROF) || !strcmp(x->request.path, FGPROF "/"))
		name = "fgprof";
	if (!name) {
		reply_plain(x, 404, "404 page not found");
		return;
	}
	if (!strncmp(name, "child/", 6)) {
		serve_child(x, name + 6);
		return;
	}
	if (!strcmp(name, "ui")) {
		reply_redirect(x, PREFIX "/ui/");
		return;
	}
	if (!strncmp(name, "ui/", 3)) {
		serve_ui(x, name + 3);
		return;
	}
	profile = find(name);
	if (profile)
		profile->serve(profile, x);
	else
		reply_error(x, 404, "Unknown profile");
}

void profiles_child(void)
{
	symbols_child();
	lines_child();
	serve_child_process();
}
