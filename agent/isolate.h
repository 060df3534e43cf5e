/* SPDX-License-Identifier: Apache-2.0 */
/* Gives the calling thread what the program cannot touch: its own descriptors, its own directory. */
#ifndef AGENT_ISOLATE_H
#define AGENT_ISOLATE_H

#include <stdbool.h>

/* Makes this thread's descriptor table private, keeps fds[0..n) at their numbers, closes everything
 * else, and fills 0 to 2 with something that swallows stray writes. false when the kernel allows
 * neither close_range nor unshare: then nothing has changed. Context: agent. */
bool isolate_descriptors(const int *fds, unsigned n);

/* Own current directory and root, so that the program's chroot and umount are not held up.
 * Context: agent. */
void isolate_directory(void);

#endif
