/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One answer's work on files and lines, and what keeps a file out of it. Only for encode/lines.c and
 * encode/lines_gap.c. Context: agent.
 */
#ifndef ENCODE_LINES_WORK_H
#define ENCODE_LINES_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "encode/image.h"
#include "encode/lines.h"
#include "encode/lines_reply.h"

/* Why the addresses of a file stay without lines. */
enum gap {
	GAP_NONE,
	GAP_MUTE,   /* it has no debug information: nothing is missing */
	GAP_FAULTY, /* the process died over it, and said so, more than once */
	GAP_KILLED, /* the process was ended at work on it, more than once: not now */
	GAP_NAME,   /* the protocol has no way to say its name */
	GAP_CLOSED, /* the process cannot open it */
	GAP_BROKEN, /* the process cannot read its debug information */
};

/* A file of this answer, by number. */
struct file {
	struct image *image;
	uint64_t dev, inode; /* of the file that the process is given */
	bool lines;	     /* it has debug information, not only names */
	bool told;	     /* to the process at hand */
	enum gap gap;
};

enum phase { PHASE_GATHER, PHASE_ASK, PHASE_DONE };
enum { OUTPUT = 16 << 10 };

struct lines {
	struct lines *next; /* in the queue */
	struct symbols *symbols;
	struct locations *locations, own;
	enum phase phase;
	uint64_t deadline_ns, seq;
	size_t at; /* next to gather; then: next to ask */
	struct question *questions; /* by index of the location */
	struct file *files;
	size_t n_files, files_room;
	size_t n_questions, n_answered;
	size_t n_silent;	 /* addresses of files with a gap that are not asked for */
	bool queued, ended_sent, failed, late;
	unsigned restarts;
	char output[OUTPUT];
	size_t out_at, out_end;
	struct lines_results results;
	char why[256]; /* failed: why */
};

extern const char lines_no_memory[];

/* What is known of a file before it is asked for. */
void lines_gap_begin(struct file *file, struct image *image);

/* The process that had this answer's questions has ended: whose fault that was. To be called with all that
 * it said read, and before anything of it is forgotten. `number`: helper_number(). */
void lines_gap_death(struct lines *lines, unsigned number);

/* The process says which files it cannot read. */
void lines_gap_failures(struct lines *lines);

/* The work ends: everything is answered, or it is given up while process `number` goes on with it. */
void lines_gap_end(struct lines *lines, unsigned number);

#endif
