/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where records of threads come from and go to: for threads.c and sweep.c, who decide when. Records lie in
 * chunks that are never moved or freed, so that an index or a pointer to one is always good to look at.
 */
#ifndef COLLECT_RECORDS_H
#define COLLECT_RECORDS_H

#include <stdbool.h>
#include <stdint.h>

struct thread;

/* Record i of [0, records_count()), whatever its state; NULL only for i out of range. Context: any. */
struct thread *records_at(uint32_t i);
uint32_t records_count(void);

/* A live record for that thread, cleared, with a tag of its own. NULL: there are too many, or no memory; counted.
 * Context: init, hook, agent. */
struct thread *records_take(int tid);

/* The thread has ended for us: its record is used again when it has left the kernel. Context: hook, agent, child. */
void records_retire(struct thread *t);
/* The same for one of two records of one thread. Context: hook, agent. */
void records_drop_double(struct thread *t);

/* Has the thread of this record left the kernel? Context: any. */
bool records_is_gone(const struct thread *t);
/* Has a thread a live record, other than this one (or NULL)? Looks at all. Context: agent. */
bool records_has_live(int tid, const struct thread *but);

/* Records that the agent made for threads that it found, until the threads themselves take them over: puts one
 * there; takes that of a thread (only this record, when given) away again, NULL: there is none.
 * Context: records_found: agent; records_take_found: init, hook, agent. */
void records_found(struct thread *t);
struct thread *records_take_found(int tid, const struct thread *only);

/* All threads but the caller's are gone. own: its record, or NULL. Context: child. */
void records_child(const struct thread *own);

#endif
