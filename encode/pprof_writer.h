/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of the writer share: pprof.c has samples and texts, pprof_places.c mappings,
 * functions and locations. Context: agent. */
#ifndef ENCODE_PPROF_WRITER_H
#define ENCODE_PPROF_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "encode/buffered.h"
#include "encode/desc.h"
#include "encode/lines.h"
#include "encode/locations.h"
#include "encode/profile.pb-c.h"
#include "encode/strtab.h"
#include "encode/symbols.h"

struct snapshot;

typedef Perftools__Profiles__Profile profile_msg;

enum phase {
	PHASE_TYPES,
	PHASE_FOLD,
	PHASE_SAMPLES,
	PHASE_SYMBOLS,
	PHASE_LINES,
	PHASE_MAPPINGS,
	PHASE_LOCATIONS,
	PHASE_TEXTS,
	PHASE_REST,
	PHASE_DONE
};

enum { PPROF_PER_CLOCK = 64 };

/* protobuf-c appends byte by byte. */
struct out {
	ProtobufCBuffer base;
	struct buffered buffered;
};

/* What is known of some address in a mapping. */
enum { HAS_FILES = 1, HAS_LINES = 2, HAS_INLINED = 4 };

struct pprof_writer {
	const struct profile_desc *desc;
	const struct profile_facts *facts;
	struct snapshot *snapshot;
	enum symbolize symbolize;
	const char *(*tag_name)(uint32_t tag, char *buf, size_t size);

	struct gzip *gzip;
	struct symbols *symbols;
	struct strtab texts;
	struct locations locations;
	struct lines *lines;   /* NULL: names only */
	uint32_t *mapping_ids; /* by index of symbols_mapping(); 0: not used */
	uint8_t *mapping_has;  /* HAS_* by the same index */
	uint32_t mappings;     /* ids given out */

	enum phase phase;
	size_t at; /* progress inside the phase */
	int err;   /* the first failure; every later step returns it */
	size_t n_types;
	uint32_t *index; /* of PHASE_FOLD: sample + 1 by hash */
	size_t index_mask;
	long key_bytes, key_thread, key_tid; /* text numbers */
	uint64_t *ids;		    /* location ids of the sample at hand */
	size_t ids_room;
	struct out out;
};

/* 0 or -errno. */
int pprof_put(struct pprof_writer *writer, const profile_msg *message);

/* The number of a text, for a message field; a failure is kept in writer->err. */
int64_t pprof_text(struct pprof_writer *writer, const char *text);

/* Steps of the phases; 0, -errno, or (pprof_step_lines) 1: wait. */
int pprof_step_fold(struct pprof_writer *writer);
int pprof_step_symbols(struct pprof_writer *writer);
int pprof_step_lines(struct pprof_writer *writer, uint64_t budget_ns);
int pprof_step_mappings(struct pprof_writer *writer);
int pprof_step_locations(struct pprof_writer *writer);

#endif
