/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot in the making: adds up samples by (stack, tag). What is counted here has no series of its
 * own, because it is only counted while somebody asks (thread dumps, wall-clock profiles).
 *
 * Context: agent.
 */
#ifndef COLLECT_TALLY_H
#define COLLECT_TALLY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/collect/snapshot.h"

struct tally;

/* NULL: out of memory. */
struct tally *tally_new(void);

/* Adds to the first two values of this identity. false: out of memory; the snapshot is then incomplete. */
bool tally_add(struct tally *tally, const struct stack *stack, uint32_t tag, int64_t first, int64_t second);

/* The snapshot, which passes to the caller; the tally is gone. */
struct snapshot *tally_end(struct tally *tally);

void tally_drop(struct tally *tally);

#endif
