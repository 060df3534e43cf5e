/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which thread a tag stands for: the labels "thread" and "tid" of samples. A tag outlives its thread,
 * as the samples do, so name and tid are written down when the thread ends, or when somebody asks.
 * Only threads that have samples with their tag are written down.
 */
#ifndef COLLECT_LABELS_H
#define COLLECT_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/attr.h"
#include "agent/collect/threads.h"

/* PPROF_LABELS=1: what is counted for the whole life of the process carries tags. Written once, by
 * labels_set. Context: any. */
extern bool labels_always HIDDEN;
/* Context: init. */
void labels_set(bool always);

/* The tag for a sample of this thread, which will be written down. Context: signal, hook, agent. */
static inline uint32_t labels_tag(struct thread *thread)
{
	atomic_store_explicit(&thread->labelled, true, memory_order_relaxed);
	return atomic_load_explicit(&thread->tag, memory_order_relaxed);
}

/* The calling thread ends. Context: hook. */
void labels_thread_end(struct thread *thread);

/* Writes down the names that living threads have now. Before an answer is written. Context: agent. */
void labels_refresh(void);

/* For encode/pprof.h: name of the thread of a tag (NULL for tag 0), and its tid (0: not known).
 * Context: agent. */
const char *labels_name(uint32_t tag, char *buf, size_t size);
int labels_tid(uint32_t tag);

#endif
