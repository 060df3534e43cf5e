/* SPDX-License-Identifier: Apache-2.0 */
#include "encode/image_file.h"

#include <string.h>
#include <zlib.h>

#include "agent/base/mem.h"
#include "agent/base/sys.h"

enum { CRC_SIZE_MAX = 256 << 20 };

static bool same_stat(const struct image_file *file, const struct stat *st)
{
	return file->dev == st->st_dev && file->inode == st->st_ino &&
	       file->size == (uint64_t)st->st_size && file->mtime.tv_sec == st->st_mtim.tv_sec &&
	       file->mtime.tv_nsec == st->st_mtim.tv_nsec;
}

void image_file_close(struct image_file *file)
{
	if (file->known)
		elf_close(&file->elf);
	mem_free(file->path);
	*file = (struct image_file){ .elf.fd = -1 };
}

int image_file_open(struct image_file *file, const char *path)
{
	long fd = sys_open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	int err;

	if (fd < 0)
		return (int)fd;
	err = (int)sys_fstat((int)fd, &st);
	if (err) {
		sys_close((int)fd);
		return err;
	}
	err = elf_open_file(&file->elf, (int)fd);
	if (err)
		return err;
	file->known = true;
	file->path = mem_strdup(path);
	file->dev = st.st_dev;
	file->inode = st.st_ino;
	file->size = (uint64_t)st.st_size;
	file->mtime = st.st_mtim;
	if (file->path)
		return 0;
	image_file_close(file);
	return -ENOMEM;
}

bool image_file_wake(struct image_file *file)
{
	struct stat st;
	long fd;

	if (!file->known)
		return false;
	if (file->elf.fd >= 0)
		return true;
	fd = sys_open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return false;
	if (sys_fstat((int)fd, &st) != 0 || !same_stat(file, &st)) {
		sys_close((int)fd);
		return false;
	}
	file->elf.fd = (int)fd;
	return true;
}

void image_file_sleep(struct image_file *file)
{
	if (file->known && file->elf.fd >= 0) {
		sys_close(file->elf.fd);
		file->elf.fd = -1;
	}
}

bool image_file_has_crc(const struct image_file *file, uint32_t wanted)
{
	uint8_t chunk[4096];
	uLong crc = crc32(0, NULL, 0);

	if (file->size > CRC_SIZE_MAX)
		return false;
	for (uint64_t at = 0; at < file->size;) {
		long n = sys_pread(file->elf.fd, chunk, sizeof(chunk), at);

		if (n <= 0)
			return false;
		crc = crc32(crc, chunk, (unsigned)n);
		at += (uint64_t)n;
	}
	return crc == wanted;
}
