/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/file.h"

#include <errno.h>
#include <stddef.h>

#include "agent/base/mem.h"
#include "agent/base/sys.h"

enum { FIRST_SIZE = 64 << 10 };

long file_read_all(const char *path, char **out_text)
{
	long fd = sys_open(path, O_RDONLY | O_CLOEXEC), n = 0;
	size_t size = 0, room = 0;
	char *text = NULL;

	*out_text = NULL;
	if (fd < 0)
		return fd;
	do {
		size += (size_t)n;
		if (size + 1 >= room) {
			size_t fresh = room ? room * 2 : FIRST_SIZE;
			char *more = mem_realloc(text, fresh);

			n = -ENOMEM;
			if (!more)
				break;
			text = more;
			room = fresh;
		}
		do
			n = sys_read((int)fd, text + size, room - 1 - size);
		while (n == -EINTR);
	} while (n > 0);
	sys_close((int)fd);
	if (n < 0) {
		mem_free(text);
		return n;
	}
	text[size] = '\0';
	*out_text = text;
	return (long)size;
}
