/* SPDX-License-Identifier: Apache-2.0 */
/* The wall-clock profile as a row of agent/profiles.c. Context: agent. */
#ifndef AGENT_WALL_H
#define AGENT_WALL_H

struct request;
struct taking;

/* ?seconds= (30), ?hz= (100). */
extern const struct taking wall_taking;

/* Why a request cannot be answered: the text of a 400, or NULL. */
const char *wall_refuse(const struct request *request);

#endif
