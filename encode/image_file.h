/* SPDX-License-Identifier: Apache-2.0 */
/* A file that names are read from: open during an answer only, and surely the same one in the next. Only
 * for encode/image.c. Context: agent. */
#ifndef ENCODE_IMAGE_FILE_H
#define ENCODE_IMAGE_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "encode/elf.h"

/* An open file, or one that was open and will be again. */
struct image_file {
	struct elf elf;
	bool known; /* elf is valid, be the file open or not */
	char *path;
	uint64_t dev, inode, size;
	struct timespec mtime;
};

/* 0 or -errno; then *file is as it was. */
int image_file_open(struct image_file *file, const char *path);

/* Opens it again in a later answer; false if it is another file by now. */
bool image_file_wake(struct image_file *file);

/* Closes the descriptor and keeps the rest. */
void image_file_sleep(struct image_file *file);
void image_file_close(struct image_file *file);

/* Whether the checksum that .gnu_debuglink gives is that of the file. Reads all of it. */
bool image_file_has_crc(const struct image_file *file, uint32_t wanted);

#endif
