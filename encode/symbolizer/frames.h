/* SPDX-License-Identifier: Apache-2.0 */
/* From a function's entry to the frames at one of its addresses. */
#ifndef SYMBOLIZER_FRAMES_H
#define SYMBOLIZER_FRAMES_H

#include "encode/symbolizer/module.h"

/* lines: the unit with the line table; function: NULL if only the line is to be had. */
unsigned frames_at(Dwarf_Die *lines, Dwarf_Die *function, Dwarf_Addr address, struct frame out[FRAMES]);

/* Forgets what it knows of entries: a module is about to go. */
void frames_forget(void);

#endif
