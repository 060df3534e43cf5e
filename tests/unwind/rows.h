/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of an ELF file's frame descriptions, found by a decoder that shares nothing with the
 * agent's: a row that the agent's interpreter overlooks is seen.
 */
#ifndef TESTS_UNWIND_ROWS_H
#define TESTS_UNWIND_ROWS_H

#include <stdbool.h>
#include <stdint.h>

/* The file at hand, mapped as the loader would. */
struct rows_file {
	const char *path;
	uintptr_t start, end, hdr; /* hdr: its .eh_frame_hdr */
	uint32_t fdes;		   /* entries of the search table there */
};
extern struct rows_file rows_file;

/* Functions of all files so far: looked at; not in the search table; of no size. */
struct rows_count {
	uint64_t fdes, no_table, empty;
};
extern struct rows_count rows_count;

/* false: it is not there, or has no unwind tables. */
bool rows_open(const char *path);

/* Calls for the first address of each row. */
void rows_each(void (*row)(uintptr_t pc));

void rows_close(void);

#endif
