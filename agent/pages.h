/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages that draw profiles, and what they are made of. Context: agent.
 */
#ifndef AGENT_PAGES_H
#define AGENT_PAGES_H

struct exchange;
struct profile;
struct sink;

/* /debug/pprof/ui/<name>: the script and its like, or the page that draws the profile of that name;
 * the CPU profile without one. */
void serve_ui(struct exchange *exchange, const char *name);

/* Is there such a page for it? */
int pages_draws(const struct profile *profile);

/* It is collected over ?seconds=, never at once. */
int pages_timed(const struct profile *profile);

/* Text for HTML: markup becomes entities, bytes that are not printable ASCII a question mark. */
void pages_escape(struct sink *to, const char *text);

#endif
