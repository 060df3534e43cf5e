/* SPDX-License-Identifier: Apache-2.0 */
/*
 * .eh_frame as the loader mapped it: finds the frame description (FDE) of a program counter and
 * runs its call frame instructions up to that counter (DWARF 5, section 6.4; LSB Core, "Exception
 * Frames"). Reads nothing outside the object, takes no lock, allocates nothing.
 */
#ifndef COLLECT_EHFRAME_H
#define COLLECT_EHFRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "unwind_regs.h"

/* A mapped ELF object: everything of it lies in [start, end), which is all memory when its extent is not
 * known; hdr is its .eh_frame_hdr or NULL. */
struct eh_object {
	uintptr_t start, end;
	const uint8_t *hdr;
};

/* The frame description that covers a PC. */
struct eh_fde {
	uintptr_t start, end;			/* code that it describes */
	const uint8_t *code, *code_end;		/* its instructions */
	const uint8_t *cie_code, *cie_code_end; /* those of its CIE, run first */
	int64_t data_align;
	uint32_t code_align;
	uint8_t encoding; /* of addresses in the instructions */
	bool signal;	  /* the function is a signal trampoline */
};

/* How the caller's value of a register is found. */
enum eh_how {
	EH_SAME,      /* not changed; for the stack pointer: it is the CFA */
	EH_UNDEFINED, /* cannot be had */
	EH_AT_CFA,    /* in memory at CFA + value */
	EH_IS_CFA,    /* CFA + value itself */
	EH_REGISTER,  /* in register number `value` */
	EH_AT_EXPR,   /* in memory at the result of the expression at fde->code + value */
	EH_IS_EXPR    /* the result itself */
};

/* One row of the table: the rules in force at a PC. Small, as several lie on the stack. */
struct eh_row {
	int32_t cfa_offset; /* CFA = cfa_register + cfa_offset, */
	int32_t cfa_expr;   /* or the result of the expression at fde->code + cfa_expr; 0: none */
	int32_t value[ARCH_SLOTS];
	uint8_t how[ARCH_SLOTS]; /* enum eh_how */
	uint8_t cfa_register;
};

enum eh_result {
	EH_OK,
	EH_NO_OBJECT, /* the address lies in no object: generated code, or none */
	EH_NO_FDE,    /* its object has no description of it */
	EH_BAD	      /* the description is malformed or of a kind that no compiler writes */
};

/* The object that holds this PC; false if there is none. Context: signal, hook, agent. */
bool eh_object_at(uintptr_t pc, struct eh_object *out_object);

/* Context: signal, hook, agent. */
enum eh_result eh_find(const struct eh_object *object, uintptr_t pc, struct eh_fde *out_fde);

/* The row for pc, which lies in [fde->start, fde->end). EH_OK or EH_BAD.
 * Context: signal, hook, agent. */
enum eh_result eh_run(const struct eh_fde *fde, uintptr_t pc, struct eh_row *out_row);

/* The expression at fde->code + distance; its bounds were checked by eh_run.
 * Context: signal, hook, agent. */
const uint8_t *eh_expr(const struct eh_fde *fde, int32_t distance, const uint8_t **out_end);

#endif
