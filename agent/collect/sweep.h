/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that the kernel knows and we do not, and the other way round. */
#ifndef COLLECT_SWEEP_H
#define COLLECT_SWEEP_H

/* Makes records for threads that never ran a hook, ends those of threads that are gone. 0, or -errno
 * when /proc cannot be read. Context: agent. */
int sweep_threads(void);

#endif
