/* SPDX-License-Identifier: Apache-2.0 */
/* Files of unknown size, as /proc has them. Where a limit is known, sys_read_file does. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

/* Reads all of it, to be freed with mem_free, with a NUL behind it. Its length, or -errno: then *out_text is
 * NULL. Context: agent. */
long file_read_all(const char *path, char **out_text);

#endif
