/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of PPROF_ADDR, understood. Nothing is looked up: hosts are numbers or "localhost".
 *
 *	off			no listener (the empty text too)
 *	HOST:PORT		HOST is 192.0.2.1, [2001:db8::1] or localhost
 *	:PORT, PORT		loopback only, IPv4 and IPv6, as localhost:PORT
 *	0.0.0.0:PORT		all IPv4 interfaces
 *	[::]:PORT, *:PORT	all interfaces, IPv6 and IPv4
 *	unix:/path		a socket file, mode 0600
 *	unix:@name		an abstract socket
 *
 * PORT is a number, 0 for any free port, or a range 6060-6079 of which the first free one is taken.
 * "%p" anywhere is the process id. At most ADDRESS_TEXT_MAX bytes after that.
 *
 * Context: agent, init.
 */
#ifndef HTTP_ADDRESS_H
#define HTTP_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

enum { ADDRESS_TEXT_MAX = 200, ADDRESS_NAME_MAX = 107 };

enum address_kind {
	ADDRESS_OFF,
	ADDRESS_LOOPBACK, /* 127.0.0.1 and ::1 */
	ADDRESS_ALL,	  /* ::, IPv4 included; 0.0.0.0 where there is no IPv6 */
	ADDRESS_IPV4,	  /* ip[0..3] */
	ADDRESS_IPV6,	  /* ip[0..15] */
	ADDRESS_UNIX,	  /* name is a path */
	ADDRESS_ABSTRACT, /* name without the '@' */
};

struct address {
	enum address_kind kind;
	uint8_t ip[16];
	uint16_t first_port, last_port; /* equal but for a range */
	char name[ADDRESS_NAME_MAX + 1];
};

/* 0, or -EINVAL with one clear sentence (no line end) in `error`; then *out is undefined. */
int address_parse(struct address *out, const char *text, int pid, char *error, size_t error_size);

#endif
