/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What our copy of libiberty's demanglers calls in place of libc's functions (encode/libiberty.syms
 * binds them when it is linked; malloc, realloc and free become those of base/mem.h). Both forms of
 * printf: archives are built with and without fortification. Context: agent.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/fmt.h"

int libiberty_sprintf_chk(char *buf, int flag, size_t size, const char *format, ...) PRINTF(4, 5);
int libiberty_snprintf_chk(char *buf, size_t size, int flag, size_t room, const char *format, ...)
	PRINTF(5, 6);
int libiberty_sprintf(char *buf, const char *format, ...) PRINTF(2, 3);
int libiberty_snprintf(char *buf, size_t size, const char *format, ...) PRINTF(3, 4);

/* All uses print one number into a buffer made for it. */
enum { NUMBER_SIZE = 24 };

int libiberty_sprintf_chk(char *buf, int flag, size_t size, const char *format, ...)
{
	va_list args;
	size_t n;

	va_start(args, format);
	n = fmt_vbuf(buf, size < SIZE_MAX / 2 ? size : NUMBER_SIZE, format, args);
	va_end(args);
	return (int)n;
}

int libiberty_snprintf_chk(char *buf, size_t size, int flag, size_t room, const char *format, ...)
{
	va_list args;
	size_t n;

	va_start(args, format);
	n = fmt_vbuf(buf, size, format, args);
	va_end(args);
	return (int)n;
}

int libiberty_sprintf(char *buf, const char *format, ...)
{
	va_list args;
	size_t n;

	va_start(args, format);
	n = fmt_vbuf(buf, NUMBER_SIZE, format, args);
	va_end(args);
	return (int)n;
}

int libiberty_snprintf(char *buf, size_t size, const char *format, ...)
{
	va_list args;
	size_t n;

	va_start(args, format);
	n = fmt_vbuf(buf, size, format, args);
	va_end(args);
	return (int)n;
}
