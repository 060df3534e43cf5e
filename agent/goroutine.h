/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thread dumps as rows of agent/profiles.c: goroutine and goroutineleak, under the names that pprof's
 * tools know.
 * Context: agent.
 */
#ifndef AGENT_GOROUTINE_H
#define AGENT_GOROUTINE_H

struct exchange;
struct profile;
struct taking;

/* All threads by stack; ?labels=1: with name and number of each. */
extern const struct taking goroutine_taking;
/* Those that can never go on: collect/leaks.h. The text forms spell out why. */
extern const struct taking goroutineleak_taking;

/* As serve_named; with debug=2 or more, thread by thread in the form of Go's panics. */
void serve_goroutine(const struct profile *profile, struct exchange *exchange);

#endif
