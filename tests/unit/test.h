/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unit tests that register themselves: TEST(name) { ... CHECK(...); } in any tests/unit/test_*.c.
 * Each case runs in a forked child, so that a crash is one failure and not the end.
 */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_case {
	const char *file;
	const char *name;
	void (*run)(void);
};

#define TEST(name_)                                                                               \
	static void test_##name_(void);                                                           \
	__attribute__((used, section("test_cases"), aligned(8))) static const struct test_case    \
		case_##name_ = { .file = __FILE__, .name = #name_, .run = test_##name_ };         \
	static void test_##name_(void)

_Noreturn void test_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
_Noreturn void test_skip(const char *why);

#define CHECK(cond)                                                       \
	do {                                                              \
		if (!(cond))                                              \
			test_fail(__FILE__, __LINE__, "%s", "not true: " #cond); \
	} while (0)
#define CHECK_INT(got, want)                                                                    \
	do {                                                                                    \
		long long got_ = (long long)(got), want_ = (long long)(want);                   \
		if (got_ != want_)                                                              \
			test_fail(__FILE__, __LINE__, #got " is %lld, not %lld", got_, want_); \
	} while (0)
#define CHECK_STR(got, want)                                                                      \
	do {                                                                                      \
		const char *got_ = (got), *want_ = (want);                                        \
		if (strcmp(got_, want_) != 0)                                                     \
			test_fail(__FILE__, __LINE__, #got " is \"%s\", not \"%s\"", got_, want_); \
	} while (0)

/* `size` bytes whose last one is the last readable byte: reading one too many crashes. */
void *guarded_copy(const void *data, size_t size);

#endif
