/* SPDX-License-Identifier: Apache-2.0 */
/* What every fuzz target shares: the entry point, and an assertion that fuzzer and replay both see.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A copy without anything behind it: reading one byte too many is seen by the sanitizer. */
static inline char *exact_copy(const void *data, size_t size)
{
	char *copy = malloc(size ? size : 1);

	if (size)
		memcpy(copy, data, size);
	return copy;
}

/* The same as a file without a name. */
static inline int file_of(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	return fd;
}

#endif
