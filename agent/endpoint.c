/* SPDX-License-Identifier: Apache-2.0 */
/* The texts of the errors are Go's where Go has the case. */
#include "agent/endpoint.h"

#include <poll.h>
#include <string.h>

#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/options.h"

const char endpoint_too_long[] = "invalid value for \"seconds\" - more than PPROF_MAX_SECONDS";
static const char *const bad_seconds =
	"invalid value for \"seconds\" - must be a positive integer";

static enum job_state fail(struct exchange *x, int status, const char *text)
{
	reply_error(x, status, text);
	return JOB_DONE;
}

/* Without it nobody knows which code is where. */
static bool has_proc(void)
{
	long fd = sys_open("/proc/thread-self/maps", O_RDONLY | O_CLOEXEC);

	if (fd >= 0)
		sys_close((int)fd);
	return fd >= 0;
}

enum job_state endpoint_no_memory(struct exchange *x)
{
	if (!has_proc())
		return fail(x, 500, "/proc/thread-self/maps cannot be read: mount /proc where the program runs");
	stat_add(STAT_NO_MEMORY, 1);
	return fail(x, 500, "out of memory: PPROF_MAX_MEM is too small for this answer");
}

const char *endpoint_decimal(const char *text, double *out)
{
	double value = 0, place = 1;
	bool digits = false, point = false;

	for (; (*text >= '0' && *text <= '9') || (*text == '.' && !point); text++) {
		if (*text == '.') {
			point = true;
			continue;
		}
		digits = true;
		value = value * 10 + (*text - '0');
		place = point ? place * 10 : 1;
	}
	*out = value / place;
	return digits ? text : NULL;
}

enum job_state endpoint_wait(struct exchange *x, int fd)
{
	x->wake_fd = fd;
	x->wake_events = fd >= 0 ? POLLIN : 0;
	return JOB_WAIT;
}

bool endpoint_wants_labels(const struct request *request)
{
	int64_t labels, debug;

	/* the text form has no place for them */
	if (request_query_int(request, "debug", &debug) == 1 && debug)
		return false;
	return request_query_int(request, "labels", &labels) == 1 ? labels != 0 : options->labels != 0;
}

enum symbolize endpoint_symbolize(const struct exchange *x)
{
	char word[16];

	if (request_query(&x->request, "symbolize", word, sizeof(word)) > 0) {
		if (!strcmp(word, "none"))
			return SYMBOLIZE_NONE;
		if (!strcmp(word, "names"))
			return SYMBOLIZE_NAMES;
		if (!strcmp(word, "lines"))
			return SYMBOLIZE_LINES;
	}
	return (enum symbolize)options->symbolize;
}

int64_t endpoint_window(const struct request *request)
{
	int64_t n;

	return request_query_int(request, "seconds", &n) == 1 && n > 0 ? n : 30;
}

bool endpoint_parameters(struct exchange *x, int64_t *out_seconds, int64_t *out_debug)
{
	int given;

	*out_seconds = 0;
	given = request_query_int(&x->request, "seconds", out_seconds);
	if (given < 0 || (given && *out_seconds <= 0)) {
		reply_error(x, 400, bad_seconds);
		return false;
	}
	if (request_query_int(&x->request, "debug", out_debug) != 1)
		*out_debug = 0;
	if (given && *out_debug) {
		reply_error(x, 400, "seconds and debug params are incompatible");
		return false;
	}
	if (given && *out_seconds > options->max_seconds) {
		reply_error(x, 400, endpoint_too_long);
		return false;
	}
	return true;
}
