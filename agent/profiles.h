/* SPDX-License-Identifier: Apache-2.0 */
/*
 * THE table of endpoints under /debug/pprof/: routing, index page, accepted parameters, encoding and
 * docs/endpoints.md follow from its rows (agent/profiles.c). Context: agent.
 */
#ifndef AGENT_PROFILES_H
#define AGENT_PROFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/desc.h"
#include "encode/text.h"

struct exchange;
struct request;
struct snapshot;
struct comments;
struct profile;

/* Taking a snapshot in steps. `state` is what begin returned; drop is called once, at the very end. */
struct taking {
	/* NULL: out of memory. */
	void *(*begin)(const struct profile *profile, const struct request *request);
	/* Works for about budget_ns. 0: done, *out is the snapshot, which passes to the caller; 1: call
	 * again; 2: call again at *out_wake_ns (CLOCK_MONOTONIC); -errno. */
	int (*step)(void *state, uint64_t budget_ns, uint64_t *out_wake_ns, struct snapshot **out);
	/* Behind the last step, may be NULL: what the profile says of itself. */
	void (*finish)(void *state, struct profile_facts *facts, struct comments *comments);
	/* Behind the last step, may be NULL: the end of the text form, lines that begin with '#', or NULL. */
	const char *(*trailer)(void *state);
	void (*drop)(void *state);
};

struct profile {
	const char *name;	/* last element of the path, file name of the attachment */
	const char *help;	/* one or two sentences for the index page */
	unsigned methods;	/* METHOD_* */
	bool hidden;		/* not in the index's table: an alias or a helper */
	void (*serve)(const struct profile *profile, struct exchange *exchange);

	/* Profiles that are a list of stacks: all of the following; else NULL. */
	struct profile_desc desc;
	enum text_form form;
	/* serve_since_last: file name of the attachment, and the number of leading values that only grow. */
	const char *file;
	unsigned cumulative;
	/* The text of a 400 when parameters of its own are wrong, or NULL; may be NULL. */
	const char *(*refuse)(const struct request *request);
	/* What there is now; NULL when out of memory. The request may carry parameters of its own. */
	struct snapshot *(*take)(const struct profile *profile, const struct request *request);
	/* Instead of take, where that is more than a moment's work. */
	const struct taking *taking;
	int64_t (*period)(void);
	/* Comments of the answer, each added with comments_add (agent/comments.h); may be NULL. */
	void (*comment)(const struct snapshot *snapshot, struct comments *comments);
	/* The text after '@' in a heap header; and the block at the end; may be NULL. */
	const char *(*text_unit)(char *buf, size_t size);
	void (*text_trailer)(char *buf, size_t size);

	/* Number in the index's first column; NULL: 0. */
	uint64_t (*count)(void);
	/* Served by serve_missing: why there is no such profile in this version. */
	const char *missing;
};

extern const struct profile profiles[];
extern const size_t profiles_n;

/* For server_config. */
void profiles_route(struct exchange *exchange);
unsigned profiles_methods(const struct request *request);

/* Context: child. */
void profiles_child(void);

#endif
