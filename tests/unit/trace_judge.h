/* SPDX-License-Identifier: Apache-2.0 */
/* Judges of Go's execution traces: a trace that breaks a rule of its readers fails the test. */
#ifndef TESTS_UNIT_TRACE_JUDGE_H
#define TESTS_UNIT_TRACE_JUDGE_H

#include <stddef.h>

struct judged {
	const unsigned char *at;
	size_t n;
};

/* By the rules of go tool trace for the format of Go 1.19; by those of 1.22, events in the order of their times. */
void judge_v1(const struct judged *bytes);
void judge_v2(const struct judged *bytes);

#endif
