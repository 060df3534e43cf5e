/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may ask: against web pages that reach the port through the user's browser (DNS rebinding,
 * cross-site requests), other users of the machine, and strangers on the network (hazards K2, K3,
 * K6).
 *
 * Context: agent.
 */
#ifndef HTTP_ACCESS_H
#define HTTP_ACCESS_H

#include <stdbool.h>

#include "agent/http/request.h"

struct access_rules {
	const char *token; /* NULL or "": none is asked for */
	const char *hosts; /* PPROF_HOSTS: names separated by commas, or NULL */
	bool loopback;	   /* the listener is bound to a loopback address */
	bool local_socket; /* unix socket: the peer's uid was checked, Host means nothing */
};

enum access {
	ACCESS_GRANTED,
	ACCESS_NO_TOKEN, /* 401 */
	ACCESS_HOST,	 /* 403 */
	ACCESS_ORIGIN,	 /* 403 */
};

/*
 * With a token configured it must be right: Authorization "Bearer TOKEN", or "Basic" with the token
 * as the password of any user; then Host may be anything. Without one, Host must be an IP address,
 * localhost or in rules->hosts, whole and with any port; it may be absent (HTTP/1.0) on loopback.
 * Origin, if sent, must be http(s):// and exactly Host; Sec-Fetch-Site, if sent, none or
 * same-origin: a browser that knows the password sends it for foreign pages too.
 */
enum access access_check(const struct access_rules *rules, const struct request *request);

/* A peer of a unix socket: root or ourselves. */
bool access_peer(unsigned uid, unsigned own_euid);

#endif
