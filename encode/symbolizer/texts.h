/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of the answers, each once; each is sent once per request and then goes by its number. */
#ifndef SYMBOLIZER_TEXTS_H
#define SYMBOLIZER_TEXTS_H

#include <stdint.h>

struct text {
	struct text *next; /* in its slot */
	uint32_t hash;
	uint32_t number;  /* in the request at hand */
	uint64_t request; /* it was sent in this one */
	char chars[];
};

/* The text of these characters, control characters made harmless, cut at TEXT_MAX. Never NULL. */
enum { TEXT_MAX = 32 << 10 };
struct text *texts_get(const char *chars);

/* Forgets all. */
void texts_clear(void);

#endif
