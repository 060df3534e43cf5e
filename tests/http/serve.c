/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listener with toy answers, for the tests of this folder: quick, slow, huge, failing.
 * serve ADDRESS [TOKEN [HOSTS [MAX_MEM]]]; "-" for none. Prints its addresses, then "ready".
 * serve heads: prints the table of tests/http/heads.h, a status and the bytes in hexadecimal on each line.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/budget.h"
#include "agent/base/fmt.h"
#include "agent/base/mem.h"
#include "agent/base/stats.h"
#include "agent/base/sys.h"
#include "agent/http/path.h"
#include "agent/http/server.h"
#include "tests/http/heads.h"

enum { MAX_BODY = 1 << 20, STEP_NS = 10000000 };

struct toy {
	enum { SLOW, SPIN, HUGE_REPLY, FAIL, STUCK } kind;
	uint64_t until_ns;
	uint64_t at, bytes;
};

static struct {
	uint64_t jobs, dropped, done;
	uint64_t late_us;    /* the last SLOW job came so long after its time, */
	uint64_t late_steps; /*   and so many steps of others were begun between */
	uint64_t begun[64];  /* when the last steps were begun, a ring */
	uint64_t steps;
	size_t peak;
} self;

/* Eight bytes of every body are their own position, so that a lost or doubled piece shows. */
static int write_pattern(struct exchange *x, uint64_t from, uint64_t n)
{
	uint64_t words[1024];
	int err = 0;

	for (uint64_t end = from + n; from < end && !err;) {
		uint64_t size = end - from < sizeof(words) ? end - from : sizeof(words);

		for (uint64_t i = 0; i < size / 8; i++)
			words[i] = from + 8 * i;
		err = sink_write(&x->body, words, size);
		from += size;
	}
	return err;
}

static uint64_t now(void)
{
	return sys_clock_ns(CLOCK_MONOTONIC);
}

static enum job_state finish(void)
{
	self.done++;
	return JOB_DONE;
}

static void note_late(uint64_t due_ns, uint64_t now_ns)
{
	self.late_us = (now_ns - due_ns) / 1000;
	self.late_steps = 0;
	for (int i = 0; i < 64; i++)
		self.late_steps += self.begun[i] > due_ns;
}

static enum job_state step(struct exchange *x, uint64_t now_ns)
{
	struct toy *t = x->state;

	if (t->kind != SLOW)
		self.begun[self.steps++ % 64] = now_ns;
	switch (t->kind) {
	case SLOW:
		if (now_ns < t->until_ns)
			return JOB_WAIT;
		note_late(t->until_ns, now_ns);
		sink_text(&x->body, "slow\n");
		return finish();
	case SPIN:
		while (now() < now_ns + STEP_NS)
			;
		if (now() < t->until_ns)
			return JOB_AGAIN;
		sink_text(&x->body, "spun\n");
		return finish();
	case FAIL:
	case HUGE_REPLY:
		while (t->at < t->bytes && now() < now_ns + STEP_NS / 2 && !reply_full(x)) {
			uint64_t n = t->bytes - t->at < 65536 ? t->bytes - t->at : 65536;

			if (write_pattern(x, t->at, n))
				return finish();
			t->at += n;
		}
		if (t->at < t->bytes)
			return JOB_AGAIN;
		if (t->kind == FAIL)
			reply_error(x, 500, "failed midway");
		return finish();
	case STUCK:
		return JOB_WAIT;
	}
	return JOB_DONE;
}

static void drop(struct exchange *x)
{
	mem_free(x->state);
	x->state = NULL;
	self.dropped++;
}

static void start(struct exchange *x, int kind, uint64_t ms, uint64_t bytes)
{
	struct toy *t = mem_zalloc(sizeof(*t));

	if (!t) {
		reply_error(x, 503, "no memory");
		return;
	}
	t->kind = kind;
	t->until_ns = now() + ms * 1000000;
	t->bytes = bytes & ~7ull;
	reply_begin(x, 200, "application/octet-stream", "toy");
	x->step = step;
	x->drop = drop;
	x->state = t;
	if (kind == SLOW || kind == STUCK)
		x->wake_ns = kind == SLOW ? t->until_ns : UINT64_MAX;
	self.jobs++;
}

static void show_stats(struct exchange *x)
{
	reply_begin(x, 200, "text/plain; charset=utf-8", NULL);
	fmt_sink(&x->body, "mem_used %lu\nbudget_used %lu\njobs %lu\ndropped %lu\ndone %lu\n",
		 mem_used(), budget_used(), self.jobs, self.dropped, self.done);
	fmt_sink(&x->body, "peak %lu\nlate_us %lu\nlate_steps %lu\ncpu_ns %lu\n", self.peak,
		 self.late_us, self.late_steps, sys_clock_ns(CLOCK_PROCESS_CPUTIME_ID));
	for (int i = 0; i < STAT_N; i++)
		fmt_sink(&x->body, "%s %lu\n", stat_name((enum stat_id)i),
			 stat_read((enum stat_id)i));
}

