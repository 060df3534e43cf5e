/* SPDX-License-Identifier: Apache-2.0 */
/* What an encoder must know of a profile besides its samples. Context: agent. */
#ifndef ENCODE_DESC_H
#define ENCODE_DESC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/collect/series.h"

struct value_type {
	const char *type;
	const char *unit;
};

/* The constant part: one per row of agent/profiles.c. */
struct profile_desc {
	struct value_type types[SERIES_VALUES]; /* in file order; type NULL ends the list */
	struct value_type period_type;
	const char *default_type; /* NULL: the reader takes the last */
	const char *text_header;  /* first words of the debug=1 form; see encode/text.h */
};

/* The part that differs from answer to answer. */
struct profile_facts {
	int64_t period;
	uint64_t time_ns;     /* CLOCK_REALTIME: start of a CPU profile, else when it was taken */
	uint64_t duration_ns; /* 0: not set */
	/* The text label "tid" of a sample's tag, 0: none. Used with pprof_begin's tag_name only. */
	int (*tag_tid)(uint32_t tag);
	const char *const *comments; /* NULL-terminated list or NULL; none begins with '#' */
};

enum symbolize { SYMBOLIZE_NONE, SYMBOLIZE_NAMES, SYMBOLIZE_LINES };

#endif
