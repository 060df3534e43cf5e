/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where every thread spends its time, on a processor or not. All threads are looked at again and again;
 * one that has not run since the last look (its CPU clock says so) is where it was, for the price of
 * one short system call. Sleeping threads are read, running ones take their own stack
 * (collect/dump.h tells how), so no call of the program returns EINTR.
 *
 * The window is cut into periods, and each is looked into at a random time, so that a program with a
 * rhythm of its own is seen rightly; each look stands for its whole period. So the times of a thread
 * that lives through the window add up to the window.
 *
 * Context: agent.
 */
#ifndef COLLECT_WALL_H
#define COLLECT_WALL_H

#include <stdbool.h>
#include <stdint.h>

struct snapshot;
struct wall;

/* NULL: out of memory, or no /proc. labels: samples carry tags. */
struct wall *wall_begin(uint64_t window_ns, unsigned hz, bool labels);

/* 0: done; 1: more to do; 2: call again at *out_wake_ns (CLOCK_MONOTONIC); -errno. */
int wall_step(struct wall *wall, uint64_t budget_ns, uint64_t *out_wake_ns);

/* When done: values are looks and ns. NULL: out of memory. */
struct snapshot *wall_end(struct wall *wall);

uint64_t wall_start_ns(const struct wall *wall); /* CLOCK_REALTIME */
uint64_t wall_window_ns(const struct wall *wall);
/* Now, and as asked for: it is doubled when looking would cost more than 5 % of a processor. */
uint64_t wall_period_ns(const struct wall *wall);
uint64_t wall_asked_ns(const struct wall *wall);

void wall_drop(struct wall *wall);

#endif