static void forward(struct exchange *x, const char *rest)
{
	char name[128], target[REQUEST_TARGET_MAX];
	const char *slash = strchr(rest, '/');
	size_t n;

	if (!slash || (size_t)(slash - rest) >= sizeof(name)) {
		reply_plain(x, 404, "404 page not found");
		return;
	}
	memcpy(name, rest, (size_t)(slash - rest));
	name[slash - rest] = '\0';
	n = path_escape(slash, target, sizeof(target));
	if (x->request.query.at)
		fmt_buf(target + n, sizeof(target) - n, "?%.*s", (int)x->request.query.size,
			x->request.query.at);
	if (exchange_forward(x, name, target, 0) != 0)
		reply_error(x, 502, "no such process");
}

static void echo(struct exchange *x)
{
	size_t size;
	const char *body = exchange_body(x, &size);

	reply_begin(x, 200, "text/plain; charset=utf-8", NULL);
	sink_write(&x->body, body, size);
}

static void route(struct exchange *x)
{
	const char *path = x->request.path;
	int64_t ms = 0, bytes = 0;

	request_query_int(&x->request, "ms", &ms);
	request_query_int(&x->request, "bytes", &bytes);
	if (strcmp(path, "/") == 0)
		reply_plain(x, 200, "ok");
	else if (strcmp(path, "/slow") == 0)
		start(x, SLOW, (uint64_t)ms, 0);
	else if (strcmp(path, "/spin") == 0)
		start(x, SPIN, (uint64_t)ms, 0);
	else if (strcmp(path, "/huge") == 0)
		start(x, HUGE_REPLY, 0, (uint64_t)bytes);
	else if (strcmp(path, "/fail") == 0)
		start(x, FAIL, 0, (uint64_t)bytes);
	else if (strcmp(path, "/stuck") == 0)
		start(x, STUCK, 0, 0);
	else if (strcmp(path, "/stats") == 0)
		show_stats(x);
	else if (strcmp(path, "/echo") == 0)
		echo(x);
	else if (strcmp(path, "/error") == 0)
		reply_error(x, 404, "Unknown profile");
	else if (strcmp(path, "/dir") == 0)
		reply_redirect(x, "/dir/");
	else if (strncmp(path, "/forward/", 9) == 0)
		forward(x, path + 9);
	else if (strcmp(path, "/flags") == 0)
		reply_plain(x, 200,
			    x->local	    ? x->authorized ? "local authorized" : "local"
			    : x->authorized ? "authorized"
					    : "none");
	else if (strcmp(path, "/once") == 0) {
		reply_begin(x, 200, "application/octet-stream", NULL);
		write_pattern(x, 0, (uint64_t)bytes & ~7ull);
	} else if (strcmp(path, "/silent") != 0)
		reply_plain(x, 404, "404 page not found");
}

static unsigned methods(const struct request *r)
{
	return METHOD_GET | METHOD_HEAD | (strstr(r->path, "/echo") ? METHOD_POST : 0);
}

static int print_heads(void)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		size_t size = refused[i].size ? refused[i].size : strlen(refused[i].text);

		printf("%d ", -refused[i].want);
		for (size_t k = 0; k < size; k++)
			printf("%02x", (unsigned char)refused[i].text[k]);
		putchar('\n');
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct server_config config = {
		.address = argv[1],
		.token = argc > 2 && strcmp(argv[2], "-") != 0 ? argv[2] : NULL,
		.hosts = argc > 3 && strcmp(argv[3], "-") != 0 ? argv[3] : NULL,
		.max_body = MAX_BODY,
		.route = route,
		.methods = methods,
	};
	char text[512];
	struct server *server;

	if (argc > 1 && strcmp(argv[1], "heads") == 0)
		return print_heads();
	if (argc > 4)
		budget_set(strtoul(argv[4], NULL, 10));
	if (server_open(&config, &server, text, sizeof(text)) != 0) {
		fprintf(stderr, "%s\n", text);
		return 1;
	}
	if (!server) {
		puts("off");
		return 0;
	}
	server_describe(server, text, sizeof(text));
	printf("%sport %u\npath %s\nexposed %d\nready\n", text, server_port(server),
	       server_path(server) ? server_path(server) : "", server_exposed(server));
	fflush(stdout);
	for (;;) {
		server_turn(server, now() + 1000000000);
		if (budget_used() > self.peak)
			self.peak = budget_used();
	}
}
