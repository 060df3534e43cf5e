/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/wall.h"

#include <stdint.h>

#include "agent/collect/wall.h"
#include "agent/comments.h"
#include "agent/endpoint.h"
#include "agent/http/request.h"
#include "agent/options.h"
#include "agent/profiles.h"

enum { HZ = 100, HZ_MAX = 1000 };

static int64_t hz_of(const struct request *request)
{
	int64_t hz = HZ;

	return request_query_int(request, "hz", &hz) < 0 ? -1 : hz;
}

const char *wall_refuse(const struct request *request)
{
	int64_t hz = hz_of(request);

	if (hz < 1 || hz > HZ_MAX)
		return "invalid value for \"hz\" - must be an integer from 1 to 1000";
	if (endpoint_window(request) > options->max_seconds)
		return "invalid value for \"seconds\" - more than PPROF_MAX_SECONDS";
	return NULL;
}

static void *begin(const struct profile *profile, const struct request *request)
{
	return wall_begin((uint64_t)endpoint_window(request) * 1000000000u, (unsigned)hz_of(request),
			  endpoint_wants_labels(request));
}

static int step(void *state, uint64_t budget_ns, uint64_t *out_wake_ns, struct snapshot **out)
{
	int more = wall_step(state, budget_ns, out_wake_ns);

	if (!more)
		*out = wall_end(state);
	return more;
}

static void finish(void *state, struct profile_facts *facts, struct comments *comments)
{
	uint64_t asked = wall_asked_ns(state), is = wall_period_ns(state);

	facts->time_ns = wall_start_ns(state);
	facts->duration_ns = wall_window_ns(state);
	facts->period = (int64_t)asked;
	if (is != asked)
		comments_add(comments,
			     "pprofagent: threads were looked at %.1f times a second at the end, not %.1f: "
			     "more would have cost over 5 %% of a processor",
			     1e9 / (double)is, 1e9 / (double)asked);
}

static void drop(void *state)
{
	wall_drop(state);
}

const struct taking wall_taking = {
	.begin = begin,
	.step = step,
	.finish = finish,
	.drop = drop,
};
